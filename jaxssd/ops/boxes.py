"""Geometry of boxes: corners `[y1, x1, y2, x2]`, normalised to the image's height and width."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_floats, as_mask, check_setting


def box_area(boxes: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Area of each box: height x width.

    Args:
        boxes: corners `[..., 4]`.

    Returns:
        `[...]`, in units of the image's area; 0 for a box whose far edge does not lie beyond its near edge.

    Raises:
        ValueError: if the last axis is not 4.

    Example:
        >>> box_area(jnp.array([[0.0, 0.0, 0.5, 0.5], [0.2, 0.2, 0.1, 0.9]]))
        Array([0.25, 0.  ], dtype=float32)
    """
    (boxes,) = as_floats(*as_arrays("box_area", boxes=(boxes, "... 4")))
    height, width = sides(boxes)
    return height * width


def box_iou(a: Float[ArrayLike, "N 4"], b: Float[ArrayLike, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union (the Jaccard index, the lesson's `jaccard`) of every box of `a` with every box of `b`.

    Args:
        a: corners `[N, 4]`.
        b: corners `[M, 4]`.

    Returns:
        `[N, M]` in `[0, 1]`; 0 where both boxes have no area, NaN where a coordinate is NaN. Sides may be as short as
        1e-20; gradients are finite for such boxes and for boxes without area.

    Raises:
        ValueError: if either argument is not `[boxes, 4]`.

    Example:
        >>> box_iou(jnp.array([[0.0, 0.0, 1.0, 0.5]]), jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]]))
        Array([[0.5, 0. ]], dtype=float32)
    """
    a, b = as_floats(*as_arrays("box_iou", a=(a, "N 4"), b=(b, "M 4")))
    return _iou(a, b)


def generalized_box_iou(a: Float[ArrayLike, "N 4"], b: Float[ArrayLike, "M 4"]) -> Float[Array, "N M"]:
    """Generalized IoU: IoU minus the share of the smallest enclosing box that neither box covers.

    It still distinguishes boxes that do not touch, so that it can serve as a loss.

    Args:
        a: corners `[N, 4]`.
        b: corners `[M, 4]`.

    Returns:
        `[N, M]` in `[-1, 1]`; 0 where even the enclosing box has no area, NaN where a coordinate is NaN. Gradients are
        as finite as those of `box_iou`.

    Raises:
        ValueError: if either argument is not `[boxes, 4]`.

    Source:
        Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1.

    Example:
        >>> generalized_box_iou(jnp.array([[0.0, 0.0, 1.0, 0.25]]), jnp.array([[0.0, 0.75, 1.0, 1.0]]))
        Array([[-0.5]], dtype=float32)
    """
    a, b = as_floats(*as_arrays("generalized_box_iou", a=(a, "N 4"), b=(b, "M 4")))
    near = jnp.minimum(a[:, None, :2], b[None, :, :2])
    far = jnp.maximum(a[:, None, 2:], b[None, :, 2:])
    height, width = sides(jnp.concatenate([near, far], axis=-1))
    units = unit_of(height), unit_of(width)
    _, union = intersection_and_union(*_every_pair(a, b), *units)
    hull = (height * units[0]) * (width * units[1])
    return _iou(a, b) - safe_ratio(hull - union, hull)


def to_corners(center_size: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Corners `[y1, x1, y2, x2]` from `[cy, cx, height, width]` (the lesson's `hw2corners`).

    Args:
        center_size: `[..., 4]`.

    Returns:
        `[..., 4]`.

    Raises:
        ValueError: if the last axis is not 4.

    Example:
        >>> to_corners(jnp.array([0.5, 0.5, 1.0, 0.5]))
        Array([0.  , 0.25, 1.  , 0.75], dtype=float32)
    """
    (center_size,) = as_floats(*as_arrays("to_corners", center_size=(center_size, "... 4")))
    center, size = jnp.split(center_size, 2, axis=-1)
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


