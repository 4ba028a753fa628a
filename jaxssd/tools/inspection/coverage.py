"""Coverage of a data set's objects by anchors, without a network."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from jaxssd.data.best_anchors import best_anchors, loses_anchor
from jaxssd.tools.inspection.inspection import Inspection


class Coverage(NamedTuple):
    """Overlap of each object with the anchors.

    Attributes:
        iou: `[n]`, IoU with the best anchor; NaN for difficult objects, which are not trained on.
        loses: `[n]`, True if the best anchor goes to another object; False for difficult objects.
    """

    iou: Float32[np.ndarray, " n"]
    loses: Bool[np.ndarray, " n"]


class MatchCounts(NamedTuple):
    """Matches of anchors with a number of objects, without difficult ones.

    Attributes:
        objects: number of objects.
        unmatched: number of objects whose best IoU is not above the matching threshold.
        lose_anchor: number of objects whose best anchor goes to another object.
        mean_iou: mean of the best IoU; NaN without objects.
    """

    objects: int
    unmatched: int
    lose_anchor: int
    mean_iou: float

    @property
    def best_recall(self) -> float:
        """Best possible recall: the share of objects that are matched; NaN without objects."""
        return 1 - self.unmatched / self.objects if self.objects else math.nan


def cover(inspection: Inspection, anchor_corners: Float[np.ndarray, "A 4"]) -> Coverage:
    """Compute the coverage of all objects of a data set.

    Args:
        inspection: inspection of the data set.
        anchor_corners: corners of the anchors.
    """
    trained_on, objects = inspection.trained_on, inspection.objects
    best = best_anchors(objects.boxes[trained_on], anchor_corners)
    iou, loses = np.full(len(trained_on), np.nan, np.float32), np.zeros(len(trained_on), bool)
    iou[trained_on], loses[trained_on] = best.iou, loses_anchor(objects.image[trained_on], best)
    return Coverage(iou, loses)


def count_matches(inspection: Inspection, coverage: Coverage, threshold: float) -> tuple[MatchCounts, ...]:
    """Count matched and unmatched objects.

    Args:
        inspection: inspection of the data set.
        coverage: coverage of its objects.
        threshold: IoU above which an anchor matches an object.

    Returns:
        Counts for each class in the order of the labels, and last for all objects.
    """
    labels, trained_on = inspection.objects.labels, inspection.trained_on

    def count(mask: Bool[np.ndarray, " n"]) -> MatchCounts:
        iou = coverage.iou[mask]
        mean = float(iou.mean()) if len(iou) else math.nan
        return MatchCounts(len(iou), int((iou <= threshold).sum()), int(coverage.loses[mask].sum()), mean)

    return (
        *(count(trained_on & (labels == label)) for label in range(len(inspection.class_names))),
        count(trained_on),
    )
