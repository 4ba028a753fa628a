"""Data set in memory: padded arrays of one shape, and the names that belong to them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from jaxssd.data.report import LoadReport, Problem
from jaxssd.ops.arrays import ArrayLike

__all__ = ["Dataset", "Examples", "LoadReport", "Problem", "pad_objects"]


class Examples(NamedTuple):
    """Images and their objects, padded to `G` rows per image; a pytree.

    Attributes:
        images: RGB images of the network's input size.
        boxes: corners `[y1, x1, y2, x2]`, normalised to the image's height and width; zeros in padded rows.
        labels: indices into the class names; 0 in padded rows.
        valid: True for objects, False for padded rows.
        difficult: True for objects that are neither trained on nor scored, as in VOC.
    """

    images: UInt8[ArrayLike, "N H W 3"]
    boxes: Float32[ArrayLike, "N G 4"]
    labels: Int32[ArrayLike, "N G"]
    valid: Bool[ArrayLike, "N G"]
    difficult: Bool[ArrayLike, "N G"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data set in memory.

    Attributes:
        examples: NumPy arrays; `images` may be a read-only memory map.
        class_names: name of each label.
        ids: name of each image: its file's name without extension, where it has a file.
        sizes: height and width of each image's file in pixels.
        placements: corners `[y1, x1, y2, x2]` of the whole image in units of the input; see `placement.place_images`.
        report: problems found while loading.
    """

    examples: Examples
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    sizes: Int32[np.ndarray, "N 2"]
    placements: Float64[np.ndarray, "N 4"]
    report: LoadReport

    @property
    def fingerprint(self) -> str:
        """Digest of classes, ids, sizes and objects; pixels do not enter."""
        digest = hashlib.sha256(json.dumps([self.class_names, self.ids]).encode())
        for array in (self.sizes, *self.examples[1:]):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def pad_objects(
    boxes: Sequence[Float32[np.ndarray, "_ 4"]],
    labels: Sequence[Int32[np.ndarray, " _"]],
    difficult: Sequence[Bool[np.ndarray, " _"]],
    *,
    max_objects: int,
) -> tuple[Float32[np.ndarray, "N G 4"], Int32[np.ndarray, "N G"], Bool[np.ndarray, "N G"], Bool[np.ndarray, "N G"]]:
    """Pad the objects of images to arrays of one shape.

    Args:
        boxes: corners `[n, 4]` of each image's objects.
        labels: labels `[n]` of each image's objects.
        difficult: difficult flags `[n]` of each image's objects.
        max_objects: largest number of objects of an image. If there are more, the largest are kept, in their order.

    Returns:
        Boxes, labels, valid and difficult as in `Examples`. `G` is the largest number of objects kept of one image,
        and at least 1.

    Raises:
        ValueError: if `max_objects` is not positive.

    Example:
        >>> boxes = [np.array([[0, 0, 0.5, 1]] * n, np.float32).reshape(n, 4) for n in (1, 0, 2)]
        >>> labels, difficult = [np.zeros(n, np.int32) for n in (1, 0, 2)], [np.zeros(n, bool) for n in (1, 0, 2)]
        >>> _, _, valid, _ = pad_objects(boxes, labels, difficult, max_objects=100)
        >>> valid.tolist()
        [[True, False], [False, False], [True, True]]
    """
    if max_objects < 1:
        raise ValueError(f"pad_objects: `max_objects` is {max_objects}, expected a positive number")
    num_images, places = len(boxes), min(max([1, *map(len, boxes)]), max_objects)
    padded_boxes = np.zeros((num_images, places, 4), np.float32)
    padded_labels = np.zeros((num_images, places), np.int32)
    valid = np.zeros((num_images, places), bool)
    padded_difficult = np.zeros((num_images, places), bool)
    for i, (image_boxes, image_labels, image_difficult) in enumerate(zip(boxes, labels, difficult, strict=True)):
        kept = _largest(image_boxes, places)
        places_used = slice(len(kept))
        padded_boxes[i, places_used] = image_boxes[kept]
        padded_labels[i, places_used] = image_labels[kept]
        padded_difficult[i, places_used] = image_difficult[kept]
        valid[i, places_used] = True
    return padded_boxes, padded_labels, valid, padded_difficult


def _largest(boxes: Float32[np.ndarray, "n 4"], count: int) -> Int32[np.ndarray, " kept"]:
    """Indices of the `count` largest boxes in rising order; the first ones of equals."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.sort(np.argsort(-area, kind="stable")[:count]).astype(np.int32)
