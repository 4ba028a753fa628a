"""Label file of one image, to plain values."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxssd.data.formats.annotated_boxes import Corners, box_flaw
from jaxssd.data.formats.files import split_lines
from jaxssd.data.formats.yolo.data_yaml import class_index, shorten

MAX_FRACTION = 1.5
"""Largest number of normalised boxes. A box cut by the edge may exceed 1, but not by half an image."""

_KEYPOINTS = (
    "they are a box with keypoints behind it, (x, y, visibility) each: state their number in data.yaml, such as "
    "`kpt_shape: [17, 3]`, and the boxes are read"
)


class LabelledBox(NamedTuple):
    """One line.

    Attributes:
        line: line number, from 1.
        label: index of the class in the file.
        box: corners (y1, x1, y2, x2) in fractions of the image, finite, with positive area.
    """

    line: int
    label: int
    box: Corners


class Labels(NamedTuple):
    """Content of a label file.

    Attributes:
        boxes: boxes in the file's order.
        flaws: kind and detail of the problem of each line that gives no box.
        polygons: numbers of the lines that hold an outline; their bounding boxes are in `boxes`.
    """

    boxes: list[LabelledBox]
    flaws: list[tuple[str, str]]
    polygons: list[int]


class UnreadableLabels(ValueError):
    """Label file that cannot be used at all.

    Attributes:
        kind: `malformed annotation` or `not normalised`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Store the kind and the reason."""
        super().__init__(detail)
        self.kind = kind


def parse_labels(content: bytes, num_classes: int, num_keypoint_values: int = 0) -> Labels:
    """Parse a label file. Any bytes give labels or one of the errors below.

    Args:
        content: lines `class center_x center_y width height`, or `class x y x y x y ...` with the points of an outline.
        num_classes: number of classes.
        num_keypoint_values: number of values after each box that belong to keypoints, and are left out.

    Returns:
        The boxes, and the flaws of the other lines.

    Raises:
        UnreadableLabels: if the content is not UTF-8, or not in fractions of the image.
        ValueError: if the class of a line is not an index of a class.

    Example:
        >>> parse_labels(b"7 0.5 0.5 0.5 0.25", num_classes=20).boxes
        [LabelledBox(line=1, label=7, box=(0.375, 0.25, 0.625, 0.75))]
    """
    try:
        lines = split_lines(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableLabels("malformed annotation", f"not UTF-8: {error}") from error
    labels = Labels([], [], [])
    rows = [(number, fields) for number, line in enumerate(lines, start=1) if (fields := line.split())]
    if num_keypoint_values:
        length = 5 + num_keypoint_values
        rows = [(number, fields[:5] if len(fields) == length else fields) for number, fields in rows]
    has_angles = any(_is_angle(fields) for _, fields in rows)
    try:
        for number, fields in rows:
            _parse_line(number, fields, num_classes, labels, has_angles)
    except UnreadableLabels as error:
        if _have_keypoints(rows):
            raise UnreadableLabels(error.kind, f"{error}; or {_KEYPOINTS}") from error
        raise
    if labels.flaws and _have_keypoints(rows):
        labels.flaws[:] = [(kind, f"{detail}; {_KEYPOINTS}") for kind, detail in labels.flaws]
    return labels


def _have_keypoints(rows: list[tuple[int, list[str]]]) -> bool:
    """True if every line is a box and equally many points (x, y, visibility) that lie in it, or are invisible."""
    for _, fields in rows:
        numbers = [number for text in fields[1:] if (number := _number(text)) is not None]
        if len(fields) != len(rows[0][1]) or len(numbers) < len(fields) - 1 or len(fields) < 8 or len(fields) % 3 != 2:
            return False
        y1, x1, y2, x2 = _corners(numbers[:4])
        for x, y, visible in zip(*(numbers[start::3] for start in (4, 5, 6)), strict=True):
            inside = x1 - 0.01 <= x <= x2 + 0.01 and y1 - 0.01 <= y <= y2 + 0.01
            if visible not in (0, 1, 2) or not (inside or visible == 0):
                return False
    return bool(rows)


def _is_angle(fields: list[str]) -> bool:
    """True if there is a fifth number that cannot be a confidence."""
    angle = _number(fields[5]) if len(fields) == 6 else None
    return angle is not None and not 0 <= angle <= 1


def _parse_line(number: int, fields: list[str], num_classes: int, labels: Labels, has_angles: bool) -> None:
    """Add a line's box or flaw. A fifth number is an angle if any line of the file `has_angles`."""
    where = f"line {number}: {shorten(' '.join(fields))}"
    values = [_number(text) for text in fields[1:]]
    numbers = [value for value in values if value is not None]
    if len(values) < 4 or len(numbers) < len(values):
        labels.flaws.append(("incomplete", f"{where}: expected a class and four numbers"))
        return
    label = class_index(fields[0])
    if label is None or label >= num_classes:
        raise ValueError(
            f"line {number}: the class is {shorten(fields[0], 20)!r}, expected an index below {num_classes}, the "
            "number of names"
        )
    if not all(map(math.isfinite, numbers)):
        labels.flaws.append(("not finite", where))
        return
    if len(numbers) == 5 and has_angles:
        detail = f"{where}: the fifth number is not a confidence but an angle; write rotated boxes as four corners"
        labels.flaws.append(("with an angle", detail))
        return
    if len(numbers) == 5:
        detail = (
            f"{where}: the fifth number is a confidence from a detector, which is not ground truth, or the angle of "
            "a rotated box; remove the last column if the boxes were checked, write rotated boxes as their four corners"
        )
        labels.flaws.append(("with confidence", detail))
        return
    if max(map(abs, numbers)) > MAX_FRACTION:
        detail = f"{where}: the numbers are pixels; expected fractions of the image's width and height, from 0 to 1"
        raise UnreadableLabels("not normalised", detail)
    if len(numbers) % 2:
        labels.flaws.append(("incomplete", f"{where}: neither four numbers nor pairs of an outline"))
        return
    corners = _corners(numbers)
    if flaw := box_flaw(corners):
        labels.flaws.append((flaw, where))
        return
    labels.boxes.append(LabelledBox(number, label, corners))
    if len(numbers) > 4:
        labels.polygons.append(number)


def _corners(numbers: Sequence[float]) -> Corners:
    """Corners of a box, or of the bounding box of an outline."""
    if len(numbers) < 6:
        x, y, width, height = numbers[:4]
        return y - height / 2, x - width / 2, y + height / 2, x + width / 2
    xs, ys = numbers[::2], numbers[1::2]
    return min(ys), min(xs), max(ys), max(xs)


def _number(text: str) -> float | None:
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
