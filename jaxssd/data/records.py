"""From what a source says about its images to a `Dataset`: decode them, check the boxes against them, pad."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.images import (
    MAX_SIDE,
    Decoded,
    Drawn,
    Fit,
    UnreadableImage,
    Upright,
    decode_all,
    find_fit,
    inspect_all,
)
from jaxssd.data.placement import Aspect, place_images, to_canvas
from jaxssd.data.report import LoadReport, Problem
from jaxssd.data.source import Record

Allocate = Callable[[tuple[int, ...]], UInt8[np.ndarray, "..."]]
"""Shape -> a new uint8 array, in memory or in a file."""

Exif = Literal["auto", "apply", "ignore"]

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
    exif: Exif,
    class_names: tuple[str, ...],
    max_objects: int,
    allocate: Allocate,
    workers: int | None,
    progress: bool,
    others: Callable[[], Sequence[Record]] = tuple,
) -> Dataset:
    """Decode the images and put the boxes into their final form.

    Args:
        path: of the data set, for messages.
        records: in the order that the data set will have.
        problems: what the source has met already; the report begins with these.
        image_size: height and width of the decoded images.
        aspect: how an image becomes a square.
        exif: whether EXIF orientations are applied; `auto` asks which picture the boxes were drawn on.
        class_names: name of each label.
        max_objects: objects an image may have.
        allocate: gives the array for the images.
        workers: threads that decode; None for one a core.
        progress: show a progress bar.
        others: gives the data set's images that are not read here. They, too, show which picture boxes are drawn on.

    Returns:
        The data set of all images that could be read.

    Raises:
        ValueError: if no image could be read.
    """
    problems = list(problems)
    images = allocate((len(records), image_size, image_size, 3)) if records else np.empty((0, 1, 1, 3), np.uint8)
    files = [record.image for record in records]
    upright = [_upright(record, exif) for record in records]
    decoded = decode_all(files, images, aspect=aspect, upright=upright, workers=workers, progress=progress)
    _turn_undecided(records, others, images, decoded, aspect, exif)

    kept: list[Record] = []
    kept_sizes: list[tuple[int, int]] = []
    kept_boxes, kept_labels, kept_difficult = [], [], []
    for row, (record, image) in enumerate(zip(records, decoded, strict=True)):
        if isinstance(image, UnreadableImage):
            problems.append(Problem(record.image_name, "skipped", image.kind, str(image)))
            continue
        size = image.size
        if (misfit := _other_picture(record, size)) is not None:
            problems.append(misfit)
            continue
        boxes, inside, remarks = _check(record, size, max_objects)
        remarks = [*_odd_pixels(record, image), *remarks]
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


def _upright(record: Record, exif: Exif) -> Upright:
    """Whether the orientation is applied, or what shows it."""
    if exif != "auto":
        return exif == "apply"
    if record.upright:
        return True
    pixels = None if record.normalised or not len(record.boxes) else record.boxes[:, 2:].max(axis=0).tolist()
    return Drawn(record.stated_size, None if pixels is None else (pixels[0], pixels[1]))


def _turn_undecided(
    records: Sequence[Record],
    others: Callable[[], Sequence[Record]],
    images: UInt8[np.ndarray, "..."],
    decoded: list[Decoded | UnreadableImage],
    aspect: Aspect,
    exif: Exif,
) -> None:
    """Turn the images whose boxes fit both pictures as well, where all others of the data set were drawn turned."""
    upright = [_upright(record, exif) for record in records]
    own = _fits_of_boxes(upright, decoded)
    if "either" not in own or "stored" in own:
        return
    known = others()  # looked for only now, since few data sets have such images
    other_upright = [_upright(record, exif) for record in known]
    found = inspect_all([record.image for record in known], other_upright)
    fits = _fits([*upright, *other_upright], [*decoded, *found])
    if "shown" not in fits or "stored" in fits:
        return
    for row in (row for row, _ in enumerate(records) if fits[row] == "either"):
        out = images[row : row + 1]
        (image,) = decode_all([records[row].image], out, aspect=aspect, upright=[True], workers=1, progress=False)
        decoded[row] = image._replace(fit="either", turned=True) if isinstance(image, Decoded) else image


def _fits(upright: Sequence[Upright], decoded: Sequence[Decoded | UnreadableImage]) -> list[Fit | None]:
    """The picture that each image's annotation fits, None of those that EXIF does not turn.

    Where boxes show that the tool states the stored size and draws on the other picture, stated sizes show nothing.
    """
    misleading = any(
        isinstance(drawn, Drawn)
        and isinstance(image, Decoded)
        and image.fit == "shown"
        and drawn.stated_size == image.size[::-1] != image.size
        for drawn, image in zip(upright, decoded, strict=True)
    )
    if misleading:
        return _fits_of_boxes(upright, decoded)
    return [image.fit if isinstance(image, Decoded) else None for image in decoded]


def _fits_of_boxes(upright: Sequence[Upright], decoded: Sequence[Decoded | UnreadableImage]) -> list[Fit | None]:
    """The picture that each image's annotation fits, where it states the stored size by its boxes alone."""

    def fit(drawn: Upright, image: Decoded | UnreadableImage) -> Fit | None:
        if isinstance(image, UnreadableImage):
            return None
        if image.fit == "stored" and isinstance(drawn, Drawn):
            return find_fit(image.size, drawn._replace(stated_size=None))
        return image.fit

    return [fit(drawn, image) for drawn, image in zip(upright, decoded, strict=True)]


