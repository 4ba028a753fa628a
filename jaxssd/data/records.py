"""From what a source says about its images to a `Dataset`: decode them, check the boxes against them, pad."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.images import UnreadableImage, decode_all
from jaxssd.data.placement import Aspect, place_images, to_canvas
from jaxssd.data.report import LoadReport, Problem
from jaxssd.data.source import Record

Allocate = Callable[[tuple[int, ...]], UInt8[np.ndarray, "..."]]
"""Shape -> a new uint8 array, in memory or in a file."""

TOLERANCE = 1.0
"""Pixels by which a box may cross the edge unreported: some annotators count from 0 and some from 1."""

MIN_VISIBLE = 0.3
"""Share of a box that a crop must leave in view to be learned; of less, too little can be recognised, and whoever finds
it all the same is not wrong."""


def read_records(
    path: Path,
    records: Sequence[Record],
    problems: Sequence[Problem],
    *,
    image_size: int,
    aspect: Aspect,
    class_names: tuple[str, ...],
    max_objects: int,
    allocate: Allocate,
    workers: int | None,
    progress: bool,
) -> Dataset:
    """Decode the images and put the boxes into their final form.

    Args:
        path: of the data set, for messages.
        records: in the order that the data set will have.
        problems: what the source has met already; the report begins with these.
        image_size: height and width of the decoded images.
        aspect: how an image becomes a square.
        class_names: name of each label.
        max_objects: objects an image may have.
        allocate: gives the array for the images.
        workers: threads that decode; None for one a core.
        progress: show a progress bar.

    Returns:
        The data set of all images that could be read.

    Raises:
        ValueError: if no image could be read.
    """
    problems = list(problems)
    images = allocate((len(records), image_size, image_size, 3)) if records else np.empty((0, 1, 1, 3), np.uint8)
    files = [record.image for record in records]
    upright = [record.upright or record.stated_size or False for record in records]
    sizes = decode_all(files, images, aspect=aspect, upright=upright, workers=workers, progress=progress)

    kept: list[Record] = []
    kept_sizes: list[tuple[int, int]] = []
    kept_boxes, kept_labels, kept_difficult = [], [], []
    for row, (record, size) in enumerate(zip(records, sizes, strict=True)):
        if isinstance(size, UnreadableImage):
            problems.append(Problem(record.image_name, "skipped", size.kind, str(size)))
            continue
        boxes, inside, remarks = _check(record, size, max_objects)
        boxes, visible = _place(boxes, place_images(np.array(size), image_size, aspect))
        if outside := int((inside & (visible == 0)).sum()):
            detail = f"{outside} objects of which nothing lies in the middle square"
            remarks.extend([Problem(record.annotation_name, "dropped", "outside the crop", detail)] * outside)
        cut = inside & (visible > 0) & (visible < MIN_VISIBLE)
        if cut.any():
            detail = f"{cut.sum()} objects of which less than {MIN_VISIBLE:.0%} lies in the middle square are difficult"
            remarks.append(Problem(record.annotation_name, "noted", "with objects cut by the crop", detail))
        inside &= visible > 0
        if len(kept) < row:
            images[len(kept)] = images[row]  # close the gap that skipped images left
        kept.append(record)
        kept_sizes.append(size)
        kept_boxes.append(boxes[inside])
        kept_labels.append(record.labels[inside])
        kept_difficult.append((record.difficult | cut)[inside])
        problems.extend(remarks)

    padded = pad_objects(kept_boxes, kept_labels, kept_difficult, max_objects=max_objects)
    examples = Examples(images[: len(kept)], *padded)
    report = LoadReport(len(kept), int(examples.valid.sum()), tuple(problems))
    if not kept:
        raise ValueError(f"{path}: no image could be read: {report.summary()}{_first(problems)}")
    return Dataset(
        examples=examples,
        class_names=class_names,
        ids=tuple(record.id for record in kept),
        sizes=np.array(kept_sizes, np.int32),
        placements=place_images(np.array(kept_sizes), image_size, aspect),
        report=report,
    )


def _check(
    record: Record, size: tuple[int, int], max_objects: int
) -> tuple[Float32[np.ndarray, "n 4"], Bool[np.ndarray, " n"], list[Problem]]:
    """Normalised boxes clipped to the image, which of them have any part in it, and what there is to report."""
    height, width = size
    file, problems = record.annotation_name, []
    if record.stated_size not in (None, size):
        stated = "{1}x{0}".format(*record.stated_size)
        detail = f"says {stated} (width x height) but the image has {width}x{height}"
        problems.append(Problem(file, "noted", "of another size than annotated", detail))

    extent = np.array([height, width, height, width], np.float64)
    pixels = record.boxes * extent if record.normalised else record.boxes
    clipped = np.clip(pixels, 0, extent)
    boxes = (clipped / extent).astype(np.float32)
    inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    overshoot = np.abs(pixels - clipped).max(axis=1, initial=0)
    for corners, is_inside, excess in zip(pixels, inside, overshoot, strict=True):
        numbers = [round(corner, 1) for corner in corners.tolist()]  # NumPy's own overflows at 1e308
        where = f"[y1, x1, y2, x2] = {numbers} px in an image of {width}x{height}"
        if not is_inside:
            problems.append(Problem(file, "dropped", "outside the image", where))
        elif excess > TOLERANCE:
            problems.append(Problem(file, "clipped", "beyond the image's edge", where))

    count = int(inside.sum())
    if count == 0:
        problems.append(Problem(file, "noted", "without objects", "kept: it shows what is not an object"))
    if count > max_objects:
        detail = f"{count} objects, the largest are kept; max_objects={count} keeps all"
        problems.extend([Problem(file, "dropped", "over max_objects", detail)] * (count - max_objects))
    return boxes, inside, problems


def _place(
    boxes: Float32[np.ndarray, "n 4"], placement: Float64[np.ndarray, " 4"]
) -> tuple[Float32[np.ndarray, "n 4"], Float64[np.ndarray, " n"]]:
    """Boxes on the canvas, clipped to it, and the share of each that is in view."""
    placed = to_canvas(boxes, placement)
    clipped = np.clip(placed, 0, 1)
    area, visible = (np.prod(corners[:, 2:] - corners[:, :2], axis=1) for corners in (placed, clipped))
    return clipped.astype(np.float32), np.divide(visible, area, out=np.zeros_like(area), where=area > 0)


def _first(problems: Sequence[Problem]) -> str:
    return f"; first, {problems[0].file}: {problems[0].detail}" if problems else ""
