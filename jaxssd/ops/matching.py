"""Which anchor answers for which ground truth."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.boxes import box_iou

RULES = ("best_iou", "lesson")
FORCED_OVERLAP = 1.99  # the lesson's mark of a forced match: above any threshold
NO_OVERLAP = -1.0  # below what any real ground truth has


class Match(NamedTuple):
    """The ground truth of each anchor.

    Attributes:
        gt_index: `[A]` int32, row of the ground truth; meaningful where `positive`.
        overlap: `[A]`, IoU with that ground truth (1.99 where the lesson's rule forces the match).
        positive: `[A]` bool, the anchor learns that object; elsewhere it learns background.
    """

    gt_index: Int[Array, " A"]
    overlap: Float[Array, " A"]
    positive: Bool[Array, " A"]


class _Standing(NamedTuple):
    """Where each ground truth stands in deferred acceptance: with the anchor it has, or that last refused it."""

    anchor: Int[Array, " G"]
    overlap: Float[Array, " G"]
    seeking: Bool[Array, " G"]
    accepted: Bool[Array, " G"]


def match_anchors(
    anchor_corners: Float[ArrayLike, "A 4"],
    gt_boxes: Float[ArrayLike, "G 4"],
    gt_valid: Bool[ArrayLike, " G"],
    *,
    threshold: float = 0.4,
    rule: str = "best_iou",
) -> Match:
    """Match anchors to ground truths: those that overlap enough, and at least one for every ground truth.

    Both rules make an anchor positive when its IoU with some ground truth exceeds `threshold`, and give it the one it
    overlaps most. They differ in the anchors they force, so that no object goes unlearned:

    - `"best_iou"`: every valid ground truth owns an anchor while there are anchors left. Pairs are taken greedily,
      highest IoU first, each with a ground truth and an anchor that are still free; ties go to the lowest anchor, then
      to the ground truth whose coordinates come first in lexicographic order. So the order of the rows does not matter,
      and identical boxes are interchangeable.
    - `"lesson"`: the anchor that a ground truth overlaps most is its own. If several share a best anchor the last
      one has it, and the others own none. Ties go to the lowest anchor.

    Memory grows with `A + G`, not with their product: the IoUs of all pairs are never stored.

    Rows that are not valid take no part, whatever their coordinates. With no valid row every `gt_index` is 0, every
    `overlap` 0 and nothing is positive. No gradient flows through a match.

    Args:
        anchor_corners: corners `[A, 4]`.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_valid: `[G]`, which rows are real.
        threshold: IoU that makes an anchor positive when exceeded.
        rule: `"best_iou"` or `"lesson"`.

    Returns:
        `Match(gt_index, overlap, positive)`, each `[A]`.

    Raises:
        ValueError: if the rule is unknown or a shape does not fit.

    Source:
        `"lesson"`: fast.ai 2018, lesson 9, `map_to_ground_truth`. `"best_iou"`: the bipartite step of SSD
        (arXiv:1512.02325, section 2.2), solved by deferred acceptance (Gale and Shapley 1962): where both sides rank
        pairs alike, the greedy choice is the only stable matching.

    Example:
        >>> anchors = jnp.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]])
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]])
        >>> match_anchors(anchors, boxes, jnp.array([True, True])).gt_index
        Array([0, 1], dtype=int32)
        >>> match_anchors(anchors, boxes, jnp.array([True, True]), rule="lesson").gt_index
        Array([1, 0], dtype=int32)
    """
    check_shapes(
        "match_anchors", anchor_corners=(anchor_corners, "A 4"), gt_boxes=(gt_boxes, "G 4"), gt_valid=(gt_valid, "G")
    )
    if rule not in RULES:
        raise ValueError(f"match_anchors: `rule` is {rule!r}, expected one of {', '.join(map(repr, RULES))}")
    num_anchors, num_gt = len(anchor_corners), len(gt_boxes)
    if num_gt == 0:
        nothing = jnp.zeros(num_anchors)
        return Match(nothing.astype(jnp.int32), nothing, nothing > 0)

    valid = jnp.asarray(gt_valid)
    boxes = jnp.where(valid[:, None], as_float(gt_boxes), 0)
    order = jnp.lexsort(boxes.T[::-1]) if rule == "best_iou" else jnp.arange(num_gt)
    boxes, valid, anchors = lax.stop_gradient((boxes[order], valid[order], as_float(anchor_corners)))

    owner, owned_overlap = _owners(boxes, valid, anchors) if rule == "best_iou" else _last_best(boxes, valid, anchors)
    overlap, row = _highest(jnp.where(valid[:, None], box_iou(boxes, anchors), NO_OVERLAP), axis=0)
    forced = owner >= 0
    return Match(
        gt_index=order[jnp.where(forced, owner, row)].astype(jnp.int32),
        overlap=jnp.maximum(jnp.where(forced, owned_overlap, overlap), 0),
        positive=forced | (overlap > threshold),
    )


def _last_best(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], float]:
    """The last ground truth whose best anchor this is, or -1; a maximum, since a scatter's last write is undefined."""
    rows = jnp.arange(len(boxes), dtype=jnp.int32)
    boxes = lax.optimization_barrier(boxes)  # else XLA stores the IoUs, to use them again where it reduces over rows
    _, best = _highest(box_iou(boxes, anchors), axis=1)
    owner = jnp.full(len(anchors), -1, jnp.int32).at[jnp.where(valid, best, len(anchors))].max(rows, mode="drop")
    return owner, FORCED_OVERLAP


