"""Non-maximum suppression (NMS), greedy, as a fixed point: a few sweeps over a matrix, not a step for each box."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
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
from jaxssd.ops.boxes import box_iou
from jaxssd.ops.loops import repeat_until_settled
from jaxssd.ops.soft_nms import Decay, best_in_turn, gaussian_decay


@exportable
class NMSResult(NamedTuple):
    """Indices of the boxes kept, by falling score; padding rows come last and are 0 / False."""

    indices: Int[Array, "D"]
    valid: Bool[Array, "D"]


@exportable
class Detections(NamedTuple):
    """Detections of one image, by falling score; padding rows come last and are zeros / False."""

    boxes: Float[Array, "D 4"]
    scores: Float[Array, "D"]
    labels: Int[Array, "D"]
    valid: Bool[Array, "D"]


Rows = TypeVar("Rows", NMSResult, Detections)


def nms(
    boxes: Float[ArrayLike, "K 4"],
    scores: Float[ArrayLike, "K"],
    valid: Shaped[ArrayLike, "K"] | None = None,
    *,
    iou_threshold: Number = 0.45,
    max_outputs: int = 100,
) -> NMSResult:
    """Non-maximum suppression, greedy: drop a box if a kept box of higher rank has an IoU > `iou_threshold` with it.

    Rank is falling score, ties to the lowest index. The comparison is strict, as in the lesson and in torchvision.
    Memory is `[K, K]`: for many thousands of boxes, select candidates first.

    Args:
        boxes: corners `[K, 4]`; a valid box with a NaN coordinate overlaps nothing.
        scores: `[K]` on any real scale; a row whose score is NaN is ignored.
        valid: `[K]` mask of the rows to use, bool or nonzero for True; None uses all.
        iou_threshold: IoU in `[0, 1]` above which a box is suppressed; 1 suppresses nothing. May be traced.
        max_outputs: number `D` of rows returned, for any K.

    Returns:
        `NMSResult(indices[D], valid[D])`, the kept rows of `boxes`, best first.

    Raises:
        ValueError: if shapes disagree, `iou_threshold` lies outside `[0, 1]` or `max_outputs` is not a positive int.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 0.9, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.2, 0.2]])
        >>> nms(boxes, jnp.array([0.8, 0.9, 0.3]), max_outputs=3)
        NMSResult(indices=Array([1, 2, 0], dtype=int32), valid=Array([ True,  True, False], dtype=bool))
    """
    boxes, scores = as_arrays("nms", boxes=(boxes, "K 4"), scores=(scores, "K"))
    known = ~jnp.isnan(scores)
    if valid is not None:
        _, valid = as_arrays("nms", scores=(scores, "K"), valid=(valid, "K"))
        known &= as_mask(valid)
    _check_limits("nms", iou_threshold, max_outputs=max_outputs)
    # Masked first: other rows, NaN for example, reach no arithmetic.
    scores = _or_lowest(scores, known)
    (boxes,) = as_floats(jnp.where(known[:, None], boxes, 0))
    order = jnp.argsort(scores, stable=True, descending=True).astype(jnp.int32)
    kept = _sweep(_overlaps(boxes[order], iou_threshold), known[order])
    return _kept_first(NMSResult(order, kept), max_outputs)


def multiclass_nms(
    boxes: Float[ArrayLike, "A 4"],
    scores: Float[ArrayLike, "A C"],
    *,
    iou_threshold: Number = 0.45,
    score_threshold: Number = 0.01,
    max_candidates: int = 200,
    max_outputs: int = 100,
    max_candidates_per_class: int | None = None,
    soft_sigma: Number | None = None,
    max_candidates_per_level: int | None = None,
    level_sizes: Sequence[int] | None = None,
) -> Detections:
    """Detections of one image: the best (anchor, class) pairs, then greedy suppression within each class.

    The limit on candidates is over **all classes together**, so a crowded class can use it up: with
    `max_candidates_per_class` each class has its own, with `max_candidates_per_level` each level of a pyramid. Ties of
    score go to the lowest anchor, then to the lowest class; with a limit per class to the lowest class first, with one
    per level to the first level. Classes are kept apart by their labels, not by moved boxes, which would lose
    precision.

    Args:
        boxes: decoded corners `[A, 4]`, shared by all classes; not clipped. One with a NaN coordinate overlaps nothing.
        scores: `[A, C]`, such as the sigmoid of the class logits; a NaN is not a candidate.
        iou_threshold: IoU in `[0, 1]` above which boxes of one class suppress each other; may be traced.
        score_threshold: score above which a pair is a candidate; may be traced.
        max_candidates: number `K` of best pairs that are compared; the cost grows with its square.
        max_outputs: number `D` of detections returned.
        max_candidates_per_class: number `K` of best anchors of each class that are compared, in place of
            `max_candidates`; torchvision's SSD has 400. They are compared in blocks, best first, until `max_outputs`
            are kept, so many of them cost little.
        soft_sigma: width of Gaussian soft-NMS, see `soft_nms`, in place of suppression at `iou_threshold`; detections
            then have lower scores. None suppresses. May be traced.
        max_candidates_per_level: number of best pairs of each level that are compared, in place of `max_candidates`;
            torchvision's RetinaNet has 1,000. Boxes are then taken one after the other, in `max_outputs` steps over all
            candidates, so many of them cost little.
        level_sizes: number of anchors of each level, in their order, with a sum of A; needed for that.

    Returns:
        `Detections(boxes[D, 4], scores[D], labels[D], valid[D])`, by falling score.

    Raises:
        ValueError: if shapes disagree, `iou_threshold` lies outside `[0, 1]`, `score_threshold` is NaN, `soft_sigma` is
            not above 0, a limit is not a positive int, there are two limits in place of `max_candidates`, or
            `level_sizes` do not sum to A.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.9, 1.0]])
        >>> found = multiclass_nms(boxes, jnp.array([[0.9, 0.0], [0.8, 0.7]]), max_outputs=3)
        >>> found.scores, found.labels
        (Array([0.9, 0.7, 0. ], dtype=float32), Array([0, 1, 0], dtype=int32))
    """
    boxes, scores = as_arrays("multiclass_nms", boxes=(boxes, "A 4"), scores=(scores, "A C"))
    counts = {"max_candidates": max_candidates, "max_outputs": max_outputs}
    if max_candidates_per_class is not None:
        counts["max_candidates_per_class"] = max_candidates_per_class
    if max_candidates_per_level is not None:
        counts["max_candidates_per_level"] = max_candidates_per_level
        _check_levels(level_sizes, scores.shape[0], per_class=max_candidates_per_class)
    _check_limits("multiclass_nms", iou_threshold, **counts)
    check_setting("multiclass_nms", "score_threshold", score_threshold, lambda x: x == x, "a number")
    scores = _or_lowest(scores, ~jnp.isnan(scores))
    score_threshold = jnp.asarray(score_threshold, scores.dtype)
    # Masked first: anchors without a candidate, NaN for example, reach no arithmetic.
    (boxes,) = as_floats(jnp.where(jnp.any(scores > score_threshold, axis=1, keepdims=True), boxes, 0))
    if max_candidates_per_level is not None:
        best, anchors, labels = _best_of_each_level(scores, max_candidates_per_level, level_sizes or ())
    elif max_candidates_per_class is None:
        best, anchors, labels = _best_pairs(scores, max_candidates)
    else:
        best, anchors, labels = _best_of_each_class(scores, max_candidates_per_class)
    candidates = Detections(take_rows(boxes, anchors), best, labels, best > score_threshold)
    if soft_sigma is not None:
        decayed = gaussian_decay("multiclass_nms", soft_sigma)
        return _in_turn(_flat(candidates), decayed, score_threshold, max_outputs)
    if max_candidates_per_level is not None:
        return _in_turn(candidates, _suppression(iou_threshold), score_threshold, max_outputs)
    if max_candidates_per_class is None:
        overlaps = _overlaps(candidates.boxes, iou_threshold) & (labels[:, None] == labels[None, :])
        return _kept_first(candidates._replace(valid=_sweep(overlaps, candidates.valid)), max_outputs)
    return _in_blocks(_flat(candidates), iou_threshold, max_outputs)


def _or_lowest(scores: Array, known: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Scores as floats, -inf where they are not known."""
    (floats,) = as_floats(jnp.where(known, scores, 0))
    return jnp.where(known, floats, -jnp.inf)


