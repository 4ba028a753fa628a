"""Numbers, names and rows of tables of scores; an undefined score is a dash, and null in JSON."""

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def none_if_nan(value: float) -> float | None:
    """Number for JSON, which has no NaN."""
    return None if math.isnan(value) else value


def show(value: float) -> str:
    """Number with four decimals, or a dash for NaN.

    Example:
        >>> show(0.5), show(math.nan)
        ('0.5000', '-')
    """
    return "-" if math.isnan(value) else f"{value:.4f}"


def most_frequent(counts: Int[np.ndarray, "C"], most: int) -> list[int]:
    """Labels of all classes; if there are more than `most`, those with the highest counts, highest first.

    Example:
        >>> most_frequent(np.array([2, 5, 9]), 3), most_frequent(np.array([2, 5, 9]), 2)
        ([0, 1, 2], [2, 1])
    """
    if len(counts) <= most:
        return list(range(len(counts)))
    return np.argsort(-counts, kind="stable")[:most].tolist()


def name_column(names: Sequence[str]) -> list[str]:
    """Names padded to one width on a terminal, where a Chinese letter is as wide as two others; one line each.

    Example:
        >>> name_column(["cat", "\u732b", "a\\nb"])
        ['cat', '\u732b ', 'a b']
    """
    names = ["".join(letter if letter.isprintable() else " " for letter in name) for name in names]
    widths = [sum(_width(letter) for letter in name) for name in names]
    widest = max(widths, default=0)
    return [name + " " * (widest - width) for name, width in zip(names, widths, strict=True)]


def _width(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