def _owners(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """The ground truth that owns each anchor, or -1, and their IoU: greedy by IoU, then anchor, then row.

    Deferred acceptance: in each round every ground truth without an anchor proposes to the best one that would take it,
    and each anchor keeps the best that it has been offered. An anchor only ever changes to a better ground truth, so
    this ends; typically after a handful of rounds, where greedy choice takes one for each ground truth.

    IoUs are computed anew in each round, inside the reduction that looks for the best offer, and compared with those
    that this same reduction found before. Elsewhere they may differ in the last bit.
    """
    num_anchors, rows = len(anchors), jnp.arange(len(boxes), dtype=jnp.int32)

    def owners(state: _Standing) -> tuple[Array, Array]:
        holds = ~state.seeking & (state.overlap >= 0)
        owner = jnp.full(num_anchors, -1, jnp.int32)
        owner = owner.at[jnp.where(holds, state.anchor, num_anchors)].set(rows, mode="drop")
        return owner, jnp.where(owner >= 0, state.overlap[owner], NO_OVERLAP)

    def play_round(state: _Standing) -> _Standing:
        owner, owned = owners(state)
        # Boxes that do not seek are hidden: so the IoUs change in each round, and XLA cannot store them for the loop.
        iou = box_iou(jnp.where(state.seeking[:, None], boxes, 0), anchors)
        accepted = (iou > owned[None, :]) | ((iou == owned[None, :]) & (rows[:, None] < owner[None, :]))
        offer, target = _highest(jnp.where(accepted & state.seeking[:, None], iou, NO_OVERLAP), axis=1)
        anchor = jnp.where(state.seeking, target, state.anchor)
        overlap = jnp.where(state.seeking, offer, state.overlap)

        better = (overlap[None, :] > overlap[:, None]) | (
            (overlap[None, :] == overlap[:, None]) & (rows[None, :] < rows[:, None])
        )
        beaten = jnp.any(better & (anchor[None, :] == anchor[:, None]), axis=1)
        return _Standing(anchor, overlap, seeking=beaten & (overlap >= 0), accepted=state.seeking & ~beaten)

    def unsettled(state: _Standing) -> Array:
        return jnp.any(state.seeking) & jnp.any(state.accepted)  # somebody always is; to ask makes the end certain

    nowhere = jnp.full(len(boxes), NO_OVERLAP, jnp.result_type(boxes, anchors))
    return owners(lax.while_loop(unsettled, play_round, _Standing(jnp.zeros_like(rows), nowhere, valid, valid)))


def _highest(values: Float[Array, "G A"], axis: int) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    """Maximum along an axis and its lowest index, as one reduction: XLA computes the values in it and stores none."""

    def better(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    indices = lax.broadcasted_iota(jnp.int32, values.shape, axis)
    nothing = np.array(-np.inf, values.dtype), np.array(values.shape[axis], np.int32)
    return lax.reduce((values, indices), nothing, better, (axis,))
