"""Which anchor answers for which ground truth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.boxes import box_iou

RULES = ("best_iou", "lesson")
FORCED_OVERLAP = 1.99  # the lesson's mark of a forced match: above any threshold


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
    iou = jax.lax.stop_gradient(box_iou(boxes[order], anchor_corners))
    iou = jnp.where(valid[order][:, None], iou, -1)  # below what any real ground truth has: no other mask is needed

    forced = _owners(iou) if rule == "best_iou" else _last_best(iou)
    row = jnp.where(forced >= 0, forced, jnp.argmax(iou, axis=0))
    overlap = jnp.take_along_axis(iou, row[None, :], axis=0)[0]
    positive = (forced >= 0) | (overlap > threshold)
    if rule == "lesson":
        overlap = jnp.where(forced >= 0, FORCED_OVERLAP, overlap)
    return Match(order[row].astype(jnp.int32), jnp.maximum(overlap, 0), positive)


def _last_best(iou: Float[Array, "G A"]) -> Int[Array, " A"]:
    """The last ground truth whose best anchor this is, or -1; a maximum, since a scatter's last write is undefined."""
    num_gt, num_anchors = iou.shape
    is_best = jnp.argmax(iou, axis=1)[:, None] == jnp.arange(num_anchors)[None, :]
    return jnp.max(jnp.where(is_best & (iou >= 0), jnp.arange(num_gt)[:, None], -1), axis=0)


def _owners(iou: Float[Array, "G A"]) -> Int[Array, " A"]:
    """The ground truth that owns each anchor, or -1: greedy by IoU, then anchor, then row.

    Deferred acceptance: in each round every ground truth without an anchor proposes to the best one that would take it,
    and each anchor keeps the best that it has been offered. An anchor only ever changes to a better ground truth, so
    this ends; typically after a handful of rounds, where greedy choice takes one for each ground truth.
    """
    num_gt, num_anchors = iou.shape
    rows = jnp.arange(num_gt, dtype=jnp.int32)[:, None]

    def play_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        owner, _ = state
        owned_iou = jnp.where(owner >= 0, jnp.take_along_axis(iou, owner[None, :], axis=0)[0], -1)
        free = (iou >= 0) & ~jnp.any(owner[None, :] == rows, axis=1, keepdims=True)
        earlier = (iou == owned_iou[None, :]) & (rows < owner[None, :])
        offer = jnp.where(free & (earlier | (iou > owned_iou[None, :])), iou, -1)
        target = jnp.argmax(offer, axis=1)[:, None] == jnp.arange(num_anchors)[None, :]
        proposal = jnp.where(target, offer, -1)
        winner = jnp.argmax(proposal, axis=0).astype(jnp.int32)
        improved = jnp.max(proposal, axis=0) >= 0
        return jnp.where(improved, winner, owner), jnp.any(improved)

    nobody = jnp.full(num_anchors, -1, jnp.int32)
    owner, _ = jax.lax.while_loop(lambda state: state[1], play_round, (nobody, jnp.array(True)))
    return owner