def _odd_pixels(record: Record, image: Decoded) -> list[Problem]:
    """What decoding an image had to do."""
    problems = []
    if image.turned:
        why = "its boxes fit the picture turned" if image.fit == "shown" else "so are the others of the data set"
        problems.append(
            Problem(record.image_name, "noted", "turned as its EXIF says", f"{why}; --exif ignore leaves it")
        )
    for kind, _, detail in (note.partition(": ") for note in image.notes):
        problems.append(Problem(record.image_name, "noted", kind, detail))
    return problems


def _other_picture(record: Record, size: tuple[int, int]) -> Problem | None:
    """Why an image cannot be the one that was annotated: it has another shape, and boxes that may lie anywhere in it.

    Sides that are merely exchanged are a common mistake of exporters; there the boxes must lie in the image.
    """
    stated = record.stated_size
    if stated is None or record.normalised or not all(1 <= side <= MAX_SIDE for side in stated):
        return None  # says nothing, or nothing that makes sense
    if _scale(stated, size) is not None:
        return None
    if stated == size[::-1] and _lie_in(record.boxes, size):
        return None
    detail = f"{_says(stated, size)}: another picture? Correct the size, or remove it if the boxes are right"
    return Problem(record.annotation_name, "skipped", "of another shape than annotated", detail)


def _scale(stated: tuple[int, int], size: tuple[int, int]) -> float | None:
    """Factor from the annotated size to the image's, if their shapes are the same to rounding.

    Example:
        >>> _scale((480, 640), (240, 320)), _scale((480, 640), (640, 480))
        (0.5, None)
    """
    if not all(1 <= side <= MAX_SIDE for side in stated):
        return None
    factor = max(size) / max(stated)
    errors = [abs(side * factor - actual) for side, actual in zip(stated, size, strict=True)]
    return factor if max(errors) <= max(TOLERANCE, factor * TOLERANCE) else None


def _lie_in(boxes: Float64[np.ndarray, "n 4"], size: tuple[int, int]) -> bool:
    """Whether boxes in pixels end within a picture of this (height, width)."""
    return bool((boxes[:, 2:] <= np.array(size) + TOLERANCE).all())


def _says(stated: tuple[int, int], size: tuple[int, int]) -> str:
    return f"says {stated[1]}x{stated[0]} (width x height) but the image has {size[1]}x{size[0]}"


def _check(
    record: Record, size: tuple[int, int], max_objects: int
) -> tuple[Float32[np.ndarray, "n 4"], Bool[np.ndarray, " n"], list[Problem]]:
    """Normalised boxes clipped to the image, which of them have any part in it, and what there is to report."""
    height, width = size
    file, problems = record.annotation_name, []
    extent = np.array([height, width, height, width], np.float64)
    pixels = record.boxes * extent if record.normalised else record.boxes
    stated = record.stated_size
    if stated is not None and stated != size:
        close = np.abs(np.subtract(stated, size)).max() <= TOLERANCE  # somebody counted from 0
        drawn_here = not _lie_in(pixels, stated) and _lie_in(pixels, size)  # on this picture: the size is an old one
        if not (record.normalised or close or drawn_here) and _scale(stated, size) is not None:
            pixels = pixels * (extent / np.tile(stated, 2))
        problems.append(Problem(file, "noted", "of another size than annotated", _says(stated, size)))
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

    rows = [*zip(*pixels.T.tolist(), record.labels.tolist(), record.difficult.tolist(), strict=True)]
    seen = dict(zip(reversed(rows), range(len(rows) - 1, -1, -1), strict=True))  # row -> where it comes first
    first = np.isin(np.arange(len(rows)), list(seen.values()))
    if repeated := int((inside & ~first).sum()):
        detail = "the same box and class as another row of the image"
        problems.append(Problem(file, "dropped", "repeated", detail, repeated))
        inside &= first

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
