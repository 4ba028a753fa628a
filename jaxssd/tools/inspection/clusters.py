"""Shapes that stand for the boxes of a data set: k-means by IoU."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int


class Clusters(NamedTuple):
    """Shapes that stand for many.

    Attributes:
        sizes: `[k, 2]`, height and width of each, the smallest area first.
        label: `[n]`, the cluster of each box: the shape it overlaps most.
        mean_iou: mean over the boxes of the IoU with their cluster's shape, centres aligned; NaN without boxes.
    """

    sizes: Float64[np.ndarray, "k 2"]
    label: Int[np.ndarray, " n"]
    mean_iou: float


def shape_iou(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n k"]:
    """IoU of boxes that share a centre.

    Args:
        a: height and width of each box.
        b: likewise.

    Returns:
        `[n, k]`, in `(0, 1]` for boxes with an area.

    Example:
        >>> shape_iou(np.array([[1.0, 1.0]]), np.array([[1.0, 0.5], [2.0, 2.0]]))
        array([[0.5 , 0.25]])
    """
    shared = np.minimum(a[:, None, 0], b[None, :, 0]) * np.minimum(a[:, None, 1], b[None, :, 1])
    return shared / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None, :] - shared)


def kmeans_anchors(
    sizes: Float[np.ndarray, "n 2"], k: int, *, seed: int = 0, restarts: int = 5, max_rounds: int = 100
) -> Clusters:
    """Cluster boxes by shape, with the distance 1 - IoU of boxes that share a centre.

    Each start is k-means++'s: the first shape is drawn by lot among the boxes, each further one with a probability that
    grows with the square of its distance to those there are. A round gives every box to the shape it overlaps most, and
    makes each shape the mean of its boxes. As a mean is not what minimises this distance, the last round need not be
    the best; the best of all rounds and starts is returned. A shape that no box is left with moves to the box that is
    covered worst.

    Stretching all heights by one factor and all widths by another stretches the clusters likewise, and the order of the
    boxes does not matter.

    Args:
        sizes: height and width of each box, positive, in any unit.
        k: how many shapes.
        seed: the same seed gives the same clusters.
        restarts: starts, one at least.
        max_rounds: of each.

    Returns:
        `Clusters`, of as many shapes as there are distinct boxes if these are fewer than `k`.

    Raises:
        ValueError: if `k`, `restarts` or `max_rounds` is not positive, or a size is not positive and finite.

    Source:
        Redmon and Farhadi 2016 (YOLO9000, arXiv:1612.08242), section 2, "Dimension Clusters"; the start is Arthur's and
        Vassilvitskii's (2007).

    Example:
        >>> sizes = np.array([[0.1, 0.1], [0.5, 0.75], [0.3, 0.1], [0.5, 0.25]])
        >>> kmeans_anchors(sizes, 4).sizes.tolist()
        [[0.1, 0.1], [0.3, 0.1], [0.5, 0.25], [0.5, 0.75]]
    """
    for name, value in (("k", k), ("restarts", restarts), ("max_rounds", max_rounds)):
        if value < 1:
            raise ValueError(f"kmeans_anchors: `{name}` is {value}, expected a positive number")
    sizes = np.asarray(sizes, np.float64)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError("kmeans_anchors: `sizes` must be positive and finite")
    if len(sizes) == 0:
        return Clusters(np.empty((0, 2)), np.empty(0, np.int64), float("nan"))
    points, count = np.unique(sizes, axis=0, return_counts=True)
    k = min(k, len(points))
    rng = np.random.default_rng(seed)
    found = [_lloyd(points, count, _plus_plus(points, count, k, rng), max_rounds) for _ in range(restarts)]
    centers, _ = max(found, key=lambda pair: pair[1])
    centers = centers[np.lexsort((centers[:, 1], centers[:, 0], centers.prod(axis=1)))]
    iou = shape_iou(sizes, centers)
    return Clusters(centers, iou.argmax(axis=1), float(iou.max(axis=1).mean()))


def _plus_plus(
    points: Float64[np.ndarray, "m 2"], count: Int[np.ndarray, " m"], k: int, rng: np.random.Generator
) -> Float64[np.ndarray, "k 2"]:
    """The shapes of a start: k distinct points."""
    chosen = [int(rng.choice(len(points), p=count / count.sum()))]
    distance = np.ones(len(points))
    while len(chosen) < k:
        distance = np.minimum(distance, 1 - shape_iou(points, points[chosen[-1:]])[:, 0])
        distance[chosen] = 0
        weight = count * distance**2
        if weight.sum() <= 0:  # the rest differ from these by rounding only
            weight = np.where(np.isin(np.arange(len(points)), chosen), 0.0, 1.0)
        chosen.append(int(rng.choice(len(points), p=weight / weight.sum())))
    return points[chosen]


def _lloyd(
    points: Float64[np.ndarray, "m 2"],
    count: Int[np.ndarray, " m"],
    centers: Float64[np.ndarray, "k 2"],
    max_rounds: int,
) -> tuple[Float64[np.ndarray, "k 2"], float]:
    """The best shapes of all rounds, and their mean IoU."""
    best, best_score, label = centers, -np.inf, None
    for _ in range(max_rounds):
        iou = shape_iou(points, centers)
        score = float(np.average(iou.max(axis=1), weights=count))
        if score > best_score:
            best, best_score = centers, score
        before, label = label, iou.argmax(axis=1)
        if before is not None and (label == before).all():
            break
        weight = np.bincount(label, count, len(centers))
        sums = np.stack([np.bincount(label, count * side, len(centers)) for side in points.T], axis=1)
        centers = np.where(weight[:, None] > 0, sums / np.maximum(weight, 1)[:, None], centers)
        worst = np.argsort(iou.max(axis=1), kind="stable")
        empty = np.flatnonzero(weight == 0)
        centers[empty] = points[worst[: len(empty)]]
    return best, best_score
