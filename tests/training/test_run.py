"""A whole run: what it leaves, that it can be stopped anywhere, and that it compiles once and moves nothing."""

import copy
import json
import re
import shutil
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.config import TOPIC_OF, Config
from jaxssd.models.heads import Predictions
from jaxssd.tasks.task import make_task
from jaxssd.training import (
    DivergedError,
    NonFiniteLossError,
    RunFolder,
    RunInUseError,
    epochs,
    evaluate,
    job,
    loop,
    make_predict,
    make_validate,
    map_batches,
    restore,
    resume,
    start,
    train,
)
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.orbax_io import DamagedCheckpointError
from jaxssd.training.report import report_scores, report_training
from jaxssd.training.rows import compare_ends
from jaxssd.training.run_folder import LOCK, locked, new_folder
from jaxssd.training.variables import first_variables


def validate_of(task):
    return make_validate(task.apply, task.loss, task.postprocess)


def leaves(run, which="last"):
    return jax.tree.leaves(restore(run, which)[2])


def test_what_a_run_leaves(finished_run, tiny_config, tiny_sets):
    assert finished_run.open() == tiny_config
    steps, validations = finished_run.rows("train"), finished_run.rows("val")
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in steps] == [0, 0, 1, 1, 2, 2]
    assert [row["step"] for row in validations] == [2, 4, 6]
    for row in [*steps, *validations]:
        assert row["loss"] == pytest.approx(row["localization"] + row["classification"], rel=1e-5)
    rates = [row["learning_rate"] for row in steps]
    assert max(rates) <= tiny_config.optimizer.learning_rate[0] * (1 + 1e-6)  # float32
    assert rates[-1] < max(rates)
    with Checkpoints(finished_run.checkpoints, read_only=True) as checkpoints:
        best = max(validations, key=lambda row: (row["map_area"], row["step"]))
        assert (checkpoints.last_step, checkpoints.best_step) == (6, best["step"])
    assert len(list(finished_run.checkpoints.glob("[0-9]*"))) == len({6, best["step"]})


def test_restored_network_scores_as_it_did(finished_run, tiny_sets):
    config, task, variables = restore(finished_run, "last")
    result = evaluate(validate_of(task), variables, tiny_sets[1], task.score, batch_size=config.optimizer.batch_size)
    row = finished_run.rows("val")[-1]
    assert result.loss.total.mean() == pytest.approx(row["loss"], rel=1e-5)
    assert result.scores.voc.mean_area == pytest.approx(row["map_area"], abs=1e-6)


