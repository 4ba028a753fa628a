"""Check the boxes of a record against its image, and bring them to the network's canvas."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from jaxssd.data.formats.base import Record
from jaxssd.data.image_limits import MAX_SIDE
from jaxssd.data.placement import to_canvas
from jaxssd.data.report import Problem

TOLERANCE = 1.0
"""Pixels by which a box may cross the edge without a report: some annotators count from 0 and some from 1."""

MIN_VISIBLE = 0.3
"""Smallest visible share of a box in the crop. Below it the object is difficult: neither trained on nor scored."""


class FittedBoxes(NamedTuple):
    """Objects of one image on its canvas, as in `Examples` but not padded."""

    boxes: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]


def fit_boxes(
    record: Record, size: tuple[int, int], placement: Float64[np.ndarray, " 4"], max_objects: int
) -> tuple[FittedBoxes, list[Problem]]:
    """Scale the boxes of a record to its image, clip them, and drop those outside, repeated or cropped away.

    Args:
        record: boxes in pixels or fractions of the image.
        size: (height, width) of the image.
        placement: place of the image on its canvas.
        max_objects: largest number of objects; more are reported, and dropped by `pad_objects`.

    Returns:
        The objects that are left, and the problems.
    """
    file, problems = record.annotation_name, []
    extent = np.tile(np.array(size, np.float64), 2)
    pixels = record.boxes * extent if record.normalised else record.boxes
    stated = record.stated_size
    if stated is not None and stated != size:
        close = np.abs(np.subtract(stated, size)).max() <= TOLERANCE  # some tools count from 0
        drawn_here = not _lie_in(pixels, stated) and _lie_in(pixels, size)  # the stated size is out of date
        if not (record.normalised or close or drawn_here) and _scale(stated, size) is not None:
            pixels = pixels * (extent / np.tile(stated, 2))
        problems.append(Problem(file, "noted", "of another size than annotated", _sizes(stated, size)))

    clipped = np.clip(pixels, 0, extent)
    boxes = (clipped / extent).astype(np.float32)
    kept = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    overshoot = np.abs(pixels - clipped).max(axis=1, initial=0)
    for row in np.flatnonzero(~kept | (overshoot > TOLERANCE)):
        numbers = [round(corner, 1) for corner in pixels[row].tolist()]  # NumPy's own overflows at 1e308
        where = f"[y1, x1, y2, x2] = {numbers} px in an image of {size[1]}x{size[0]}"
        if kept[row]:
            problems.append(Problem(file, "clipped", "beyond the image's edge", where))
        else:
            problems.append(Problem(file, "dropped", "outside the image", where))

    first = _first_rows([*zip(*pixels.T.tolist(), record.labels.tolist(), record.difficult.tolist(), strict=True)])
    if repeated := int((kept & ~first).sum()):
        detail = "the same box and class as another row of the image"
        problems.append(Problem(file, "dropped", "repeated", detail, repeated))
    kept &= first

    count = int(kept.sum())
    if count == 0:
        problems.append(Problem(file, "noted", "without objects", "kept as background"))
    if count > max_objects:
        detail = f"{count} objects, the largest are kept; max_objects={count} keeps all"
        problems.extend([Problem(file, "dropped", "over max_objects", detail)] * (count - max_objects))

    boxes, visible = _crop(boxes, placement)
    if outside := int((kept & (visible == 0)).sum()):
        detail = f"{outside} objects of which nothing lies in the crop"
        problems.extend([Problem(file, "dropped", "outside the crop", detail)] * outside)
    cut = kept & (visible > 0) & (visible < MIN_VISIBLE)
    if cut.any():
        detail = f"{cut.sum()} objects of which less than {MIN_VISIBLE:.0%} lies in the crop are difficult"
        problems.append(Problem(file, "noted", "with objects cut by the crop", detail))
    kept &= visible > 0
    return FittedBoxes(boxes[kept], record.labels[kept], (record.difficult | cut)[kept]), problems


def other_picture(record: Record, size: tuple[int, int]) -> Problem | None:
    """Problem of an image whose aspect ratio differs from the stated size: it is not the annotated picture.

    Swapped sides are a common mistake of exporters: such an image is accepted if the boxes lie in it.
    """
    stated = record.stated_size
    if stated is None or record.normalised or not all(1 <= side <= MAX_SIDE for side in stated):
        return None
    if _scale(stated, size) is not None or (stated == size[::-1] and _lie_in(record.boxes, size)):
        return None
    detail = f"{_sizes(stated, size)}: another picture? Correct the size, or remove it if the boxes are right"
    return Problem(record.annotation_name, "skipped", "of another shape than annotated", detail)


def _scale(stated: tuple[int, int], size: tuple[int, int]) -> float | None:
    """Factor from the stated size to the image's; None if their shapes differ by more than rounding.

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
    """True if boxes in pixels end within an image of this (height, width)."""
    return bool((boxes[:, 2:] <= np.array(size) + TOLERANCE).all())


def _sizes(stated: tuple[int, int], size: tuple[int, int]) -> str:
    return f"says {stated[1]}x{stated[0]} (width x height) but the image has {size[1]}x{size[0]}"


def _first_rows(rows: list[tuple]) -> Bool[np.ndarray, " n"]:
    """True for rows that no earlier row equals."""
    seen = dict(zip(reversed(rows), range(len(rows) - 1, -1, -1), strict=True))
    return np.isin(np.arange(len(rows)), list(seen.values()))


def _crop(
    boxes: Float32[np.ndarray, "n 4"], placement: Float64[np.ndarray, " 4"]
) -> tuple[Float32[np.ndarray, "n 4"], Float64[np.ndarray, " n"]]:
    """Boxes on the canvas, clipped to it, and the visible share of each."""
    placed = to_canvas(boxes, placement)
    clipped = np.clip(placed, 0, 1)
    area, visible = (np.prod(corners[:, 2:] - corners[:, :2], axis=1) for corners in (placed, clipped))
    return clipped.astype(np.float32), np.divide(visible, area, out=np.zeros_like(area), where=area > 0)
