"""Rows of an array on disk into shared memory, by worker processes, while the caller does something else.

A worker opens the array as a memory map and copies rows; what it waits for is the disk. Workers are processes, so that
a disk that fails under a memory map, which is a fatal signal, takes a worker and not the training with it.

However the parent ends, nothing stays behind: a worker that loses it goes too, and the shared memory has no name, so
that it is freed with the last process that has it.
"""

import contextlib
import errno
import mmap
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

BUFFERS = 2

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps it; a container may have very little."""

MOST_DEATHS = 3
"""Of worker processes in a run; whatever kills a fourth one is not going to stop."""

Tell = Callable[[str], None]


class WorkersKeepDying(RuntimeError):
    """More worker processes died than can be put down to chance."""


class Gatherer:
    """A pool of workers that copy rows of one `.npy` file. A context manager.

    One batch of rows can be prepared ahead: there are two buffers, which take turns.
    """

    def __init__(
        self, path: Path, *, rows: int, workers: int, tell: Tell = print, temporary: Path | None = None
    ) -> None:
        """Allocate the buffers; workers start with the first batch.

        Args:
            path: of a uint8 array `[N, ...]`.
            rows: in each batch.
            workers: processes.
            tell: is called with a line when a worker has died.
            temporary: a folder of the caller's that workers remove if the caller is killed.

        Raises:
            OSError: if there is too little shared memory for the buffers.
        """
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._path, self._workers, self._tell, self._deaths = path, workers, tell, 0
        self._temporary = temporary
        self._shape = (rows, *array.shape[1:])
        size = max(1, int(np.prod(self._shape)))
        _require_shared_memory(BUFFERS * size)
        self._buffers = [SharedBuffer.new(size) for _ in range(BUFFERS)]
        self._views = [np.ndarray(self._shape, np.uint8, buffer.memory) for buffer in self._buffers]
        self._pool = self._new_pool()

    def __enter__(self) -> "Gatherer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._views.clear()
        for buffer in self._buffers:
            buffer.close()

    def gather(self, batches: Sequence[Int[np.ndarray, " rows"]]) -> Iterator[UInt8[np.ndarray, "rows ..."]]:
        """Prepare batches in their order, each while the one before is in use.

        Args:
            batches: rows of the array, `rows` of them in each.

        Yields:
            The rows of each batch. The array is overwritten two batches later: copy what is to stay.

        Raises:
            WorkersKeepDying: when too many have died.
        """
        pending = self._submit(batches[0], 0) if batches else []
        for number, batch in enumerate(batches):
            self._wait(pending, batch, number)
            if number + 1 < len(batches):
                pending = self._submit(batches[number + 1], number + 1)
            yield self._views[number % BUFFERS]

    def _submit(self, rows: np.ndarray, number: int) -> list[Future]:
        """Share a batch out among the workers; a pool that is broken already shows when it is waited for."""
        parts = np.array_split(np.arange(len(rows)), self._workers)
        with contextlib.suppress(BrokenProcessPool):
            return [
                self._pool.submit(_copy, self._path, rows[part], number % BUFFERS, self._shape, int(part[0]))
                for part in parts
                if len(part)
            ]
        return []

    def _wait(self, pending: list[Future], rows: np.ndarray, number: int) -> None:
        """Until a batch is whole, starting it again with new workers if one of them dies."""
        while True:
            try:
                for future in pending:
                    future.result()
                if pending:
                    return
            except BrokenProcessPool:
                pass
            self._deaths += 1
            if self._deaths > MOST_DEATHS:
                raise WorkersKeepDying(
                    f"{self._deaths} times a process that reads {self._path} has died: out of memory, or a disk that "
                    'fails, or a script without `if __name__ == "__main__":`? The run can be continued from its last '
                    "checkpoint; --memory device needs no such processes."
                )
            self._tell(f"a process that reads {self._path} has died; the batch is read again by new ones")
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = self._new_pool()
            pending = self._submit(rows, number)

    def _new_pool(self) -> ProcessPoolExecutor:
        # Spawned, because a fork would copy a process in which JAX has threads.
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._buffers, self._temporary),
        )


class SharedBuffer:
    """Memory that a process shares with those it spawns, to which it goes as an open file: it never has a name."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Map a file.

        Args:
            descriptor: of the file, which this object closes.
            size: bytes.
        """
        self._descriptor, self._size = descriptor, size
        self.memory = mmap.mmap(descriptor, size)

    @staticmethod
    def new(size: int) -> "SharedBuffer":
        """Fresh memory, all zeros."""
        with tempfile.TemporaryFile(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as file:
            file.truncate(size)
            return SharedBuffer(os.dup(file.fileno()), size)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd  # not on Windows, where nothing is streamed

        return _attach, (DupFd(self._descriptor), self._size)

    def close(self) -> None:
        """Let go of it; if an array still looks at it, the memory goes with that."""
        os.close(self._descriptor)
        with contextlib.suppress(BufferError):
            self.memory.close()


def _attach(descriptor: Any, size: int) -> SharedBuffer:
    return SharedBuffer(descriptor.detach(), size)


_buffers: list[SharedBuffer] = []
"""In a worker: the parent's."""


def _start_worker(buffers: list[SharedBuffer], temporary: Path | None) -> None:
    """In a worker: Ctrl-C and a closed terminal are the parent's to answer; the worker goes when the parent does."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_go_with_the_parent, args=(temporary,), daemon=True).start()
    _buffers[:] = buffers


def _go_with_the_parent(temporary: Path | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        os._exit(1)


def _require_shared_memory(size: int) -> None:
    """A buffer can be made larger than there is memory for, and only whoever writes to it is killed."""
    if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < size:
        raise OSError(
            errno.ENOSPC,
            f"streaming needs {size / 1e6:.0f} MB of shared memory and {free / 1e6:.0f} are free (docker run "
            "--shm-size gives a container more); a smaller --batch-size needs less, --memory device none",
            str(SHARED_MEMORY),
        )


def _copy(path: Path, rows: Int[np.ndarray, " n"], number: int, shape: tuple[int, ...], start: int) -> None:
    """In a worker: `copy_rows` into the buffer of this number."""
    copy_rows(path, rows, np.ndarray(shape, np.uint8, _buffers[number].memory), start)


def copy_rows(path: Path, rows: Int[np.ndarray, " n"], out: UInt8[np.ndarray, "..."], start: int) -> None:
    """Copy rows of the array at `path` into an array, from its row `start` on."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    np.take(array, rows, axis=0, out=out[start : start + len(rows)], mode="clip")
