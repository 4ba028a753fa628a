"""Box losses from overlap, row by row: generalized, distance and complete IoU."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxssd.ops.arrays import ArrayLike, as_arrays, as_floats
from jaxssd.ops.boxes import intersection_and_union, safe_ratio, sides, unit_of


def giou_loss(boxes: Float[ArrayLike, "*batch 4"], truth: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Generalized IoU loss of each box and its truth: 1 - IoU + share of the enclosing box that neither covers.

    Args:
        boxes: predicted corners `[..., 4]`.
        truth: true corners `[..., 4]`, one for each box.

    Returns:
        `[...]` in `[0, 2]`, 0 for equal boxes with area and 1 where not even the enclosing box has area. Gradients are
        finite for any finite boxes with sides of 0 or from 1e-20 on; a NaN coordinate gives NaN.

    Raises:
        ValueError: if the shapes differ or the last axis is not 4.

    Source:
        Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1. See `generalized_box_iou` for all pairs.

    Example:
        >>> giou_loss(jnp.array([0.0, 0.0, 1.0, 0.25]), jnp.array([0.0, 0.75, 1.0, 1.0]))
        Array(1.5, dtype=float32)
    """
    boxes, truth = _one_to_one("giou_loss", boxes, truth)
    height, width = sides(_hull(boxes, truth))
    units = unit_of(height), unit_of(width)
    _, union = intersection_and_union(_coordinates(boxes), _coordinates(truth), *units)
    hull = (height * units[0]) * (width * units[1])
    return 1 - _iou(boxes, truth) + safe_ratio(hull - union, hull)


def diou_loss(boxes: Float[ArrayLike, "*batch 4"], truth: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Distance IoU loss of each box and its truth: 1 - IoU + (distance of centres / diagonal of the enclosing box)^2.

    Args:
        boxes: predicted corners `[..., 4]`.
        truth: true corners `[..., 4]`, one for each box.

    Returns:
        `[...]` in `[0, 2]`, 0 for equal boxes with area. Gradients are as finite as those of `giou_loss`.

    Raises:
        ValueError: if the shapes differ or the last axis is not 4.

    Source:
        Zheng et al. 2020, arXiv:1911.08287, eq. 6 and 7.

    Example:
        >>> diou_loss(jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0, 2.0]))
        Array(1.25, dtype=float32)
    """
    boxes, truth = _one_to_one("diou_loss", boxes, truth)
    return 1 - _iou(boxes, truth) + _distance(boxes, truth)


def ciou_loss(boxes: Float[ArrayLike, "*batch 4"], truth: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Complete IoU loss of each box and its truth: distance IoU loss + weight x difference of the aspect ratios.

    With v = (2 / pi x difference of arctan(width / height))^2 the new term is v^2 / (1 - IoU + v). Its weight
    v / (1 - IoU + v) has no gradient, as in the paper.

    Args:
        boxes: predicted corners `[..., 4]`.
        truth: true corners `[..., 4]`, one for each box.

    Returns:
        `[...]`, 0 or more and below 3, 0 for equal boxes with area. Gradients are as finite as those of `giou_loss`.

    Raises:
        ValueError: if the shapes differ or the last axis is not 4.

    Source:
        Zheng et al. 2020, arXiv:1911.08287, eq. 8 to 11.

    Example:
        >>> ciou_loss(jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0, 2.0]))
        Array(1.25, dtype=float32)
    """
    boxes, truth = _one_to_one("ciou_loss", boxes, truth)
    miss = 1 - _iou(boxes, truth)
    difference = 2 / math.pi * (_angle(boxes) - _angle(truth))
    shape = difference * difference
    weight = lax.stop_gradient(safe_ratio(shape, miss + shape))
    return miss + _distance(boxes, truth) + weight * shape


BOX_LOSSES: dict[str, Callable[[Array, Array], Array] | None] = {
    "coder": None,
    "giou": giou_loss,
    "diou": diou_loss,
    "ciou": ciou_loss,
}
"""Box losses by the name that an option has for them; None is the box coder's own."""


def _one_to_one(function: str, boxes: Any, truth: Any) -> list[Float[Array, "*batch 4"]]:
    """Boxes and truth as floats of one shape; broadcasting would hide a missing axis."""
    boxes, truth = as_arrays(function, boxes=(boxes, "... 4"), truth=(truth, "... 4"))
    if boxes.shape != truth.shape:
        raise ValueError(f"{function}: `truth` has shape {truth.shape}, expected {boxes.shape} as `boxes`")
    return as_floats(boxes, truth)


def _coordinates(boxes: Float[Array, "*batch 4"]) -> Float[Array, "..."]:
    return jnp.moveaxis(boxes, -1, 0)


def _hull(a: Float[Array, "*batch 4"], b: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Smallest box that encloses both."""
    near, far = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    return jnp.concatenate([near, far], axis=-1)


def _iou(a: Float[Array, "*batch 4"], b: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """IoU in units of the longer side, so that areas neither vanish nor overflow."""
    units = (jnp.minimum(of_a, of_b) for of_a, of_b in zip(map(unit_of, sides(a)), map(unit_of, sides(b)), strict=True))
    return safe_ratio(*intersection_and_union(_coordinates(a), _coordinates(b), *units))


def _distance(a: Float[Array, "*batch 4"], b: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Squared distance of the centres over the squared diagonal of the enclosing box, in `[0, 1]`."""
    near, far = (  # also of boxes with swapped corners
        extreme(extreme(a[..., :2], a[..., 2:]), extreme(b[..., :2], b[..., 2:]))
        for extreme in (jnp.minimum, jnp.maximum)
    )
    height, width = jnp.moveaxis(far - near, -1, 0)
    unit = jnp.minimum(unit_of(height), unit_of(width))

    def squares(vertical: Array, horizontal: Array) -> Array:
        return (vertical * unit) ** 2 + (horizontal * unit) ** 2

    y, x, far_y, far_x = _coordinates(b - a) / 2
    return safe_ratio(squares(y + far_y, x + far_x), squares(height, width))


def _angle(boxes: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Angle arctan(width / height) of the diagonal; 0 with no gradient for a box that is a point."""
    height, width = sides(boxes)
    unit = jnp.minimum(unit_of(height), unit_of(width))
    height, width = height * unit, width * unit
    point = (height == 0) & (width == 0)
    return jnp.where(point, 0, jnp.arctan2(jnp.where(point, 0, width), jnp.where(point, 1, height)))
