"""What is in a data set: counts, sizes, and whatever deserves a look before anything is trained on it."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from jaxssd.data.dataset import Dataset
from jaxssd.data.quality import notes_on_quality
from jaxssd.data.report import LoadReport
from jaxssd.tools.inspection.reach import Reach, loses_anchor, reach, repeated_boxes

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
"""What makes a box suspicious."""

QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "most": 1.0}


class Images(NamedTuple):
    """The images of all splits.

    Attributes:
        split: which split.
        ids: their names.
        sizes: height and width of the files in pixels.
        objects: how many objects each has, difficult ones included.
    """

    split: Int[np.ndarray, " N"]
    ids: tuple[str, ...]
    sizes: Int32[np.ndarray, "N 2"]
    objects: Int[np.ndarray, " N"]


class Objects(NamedTuple):
    """The objects of all splits.

    Attributes:
        image: row of the image in `Images`.
        boxes: corners on the square that the network sees.
        labels: which class.
        difficult: neither trained on nor scored.
    """

    image: Int[np.ndarray, " n"]
    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]

    @property
    def sides(self) -> Float32[np.ndarray, "n 2"]:
        """Height and width, in shares of the square."""
        return self.boxes[:, 2:] - self.boxes[:, :2]


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Attributes:
        splits: their names.
        class_names: name of each label.
        image_size: side of the square in pixels.
        loading: each split's loading report.
        doubts: the lines of `notes_on_quality` of all splits.
        images: of all splits.
        objects: likewise.
        suspicious: rows of `objects` for each key of `SUSPICIOUS`, the most extreme first.
        same_ids: names that are in more than one split.
        same_pixels: groups of rows of `images` that are equal in every pixel of the square.
    """

    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    image_size: int
    loading: dict[str, LoadReport]
    doubts: tuple[str, ...]
    images: Images
    objects: Objects
    suspicious: dict[str, Int[np.ndarray, " _"]]
    same_ids: tuple[str, ...]
    same_pixels: tuple[tuple[int, ...], ...]

    @property
    def trained_on(self) -> Bool[np.ndarray, " n"]:
        """The objects that a network learns, or is scored by: those that are not difficult."""
        return ~self.objects.difficult

    def in_split(self, split: str) -> Bool[np.ndarray, " n"]:
        """The objects of a split."""
        return self.images.split[self.objects.image] == self.splits.index(split)


class ClassCounts(NamedTuple):
    """For each split and class: objects, difficult ones among them, and images that have any."""

    objects: Int[np.ndarray, "S C"]
    difficult: Int[np.ndarray, "S C"]
    images: Int[np.ndarray, "S C"]


class Coverage(NamedTuple):
    """What anchors do for each object.

    Attributes:
        iou: `[n]`, of the best anchor; NaN for difficult objects, which are not trained on.
        loses: `[n]`, whether the best anchor goes to another object; never of difficult ones.
    """

    iou: Float32[np.ndarray, " n"]
    loses: Bool[np.ndarray, " n"]


def inspect(datasets: Mapping[str, Dataset]) -> Inspection:
    """Look through the splits of a data set.

    Args:
        datasets: by the split's name, one at least, with the same classes and size of images.

    Returns:
        What was found.

    Raises:
        ValueError: if there is no split, or they differ in classes or in size.
    """
    splits = list(datasets.values())
    if not splits:
        raise ValueError("inspect: `datasets` is empty, expected one split at least")
    kinds = {(dataset.class_names, dataset.examples.images.shape[1:3]) for dataset in splits}
    if len(kinds) > 1:
        raise ValueError(f"inspect: the splits {', '.join(datasets)} differ in classes or in the size of their images")
    class_names, (image_size, _) = kinds.pop()

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
        image_size=image_size,
        loading={name: dataset.report for name, dataset in datasets.items()},
        doubts=tuple(line for name, dataset in datasets.items() for line in notes_on_quality(name, dataset)),
        images=images,
        objects=objects,
        suspicious=_suspicious(objects, placements, np.concatenate(repeated), image_size),
        same_ids=_same_ids(images),
        same_pixels=_same_pixels(splits),
    )


def count_classes(inspection: Inspection) -> ClassCounts:
    """Count objects and images of each class.

    Args:
        inspection: of a data set.

    Returns:
        `ClassCounts`, a row for each split.
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


def cover(inspection: Inspection, anchor_corners: Float[np.ndarray, "A 4"]) -> Coverage:
    """Ask a set of anchors which objects it reaches.

    Args:
        inspection: of a data set.
        anchor_corners: corners of the anchors.

    Returns:
        `Coverage` of all objects.
    """
    asked, objects = inspection.trained_on, inspection.objects
    best: Reach = reach(objects.boxes[asked], anchor_corners)
    iou, loses = np.full(len(asked), np.nan, np.float32), np.zeros(len(asked), bool)
    iou[asked], loses[asked] = best.iou, loses_anchor(objects.image[asked], best)
    return Coverage(iou, loses)


def quantiles(values: Float[np.ndarray, " n"] | Int[np.ndarray, " n"]) -> dict[str, float]:
    """The values at `QUANTILES`; of no values nothing.

    Example:
        >>> quantiles(np.arange(11))
        {'least': 0.0, '10 %': 1.0, 'median': 5.0, '90 %': 9.0, 'most': 10.0}
    """
    if len(values) == 0:
        return {}
    return dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))


def distributions(inspection: Inspection) -> dict[str, dict[str, float]]:
    """Quantiles of everything that has a size; boxes on the square, difficult ones included.

    Args:
        inspection: of a data set.

    Returns:
        What is measured -> `quantiles`.
    """
    images, (height, width) = inspection.images, inspection.objects.sides.astype(np.float64).T
    size = inspection.image_size
    rows = {
        f"objects an image, {name}": images.objects[images.split == index]
        for index, name in enumerate(inspection.splits)
    }
    rows |= {
        "image height, px": images.sizes[:, 0],
        "image width, px": images.sizes[:, 1],
        "image height / width": images.sizes[:, 0] / images.sizes[:, 1],
        "box height, share of the image": height,
        "box width, share of the image": width,
        f"box height, px of {size}": height * size,
        f"box width, px of {size}": width * size,
        "box height / width": height / width,
    }
    return {name: quantiles(values) for name, values in rows.items()}


def _suspicious(
    objects: Objects, placements: Float[np.ndarray, "N 4"], repeated: Bool[np.ndarray, " n"], image_size: int
) -> dict[str, Int[np.ndarray, " _"]]:
    """Rows for each key of `SUSPICIOUS`, the most extreme first, of equal ones in their order."""
    sides = objects.sides.astype(np.float64)
    shortest, longest = sides.min(axis=1), sides.max(axis=1)
    # Of an image that is not the whole square, or reaches beyond it, a box can cover only what is on the square.
    extent = np.minimum(placements[:, 2:] - placements[:, :2], 1)[objects.image]
    covered = (sides / extent).min(axis=1)
    found = {
        "tiny": (shortest < max(TINY_SHARE, TINY_PIXELS / image_size), shortest),
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
    """Rows, counted through all splits, of images that are equal; read once, one image at a time."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    row = 0
    for dataset in datasets:
        for image in dataset.examples.images:
            rows[hashlib.blake2b(np.ascontiguousarray(image).tobytes()).digest()].append(row)
            row += 1
    return tuple(tuple(group) for group in rows.values() if len(group) > 1)
