"""Whole runs of a network of a few numbers, followed in NumPy: phases, rates, and which checkpoint is the best."""

import json
import math
import shutil
import sys

import jax
import numpy as np
import optax
import pytest

from jaxssd.config import Config
from jaxssd.training import RunFolder, loop, restore
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.step import init_state
from jaxssd.training.variables import first_variables, variable_shapes
from tests.training.blocks import batch_stats
from tests.training.toy import LEARNS, SIDE, NumpyAdamW, ToyTask, flat, reference_rates, toy_gradients, toy_set

TRAIN, VAL = toy_set(12), toy_set(4, seed=1)
PHASED = Config.of(
    classes=("a",),
    image_size=SIDE,
    augment="none",
    batch_size=4,
    epochs=(2, 1, 2, 1),
    learning_rate=(0.1, 0.05, 0.02, 0.03),
    trainable=("head", "upper", "all", "all"),
    schedule=("one_cycle", "clr", "cosine", "one_cycle"),
    clr=((32.0, 3.0),),
    lr_multipliers=(0.01, 0.1, 1.0),
    weight_decay=0.3,
)
ONE_PHASE = PHASED.replace(epochs=(4,), learning_rate=(0.01,), trainable=("all",), schedule=("constant",))


SCORES = (0.1, 0.4, 0.3, 0.2)


