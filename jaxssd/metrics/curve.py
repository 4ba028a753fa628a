"""Precision-recall curves and average precision, both of VOC's kinds."""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Real

from jaxssd.metrics.arrays import Nested, as_numbers, check_shape

_RECALL_TOLERANCE = 1e-7  # 7/10 in float32 lies 1.2e-8 below 0.7, and still reaches it


class Curve(NamedTuple):
    """Precision-recall curve: one point for each distinct score, by falling score."""

    recall: Float[np.ndarray, "points"]
    precision: Float[np.ndarray, "points"]
    score: Float[np.ndarray, "points"]


def monotone_envelope(precision: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Best precision at each point of a curve or at any later one, which has higher recall.

    Example:
        >>> monotone_envelope(np.array([1.0, 0.5, 0.6]))
        array([1. , 0.6, 0.6])
    """
    return np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(
    recall: Real[Any, "points"] | Nested,
    precision: Real[Any, "points"] | Nested,
    *,
    method: Literal["voc07", "area"] = "voc07",
) -> float:
    """Average precision of a precision-recall curve.

    `"voc07"` is the mean, over the recalls 0, 0.1, ..., 1, of the best precision at that recall or beyond (Everingham
    et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2). `"area"` is the area under the
    monotone envelope of the curve (the devkit of VOC 2010 and later).

    Args:
        recall: `[points]` in `[0, 1]`, non-decreasing. A recall reaches a threshold that it misses by less than 1e-7,
            so that 7/10 counts as 0.7 in float32 too.
        precision: `[points]` in `[0, 1]`.
        method: `"voc07"` or `"area"`.

    Returns:
        In `[0, 1]`; 0 for a curve without points.

    Raises:
        ValueError: if the two differ in length or are not 1-D, `recall` decreases, a value lies outside `[0, 1]` or is
            NaN, or `method` is unknown; the message names the argument.

    Example:
        >>> recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 0.6])
        >>> average_precision(recall, precision, method="area")
        0.8
        >>> round(average_precision(recall, precision, method="voc07"), 4)  # (6 x 1.0 + 5 x 0.6) / 11
        0.8182
    """
    recall, precision = (
        as_numbers("average_precision", name, values).astype(np.float64)
        for name, values in (("recall", recall), ("precision", precision))
    )
    check_shape("average_precision", "recall", recall, None)
    check_shape("average_precision", "precision", precision, len(recall))
    for name, values in (("recall", recall), ("precision", precision)):
        outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(outside):
            point = int(outside[0])
            raise ValueError(
                f"average_precision: `{name}` must lie in [0, 1], and is {values[point]:g} at point {point}"
            )
    falls = np.flatnonzero(np.diff(recall) < 0)
    if len(falls):
        raise ValueError(
            f"average_precision: `recall` must not decrease, and does after point {int(falls[0])}: sort both by recall"
        )

    envelope = monotone_envelope(precision)
    if method == "area":
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    if method == "voc07":
        thresholds = np.arange(11) / 10
        first_reaching = np.searchsorted(recall, thresholds - _RECALL_TOLERANCE)
        return float(np.append(envelope, 0)[first_reaching].mean())
    raise ValueError(f'average_precision: `method` is {method!r}, expected "voc07" or "area"')