def _best_pairs(scores: Float[Array, "A C"], count: int) -> tuple[Float[Array, "K"], Int[Array, "K"], Int[Array, "K"]]:
    """Scores, anchors and labels of the best pairs, `count` of them if there are as many.

    Only the `count` anchors with the best score in any class are searched, ties to the lowest anchor: the best pair of
    each ranks before every pair of any other anchor. In rising order of the anchors, ties stay in place.
    """
    num_anchors = scores.shape[0]
    if not isinstance(num_anchors, int):  # symbolic in `jax.export`: pad by what `top_k` may need
        scores = jnp.pad(scores, ((0, count), (0, 0)), constant_values=-jnp.inf)
        num_anchors += count
    if num_anchors <= count:
        return _best_of_all(scores, count)
    anchors = jnp.sort(lax.top_k(jnp.max(scores, axis=1), count)[1])
    best, position, labels = _best_of_all(scores[anchors], count)
    return best, anchors[position], labels


def _best_of_all(scores: Float[Array, "A C"], count: int) -> tuple[Array, Array, Array]:
    best, pair = lax.top_k(scores.reshape(-1), min(count, scores.size))
    return best, *jnp.divmod(pair, scores.shape[1])


def _best_of_each_class(
    scores: Float[Array, "A C"], count: int
) -> tuple[Float[Array, "C K"], Int[Array, "C K"], Int[Array, "C K"]]:
    """Scores, anchors and labels of the best anchors of each class, ties to the lowest anchor."""
    best, anchors = lax.top_k(scores.T, core.min_dim(count, scores.shape[0]))
    return best, anchors, lax.broadcasted_iota(jnp.int32, anchors.shape, 0)


