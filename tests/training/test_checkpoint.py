"""Checkpoints: which one is best and which last, under any name of a folder, on a full disk, and damaged in any way."""

import asyncio
import errno
import os
import random
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.training.checkpoint import Checkpoints, array_digests
from jaxssd.training.orbax_io import DamagedCheckpointError
from jaxssd.training.step import TrainState, Variables


def state_of(step):
    params = {"kernel": jnp.arange(600.0).reshape(20, 30) + step, "scale": jnp.full((), step, jnp.bfloat16)}
    return TrainState(jnp.int32(step), params, {"mean": jnp.ones(3)}, (jnp.zeros(2, jnp.int32) + step,))


LIKE = jax.eval_shape(lambda: state_of(0))


def save(folder, scores):
    with Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(step), score=score)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Step 2 is the best, step 6 the last."""
    return save(tmp_path_factory.mktemp("run") / "checkpoints", {2: 0.5, 4: 0.25, 6: 0.375})


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_the_last_and_the_best_are_kept(saved):
    with Checkpoints(saved, read_only=True) as checkpoints:
        assert (checkpoints.steps, checkpoints.last_step, checkpoints.best_step) == ([2, 6], 6, 2)
        assert [checkpoints.score(step) for step in (2, 6)] == [0.5, 0.375]
        for step in (2, 6):
            assert same(checkpoints.restore(step, LIKE), state_of(step))
            assert same(checkpoints.restore_variables(step, LIKE.variables), state_of(step).variables)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_model_state_may_have_random_keys(tmp_path, impl):
    """NNX's streams of dropout are such; the next draw is the one of the model that was saved."""
    state = state_of(2)._replace(model_state={"dropout": jax.random.split(jax.random.key(7, impl=impl), 3)})
    with Checkpoints(tmp_path / "keys") as checkpoints:
        checkpoints.save(2, state, score=None)
    with Checkpoints(tmp_path / "keys", read_only=True) as checkpoints:
        for like in (state, jax.eval_shape(lambda: state)):
            keys = checkpoints.restore(2, like).model_state["dropout"]
            assert keys.dtype == state.model_state["dropout"].dtype
            assert jax.random.uniform(keys[1]) == jax.random.uniform(state.model_state["dropout"][1])
        other = state.variables._replace(model_state={"dropout": jax.random.split(jax.random.key(7, impl=impl), 4)})
        with pytest.raises(ValueError, match="holds another network"):
            checkpoints.restore_variables(2, other)


@pytest.mark.parametrize(
    ("scores", "best", "kept"),
    [
        ({2: 0.5, 4: 0.5}, 4, [4]),  # the newer of equals
        ({2: -3.0, 4: -1.0, 6: -2.0}, 4, [4, 6]),
        ({2: 0.5, 4: None, 6: None}, 2, [2, 6]),  # what has no score is kept only as the last
        ({2: None, 4: None}, None, [4]),
    ],
)
def test_best_is_the_highest_score(tmp_path, scores, best, kept):
    save(tmp_path / "checkpoints", scores)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert (checkpoints.best_step, checkpoints.steps) == (best, kept)
        assert [checkpoints.is_scored(step) for step in kept] == [scores[step] is not None for step in kept]


def test_a_score_is_added_where_it_was_missing(tmp_path):
    folder = save(tmp_path / "checkpoints", {2: 0.5, 4: None})
    with Checkpoints(folder) as checkpoints:
        checkpoints.add_score(4, 0.75)
        assert checkpoints.best_step == 4
        checkpoints.save(6, state_of(6), score=0.25)
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.steps == [4, 6]


NAMES = [
    "proj [2024]",
    "[a-z]",
    "a*b?",
    "back\\slash",
    "drive:",
    "new\nline",
    "#1 100% 'q' \"d\"",
    "日本 ü",
    "~",
    "-rf",
]


