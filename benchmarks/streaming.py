"""How many images a second can be streamed from disk to a device, beside what a plain loop in one process does?

    python benchmarks/streaming.py                            4,096 images of 224 px
    python benchmarks/streaming.py --images 100000            more than the file system keeps in memory, say

Measured is the trainer's own feed: worker processes copy the rows of a chunk into shared memory, from where they go to
the device, while the chunk before is used. The plain loop reads the same rows of the same file by `numpy.take`, and
sends them. The file has been written just before: unless it exceeds the memory, what is measured is no disk.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from timing import measure, report

from jaxssd.data.gather import Gatherer
from jaxssd.training.loader import WORKERS


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    images: int = 4096
    """Images in the file."""
    image_size: int = 224
    """Their side in pixels."""
    chunk: int = 1024
    """Images in a chunk."""
    workers: tuple[int, ...] = tuple(sorted({1, WORKERS}))
    """Processes that read."""
    seconds: float = 10.0
    """How long to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Write a file, read it, report."""
    command = tyro.cli(Command, prog="benchmarks/streaming.py", description=__doc__, args=arguments)
    shape = (command.images, command.image_size, command.image_size, 3)
    order = np.random.default_rng(0).permutation(command.images)
    chunks = list(order[: len(order) // command.chunk * command.chunk].reshape(-1, command.chunk))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "images.npy"
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for row in range(command.images):
            file[row] = row % 256
        file.flush()
        calls = {f"{n} processes": streamed(path, chunks, n, stack) for n in command.workers}
        times = measure({"plain loop": plain(path, chunks), **calls}, seconds=command.seconds)
    images = sum(map(len, chunks))
    rows = [
        {
            "feed": name,
            "time an epoch": timing,
            "images/s": f"{images / timing.median:.0f}",
            "GB/s": images * np.prod(shape[1:]) / timing.median / 1e9,
            "ratio": times["plain loop"].median / timing.median,
        }
        for name, timing in times.items()
    ]
    report("streaming", f"{images} images of {command.image_size} px in chunks of {command.chunk}", rows)


def plain(path: Path, chunks: list[np.ndarray]) -> Callable[[], None]:
    """One process, one thing after another."""

    def epoch() -> None:
        array = np.load(path, mmap_mode="r")
        for rows in chunks:
            jax.block_until_ready(jax.device_put(np.take(array, rows, axis=0)))

    return epoch


def streamed(path: Path, chunks: list[np.ndarray], workers: int, stack: ExitStack) -> Callable[[], None]:
    """The trainer's way. The processes are started once, as in a run."""
    gatherer = stack.enter_context(Gatherer(path, rows=len(chunks[0]), workers=workers))

    on_cpu = jax.default_backend() == "cpu"  # whose arrays would share the buffer

    def epoch() -> None:
        for images in gatherer.gather(chunks):
            jax.block_until_ready(jax.device_put(images.copy() if on_cpu else images))

    return epoch


if __name__ == "__main__":
    main(sys.argv[1:])