def _best_of_each_level(
    scores: Float[Array, "A C"], count: int, level_sizes: Sequence[int]
) -> tuple[Float[Array, "K"], Int[Array, "K"], Int[Array, "K"]]:
    """Scores, anchors and labels of the best pairs of each level, one level after the other."""
    starts = [sum(level_sizes[:level]) for level in range(len(level_sizes))]
    found = []
    for start, size in zip(starts, level_sizes, strict=True):
        best, anchors, labels = _best_pairs(lax.slice_in_dim(scores, start, start + size), count)
        found.append((best, anchors + start, labels))
    best, anchors, labels = (jnp.concatenate(column) for column in zip(*found, strict=True))
    return best, anchors, labels


def _flat(candidates: Detections) -> Detections:
    """Candidates of all classes in one axis."""
    return jax.tree.map(lambda x: x.reshape(-1, 4) if x is candidates.boxes else x.reshape(-1), candidates)


def _in_turn(candidates: Detections, decayed: Decay, score_threshold: Array, count: int) -> Detections:
    """Detections taken best first, the scores of others in their class falling by `decayed`."""
    boxes, scores, labels, valid = candidates
    if valid.shape[0] == 0:
        return _kept_first(candidates, count)
    scores = jnp.where(valid, scores, -jnp.inf)
    order, found = best_in_turn(boxes, scores, labels, decayed=decayed, max_outputs=count)
    ranked = jax.tree.map(lambda column: take_rows(column, order), candidates)
    return _kept_first(ranked._replace(scores=found, valid=found > score_threshold), count)


def _suppression(iou_threshold: Number) -> Decay:
    """Greedy suppression, for `best_in_turn`."""
    return lambda scores, overlap: jnp.where(overlap > jnp.asarray(iou_threshold, overlap.dtype), -jnp.inf, scores)


