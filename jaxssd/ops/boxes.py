"""Boxes are corners `[y1, x1, y2, x2]`, normalised to the image's height and width."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes


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
    check_shapes("box_area", boxes=(boxes, "... 4"))
    y1, x1, y2, x2 = jnp.moveaxis(as_float(boxes), -1, 0)
    return jnp.maximum(y2 - y1, 0) * jnp.maximum(x2 - x1, 0)


def box_iou(a: Float[ArrayLike, "N 4"], b: Float[ArrayLike, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union (the Jaccard index, the lesson's `jaccard`) of every box of `a` with every box of `b`.

    Args:
        a: corners `[N, 4]`.
        b: corners `[M, 4]`.

    Returns:
        `[N, M]` in `[0, 1]`; 0 where both boxes have no area. Gradients are finite everywhere.

    Raises:
        ValueError: if either argument is not `[boxes, 4]`.

    Example:
        >>> box_iou(jnp.array([[0.0, 0.0, 1.0, 0.5]]), jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]]))
        Array([[0.5, 0. ]], dtype=float32)
    """
    check_shapes("box_iou", a=(a, "N 4"), b=(b, "M 4"))
    a, b = as_float(a), as_float(b)
    intersection, union = _intersection_and_union(a, b)
    return _ratio(intersection, union)


def generalized_box_iou(a: Float[ArrayLike, "N 4"], b: Float[ArrayLike, "M 4"]) -> Float[Array, "N M"]:
    """IoU less the share of the common hull that neither covers (Rezatofighi et al. 2019, arXiv:1902.09630, alg. 1).

    Unlike IoU it still tells apart boxes that do not touch, which makes it usable as a loss.

    Args:
        a: corners `[N, 4]`.
        b: corners `[M, 4]`.

    Returns:
        `[N, M]` in `[-1, 1]`; 0 where even the hull has no area.

    Raises:
        ValueError: if either argument is not `[boxes, 4]`.

    Example:
        >>> generalized_box_iou(jnp.array([[0.0, 0.0, 1.0, 0.25]]), jnp.array([[0.0, 0.75, 1.0, 1.0]]))
        Array([[-0.5]], dtype=float32)
    """
    check_shapes("generalized_box_iou", a=(a, "N 4"), b=(b, "M 4"))
    a, b = as_float(a), as_float(b)
    intersection, union = _intersection_and_union(a, b)
    near = jnp.minimum(a[:, None, :2], b[None, :, :2])
    far = jnp.maximum(a[:, None, 2:], b[None, :, 2:])
    hull = box_area(jnp.concatenate([near, far], axis=-1))
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def to_corners(center_size: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """`[cy, cx, height, width]` to corners `[y1, x1, y2, x2]` (the lesson's `hw2corners`).

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
    check_shapes("to_corners", center_size=(center_size, "... 4"))
    center, size = jnp.split(as_float(center_size), 2, axis=-1)
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


def to_center_size(corners: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Corners `[y1, x1, y2, x2]` to `[cy, cx, height, width]`, the inverse of `to_corners`.

    Args:
        corners: `[..., 4]`.

    Returns:
        `[..., 4]`; sizes are negative where the corners are swapped.

    Raises:
        ValueError: if the last axis is not 4.

    Example:
        >>> to_center_size(jnp.array([0.0, 0.25, 1.0, 0.75]))
        Array([0.5, 0.5, 1. , 0.5], dtype=float32)
    """
    check_shapes("to_center_size", corners=(corners, "... 4"))
    near, far = jnp.split(as_float(corners), 2, axis=-1)
    return jnp.concatenate([(near + far) / 2, far - near], axis=-1)


def clip_boxes(boxes: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """The part of each box that lies inside the image.

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
    check_shapes("clip_boxes", boxes=(boxes, "... 4"))
    return jnp.clip(as_float(boxes), 0, 1)


def _intersection_and_union(a: Array, b: Array) -> tuple[Array, Array]:
    """In single coordinates: XLA computes these inside a reduction that follows, and would store a `[N, M, 4]`."""
    a_y1, a_x1, a_y2, a_x2 = a.T[:, :, None]
    b_y1, b_x1, b_y2, b_x2 = b.T[:, None, :]
    height = jnp.minimum(a_y2, b_y2) - jnp.maximum(a_y1, b_y1)
    width = jnp.minimum(a_x2, b_x2) - jnp.maximum(a_x1, b_x1)
    intersection = jnp.maximum(height, 0) * jnp.maximum(width, 0)
    union = box_area(a)[:, None] + box_area(b)[None, :] - intersection
    return intersection, union


def _ratio(numerator: Array, denominator: Array) -> Array:
    """0 where the denominator is 0; the inner `where` keeps the gradient of the branch not taken finite."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)
