"""Photographs and detections to draw, and the pixels of a figure."""

from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NAMES = ("cat", "dog", "horse")
BOX, OTHER = (0.25, 0.2, 0.75, 0.6), (0.1, 0.5, 0.4, 0.9)
TRUTHS = (
    np.array([[BOX, OTHER], [OTHER, BOX]], np.float32),
    np.array([[1, 2], [1, 0]], np.int32),
    np.array([[True, True], [False, True]]),
)


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def found(*rows: tuple[tuple, float, int], padding: int = 2) -> Found:
    """One image's detections, and padding that would show if it were drawn."""
    boxes = np.array([box for box, _, _ in rows] + [(0.1, 0.1, 0.9, 0.9)] * padding, np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows] + [0.99] * padding, np.float32)
    labels = np.array([label for _, _, label in rows] + [0] * padding, np.int32)
    return Found(boxes, scores, labels, np.arange(len(boxes)) < len(rows))


ONE = found((BOX, 0.9, 1), (OTHER, 0.3, 0), (OTHER, 0.29, 2))


def batch(*images: Found) -> Found:
    return Found(*(np.stack(arrays) for arrays in zip(*images, strict=True)))


def photos(count: int, size: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def render(figure: Figure) -> np.ndarray:
    """Its pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def captions(ax) -> list[str]:
    return sorted(text.get_text() for text in ax.texts)