def to_center_size(corners: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Centre and size `[cy, cx, height, width]` from corners, the inverse of `to_corners`.

    Args:
        corners: `[y1, x1, y2, x2]`, `[..., 4]`.

    Returns:
        `[..., 4]`; sizes are negative where the corners are swapped.

    Raises:
        ValueError: if the last axis is not 4.

    Example:
        >>> to_center_size(jnp.array([0.0, 0.25, 1.0, 0.75]))
        Array([0.5, 0.5, 1. , 0.5], dtype=float32)
    """
    (corners,) = as_floats(*as_arrays("to_center_size", corners=(corners, "... 4")))
    near, far = jnp.split(corners, 2, axis=-1)
    return jnp.concatenate([(near + far) / 2, far - near], axis=-1)


def clip_boxes(boxes: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Boxes clipped to the image.

    Args:
        boxes: corners `[..., 4]`.

    Returns:
        `[..., 4]` in `[0, 1]`; a box wholly outside becomes one without area on the image's edge.

    Raises:
        ValueError: if the last axis is not 4.

    Example:
        >>> clip_boxes(jnp.array([-0.5, 0.25, 0.5, 1.5]))
        Array([0.  , 0.25, 0.5 , 1.  ], dtype=float32)
    """
    (boxes,) = as_floats(*as_arrays("clip_boxes", boxes=(boxes, "... 4")))
    return jnp.clip(boxes, 0, 1)


def remove_small_boxes(
    boxes: Float[ArrayLike, "*batch 4"], valid: Shaped[ArrayLike, "*batch"] | None = None, *, min_size: Number
) -> Bool[Array, "*batch"]:
    """Mask of the boxes whose height and width are at least `min_size`; the rows stay where they are.

    Args:
        boxes: corners `[..., 4]`.
        valid: `[...]` mask of the rows to consider, bool or nonzero for True; None considers all.
        min_size: smallest height and width, in units of the boxes: 8 / 300 for 8 pixels of 300. May be traced.

    Returns:
        `[...]` bool, False for small boxes, rows that are not valid and NaN coordinates; the new mask of the rows.

    Raises:
        ValueError: if a shape does not fit or `min_size` is not a number.

    Source:
        `torchvision.ops.remove_small_boxes`, which returns indices.

    Example:
        >>> remove_small_boxes(jnp.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.01]]), min_size=0.02)
        Array([ True, False], dtype=bool)
    """
    (boxes,) = as_floats(*as_arrays("remove_small_boxes", boxes=(boxes, "... 4")))
    check_setting("remove_small_boxes", "min_size", min_size, lambda x: x == x, "a number")
    height, width = sides(boxes)
    large = jnp.minimum(height, width) >= jnp.asarray(min_size, boxes.dtype)
    if valid is None:
        return large
    (valid,) = as_arrays("remove_small_boxes", valid=(valid, "..."))
    if valid.shape != large.shape:
        raise ValueError(f"remove_small_boxes: `valid` has shape {valid.shape}, expected {large.shape} as `boxes`")
    return large & as_mask(valid)


def raw_iou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """IoU `[N, M]` for comparisons: no gradient, 0 where it is NaN; XLA fuses it into a reduction that follows."""
    intersection, union = intersection_and_union(*_every_pair(a, b))
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def _iou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """IoU in units of the longer side of each pair, so that areas neither vanish nor overflow."""
    y_unit, x_unit = (
        jnp.minimum(of_a[:, None], of_b[None, :])
        for of_a, of_b in zip(map(unit_of, sides(a)), map(unit_of, sides(b)), strict=True)
    )
    return safe_ratio(*intersection_and_union(*_every_pair(a, b), y_unit, x_unit))


def _every_pair(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> tuple[Float[Array, "4 N 1"], Float[Array, "4 1 M"]]:
    """Coordinates of all boxes of `a` against all of `b`."""
    return a.T[:, :, None], b.T[:, None, :]


def intersection_and_union(
    a: Float[Array, "..."], b: Float[Array, "..."], y_unit: Array | float = 1.0, x_unit: Array | float = 1.0
) -> tuple[Array, Array]:
    """Areas of intersection and union of each pair, heights times `y_unit` and widths times `x_unit`.

    The four coordinates come first; the other axes are broadcast.
    """
    (a_y1, a_x1, a_y2, a_x2), (b_y1, b_x1, b_y2, b_x2) = a, b

    def area(y1, x1, y2, x2):
        return (jnp.maximum(y2 - y1, 0) * y_unit) * (jnp.maximum(x2 - x1, 0) * x_unit)

    intersection = area(
        jnp.maximum(a_y1, b_y1), jnp.maximum(a_x1, b_x1), jnp.minimum(a_y2, b_y2), jnp.minimum(a_x2, b_x2)
    )
    return intersection, area(a_y1, a_x1, a_y2, a_x2) + area(b_y1, b_x1, b_y2, b_x2) - intersection


def sides(boxes: Float[Array, "*batch 4"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Height and width of each box, 0 where the corners are swapped."""
    y1, x1, y2, x2 = jnp.moveaxis(boxes, -1, 0)
    return jnp.maximum(y2 - y1, 0), jnp.maximum(x2 - x1, 0)


def unit_of(side: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Power of two that scales a length to between 1/2 and 1 without rounding."""
    side = lax.stop_gradient(side)  # a ratio of areas does not depend on the unit
    exponent = jnp.where(side > 0, jnp.frexp(side)[1], -125)
    return jnp.ldexp(jnp.ones_like(side), -jnp.clip(exponent, -125, 125))


@jax.custom_jvp
def safe_ratio(numerator: Array, denominator: Array) -> Array:
    """Ratio, 0 where the denominator is 0 and NaN where it is NaN."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


@safe_ratio.defjvp
def _ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """Derivative without the square of the denominator, which vanishes long before the denominator does."""
    ratio = safe_ratio(*primals)
    return ratio, safe_ratio(tangents[0] - ratio * tangents[1], primals[1])