def _in_blocks(candidates: Detections, iou_threshold: Number, count: int) -> Detections:
    """Detections that greedy suppression within each class keeps, `count` of them, from very many candidates.

    Blocks of the ranking are compared with the boxes kept so far and with themselves, until enough are kept: nothing of
    lower rank can change these.
    """
    size = candidates.valid.size
    if size == 0:
        return _kept_first(candidates, count)
    order = jnp.argsort(jnp.where(candidates.valid, -candidates.scores, jnp.inf), stable=True)
    ranked = jax.tree.map(lambda column: take_rows(column, order), candidates)
    block = jnp.arange(2 * count, dtype=jnp.int32)

    def unfinished(state):
        kept, end, num_valid = state
        return ~kept.valid[-1] & (end < num_valid)

    def compare_block(state, boxes, labels, iou_threshold):
        kept, end, num_valid = state
        rows = jnp.concatenate([kept.indices, jnp.minimum(end + block, size - 1)])
        valid = jnp.concatenate([kept.valid, end + block < num_valid])
        labels = take_rows(labels, rows)
        overlaps = _overlaps(take_rows(boxes, rows), iou_threshold) & (labels[:, None] == labels[None, :])
        return _kept_first(NMSResult(rows, _sweep(overlaps, valid)), count), end + block.size, num_valid

    iou_threshold = jnp.asarray(iou_threshold, ranked.boxes.dtype)
    inputs = lax.stop_gradient((ranked.boxes, ranked.labels, iou_threshold))
    never = jnp.any(ranked.boxes > iou_threshold) & False  # the loop state then varies as boxes and threshold do
    num_valid = jnp.sum(ranked.valid | never, dtype=jnp.int32)
    zero = num_valid & 0
    nothing = jnp.zeros(count, jnp.int32) + zero
    start = (NMSResult(nothing, nothing > 0), zero, num_valid)
    kept, _, _ = repeat_until_settled(unfinished, compare_block, start, *inputs)
    found = jax.tree.map(lambda column: take_rows(column, kept.indices), ranked)
    return _kept_first(found._replace(valid=kept.valid), count)


def _overlaps(boxes: Float[Array, "K 4"], iou_threshold: Number) -> Bool[Array, "K K"]:
    iou = box_iou(boxes, boxes)
    return iou > jnp.asarray(iou_threshold, iou.dtype)


def _sweep(overlap: Bool[Array, "K K"], valid: Bool[Array, "K"]) -> Bool[Array, "K"]:
    """Rows that greedy suppression keeps, for rows that are already ranked best first.

    Greedy suppression is the recursion `kept[j] = valid[j] and no kept i < j overlaps j`. It fixes row 0, then row 1,
    and so on, so exactly one vector satisfies it: the fixed point of the sweep below is unique and it is the greedy
    result. Call the depth of a row the longest chain of overlapping, ever better rows above it. After n sweeps all rows
    down to depth n are final, for any start. One more sweep changes nothing and ends the loop. This takes at most K
    sweeps, and a few for real boxes; each is one pass over `[K, K]`.
    """
    suppresses = jnp.triu(overlap, k=1)  # [better, worse]
    valid |= jnp.any(suppresses, axis=0) & False  # changes nothing, but the loop state then varies as the boxes do

    def changed(state):
        kept, previous = state
        return jnp.any(kept != previous)

    def sweep(state, valid, suppresses):
        kept, _ = state
        return valid & ~jnp.any(kept[:, None] & suppresses, axis=0), kept

    return repeat_until_settled(changed, sweep, (valid, valid & False), valid, suppresses)[0]


def _kept_first(rows: Rows, count: int) -> Rows:
    """Valid rows in their order, cut or padded with zeros to `count`."""
    row_of_zeros = rows.valid.size
    source = jnp.nonzero(rows.valid, size=count, fill_value=row_of_zeros)[0]

    def take(column):
        return take_rows(jnp.concatenate([column, jnp.zeros_like(column, shape=(1, *column.shape[1:]))]), source)

    return jax.tree.map(take, rows)


def _check_limits(function: str, iou_threshold: Number, **counts: int) -> None:
    check_setting(function, "iou_threshold", iou_threshold, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    for name, count in counts.items():
        check_count(function, name, count)


def _check_levels(level_sizes: Sequence[int] | None, num_anchors: int, *, per_class: int | None) -> None:
    if per_class is not None:
        raise ValueError(
            "multiclass_nms: `max_candidates_per_class` and `max_candidates_per_level` are both given, expected one"
        )
    if not level_sizes or sum(level_sizes) != num_anchors or min(level_sizes) < 1:
        raise ValueError(
            f"multiclass_nms: `level_sizes` is {level_sizes}, expected the number of anchors of each level, "
            f"{num_anchors} in all, with `max_candidates_per_level`"
        )
