"""Average precision by the PASCAL VOC protocol, both kinds, in NumPy on the host."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from jaxssd.metrics.arrays import (
    DetectionArrays,
    Nested,
    as_count,
    as_number,
    checked_detections,
    checked_sizes,
    checked_truths,
    thousandths,
)
from jaxssd.metrics.curve import Curve, average_precision
from jaxssd.metrics.tables import name_column, none_if_nan, show

_NEAR = 1e-3  # bound on the rounding of an IoU, for boxes of a pixel in 8,000
_PAIRS_PER_CHUNK = 2**17  # detection-truth pairs at once: 1 MiB for each float64 intermediate, which caches hold


@dataclass(frozen=True, eq=False)
class VOCScores:
    """Scores by VOC's protocol. `[C]` arrays are indexed by class.

    Attributes:
        ap_voc07: `[C]` 11-point average precision (VOC 2007); NaN for a class without countable ground truth.
        ap_area: `[C]` area under the curve (VOC 2010 and later); NaN likewise.
        num_truths: `[C]` ground truths that count, the difficult ones left out.
        num_difficult: `[C]` difficult ground truths.
        num_detections: `[C]` detections, those ignored for a difficult truth included.
        num_images: images scored, those without any ground truth included.
        iou_threshold: smallest IoU that counts as found.
        curves: precision-recall curve of each class; empty without countable ground truth.
    """

    ap_voc07: Float[np.ndarray, "C"]
    ap_area: Float[np.ndarray, "C"]
    num_truths: Int[np.ndarray, "C"]
    num_difficult: Int[np.ndarray, "C"]
    num_detections: Int[np.ndarray, "C"]
    num_images: int
    iou_threshold: float
    curves: tuple[Curve, ...]

    @property
    def mean_voc07(self) -> float:
        """Mean of `ap_voc07` over the classes that have countable ground truth; NaN if none has."""
        return _mean_over_known(self.ap_voc07)

    @property
    def mean_area(self) -> float:
        """Mean of `ap_area` over the classes that have countable ground truth; NaN if none has."""
        return _mean_over_known(self.ap_area)

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Scores without the curves, for `json.dump`: plain numbers, and None where AP is undefined.

        Args:
            class_names: C names.

        Returns:
            `{"map_voc07", "map_area", "iou_threshold", "num_images", "classes": {name: {"ap_voc07", "ap_area",
            "truths", "difficult", "detections"}}}`.

        Raises:
            ValueError: if there are not C `class_names`.
        """
        return {
            "map_voc07": none_if_nan(self.mean_voc07),
            "map_area": none_if_nan(self.mean_area),
            "iou_threshold": self.iou_threshold,
            "num_images": self.num_images,
            "classes": {
                name: {
                    "ap_voc07": none_if_nan(ap_voc07),
                    "ap_area": none_if_nan(ap_area),
                    "truths": truths,
                    "difficult": difficult,
                    "detections": detections,
                }
                for name, truths, difficult, detections, ap_voc07, ap_area in _class_rows(self, class_names)
            },
        }


