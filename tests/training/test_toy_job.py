"""The job around a network of a few numbers: which data trains, which validates, which checkpoint is scored."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.data.load import SHAPES_IMAGES
from jaxssd.data.shapes import CLASS_NAMES
from jaxssd.tools import lr_finder
from jaxssd.training import RunFolder, job, loader, loop, restore
from jaxssd.training.variables import first_variables
from tests.training.blocks import batch_stats
from tests.training.toy import SIDE, ToyTask, brightness, toy_set

TRAIN, VAL = toy_set(12), toy_set(4, seed=1)
CONFIG = Config.of(image_size=SIDE, batch_size=4, epochs=(3,), augment="none", schedule=("constant",), seed=3)
SCORES = [0.1, 0.4, 0.2]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A new run, and what its end was given."""
    seen, task = SimpleNamespace(), ToyTask([*SCORES, 0.4])
    evaluate = job.evaluate

    def at_the_end(validate, variables, dataset, score, **settings):
        vars(seen).update(variables=variables, dataset=dataset, score=score)
        return evaluate(validate, variables, dataset, score, **settings)

    def load(config, split):
        return {"train": TRAIN, "val": VAL}[split]

    def report(folder, task, dataset, result, name, about):
        vars(seen).update(folder=folder, reported=dataset, name=name, about=about)

    with pytest.MonkeyPatch.context() as patch:
        for module in (job, loop, sys.modules[restore.__module__]):
            patch.setattr(module, "make_task", lambda config: task)
        patch.setattr(job, "load_split", load)
        patch.setattr(job, "evaluate", at_the_end)
        patch.setattr(job, "report_scores", report)
        patch.setattr(job, "report_training", lambda *_: None)
        run = RunFolder(tmp_path_factory.mktemp("job") / "run")
        job.start(CONFIG, run)
        seen.best, seen.last = (restore(run, which)[2] for which in ("best", "last"))
    seen.run = run
    return seen


def test_the_best_checkpoint_is_scored_at_the_end_and_not_the_last(done):
    jax.tree.map(np.testing.assert_array_equal, done.variables, done.best)
    assert float(batch_stats(done.best)["head"]["mean"]) != float(batch_stats(done.last)["head"]["mean"])
    assert done.about == {"checkpoint": "best", "data": "shapes", "split": "val"}
    assert (done.name, done.folder) == ("val", done.run.path)


def test_what_is_trained_on_is_the_training_split(done):
    """From the brightness of what each step and each validation saw."""
    seen = [row["brightness"] for row in done.run.rows("train")]
    assert np.mean(seen) == pytest.approx(brightness(TRAIN).mean(), rel=1e-5)
    validated = [row["brightness"] for row in done.run.rows("val")]
    assert validated == pytest.approx([brightness(VAL).mean()] * 3, rel=1e-5)
    assert done.dataset is done.reported is VAL
    assert done.score.keywords["with_coco"]


def test_a_run_remembers_what_it_was_started_with(done):
    settings = done.run.open()
    assert settings.dataset.classes == CLASS_NAMES
    assert settings.runtime.seed == 3
    assert [row["objective"] for row in done.run.rows("val")] == SCORES


def test_another_seed_starts_from_other_parameters():
    kernels = [
        np.asarray(first_variables(Config.of(image_size=SIDE, seed=seed), ToyTask()).params["head"]["kernel"])
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.isclose(kernels[0], kernels[2]).any()


def test_a_sweep_is_of_the_first_phase_and_of_the_training_split(monkeypatch, tmp_path):
    """With the optimizer of the phase that is trained first: the frozen groups stay."""
    phases, given = [], {}
    make_phase = lr_finder.make_phase

    def make(config, task, phase, schedule, **settings):
        phases.append(phase)
        return make_phase(config, task, phase, schedule, **settings)

    def losses(train_chunk, state, examples, order, seed):
        given.update(examples=examples, order=np.asarray(order), seed=seed)
        return np.linspace(2.0, 1.0, 100)

    for module in (job, lr_finder):
        monkeypatch.setattr(module, "make_task", lambda config: ToyTask())
    monkeypatch.setattr(lr_finder, "load_split", lambda config, split: {"train": TRAIN, "val": VAL}[split])
    monkeypatch.setattr(lr_finder, "make_phase", make)
    monkeypatch.setattr(lr_finder, "sweep_losses", losses)
    monkeypatch.setattr(lr_finder, "report_sweep", lambda *_: None)
    lr_finder.find_rate(Config.of(image_size=SIDE, batch_size=4, trainable=("head", "all"), seed=3), tmp_path)
    assert [phase.trainable for phase in phases] == ["head"]
    assert (given["seed"], given["order"].shape) == (3, (100, 4))
    shown = np.asarray(given["examples"].images)[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(shown), np.sort(TRAIN.examples.images[:, 0, 0, 0]))
    assert not np.array_equal(shown, TRAIN.examples.images[:, 0, 0, 0])  # in another order than on the disk
    assert len(set(given["order"][:3].ravel().tolist())) == 12


def test_larger_images_are_stored_only_where_they_have_room(monkeypatch, capsys):
    config, side = CONFIG.replace(stored_scale=1.5), round(1.5 * SIDE)
    size = 2 * SHAPES_IMAGES["train"] * side * side * 3
    for memory, expected in ((size, 1.5), (size - 2, 1.0)):
        monkeypatch.setattr(loader, "memory_bytes", lambda memory=memory: memory)
        assert job._with_room(config).dataset.stored_scale == expected
        assert job._with_room(config.replace(memory="stream")).dataset.stored_scale == 1.5
    assert capsys.readouterr().out.startswith(f"--stored-scale is 1.5, but 6,000 images of {side}x{side} pixels")


def test_the_command_that_is_printed_names_any_folder():
    path = "runs/proj [2024] it's"
    assert shlex.split(job._evaluate_command(RunFolder(Path(path))))[-1] == path


@pytest.mark.parametrize("is_leader", [True, False])
def test_all_processes_fail_if_the_one_that_leads_finds_the_end_hopeless(tmp_path, monkeypatch, is_leader):
    """Only that one looks at the rows; another's may lag behind in a common folder."""
    run, told = RunFolder(tmp_path), []
    monkeypatch.setattr(job, "is_main_process", lambda: is_leader)
    monkeypatch.setattr(job, "broadcast", lambda text: told.append(text) or text or "the leader's words")
    if is_leader:
        run.append_rows({"kind": "train", "step": step, "loss": 100.0**step} for step in range(3))
    with pytest.raises(job.DivergedError, match="diverged" if is_leader else "the leader's words"):
        job._compare_ends(run)
    assert bool(told[0]) == is_leader
