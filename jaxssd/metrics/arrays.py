"""Padded detections and ground truth of N images, as every score and every file of results takes them.

What padding holds may be anything, NaN and labels out of range included. So the first thing that happens to the arrays
is here: rows that are not valid become zeros, and whatever is wrong in a valid one is an error that names the argument.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int


@runtime_checkable
class DetectionArrays(Protocol):
    """`jaxssd.ops.nms.Detections` on the host, of one image or of a batch; any record with these arrays will do."""

    @property
    def boxes(self) -> Float[Any, "*batch D 4"]: ...  # noqa: D102
    @property
    def scores(self) -> Float[Any, "*batch D"]: ...  # noqa: D102
    @property
    def labels(self) -> Int[Any, "*batch D"]: ...  # noqa: D102
    @property
    def valid(self) -> Bool[Any, "*batch D"]: ...  # noqa: D102


class Found(NamedTuple):
    """Detections of N images, checked: zeros where not `valid`."""

    boxes: Float64[np.ndarray, "N D 4"]
    scores: Float64[np.ndarray, "N D"]
    labels: Int[np.ndarray, "N D"]
    valid: Bool[np.ndarray, "N D"]


class Truths(NamedTuple):
    """Ground truth of N images, checked: zeros and False where not `valid`."""

    boxes: Float64[np.ndarray, "N G 4"]
    labels: Int[np.ndarray, "N G"]
    valid: Bool[np.ndarray, "N G"]
    difficult: Bool[np.ndarray, "N G"]


def checked_detections(function: str, detections: DetectionArrays, *, num_classes: int) -> Found:
    """Detections with zeros for padding.

    Args:
        function: name of the public function, for the message.
        detections: `boxes` `[N, D, 4]`, `scores` `[N, D]`, `labels` `[N, D]`, `valid` `[N, D]`.
        num_classes: C.

    Returns:
        The same, boxes and scores in float64.

    Raises:
        ValueError: naming the argument, if shapes disagree, or a valid row has a label outside `[0, C)`, a score or a
            coordinate that is not finite.

    Example:
        >>> boxes, scores, labels = np.full((1, 2, 4), np.nan), np.array([[0.5, np.nan]]), np.array([[0, 99]])
        >>> boxes[0, 0] = [0, 0, 1, 1]
        >>> found = checked_detections("f", Found(boxes, scores, labels, np.array([[True, False]])), num_classes=1)
        >>> found.scores, found.labels
        (array([[0.5, 0. ]]), array([[0, 0]]))
    """
    boxes, scores, labels, valid = (
        np.asarray(array) for array in (detections.boxes, detections.scores, detections.labels, detections.valid)
    )
    check_shape(function, "detections.boxes", boxes, None, None, 4)
    for name, array in (("scores", scores), ("labels", labels), ("valid", valid)):
        check_shape(function, f"detections.{name}", array, *boxes.shape[:2])
    return Found(
        _clean_floats(function, "detections.boxes", boxes, valid),
        _clean_floats(function, "detections.scores", scores, valid),
        _clean_labels(function, "detections.labels", labels, valid, num_classes),
        valid,
    )


def checked_truths(
    function: str,
    boxes: Float[np.ndarray, "N G 4"],
    labels: Int[np.ndarray, "N G"],
    valid: Bool[np.ndarray, "N G"],
    difficult: Bool[np.ndarray, "N G"] | None,
    *,
    num_images: int,
    num_classes: int,
) -> Truths:
    """Ground truth with zeros for padding; the arguments are called `gt_boxes` and so on in messages.

    Args:
        function: name of the public function, for the message.
        boxes: `[N, G, 4]`.
        labels: `[N, G]`.
        valid: `[N, G]`.
        difficult: `[N, G]`; None stands for none.
        num_images: N, as the other arguments have it.
        num_classes: C.

    Returns:
        The same, boxes in float64.

    Raises:
        ValueError: naming the argument, if shapes disagree, or a valid row has a label outside `[0, C)` or a coordinate
            that is not finite.
    """
    if difficult is None:
        difficult = np.zeros_like(valid)
    check_shape(function, "gt_boxes", boxes, num_images, None, 4)
    for name, array in (("gt_labels", labels), ("gt_valid", valid), ("gt_difficult", difficult)):
        check_shape(function, name, array, *boxes.shape[:2])
    return Truths(
        _clean_floats(function, "gt_boxes", boxes, valid),
        _clean_labels(function, "gt_labels", labels, valid, num_classes),
        valid,
        valid & difficult,
    )


def check_shape(function: str, name: str, array: np.ndarray, *expected: int | None) -> None:
    """Raise a `ValueError` that names function and argument unless the shape is as expected; None is any size."""
    if array.ndim != len(expected) or any(
        want not in (None, have) for want, have in zip(expected, array.shape, strict=True)
    ):
        form = ", ".join("..." if size is None else str(size) for size in expected)
        raise ValueError(f"{function}: `{name}` has shape {array.shape}, expected [{form}]")


def _clean_floats(function: str, name: str, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Float64, with zeros in place of whatever the padding holds."""
    mask = valid.reshape(valid.shape + (1,) * (values.ndim - valid.ndim))
    values = np.where(mask, values, 0).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{function}: `{name}` is not finite in a valid row")
    return values


def _clean_labels(function: str, name: str, labels: np.ndarray, valid: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels with zeros in place of whatever the padding holds."""
    labels = np.where(valid, labels, 0)
    if ((labels < 0) | (labels >= num_classes)).any():
        raise ValueError(f"{function}: `{name}` must lie in [0, {num_classes}) in valid rows")
    return labels
