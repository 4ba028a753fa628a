"""Signals end a run with a checkpoint of exactly there; resumed, it ends as the uninterrupted one."""

import errno
import io
import os
import signal
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm

from jaxssd.atomic import UNFINISHED, replacing
from jaxssd.training import Interrupted, RunFolder, epochs, interruption, loop, restore, train
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.epochs import Sizes, cut_epoch
from jaxssd.training.interruption import SIGNALS, TWICE, deferred, requested, say, signals_watched


def send(number=signal.SIGTERM):
    """Send a signal to this process, and wait until it has been noticed."""
    os.kill(os.getpid(), number)
    wait_for(requested)


def wait_for(condition):
    give_up = time.monotonic() + 20
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.005)
    assert condition()


@pytest.fixture(autouse=True)
def _nothing_ignored():
    """A shell starts what it puts into the background with Ctrl-C ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def exits(monkeypatch):
    """The statuses with which the process would have ended at once."""
    found = []
    monkeypatch.setattr(interruption.os, "_exit", found.append)
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_with_nothing_to_save_the_process_ends_at_once(exits, capsys, tmp_path, number, status):
    """And leaves nothing half written: no file, and no folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "images").touch()
    with signals_watched(lambda: "; go on with: this"), replacing(tmp_path / "file") as unfinished:
        UNFINISHED.add(folder)
        unfinished.touch()
        os.kill(os.getpid(), number)
        wait_for(lambda: exits)
        assert list(tmp_path.iterdir()) == []
        UNFINISHED.discard(folder)
        unfinished.touch()  # it goes on here, unlike a process that has ended
    assert exits[0] == status
    assert f"stopped by {number.name}; go on with: this\n" in capsys.readouterr().err


def test_what_there_is_to_save_defers_the_end(exits, capsys):
    """Until somebody looks, or at the latest until all is saved; a signal that comes twice is one."""
    with signals_watched(), pytest.raises(Interrupted) as caught, deferred():  # noqa: PT012
        send()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2 * TWICE)
        assert exits == []
    assert caught.value.status == 143
    assert capsys.readouterr().err.count("SIGTERM: finishing") == 1
    assert requested() == 0  # of the next command


def test_a_second_ctrl_c_ends_at_once(exits):
    with signals_watched(), pytest.raises(Interrupted), deferred():  # noqa: PT012
        send(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the first one, passed on twice
        time.sleep(2 * TWICE)
        assert exits == []
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: exits)
    assert exits == [130]