@pytest.mark.parametrize("name", [*NAMES, "byte \udcff", "{a,b} $HOME"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = save(tmp_path / name / "checkpoints", {2: 0.5, 4: 0.25})
    before = set(os.listdir(tmp_path))
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert same(checkpoints.restore(checkpoints.best_step, LIKE), state_of(2))
        assert same(checkpoints.restore(checkpoints.last_step, LIKE), state_of(4))
    assert set(os.listdir(tmp_path)) == before == {name}


def flip(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def cut(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def make_folder(file, rng):
    file.unlink()
    file.mkdir()


DAMAGE = {
    "flip": flip,
    "cut": cut,
    "empty": lambda file, rng: file.write_bytes(b""),
    "zeros": lambda file, rng: file.write_bytes(bytes(file.stat().st_size)),
    "text": lambda file, rng: file.write_text("no data\n"),
    "delete": lambda file, rng: file.unlink(),
    "folder": make_folder,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_damaged_file_is_named_or_does_no_harm(saved, tmp_path, kind, capfd):
    """The right arrays, or an error of one line that names the step's folder; nothing else is printed."""
    rng, outcomes = random.Random(kind), set()
    for file in sorted(path.relative_to(saved) for path in (saved / "6").rglob("*") if path.is_file()):
        copy = tmp_path / "checkpoints"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved, copy)
        if (copy / file).stat().st_size:
            DAMAGE[kind](copy / file, rng)
        outcomes.add(outcome(copy))
    assert outcomes == {"right", "named"}
    assert "Traceback" not in capfd.readouterr().err


def outcome(folder):
    """Of reading step 6."""
    try:
        with Checkpoints(folder, read_only=True) as checkpoints:
            checkpoints.score(6)
            return "right" if same(checkpoints.restore(6, LIKE), state_of(6)) else "wrong"
    except DamagedCheckpointError as error:
        return "named" if str(folder / "6") in str(error) and "\n" not in str(error) else f"unclear: {error}"


def test_every_flip_in_an_array_is_noticed(tmp_path, monkeypatch):
    """As the arrays come out of orbax, whatever they went through."""
    folder = save(tmp_path / "checkpoints", {2: 0.5})
    for place, flipped in (("kernel", np.array([7, 0])), ("scale", ())):
        state = state_of(2)
        wrong = np.array(state.params[place])
        wrong[tuple(flipped)] = -wrong[tuple(flipped)]
        params = {**state.params, place: wrong}
        monkeypatch.setattr(
            "orbax.checkpoint.Checkpointer.restore", lambda *_, p=params, **__: {"params": p, "model_state": {}}
        )
        like = Variables(LIKE.params, {})
        message = rf"checkpoints/2 is damaged.*{place}.*not what was saved"
        with Checkpoints(folder, read_only=True) as checkpoints, pytest.raises(DamagedCheckpointError, match=message):
            checkpoints.restore_variables(2, like)


def test_another_network_is_no_damage(saved):
    like = LIKE._replace(params={**LIKE.params, "kernel": jax.ShapeDtypeStruct((20, 31), jnp.float32)})
    message = r"6 holds another network.*float32\[20,30\].*float32\[20,31\]"
    with Checkpoints(saved, read_only=True) as checkpoints, pytest.raises(ValueError, match=message) as caught:
        checkpoints.restore(6, like)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_a_checkpoint_of_an_older_version_is_read_and_said_once(saved, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    shutil.rmtree(folder / "6" / "digests")
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert same(checkpoints.restore(6, LIKE), state_of(6))
        assert same(checkpoints.restore(2, LIKE), state_of(2))
    assert capsys.readouterr().out.count("has no digests") == 1


def test_a_step_that_is_set_aside_can_be_saved_again(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    (folder / "7.orbax-checkpoint-tmp").mkdir()  # of a killed run
    shutil.copytree(saved / "2", folder / "3")
    shutil.rmtree(folder / "3" / "metrics")  # half deleted by a killed run
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.set_aside(6) == folder / "6.damaged"
        assert checkpoints.last_step == 3
        checkpoints.save(6, state_of(6), score=0.25)
        checkpoints.wait()
        assert same(checkpoints.restore(6, LIKE), state_of(6))
        checkpoints.tidy()
    assert {path.name for path in folder.iterdir()} == {"2", "6", "6.damaged"}


@pytest.mark.parametrize(
    "text", ["RESOURCE_EXHAUSTED: Error writing d/1: No space left on device", "Disk quota exceeded"]
)
def test_a_full_disk_is_one_error_that_names_the_folder(tmp_path, monkeypatch, capfd, text):
    """At the next saving or at the end, and not twice; no thread is left."""

    async def fail(*_, **__):
        await asyncio.sleep(0)
        raise ValueError(text)

    monkeypatch.setattr("orbax.checkpoint._src.serialization.serialization.async_serialize_from_host", fail)

    def save_and_wait():
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            checkpoints.save(2, state_of(2), score=0.5)
            checkpoints.wait()

    for attempt in (save_and_wait, lambda: save(tmp_path / "checkpoints", {2: 0.5})):
        with pytest.raises(OSError, match=r"not saved: no space is left.*checkpoints'$") as caught:
            attempt()
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value).count("\n") == 0
    assert not [thread for thread in threading.enumerate() if "save" in thread.name]
    assert capfd.readouterr().err.count("\n") == 0


UNREADABLE_NOW = [
    PermissionError(errno.EACCES, "Permission denied", "d/1"),
    OSError(errno.ETIMEDOUT, "Connection timed out", "d/1"),
    OSError(errno.ESTALE, "Stale file handle", "d/1"),
    ValueError("UNKNOWN: Error reading local file \"d/1\": Input/output error [os_error_code='5']"),
    ValueError("RESOURCE_EXHAUSTED: Failed to open: d/1 [OS error code: 24 EMFILE Too many open files]"),
]


@pytest.mark.parametrize("error", UNREADABLE_NOW, ids=repr)
@pytest.mark.parametrize("caused", [False, True])
def test_what_is_only_out_of_reach_is_not_called_damaged(saved, monkeypatch, error, caused):
    def refuse(*_, **__):
        if not caused:
            raise error
        raise ValueError("reading failed") from error

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.restore", refuse)
    message = "checkpoints/6/variables: checkpoint not read"
    with Checkpoints(saved, read_only=True) as checkpoints, pytest.raises(OSError, match=message):
        checkpoints.restore(6, LIKE)


def test_digests_tell_content_form_and_place_apart():
    trees = [
        {"a": np.zeros(4, np.float32)},
        {"a": np.zeros((2, 2), np.float32)},
        {"a": np.zeros(4, np.int32)},
        {"a": np.array([0, 0, 0, -0.0], np.float32)},
        {"b": np.zeros(4, np.float32)},
    ]
    assert len({str(array_digests(tree)) for tree in trees}) == len(trees)
    for tree in trees:
        assert array_digests(jax.tree.map(jnp.asarray, tree)) == array_digests(tree)
    assert array_digests({"a": np.zeros((0, 4))})
