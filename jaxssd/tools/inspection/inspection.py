"""Inspection of a data set: counts, sizes, and suspicious boxes and images."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jaxssd.data.dataset import Dataset
from jaxssd.data.quality import notes_on_quality
from jaxssd.data.report import LoadReport
from jaxssd.ops import box_iou

PAIRS_AT_ONCE = 2**22
"""Number of IoUs that are in memory at a time: 16 MB."""

TINY_SHARE, TINY_PIXELS = 0.02, 4.0
ELONGATED = 8.0
WHOLE_IMAGE = 0.95
SAME_BOX = 0.95

SUSPICIOUS = {
    "tiny": f"a side below {TINY_SHARE:.0%} of the image, or below {TINY_PIXELS:g} pixels of the network's input",
    "elongated": f"one side more than {ELONGATED:g} times the other",
    "whole image": f"{WHOLE_IMAGE:.0%} of the image's height and width, or more",
    "repeated": f"an earlier box of the image has its class and an IoU above {SAME_BOX:g}",
}
"""Kinds of suspicious boxes, with their meaning."""

QUANTILES = {"min": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "max": 1.0}


class Images(NamedTuple):
    """Images of all splits.

    Attributes:
        split: index of each image's split.
        ids: names of the images.
        sizes: height and width of the files in pixels.
        objects: number of objects in each image, with difficult ones.
    """

    split: Int[np.ndarray, " N"]
    ids: tuple[str, ...]
    sizes: Int32[np.ndarray, "N 2"]
    objects: Int[np.ndarray, " N"]


class Objects(NamedTuple):
    """Objects of all splits.

    Attributes:
        image: row of each object's image in `Images`.
        boxes: corners on the input of the network.
        labels: class of each object.
        difficult: True for each object that is neither trained on nor scored.
    """

    image: Int[np.ndarray, " n"]
    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]

    @property
    def sides(self) -> Float32[np.ndarray, "n 2"]:
        """Height and width, as fractions of the input's."""
        return self.boxes[:, 2:] - self.boxes[:, :2]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Result of `inspect`.

    Attributes:
        splits: names of the splits.
        class_names: class names in the order of the labels.
        input_shape: height and width of the network's input in pixels.
        loading: loading report of each split.
        warnings: lines of `notes_on_quality` of all splits.
        images: images of all splits.
        objects: objects of all splits.
        suspicious: rows of `objects` for each key of `SUSPICIOUS`, the most extreme first.
        same_ids: names that are in more than one split.
        same_pixels: groups of rows of `images` that are equal in every pixel of the input.
    """

    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    input_shape: tuple[int, int]
    loading: dict[str, LoadReport]
    warnings: tuple[str, ...]
    images: Images
    objects: Objects
    suspicious: dict[str, Int[np.ndarray, " _"]]
    same_ids: tuple[str, ...]
    same_pixels: tuple[tuple[int, ...], ...]

    @property
    def trained_on(self) -> Bool[np.ndarray, " n"]:
        """True for objects that are trained on and scored: those that are not difficult."""
        return ~self.objects.difficult

    def in_split(self, split: str) -> Bool[np.ndarray, " n"]:
        """True for the objects of a split."""
        return self.images.split[self.objects.image] == self.splits.index(split)


class ClassCounts(NamedTuple):
    """Number of objects, of difficult objects and of images with the class, for each split and class."""

    objects: Int[np.ndarray, "S C"]
    difficult: Int[np.ndarray, "S C"]
    images: Int[np.ndarray, "S C"]


def inspect(datasets: Mapping[str, Dataset]) -> Inspection:
    """Look through the splits of a data set.

    Args:
        datasets: data sets by the name of the split, at least one, with the same classes and image size.

    Raises:
        ValueError: if there is no split, or they differ in classes or in size.
    """
    splits = list(datasets.values())
    if not splits:
        raise ValueError("inspect: `datasets` is empty, expected at least one split")
    kinds = {(dataset.class_names, dataset.examples.images.shape[1:3]) for dataset in splits}
    if len(kinds) > 1:
        raise ValueError(f"inspect: the splits {', '.join(datasets)} differ in classes or in the size of their images")
    class_names, input_shape = kinds.pop()

    images = Images(
        split=np.repeat(np.arange(len(splits)), [len(dataset.ids) for dataset in splits]),
        ids=tuple(name for dataset in splits for name in dataset.ids),
        sizes=np.concatenate([dataset.sizes for dataset in splits]),
        objects=np.concatenate([np.asarray(dataset.examples.valid).sum(axis=1) for dataset in splits]),
    )
    valid = [np.asarray(dataset.examples.valid) for dataset in splits]
    boxes, labels, difficult = (
        np.concatenate([np.asarray(dataset.examples[field])[mask] for dataset, mask in zip(splits, valid, strict=True)])
        for field in (1, 2, 4)
    )
    objects = Objects(np.repeat(np.arange(len(images.ids)), images.objects), boxes, labels, difficult)
    repeated = [
        repeated_boxes(*map(np.asarray, dataset.examples[1:4]), threshold=SAME_BOX)[mask]
        for dataset, mask in zip(splits, valid, strict=True)
    ]
    placements = np.concatenate([dataset.placements for dataset in splits])
    return Inspection(
        splits=tuple(datasets),
        class_names=class_names,
        input_shape=input_shape,
        loading={name: dataset.report for name, dataset in datasets.items()},
        warnings=tuple(line for name, dataset in datasets.items() for line in notes_on_quality(name, dataset)),
        images=images,
        objects=objects,
        suspicious=_suspicious(objects, placements, np.concatenate(repeated), input_shape),
        same_ids=_same_ids(images),
        same_pixels=_same_pixels(splits),
    )


def count_classes(inspection: Inspection) -> ClassCounts:
    """Count objects and images of each class.

    Args:
        inspection: inspection of the data set.

    Returns:
        Counts with a row for each split and a column for each class.
    """
    objects, images = inspection.objects, inspection.images
    shape = (len(inspection.splits), len(inspection.class_names))
    found, difficult, with_class = (np.zeros(shape, int) for _ in range(3))
    split = images.split[objects.image]
    np.add.at(found, (split, objects.labels), 1)
    np.add.at(difficult, (split, objects.labels), objects.difficult)
    image, label = np.unique(np.stack([objects.image, objects.labels]), axis=1)
    np.add.at(with_class, (images.split[image], label), 1)
    return ClassCounts(found, difficult, with_class)


def quantiles(values: Float[np.ndarray, " n"] | Int[np.ndarray, " n"]) -> dict[str, float]:
    """Values at `QUANTILES`; empty without values.

    Example:
        >>> quantiles(np.arange(11))
        {'min': 0.0, '10 %': 1.0, 'median': 5.0, '90 %': 9.0, 'max': 10.0}
    """
    if len(values) == 0:
        return {}
    return dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))


def distributions(inspection: Inspection) -> dict[str, dict[str, float]]:
    """Quantiles of objects per image, image sizes and box sizes, with difficult objects.

    Args:
        inspection: inspection of the data set.

    Returns:
        `quantiles` by the name of the measure. Boxes are measured on the network's input.
    """
    images, (height, width) = inspection.images, inspection.objects.sides.astype(np.float64).T
    rows_of_input, columns_of_input = inspection.input_shape
    rows = {
        f"objects an image, {name}": images.objects[images.split == index]
        for index, name in enumerate(inspection.splits)
    }
    rows |= {
        "image height, px": images.sizes[:, 0],
        "image width, px": images.sizes[:, 1],
        "image height / width": images.sizes[:, 0] / images.sizes[:, 1],
        "box height, fraction of the image": height,
        "box width, fraction of the image": width,
        f"box height, px of {rows_of_input}": height * rows_of_input,
        f"box width, px of {columns_of_input}": width * columns_of_input,
        "box height / width": height / width * (rows_of_input / columns_of_input),
    }
    return {name: quantiles(values) for name, values in rows.items()}


def repeated_boxes(
    boxes: Float32[np.ndarray, "N G 4"],
    labels: Int32[np.ndarray, "N G"],
    valid: Bool[np.ndarray, "N G"],
    *,
    threshold: float,
) -> Bool[np.ndarray, "N G"]:
    """Find objects that repeat an earlier one of the same image and class.

    Args:
        boxes: corners, padded as in `Examples`.
        labels: class of each object.
        valid: True for each place that holds an object.
        threshold: IoU above which two boxes are equal.

    Returns:
        `[N, G]`; False for the first of several equal boxes.
    """
    images = max(1, PAIRS_AT_ONCE // boxes.shape[1] ** 2)
    return np.asarray(_repeated(boxes, labels, valid, threshold, images))


def smallest_sides(input_shape: tuple[int, int]) -> Float[np.ndarray, "2"]:
    """Height and width below which a box is tiny, as fractions of the input's."""
    return np.maximum(TINY_SHARE, TINY_PIXELS / np.array(input_shape))


