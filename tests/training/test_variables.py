"""A run whose files are damaged goes on from what is sound, or says what is not and the way out."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.tasks.task import make_task
from jaxssd.training import RunFolder, job, restore, train
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.fine_tune import read_pretrained
from jaxssd.training.orbax_io import DamagedCheckpointError
from jaxssd.training.variables import newest_sound


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a run with a best checkpoint, made to be of step 2, and the last one of step 6."""
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(finished_run.path, copy.path)
    with Checkpoints(copy.checkpoints) as checkpoints:
        (first, *_), last = checkpoints.steps, checkpoints.last_step
        assert (first, last) == (2, 6)
        checkpoints.add_score(2, 0.5)
        checkpoints.add_score(6, 0.25)
    return copy


def damage(run, step, item="variables"):
    """Flip a bit in the middle of the largest file."""
    file = max((run.checkpoints / str(step) / item).rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(file.read_bytes())
    content[random.Random(step).randrange(len(content) // 4, len(content) // 2)] ^= 16
    file.write_bytes(content)


def leaves(run, which="last"):
    return jax.tree.leaves(restore(run, which)[2])


def read(run):
    config = run.open()
    with Checkpoints(run.checkpoints) as checkpoints:
        return newest_sound(config, make_task(config), run, checkpoints, epoch_steps=2)


def test_best_and_last_are_told_apart(run):
    assert any((a != b).any() for a, b in zip(leaves(run, "best"), leaves(run, "last"), strict=True))
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        like = restore(run)[2]
        for which, step in (("best", 2), ("last", 6)):
            theirs = jax.tree.leaves(checkpoints.restore_variables(step, like))
            jax.tree.map(np.testing.assert_array_equal, leaves(run, which), theirs)
    config = run.open().replace(pretrained=str(run.path))
    ours = read_pretrained(config, make_task(config)).collections["params"]["backbone"]
    jax.tree.map(np.testing.assert_array_equal, ours, restore(run, "best")[2].params["backbone"])


@pytest.mark.parametrize(("which", "step", "way_out"), [("best", 2, "--checkpoint last"), ("last", 6, "--resume")])
def test_a_damaged_checkpoint_is_named_with_the_way_out(run, which, step, way_out):
    damage(run, step)
    with pytest.raises(DamagedCheckpointError, match=rf"checkpoints/{step}\b.*damaged.*{way_out}"):
        restore(run, which)
    if which == "best":
        config = run.open().replace(pretrained=str(run.path))
        with pytest.raises(DamagedCheckpointError, match="checkpoints/2"):
            read_pretrained(config, make_task(config))
    assert leaves(run, {"best": "last", "last": "best"}[which])
    assert {path.name for path in run.checkpoints.iterdir()} == {"2", "6"}  # reading changes nothing


def test_a_run_goes_on_from_the_checkpoint_before_and_ends_as_it_did(run, finished_run, tiny_config, tiny_sets, capsys):
    damage(run, 6)
    train(tiny_config, *tiny_sets, run)
    said = capsys.readouterr().out
    assert "checkpoints/6" in said
    assert "It is now 6.damaged; going on without it, from step 2" in said
    assert "continuing after epoch 1 of 3" in said
    assert run.metrics.read_text() == finished_run.metrics.read_text()
    for a, b in zip(leaves(run), leaves(finished_run), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_optimizer_counts_where_it_is_needed(run, tiny_config, capsys):
    damage(run, 6, "optimizer")
    assert int(read(run).step) == 6  # all epochs are done
    assert capsys.readouterr().out == ""
    tiny_config.replace(epochs=(4,)).save(run.config)
    assert int(read(run).step) == 2
    assert "optimizer" in capsys.readouterr().out


def test_without_a_sound_checkpoint_nothing_is_lost(run, capsys):
    """To start again without being asked would drop the rows as well."""
    damage(run, 2)
    damage(run, 6)
    with pytest.raises(
        DamagedCheckpointError,
        match=r"2(/variables)? is damaged.*No other checkpoint exists: restore a copy; or delete .*/2,",
    ):
        read(run)
    assert "6.damaged; going on without it, from step 2" in capsys.readouterr().out
    assert {path.name for path in run.checkpoints.iterdir()} == {"2", "6.damaged"}
    shutil.rmtree(run.checkpoints / "2")
    assert read(run) is None


def test_what_a_kill_has_left_of_a_deleted_step_goes(run):
    shutil.copytree(run.checkpoints / "2", run.checkpoints / "4")
    shutil.rmtree(run.checkpoints / "4" / "metrics")
    run.metrics.write_text(
        "".join(line + "\n" for line in run.metrics.read_text().splitlines() if '"step": 4' not in line)
    )
    assert int(read(run).step) == 6
    assert {path.name for path in run.checkpoints.iterdir()} == {"2", "6"}


def test_what_was_set_aside_stays(run):
    (run.checkpoints / "6.damaged").mkdir()
    damage(run, 6)
    assert int(read(run).step) == 2
    assert {path.name for path in run.checkpoints.iterdir()} == {"2", "6.damaged", "6.damaged-2"}


def test_a_checkpoint_without_its_score_is_not_deleted(run, capsys):
    """It is the best one, by the rows of the run."""
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.add_score(6, -1.0)
    shutil.rmtree(run.checkpoints / "2" / "metrics")
    assert int(read(run).step) == 6
    assert "checkpoints/2 has lost its score; written again" in capsys.readouterr().out
    with Checkpoints(run.checkpoints) as checkpoints:
        assert checkpoints.best_step == 2


def test_a_damaged_best_one_is_set_aside_before_the_training(run, capsys):
    damage(run, 2)
    assert int(read(run).step) == 6
    assert "It is now 2.damaged" in capsys.readouterr().out
    assert {path.name for path in run.checkpoints.iterdir()} == {"2.damaged", "6"}
    assert leaves(run, "best")


def test_a_lost_score_is_that_of_the_row(run, capsys):
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.add_score(6, -1.0)
    file = run.checkpoints / "2" / "metrics" / "metrics"
    file.write_text(file.read_text().replace("5", "7", 1))
    with pytest.raises(DamagedCheckpointError, match=r"2/metrics/metrics is damaged.*differ"):
        restore(run)
    assert int(read(run).step) == 6
    assert "metrics/metrics is damaged" in capsys.readouterr().out
    with Checkpoints(run.checkpoints) as checkpoints:
        assert checkpoints.score(2) == run.rows("val")[0]["objective"]


PINS = {"train": "a", "val": "b"}


@pytest.fixture
def new_run(tmp_path, tiny_config):
    run = RunFolder(tmp_path / "run")
    run.create(tiny_config)
    run.pin(tiny_config, PINS)
    return run


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"train": "c", "val": "b", "sha256": "0123456789abcdef"}'])
def test_a_damaged_data_json_is_written_again_before_the_first_checkpoint(new_run, tiny_config, text, capsys):
    new_run.fingerprints.write_text(text)
    new_run.pin(tiny_config, PINS)
    assert "data.json is damaged" in capsys.readouterr().out
    (new_run.checkpoints / "2").mkdir(parents=True)
    new_run.pin(tiny_config, PINS)
    new_run.fingerprints.write_text(text)
    for check in (lambda: new_run.pin(tiny_config, PINS), lambda: new_run.require_same_data(PINS)):
        with pytest.raises(ValueError, match=r"data\.json is damaged.*delete this file: --resume"):
            check()
    new_run.fingerprints.unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.json is not there: .*--resume"):
        new_run.require_same_data(PINS)
    new_run.pin(tiny_config, PINS)
    assert "was lost" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`val` have changed"):
        new_run.pin(tiny_config, {**PINS, "val": "c"})


def test_a_data_json_of_an_older_version_is_read(new_run, tiny_config):
    new_run.fingerprints.write_text(json.dumps(PINS))
    new_run.pin(tiny_config, PINS)


@pytest.mark.parametrize("text", [None, "", "{", "\0\0", '{"epochs": "many"}'])
def test_a_damaged_config_is_taken_from_its_copy(new_run, tiny_config, text, capsys):
    new_run.config.unlink()
    if text is not None:
        new_run.config.write_text(text)
    assert new_run.open() == tiny_config
    assert "config.json" in (said := capsys.readouterr().out)
    assert "its copy in" in said
    new_run.fingerprints.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=r"config\.json") as caught:
        new_run.open()
    assert text is None or "start it again" in str(caught.value)


def test_rows_that_are_none_are_named_and_dropped(new_run, capsys):
    new_run.append_rows({"kind": "train", "step": step, "loss": 0.5} for step in range(1, 6))
    lines = new_run.metrics.read_bytes().splitlines()
    lines[1] = lines[1].replace(b"step", b"s\xf4ep")
    lines[2] = b"[3]"
    new_run.metrics.write_bytes(b"\n".join(lines[:4]) + b"\n" + lines[4][:9])  # the last one torn by a kill
    assert [row["step"] for row in new_run.rows("train")] == [1, 4]
    new_run.drop_rows_after(4)
    said = capsys.readouterr().out
    assert "metrics.jsonl: left out invalid rows: line 2, 3\n" in said
    assert "2 of 4 steps are missing" in said
    assert len(new_run.metrics.read_text().splitlines()) == 2


def test_curves_that_cannot_be_drawn_are_said(finished_run, tiny_config, monkeypatch, capsys):
    def draw(run, task):
        raise KeyError("map_area")

    monkeypatch.setattr(job, "report_training", draw)
    job._draw_training(finished_run, make_task(tiny_config))
    assert "metrics.jsonl is damaged: a row has no 'map_area'" in capsys.readouterr().out


def test_a_place_where_nothing_can_be_written_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        with pytest.raises(NotADirectoryError, match="file is a file"):
            RunFolder(tmp_path / place).require_new()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="not writable"):
        RunFolder(tmp_path / "new" / "run").require_new()


def test_settings_of_json_are_checked_like_others():
    with pytest.raises(ValueError, match="colour"):
        Config.from_json({"version": 1, "colour": 1})
