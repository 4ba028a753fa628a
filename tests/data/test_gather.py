"""Rows through worker processes: the right ones, in order, whatever happens to the workers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxssd.data import gather
from jaxssd.data.gather import Gatherer, WorkersKeepDying, copy_rows

ROWS = 7


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    """Twenty rows, and the file that holds them."""
    path = tmp_path_factory.mktemp("rows") / "images.npy"
    rows = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    np.save(path, rows)
    return path, rows


def batches(count):
    return list(np.random.default_rng(1).integers(0, 20, (count, ROWS)))


def kill_workers():
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)


def test_batches_come_in_order_and_workers_may_die(array):
    """Once before anything is read, and once between two batches."""
    path, rows = array
    told = []
    with Gatherer(path, rows=ROWS, workers=2, tell=told.append) as gatherer:
        for number, (batch, found) in enumerate(zip(batches(4), gatherer.gather(batches(4)), strict=True)):
            np.testing.assert_array_equal(found, rows[batch])
            if number == 1:
                kill_workers()
    assert told
    assert all(str(path) in line and "has died" in line for line in told)
    assert multiprocessing.active_children() == []


def test_nothing_to_gather(array):
    with Gatherer(array[0], rows=ROWS, workers=1) as gatherer:
        assert list(gatherer.gather([])) == []


def test_workers_that_keep_dying_stop_the_run(array, monkeypatch):
    """The file is gone before they start: no worker can read it, which is no death but an error of its own."""
    path, _ = array
    told = []
    with Gatherer(path, rows=ROWS, workers=1, tell=told.append) as gatherer:
        monkeypatch.setattr(gather, "copy_rows", os.abort)  # found by name in the worker, where it takes no arguments
        monkeypatch.setattr(gatherer, "_submit", lambda rows, number: [gatherer._pool.submit(os.abort)])
        with pytest.raises(WorkersKeepDying, match=r"4 times .*images\.npy.*checkpoint"):
            next(gatherer.gather(batches(1)))
    assert len(told) == gather.MOST_DEATHS


def test_a_file_that_is_gone_is_named(array, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, array[1])
    with Gatherer(path, rows=ROWS, workers=1) as gatherer:
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"images\.npy"):
            next(gatherer.gather(batches(1)))


def test_a_worker_copies_its_part(array):
    path, rows = array
    out = np.zeros((3, 4, 4, 3), np.uint8)
    copy_rows(path, np.array([5, 19]), out, 1)
    np.testing.assert_array_equal(out, np.concatenate([np.zeros_like(rows[:1]), rows[[5, 19]]]))


STREAM = """
import multiprocessing, sys, time
from pathlib import Path
import numpy as np
from jaxssd.data.gather import Gatherer

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with Gatherer(folder / "images.npy", rows=2, workers=2, temporary=folder) as gatherer:
        next(gatherer.gather([np.array([0, 1])] * 2))
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        time.sleep(100)
"""


def test_nothing_outlives_a_parent_that_is_killed(array, tmp_path):
    """No worker, no shared memory, no temporary folder."""
    script, folder = tmp_path / "stream.py", tmp_path / "temporary"
    script.write_text(STREAM)
    folder.mkdir()
    np.save(folder / "images.npy", array[1])
    before = set(os.listdir("/dev/shm")) if gather.SHARED_MEMORY.is_dir() else set()
    with subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(number) for number in parent.stdout.readline().split()]
        assert workers
        parent.kill()
    give_up = time.monotonic() + 30
    while any(map(is_alive, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    assert not folder.exists()
    if gather.SHARED_MEMORY.is_dir():
        assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("psm_")}


def is_alive(number):
    """Not gone, and no zombie that nobody has asked after."""
    try:
        os.kill(number, 0)
        return "(zombie)" not in Path(f"/proc/{number}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_too_little_shared_memory_is_told_before_anything_is_read(array, monkeypatch):
    if not gather.SHARED_MEMORY.is_dir():
        pytest.skip("no /dev/shm here")
    monkeypatch.setattr(gather.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"shared memory.*--shm-size.*--batch-size.*--memory device"):
        Gatherer(array[0], rows=ROWS, workers=1)
