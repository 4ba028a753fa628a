"""Units of a COCO file's boxes: pixels or fractions, [x, y, width, height] or corners.

COCO's bbox is [x, y, width, height] in pixels. Converters also write fractions of the image, and corners [x1, y1, x2,
y2]. A single box rarely shows which, but all boxes of a file do: read wrongly, they lie outside their images. A small
file may fit both ways; then the other splits of the data set decide.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_SLACK = 0.02
"""Share of an image by which a valid box may extend beyond its edge, for rounding and careless drawing."""

_MAX_FRACTION = 1.5
"""Largest number of a file whose boxes are fractions. In pixels, all its boxes would be dots in one corner."""

_MAX_FAULTY = 0.01
"""Share of a file's boxes that may be faulty."""

_ENOUGH = 20
"""Number of boxes from which a smaller share of misfits is evidence."""


class Units(NamedTuple):
    """Meaning of the numbers of a file's bboxes.

    Attributes:
        fractions: True if they are fractions of the image's width and height instead of pixels.
        corners: True if they are x1, y1, x2, y2.
    """

    fractions: bool = False
    corners: bool = False

    @property
    def word(self) -> str | None:
        """Kind in the loading report; None for COCO's own units."""
        names = {(True, False): "in fractions", (False, True): "as corners", (True, True): "as corners in fractions"}
        found = names.get(self)
        return f"with bbox {found}" if found else None

    def sides(self, a: float, b: float, c: float, d: float) -> tuple[float, float, float, float]:
        """Convert a bbox to [x, y, width, height], in pixels or fractions."""
        return (a, b, c - a, d - b) if self.corners else (a, b, c, d)


STANDARD = Units()
"""COCO's own units: [x, y, width, height] in pixels."""


class Evidence(NamedTuple):
    """Evidence of one file's boxes about their units.

    Attributes:
        units: units judged by this file alone.
        undecided: True if the boxes fit their images as corners too, so that other files may decide.
        only_sides: True if they only fit as [x, y, width, height].
        fits_neither: True if they fit in neither way, and as corners better.
        flaw: reason why they cannot be read by themselves, or None.
    """

    units: Units = STANDARD
    undecided: bool = False
    only_sides: bool = False
    fits_neither: bool = False
    flaw: str | None = None

    def alone(self) -> Units:
        """Units if there is no other file.

        Raises:
            ValueError: with the flaw, if there is one.
        """
        if self.flaw:
            raise ValueError(self.flaw)
        return self.units

    @property
    def sure(self) -> bool:
        """True if other files cannot change the units."""
        return not (self.undecided or self.fits_neither or self.flaw)


NO_BOXES = Evidence(undecided=True)


def weigh(boxes: Sequence[Sequence[int | float]], sizes: Sequence[tuple[int, int] | None]) -> Evidence:
    """Judge the units of a file's boxes.

    They are fractions if no number is above 1.5. They are corners if two conditions hold. Read as [x, y, width,
    height], two or more boxes, and more than a third (of 20 or more boxes: a tenth), reach beyond their image. Read as
    corners, at most one in a hundred does, or is reversed. Otherwise COCO's own units are kept.

    Args:
        boxes: `[N, 4]` numbers as they are written.
        sizes: (height, width) of each box's image, or None.

    Returns:
        The evidence. It has a flaw if the boxes are fractions that only fit as YOLO's [center x, center y, width,
        height].

    Example:
        >>> weigh([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.25]], [(480, 640), None]).units
        Units(fractions=True, corners=False)
        >>> weigh([[400, 300, 600, 420], [330, 240, 600, 400]], [(480, 640)] * 2).units
        Units(fractions=False, corners=True)
        >>> weigh([[100, 100, 300, 300], [200, 100, 400, 250]], [(480, 640)] * 2).undecided  # fits both ways
        True
    """
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    extents = np.array([(np.nan, np.nan) if size is None else size for size in sizes], np.float64).reshape(-1, 2)
    finite = np.isfinite(rows).all(axis=1)
    rows, extents = rows[finite], extents[finite]
    fractions = bool(0 < np.abs(rows).max(initial=0) <= _MAX_FRACTION)
    if fractions:
        extents = np.ones_like(extents)
    stated = np.isfinite(extents[:, 0])
    shares = rows[stated] / np.tile(extents[stated, ::-1], 2)
    reversed_share = float(np.mean((rows[:, 2] < rows[:, 0]) | (rows[:, 3] < rows[:, 1]))) if len(rows) else 0.0
    if not len(shares):
        return Evidence(Units(fractions), undecided=reversed_share <= _MAX_FAULTY)
    # Share of the boxes that do not fit their image, read as sides and as corners.
    a, b, c, d = shares.T
    misfits = _misfits(a, b, a + c, b + d)
    sides, corners = float(misfits.mean()), float(_misfits(a, b, c, d).mean())
    several = misfits.sum() >= (1 if fractions else 2) and sides > (0.1 if len(shares) >= _ENOUGH else 0.3)
    if several and corners <= _MAX_FAULTY:
        return Evidence(Units(fractions, corners=True))
    undecided = max(corners, reversed_share) <= _MAX_FAULTY
    neither = not undecided and sides > max(corners, _MAX_FAULTY)
    found = Evidence(Units(fractions), undecided, only_sides=not undecided and not neither, fits_neither=neither)
    if fractions and sides > _MAX_FAULTY and not np.any(_misfits(a - c / 2, b - d / 2, a + c / 2, b + d / 2)):
        return found._replace(
            flaw=f"has fractions in bbox that reach beyond the image as [x, y, width, height] in {sides:.0%} of the "
            "boxes, and lie within it as [center x, center y, width, height], YOLO's way: COCO's x and y are the upper "
            "left corner; subtract half of width and height"
        )
    return found


def decide(own: Evidence, others: Mapping[str, Evidence]) -> tuple[Units, str | None]:
    """Decide the units of a file's boxes, with the help of the data set's other splits.

    Args:
        own: evidence of the file.
        others: evidence of the other files, by name.

    Returns:
        The units, and the name of the other file that decided them, or None.

    Raises:
        ValueError: if the other files contradict each other or this one, or with this one's flaw.

    Example:
        >>> decide(Evidence(undecided=True), {"train.json": Evidence(Units(corners=True))})
        (Units(fractions=False, corners=True), 'train.json')
    """
    like = {name: other for name, other in others.items() if other.units.fractions == own.units.fractions}
    corners = next((name for name, other in like.items() if other.units.corners), None)
    sides = next((name for name, other in like.items() if other.only_sides), None)
    if corners is None or own.sure:
        return own.alone(), None
    if own.undecided and sides is None:
        return own.units._replace(corners=True), corners
    reason = f"and those of {sides} can only be [x, y, width, height]" if own.undecided else "and these fit neither way"
    raise ValueError(
        f"has boxes that may be [x, y, width, height] or corners [x1, y1, x2, y2]: those of {corners} can only be "
        f"corners, {reason}. Write all files in one way"
    )


def _misfits(
    x1: Float[np.ndarray, " n"], y1: Float[np.ndarray, " n"], x2: Float[np.ndarray, " n"], y2: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """True for boxes that are reversed or reach beyond the image, in fractions of it."""
    beyond = (np.minimum(x1, y1) < -_SLACK) | (np.maximum(x2, y2) > 1 + _SLACK)
    return beyond | (x2 < x1) | (y2 < y1)
