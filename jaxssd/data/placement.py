"""Placement of images of any shape on the network's square canvas, and conversion of boxes between both."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxssd.config import Aspect


def place_images(sizes: Int[Any, "... 2"], image_size: int, aspect: Aspect) -> Float[np.ndarray, "... 4"]:
    """Place whole images on the canvas, which is the unit square.

    With `crop` the image reaches beyond the canvas; with `letterbox` it lies within, on whole pixels.

    Args:
        sizes: height and width of the images in pixels.
        image_size: height and width of the canvas in pixels.
        aspect: resizing to a square.

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
    """Convert corners from units of the image to units of the canvas.

    Args:
        boxes: `[y1, x1, y2, x2]`.
        placement: result of `place_images` for each image; broadcast against `boxes`.

    Returns:
        Corners on the canvas; with `crop` they may lie outside it.
    """
    first, last = np.split(np.asarray(placement), 2, axis=-1)
    return np.asarray(boxes) * np.tile(last - first, 2) + np.tile(first, 2)


def from_canvas(boxes: Float[Any, "... 4"], placement: Float[Any, "... 4"]) -> Float[np.ndarray, "... 4"]:
    """Convert corners from units of the canvas to units of the image, clipped to it; the inverse of `to_canvas`.

    Args:
        boxes: `[y1, x1, y2, x2]`.
        placement: result of `place_images` for each image; broadcast against `boxes`.

    Returns:
        Corners in the image.
    """
    first, last = np.split(np.asarray(placement), 2, axis=-1)
    return np.clip((np.asarray(boxes) - np.tile(first, 2)) / np.tile(last - first, 2), 0, 1)


def in_image(detections: Any, placements: np.ndarray) -> Any:
    """Convert the boxes of detections from units of the canvas to units of the image.

    Args:
        detections: NamedTuple of NumPy arrays, `[N, ...]` or of one image: what a task detects, or `Examples`.
        placements: result of `place_images`, `[N, 4]` or `[4]`.

    Returns:
        The NamedTuple with its boxes in the image; unchanged if it has none.
    """
    if not hasattr(detections, "boxes"):
        return detections
    missing = detections.boxes.ndim - placements.ndim
    placements = np.expand_dims(placements, tuple(range(-1 - missing, -1)))
    return detections._replace(boxes=from_canvas(detections.boxes, placements).astype(np.float32))