def test_resumed_run_ends_like_an_uninterrupted_one(
    finished_run, tiny_config, tiny_sets, tmp_path, monkeypatch, capsys
):
    """Stopped in the second epoch, after the first checkpoint: same rows, same parameters to the last bit."""
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    evaluate_once = loop.evaluate

    def stop_at_second_validation(*args, **kwargs):
        if len(run.rows("val")) == 1:
            raise KeyboardInterrupt
        return evaluate_once(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", stop_at_second_validation)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config, *tiny_sets, run)
    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    with run.metrics.open("a") as file:
        file.write('{"kind": "train", "step": 5, "lo')  # what a killed process may leave
    train(tiny_config, *tiny_sets, run)
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
    assert run.metrics.read_text() == finished_run.metrics.read_text()
    for a, b in zip(leaves(run), leaves(finished_run), strict=True):
        np.testing.assert_array_equal(a, b)


def test_settings_changed_by_hand_are_named(finished_run, tiny_config, tiny_sets):
    """With the values of then and now; what no number depends on may be changed."""
    changed = tiny_config.replace(batch_size=4, epochs=(5,))
    with pytest.raises(ValueError, match=r"epochs is \(5,\) and was \(3,\), batch_size is 4 and was 8\. Set it back"):
        train(changed, *tiny_sets, finished_run)
    finished_run.require_same_settings(tiny_config.replace(memory="stream", checkpoint_every=1.0, data="moved"))


@pytest.mark.parametrize("name", TOPIC_OF)
def test_only_settings_that_no_number_depends_on_may_be_changed(tmp_path, tiny_config, name):
    """A setting that is new is not free, unless it is named here."""
    free = ("data", "images", "memory", "checkpoint_every")
    run, changed = RunFolder(tmp_path), copy.copy(tiny_config)
    run.pin(tiny_config, {"train": "a"})
    topic = copy.copy(getattr(changed, TOPIC_OF[name])) if TOPIC_OF[name] else changed
    object.__setattr__(topic, name, "other")  # without its checks
    if TOPIC_OF[name]:
        object.__setattr__(changed, TOPIC_OF[name], topic)
    with nullcontext() if name in free else pytest.raises(ValueError, match=f": {name} is 'other' and was"):
        run.require_same_settings(changed)


def test_a_network_is_restored_with_the_settings_it_was_trained_with(finished_run, tiny_config, tmp_path):
    """But for those that decide nothing about its answers."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished_run.path, run.path)
    tiny_config.replace(batch_size=2, data="moved").save(run.config)
    assert restore(run)[0].optimizer.batch_size == 2
    tiny_config.replace(mean=(0.0, 0.0, 0.0)).save(run.config)
    with pytest.raises(ValueError, match=r"mean is \(0\.0, 0\.0, 0\.0\) and was"):
        restore(run)


def test_a_folder_where_no_run_got_to_its_first_step_is_free(tiny_config, tmp_path):
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    run.pin(tiny_config, {"train": "a"})
    other = tiny_config.replace(batch_size=4)
    run.create(other)
    run.pin(other, {"train": "b"})


@pytest.mark.parametrize(("validated", "kept"), [(True, "val 2"), (False, "train 2")])
def test_rows_that_will_be_done_again_are_dropped(tmp_path, validated, kept):
    """Those beyond the checkpoint, and its validation if that left no score."""
    run = RunFolder(tmp_path)
    rows = ["train 1", "train 2", "val 2", "train 3", "val 3"]
    run.append_rows({"kind": row.split()[0], "step": int(row.split()[1]), "loss": 0.5} for row in rows)
    run.drop_rows_after(2, validated=validated)
    assert [f"{row['kind']} {row['step']}" for row in run._read_rows()[0]] == rows[: rows.index(kept) + 1]


def test_rows_that_are_there_twice_count_once(tmp_path, capsys):
    """The later one is kept; a step and the validation after it are two."""
    run = RunFolder(tmp_path)
    rows = [{"kind": kind, "step": step, "loss": 0.5} for kind, step in (("train", 1), ("train", 2), ("val", 2))]
    run.append_rows([*rows, *[row | {"loss": 0.25} for row in rows]])
    run.drop_rows_after(3)
    assert run._read_rows()[0] == [row | {"loss": 0.25} for row in rows]
    printed = capsys.readouterr().out
    assert "left out 3 rows of steps that have another" in printed
    assert "the rows of 1 of 3 steps are missing" in printed
    run.drop_rows_after(2)
    assert not capsys.readouterr().out


def test_nobody_trains_where_another_does(finished_run, tiny_config, tiny_sets, tmp_path, monkeypatch):
    """Neither goes on with a run, nor starts one in the folder that another has begun meanwhile."""
    with locked(finished_run.path), pytest.raises(RunInUseError, match="in use"):
        resume(finished_run)
    monkeypatch.setattr(job, "_load", lambda config: tiny_sets)
    with locked(tmp_path), pytest.raises(RunInUseError, match="in use"):
        start(tiny_config.replace(classes=()), RunFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_checkpoint_that_a_training_replaces_is_read_anew(finished_run, tmp_path, monkeypatch):
    run, restore_once, tries = RunFolder(tmp_path / "run"), Checkpoints.restore_variables, []
    shutil.copytree(finished_run.path, run.path)

    def replace_and_restore(checkpoints, step, like):
        tries.append(step)
        if step == 6:
            checkpoints.folder_of(6).rename(checkpoints.folder_of(8))
        return restore_once(checkpoints, step, like)

    monkeypatch.setattr(Checkpoints, "restore_variables", replace_and_restore)
    ours = leaves(run)
    assert tries == [6, 8]
    monkeypatch.undo()
    jax.tree.map(np.testing.assert_array_equal, ours, leaves(finished_run))
    shutil.rmtree(run.checkpoints / "8" / "variables")
    with pytest.raises(
        DamagedCheckpointError, match=r"checkpoints/8/variables .*--checkpoint best"
    ):  # it stays the last
        restore(run, "last")


@pytest.mark.parametrize(("loss", "fails"), [(1e8, True), (1.5, False)])
def test_a_run_that_ends_worse_than_it_began_says_so(
    tiny_config, tiny_sets, tmp_path, monkeypatch, capsys, finished_run, loss, fails
):
    """When all is written; far worse, it fails."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished_run.path, run.path)
    run.append_rows([{"kind": "train", "step": step, "loss": loss, "epoch": 2, "phase": 0} for step in (7, 8, 9)])
    monkeypatch.setattr(job, "_load", lambda config: tiny_sets)
    monkeypatch.setattr(job, "train", lambda config, train_set, val_set, run, mesh: validate_of(make_task(config)))
    monkeypatch.setattr(job, "report_training", lambda run, task: None)
    with pytest.raises(DivergedError, match=r"diverged.*--learning-rate") if fails else nullcontext():
        resume(run)
    assert (run.path / "scores-val.json").exists()
    assert ("warning" in capsys.readouterr().out) != fails


@pytest.mark.parametrize(("end", "said"), [(1.0, False), (1.1, False), (1.2, True), (10.0, True)])
def test_noise_is_no_divergence(end, said):
    rows = [{"loss": loss} for loss in [10.0] * 10 + [500.0] * 20 + [10 * end] * 10]
    assert (compare_ends(rows) is not None) == said


@pytest.mark.parametrize("after", [[67700.0, 94300.0] + [60000.0] * 20 + [38800.0] * 10, [148.0] * 30 + [49.0] * 10])
def test_a_run_that_diverges_with_its_first_update_is_hopeless(after):
    """The first quarter of its steps has diverged already, and the end is better than that."""
    with pytest.raises(DivergedError, match=r"the loss was 0\.917 at the start and is .*--learning-rate"):
        compare_ends([{"loss": loss} for loss in (0.917, *after)])


def test_a_first_batch_that_is_hard_or_easy_is_no_divergence():
    """A loss of one batch is half or twice another's by chance."""
    assert compare_ends([{"loss": loss} for loss in [1.0] + [2.0] * 40]) is None
    assert compare_ends([{"loss": loss} for loss in [50.0] + [1.0] * 40]) is None
    assert "was 1 at the start" in compare_ends([{"loss": loss} for loss in [1.0] + [90.0] * 20 + [5.0] * 20])


@pytest.mark.parametrize("rows", [[], [{"loss": None}]])
def test_a_run_whose_rows_are_gone_has_no_ends_to_compare(rows):
    assert compare_ends(rows) is None


def test_two_folders_of_the_same_second(tmp_path):
    assert [new_folder(tmp_path / "runs" / "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_a_finished_run_stays_as_it_is(finished_run, tiny_config, tiny_sets, tmp_path, capsys):
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(finished_run.path, copy.path)
    train(tiny_config, *tiny_sets, copy)
    assert "all 3 epochs are done" in capsys.readouterr().out
    assert copy.metrics.read_text() == finished_run.metrics.read_text()


@pytest.mark.parametrize("chunk_steps", [1, 2])
def test_one_compilation_and_no_transfer(tiny_config, tiny_sets, tmp_path, monkeypatch, chunk_steps, compilations):
    """Nothing is compiled after the first epoch, of whatever function, and no step moves anything by itself."""
    guards, guard, compiled = [], jax.transfer_guard, []

    def count(level):
        guards.append(level)
        return guard(level)

    def count_compiled(*args, validate_once=loop.evaluate, **kwargs):
        result = validate_once(*args, **kwargs)
        compiled.append(len(compilations))
        return result

    monkeypatch.setattr(jax, "transfer_guard", count)
    monkeypatch.setattr(loop, "evaluate", count_compiled)
    monkeypatch.setattr(epochs, "CPU_CALL_STEPS", chunk_steps)
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    train(tiny_config, *tiny_sets, run)
    assert 0 < compiled[0] == compiled[1] == compiled[2]
    assert guards == ["disallow"] * (6 // chunk_steps)
    assert len(run.rows("train")) == 6


def test_what_the_run_takes_is_said_before_it_starts(tiny_config, tiny_sets, tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    train(tiny_config, *tiny_sets, run)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"compiled in .* s; memory: .* GB of the device's .* GB \(images .*, state .*, step .*\)", lines[0]
    )
    assert re.fullmatch(r"first losses .* s after the data was read", lines[1])


def test_chunks_of_any_length_train_alike(finished_run, tiny_config, tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "CPU_CALL_STEPS", 2)
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    train(tiny_config, *tiny_sets, run)
    ours, theirs = ([row["loss"] for row in r.rows("train")] for r in (run, finished_run))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tiny_config, tiny_sets, tmp_path, monkeypatch):
    """The rate explodes in the second epoch: that epoch is neither saved nor called good."""

    def explode(phase, steps):
        return lambda step: jnp.where(step < 2, 1e-3, 1e30)

    monkeypatch.setattr(loop, "make_schedule", explode)
    run = RunFolder(tmp_path)
    run.create(tiny_config)
    with pytest.raises(NonFiniteLossError, match=r"at step [34],.*step 2 is from before.*--learning-rate"):
        train(tiny_config, *tiny_sets, run)
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        assert (checkpoints.last_step, checkpoints.best_step) == (2, 2)
        like = first_variables(tiny_config, make_task(tiny_config))
        variables = checkpoints.restore_variables(2, like)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_a_run_that_diverges_at_once_saves_nothing(tiny_config, tiny_sets, tmp_path):
    """One step an epoch: its loss is finite, what it leaves is not."""
    config = tiny_config.replace(batch_size=20, learning_rate=(1e38,))
    run = RunFolder(tmp_path)
    run.create(config)
    with pytest.raises(NonFiniteLossError, match="no checkpoint yet"):
        train(config, *tiny_sets, run)
    with Checkpoints(run.checkpoints) as checkpoints:
        assert checkpoints.last_step is None
    run.append_rows([{"kind": "train", "step": 2, "loss": float("nan")}])
    assert run.rows("train")[-1]["loss"] is None


def test_no_array_of_a_device_is_closed_over(tiny_config, tiny_sets):
    """Compiling would have to copy it back to the host, which the transfer guard of an accelerator forbids."""
    task = make_task(tiny_config)
    examples = jax.tree.map(lambda x: x[:2], tiny_sets[0].examples)
    predictions = Predictions(jnp.zeros((2, 16, 6)), jnp.zeros((2, 16, 4)))
    for function, arguments in ((task.loss, (predictions, examples)), (task.postprocess, (predictions,))):
        constants = jax.make_jaxpr(function)(*arguments).consts
        assert not any(isinstance(constant, jax.Array) for constant in constants)


def test_last_batch_is_padded_and_cut(finished_run, tiny_sets):
    """Twelve images in batches of 5, 12 and 100 give the same detections, each image once."""
    _, task, variables = restore(finished_run)
    predict, images = make_predict(task.apply, task.postprocess), tiny_sets[1].examples.images
    whole = map_batches(predict, variables, images, batch_size=12)
    for batch_size in (5, 100):
        parts = map_batches(predict, variables, images, batch_size=batch_size)
        assert parts.boxes.shape == whole.boxes.shape
        np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-5)
        np.testing.assert_array_equal(parts.valid, whole.valid)
    assert predict._cache_size() == 2


def test_detections_lie_in_the_image(finished_run, tiny_sets):
    _, task, variables = restore(finished_run)
    found = map_batches(
        make_predict(task.apply, task.postprocess), variables, tiny_sets[1].examples.images, batch_size=12
    )
    assert found.valid.any()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 1).all()


def test_a_run_is_never_overwritten(finished_run, tiny_config):
    with pytest.raises(FileExistsError, match="--resume"):
        finished_run.create(tiny_config)


def test_report(finished_run, tiny_sets):
    _, task, variables = restore(finished_run)
    result = evaluate(validate_of(task), variables, tiny_sets[1], task.score, batch_size=8)
    report_scores(finished_run.path, task, tiny_sets[1], result, "val", {"checkpoint": "best"})
    report_training(finished_run, task)
    names = {path.name for path in finished_run.figures.iterdir()}
    assert names == {"val-detections.png", "val-precision-recall.png", "training.png"}
    scores = json.loads((finished_run.path / "scores-val.json").read_text())
    assert (scores["num_images"], scores["checkpoint"]) == (12, "best")
    assert list(scores["classes"]) == list(tiny_sets[1].class_names)


def test_no_run_and_no_checkpoint_are_told_apart(tmp_path, tiny_config):
    run = RunFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        restore(run)
    run.create(tiny_config)
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        restore(run)


def test_config_round_trip(tmp_path, tiny_config):
    tiny_config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == tiny_config
    (tmp_path / "config.json").write_text('{"version": 1, "model": {"colour": 1}}')
    with pytest.raises(ValueError, match="colour"):
        Config.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "3", '{"version": 1, "optimizer": {"epochs": "many"}}', '{"version": 1, "optimizer": {"epochs": [0]}}'],
)
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        Config.load(tmp_path / "config.json")
