"""How the training images reach the device: all of them once, or piece by piece while it computes."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.gather import BUFFERS, SHARED_MEMORY, Gatherer, Tell

Memory = Literal["auto", "device", "stream"]

MEMORY_SHARE = 0.5
"""Of the device's memory the training images may take; the rest is for the network."""

PIECES = 4
"""That share has room for so many pieces: the one in use, the one before, the next one, and one to spare."""

PIECE_BYTES = 256_000_000
"""Of a piece at most: more would hide no more of the cost of a call, and take the host's memory."""

WORKERS = min(4, os.cpu_count() or 1)

Feed = Callable[[Int[Array, "pieces steps B"]], Iterator[tuple[Examples, Int[Array, "steps B"]]]]
"""From the order of an epoch to its pieces: examples on the device, and which of their rows each step takes."""


def is_streamed(dataset: Dataset, memory: Memory) -> bool:
    """Whether the images are to be streamed.

    Args:
        dataset: to train on.
        memory: `device` and `stream` force one way; `auto` streams what would take more than half the memory.
    """
    if memory == "auto":
        return dataset.examples.images.nbytes > MEMORY_SHARE * memory_bytes()
    return memory == "stream"


def images_at_once(dataset: Dataset) -> int:
    """How many images a piece may have: what memory there is, of the device and for processes to share."""
    most = min(PIECE_BYTES, MEMORY_SHARE * memory_bytes() / PIECES)
    if SHARED_MEMORY.is_dir():
        most = min(most, shutil.disk_usage(SHARED_MEMORY).free / (2 * BUFFERS))
    return int(most // dataset.examples.images[0].nbytes)


@contextmanager
def open_feed(dataset: Dataset, piece_rows: int | None, tell: Tell = print) -> Iterator[Feed]:
    """The images on the device, or a stream of them; both give the same batches.

    Args:
        dataset: to train on.
        piece_rows: images of a piece, if they are streamed; None puts all of them on the device.
        tell: is called with a line for people.

    Yields:
        The feed.
    """
    if piece_rows is None:
        examples = jax.device_put(dataset.examples)
        yield lambda order: ((examples, rows) for rows in order)
        return
    with ExitStack() as stack:
        path = _images_file(dataset.examples.images, stack)
        size = dataset.examples.images.nbytes / 1e9
        tell(f"streaming {size:.2f} GB of images from {path}, {piece_rows:,} at a time, {WORKERS} processes")
        gatherer = stack.enter_context(Gatherer(path, rows=piece_rows, workers=WORKERS, tell=tell))
        yield lambda order: _stream(dataset.examples, gatherer, order)


def memory_bytes() -> int:
    """What the first local device has; a CPU's is the host's, or what a container is allowed of it."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if not hasattr(os, "sysconf"):  # Windows does not tell
        return sys.maxsize
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(host, int(allowed)) if allowed.isdecimal() else host


def _stream(
    examples: Examples, gatherer: Gatherer, order: Int[Array, "pieces steps B"]
) -> Iterator[tuple[Examples, Int[Array, "steps B"]]]:
    """Each piece is read, and sent, while the one before is in use."""
    pieces, steps, batch_size = order.shape
    rows = np.asarray(jax.device_get(order)).reshape(pieces, steps * batch_size)
    in_piece = jnp.arange(steps * batch_size, dtype=order.dtype).reshape(steps, batch_size)
    ready: Examples | None = None
    on_cpu = jax.local_devices()[0].platform == "cpu"
    for of_piece, images in zip(rows, gatherer.gather(list(rows)), strict=True):
        own = images.copy() if on_cpu else images  # a CPU's array would share the buffer, whatever it is asked for
        sent = jax.device_put(Examples(own, *(array[of_piece] for array in examples[1:])))
        if ready is not None:
            yield ready, in_piece
        ready = jax.block_until_ready(sent)  # its buffer is filled again as soon as the next piece is asked for
    if ready is not None:
        yield ready, in_piece


def _images_file(images: np.ndarray, stack: ExitStack) -> Path:
    """The file that a cached data set's images are mapped from, or a temporary one of those that are not one whole."""
    if isinstance(images, np.memmap) and images.filename is not None:
        path = Path(images.filename)
        if path.suffix == ".npy" and path.is_file():
            whole = np.load(path, mmap_mode="r", allow_pickle=False)
            if (whole.shape, whole.dtype, whole.strides, whole.offset) == (
                images.shape,
                images.dtype,
                images.strides,
                images.offset,
            ):
                return path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxssd-")))
    np.save(folder / "images.npy", images, allow_pickle=False)
    return folder / "images.npy"
