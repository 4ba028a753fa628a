"""A detector whose network is arithmetic: the brightness of a photograph is its score and its class."""

import functools

import jax
import numpy as np
import pytest

from jaxssd.inference import LoadedDetector
from jaxssd.inference.resizing import RunResizing
from jaxssd.ops import Detections
from jaxssd.training import Variables
from tests.tasks.scenes import CONFIG, task_of

SIDE = 8
TASK = functools.cache(task_of)


def brightness(pixels, placements):
    """The left half of each canvas, and a second box that no score reaches. Class 2 is bright."""
    pixels = pixels / 255 if pixels.dtype == np.uint8 else pixels
    score = pixels.mean(axis=(1, 2, 3), dtype=np.float32)
    boxes = np.tile(np.float32([[0, 0, 1, 0.5], [0, 0, 1, 1]]), (len(pixels), 1, 1))
    scores = np.stack([score, np.zeros_like(score)], axis=1)
    labels = np.stack([2 * (score > 0.5), np.zeros(len(score))], axis=1).astype(np.int32)
    return Detections(boxes, scores, labels, scores > 0)


class Arithmetic(LoadedDetector):
    """A detector that keeps the shapes of its batches."""

    def __init__(self, task=None, resize=None):
        task = task or TASK()
        super().__init__("arithmetic", CONFIG, task, Variables({}, {}), resize or RunResizing((SIDE, SIDE)))
        self.shapes = []

    def _run(self, pixels, placements):
        self.shapes.append(pixels.shape)
        return jax.device_put(brightness(pixels, placements))


@pytest.fixture
def detector():
    return Arithmetic()


def grey(value, height=4, width=6):
    return np.full((height, width, 3), value, np.uint8)