def voc_scores(
    detections: DetectionArrays,
    gt_boxes: Real[Any, "N G 4"] | Nested,
    gt_labels: Real[Any, "N G"] | Nested,
    gt_valid: Shaped[Any, "N G"] | Nested,
    gt_difficult: Shaped[Any, "N G"] | Nested | None = None,
    *,
    num_classes: int,
    iou_threshold: float = 0.5,
    sizes: Real[Any, "N 2"] | Nested | None = None,
) -> VOCScores:
    """Score detections by the protocol of the VOC development kit (its `VOCevaldet.m`).

    The detections of a class in all images are taken by falling score. Each is compared with **one** ground truth of
    its class and image, the one it overlaps most (the first on ties), claimed or not. It is a false positive if the IoU
    is below the threshold, ignored if that truth is difficult, and otherwise a true positive if it is the first to
    claim that truth, a false positive if not.

    An IoU equal to the threshold counts, as in the kit (some ports require more), in spite of float32 rounding. With
    `sizes`, boxes are compared in pixels of the original image, rounded to a thousandth as in `coco_scores`. Without
    `sizes`, an IoU below the threshold counts too, if the difference is within the rounding of its coordinates.

    Two details differ from the kit. Equal scores make **one** point of the curve, taken after all of them, so that the
    order of images and of detections changes nothing. Boxes are continuous, from edge to edge, where the kit counts the
    corners as pixels of the box and adds one to each side.

    Args:
        detections: N images, `boxes` `[N, D, 4]` corners, `scores` `[N, D]`, `labels` `[N, D]`, `valid` `[N, D]`.
        gt_boxes: `[N, G, 4]` corners, in the detections' units.
        gt_labels: `[N, G]` in `[0, C)`.
        gt_valid: `[N, G]`; the other rows are padding, and what they hold is never used.
        gt_difficult: `[N, G]`; None means no difficult objects.
        num_classes: C.
        iou_threshold: in `(0, 1]`.
        sizes: `[N, 2]` height and width in pixels of the original images, to which all boxes are then normalised;
            None takes boxes in any units.

    Returns:
        `VOCScores`, with IoU in float64.

    Raises:
        ValueError: if shapes disagree, `iou_threshold` is outside `(0, 1]`, `sizes` are not positive, or a valid row
            has a label outside `[0, C)`, a score or a coordinate that is not finite; the message names the argument.

    Example:
        >>> from types import SimpleNamespace
        >>> truth = np.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
        >>> labels, valid = np.array([[0, 0]]), np.array([[True, True]])
        >>> found = SimpleNamespace(boxes=truth[:, [0, 0]], scores=np.array([[0.9, 0.8]]), labels=labels, valid=valid)
        >>> scores = voc_scores(found, truth, labels, valid, num_classes=1)
        >>> scores.curves[0][:2]  # the second hit on the same truth is a false positive
        (array([0.5, 0.5]), array([1. , 0.5]))
        >>> scores.mean_area
        0.5
    """
    iou_threshold = as_number("voc_scores", "iou_threshold", iou_threshold)
    num_classes = as_count("voc_scores", "num_classes", num_classes)
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"voc_scores: `iou_threshold` is {iou_threshold}, expected in (0, 1]")
    found = checked_detections("voc_scores", detections, num_classes=num_classes)
    num_images = len(found.valid)
    truths = checked_truths(
        "voc_scores", gt_boxes, gt_labels, gt_valid, gt_difficult, num_images=num_images, num_classes=num_classes
    )

    if sizes is not None:
        sizes = checked_sizes("voc_scores", sizes, num_images)
        found = found._replace(boxes=thousandths(found.boxes, sizes))
        truths = truths._replace(boxes=thousandths(truths.boxes, sizes))

    overlap, truth = _most_overlapped(found.boxes, found.labels, truths.boxes, truths.labels)
    image, row = np.nonzero(found.valid)
    label, score, overlap, truth = (array[image, row] for array in (found.labels, found.scores, overlap, truth))
    hit = overlap >= iou_threshold
    if sizes is None:
        near = np.flatnonzero(~hit & (overlap > iou_threshold - _NEAR))
        pairs = np.stack([found.boxes[image[near], row[near]], truths.boxes[image[near], truth[near]]])
        hit[near] = overlap[near] >= iou_threshold - _rounding(pairs, overlap[near])
    ignored = np.zeros_like(hit)
    ignored[hit] = truths.difficult[image[hit], truth[hit]]

    ranked = np.lexsort((-score, label))
    ranked = ranked[~ignored[ranked]]
    correct = _first_claims(hit[ranked], (image * truths.valid.shape[1] + truth)[ranked])
    starts = np.searchsorted(label[ranked], np.arange(1, num_classes))
    num_truths = np.bincount(truths.labels[truths.valid & ~truths.difficult], minlength=num_classes)
    curves = tuple(map(_curve, np.split(correct, starts), np.split(score[ranked], starts), num_truths.tolist()))
    return VOCScores(
        ap_voc07=_class_precisions(curves, num_truths, "voc07"),
        ap_area=_class_precisions(curves, num_truths, "area"),
        num_truths=num_truths,
        num_difficult=np.bincount(truths.labels[truths.difficult], minlength=num_classes),
        num_detections=np.bincount(label, minlength=num_classes),
        num_images=num_images,
        iou_threshold=iou_threshold,
        curves=curves,
    )


def format_scores(scores: VOCScores, class_names: Sequence[str], *, labels: Sequence[int] | None = None) -> str:
    """Aligned table of VOC's scores, with a line on the protocol.

    Args:
        scores: from `voc_scores`.
        class_names: C names.
        labels: classes to show, in this order; None shows all.

    Returns:
        A header, a line for each class, one of totals and means over all classes, and the protocol; `-` where AP is
        undefined.

    Raises:
        ValueError: if there are not C `class_names`.
    """
    totals = (int(scores.num_truths.sum()), int(scores.num_difficult.sum()), int(scores.num_detections.sum()))
    rows = list(_class_rows(scores, class_names))
    rows = rows if labels is None else [rows[label] for label in labels]
    rows = [*rows, ("total, mean", *totals, scores.mean_voc07, scores.mean_area)]
    header, *names = name_column(["class", *(name for name, *_ in rows)])
    lines = [f"{header}  truths  difficult  detections  AP 11-point  AP area"]
    lines += [
        f"{name}  {truths:>6}  {difficult:>9}  {detections:>10}  {show(ap_voc07):>11}  {show(ap_area):>7}"
        for name, (_, truths, difficult, detections, ap_voc07, ap_area) in zip(names, rows, strict=True)
    ]
    lines += [
        f"VOC protocol: IoU >= {scores.iou_threshold:g}, difficult ground truth ignored, {scores.num_images} images; "
        "the means leave out classes without ground truth."
    ]
    return "\n".join(lines)


