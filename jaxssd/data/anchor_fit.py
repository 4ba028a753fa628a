"""Anchors that fit a data set, as grids, zooms and ratios of a run."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from jaxssd.data.best_anchors import best_anchors
from jaxssd.ops import make_anchors
from jaxssd.ops.anchors import units_per_side
from jaxssd.ops.arrays import Size, as_pair

MOST_FITTED = 2_000
"""Number of objects that anchors are fitted to, evenly spread over all objects."""

WORTH_SAYING, WORTH_A_GRID = 0.01, 0.02
"""Smallest gain in score for which fitted anchors are suggested, or other grids preferred."""

WORTH_A_CHANGE = 0.0005
"""Smallest gain in score for a change of one number, so that unimportant numbers stay round."""

COARSE, FINE = (1.35, 1.15), (1.07, 1.03)
"""Factors by which zooms and ratios are changed: from all starts, then from the best."""


class AnchorSettings(NamedTuple):
    """Arguments of `make_anchors`, which are options of train.py, and the network's input, whose proportions count.

    Attributes:
        grids: grids of the anchors.
        zooms: scales relative to the cell.
        ratios: height and width, times the scale.
        input_shape: height and width of the network's input, in any unit.
        levels_decide: if True, the grids follow from the network's levels, and are no option.
    """

    grids: tuple[Size, ...]
    zooms: tuple[float, ...]
    ratios: tuple[tuple[float, float], ...]
    input_shape: tuple[int, int] = (1, 1)
    levels_decide: bool = False

    @property
    def boxes_per_cell(self) -> int:
        """Number of anchors in each cell."""
        return len(self.zooms) * len(self.ratios)

    @property
    def num_anchors(self) -> int:
        """Number of anchors."""
        return sum(math.prod(as_pair(grid)) for grid in self.grids) * self.boxes_per_cell

    @property
    def corners(self) -> Float[np.ndarray, "A 4"]:
        """Corners of the anchors."""
        return np.asarray(make_anchors(*self[:3], image_size=self.input_shape).corners)

    @property
    def shapes(self) -> Float64[np.ndarray, "s 2"]:
        """Distinct heights and widths of the anchors, as fractions of the image."""
        return np.unique(np.concatenate(self.shapes_of_grids), axis=0)

    @property
    def shapes_of_grids(self) -> list[Float64[np.ndarray, "k 2"]]:
        """Heights and widths of the anchors in a cell of each grid, as fractions of the image."""
        zooms, ratios = np.array(self.zooms, np.float64), np.array(self.ratios, np.float64)
        per_cell = (zooms[:, None, None] * ratios).reshape(-1, 2)
        return [per_cell / units_per_side(as_pair(grid), self.input_shape) for grid in self.grids]

    def options(self) -> str:
        """Options of train.py.

        Example:
            >>> AnchorSettings((4, 2), (0.75, 1.0), ((1.0, 1.0), (1.41, 0.71))).options()
            '--grids 4 2 --zooms 0.75 1 --ratios 1 1 1.41 0.71'
        """
        longer_sides = [max(as_pair(grid)) for grid in self.grids]
        words: dict[str, Any] = {} if self.levels_decide else {"grids": longer_sides}
        words |= {"zooms": self.zooms, "ratios": [side for pair in self.ratios for side in pair]}
        return " ".join(f"--{name} {' '.join(f'{value:g}' for value in values)}" for name, values in words.items())


class Candidate(NamedTuple):
    """Anchors and their overlap with the objects of a data set.

    Attributes:
        settings: settings of the anchors.
        mean_iou: mean IoU of the objects with their best anchor.
        unmatched: number of objects whose best IoU is not above the matching threshold.
        shape_iou: mean IoU if every anchor had its center on the object's.
        score: mean IoU minus the share of unmatched objects.
    """

    settings: AnchorSettings
    mean_iou: float
    unmatched: int
    shape_iou: float
    score: float


class Advice(NamedTuple):
    """Comparison of given and fitted anchors.

    Attributes:
        given: anchors of the run.
        finer: the given zooms and ratios on the grids of a larger image, or None.
        fitted: anchors whose zooms and ratios are fitted to the objects.
        suggestion: the one of `fitted` that is suggested, or None.
    """

    given: Candidate
    finer: Candidate | None
    fitted: tuple[Candidate, ...]
    suggestion: Candidate | None


def advise(
    fit_boxes: Float[np.ndarray, "n 4"],
    boxes: Float[np.ndarray, "m 4"],
    given: AnchorSettings,
    *,
    boxes_per_cell: int,
    threshold: float,
    other_grids: Sequence[tuple[Size, ...]] = (),
    finer: AnchorSettings | None = None,
) -> Advice:
    """Compare given anchors with anchors fitted to the objects.

    Fitted anchors are suggested if their score on all objects is higher by `WORTH_SAYING`, their mean IoU is not lower,
    and they leave no more objects unmatched. Other grids change the network too: they must gain `WORTH_A_GRID` over
    anchors fitted on the given grids.

    Args:
        fit_boxes: corners of the objects to fit to, those of the training images.
        boxes: corners of all objects, which decide.
        given: anchors of the run.
        boxes_per_cell: number of fitted anchors in each cell.
        threshold: IoU above which an anchor matches an object.
        other_grids: other grids that the network could have.
        finer: further anchors to compare, which are not suggested.

    Returns:
        The comparison. Without objects to fit to, nothing is fitted.
    """
    before = judge(given, boxes, threshold)
    larger = None if finer is None else judge(finer, boxes, threshold)
    if len(fit_boxes) == 0:
        return Advice(before, larger, (), None)

    fitted = tuple(
        judge(
            fit_anchors(
                fit_boxes, grids, boxes_per_cell, threshold=threshold, start=given, input_shape=given.input_shape
            ),
            boxes,
            threshold,
        )
        for grids in dict.fromkeys([given.grids, *other_grids])
    )
    better = [candidate for candidate in fitted if _improves(candidate, before)]
    chosen = max(better, key=lambda candidate: candidate.score, default=None)
    if chosen and fitted[0] in better and chosen.score < fitted[0].score + WORTH_A_GRID:
        chosen = fitted[0]
    return Advice(before, larger, fitted, chosen)


def fit_anchors(
    boxes: Float[np.ndarray, "n 4"],
    grids: Sequence[Size],
    boxes_per_cell: int,
    *,
    threshold: float,
    start: AnchorSettings | None = None,
    input_shape: tuple[int, int] = (1, 1),
) -> AnchorSettings:
    """Fit zooms and ratios to objects by coordinate ascent on the score.

    Anchors are `zoom * ratio / grid` at the centers of the grids' cells, so clusters of box shapes are not enough. The
    score itself is climbed: each zoom and each ratio in turn is multiplied and divided by a factor, and the better
    value is kept, until nothing improves; then with a smaller factor. The starts are quantiles of the objects' sizes
    and shapes, for each way to write `boxes_per_cell` as zooms times ratios, and `start` if it has as many. The result
    is deterministic, and need not be the optimum.

    Args:
        boxes: corners of the objects, at least one, each with an area.
        grids: number of cells along one side of each grid, or rows and columns.
        boxes_per_cell: number of zooms times number of ratios. Those that are no object's best anchor are dropped.
        threshold: IoU above which an anchor matches an object.
        start: further settings to start from; its grids are not used.
        input_shape: height and width of the network's input, which decide the boxes' shapes in pixels.

    Returns:
        Settings rounded to hundredths. Height times width of each ratio is about 1.

    Raises:
        ValueError: if there is no box or no grid, or `boxes_per_cell` is not positive.

    Example:
        >>> boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
        >>> fit_anchors(boxes, (2,), 3, threshold=0.4)
        AnchorSettings(grids=(2,), zooms=(1.0,), ratios=((1.0, 1.0),), input_shape=(1, 1), levels_decide=False)
    """
    for name, number in (("boxes", len(boxes)), ("grids", len(grids)), ("boxes_per_cell", boxes_per_cell)):
        if number < 1:
            raise ValueError(f"fit_anchors: `{name}` is {number}, expected 1 or more")
    boxes = boxes[np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_FITTED)).round().astype(int)]
    starts = [
        _from_quantiles(boxes, tuple(grids), num_zooms, boxes_per_cell // num_zooms, input_shape)
        for num_zooms in range(1, boxes_per_cell + 1)
        if boxes_per_cell % num_zooms == 0
    ]
    if start is not None and start.boxes_per_cell == boxes_per_cell:
        starts.append(start._replace(grids=tuple(grids), input_shape=input_shape))

    @cache
    def score(settings: AnchorSettings) -> float:
        iou = best_iou(settings, boxes)
        return float(iou.mean() - (iou <= threshold).mean())

    best = max((_climb(settings, COARSE, score) for settings in starts), key=score)
    found = _used(_climb(best, FINE, score), boxes)
    return found._replace(levels_decide=start is not None and start.levels_decide)


def judge(settings: AnchorSettings, boxes: Float[np.ndarray, "m 4"], threshold: float) -> Candidate:
    """Measure the overlap of anchors with objects.

    Args:
        settings: settings of the anchors.
        boxes: corners of the objects.
        threshold: IoU above which an anchor matches an object.

    Returns:
        A `Candidate`; its means are NaN without objects.
    """
    if len(boxes) == 0:
        return Candidate(settings, math.nan, 0, math.nan, math.nan)
    iou = best_anchors(boxes, settings.corners).iou
    parts = np.array_split(_sides(boxes), 1 + len(boxes) // 100_000)
    aligned = np.concatenate([shape_iou(part, settings.shapes).max(axis=1) for part in parts])
    mean, unmatched = float(iou.mean()), int((iou <= threshold).sum())
    return Candidate(settings, mean, unmatched, float(aligned.mean()), mean - unmatched / len(boxes))


def best_iou(settings: AnchorSettings, boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    """IoU of each box with its best anchor, without a list of all anchors.

    Anchors of one shape lie at the centers of a grid's cells, and their overlap with a box is a product of overlaps
    along the two axes. Each is greatest at the center nearest to the box's.

    Args:
        settings: settings of the anchors.
        boxes: corners of the objects.

    Returns:
        `[n]`, equal to `best_anchors(boxes, settings.corners).iou` up to rounding.

    Example:
        >>> settings = AnchorSettings((2,), (1.0,), ((1.0, 1.0),))
        >>> best_iou(settings, np.array([[0, 0, 0.5, 0.25], [0.25, 0.5, 0.75, 1]]))
        array([0.5       , 0.33333333])
    """
    near, far = np.asarray(boxes[:, None, :2], np.float64), np.asarray(boxes[:, None, 2:], np.float64)
    best = np.zeros(len(boxes))
    for grid, sides in zip(settings.grids, settings.shapes_of_grids, strict=True):
        cells = np.array(as_pair(grid))
        middle = (np.clip(np.floor((near + far) / 2 * cells), 0, cells - 1) + 0.5) / cells
        shared = np.maximum(np.minimum(far, middle + sides / 2) - np.maximum(near, middle - sides / 2), 0).prod(axis=2)
        total = (far - near).prod(axis=2) + sides.prod(axis=1) - shared
        best = np.maximum(best, (shared / total).max(axis=1))
    return best


def shape_iou(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n k"]:
    """IoU of boxes with a common center.

    Args:
        a: height and width of each box.
        b: height and width of each box.

    Returns:
        `[n, k]`, in `(0, 1]` for boxes with an area.

    Example:
        >>> shape_iou(np.array([[1.0, 1.0]]), np.array([[1.0, 0.5], [2.0, 2.0]]))
        array([[0.5 , 0.25]])
    """
    shared = np.minimum(a[:, None, 0], b[None, :, 0]) * np.minimum(a[:, None, 1], b[None, :, 1])
    return shared / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None, :] - shared)


def _climb(
    settings: AnchorSettings, factors: Sequence[float], score: Callable[[AnchorSettings], float]
) -> AnchorSettings:
    """Change one number at a time while the score improves."""
    for factor in factors:
        before = None
        while settings != before:
            before = settings
            for place in range(len(settings.zooms) + len(settings.ratios)):
                changed = max(_neighbours(settings, place, factor), key=score)
                if score(changed) >= score(settings) + WORTH_A_CHANGE:
                    settings = changed
    return settings


def _neighbours(settings: AnchorSettings, place: int, factor: float) -> list[AnchorSettings]:
    """Settings with one zoom or, at positions after the zooms, one ratio made larger and smaller."""
    zooms, ratios = list(settings.zooms), list(settings.ratios)
    found = []
    for change in (factor, 1 / factor):
        if place < len(zooms):
            changed = [*zooms[:place], _hundredths(zooms[place] * change), *zooms[place + 1 :]]
            found.append(settings._replace(zooms=tuple(changed)))
        else:
            height, width = ratios[place - len(zooms)]
            pairs = list(ratios)
            pairs[place - len(zooms)] = (_hundredths(height * change**0.5), _hundredths(width / change**0.5))
            found.append(settings._replace(ratios=tuple(pairs)))
    return found


def _from_quantiles(
    boxes: Float[np.ndarray, "n 4"],
    grids: tuple[Size, ...],
    num_zooms: int,
    num_ratios: int,
    input_shape: tuple[int, int],
) -> AnchorSettings:
    """Settings from quantiles of the objects' shapes, and of their sizes in cells of the nearest grid."""
    height, width = _sides(boxes).T
    shapes = np.sqrt(height / width * (input_shape[0] / input_shape[1]))
    zooms = np.sqrt(height * width)[:, None] * np.sqrt([math.prod(as_pair(grid)) for grid in grids])
    nearest = zooms[np.arange(len(boxes)), np.abs(np.log(zooms)).argmin(axis=1)]
    middle_zooms, middle_shapes = (
        np.quantile(values, (np.arange(count) + 0.5) / count)
        for values, count in ((nearest, num_zooms), (shapes, num_ratios))
    )
    return AnchorSettings(
        grids,
        tuple(map(_hundredths, middle_zooms)),
        tuple((_hundredths(shape), _hundredths(1 / shape)) for shape in middle_shapes),
        input_shape,
    )


def _used(settings: AnchorSettings, boxes: Float[np.ndarray, "n 4"]) -> AnchorSettings:
    """Settings with the zooms and ratios of the objects' best anchors only, in rising order."""
    best = best_anchors(boxes, settings.corners).anchor
    zoom, ratio = np.divmod(best % settings.boxes_per_cell, len(settings.ratios))
    zooms = {settings.zooms[index] for index in zoom.tolist()}
    ratios = {settings.ratios[index] for index in ratio.tolist()}
    return settings._replace(zooms=tuple(sorted(zooms)), ratios=tuple(sorted(ratios)))


def _hundredths(value: float) -> float:
    """Value rounded to hundredths, as on a command line, and at least 0.01."""
    return max(round(float(value), 2), 0.01)


def _improves(candidate: Candidate, given: Candidate) -> bool:
    no_worse = candidate.mean_iou >= given.mean_iou and candidate.unmatched <= given.unmatched
    return no_worse and candidate.score >= given.score + WORTH_SAYING


def _sides(boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 2"]:
    return np.asarray(boxes[:, 2:] - boxes[:, :2], np.float64)
