"""How the training images reach the device: all of them once, or chunk by chunk while it computes."""

import os
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
from jaxssd.data.gather import Gatherer, Tell

Memory = Literal["auto", "device", "stream"]

MEMORY_SHARE = 0.5
"""Of the device's memory the training images may take; the rest is for the network."""

WORKERS = min(4, os.cpu_count() or 1)

Feed = Callable[[Int[Array, "chunks steps B"]], Iterator[tuple[Examples, Int[Array, "steps B"]]]]
"""From the order of an epoch to its chunks: examples on the device, and which of their rows each step takes."""


@contextmanager
def open_feed(dataset: Dataset, memory: Memory, chunk_rows: int, tell: Tell = print) -> Iterator[Feed]:
    """The way that suits the data set; both give the same batches.

    Args:
        dataset: to train on.
        memory: `device` and `stream` force one way; `auto` streams what would take more than half the memory.
        chunk_rows: images of a chunk.
        tell: is called with a line for people.

    Yields:
        The feed.
    """
    size = dataset.examples.images.nbytes
    if memory == "device" or (memory == "auto" and size <= MEMORY_SHARE * memory_bytes()):
        examples = jax.device_put(dataset.examples)
        yield lambda order: ((examples, rows) for rows in order)
        return
    with ExitStack() as stack:
        path = _images_file(dataset.examples.images, stack)
        tell(f"streaming {size / 1e9:.2f} GB of images from {path}, {WORKERS} processes")
        gatherer = stack.enter_context(Gatherer(path, rows=chunk_rows, workers=WORKERS, tell=tell))
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
    examples: Examples, gatherer: Gatherer, order: Int[Array, "chunks steps B"]
) -> Iterator[tuple[Examples, Int[Array, "steps B"]]]:
    chunks, steps, batch_size = order.shape
    rows = np.asarray(jax.device_get(order)).reshape(chunks, steps * batch_size)
    in_chunk = jnp.arange(steps * batch_size, dtype=order.dtype).reshape(steps, batch_size)
    for of_chunk, images in zip(rows, gatherer.gather(list(rows)), strict=True):
        host = Examples(images, *(array[of_chunk] for array in examples[1:]))
        # The buffer is filled again two chunks on: a CPU's array must not share its memory.
        yield jax.block_until_ready(jax.device_put(host, may_alias=False)), in_chunk


def _images_file(images: np.ndarray, stack: ExitStack) -> Path:
    """The file that a cached data set's images are mapped from, or a temporary one of those that are in memory."""
    if isinstance(images, np.memmap) and images.filename is not None:
        return Path(images.filename)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxssd-")))
    np.save(folder / "images.npy", images, allow_pickle=False)
    return folder / "images.npy"
