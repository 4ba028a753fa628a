"""Values in COCO files as tools write them: numbers and ids, also as text; flags, sizes and outlines."""

import math
import re
from collections.abc import Mapping
from typing import Any

Id = int | str
"""Id: a number of 64 bits, or any text."""

_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_MAX_RUNS = 10_000_000  # run lengths of one mask


def as_id(value: object) -> Id | None:
    """Read an id, equal for all ways to write it; None if the value is not an id.

    Numbers of more than 64 bits become text: many have the same hash, and would make dictionaries very slow.

    Example:
        >>> as_id(7), as_id(7.0), as_id("7"), as_id("cat-7"), as_id(True), as_id(7.5), as_id(2**64)
        (7, 7, 7, 'cat-7', None, None, '18446744073709551616')
    """
    if type(value) is int and -(2**63) <= value < 2**63:
        return value  # the fast path: files have millions of these
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text) or len(text) > 40:
            return text or None
        value = int(text.partition(".")[0])
    if not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else _digits(value)


def as_number(value: object) -> float | None:
    """Read a number, also from text; infinite if it has too many digits, None if it is not a number.

    Example:
        >>> as_number(3), as_number(" 12.0"), as_number("12 px"), as_number(None), as_number(True)
        (3.0, 12.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf
    except ValueError:
        return None


def as_numbers(values: object) -> list[float] | None:
    """Read a list of numbers; None if it is not a list, or an item is not a number."""
    if not isinstance(values, list):
        return None
    numbers = [as_number(value) for value in values]
    return None if None in numbers else [number for number in numbers if number is not None]


def four_numbers(bbox: object) -> tuple[float, float, float, float] | None:
    """Read the four numbers of a bbox; None if there are not four."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    a, b, c, d = bbox
    if type(a) is type(b) is type(c) is type(d) is float:
        return a, b, c, d  # the fast path: files have millions of these
    numbers = as_numbers(bbox)
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers else None


def as_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Read (height, width) of an image, rounded; None unless both are positive numbers."""
    height, width = as_number(entry.get("height")), as_number(entry.get("width"))
    if height is None or width is None or not (0.5 <= height < 1e9 and 0.5 <= width < 1e9):
        return None
    return round(height), round(width)


def is_true(flag: object) -> bool:
    """True for 1, 1.0, true, or any of these as text."""
    return as_number(flag) == 1 or flag is True or (isinstance(flag, str) and flag.strip().lower() == "true")


def outline_hull(segmentation: object) -> tuple[float, float, float, float] | None:
    """Box around a segmentation.

    Args:
        segmentation: polygons `[[x1, y1, x2, y2, ...], ...]`, one polygon without the outer list, or a mask `{"size":
            [height, width], "counts": ...}` with run lengths as a list or as COCO's text.

    Returns:
        [x, y, width, height]; None if it is empty or anything else.

    Example:
        >>> outline_hull([[10, 20, 40, 20, 40, 60]])
        (10.0, 20.0, 30.0, 40.0)
        >>> outline_hull({"size": [3, 4], "counts": [4, 2, 1, 1, 4]})  # rows 1 and 2 of column 1, row 1 of column 2
        (1.0, 1.0, 2.0, 2.0)
    """
    if isinstance(segmentation, Mapping):
        return _mask_hull(segmentation)
    if not isinstance(segmentation, list):
        return None
    polygons = segmentation if all(isinstance(polygon, list) for polygon in segmentation) else [segmentation]
    found = [numbers for polygon in polygons if (numbers := as_numbers(polygon)) and len(numbers) % 2 == 0]
    xs, ys = ([value for numbers in found for value in numbers[start::2]] for start in (0, 1))
    return (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)) if xs else None


def _mask_hull(mask: Mapping[Any, Any]) -> tuple[float, float, float, float] | None:
    """Box around a mask. Its pixels run down the columns; its runs are of 0 and 1 in turn, 0 first."""
    size, counts = as_numbers(mask.get("size")), mask.get("counts")
    runs = _text_runs(counts) if isinstance(counts, str) else as_numbers(counts)
    if not size or len(size) != 2 or not 1 <= size[0] < 1e6 or not runs or len(runs) > _MAX_RUNS:
        return None
    if not all(0 <= run < 1e12 for run in runs):
        return None
    height, at = int(size[0]), 0
    columns: list[int] = []
    rows: list[int] = []
    for turn, run in enumerate(map(int, runs)):
        if turn % 2 and run:
            (first, top), (last, bottom) = divmod(at, height), divmod(at + run - 1, height)
            columns += [first, last]
            rows += [top, bottom] if first == last else [0, height - 1]
        at += run
    if not columns:
        return None
    return float(min(columns)), float(min(rows)), max(columns) - min(columns) + 1.0, max(rows) - min(rows) + 1.0


def _text_runs(text: str) -> list[float] | None:
    """Run lengths of COCO's text: five bits per character, low bits first; from the fourth run on, differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text[: 6 * _MAX_RUNS]:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return [float(run) for run in runs] if not shift else None


def _digits(number: int) -> str:
    """Decimal digits; hexadecimal ones where Python refuses to write so many."""
    try:
        return str(number)
    except ValueError:
        return hex(number)
