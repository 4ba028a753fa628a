"""Matching of anchors with ground truths, by two rules."""

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
    check_count,
    check_setting,
    exportable,
    take_rows,
)
from jaxssd.ops.boxes import raw_iou
from jaxssd.ops.loops import repeat_until_settled

RULES = ("best_iou", "lesson")
FORCED_OVERLAP = 1.99  # overlap of a forced match in the lesson, above any threshold
NO_OVERLAP = -1.0  # below the overlap of any valid ground truth
TOGETHER = 4  # ground truths that propose in a round; few are left after the first one
ROUNDS = 16  # rounds in which several propose at once; more are rarely needed


@exportable
class Match(NamedTuple):
    """Ground truth matched with each anchor.

    Attributes:
        gt_index: `[A]` int32 row of the ground truth; meaningful where `positive`.
        overlap: `[A]` IoU with that ground truth (1.99 where the lesson's rule forces the match).
        positive: `[A]` bool, True for an anchor that is trained on that object, False for background.
    """

    gt_index: Int[Array, " A"]
    overlap: Float[Array, " A"]
    positive: Bool[Array, " A"]


class _Standing(NamedTuple):
    """State of each ground truth in deferred acceptance: its anchor, or the last anchor that it lost."""

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
    anchors_per_object: int = 1,
    min_iou: Number = 0.1,
) -> Match:
    """Match anchors with ground truths: all anchors above the IoU threshold, and one or more for every ground truth.

    An anchor is positive if its IoU with some ground truth exceeds `threshold`; it is matched with the one it overlaps
    most. Further anchors are forced to be positive, so that every object has one. The rules differ in these:

    - `"best_iou"`: every valid ground truth owns an anchor while one that overlaps it is left. Pairs of a free ground
      truth and a free anchor are taken greedily, highest IoU first. Ties go to the lowest anchor, then to the ground
      truth whose coordinates come first in lexicographic order: the order of the rows does not matter. A ground truth
      that overlaps no anchor, such as one without area or outside of the image, owns none: an anchor elsewhere could
      not learn it, and its loss would exceed that of all others.
    - `"lesson"`: a ground truth owns the anchor that it overlaps most, the lowest one on ties and at an IoU of 0. If
      several share a best anchor, the last one owns it and the others own none.

    With `anchors_per_object` = N above 1, the N anchors of highest IoU of each valid ground truth, the lowest ones on
    ties, are its candidates if their IoU exceeds `min_iou`. A candidate is positive below the threshold too: small
    objects, whose IoUs are all low, get several positive anchors. It is matched with the ground truth of highest IoU
    among those that have it as a candidate, unless another one owns it or exceeds `threshold` there.

    Memory grows with `A + G`: the IoUs of all pairs are never stored (with `anchors_per_object` above 1 they are, but
    only on a CPU). Time grows with `A x G`, and is a few times
    higher if many different objects have the same best anchors.

    Rows that are not valid are ignored, for any coordinates. With no valid row every `gt_index` is 0, every
    `overlap` 0 and nothing is positive. A valid box with a NaN coordinate overlaps nothing. A match has no gradient.

    Args:
        anchor_corners: corners `[A, 4]`.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_valid: `[G]` mask of the rows that are real, bool or nonzero for True.
        threshold: IoU above which an anchor is positive; may be traced.
        rule: `"best_iou"` or `"lesson"`.
        anchors_per_object: number of best anchors that are positive for each ground truth, 1 or more; only with
            `"best_iou"`.
        min_iou: IoU that these anchors must exceed; may be traced.

    Returns:
        `Match(gt_index, overlap, positive)`, each `[A]`.

    Raises:
        ValueError: if the rule is unknown, `threshold` or `min_iou` is NaN, `anchors_per_object` is not a positive
            number or above 1 with the lesson's rule, or a shape does not fit.

    Source:
        `"lesson"`: fast.ai 2018, lesson 9, `map_to_ground_truth`. `"best_iou"`: the bipartite step of SSD
        (arXiv:1512.02325, section 2.2), solved by deferred acceptance (Gale and Shapley 1962): where both sides rank
        pairs alike, the greedy choice is the only stable matching. `anchors_per_object`: the scale compensation of
        S3FD (arXiv:1708.05237, section 3.2), with its IoU of 0.1; there N is the mean number of anchors above the
        threshold, only faces with fewer positive anchors than N get more, and only free ones.

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
    check_setting("match_anchors", "min_iou", min_iou, lambda x: x == x, "a number")
    count = check_count("match_anchors", "anchors_per_object", anchors_per_object)
    if count > 1 and rule == "lesson":
        raise ValueError(
            f"match_anchors: `anchors_per_object` is {count} with rule='lesson', expected 1; use rule='best_iou'"
        )
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
    forced, positive = owner >= 0, iou > jnp.asarray(threshold, iou.dtype)
    if count > 1:
        from jaxssd.ops.top_anchors import best_candidates  # only some runs need it

        candidate_row, candidate_iou = best_candidates(boxes, anchors, count, jnp.asarray(min_iou, iou.dtype))
        added = ~positive & (candidate_row >= 0)
        row, iou = jnp.where(added, candidate_row, row), jnp.where(added, candidate_iou, iou)
        positive = positive | added
    return Match(
        gt_index=take_rows(order, jnp.where(forced, owner, row)),
        overlap=jnp.maximum(jnp.where(forced, owned_overlap, iou), 0),
        positive=forced | positive,
    )


def _last_best(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], float]:
    """Last ground truth whose best anchor this is, or -1, for each anchor."""
    boxes = lax.optimization_barrier(boxes)  # else XLA stores the IoUs for the other reduction
    _, best = _highest(raw_iou(boxes, anchors), axis=1)
    return _owner_of(jnp.where(valid, best, anchors.shape[0]), anchors), FORCED_OVERLAP


def _owners(
    boxes: Float[Array, "G 4"], valid: Bool[Array, " G"], anchors: Float[Array, "A 4"]
) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """Ground truth that owns each anchor, or -1, and their IoU: greedy by IoU, then anchor, then row.

    Deferred acceptance among pairs that overlap: every ground truth without an anchor proposes to the best anchor that
    would take it, and each anchor keeps its best proposal. An anchor only ever changes to a better ground truth, so
    this ends, and the order of the proposals makes no difference. In the first round all propose at once, one for
    identical boxes, which are neighbours here; in the next ones a few of those that are left. Then the rest propose one
    by one, best offer first, since a round for one is cheaper; identical boxes together, each to another anchor. Ground
    truths left after that overlap no free anchor.

    IoUs are computed in each round, inside the reduction that finds the best offer. Only IoUs from such reductions are
    compared with each other: elsewhere they may differ in the last bit.
    """
    # The first round starts from the boxes, not from constants, so that the loop state varies as they do.
    apart = lax.optimization_barrier(boxes)
    offer, anchor = _highest(raw_iou(jnp.where(valid[:, None], apart, 0), anchors), axis=1)
    overlapping = valid & (offer > 0)
    copy = jnp.all(boxes == jnp.roll(boxes, 1, axis=0), axis=1) & (_rows(boxes) > 0)
    nobody = overlapping & False
    first_round = _settle(_Standing(anchor, offer, nobody, nobody), overlapping & ~copy, anchor, offer)

    def play_round(standing: _Standing, boxes: Array, anchors: Array) -> _Standing:
        owner, owned = _held(standing, anchors)
        most = core.min_dim(boxes.shape[0], TOGETHER)
        _, row = lax.top_k(standing.seeking.astype(jnp.int32), most)  # the first that seek, then others
        iou = raw_iou(take_rows(boxes, row), anchors)
        accepted = (iou > owned[None, :]) | ((iou == owned[None, :]) & (row[:, None] < owner[None, :]))
        offer, target = _highest(jnp.where(accepted, iou, NO_OVERLAP), axis=1)
        rank = jnp.cumsum(standing.seeking, dtype=jnp.int32) - 1
        place = jnp.clip(rank, 0, most - 1)
        return _settle(standing, standing.seeking & (rank < most), take_rows(target, place), take_rows(offer, place))

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
    return _held(repeat_until_settled(somebody_seeks, serve_one, standing, boxes, anchors), anchors)


def _settle(
    standing: _Standing, proposing: Bool[Array, " G"], target: Int[Array, " G"], offer: Float[Array, " G"]
) -> _Standing:
    """Next state: each anchor keeps the best of its holder and its proposals; the other ground truths stay free."""
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
    """Ground truth that holds each anchor, or -1, and their IoU, or 0."""
    owner = _owner_of(jnp.where(standing.holds, standing.anchor, anchors.shape[0]), anchors)
    return owner, jnp.where(owner >= 0, standing.overlap[jnp.maximum(owner, 0)], 0)


def _owner_of(anchor: Int[Array, " G"], anchors: Float[Array, "A 4"]) -> Int[Array, " A"]:
    """Last row that has each anchor, or -1; a maximum, since a scatter's last write is undefined."""
    return jnp.full(anchors.shape[0] + 1, -1, jnp.int32).at[anchor].max(_rows(anchor))[:-1]


def _rows(of: Array) -> Int[Array, " G"]:
    return jnp.arange(of.shape[0], dtype=jnp.int32)


def _highest(values: Float[Array, "G A"], axis: int) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    """Maximum along an axis and its lowest index, in one reduction, so that XLA stores none of the values."""

    def better(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    indices = lax.broadcasted_iota(jnp.int32, values.shape, axis)
    nothing = np.array(-np.inf, values.dtype), np.array(np.iinfo(np.int32).max, np.int32)
    return lax.reduce((values, indices), nothing, better, (axis,))
