"""Loader of the training images: all are sent to the devices once, or in blocks during training (prefetch).

Blocks are read by threads, which wait for the disk and copy without Python's lock. They read at offsets of the file
instead of through its memory map, so that a failing disk raises an error, not a fatal signal.
"""

import errno
import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8

from jaxssd.config import Memory
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.training.compilation import memory_bytes, nbytes
from jaxssd.training.distribution import one_device, replicated, send

MEMORY_SHARE = 0.5
"""Share of the device's memory for training images; the rest is for the network."""

BLOCKS = 4
"""Blocks for which that share has room: three that a run has at once, and one spare."""

BLOCKS_AT_ONCE = 3
"""Blocks on the device at once: the one in use, the one before it, and the next."""

BLOCK_BYTES = 256_000_000
"""Largest size of a block. A larger block would not be faster, and would need more of the host's memory."""

THREADS = 4
"""Threads that read a block: a disk is faster with several requests."""

Blocks = Iterator[tuple[Examples, Int[Array, "steps B"]]]


class Loader(NamedTuple):
    """Source of the images of a run.

    Attributes:
        blocks: order of an epoch -> its blocks: examples on the devices, and the rows of them that each step takes.
        shapes: shapes and devices of the examples of a block.
        nbytes: largest number of bytes on each device.
    """

    blocks: Callable[[Int[Array, "blocks steps B"]], Blocks]
    shapes: Examples
    nbytes: int


def has_room(size: int) -> bool:
    """True if images of so many bytes take at most half the memory of the device."""
    return size <= MEMORY_SHARE * memory_bytes()


def is_streamed(dataset: Dataset, memory: Memory) -> bool:
    """Decide whether the images are streamed.

    Args:
        dataset: training set.
        memory: `device` and `stream` force one way; `auto` streams what would take more than half the memory.
    """
    if memory == "auto":
        return not has_room(dataset.examples.images.nbytes)
    return memory == "stream"


def images_at_once(dataset: Dataset) -> int:
    """Number of images that a block may have."""
    most = min(BLOCK_BYTES, MEMORY_SHARE * memory_bytes() / BLOCKS)
    return int(most // dataset.examples.images[0].nbytes)


@contextmanager
def open_loader(
    dataset: Dataset, block_rows: int | None, log: Callable[[str], None] = print, mesh: Mesh | None = None
) -> Iterator[Loader]:
    """Send the images to the devices, or stream them; both give the same batches.

    Args:
        dataset: training set.
        block_rows: images in a block, if they are streamed; None sends all of them at once.
        log: called with a line for the log.
        mesh: devices, each of which gets all images; default, the first one of this process.

    Yields:
        The loader. Its blocks raise OSError with the file's name if the file cannot be read.
    """
    everywhere = replicated(mesh or one_device())
    examples = dataset.examples
    if block_rows is None:
        resident = send(examples, everywhere)
        yield Loader(lambda order: ((resident, rows) for rows in order), resident, nbytes(resident))
        return
    path, read = row_reader(examples.images)
    log(f"streaming {examples.images.nbytes / 1e9:.2f} GB of images from {path or 'memory'}, {block_rows:,} at a time")
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((block_rows, *x.shape[1:]), x.dtype, sharding=everywhere), examples
    )

    def load(rows: Int[np.ndarray, " n"]) -> Examples:
        block = Examples(read(rows), *(array[rows] for array in examples[1:]))
        return jax.block_until_ready(send(block, everywhere))

    def blocks(order: Int[Array, "blocks steps B"]) -> Blocks:
        """Yield each block while the next one is read and sent."""
        rows = np.asarray(jax.device_get(order)).reshape(len(order), -1)
        in_block = send(np.arange(rows.shape[1], dtype=rows.dtype).reshape(order.shape[1:]), everywhere)
        pending = prefetch.submit(load, rows[0])
        for following in [*rows[1:], None]:
            block = pending.result()
            if following is not None:
                pending = prefetch.submit(load, following)
            yield block, in_block

    with ThreadPoolExecutor(1, "prefetch") as prefetch:
        yield Loader(blocks, shapes, BLOCKS_AT_ONCE * nbytes(shapes))


def row_reader(
    images: UInt8[np.ndarray, "N ..."],
) -> tuple[Path | None, Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n ..."]]]:
    """Function from row numbers to rows, and the file they are read from.

    Args:
        images: array in memory, or the memory map of a whole `.npy` file.

    Returns:
        The file, None for an array in memory; and the function, which raises OSError if the file cannot be read.
    """
    if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap) and images.flags.c_contiguous:
        path = Path(str(images.filename))
        return path, partial(_read_file, path, images.offset, images.shape[1:])
    return None, partial(np.take, images, axis=0)


def _read_file(
    path: Path, offset: int, shape: tuple[int, ...], rows: Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n ..."]:
    """Rows of an array that begins at an offset of a file, read by several threads."""
    out = np.empty((len(rows), *shape), np.uint8)
    flat = out.reshape(len(rows), -1)

    def read_part(part: slice) -> None:
        with path.open("rb", buffering=0) as file:
            for row, place in zip(rows[part].tolist(), flat[part], strict=True):
                file.seek(offset + row * flat.shape[1])
                while place.size:  # a network disk may return a part
                    if (count := file.readinto(place)) == 0:
                        raise OSError(errno.EIO, "the file is too short")
                    place = place[count:]

    share = -(-len(rows) // THREADS)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read_part, (slice(start, start + share) for start in range(0, len(rows), share))))
    except OSError as error:
        way_out = "the run can be resumed from its last checkpoint, with JAXSSD_CACHE on another disk if this one fails"
        raise OSError(error.errno, f"images cannot be read: {error.strerror}; {way_out}", str(path)) from error
    return out
