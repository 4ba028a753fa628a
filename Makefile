# make train   a detector on generated pictures, from a fresh clone        make test    all tests
# make bench   all benchmarks (BASELINE=torch installs and adds PyTorch)    make lint    style, types and words
# make parity  comparison with PyTorch, which it installs                   make lesson  the walk of docs/lesson.md
# make soak    kill 40 short runs, resume and compare them; ten minutes     make mutants  planted bugs that no test notices
# make tfds    VOC by TensorFlow Datasets; installs TensorFlow              make clean   delete .venv and caches
# make gpu     benchmarks of a GPU in at most eight minutes (DATA=FOLDER: training on your own boxes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMMA := ,
# JAX for the GPU where there is one of NVIDIA's.
CUDA := $(if $(shell command -v nvidia-smi 2>/dev/null),$(COMMA)cuda)

.PHONY: train test parity tfds lint mutants gpu bench soak lesson clean

train: $(INSTALLED)
	$(BIN)/python train.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile

parity: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,parity]"
	$(BIN)/python -m pytest -m torch

tfds: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,tfds]"
	$(BIN)/python -m pytest tests/data/formats/tfds/test_source.py -m "tfds or not tfds"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.words

gpu: $(INSTALLED)
	$(BIN)/python benchmarks/gpu.py $(if $(DATA),--data "$(DATA)")

bench: $(INSTALLED)
ifdef BASELINE
	$(BIN)/python -m pip install --quiet --editable ".[test,parity$(CUDA)]"
endif
	set -e; for question in loss nms training_step inference layers growth; do \
		$(BIN)/python benchmarks/$$question.py $(if $(BASELINE),--baseline $(BASELINE)); done
	set -e; for question in ceiling startup streaming; do $(BIN)/python benchmarks/$$question.py; done
	$(BIN)/python benchmarks/scoring.py --images 500

soak: $(INSTALLED)
	$(BIN)/python benchmarks/soak.py

mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants

lesson: $(INSTALLED)
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test$(CUDA)]"
	touch $@
