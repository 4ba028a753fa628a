"""Anchors for a data set, in the terms that a run has for them: grids, zooms and ratios."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from jaxssd.ops import make_anchors
from jaxssd.tools.inspection.clusters import Clusters, kmeans_anchors, shape_iou
from jaxssd.tools.inspection.reach import reach

MOST_FITTED = 2_000
"""Objects that anchors are fitted to; of more this many are taken, evenly spread."""

WORTH_SAYING, WORTH_A_GRID = 0.01, 0.02
"""Score that fitted anchors must gain to be suggested at all, and to be preferred if they need other grids."""

WORTH_A_CHANGE = 0.0005
"""Score that a change of one number must gain, so that numbers stay round where it does not matter."""

COARSE, FINE = (1.35, 1.15), (1.07, 1.03)
"""Factors by which sizes and shapes are tried larger and smaller: of all starts, then of the best."""


class AnchorSettings(NamedTuple):
    """The arguments of `make_anchors`, which are options of train.py too."""

    grids: tuple[int, ...]
    zooms: tuple[float, ...]
    ratios: tuple[tuple[float, float], ...]

    @property
    def boxes_per_cell(self) -> int:
        """Anchors in each cell."""
        return len(self.zooms) * len(self.ratios)

    @property
    def num_anchors(self) -> int:
        """Anchors in all."""
        return sum(grid * grid for grid in self.grids) * self.boxes_per_cell

    @property
    def corners(self) -> Float[np.ndarray, "A 4"]:
        """Of each anchor."""
        return np.asarray(make_anchors(*self).corners)

    @property
    def shapes(self) -> Float64[np.ndarray, "s 2"]:
        """Height and width of the anchors as shares of the image, each distinct shape once."""
        zooms, ratios = np.array(self.zooms, np.float64), np.array(self.ratios, np.float64)
        per_cell = (zooms[:, None, None] * ratios).reshape(-1, 2)
        return np.unique(np.concatenate([per_cell / grid for grid in self.grids]), axis=0)

    def options(self) -> str:
        """What train.py must be told.

        Example:
            >>> AnchorSettings((4, 2), (0.75, 1.0), ((1.0, 1.0), (1.41, 0.71))).options()
            '--grids 4 2 --zooms 0.75 1 --ratios 1 1 1.41 0.71'
        """
        words = {"grids": self.grids, "zooms": self.zooms, "ratios": [side for pair in self.ratios for side in pair]}
        return " ".join(f"--{name} {' '.join(f'{value:g}' for value in values)}" for name, values in words.items())


class Candidate(NamedTuple):
    """Anchors, and what they do for the objects of a data set.

    Attributes:
        settings: of the anchors.
        mean_iou: mean over the objects of the IoU with their best anchor, in its place.
        out_of_reach: objects whose best IoU is not above the matching threshold.
        shape_iou: as `mean_iou`, but with every anchor on its object's centre.
        score: the mean IoU less the share that is out of reach.
    """

    settings: AnchorSettings
    mean_iou: float
    out_of_reach: int
    shape_iou: float
    score: float


class Advice(NamedTuple):
    """Which anchors to take.

    Attributes:
        clusters: shapes that are free of grids, zooms and ratios, with centres aligned.
        given: the anchors that there are.
        finer: the same zooms and ratios in a larger image, which has a finer grid besides; None if not asked for.
        fitted: others, with zooms and ratios fitted to the objects.
        suggestion: the one of `fitted` to take, or None if none is worth it.
    """

    clusters: Clusters
    given: Candidate
    finer: Candidate | None
    fitted: tuple[Candidate, ...]
    suggestion: Candidate | None


def advise(
    fit_boxes: Float[np.ndarray, "n 4"],
    boxes: Float[np.ndarray, "m 4"],
    given: AnchorSettings,
    *,
    count: int,
    threshold: float,
    other_grids: Sequence[tuple[int, ...]] = (),
    finer: AnchorSettings | None = None,
) -> Advice:
    """Compare given anchors with such as are fitted to the objects.

    Fitted anchors are suggested if on all objects their score is higher by `WORTH_SAYING`, and neither their mean IoU
    is lower nor more objects are out of reach. Those on other grids must gain `WORTH_A_GRID` over those on the grids
    there are, as they change the network too.

    Args:
        fit_boxes: corners of the objects to fit to, those of the training images.
        boxes: corners of the objects to judge by, all of them.
        given: the anchors that there are.
        count: clusters, and anchors a cell.
        threshold: IoU above which an anchor reaches an object.
        other_grids: grids that the network could have instead.
        finer: anchors to judge as well, which are not suggested.

    Returns:
        `Advice`; without objects to fit to there is nothing fitted.
    """
    clusters = kmeans_anchors(_sides(fit_boxes), count)
    before = judge(given, boxes, threshold)
    larger = None if finer is None else judge(finer, boxes, threshold)
    if len(fit_boxes) == 0:
        return Advice(clusters, before, larger, (), None)

    fitted = tuple(
        judge(fit_anchors(fit_boxes, grids, count, threshold=threshold, start=given), boxes, threshold)
        for grids in dict.fromkeys([given.grids, *other_grids])
    )
    worthy = [candidate for candidate in fitted if _improves(candidate, before)]
    chosen = max(worthy, key=lambda candidate: candidate.score, default=None)
    if chosen and fitted[0] in worthy and chosen.score < fitted[0].score + WORTH_A_GRID:
        chosen = fitted[0]
    return Advice(clusters, before, larger, fitted, chosen)


def fit_anchors(
    boxes: Float[np.ndarray, "n 4"],
    grids: Sequence[int],
    boxes_per_cell: int,
    *,
    threshold: float,
    start: AnchorSettings | None = None,
) -> AnchorSettings:
    """Zooms and ratios for which the anchors, where they are, have the highest score on the objects.

    Free clusters cannot be had: an anchor is `zoom * ratio / grid`, all grids share zooms and ratios, and between the
    centres of a coarse grid the right shape is in the wrong place. So the score itself is climbed: each zoom and each
    ratio in turn is made larger and smaller by a factor, and what is better is kept, until nothing is; then with a
    smaller factor. This starts from quantiles of the objects' sizes and shapes, once for each way to write
    `boxes_per_cell` as zooms times ratios, and once from `start` if that has as many. Nothing is drawn by lot.

    Args:
        boxes: corners of the objects, one at least, each with an area.
        grids: cells along one side of each grid.
        boxes_per_cell: zooms times ratios; fewer come back where some would be nobody's best anchor.
        threshold: IoU above which an anchor reaches an object.
        start: settings to begin with besides; its grids are not used.

    Returns:
        Settings in hundredths; a ratio's height times its width is about 1. The best found, which need not be the best
        there is.

    Raises:
        ValueError: if there is no box, no grid, or `boxes_per_cell` is not positive.

    Example:
        >>> boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
        >>> fit_anchors(boxes, (2,), 3, threshold=0.4)
        AnchorSettings(grids=(2,), zooms=(1.0,), ratios=((1.0, 1.0),))
    """
    for name, number in (("boxes", len(boxes)), ("grids", len(grids)), ("boxes_per_cell", boxes_per_cell)):
        if number < 1:
            raise ValueError(f"fit_anchors: `{name}` is {number}, expected 1 or more")
    boxes = boxes[np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_FITTED)).round().astype(int)]
    starts = [
        _from_quantiles(boxes, tuple(grids), num_zooms, boxes_per_cell // num_zooms)
        for num_zooms in range(1, boxes_per_cell + 1)
        if boxes_per_cell % num_zooms == 0
    ]
    if start is not None and start.boxes_per_cell == boxes_per_cell:
        starts.append(start._replace(grids=tuple(grids)))

    @cache
    def score(settings: AnchorSettings) -> float:
        iou = reach(boxes, settings.corners).iou
        return float(iou.mean() - (iou <= threshold).mean())

    best = max((_climb(settings, COARSE, score) for settings in starts), key=score)
    return _needed(_climb(best, FINE, score), boxes)


def judge(settings: AnchorSettings, boxes: Float[np.ndarray, "m 4"], threshold: float) -> Candidate:
    """What anchors do for objects.

    Args:
        settings: of the anchors.
        boxes: corners of the objects.
        threshold: IoU above which an anchor reaches an object.

    Returns:
        A `Candidate`; its means are NaN without objects.
    """
    if len(boxes) == 0:
        return Candidate(settings, math.nan, 0, math.nan, math.nan)
    iou = reach(boxes, settings.corners).iou
    parts = np.array_split(_sides(boxes), 1 + len(boxes) // 100_000)
    aligned = np.concatenate([shape_iou(part, settings.shapes).max(axis=1) for part in parts])
    mean, out_of_reach = float(iou.mean()), int((iou <= threshold).sum())
    return Candidate(settings, mean, out_of_reach, float(aligned.mean()), mean - out_of_reach / len(boxes))


def _climb(
    settings: AnchorSettings, factors: Sequence[float], score: Callable[[AnchorSettings], float]
) -> AnchorSettings:
    """Change one number at a time for as long as that is better."""
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
    """One number, counted through zooms and then ratios, larger and smaller."""
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
    boxes: Float[np.ndarray, "n 4"], grids: tuple[int, ...], num_zooms: int, num_ratios: int
) -> AnchorSettings:
    """Medians of equal parts of the objects: of their sizes in cells of the grid that suits them best, and shapes."""
    height, width = _sides(boxes).T
    zooms = np.sqrt(height * width)[:, None] * np.array(grids, np.float64)
    nearest = zooms[np.arange(len(boxes)), np.abs(np.log(zooms)).argmin(axis=1)]
    middle_zooms, middle_shapes = (
        np.quantile(values, (np.arange(count) + 0.5) / count)
        for values, count in ((nearest, num_zooms), (np.sqrt(height / width), num_ratios))
    )
    return AnchorSettings(
        grids,
        tuple(map(_hundredths, middle_zooms)),
        tuple((_hundredths(shape), _hundredths(1 / shape)) for shape in middle_shapes),
    )


def _needed(settings: AnchorSettings, boxes: Float[np.ndarray, "n 4"]) -> AnchorSettings:
    """Zooms and ratios that some object's best anchor has, in rising order, each once."""
    zoom, ratio = np.divmod(reach(boxes, settings.corners).anchor % settings.boxes_per_cell, len(settings.ratios))
    zooms = {settings.zooms[index] for index in zoom.tolist()}
    ratios = {settings.ratios[index] for index in ratio.tolist()}
    return settings._replace(zooms=tuple(sorted(zooms)), ratios=tuple(sorted(ratios)))


def _hundredths(value: float) -> float:
    """Rounded, as it would be written on a command line."""
    return max(round(float(value), 2), 0.01)


def _improves(candidate: Candidate, given: Candidate) -> bool:
    no_worse = candidate.mean_iou >= given.mean_iou and candidate.out_of_reach <= given.out_of_reach
    return no_worse and candidate.score >= given.score + WORTH_SAYING


def _sides(boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 2"]:
    return np.asarray(boxes[:, 2:] - boxes[:, :2], np.float64)
