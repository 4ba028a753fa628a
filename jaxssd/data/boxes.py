"""Check the boxes of a record against its image."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from jaxssd.data.formats.base import Record
from jaxssd.data.images import MAX_SIDE
from jaxssd.data.report import Problem

TOLERANCE = 1.0
"""Pixels by which a box may cross the edge unreported: some annotators count from 0 and some from 1."""


def other_picture(record: Record, size: tuple[int, int]) -> Problem | None:
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


def fit_boxes(
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
