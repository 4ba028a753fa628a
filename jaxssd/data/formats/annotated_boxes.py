"""Checks of annotated boxes, for every format."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from jaxssd.data.class_filter import other_class
from jaxssd.data.report import Problem

Corners = tuple[float, float, float, float]
"""Corners (y1, x1, y2, x2) of one box, in pixels or as fractions of the image."""


class AnnotatedBox(NamedTuple):
    """One annotated object.

    Attributes:
        class_name: name of its class.
        corners: corners of its box.
        difficult: True if it is neither trained on nor scored.
        flaw: kind of problem that makes the box useless, from `box_flaw`, or None.
        detail: the box as it is written, for the report.
    """

    class_name: str
    corners: Corners
    difficult: bool = False
    flaw: str | None = None
    detail: str = ""


class BoxArrays(NamedTuple):
    """Objects of one image: corners `[y1, x1, y2, x2]`, labels, and True for each that is difficult."""

    boxes: Float64[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]


def box_flaw(corners: Corners, *, reversed_kind: str = "negative size") -> str | None:
    """Kind of problem that makes a box useless in any image, or None.

    Args:
        corners: corners from the numbers of the annotation.
        reversed_kind: kind of problem if the second corner lies before the first.

    Example:
        >>> box_flaw((0.0, 0.0, 1.0, 1.0)), box_flaw((0.0, 5.0, 1.0, 5.0)), box_flaw((0.0, 5.0, 1.0, 4.0))
        (None, 'without area', 'negative size')
    """
    y1, x1, y2, x2 = corners
    if not all(map(math.isfinite, corners)):
        return "not finite"
    if y2 < y1 or x2 < x1:
        return reversed_kind
    return "without area" if y2 == y1 or x2 == x1 else None


def check_boxes(
    objects: Iterable[AnnotatedBox], label_of: Mapping[str, int], *, file: str, problems: list[Problem]
) -> BoxArrays:
    """Convert the objects of one image to arrays, without those of other classes and those with a flaw.

    Args:
        objects: objects in the order of the annotation.
        label_of: label of each class name that is read.
        file: name of the annotation in the report.
        problems: list that receives a problem for each object that is left out.

    Returns:
        The other objects, in their order.
    """
    kept = []
    for item in objects:
        if item.class_name not in label_of:
            problems.append(other_class(file, item.class_name))
        elif item.flaw:
            problems.append(Problem(file, "dropped", item.flaw, item.detail))
        else:
            kept.append(item)
    return BoxArrays(
        np.array([item.corners for item in kept], np.float64).reshape(-1, 4),
        np.array([label_of[item.class_name] for item in kept], np.int32),
        np.array([item.difficult for item in kept], bool),
    )
