"""Soft non-maximum suppression: overlapping boxes lose score in place of being dropped."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    as_arrays,
    as_floats,
    as_mask,
    check_count,
    check_setting,
    exportable,
    take_rows,
)
from jaxssd.ops.boxes import box_iou

Decay = Callable[[Array, Array], Array]


@exportable
class SoftNMSResult(NamedTuple):
    """Indices and new scores of the boxes kept, by falling score; padding rows come last and are 0 / False."""

    indices: Int[Array, "D"]
    scores: Float[Array, "D"]
    valid: Bool[Array, "D"]


def soft_nms(
    boxes: Float[ArrayLike, "K 4"],
    scores: Float[ArrayLike, "K"],
    valid: Shaped[ArrayLike, "K"] | None = None,
    *,
    sigma: Number = 0.5,
    score_threshold: Number = 0.001,
    max_outputs: int = 100,
) -> SoftNMSResult:
    """Soft-NMS with Gaussian decay: the best box is taken, and scores of the others fall by exp(-IoU^2 / sigma).

    This repeats with the new scores, so a crowd of true objects loses no box. Each of the `max_outputs` steps is a pass
    over K boxes.

    Args:
        boxes: corners `[K, 4]`; a box with a NaN coordinate overlaps nothing.
        scores: `[K]`, 0 or more; a row whose score is NaN is ignored.
        valid: `[K]` mask of the rows to use, bool or nonzero for True; None uses all.
        sigma: width of the decay, above 0; a smaller one suppresses more. May be traced.
        score_threshold: new score above which a box is kept; may be traced.
        max_outputs: number `D` of rows returned, for any K.

    Returns:
        `SoftNMSResult(indices[D], scores[D], valid[D])`, best new score first; ties to the lowest index.

    Raises:
        ValueError: if shapes disagree, `sigma` is not above 0, `score_threshold` is NaN or `max_outputs` is not a
            positive int.

    Source:
        Bodla et al. 2017, arXiv:1704.04503, eq. 3 and figure 2.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0], [0.0, 2.0, 1.0, 3.0]])
        >>> found = soft_nms(boxes, jnp.array([0.9, 0.8, 0.5]), max_outputs=3)
        >>> found.indices, found.scores  # the last is 0.8 exp(-1/4 / 0.5)
        (Array([0, 2, 1], dtype=int32), Array([0.9       , 0.5       , 0.48522455], dtype=float32))
    """
    boxes, scores = as_arrays("soft_nms", boxes=(boxes, "K 4"), scores=(scores, "K"))
    known = ~jnp.isnan(scores)
    if valid is not None:
        _, valid = as_arrays("soft_nms", scores=(scores, "K"), valid=(valid, "K"))
        known &= as_mask(valid)
    decayed = gaussian_decay("soft_nms", sigma)
    check_setting("soft_nms", "score_threshold", score_threshold, lambda x: x == x, "a number")
    check_count("soft_nms", "max_outputs", max_outputs)
    # Masked first: other rows, NaN for example, reach no arithmetic.
    (scores,) = as_floats(jnp.where(known, scores, 0))
    (boxes,) = as_floats(jnp.where(known[:, None], boxes, 0))
    scores = jnp.where(known, scores, -jnp.inf)
    indices, found = best_in_turn(boxes, scores, decayed=decayed, max_outputs=max_outputs)
    kept = found > jnp.asarray(score_threshold, found.dtype)
    return SoftNMSResult(jnp.where(kept, indices, 0), jnp.where(kept, found, 0), kept)


def gaussian_decay(function: str, sigma: Number) -> Decay:
    """Scores that fall by exp(-IoU^2 / sigma), for `best_in_turn`."""
    check_setting(function, "sigma", sigma, lambda x: 0 < x < float("inf"), "a number above 0")
    return lambda scores, overlap: scores * jnp.exp(-(overlap**2) / jnp.asarray(sigma, scores.dtype))


def best_in_turn(
    boxes: Float[Array, "K 4"],
    scores: Float[Array, "K"],
    labels: Int[Array, "K"] | None = None,
    *,
    decayed: Decay,
    max_outputs: int,
) -> tuple[Int[Array, "D"], Float[Array, "D"]]:
    """Indices and decayed scores of the boxes in the order in which they are taken; -inf where none is left.

    The function `decayed(scores, overlap)` gives the scores of the boxes that are left once one is taken, from their
    IoU with it. With labels, only scores of the same class fall.
    """
    if scores.shape[0] == 0:
        return jnp.zeros(max_outputs, jnp.int32), jnp.full(max_outputs, -jnp.inf, scores.dtype)
    rows = jnp.arange(scores.shape[0], dtype=jnp.int32)
    never = jnp.any(boxes != boxes, axis=1) & False
    scores = jnp.where(never, 0, scores)  # changes nothing, but the loop state then varies as the boxes do

    def take(scores: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        best = jnp.argmax(scores).astype(jnp.int32)
        overlap = box_iou(take_rows(boxes, best[None]), boxes)[0]
        overlap = jnp.where(jnp.isnan(overlap), 0, overlap)
        if labels is not None:
            overlap = jnp.where(labels == take_rows(labels, best), overlap, 0)
        free = (rows != best) & (scores > -jnp.inf)  # -inf times a decay of 0 would be NaN
        left = jnp.where(free, decayed(jnp.where(free, scores, 0), overlap), -jnp.inf)
        return left, (best, take_rows(scores, best))

    return lax.scan(take, scores, None, length=max_outputs)[1]
