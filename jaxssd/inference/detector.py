"""Detector that is ready for photographs: a task with its variables, and its resizing."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxssd.config import Config
from jaxssd.data.augmentation import unit_images
from jaxssd.data.placement import in_image
from jaxssd.inference.found import Found, found_in
from jaxssd.inference.inputs import Input, find_inputs
from jaxssd.inference.resizing import Resizing, ShorterSideResizing
from jaxssd.inference.stream import Placed, Run, detect_in_order
from jaxssd.models.coco_classes import is_gap
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.evaluation import make_predict
from jaxssd.training.step import Variables

BATCH_SIZE = 8


class LoadedDetector:
    """Detector of a run, or a published one; made by `jaxssd.load`.

    Attributes:
        name: folder of the run, or name of the published weights.
        config: all settings.
        task: the network and its decoding.
        variables: parameters and model state, on the device.
        resize: resizing of photographs to the network's input.
    """

    def __init__(self, name: str, config: Config, task: Task, variables: Variables, resize: Resizing) -> None:
        """Take the parts; nothing is compiled before the first batch of each shape."""
        self.name, self.config, self.task, self.variables, self.resize = name, config, task, variables, resize
        self._gaps = np.array([is_gap(name) for name in task.class_names])
        self._programs: dict[tuple[int, int], Run] = {}

    @property
    def batch_size(self) -> int:
        """Default number of photographs that are computed at once; large inputs gain nothing by it on a CPU."""
        return 1 if isinstance(self.resize, ShorterSideResizing) and jax.default_backend() == "cpu" else BATCH_SIZE

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in the order of `Found.class_ids`."""
        return self.task.class_names

    def __repr__(self) -> str:
        """Name, and number of classes."""
        return f"<LoadedDetector {self.name}: {len(self.class_names) - self._gaps.sum()} classes>"

    def __call__(
        self, images: Any, *, threshold: float | None = None, batch_size: int | None = None
    ) -> Iterator[Found]:
        """Detect objects on photographs of any number and sizes.

        Photographs are decoded in threads while the device computes, and read as they are needed: a generator of
        frames may be endless. There is one compilation for a batch size, and for each shape of a RetinaNet's input.

        Args:
            images: one photograph or several: paths, of which folders and patterns such as `photos/**/*.jpg` stand for
                many; PIL images; or arrays `[H, W, 3]`, uint8, red first.
            threshold: lowest score of an object. Default: 0.3, or 0.4 for a multi-label run.
            batch_size: photographs that are computed at once. Fewer photographs make a smaller batch. Default: 8, but 1
                for a published RetinaNet on a CPU.

        Yields:
            The result of each photograph, in order.

        Raises:
            UnreadableImage: at the place of a photograph that cannot be decoded; a ValueError with its name.
            TypeError: if an image is of another type or shape.
            ValueError: if a folder has no picture, or a number is out of range.
        """
        threshold = self.task.shown_from if threshold is None else threshold
        if not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` is {threshold}, expected a number between 0 and 1")
        return (self.found(placed, threshold) for placed in self.detect(images, batch_size=batch_size))

    def detect(self, images: Any, *, batch_size: int | None = None) -> Iterator[Placed]:
        """Detect as in a call, without choosing by the score; for code that goes on after a damaged file.

        Args:
            images: photographs, as in a call.
            batch_size: photographs that are computed at once, as in a call.

        Yields:
            Each photograph in order, with its result or the reason why it has none; see `found`.

        Raises:
            ValueError: if the batch size is less than 1, or a folder has no picture.
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size}, expected 1 or more")
        photographs = find_inputs(images)
        if isinstance(photographs, list):
            batch_size = max(min(batch_size, len(photographs)), 1)
        return detect_in_order(photographs, self.resize, self._run, batch_size)

    def found(self, placed: Placed, threshold: float) -> Found:
        """Objects of a photograph from its result.

        Raises:
            UnreadableImage: if there is no result.
        """
        photograph: Input = placed.photograph
        if placed.error is not None:
            raise placed.error
        assert placed.canvas is not None  # the other case
        result = in_image(placed.result, placed.canvas.placement)
        if self.task.gives_detections and self._gaps.any():
            result = result._replace(valid=result.valid & ~self._gaps[result.labels])
        return found_in(photograph, placed.canvas.size, result, self.task, threshold)

    def _run(self, pixels: np.ndarray, placements: np.ndarray) -> Any:
        shape: tuple[int, int] = pixels.shape[1:3]  # type: ignore[assignment]
        if shape not in self._programs:
            self._programs[shape] = self._program(shape)
        return self._programs[shape](pixels, placements)

    def _program(self, shape: tuple[int, int]) -> Run:
        """Compiled detection for one shape of the input, whose anchors follow from it."""
        own = shape == self.config.dataset.input_shape
        task = self.task if own else make_task(self.config.replace(image_size=shape))
        if isinstance(self.resize, ShorterSideResizing):
            return partial(jax.jit(partial(_detect_in_placements, task)), self.variables)
        predict = make_predict(task.apply, task.postprocess)
        return lambda pixels, placements: predict(self.variables, pixels)


def _detect_in_placements(task: Any, variables: Variables, pixels: Array, placements: Array) -> Any:
    """Detections whose boxes are clipped to the photograph before they are compared, as torchvision does."""
    outputs, _ = task.apply(*variables, unit_images(pixels))
    return task.postprocess(outputs, placements[:, 2:])
