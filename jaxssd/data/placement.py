"""Where an image of any shape lies on the square that the network sees, and boxes there and back."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

Aspect = Literal["squash", "letterbox", "crop"]
"""`squash` makes a square of the image, as the lesson does; `letterbox` keeps its shape and adds margins; `crop` keeps
its shape and takes the middle square."""


def place_images(sizes: Int[Any, "... 2"], image_size: int, aspect: Aspect) -> Float[np.ndarray, "... 4"]:
    """Corners of the whole image in units of the canvas, which is the unit square.

    With `crop` the image reaches beyond the canvas; with `letterbox` it lies within, on whole pixels.

    Args:
        sizes: height and width of the images in pixels.
        image_size: height and width of the canvas in pixels.
        aspect: how an image that is no square becomes one.

    Returns:
        `[y1, x1, y2, x2]` for each image.

    Example:
        >>> place_images(np.array([100, 200]), 8, "letterbox")
        array([0.25, 0.  , 0.75, 1.  ])
        >>> place_images(np.array([100, 200]), 8, "crop")
        array([ 0. , -0.5,  1. ,  1.5])
    """
    sizes = np.asarray(sizes, np.float64)
    if aspect == "squash":
        return np.broadcast_to(np.array([0.0, 0, 1, 1]), (*sizes.shape[:-1], 4)).copy()
    if aspect == "crop":
        extent = sizes / sizes.min(axis=-1, keepdims=True)
        first = (1 - extent) / 2
    else:
        pixels = np.maximum(np.round(sizes / sizes.max(axis=-1, keepdims=True) * image_size), 1)
        extent = pixels / image_size
        first = (image_size - pixels) // 2 / image_size
    return np.concatenate([first, first + extent], axis=-1)


def to_canvas(boxes: Float[Any, "... 4"], placement: Float[Any, "... 4"]) -> Float[np.ndarray, "... 4"]:
    """Corners in units of the image to corners in units of the canvas.

    Args:
        boxes: `[y1, x1, y2, x2]`.
        placement: of each image, from `place_images`; broadcast against `boxes`.

    Returns:
        The same boxes on the canvas; with `crop` they may lie outside it.
    """
    first, last = np.split(np.asarray(placement), 2, axis=-1)
    return np.asarray(boxes) * np.tile(last - first, 2) + np.tile(first, 2)


def from_canvas(boxes: Float[Any, "... 4"], placement: Float[Any, "... 4"]) -> Float[np.ndarray, "... 4"]:
    """Corners in units of the canvas to corners in units of the image, clipped to it; the inverse of `to_canvas`.

    Args:
        boxes: `[y1, x1, y2, x2]`.
        placement: of each image, from `place_images`; broadcast against `boxes`.

    Returns:
        The same boxes in the image.
    """
    first, last = np.split(np.asarray(placement), 2, axis=-1)
    return np.clip((np.asarray(boxes) - np.tile(first, 2)) / np.tile(last - first, 2), 0, 1)


def in_image(answers: Any, placements: np.ndarray) -> Any:
    """Answers about the image instead of the square that the network saw.

    Args:
        answers: a NamedTuple of NumPy arrays, `[N, ...]` or of one image: a task's answers, or `Examples`.
        placements: of the images on their squares, `[N, 4]` or `[4]`.

    Returns:
        The same, with boxes in units of the image and clipped to it, if it has any.
    """
    if not hasattr(answers, "boxes"):
        return answers
    missing = answers.boxes.ndim - placements.ndim
    placements = np.expand_dims(placements, tuple(range(-1 - missing, -1)))
    return answers._replace(boxes=from_canvas(answers.boxes, placements).astype(np.float32))
