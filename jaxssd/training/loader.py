"""How the training images reach the device: all of them once, or piece by piece while it computes."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, Int

from jaxssd.atomic import UNFINISHED
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.gather import BUFFERS, SHARED_MEMORY, Gatherer, Tell
from jaxssd.training.distribution import one_device, replicated, send
from jaxssd.training.memory import memory_bytes, nbytes

Memory = Literal["auto", "device", "stream"]

MEMORY_SHARE = 0.5
"""Of the device's memory the training images may take; the rest is for the network."""

PIECES = 4
"""That share has room for so many pieces: the one in use, the one before, the next one, and one to spare."""

PIECE_BYTES = 256_000_000
"""Of a piece at most: more would hide no more of the cost of a call, and take the host's memory."""

WORKERS = min(4, os.cpu_count() or 1)

PIECES_AT_ONCE = 3
"""The first three of those, which a run really has."""

Pieces = Iterator[tuple[Examples, Int[Array, "steps B"]]]


class Feed(NamedTuple):
    """Where a run gets its images.

    Attributes:
        pieces: from the order of an epoch to its pieces: examples on the devices, and their rows that each step takes.
        shapes: of the examples of each piece, and the devices that have them.
        nbytes: that they take of each device at most.
    """

    pieces: Callable[[Int[Array, "pieces steps B"]], Pieces]
    shapes: Examples
    nbytes: int


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
def open_feed(dataset: Dataset, piece_rows: int | None, tell: Tell = print, mesh: Mesh | None = None) -> Iterator[Feed]:
    """The images on the device, or a stream of them; both give the same batches.

    Args:
        dataset: to train on.
        piece_rows: images of a piece, if they are streamed; None puts all of them on the device.
        mesh: the devices, each of which gets all images; default, the first one of this process.
        tell: is called with a line for people.

    Yields:
        The feed.
    """
    everywhere = replicated(mesh or one_device())
    if piece_rows is None:
        examples = send(dataset.examples, everywhere)
        yield Feed(lambda order: ((examples, rows) for rows in order), examples, nbytes(examples))
        return
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((piece_rows, *x.shape[1:]), x.dtype, sharding=everywhere), dataset.examples
    )
    with ExitStack() as stack:
        path = _images_file(dataset.examples.images)
        temporary = None
        if path is None:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxssd-")))
            UNFINISHED.add(temporary)
            stack.callback(UNFINISHED.discard, temporary)
            path = temporary / "images.npy"
            np.save(path, dataset.examples.images, allow_pickle=False)
        size = dataset.examples.images.nbytes / 1e9
        tell(f"streaming {size:.2f} GB of images from {path}, {piece_rows:,} at a time, {WORKERS} processes")
        gatherer = stack.enter_context(Gatherer(path, rows=piece_rows, workers=WORKERS, tell=tell, temporary=temporary))
        pieces = partial(_stream, dataset.examples, gatherer, everywhere=everywhere)
        yield Feed(pieces, shapes, PIECES_AT_ONCE * nbytes(shapes))


def _stream(
    examples: Examples, gatherer: Gatherer, order: Int[Array, "pieces steps B"], everywhere: Sharding
) -> Pieces:
    """Each piece is read, and sent, while the one before is in use."""
    pieces, steps, batch_size = order.shape
    rows = np.asarray(jax.device_get(order)).reshape(pieces, steps * batch_size)
    in_piece = send(np.arange(steps * batch_size, dtype=rows.dtype).reshape(steps, batch_size), everywhere)
    ready: Examples | None = None
    on_cpu = jax.local_devices()[0].platform == "cpu"
    for of_piece, images in zip(rows, gatherer.gather(list(rows)), strict=True):
        own = images.copy() if on_cpu else images  # a CPU's array would share the buffer, whatever it is asked for
        sent = send(Examples(own, *(array[of_piece] for array in examples[1:])), everywhere)
        if ready is not None:
            yield ready, in_piece
        ready = jax.block_until_ready(sent)  # its buffer is filled again as soon as the next piece is asked for
    if ready is not None:
        yield ready, in_piece


def _images_file(images: np.ndarray) -> Path | None:
    """The file that a cached data set's images are mapped from; None of those that are not one whole."""
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
    return None
