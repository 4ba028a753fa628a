"""Which anchor answers for which ground truth."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import core, lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    as_arrays,
    as_floats,
    as_mask,
    check_setting,
    exportable,
    take_rows,
)
from jaxssd.ops.boxes import raw_iou
from jaxssd.ops.loops import repeat_until_settled

RULES = ("best_iou", "lesson")
FORCED_OVERLAP = 1.99  # the lesson's mark of a forced match: above any threshold
NO_OVERLAP = -1.0  # below what any real ground truth has
ROUNDS = 8  # in which all propose at once; few objects that want the same anchors need more


@exportable
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
    """Where each ground truth stands in deferred acceptance: with the anchor it holds, or that last refused it."""

    anchor: Int[Array, " G"]
    overlap: Float[Array, " G"]
    holds: Bool[Array, " G"]
    seeking: Bool[Array, " G"]


def match_anchors(
    anchor_corners: Float[ArrayLike, "A 4"],
    gt_boxes: Float[ArrayLike, "G 4"],
    gt_valid: Shaped[ArrayLike, " G"],
    *,
    threshold: Number = 0.4,
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

    Memory grows with `A + G`, not with their product: the IoUs of all pairs are never stored. Time grows with their
    product, a few times over where many objects want the same anchors; identical ones are served together, and so are
    those that overlap no anchor.

    Rows that are not valid take no part, whatever their coordinates. With no valid row every `gt_index` is 0, every
    `overlap` 0 and nothing is positive. A valid box with a NaN coordinate overlaps nothing. No gradient flows through a
    match.

    Args:
        anchor_corners: corners `[A, 4]`.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_valid: `[G]`, which rows are real; bool, or not zero for True.
        threshold: IoU that makes an anchor positive when exceeded; may be traced.
        rule: `"best_iou"` or `"lesson"`.

    Returns:
        `Match(gt_index, overlap, positive)`, each `[A]`.

    Raises:
        ValueError: if the rule is unknown, `threshold` is NaN or a shape does not fit.

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
    anchors, boxes, valid = as_arrays(
        "match_anchors", anchor_corners=(anchor_corners, "A 4"), gt_boxes=(gt_boxes, "G 4"), gt_valid=(gt_valid, "G")
    )
    if rule not in RULES:
        raise ValueError(f"match_anchors: `rule` is {rule!r}, expected one of {', '.join(map(repr, RULES))}")
    check_setting("match_anchors", "threshold", threshold, lambda x: x == x, "a number")
    valid = as_mask(valid)
    anchors, boxes = lax.stop_gradient(as_floats(anchors, jnp.where(valid[:, None], boxes, 0)))
    if 0 in (boxes.shape[0], anchors.shape[0]):
        nothing = jnp.zeros_like(anchors[:, 0])
        return Match(nothing.astype(jnp.int32), nothing, nothing > 0)

    order = _rows(boxes)
    if rule == "best_iou":
        order = jnp.lexsort(boxes.T[::-1]).astype(jnp.int32)
        boxes, valid = take_rows(boxes, order), take_rows(valid, order)
    owner, owned_overlap = _owners(boxes, valid, anchors) if rule == "best_iou" else _last_best(boxes, valid, anchors)
    iou, row = _highest(jnp.where(valid[:, None], raw_iou(boxes, anchors), NO_OVERLAP), axis=0)
    forced = owner >= 0
    return Match(
        gt_index=take_rows(order, jnp.where(forced, owner, row)),
        overlap=jnp.maximum(jnp.where(forced, owned_overlap, iou), 0),
        positive=forced | (iou > jnp.asarray(threshold, iou.dtype)),
    )


def _last_best(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], float]:
    """The last ground truth whose best anchor this is, or -1."""
    boxes = lax.optimization_barrier(boxes)  # else XLA stores the IoUs, to use them again where it reduces over rows
    _, best = _highest(raw_iou(boxes, anchors), axis=1)
    return _owner_of(jnp.where(valid, best, anchors.shape[0]), anchors), FORCED_OVERLAP


def _owners(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """The ground truth that owns each anchor, or -1, and their IoU: greedy by IoU, then anchor, then row.

    Deferred acceptance, among pairs that overlap: every ground truth without an anchor proposes to the best one that
    would take it, and each anchor keeps the best that it has been offered. An anchor only ever changes to a better
    ground truth, so this ends, and who proposes when makes no difference. First come rounds in which all propose at
    once, but of identical boxes, which are neighbours here, only the first; typically a handful, where greedy choice
    takes one for each ground truth. Who is left then proposes one by one, the best offer first, since a round for one
    costs a share of a round for all; identical boxes together, each to another anchor.

    Whoever is left overlaps no free anchor. Such pairs are all equal, so that they are taken in the order of both.

    IoUs are computed anew in each round, inside the reduction that looks for the best offer, and compared with those
    that such a reduction found before. Elsewhere they may differ in the last bit.
    """
    # The first round starts from the boxes and not from constants, so that the loops carry what varies as these do.
    apart = lax.optimization_barrier(boxes)
    offer, anchor = _highest(raw_iou(jnp.where(valid[:, None], apart, 0), anchors), axis=1)
    overlapping = valid & (offer > 0)
    copy = jnp.all(boxes == jnp.roll(boxes, 1, axis=0), axis=1) & (_rows(boxes) > 0)
    nobody = overlapping & False
    first_round = _settle(_Standing(anchor, offer, nobody, nobody), overlapping & ~copy, anchor, offer)

    def play_round(standing: _Standing, boxes: Array, anchors: Array) -> _Standing:
        owner, owned = _held(standing, anchors)
        # Boxes that do not seek are hidden: so the IoUs change in each round, and XLA cannot store them for the loop.
        iou = raw_iou(jnp.where(standing.seeking[:, None], boxes, 0), anchors)
        accepted = (iou > owned[None, :]) | ((iou == owned[None, :]) & (_rows(boxes)[:, None] < owner[None, :]))
        offer, target = _highest(jnp.where(accepted, iou, NO_OVERLAP), axis=1)
        return _settle(standing, standing.seeking, target, offer)

    def serve_one(standing: _Standing, boxes: Array, anchors: Array) -> _Standing:
        rows, (owner, owned) = _rows(boxes), _held(standing, anchors)
        first = jnp.argmax(jnp.where(standing.seeking, standing.overlap, NO_OVERLAP - 1)).astype(jnp.int32)
        box = jnp.sum(jnp.where((rows == first)[:, None], boxes, 0), axis=0)
        copies = standing.seeking & jnp.all(boxes == box[None, :], axis=1)
        iou = raw_iou(box[None, :], anchors)[0]
        accepted = (iou > owned) | ((iou == owned) & (first < owner))
        most = core.min_dim(boxes.shape[0], anchors.shape[0])
        offers, targets = lax.top_k(jnp.where(accepted, iou, NO_OVERLAP), most)  # ties to the lowest anchor
        rank = jnp.cumsum(copies, dtype=jnp.int32) - 1
        offer = jnp.where(rank < most, offers[jnp.clip(rank, 0, most - 1)], NO_OVERLAP)
        return _settle(standing, copies, targets[jnp.clip(rank, 0, most - 1)], offer)

    def somebody_seeks(standing: _Standing) -> Bool[Array, ""]:
        return jnp.any(standing.seeking)

    def rounds_go_on(state: tuple[_Standing, Int[Array, ""]]) -> Bool[Array, ""]:
        return somebody_seeks(state[0]) & (state[1] < ROUNDS)

    def count_round(state: tuple[_Standing, Int[Array, ""]], *fixed: Array) -> tuple[_Standing, Int[Array, ""]]:
        return play_round(state[0], *fixed), state[1] + 1

    start = first_round, jnp.sum(nobody, dtype=jnp.int32)
    standing, _ = repeat_until_settled(rounds_go_on, count_round, start, boxes, anchors)
    standing = standing._replace(seeking=standing.seeking | (overlapping & copy))
    return _with_the_rest(repeat_until_settled(somebody_seeks, serve_one, standing, boxes, anchors), valid, anchors)


def _settle(
    standing: _Standing, proposing: Bool[Array, " G"], target: Int[Array, " G"], offer: Float[Array, " G"]
) -> _Standing:
    """Each anchor keeps the best of who holds it and who proposes to it; the others seek on, but without an offer."""
    rows = _rows(offer)
    anchor = jnp.where(proposing, target, standing.anchor)
    overlap = jnp.where(proposing, offer, standing.overlap)
    rivals = standing.holds | (proposing & (offer > 0))
    better = (overlap[None, :] > overlap[:, None]) | (
        (overlap[None, :] == overlap[:, None]) & (rows[None, :] < rows[:, None])
    )
    beaten = jnp.any(better & rivals[None, :] & (anchor[None, :] == anchor[:, None]), axis=1)
    seeking = (standing.seeking & ~proposing) | (rivals & beaten)
    return _Standing(anchor, overlap, holds=rivals & ~beaten, seeking=seeking)


def _held(standing: _Standing, anchors: Float[Array, "A 4"]) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """Who holds each anchor, or -1, and with which IoU, or 0."""
    owner = _owner_of(jnp.where(standing.holds, standing.anchor, anchors.shape[0]), anchors)
    return owner, jnp.where(owner >= 0, standing.overlap[jnp.maximum(owner, 0)], 0)


def _with_the_rest(
    standing: _Standing, valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """The same, once the ground truths that are left have taken the anchors that are free, both in their order."""
    owner, owned = _held(standing, anchors)
    left, free = valid & ~standing.holds, owner < 0
    first_left_first = jnp.argsort(~left, stable=True).astype(jnp.int32)
    place = jnp.where(free, jnp.cumsum(free, dtype=jnp.int32) - 1, 0)
    taken = free & (place < jnp.sum(left, dtype=jnp.int32))
    return jnp.where(taken, first_left_first[jnp.where(taken, place, 0)], owner), owned


def _owner_of(anchor: Int[Array, " G"], anchors: Float[Array, "A 4"]) -> Int[Array, " A"]:
    """The last row that has each anchor, or -1; a maximum, since a scatter's last write is undefined.

    A row without an anchor has the number behind the last one.
    """
    return jnp.full(anchors.shape[0] + 1, -1, jnp.int32).at[anchor].max(_rows(anchor))[:-1]


def _rows(of: Array) -> Int[Array, " G"]:
    return jnp.arange(of.shape[0], dtype=jnp.int32)


def _highest(values: Float[Array, "G A"], axis: int) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    """Maximum along an axis and its lowest index, as one reduction: XLA computes the values in it and stores none."""

    def better(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    indices = lax.broadcasted_iota(jnp.int32, values.shape, axis)
    nothing = np.array(-np.inf, values.dtype), np.array(np.iinfo(np.int32).max, np.int32)
    return lax.reduce((values, indices), nothing, better, (axis,))
