"""Batches of photographs: decoded in threads while the device computes, one shape a batch, results in order."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference.inputs import Input
from jaxssd.inference.resizing import Canvas, Resizing

BATCHES_IN_FLIGHT = 2
"""Number of batches on the device while the next one is decoded."""

LONGEST_LINE = 4
"""Number of photographs behind one that waits for others of its shape, as a multiple of the batch size."""

SENT = np.empty(0, np.uint8)
"""Pixels of a canvas that is with the device."""

Run = Callable[[np.ndarray, np.ndarray], Any]
"""Function `(pixels [B, h, w, 3], placements [B, 4]) -> results [B, ...]`, dispatched to the device."""

Item, Value = TypeVar("Item"), TypeVar("Value")


class Placed:
    """A photograph on its way.

    Attributes:
        photograph: the photograph.
        error: reason why it cannot be decoded.
        canvas: input of the network; its pixels are dropped when they are with the device.
        result: result of the task, as NumPy arrays; None until it is there.
    """

    def __init__(self, photograph: Input, decoded: Canvas | UnreadableImage) -> None:
        """Take a photograph and what it was decoded to."""
        self.photograph = photograph
        self.error = decoded if isinstance(decoded, UnreadableImage) else None
        self.canvas = decoded if isinstance(decoded, Canvas) else None
        self.result: Any = None

    @property
    def done(self) -> bool:
        """True if there is nothing to wait for."""
        return self.error is not None or self.result is not None


def detect_in_order(
    photographs: Iterable[Input], resize: Resizing, run: Run, batch_size: int, *, workers: int | None = None
) -> Iterator[Placed]:
    """Detect on photographs of any number and sizes.

    A batch has canvases of one shape. It is run when it is full, when too many photographs wait for the first of it, or
    at the end; then it is filled up with copies, so that there is one compilation for each shape.

    Args:
        photographs: the photographs.
        resize: function that makes the canvas.
        run: function that detects on a batch.
        batch_size: photographs of a batch.
        workers: number of decoding threads; None for one per core.

    Yields:
        Each photograph in order, with its result or the reason why it has none.
    """
    line: deque[Placed] = deque()  # in order, until they are yielded
    waiting: dict[tuple[int, ...], list[Placed]] = {}  # by the shape of the canvas
    flight: deque[tuple[list[Placed], Any]] = deque()

    def dispatch(batch: list[Placed]) -> None:
        canvases = [placed.canvas for placed in batch]
        canvases += canvases[-1:] * (batch_size - len(batch))
        arrays = (np.stack([getattr(canvas, name) for canvas in canvases]) for name in ("pixels", "placement"))
        flight.append((batch, run(*arrays)))
        for placed in batch:
            placed.canvas = placed.canvas._replace(pixels=SENT)  # type: ignore[union-attr]

    def collect(most: int) -> None:
        while len(flight) > most:
            batch, outputs = flight.popleft()
            host = jax.device_get(outputs)
            for row, placed in enumerate(batch):
                placed.result = jax.tree.map(lambda array, row=row: array[row], host)

    for placed in _decoded(photographs, resize, batch_size, workers or os.cpu_count() or 1):
        line.append(placed)
        if placed.canvas is not None:
            shape = placed.canvas.pixels.shape
            waiting.setdefault(shape, []).append(placed)
            if len(waiting[shape]) == batch_size:
                dispatch(waiting.pop(shape))
        first = line[0].canvas
        if len(line) > LONGEST_LINE * batch_size and first is not None and first.pixels.shape in waiting:
            dispatch(waiting.pop(first.pixels.shape))
        collect(BATCHES_IN_FLIGHT)
        while line and line[0].done:
            yield line.popleft()
    for batch in waiting.values():
        dispatch(batch)
    for left in range(len(flight) - 1, -1, -1):
        collect(left)
        while line and line[0].done:
            yield line.popleft()
    yield from line


def _decoded(photographs: Iterable[Input], resize: Resizing, batch_size: int, workers: int) -> Iterator[Placed]:
    """Decode in threads, a batch or two ahead."""
    # Pillow warns about metadata. Filters are of the whole process, and a generator would leave all of them changed.
    warnings.filterwarnings("ignore", module=r"PIL\.")

    def decode(photograph: Input) -> Placed:
        try:
            return Placed(photograph, resize(photograph.read()))
        except UnreadableImage as error:
            return Placed(photograph, error)

    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[Placed]] = deque()
    try:
        for photograph in photographs:
            ahead.append(pool.submit(decode, photograph))
            if len(ahead) >= batch_size + workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
