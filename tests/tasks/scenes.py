"""Data sets given object by object, and tasks with a network that costs little to describe."""

from collections.abc import Sequence

import numpy as np

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.report import LoadReport
from jaxssd.tasks.task import Task, make_task

NAMES = ("cat", "dog", "horse")
SIZE = 64
CONFIG = Config.of(
    image_size=SIZE,
    backbone="resnet_tiny",
    grids=(2,),
    zooms=(1.0,),
    ratios=((1.0, 1.0),),
    head_width=8,
    classes=NAMES,
)

Box = tuple[float, float, float, float]
Image = Sequence[tuple[Box, int] | tuple[Box, int, bool]]  # box, label, and whether it is difficult


def task_of(**settings) -> Task:
    return make_task(CONFIG.replace(**settings))


def examples_of(boxes, labels, valid, difficult) -> Examples:
    """With images that nobody looks at."""
    images = np.zeros((len(boxes), 2, 2, 3), np.uint8)
    return Examples(images, np.float32(boxes), np.int32(labels), np.asarray(valid), np.asarray(difficult))


def dataset_of(*images: Image, places: int = 3, size: int = 24) -> Dataset:
    """Padded to `places`, with boxes of zeros."""
    count = len(images)
    boxes, labels = np.zeros((count, places, 4), np.float32), np.zeros((count, places), np.int32)
    valid, difficult = np.zeros((count, places), bool), np.zeros((count, places), bool)
    for i, image in enumerate(images):
        for place, (box, label, *rest) in enumerate(image):
            boxes[i, place], labels[i, place], valid[i, place] = box, label, True
            difficult[i, place] = any(rest)
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return Dataset(
        examples=Examples(pixels, boxes, labels, valid, difficult),
        class_names=NAMES,
        ids=tuple(f"image {i}" for i in range(count)),
        sizes=np.full((count, 2), size, np.int32),
        placements=np.tile([0.0, 0, 1, 1], (count, 1)),
        report=LoadReport(images=count, objects=int(valid.sum())),
    )


def photograph() -> np.ndarray:
    """Not square, so that swapped axes would show."""
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
