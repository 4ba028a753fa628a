"""Average precision and recall by COCO's protocol, computed by faster-coco-eval.

The library gives pycocotools' numbers in a fraction of the time, takes records in memory and prints nothing. It is
imported when a score is asked for.
"""

import contextlib
import gc
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real, Shaped

from jaxssd.metrics.arrays import (
    DetectionArrays,
    Found,
    Nested,
    Truths,
    as_count,
    checked_detections,
    checked_sizes,
    checked_truths,
)
from jaxssd.metrics.coco_records import coco_instances, coco_results
from jaxssd.metrics.tables import name_column, none_if_nan, show

SUMMARY = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""Names of COCO's twelve numbers, in its own order."""


@dataclass(frozen=True, eq=False)
class COCOScores:
    """Scores by COCO's protocol. Every number is NaN where no ground truth counts.

    AP and AR are means over the IoU thresholds 0.5, 0.55, ..., 0.95 and over the classes that have ground truth. Sizes
    are areas in pixels of the original image: small up to 32², medium from there to 96², large beyond; exactly 32² and
    96² count on both sides.

    Attributes:
        ap: average precision, the mean of `class_ap`.
        ap50: average precision at IoU 0.5 alone.
        ap75: average precision at IoU 0.75 alone.
        ap_small: `ap` of small objects.
        ap_medium: `ap` of medium objects.
        ap_large: `ap` of large objects.
        ar1: average recall, with the best detection of each class in an image.
        ar10: average recall, with the 10 best.
        ar100: average recall, with the 100 best; AP uses at most 100 as well.
        ar_small: `ar100` of small objects.
        ar_medium: `ar100` of medium objects.
        ar_large: `ar100` of large objects.
        class_ap: `[C]` average precision of each class.
        class_ap50: `[C]` average precision of each class at IoU 0.5 alone.
        num_images: images scored, those without any ground truth included.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    class_ap: Float[np.ndarray, "C"]
    class_ap50: Float[np.ndarray, "C"]
    num_images: int

    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers by name, in its own order."""
        return {name: getattr(self, name) for name in SUMMARY}

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Scores for `json.dump`: plain numbers, and None where undefined.

        Args:
            class_names: C names.

        Returns:
            The twelve numbers by name, `"num_images"`, and `"classes": {name: {"ap", "ap50"}}`.

        Raises:
            ValueError: if there are not C `class_names`.
        """
        return {
            **{name: none_if_nan(value) for name, value in self.summary().items()},
            "num_images": self.num_images,
            "classes": {
                name: {"ap": none_if_nan(ap), "ap50": none_if_nan(ap50)}
                for name, ap, ap50 in _class_rows(self, class_names)
            },
        }


def coco_available() -> bool:
    """Return True if faster-coco-eval is installed."""
    return importlib.util.find_spec("faster_coco_eval") is not None


def coco_scores(
    detections: DetectionArrays,
    gt_boxes: Real[Any, "N G 4"] | Nested,
    gt_labels: Real[Any, "N G"] | Nested,
    gt_valid: Shaped[Any, "N G"] | Nested,
    gt_difficult: Shaped[Any, "N G"] | Nested | None,
    sizes: Real[Any, "N 2"] | Nested,
    *,
    num_classes: int,
) -> COCOScores:
    """Score detections by COCO's protocol (Lin et al. 2014, and https://cocodataset.org/#detection-eval).

    Boxes are compared in pixels of the original image, in which the areas of small, medium and large are given. The
    area of a ground truth is its box's; COCO's own files have its mask's, which is smaller, so that on COCO the numbers
    by size (and only those) differ from the official ones.

    A difficult ground truth counts as a crowd (`iscrowd` 1): it need not be found, and a detection of it is neither
    right nor wrong. A crowd differs from a difficult object under VOC's protocol in two ways. Overlap with a crowd is
    intersection over the *detection's* area, so that any box well inside it is ignored; VOC requires an IoU. And
    a detection is matched with a crowd only if no free ordinary object reaches the threshold; VOC uses only the most
    overlapped object, even if it is difficult or already claimed.

    Detections of equal score keep their order, image by image; there the order can matter.

    Args:
        detections: N images, `boxes` `[N, D, 4]` corners, normalised to the original image, `scores` `[N, D]`,
            `labels` `[N, D]`, `valid` `[N, D]`.
        gt_boxes: `[N, G, 4]` corners, normalised to the original image.
        gt_labels: `[N, G]` in `[0, C)`.
        gt_valid: `[N, G]`; the other rows are padding, and what they hold is never used.
        gt_difficult: `[N, G]`, VOC's difficult or COCO's crowds; None means no difficult objects.
        sizes: `[N, 2]` height and width of the original images in pixels. Boxes are rounded to a thousandth of a pixel.
        num_classes: C, at least 1.

    Returns:
        `COCOScores`.

    Raises:
        ImportError: if faster-coco-eval is not installed.
        ValueError: if shapes disagree, `sizes` or `num_classes` is not positive, or a valid row has a label outside
            `[0, C)`, a score or a coordinate that is not finite; the message names the argument.

    Example:
        >>> from types import SimpleNamespace
        >>> truth = np.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
        >>> labels, valid = np.array([[0, 0]]), np.array([[True, True]])
        >>> found = SimpleNamespace(boxes=truth[:, [0, 0]], scores=np.array([[0.9, 0.8]]), labels=labels, valid=valid)
        >>> scores = coco_scores(found, truth, labels, valid, None, np.array([[100, 100]]), num_classes=1)
        >>> scores.ar100, round(scores.ap, 4)  # 51 of the 101 recalls 0, 0.01, ..., 1 are reached
        (0.5, 0.505)
    """
    num_classes = as_count("coco_scores", "num_classes", num_classes)
    if num_classes < 1:
        raise ValueError(f"coco_scores: `num_classes` is {num_classes}, expected at least 1")
    found = checked_detections("coco_scores", detections, num_classes=num_classes)
    num_images = len(found.valid)
    truths = checked_truths(
        "coco_scores", gt_boxes, gt_labels, gt_valid, gt_difficult, num_images=num_images, num_classes=num_classes
    )
    sizes = checked_sizes("coco_scores", sizes, num_images)
    with _garbage_collection_paused():
        summary, precision = _evaluate(found, truths, sizes, num_classes)
    return COCOScores(
        **dict(zip(SUMMARY, summary.tolist(), strict=True)),
        class_ap=precision.mean(axis=(0, 1)),
        class_ap50=precision[0].mean(axis=0),
        num_images=num_images,
    )


def format_coco_scores(scores: COCOScores, class_names: Sequence[str], *, labels: Sequence[int] | None = None) -> str:
    """Aligned table of COCO's scores, with a line on the protocol.

    Args:
        scores: from `coco_scores`.
        class_names: C names.
        labels: classes to show, in this order; None shows all.

    Returns:
        A header, a line for each class, one of means over all classes, two of the other numbers, and the protocol; `-`
        where undefined.

    Raises:
        ValueError: if there are not C `class_names`.
    """
    rows = _class_rows(scores, class_names)
    rows = rows if labels is None else [rows[label] for label in labels]
    rows = [*rows, ("mean", scores.ap, scores.ap50)]
    header, *names = name_column(["class", *(name for name, *_ in rows)])
    lines = [f"{header}  AP .50:.95  AP .50"]
    lines += [f"{name}  {show(ap):>10}  {show(ap50):>6}" for name, (_, ap, ap50) in zip(names, rows, strict=True)]
    ap75, *ap_of_sizes = (show(getattr(scores, name)) for name in SUMMARY[2:6])
    *ar_of_counts, ar_small, ar_medium, ar_large = (show(getattr(scores, name)) for name in SUMMARY[6:])
    lines += [
        "AP .75 {}; AP .50:.95 small {}, medium {}, large {}".format(ap75, *ap_of_sizes),
        "AR .50:.95 of 1 detection {}, 10 {}, 100 {}; ".format(*ar_of_counts)
        + f"of 100 small {ar_small}, medium {ar_medium}, large {ar_large}",
        f"COCO protocol: difficult ground truth as crowds, sizes by the boxes' areas, {scores.num_images} images; "
        "the means leave out classes without ground truth.",
    ]
    return "\n".join(lines)


def _evaluate(
    found: Found, truths: Truths, sizes: np.ndarray, num_classes: int
) -> tuple[Float[np.ndarray, "12"], Float[np.ndarray, "IoUs recalls C"]]:
    """Twelve numbers of the library, and precision over all sizes with 100 detections; NaN in place of its -1."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ImportError('coco_scores needs faster-coco-eval: pip install -e ".[coco]"') from error
    image_ids, category_ids = range(1, len(sizes) + 1), range(1, num_classes + 1)
    instances = coco_instances(
        *truths,
        sizes,
        image_ids=image_ids,
        category_ids=category_ids,
        class_names=[str(label) for label in range(num_classes)],
    )
    results = coco_results(found, sizes, image_ids=image_ids, category_ids=category_ids)
    truth = COCO(instances, print_function=_quiet)
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_quiet)
    evaluation.run()
    summary, precision = np.array(evaluation.stats), evaluation.eval["precision"][:, :, :, 0, -1]
    return np.where(summary < 0, math.nan, summary), np.where(precision < 0, math.nan, precision)


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection, which took a third of the time for 500,000 records and frees nothing there."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _quiet(*_: object) -> None:
    """Replace the library's log, which an application that logs would show."""


def _class_rows(scores: COCOScores, class_names: Sequence[str]) -> list[tuple[str, float, float]]:
    if len(class_names) != len(scores.class_ap):
        raise ValueError(f"`class_names` has {len(class_names)} names for {len(scores.class_ap)} classes")
    return list(zip(class_names, scores.class_ap.tolist(), scores.class_ap50.tolist(), strict=True))
