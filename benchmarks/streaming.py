"""Images a second streamed from disk to a device, compared with a plain loop.

    python benchmarks/streaming.py                            4,096 images of 224 px
    python benchmarks/streaming.py --images 100000            more than the page cache holds, for example
    python benchmarks/streaming.py --cold                     the file is dropped from the page cache before each repeat

The trainer's loader is measured: its threads read the rows of a block and transfer them while the block before is used.
The plain loop takes the same rows by `numpy.take` from a memory map of the file, and transfers them. The file was
written just before. So without `--cold` it is read from memory and not from disk, unless it is larger than the memory.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import tyro
from timing import measure, report

from jaxssd.data.dataset import Dataset
from jaxssd.data.shapes import make_shapes
from jaxssd.training import loader


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    images: int = 4096
    """Number of images in the file."""
    image_size: int = 224
    """Side of the images in pixels."""
    block: int = 1024
    """Number of images per block."""
    threads: tuple[int, ...] = (1, loader.THREADS)
    """Numbers of threads that read."""
    cold: bool = False
    """Drop the file from the page cache before each repeat (Linux)."""
    seconds: float = 10.0
    """Seconds to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Write a file, time the reading, report."""
    command = tyro.cli(Command, prog="benchmarks/streaming.py", description=__doc__, args=arguments)
    blocks = command.images // command.block
    order = np.random.default_rng(0).permutation(command.images)[: blocks * command.block]
    order = order.reshape(blocks, 1, command.block).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        dataset = mapped(Path(folder) / "images.npy", command)
        images = dataset.examples.images
        calls = {f"{n} thread{'s' * (n > 1)}": streamed(dataset, order, n) for n in command.threads}
        calls = {"plain loop": plain(images, order)} | calls
        if command.cold:
            calls = {name: cold(Path(images.filename), call) for name, call in calls.items()}
        times = measure(calls, seconds=command.seconds)
    rows = [
        {
            "loader": name,
            "time an epoch": timing,
            "images/s": f"{order.size / timing.median:.0f}",
            "GB/s": order.size * images[0].nbytes / timing.median / 1e9,
            "ratio": times["plain loop"].median / timing.median,
        }
        for name, timing in times.items()
    ]
    state = "cold" if command.cold else "warm"
    report(
        "streaming", f"{command.images} images of {command.image_size} px in blocks of {command.block}, {state}", rows
    )


def mapped(path: Path, command: Command) -> Dataset:
    """Data set whose images are in a file, like those of the cache; all images are the same picture."""
    dataset = make_shapes(1, image_size=command.image_size)
    shape = (command.images, *dataset.examples.images.shape[1:])
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for row in range(command.images):
        file[row] = dataset.examples.images[0]
    file.flush()
    examples = jax.tree.map(lambda x: np.repeat(x, command.images, axis=0), dataset.examples._replace(images=()))
    return replace(dataset, examples=examples._replace(images=np.load(path, mmap_mode="r")))


def plain(images: np.ndarray, order: np.ndarray) -> Callable[[], None]:
    """Epoch of a plain loop: read a block, transfer it, wait."""

    def epoch() -> None:
        for rows in order:
            jax.block_until_ready(jax.device_put(np.take(images, rows[0], axis=0)))

    return epoch


def streamed(dataset: Dataset, order: np.ndarray, threads: int) -> Callable[[], None]:
    """Epoch of the trainer's loader."""

    def epoch() -> None:
        loader.THREADS = threads
        with loader.open_loader(dataset, order.shape[2], str) as source:
            for examples, _ in source.blocks(order):
                jax.block_until_ready(examples)

    return epoch


def cold(path: Path, call: Callable[[], None]) -> Callable[[], None]:
    """Call that first drops the file from the page cache."""

    def forgetful() -> None:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        call()

    return forgetful


if __name__ == "__main__":
    main(sys.argv[1:])
