"""Box coders: a head's activations to boxes relative to the anchors, and back."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxssd.ops.anchors import Anchors, with_anchors
from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, concrete
from jaxssd.ops.boxes import to_center_size, to_corners

SMALLEST_SIZE = 1e-6  # encoded size of a box without height or width: its logarithm stays finite
LARGEST_LOG_RATIO = math.log(1000 / 16)  # torchvision's bound on a decoded size: its exponential stays finite


def decode_tanh(activations: Float[ArrayLike, "A 4"], anchors: Anchors) -> Float[Array, "A 4"]:
    """Boxes by the lesson's bounded decoding: centres move by at most half a cell, sizes by half of the anchor's.

    With t = tanh(activations): centre = anchor centre + t_yx / 2 x cell size, size = (1 + t_hw / 2) x anchor size.

    Args:
        activations: `[A, 4]`, the head's `(y, x, height, width)`.
        anchors: from `make_anchors` or `ssd300_anchors`.

    Returns:
        Corners `[A, 4]`, not clipped; zero activations give the anchors themselves.

    Raises:
        ValueError: if `activations` is not `[A, 4]`.

    Source:
        fast.ai 2018, lesson 9, `actn_to_bb`.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> decode_tanh(jnp.array([[0.0, 100.0, 0.0, -100.0]]), anchors)
        Array([[0.  , 0.75, 1.  , 1.25]], dtype=float32)
    """
    anchors, (activations,) = with_anchors("decode_tanh", anchors, activations=(activations, "A 4"))
    move, grow = jnp.split(jnp.tanh(activations) / 2, 2, axis=-1)
    center, size = jnp.split(anchors.center_size, 2, axis=-1)
    return to_corners(jnp.concatenate([center + move * anchors.cell_size, (1 + grow) * size], axis=-1))


def encode_offsets(
    boxes: Float[ArrayLike, "A 4"], anchors: Anchors, *, scales: Sequence[Number] | ArrayLike = (10.0, 10.0, 5.0, 5.0)
) -> Float[Array, "A 4"]:
    """Offsets of boxes from their anchors a: `[dy / h_a, dx / w_a, log(h / h_a), log(w / w_a)] x scales`.

    Args:
        boxes: corners `[A, 4]`, one for each anchor.
        anchors: from `make_anchors` or `ssd300_anchors`.
        scales: factors that bring the four offsets to about unit variance, the inverse of SSD's "prior variances"; may
            be traced.

    Returns:
        `[A, 4]`, finite: a side shorter than 1e-6 counts as 1e-6.

    Raises:
        ValueError: if `boxes` is not `[A, 4]` or `scales` are not four numbers above 0.

    Source:
        Faster R-CNN (Ren et al. 2015, arXiv:1506.01497, eq. 2); SSD (arXiv:1512.02325, eq. 2) and its published scales.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> encode_offsets(jnp.array([[0.25, 0.0, 1.25, 1.0]]), anchors)
        Array([[2.5, 0. , 0. , 0. ]], dtype=float32)
    """
    anchors, (boxes,) = with_anchors("encode_offsets", anchors, boxes=(boxes, "A 4"))
    factors = _factors("encode_offsets", scales).astype(boxes.dtype)
    center, size = jnp.split(to_center_size(boxes), 2, axis=-1)
    anchor_center, anchor_size = jnp.split(anchors.center_size, 2, axis=-1)
    move = (center - anchor_center) / anchor_size
    grow = jnp.log(jnp.maximum(size, SMALLEST_SIZE) / anchor_size)
    return jnp.concatenate([move, grow], axis=-1) * factors


def decode_offsets(
    offsets: Float[ArrayLike, "A 4"], anchors: Anchors, *, scales: Sequence[Number] | ArrayLike = (10.0, 10.0, 5.0, 5.0)
) -> Float[Array, "A 4"]:
    """Boxes from their offsets, the inverse of `encode_offsets`.

    Sizes are at most 1000 / 16 = 62.5 times the anchor's, as in torchvision, so that neither the box nor its gradient
    overflows.

    Args:
        offsets: `[A, 4]`, the head's activations.
        anchors: from `make_anchors` or `ssd300_anchors`.
        scales: factors of the encoding; may be traced.

    Returns:
        Corners `[A, 4]`, not clipped; zero offsets give the anchors themselves.

    Raises:
        ValueError: if `offsets` is not `[A, 4]` or `scales` are not four numbers above 0.

    Source:
        Faster R-CNN (arXiv:1506.01497, eq. 2); the bound from `torchvision.models.detection`.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> decode_offsets(jnp.array([[2.5, 0.0, 0.0, 0.0]]), anchors)
        Array([[0.25, 0.  , 1.25, 1.  ]], dtype=float32)
    """
    anchors, (offsets,) = with_anchors("decode_offsets", anchors, offsets=(offsets, "A 4"))
    factors = _factors("decode_offsets", scales).astype(offsets.dtype)
    move, grow = jnp.split(offsets / factors, 2, axis=-1)
    center, size = jnp.split(anchors.center_size, 2, axis=-1)
    growth = jnp.exp(jnp.minimum(grow, LARGEST_LOG_RATIO))
    return to_corners(jnp.concatenate([center + move * size, growth * size], axis=-1))


def _factors(function: str, scales: Sequence[Number] | ArrayLike) -> Float[Array, "1 4"]:
    (factors,) = as_arrays(function, scales=(scales, "4"))
    known = concrete(scales)
    if known is not None and not (np.isfinite(known).all() and (known > 0).all()):
        raise ValueError(f"{function}: `scales` are {scales}, expected four numbers above 0")
    return factors[None, :]


class BoxCoder(NamedTuple):
    """Pair of functions between boxes and a head's box activations, both of `(array[A, 4], anchors)`.

    Attributes:
        encode: corners to the activations that would decode to them; the loss then compares activations. None compares
            decoded boxes with true ones.
        decode: activations to corners.
        loss: loss of each activation's error where the loss compares activations; None is smooth L1.
    """

    encode: Callable[[Array, Anchors], Array] | None
    decode: Callable[[Array, Anchors], Array]
    loss: Callable[[Array], Array] | None = None


TANH_CODER = BoxCoder(encode=None, decode=decode_tanh)
"""The lesson's: bounded moves, compared as boxes."""

OFFSET_CODER = BoxCoder(encode=encode_offsets, decode=decode_offsets)
"""Faster R-CNN's and SSD's offsets with the default scales."""

_ONES = (1.0, 1.0, 1.0, 1.0)
PLAIN_OFFSET_CODER = BoxCoder(
    encode=partial(encode_offsets, scales=_ONES), decode=partial(decode_offsets, scales=_ONES), loss=jnp.abs
)
"""Faster R-CNN's offsets without scales and their L1 loss, as in torchvision's RetinaNet."""

BOX_CODERS = {"tanh": TANH_CODER, "offsets": OFFSET_CODER, "plain_offsets": PLAIN_OFFSET_CODER}
"""Box coders by the name that an option has for them."""