def test_what_was_ignored_stays_ignored_and_handlers_come_back():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with signals_watched(), deferred():
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.05)
        assert not requested()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_nobody_to_talk_to_is_no_failure(monkeypatch):
    """A pipe whose reader is gone, as of `| tee` after Ctrl-C."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr("sys.stderr", broken)
        say("anything")
        say("and more")


def test_a_closed_terminal_disturbs_nothing(exits, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", closed := Closed())
    with signals_watched():
        print("heard by nobody", flush=True)
        tqdm.tqdm.write("nor this")
        assert sys.stdout is not closed
    assert sys.stdout is closed
    assert not exits


def test_a_stop_that_cannot_be_saved_is_an_error(tiny_config, tiny_sets, tmp_path, monkeypatch):
    """And not the message that one may go on."""
    run = RunFolder(tmp_path)
    run.create(tiny_config)

    def fetch_and_stop(loss, fetch=loop.fetch):
        send()
        return fetch(loss)

    async def fail(*_, **__):
        raise ValueError("No space left on device")

    monkeypatch.setattr(loop, "fetch", fetch_and_stop)
    monkeypatch.setattr("orbax.checkpoint._src.serialization.serialization.async_serialize_from_host", fail)
    with signals_watched(), pytest.raises(OSError, match="not saved: no space is left"):
        train(tiny_config, *tiny_sets, run)


@pytest.mark.parametrize(
    ("memory", "all_stops"),
    [
        # In the first epoch, at its end before the validation, and during the second validation.
        ("device", {1: "block", 2: "block", 4: "validation"}),
        # In the second epoch, and after its validation, before anything is saved.
        ("stream", {3: "block", 4: "scored"}),
    ],
)
def test_stopped_anywhere_it_ends_alike(finished_run, tiny_config, tiny_sets, tmp_path, monkeypatch, memory, all_stops):
    """Stopped and resumed: a checkpoint of exactly there, and in the end the same rows, weights and best."""
    if memory == "stream":
        monkeypatch.setattr(epochs, "CHUNK_STEPS", 1)  # two blocks an epoch, of which one is done
    config, run = tiny_config.replace(memory=memory), RunFolder(tmp_path)
    run.create(config)
    fetch, evaluate, stops = loop.fetch, loop.evaluate, dict(all_stops)

    def stop(place, step):
        if stops.get(step) == place:
            del stops[step]
            send()

    def fetch_and_stop(loss):
        stop("block", len(run.rows("train")) + 1)
        return fetch(loss)

    def stop_and_evaluate(*args, **kwargs):
        stop("validation", len(run.rows("train")))
        result = evaluate(*args, **kwargs)
        stop("scored", len(run.rows("train")))
        return result

    monkeypatch.setattr(loop, "fetch", fetch_and_stop)
    monkeypatch.setattr(loop, "evaluate", stop_and_evaluate)
    for step, place in all_stops.items():
        with signals_watched(), pytest.raises(Interrupted):
            train(config, *tiny_sets, run)
        with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
            assert checkpoints.last_step == step
            assert checkpoints.is_scored(step) == (place == "scored")
            best = max(run.rows("val"), key=lambda row: (row["objective"], row["step"]), default={"step": step})["step"]
            assert {int(folder.name) for folder in run.checkpoints.glob("[0-9]*")} == {step, best}
            assert checkpoints.best_step in (best, None)
        assert [row["step"] for row in run.rows("train")] == list(range(1, step + 1))
    train(config, *tiny_sets, run)
    assert run.metrics.read_text() == finished_run.metrics.read_text()
    for which in ("last", "best"):
        ours, theirs = (jax.tree.leaves(restore(folder, which)[2]) for folder in (run, finished_run))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_checkpoint_by_time_lies_between_validations(finished_run, tiny_config, tiny_sets, tmp_path, monkeypatch):
    """Each step takes a minute, and 2.5 are allowed: killed in the sixth, the run goes on from the third."""
    config, run = tiny_config.replace(checkpoint_every=2.5, eval_every=3), RunFolder(tmp_path)
    run.create(config)
    fetch, save, saved, now = loop.fetch, Checkpoints.save, [], [0.0]

    def fetch_or_die(loss):
        now[0] += 60
        if now[0] == 360:
            raise KeyboardInterrupt
        return fetch(loss)

    def note_and_save(checkpoints, step, state, *, score):
        saved.append((step, score is not None))
        save(checkpoints, step, state, score=score)

    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "fetch", fetch_or_die)
    monkeypatch.setattr(Checkpoints, "save", note_and_save)
    with pytest.raises(KeyboardInterrupt):
        train(config, *tiny_sets, run)
    assert saved == [(3, False)]
    train(config, *tiny_sets, run)
    assert saved == [(3, False), (6, True)]
    assert run.rows("train") == finished_run.rows("train")
    for a, b in zip(*(jax.tree.leaves(restore(folder, "last")[2]) for folder in (run, finished_run)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_clock_is_due_after_so_many_minutes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    clock = loop._Clock(2.0)
    now[0] += 119
    assert not clock.is_due()
    now[0] += 1
    assert clock.is_due()
    clock.restart()
    assert not clock.is_due()


def test_a_run_is_validated_every_so_many_epochs_and_at_the_end_of_each_phase(tiny_config):
    config = tiny_config.replace(epochs=(3, 2), learning_rate=(1e-3, 1e-3), eval_every=2)
    sizes = Sizes(num_images=20, batch_size=5, epoch_steps=4, block_steps=4, call_steps=1)
    assert [step for step in range(1, 21) if loop._is_validated(config, sizes, step)] == [8, 12, 16, 20]


@pytest.mark.parametrize(("done", "call"), [*((done, 1) for done in range(6)), (0, 3), (3, 3)])
def test_what_is_left_of_an_epoch_is_every_step_that_is_not_done(tiny_sets, done, call):
    """In two blocks of three steps, whichever of them the run was stopped in."""
    sizes = Sizes(num_images=12, batch_size=2, epoch_steps=6, block_steps=3, call_steps=call)
    loader = SimpleNamespace(blocks=lambda order: ((tiny_sets[0].examples, rows) for rows in order))
    order = jnp.arange(12).reshape(2, 3, 2)
    calls = [rows for _, rows in loop._Trainer._calls(SimpleNamespace(sizes=sizes, loader=loader), order, done)]
    assert {rows.shape for rows in calls} == {(call, 2)}
    np.testing.assert_array_equal(np.concatenate(calls), np.arange(12).reshape(6, 2)[done:])


@pytest.mark.parametrize(("step", "call"), [(0, 6), (12, 6), (6, 6), (15, 3), (16, 2), (17, 1)])
def test_a_call_begins_where_the_run_goes_on(monkeypatch, step, call):
    """As long as without the stop, or, with another memory than before, as long as divides the way there."""
    monkeypatch.setattr("jaxssd.training.epochs.CPU_CALL_STEPS", 6)
    sizes = cut_epoch(24, 2, 24, step)
    assert (sizes.epoch_steps, sizes.block_steps) == (12, 12)
    assert sizes.call_steps == call
