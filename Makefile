# make train   a detector on generated pictures, from a fresh clone       make test    all tests
# make bench   time the pieces                                            make lint    style and types
# make parity  the backbones against PyTorch, which it installs             make lesson  the walk of docs/lesson.md
# make tfds    TensorFlow Datasets' VOC, with TensorFlow, which it installs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: train test parity tfds lint bench lesson clean

train: $(INSTALLED)
	$(BIN)/python train.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile

parity: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,parity]"
	$(BIN)/python -m pytest -m torch

tfds: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,tfds]"
	$(BIN)/python -m pytest tests/data/formats/test_tfds.py -m "tfds or not tfds"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/ops.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/streaming.py

lesson: $(INSTALLED)
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@