def _most_overlapped(
    boxes: np.ndarray, labels: np.ndarray, gt_boxes: np.ndarray, gt_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Highest IoU of each detection `[N, D]` with a truth of its class, and that truth's column; else (0, 0)."""
    num_images, num_detections = labels.shape
    overlap, truth = np.zeros(labels.shape), np.zeros(labels.shape, int)
    pairs = num_detections * gt_labels.shape[1]
    if pairs == 0:
        return overlap, truth
    chunk = max(1, _PAIRS_PER_CHUNK // pairs)
    for start in range(0, num_images, chunk):
        part = slice(start, start + chunk)
        same_class = labels[part, :, None] == gt_labels[part, None, :]
        iou = np.where(same_class, _pairwise_iou(boxes[part], gt_boxes[part]), 0)
        overlap[part], truth[part] = iou.max(-1), iou.argmax(-1)
    return overlap, truth


def _pairwise_iou(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """IoU `[n, D, G]` of `[n, D, 4]` and `[n, G, 4]`; 0 where both boxes have no area, padding for example."""
    y1, x1, y2, x2 = np.moveaxis(boxes[:, :, None], -1, 0)
    gt_y1, gt_x1, gt_y2, gt_x2 = np.moveaxis(gt_boxes[:, None, :], -1, 0)
    height = np.minimum(y2, gt_y2) - np.maximum(y1, gt_y1)
    width = np.minimum(x2, gt_x2) - np.maximum(x1, gt_x1)
    intersection = _area(height, width)
    union = _area(y2 - y1, x2 - x1) + _area(gt_y2 - gt_y1, gt_x2 - gt_x1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _rounding(pairs: Float[np.ndarray, "2 n 4"], iou: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Bound on the change of an IoU by rounding the corners to float32, to first order.

    With corners off by at most e, a side is off by 2 e and the area of a box of sides h and w by 2 e (h + w); for the
    intersection, whose sides are no longer, half of both boxes' sum is the bound.
    """
    half_a_step = np.finfo(np.float32).eps / 2 * np.abs(pairs).max(axis=(0, -1))
    sides = pairs[..., 2:] - pairs[..., :2]
    areas = 2 * half_a_step * sides.sum(axis=(0, -1))
    union = sides.prod(axis=-1).sum(axis=0) / (1 + iou)
    exact = (pairs == np.rint(pairs)).all(axis=(0, -1))  # whole pixels have no rounding
    return np.where(exact, 0, (areas / 2 * (1 + iou) + areas * iou) / union)


def _area(height: np.ndarray, width: np.ndarray) -> np.ndarray:
    return np.maximum(height, 0) * np.maximum(width, 0)


def _first_claims(hit: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """True for the first detection of each truth, in the given order."""
    _, first = np.unique(truth[hit], return_index=True)
    correct = np.zeros_like(hit)
    correct[np.flatnonzero(hit)[first]] = True
    return correct


def _curve(correct: np.ndarray, score: np.ndarray, num_truths: int) -> Curve:
    """Curve with one point after each run of equal scores, from detections by falling score."""
    if num_truths == 0:
        return Curve(np.empty(0), np.empty(0), np.empty(0))
    last_of_run = np.flatnonzero(np.diff(score, append=-np.inf))
    true_positives = np.cumsum(correct)[last_of_run]
    return Curve(true_positives / num_truths, true_positives / (last_of_run + 1), score[last_of_run])


def _class_precisions(
    curves: tuple[Curve, ...], num_truths: np.ndarray, method: Literal["voc07", "area"]
) -> Float[np.ndarray, "C"]:
    return np.array(
        [
            average_precision(curve.recall, curve.precision, method=method) if truths else math.nan
            for curve, truths in zip(curves, num_truths, strict=True)
        ]
    )


def _class_rows(scores: VOCScores, class_names: Sequence[str]) -> Iterable[tuple[str, int, int, int, float, float]]:
    if len(class_names) != len(scores.num_truths):
        raise ValueError(f"`class_names` has {len(class_names)} names for {len(scores.num_truths)} classes")
    columns = (scores.num_truths, scores.num_difficult, scores.num_detections, scores.ap_voc07, scores.ap_area)
    return zip(class_names, *(column.tolist() for column in columns), strict=True)


def _mean_over_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
