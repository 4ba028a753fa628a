"""Values of COCO's files as tools write them: numbers and ids, also as text, flags, boxes and outlines."""

import math
import re
from collections.abc import Mapping
from typing import Any

Id = int | str
"""A number of 64 bits, or any text."""

_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_MAX_RUNS = 10_000_000  # of a mask's run lengths


def as_id(value: object) -> Id | None:
    """The id that a value means, the same one however it is written; None if it is none.

    Numbers of more than 64 bits become text: many have the same hash, so that a dictionary of them could take hours.

    Example:
        >>> as_id(7), as_id(7.0), as_id("7"), as_id("cat-7"), as_id(True), as_id(7.5), as_id(2**64)
        (7, 7, 7, 'cat-7', None, None, '18446744073709551616')
    """
    if type(value) is int and -(2**63) <= value < 2**63:
        return value  # nearly all are, and files have millions
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
    """The number that a value is or spells, infinite if it has too many digits; None if it is none.

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
    """A list of numbers; None if it is no list, or one of its items is none."""
    if not isinstance(values, list):
        return None
    numbers = [as_number(value) for value in values]
    return None if None in numbers else [number for number in numbers if number is not None]


def as_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of an image as written, rounded; None unless both are positive numbers."""
    height, width = as_number(entry.get("height")), as_number(entry.get("width"))
    if height is None or width is None or not (0.5 <= height < 1e9 and 0.5 <= width < 1e9):
        return None
    return round(height), round(width)


def is_true(flag: object) -> bool:
    """Whether a flag is set: 1, 1.0, true, or any of these as text."""
    return as_number(flag) == 1 or flag is True or (isinstance(flag, str) and flag.strip().lower() == "true")


def outline_hull(segmentation: object) -> tuple[float, float, float, float] | None:
    """The box around an outline.

    Args:
        segmentation: COCO's polygons `[[x1, y1, x2, y2, ...], ...]`, one polygon without the outer list, or a mask
            `{"size": [height, width], "counts": ...}` with run lengths as a list or as COCO's text.

    Returns:
        [x, y, width, height]; None if it is empty or none of these. It raises nothing.

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
    """The pixels of a mask lie column after column; its runs are of 0 and 1 by turns, 0 first."""
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
    """Run lengths of COCO's text: five bits a character, lowest first; from the fourth on, changes since two before."""
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
    """In decimal; in hexadecimal where Python refuses to write so many digits."""
    try:
        return str(number)
    except ValueError:
        return hex(number)
