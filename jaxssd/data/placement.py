"""Placement of images of any shape on the network's input, the canvas, and conversion of boxes between both."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxssd.config import Aspect
from jaxssd.ops.arrays import Size, as_pair


def place_images(sizes: Int[Any, "... 2"], image_size: Size, aspect: Aspect) -> Float[np.ndarray, "... 4"]:
    """Place whole images on the canvas, in units of its height and width.

    With `crop` the image reaches beyond the canvas; with `letterbox` it lies within, on whole pixels.

    Args:
        sizes: height and width of the images in pixels.
        image_size: one side of the canvas in pixels, or its height and width.
        aspect: resizing to the canvas.

    Returns:
        `[y1, x1, y2, x2]` for each image.

    Example:
        >>> place_images(np.array([100, 200]), 8, "letterbox")
        array([0.25, 0.  , 0.75, 1.  ])
        >>> place_images(np.array([100, 200]), 8, "crop")
        array([ 0. , -0.5,  1. ,  1.5])
        >>> place_images(np.array([100, 100]), (8, 16), "letterbox")
        array([0.  , 0.25, 1.  , 0.75])
    """
    sizes, canvas = np.asarray(sizes, np.float64), np.array(as_pair(image_size), np.float64)
    if aspect == "squash":
        return np.broadcast_to(np.array([0.0, 0, 1, 1]), (*sizes.shape[:-1], 4)).copy()
    # The axis along which the image is as long as the canvas: with `crop` the other one is longer, else shorter.
    fullest = np.argmin if aspect == "crop" else np.argmax
    axis = fullest(sizes / canvas, axis=-1)[..., None]
    scaled = sizes / np.take_along_axis(sizes, axis, axis=-1)
    if aspect == "crop":
        extent = scaled * (canvas[axis] / canvas)
        first = (1 - extent) / 2
    else:
        pixels = np.maximum(np.round(scaled * canvas[axis]), 1)
        extent = pixels / canvas
        first = (canvas - pixels) // 2 / canvas
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