def train(config, folder, scores=()):
    """Train the toy with these validation scores."""
    task, run = ToyTask(scores), RunFolder(folder)
    if not run.config.exists():
        run.create(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_task", lambda config: task)
        loop.train(config, TRAIN, VAL, run)
    return run


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """A whole run of four phases, the last two of which train the same groups."""
    return train(PHASED, tmp_path_factory.mktemp("phased"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run of four epochs with these scores."""
    return train(ONE_PHASE, tmp_path_factory.mktemp("scored"), SCORES)


def checkpointed(run, step=None):
    """Variables of a checkpoint, and its step; default, the last one."""
    like = variable_shapes(ToyTask(), SIDE)
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        return checkpoints.restore_variables(step or checkpoints.last_step, like)


def best_and_last(run):
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        return checkpoints.best_step, checkpoints.last_step


# Phases


def test_a_run_of_four_phases_is_four_fresh_runs_of_adamw(phased):
    """The parameters at the end, from what each step saw: each phase has a new optimizer, its schedule, its groups."""
    rows = phased.rows("train")
    params = flat(first_variables(PHASED, ToyTask()).params)
    position = 0
    for phase in PHASED.optimizer.phases:
        rates = reference_rates(phase, 3 * phase.epochs)
        multipliers = dict(zip(LEARNS["all"], PHASED.optimizer.lr_multipliers, strict=True))
        adam = NumpyAdamW(
            PHASED.optimizer.weight_decay, {group: multipliers[group] for group in LEARNS[phase.trainable]}
        )
        for rate, row in zip(rates, rows[position:], strict=False):
            assert row["learning_rate"] == pytest.approx(rate, rel=1e-4, abs=1e-9)
            params = adam.step(params, toy_gradients(params, row["brightness"]), rate)
        position += len(rates)
    assert position == len(rows) == 18
    assert [row["step"] for row in rows] == list(range(1, 19))
    for path, value in flat(checkpointed(phased).params).items():
        np.testing.assert_allclose(value, params[path], atol=5e-5, err_msg=str(path))


def test_what_is_frozen_keeps_its_statistics_and_what_trains_does_not(phased):
    """Running means, from what each step saw: the stem and the lower half move only in the phase that trains all."""
    expected = dict.fromkeys(("conv1", "layer1_0", "layer2_0", "head"), 0.0)
    moving = [["head"], ["layer2_0", "head"], list(expected), list(expected)]
    for row in phased.rows("train"):
        for name in moving[row["phase"]]:
            expected[name] = 0.9 * expected[name] + 0.1 * row["brightness"]
    statistics = batch_stats(checkpointed(phased))
    for name, value in expected.items():
        found = statistics["head"] if name == "head" else statistics["backbone"][name]
        assert float(found["mean"]) == pytest.approx(value, rel=1e-4), name


def test_every_epoch_of_a_run_sees_every_image_once(phased):
    whole = np.asarray(TRAIN.examples.images)[:, 0, 0, 0].mean() / 255
    seen = np.reshape([row["brightness"] for row in phased.rows("train")], (6, 3))
    np.testing.assert_allclose(seen.mean(axis=1), whole, rtol=1e-5)
    assert len(np.unique(seen[:, 0].round(6))) > 3  # in another order


def test_a_resumed_run_draws_and_ends_as_one_that_was_not_stopped(phased, tmp_path, monkeypatch):
    """Stopped within a phase and between two; noise and order included."""
    evaluate_once = loop.evaluate
    for validations in (2, 4):

        def stop(*args, limit=validations, **kwargs):
            if len(RunFolder(tmp_path).rows("val")) == limit:
                raise KeyboardInterrupt
            return evaluate_once(*args, **kwargs)

        monkeypatch.setattr(loop, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(PHASED, tmp_path)
    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    run = train(PHASED, tmp_path)
    assert run.rows("train") == phased.rows("train")
    assert run.rows("val") == phased.rows("val")
    jax.tree.map(np.testing.assert_array_equal, checkpointed(run), checkpointed(phased))


def test_the_noise_of_a_run_differs_from_step_to_step(phased):
    rows = phased.rows("train")
    assert len({round(row["noise"], 6) for row in rows}) == len(rows) == 18


def test_the_noise_of_a_run_does_not_hang_on_the_order_of_its_images(scored, tmp_path, monkeypatch):
    """Each has a key of its own."""
    keys = loop.run_keys
    monkeypatch.setattr(loop, "run_keys", lambda seed, mesh: (keys(seed + 1, mesh)[0], keys(seed, mesh)[1]))
    ours, theirs = train(ONE_PHASE, tmp_path, SCORES).rows("train"), scored.rows("train")
    assert [row["noise"] for row in ours] == [row["noise"] for row in theirs]
    assert [row["brightness"] for row in ours] != [row["brightness"] for row in theirs]


def test_a_validation_that_left_no_score_is_done_again_and_has_one_row(scored, tmp_path):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(scored.path, run.path)
    shutil.rmtree(run.checkpoints / "12" / "metrics")
    *lines, last = run.metrics.read_text().splitlines()
    run.metrics.write_text(
        "".join(f"{line}\n" for line in [*lines, json.dumps(json.loads(last) | {"objective": None})])
    )
    train(ONE_PHASE, run.path, (0.3,))
    assert [row["step"] for row in run.rows("val")] == [3, 6, 9, 12]
    assert run.rows("val")[-1]["objective"] == 0.3


def test_validations_come_after_so_many_epochs_and_at_the_end(tmp_path):
    run = train(ONE_PHASE.replace(eval_every=3), tmp_path)
    assert [row["step"] for row in run.rows("val")] == [9, 12]
    assert [row["epoch"] for row in run.rows("val")] == [2, 3]


# The best


@pytest.fixture(scope="module")
def state():
    variables = first_variables(PHASED, ToyTask())
    return init_state(*variables, optax.sgd(0.1))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.4, 0.1, 0.2), 1),  # the first
        ((0.2, 0.4, 0.3), 2),
        ((0.1, 0.2, 0.3), 3),
        ((0.2, 0.4, 0.4), 3),  # a tie: the later one, which has learned longer
        ((0.4, 0.4, 0.1), 2),
        ((-9.0, -5.0, -7.0), 2),  # an error in pixels, less is better
        ((-math.inf, -5.0, -math.inf), 2),
        ((math.nan, 0.4, 0.2), 2),  # what is not a number is no best
        ((0.4, math.nan, 0.2), 1),
        ((0.4, 0.2, math.nan), 1),
    ],
)
def test_the_best_checkpoint_has_the_highest_score(state, scores, best, tmp_path):
    for step, score in enumerate(scores, start=1):
        with Checkpoints(tmp_path) as checkpoints:  # anew each time: as after a resume
            checkpoints.save(step, state, score=score)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert (checkpoints.best_step, checkpoints.last_step) == (best, 3)


def test_the_score_of_the_best_is_the_validations_objective_whatever_the_loss(scored):
    """The toy's loss is linear: the later, the lower."""
    assert best_and_last(scored) == (6, 12)
    losses = [row["loss"] for row in scored.rows("val")]
    assert losses == sorted(losses, reverse=True)
    assert [row["objective"] for row in scored.rows("val")] == list(SCORES)


def test_best_and_last_are_restored_as_they_are_called(scored, monkeypatch):
    monkeypatch.setattr(sys.modules[restore.__module__], "make_task", lambda config: ToyTask())
    for which, step in (("best", 6), ("last", 12)):
        jax.tree.map(np.testing.assert_array_equal, restore(scored, which)[2], checkpointed(scored, step))
    jax.tree.map(np.testing.assert_array_equal, restore(scored)[2], checkpointed(scored, 6))
    means = [float(batch_stats(restore(scored, which)[2])["head"]["mean"]) for which in ("best", "last")]
    assert means[0] < means[1]
