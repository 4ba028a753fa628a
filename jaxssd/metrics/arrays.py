"""Checks of the padded detections and ground truth of N images, and their boxes in pixels.

Every score and every file of results starts here: lists and arrays of other libraries become NumPy's, masks become
bool and labels int64. Rows that are not valid may hold anything, NaN and labels out of range included, and become
zeros. A wrong value in a valid row is an error that names the argument and the row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real, Shaped

from jaxssd.ops.arrays import is_traced

Nested = Sequence[Any]
"""Lists of lists of numbers, in place of an array."""

PER_PIXEL = 1000
"""Units of a pixel in `thousandths`."""


@runtime_checkable
class DetectionArrays(Protocol):
    """Detections on the host, of one image or of a batch: `jaxssd.Detections` or any record with these arrays."""

    @property
    def boxes(self) -> Real[Any, "*batch D 4"]: ...  # noqa: D102
    @property
    def scores(self) -> Real[Any, "*batch D"]: ...  # noqa: D102
    @property
    def labels(self) -> Real[Any, "*batch D"]: ...  # noqa: D102
    @property
    def valid(self) -> Shaped[Any, "*batch D"]: ...  # noqa: D102


class Found(NamedTuple):
    """Checked detections of N images; zeros where not `valid`."""

    boxes: Float64[np.ndarray, "N D 4"]
    scores: Float64[np.ndarray, "N D"]
    labels: Int64[np.ndarray, "N D"]
    valid: Bool[np.ndarray, "N D"]


class Truths(NamedTuple):
    """Checked ground truth of N images; zeros and False where not `valid`."""

    boxes: Float64[np.ndarray, "N G 4"]
    labels: Int64[np.ndarray, "N G"]
    valid: Bool[np.ndarray, "N G"]
    difficult: Bool[np.ndarray, "N G"]


def checked_detections(function: str, detections: DetectionArrays, *, num_classes: int) -> Found:
    """Detections with zeros for padding.

    Args:
        function: name of the public function, for the message.
        detections: `boxes` `[N, D, 4]`, `scores` `[N, D]`, `labels` `[N, D]`, `valid` `[N, D]`.
        num_classes: C.

    Returns:
        `Found`: boxes and scores in float64, labels in int64, the mask as bool.

    Raises:
        ValueError: if an argument holds no numbers, shapes disagree, or a valid row has a label outside `[0, C)`, a
            score or a coordinate that is not finite; the message names the argument.

    Example:
        >>> boxes, scores, labels = np.full((1, 2, 4), np.nan), np.array([[0.5, np.nan]]), np.array([[0, 99]])
        >>> boxes[0, 0] = [0, 0, 1, 1]
        >>> found = checked_detections("f", Found(boxes, scores, labels, np.array([[True, False]])), num_classes=1)
        >>> found.scores, found.labels
        (array([[0.5, 0. ]]), array([[0, 0]]))
    """
    if not isinstance(detections, DetectionArrays):
        raise ValueError(
            f"{function}: `detections` is a {type(detections).__name__}, expected a record with the arrays `boxes`, "
            "`scores`, `labels` and `valid`, as `Detections` is"
        )
    boxes, scores, labels, valid = (
        as_numbers(function, f"detections.{name}", getattr(detections, name))
        for name in ("boxes", "scores", "labels", "valid")
    )
    check_shape(function, "detections.boxes", boxes, None, None, 4)
    for name, array in (("scores", scores), ("labels", labels), ("valid", valid)):
        check_shape(function, f"detections.{name}", array, *boxes.shape[:2])
    valid = _as_mask(function, "detections.valid", valid)
    return Found(
        _clean_floats(function, "detections.boxes", boxes, valid),
        _clean_floats(function, "detections.scores", scores, valid),
        _clean_labels(function, "detections.labels", labels, valid, num_classes),
        valid,
    )


def checked_truths(
    function: str,
    boxes: Real[Any, "N G 4"] | Nested,
    labels: Real[Any, "N G"] | Nested,
    valid: Shaped[Any, "N G"] | Nested,
    difficult: Shaped[Any, "N G"] | Nested | None,
    *,
    num_images: int,
    num_classes: int,
) -> Truths:
    """Ground truth with zeros for padding; messages call the arguments `gt_boxes`, `gt_labels` and so on.

    Args:
        function: name of the public function, for the message.
        boxes: `[N, G, 4]`.
        labels: `[N, G]`.
        valid: `[N, G]`.
        difficult: `[N, G]`; None means no difficult objects.
        num_images: N, the number of images in the other arguments.
        num_classes: C.

    Returns:
        `Truths`: boxes in float64, labels in int64, masks as bool.

    Raises:
        ValueError: if an argument holds no numbers, shapes disagree, or a valid row has a label outside `[0, C)` or a
            coordinate that is not finite; the message names the argument.
    """
    named = {"gt_boxes": boxes, "gt_labels": labels, "gt_valid": valid}
    boxes, labels, valid = (as_numbers(function, name, values) for name, values in named.items())
    difficult = np.zeros(valid.shape, bool) if difficult is None else as_numbers(function, "gt_difficult", difficult)
    check_shape(function, "gt_boxes", boxes, num_images, None, 4)
    for name, array in (("gt_labels", labels), ("gt_valid", valid), ("gt_difficult", difficult)):
        check_shape(function, name, array, *boxes.shape[:2])
    valid, difficult = _as_mask(function, "gt_valid", valid), _as_mask(function, "gt_difficult", difficult)
    return Truths(
        _clean_floats(function, "gt_boxes", boxes, valid),
        _clean_labels(function, "gt_labels", labels, valid, num_classes),
        valid,
        valid & difficult,
    )


def checked_sizes(function: str, sizes: Real[Any, "N 2"] | Nested, num_images: int) -> Int64[np.ndarray, "N 2"]:
    """Height and width of each image `[N, 2]` in pixels, as whole numbers.

    Raises:
        ValueError: if the shape is not `[num_images, 2]` or a size is not a whole number from 1; the message names the
            argument.
    """
    sizes = as_numbers(function, "sizes", sizes)
    check_shape(function, "sizes", sizes, num_images, 2)
    wrong = ~((sizes >= 1) & (sizes == np.floor(sizes)) & np.isfinite(sizes))
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise ValueError(
            f"{function}: `sizes` has {sizes[row].tolist()} for image {row}, expected its height and width in pixels"
        )
    return sizes.astype(np.int64)


def thousandths(
    boxes: Real[Any, "N rows 4"] | Nested, sizes: Real[Any, "N 2"] | Nested
) -> Float64[np.ndarray, "N rows 4"]:
    """Normalised corners to corners in thousandths of a pixel, rounded to whole numbers.

    Float32 has little more precision. This rounding restores annotated whole pixels and hundredths exactly. It matters
    for an IoU equal to the threshold, and for the size class of a box of 32 x 32 pixels. Areas of
    up to 9,000 megapixels have no rounding at all.

    Args:
        boxes: `[N, rows, 4]`.
        sizes: `[N, 2]` height and width in pixels.

    Returns:
        `[y1, x1, y2, x2]`, continuous: a box that is the whole image ends at its height and width.

    Example:
        >>> thousandths(np.float32([[[0, 0, 1 / 3, 1]]]), np.array([[333, 500]]))
        array([[[     0.,      0., 111000., 500000.]]])
    """
    return np.rint(np.asarray(boxes, np.float64) * np.tile(sizes, 2)[:, None] * PER_PIXEL)


def as_numbers(function: str, name: str, values: Any) -> np.ndarray:
    """NumPy array of numbers or truth values, from an array of any library or from nested lists.

    Args:
        function: name of the public function, for the message.
        name: name of the argument, for the message.
        values: argument given by the caller.

    Returns:
        NumPy array; extended types such as bfloat16 become float32.

    Raises:
        TypeError: if they are traced; the message names function and argument.
        ValueError: if they are not a rectangular array of numbers; the message names function and argument.

    Example:
        >>> as_numbers("f", "x", [[1, 2], [3]])
        Traceback (most recent call last):
        ...
        ValueError: f: `x` is not an array of numbers: its rows differ in length, or hold something else
    """
    if is_traced(values):
        raise TypeError(f"{function}: `{name}` is traced, expected numbers: NumPy computes scores, outside of jit")
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and the like, which NumPy knows as mere bytes
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{function}: `{name}` is not an array of numbers: its rows differ in length, or hold something else"
        )
    return array


def as_number(function: str, name: str, value: Any) -> float:
    """Setting that is one real number.

    Raises:
        TypeError: if it is traced.
        ValueError: if it is anything else; the message names function, setting and value.

    Example:
        >>> as_number("f", "iou_threshold", None)
        Traceback (most recent call last):
        ...
        ValueError: f: `iou_threshold` is None, expected one number
    """
    if is_traced(value):
        raise TypeError(f"{function}: `{name}` is traced, expected a number: NumPy computes scores, outside of jit")
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biuf":
        raise ValueError(f"{function}: `{name}` is {value!r}, expected one number")
    return float(array)


def as_count(function: str, name: str, value: Any) -> int:
    """Setting that is a whole number; raises as `as_number` does."""
    number = as_number(function, name, value)
    if number != int(number):
        raise ValueError(f"{function}: `{name}` is {value!r}, expected a whole number")
    return int(number)


def check_shape(function: str, name: str, array: np.ndarray, *expected: int | None) -> None:
    """Raise a `ValueError` that names function and argument unless the shape is as expected; None is any size."""
    if array.ndim != len(expected) or any(
        want not in (None, have) for want, have in zip(expected, array.shape, strict=True)
    ):
        form = ", ".join("..." if size is None else str(size) for size in expected)
        raise ValueError(f"{function}: `{name}` has shape {array.shape}, expected [{form}]")


def _as_mask(function: str, name: str, values: np.ndarray) -> np.ndarray:
    """Boolean mask; a number is True unless it is 0."""
    if np.isnan(values).any():
        raise ValueError(f"{function}: `{name}` holds NaN, expected a mask")
    return values.astype(bool)


def _clean_floats(function: str, name: str, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Float64 values, zero in padding."""
    mask = valid.reshape(valid.shape + (1,) * (values.ndim - valid.ndim))
    values = np.where(mask, values, 0).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        image, row, *_ = np.argwhere(~finite)[0].tolist()
        raise ValueError(
            f"{function}: `{name}` is not finite in a valid row: {values[image, row].tolist()} in image {image}, row "
            f"{row}"
        )
    return values


def _clean_labels(function: str, name: str, labels: np.ndarray, valid: np.ndarray, num_classes: int) -> np.ndarray:
    """Int64 labels, zero in padding."""
    labels = np.where(valid, labels, 0)
    wrong = ~((labels >= 0) & (labels < num_classes) & (labels == np.floor(labels)))
    if wrong.any():
        image, row = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{function}: `{name}` must be whole numbers in [0, {num_classes}) in valid rows, and has "
            f"{labels[image, row]:g} in image {image}, row {row}"
        )
    return labels.astype(np.int64)
