"""Units of a COCO file's boxes: pixels or fractions, sides or corners, decided over the whole file and its neighbours.

COCO's bbox is [x, y, width, height] in pixels. Converters also write fractions of the image, and the corners
[x1, y1, x2, y2]. A single box rarely shows it; all boxes of a file do, because read in the wrong way they lie outside
their images. A small file may fit either way; then the other splits of the data set decide.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_SLACK = 0.02
"""Share of an image by which a sound box may reach beyond its edge, for rounding and careless drawing."""

_FRACTION = 1.5
"""Largest number of a file whose boxes are fractions. In pixels all its boxes would be dots in one corner."""

_CARELESS = 0.01
"""Share of the boxes that may be faulty in themselves."""

_FEW = 20
"""Boxes from which a smaller share of misfits is evidence."""


class Units(NamedTuple):
    """How the boxes of a file are to be read.

    Attributes:
        fractions: whether numbers are shares of the image's width and height.
        corners: whether they are x1, y1, x2, y2.
    """

    fractions: bool = False
    corners: bool = False

    @property
    def word(self) -> str | None:
        """What a report calls it; None if it is COCO's own way."""
        names = {(True, False): "in fractions", (False, True): "as corners", (True, True): "as corners in fractions"}
        found = names.get(self)
        return f"with bbox {found}" if found else None

    def sides(self, a: float, b: float, c: float, d: float) -> tuple[float, float, float, float]:
        """A bbox as [x, y, width, height], in pixels or shares."""
        return (a, b, c - a, d - b) if self.corners else (a, b, c, d)


OWN_WAY = Units()
"""[x, y, width, height] in pixels."""


class Evidence(NamedTuple):
    """What the boxes of one file show.

    Attributes:
        units: how they are read by themselves.
        free: whether they fit their images as corners too, so that other files may decide.
        sides: whether they fit as sides only.
        torn: whether they fit neither as sides nor as corners, and as sides worse.
        flaw: why they cannot be read by themselves.
    """

    units: Units = OWN_WAY
    free: bool = False
    sides: bool = False
    torn: bool = False
    flaw: str | None = None

    def alone(self) -> Units:
        """The units where there is no other file.

        Raises:
            ValueError: with the flaw.
        """
        if self.flaw:
            raise ValueError(self.flaw)
        return self.units

    @property
    def sure(self) -> bool:
        """Whether no other file can change it."""
        return not (self.free or self.torn or self.flaw)


NO_BOXES = Evidence(free=True)


def find_units(boxes: Sequence[Sequence[int | float]], sizes: Sequence[tuple[int, int] | None]) -> Units:
    """Decide how the boxes of a file are to be read by themselves.

    Args:
        boxes: `[N, 4]` as written.
        sizes: (height, width) of each one's image as the file states it, if it does.

    Returns:
        COCO's own way wherever there is no evidence against it.

    Raises:
        ValueError: if the boxes are fractions that fit their images neither as sides nor as corners, so that they may
            be YOLO's [center x, center y, width, height].

    Example:
        >>> find_units([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.25]], [(480, 640), None])
        Units(fractions=True, corners=False)
        >>> find_units([[400, 300, 600, 420], [330, 240, 600, 400]], [(480, 640)] * 2)
        Units(fractions=False, corners=True)
    """
    return weigh(boxes, sizes).alone()


def weigh(boxes: Sequence[Sequence[int | float]], sizes: Sequence[tuple[int, int] | None]) -> Evidence:
    """What the boxes of a file show.

    Fractions are told by the fact that no number is above 1.5. Corners are told by two facts at once: read as sides,
    two or more boxes, and a third of all, reach beyond their image (a tenth is enough of 20 or more); read as corners,
    hardly any does, and hardly any is turned round.

    Args:
        boxes: `[N, 4]` as written.
        sizes: (height, width) of each one's image as the file states it, if it does.

    Example:
        >>> weigh([[100, 100, 300, 300], [200, 100, 400, 250]], [(480, 640)] * 2).free  # within the image either way
        True
    """
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    extents = np.array([(np.nan, np.nan) if size is None else size for size in sizes], np.float64).reshape(-1, 2)
    finite = np.isfinite(rows).all(axis=1)
    rows, extents = rows[finite], extents[finite]
    fractions = bool(0 < np.abs(rows).max(initial=0) <= _FRACTION)
    if fractions:
        extents = np.ones_like(extents)
    stated = np.isfinite(extents[:, 0])
    shares = rows[stated] / np.tile(extents[stated, ::-1], 2)
    turned = float(np.mean((rows[:, 2] < rows[:, 0]) | (rows[:, 3] < rows[:, 1]))) if len(rows) else 0.0
    if not len(shares):
        return Evidence(Units(fractions), free=turned <= _CARELESS)
    a, b, c, d = shares.T
    misfits = _misfits(a, b, a + c, b + d)
    sides, corners = float(misfits.mean()), float(_misfits(a, b, c, d).mean())
    several = misfits.sum() >= (1 if fractions else 2) and sides > (0.1 if len(shares) >= _FEW else 0.3)
    if several and corners <= _CARELESS:
        return Evidence(Units(fractions, corners=True))
    free = max(corners, turned) <= _CARELESS
    torn = not free and sides > max(corners, _CARELESS)
    found = Evidence(Units(fractions), free, sides=not free and not torn, torn=torn)
    if fractions and sides > _CARELESS and not np.any(_misfits(a - c / 2, b - d / 2, a + c / 2, b + d / 2)):
        return found._replace(
            flaw=f"has fractions in bbox that reach beyond the image as [x, y, width, height] in {sides:.0%} of the "
            "boxes, and lie within it as [center x, center y, width, height], YOLO's way: COCO's x and y are the upper "
            "left corner; subtract half of width and height"
        )
    return found


def decide(own: Evidence, others: Mapping[str, Evidence]) -> tuple[Units, str | None]:
    """How the boxes of a file are to be read beside other splits of its data set.

    Args:
        own: of the file.
        others: of the other files, by name.

    Returns:
        The units, and the name of the file that decided them, if it was not this one.

    Raises:
        ValueError: if other files contradict each other or this one without being sure, or with its flaw.

    Example:
        >>> decide(Evidence(free=True), {"train.json": Evidence(Units(corners=True))})
        (Units(fractions=False, corners=True), 'train.json')
    """
    like = {name: other for name, other in others.items() if other.units.fractions == own.units.fractions}
    corners = next((name for name, other in like.items() if other.units.corners), None)
    sides = next((name for name, other in like.items() if other.sides), None)
    if corners is None or own.sure:
        return own.alone(), None
    if own.free and sides is None:
        return own.units._replace(corners=True), corners
    reason = f"and those of {sides} can only be [x, y, width, height]" if own.free else "and these fit in neither way"
    raise ValueError(
        f"has boxes that may be [x, y, width, height] or corners [x1, y1, x2, y2]: those of {corners} can only be "
        f"corners, {reason}. Write all files in one way"
    )


def _misfits(
    x1: Float[np.ndarray, " n"], y1: Float[np.ndarray, " n"], x2: Float[np.ndarray, " n"], y2: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Which boxes are turned round or reach beyond the image, in shares of it."""
    beyond = (np.minimum(x1, y1) < -_SLACK) | (np.maximum(x2, y2) > 1 + _SLACK)
    return beyond | (x2 < x1) | (y2 < y1)