def _suspicious(
    objects: Objects,
    placements: Float[np.ndarray, "N 4"],
    repeated: Bool[np.ndarray, " n"],
    input_shape: tuple[int, int],
) -> dict[str, Int[np.ndarray, " _"]]:
    """Rows of `objects` for each key of `SUSPICIOUS`, the most extreme first."""
    sides, shape = objects.sides.astype(np.float64), np.array(input_shape)
    in_pixels = sides * (shape / shape.max())  # up to a factor
    shortest, longest = in_pixels.min(axis=1), in_pixels.max(axis=1)
    limits = smallest_sides(input_shape)
    # A box can only cover the part of the image that is on the input.
    extent = np.minimum(placements[:, 2:] - placements[:, :2], 1)[objects.image]
    covered = (sides / extent).min(axis=1)
    found = {
        "tiny": ((sides < limits).any(axis=1), (sides / limits).min(axis=1)),
        "elongated": (longest > ELONGATED * shortest, shortest / longest),
        "whole image": (covered >= WHOLE_IMAGE, -covered),
        "repeated": (repeated, np.zeros(len(sides))),
    }
    return {name: np.flatnonzero(mask)[np.argsort(order[mask], kind="stable")] for name, (mask, order) in found.items()}


def _same_ids(images: Images) -> tuple[str, ...]:
    split_of: dict[str, set[int]] = defaultdict(set)
    for name, split in zip(images.ids, images.split.tolist(), strict=True):
        split_of[name].add(split)
    return tuple(name for name, splits in split_of.items() if len(splits) > 1)


def _same_pixels(datasets: list[Dataset]) -> tuple[tuple[int, ...], ...]:
    """Rows of `Images` with equal pixels. The images are read once, one at a time."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    row = 0
    for dataset in datasets:
        for image in dataset.examples.images:
            rows[hashlib.blake2b(np.ascontiguousarray(image).tobytes()).digest()].append(row)
            row += 1
    return tuple(tuple(group) for group in rows.values() if len(group) > 1)


@partial(jax.jit, static_argnums=(3, 4))
def _repeated(boxes: Array, labels: Array, valid: Array, threshold: float, batch_size: int) -> Bool[Array, "N G"]:
    def of_image(image: tuple[Array, Array, Array]) -> Bool[Array, " G"]:
        boxes, labels, valid = image
        rows = jnp.arange(len(valid))
        alike = (box_iou(boxes, boxes) > threshold) & (labels[:, None] == labels[None, :])
        earlier = (rows[None, :] < rows[:, None]) & valid[None, :]
        return valid & jnp.any(alike & earlier, axis=1)

    return jax.lax.map(of_image, (boxes, labels, valid), batch_size=min(batch_size, max(1, len(boxes))))
