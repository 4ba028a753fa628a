"""Greedy non-maximum suppression as a fixed point: a few sweeps over one matrix instead of a step for each box."""

from typing import NamedTuple, TypeVar

import jax
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
from jaxssd.ops.loops import repeat_until_settled


@exportable
class NMSResult(NamedTuple):
    """Which of the given boxes are kept, in falling score; padding rows come last and are 0 / False."""

    indices: Int[Array, "D"]
    valid: Bool[Array, "D"]


@exportable
class Detections(NamedTuple):
    """What a detector reports for one image, in falling score; padding rows come last and are zeros / False."""

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
    """Exactly greedy non-maximum suppression: a box is dropped if a kept box of higher rank overlaps it too much.

    Rank is falling score, ties to the lowest index. "Too much" is strict, IoU > `iou_threshold`, as in the lesson and
    in torchvision. Memory is `[K, K]`: choose the candidates first where there are many thousands of boxes.

    Args:
        boxes: corners `[K, 4]`; a valid box with a NaN coordinate overlaps nothing.
        scores: `[K]`, any real scale; a row whose score is NaN takes no part.
        valid: `[K]`, the rows that take part, default all; bool, or not zero for True.
        iou_threshold: in `[0, 1]`; 1 suppresses nothing. May be traced.
        max_outputs: `D`, the number of rows returned, whatever K is.

    Returns:
        `NMSResult(indices[D], valid[D])`: the kept rows of `boxes`, best first.

    Raises:
        ValueError: if shapes disagree, `iou_threshold` lies outside `[0, 1]` or `max_outputs` is no positive int.

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
    # Masked first: what the other rows hold, NaN for example, reaches no arithmetic.
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
) -> Detections:
    """Detections of one image: the best (anchor, class) pairs, then greedy suppression within each class.

    The candidate cap is over **all classes together**, so a crowded class can use it up; with `max_candidates` at
    least A x C it never binds. Ties of score go to the lowest anchor, then to the lowest class. Classes are kept apart
    by comparing labels, not by moving the boxes of each class aside, which would cost the coordinates precision.

    Args:
        boxes: decoded corners `[A, 4]`, shared by all classes; returned as they are, not clipped. One with a NaN
            coordinate overlaps nothing.
        scores: `[A, C]`, for example the sigmoid of the class logits; a NaN is no candidate.
        iou_threshold: in `[0, 1]`; boxes of one class with a greater IoU suppress each other. May be traced.
        score_threshold: a pair is a candidate if its score is greater. May be traced.
        max_candidates: `K`, the number of best pairs that are compared; the cost grows with its square.
        max_outputs: `D`, the number of detections returned.

    Returns:
        `Detections(boxes[D, 4], scores[D], labels[D], valid[D])`, in falling score.

    Raises:
        ValueError: if shapes disagree, `iou_threshold` lies outside `[0, 1]`, `score_threshold` is NaN, or
            `max_candidates` or `max_outputs` is no positive int.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.9, 1.0]])
        >>> found = multiclass_nms(boxes, jnp.array([[0.9, 0.0], [0.8, 0.7]]), max_outputs=3)
        >>> found.scores, found.labels
        (Array([0.9, 0.7, 0. ], dtype=float32), Array([0, 1, 0], dtype=int32))
    """
    boxes, scores = as_arrays("multiclass_nms", boxes=(boxes, "A 4"), scores=(scores, "A C"))
    _check_limits("multiclass_nms", iou_threshold, max_candidates=max_candidates, max_outputs=max_outputs)
    check_setting("multiclass_nms", "score_threshold", score_threshold, lambda x: x == x, "a number")
    scores = _or_lowest(scores, ~jnp.isnan(scores))
    score_threshold = jnp.asarray(score_threshold, scores.dtype)
    # Masked first: what an anchor without a candidate holds, NaN for example, reaches no arithmetic.
    (boxes,) = as_floats(jnp.where(jnp.any(scores > score_threshold, axis=1, keepdims=True), boxes, 0))
    best, anchors, labels = _best_pairs(scores, max_candidates)
    candidates = take_rows(boxes, anchors)
    overlaps = _overlaps(candidates, iou_threshold) & (labels[:, None] == labels[None, :])
    kept = _sweep(overlaps, best > score_threshold)
    return _kept_first(Detections(candidates, best, labels, kept), max_outputs)


def _or_lowest(scores: Array, known: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Scores as floats, the lowest one where they are not known."""
    (floats,) = as_floats(jnp.where(known, scores, 0))
    return jnp.where(known, floats, -jnp.inf)


def _best_pairs(scores: Float[Array, "A C"], count: int) -> tuple[Float[Array, "K"], Int[Array, "K"], Int[Array, "K"]]:
    """The best pairs, `count` of them if there are as many: their scores, anchors and labels.

    They are looked for among the `count` anchors with the best score in any class, ties to the lowest anchor. The best
    pair of each of these ranks before every pair of any other anchor, by a higher score or else by a lower anchor. So a
    pair of another anchor has `count` pairs before it. In rising order of the anchors, ties remain as they were.
    """
    num_anchors = scores.shape[0]
    if not isinstance(num_anchors, int):  # a symbol of `jax.export`: as many rows more as `top_k` may need
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


def _overlaps(boxes: Float[Array, "K 4"], iou_threshold: Number) -> Bool[Array, "K K"]:
    iou = box_iou(boxes, boxes)
    return iou > jnp.asarray(iou_threshold, iou.dtype)


def _sweep(overlap: Bool[Array, "K K"], valid: Bool[Array, "K"]) -> Bool[Array, "K"]:
    """The rows that greedy suppression keeps, for rows that are already ranked best first.

    Greedy suppression is the recursion `kept[j] = valid[j] and no kept i < j overlaps j`. It fixes row 0, then row 1,
    and so on, so exactly one vector satisfies it for all rows at once: the fixed point of the sweep below is unique and
    it is the greedy answer. Call the depth of a row the longest chain of overlapping, ever better rows above it. A
    sweep gets every row right whose better neighbours are right already, so after n sweeps all rows down to depth n
    are final, whatever the start; one more sweep notices that nothing changes. That is K sweeps at the very worst and
    a handful for real boxes, each of them one pass over `[K, K]`.
    """
    suppresses = jnp.triu(overlap, k=1)  # [better, worse]
    valid |= jnp.any(suppresses, axis=0) & False  # nothing, but the loop carries what varies as the boxes do

    def changed(state):
        kept, previous = state
        return jnp.any(kept != previous)

    def sweep(state, valid, suppresses):
        kept, _ = state
        return valid & ~jnp.any(kept[:, None] & suppresses, axis=0), kept

    return repeat_until_settled(changed, sweep, (valid, valid & False), valid, suppresses)[0]


def _kept_first(rows: Rows, count: int) -> Rows:
    """The rows marked valid, in their order, cut or padded with zeros to `count`."""
    row_of_zeros = rows.valid.size
    source = jnp.nonzero(rows.valid, size=count, fill_value=row_of_zeros)[0]

    def take(column):
        return take_rows(jnp.concatenate([column, jnp.zeros_like(column, shape=(1, *column.shape[1:]))]), source)

    return jax.tree.map(take, rows)


def _check_limits(function: str, iou_threshold: Number, **counts: int) -> None:
    check_setting(function, "iou_threshold", iou_threshold, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    for name, count in counts.items():
        check_count(function, name, count)
