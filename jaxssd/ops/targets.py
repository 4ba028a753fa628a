"""Training targets of the anchors: ground truths matched, then gathered, one row per anchor."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, Float, Integer, Shaped

from jaxssd.ops.anchors import Anchors, with_anchors
from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_mask, check_setting, concrete, exportable, take_rows
from jaxssd.ops.matching import match_anchors


@exportable
class Targets(NamedTuple):
    """Training targets of every anchor of one image.

    Attributes:
        boxes: `[A, 4]` corners of the matched ground truth; the anchor's own corners where not `positive`.
        classes: `[A, C]` one-hot label of the matched ground truth; zeros, which are background, where not `positive`.
        positive: `[A]` bool, True for an anchor with a matched ground truth.
        ignored: `[A]` bool, True for an anchor that is neither positive nor background and has no loss; None for none.
    """

    boxes: Float[Array, "A 4"]
    classes: Float[Array, "A C"]
    positive: Bool[Array, " A"]
    ignored: Bool[Array, " A"] | None = None


def assign_targets(
    anchors: Anchors,
    gt_boxes: Float[ArrayLike, "G 4"],
    gt_labels: Integer[ArrayLike, " G"] | Sequence[Any],
    gt_valid: Shaped[ArrayLike, " G"] | Sequence[Any],
    *,
    num_classes: Any,
    threshold: Number = 0.4,
    rule: str = "best_iou",
    ignore_threshold: Number | None = None,
    anchors_per_object: int = 1,
    min_iou: Number = 0.1,
) -> Targets:
    """Training targets of one image: match the anchors, then give each its ground truth's box and one-hot label.

    Args:
        anchors: from `make_anchors` or `ssd300_anchors`.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_labels: `[G]` integers in `[0, C)`. A label outside that range in a valid row is an error outside of `jit`;
            where it is traced, `classes` is NaN and `jax.experimental.checkify` reports it (not on a mesh with Explicit
            axes).
        gt_valid: `[G]` mask of the rows that are real, bool or nonzero for True; other rows may hold anything.
        num_classes: C, an int or a symbolic size of `jax.export`.
        threshold: IoU above which an anchor is positive, see `match_anchors`; may be traced.
        rule: `"best_iou"` or `"lesson"`, see `match_anchors`.
        ignore_threshold: IoU from which an anchor that is not positive is ignored, RetinaNet's 0.4 below a `threshold`
            of 0.5; may be traced. None ignores no anchor.
        anchors_per_object: number of best anchors that are positive for each ground truth, see `match_anchors`.
        min_iou: IoU that these anchors must exceed, see `match_anchors`; may be traced.

    Returns:
        `Targets(boxes[A, 4], classes[A, C], positive[A], ignored[A])`; `ignored` is None without `ignore_threshold`.

    Raises:
        TypeError: if an argument is not an array of real numbers, `gt_labels` are not integers, or `anchors`
            is not `Anchors`.
        ValueError: if a shape does not fit, a label of a valid row lies outside `[0, C)`, `rule` is unknown, or
            `threshold` or `ignore_threshold` is NaN.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> box, label, valid = jnp.array([[0.0, 0.5, 0.5, 1.0]]), jnp.array([1]), jnp.array([True])
        >>> targets = assign_targets(anchors, box, label, valid, num_classes=3)
        >>> targets.positive, targets.classes[1]
        (Array([False,  True, False, False], dtype=bool), Array([0., 1., 0.], dtype=float32))
    """
    boxes, labels, valid = as_arrays(
        "assign_targets", gt_boxes=(gt_boxes, "G 4"), gt_labels=(gt_labels, "G"), gt_valid=(gt_valid, "G")
    )
    valid = as_mask(valid)
    # Masked first: padding, NaN for example, reaches no arithmetic.
    anchors, (boxes,) = with_anchors("assign_targets", anchors, gt_boxes=(jnp.where(valid[:, None], boxes, 0), "G 4"))
    labels, labels_known = _known_labels(labels, valid, num_classes, given=(gt_labels, gt_valid))
    match = match_anchors(
        anchors.corners,
        boxes,
        valid,
        threshold=threshold,
        rule=rule,
        anchors_per_object=anchors_per_object,
        min_iou=min_iou,
    )
    ignored = None
    if ignore_threshold is not None:
        check_setting("assign_targets", "ignore_threshold", ignore_threshold, lambda x: x == x, "a number, or None")
        ignored = ~match.positive & (match.overlap >= jnp.asarray(ignore_threshold, match.overlap.dtype))

    # One row of padding more, so that there is a row to gather where G = 0.
    matched = take_rows(jnp.pad(boxes, ((0, 1), (0, 0))), match.gt_index)
    label = jnp.where(match.positive, take_rows(jnp.pad(labels, (0, 1)), match.gt_index), -1)
    one_hot = (label[:, None] == jnp.arange(num_classes, dtype=jnp.int32)[None, :]).astype(boxes.dtype)
    return Targets(
        boxes=jnp.where(match.positive[:, None], matched, anchors.corners),
        classes=one_hot * jnp.where(labels_known, 1.0, jnp.nan).astype(boxes.dtype),
        positive=match.positive,
        ignored=ignored,
    )


def _known_labels(
    labels: Array, valid: Bool[Array, " G"], num_classes: Any, *, given: tuple[Any, Any]
) -> tuple[Integer[Array, " G"], Bool[Array, ""]]:
    """Labels as int32 with 0 in padding, and True if the others lie in `[0, C)`, which is checked where concrete."""
    if labels.shape[0] == 0:
        return labels.astype(jnp.int32), jnp.array(True)
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == bool):
        raise TypeError(f"assign_targets: `gt_labels` has dtype {labels.dtype}, expected integers")
    # `given` is looked at rather than the arrays: NumPy's int64 may hold what JAX's int32 cannot.
    known_labels, known_valid = map(concrete, given)
    both_concrete = known_labels is not None and known_valid is not None
    if known_labels is not None and known_valid is not None and isinstance(num_classes, int):
        real = known_labels[known_valid.astype(bool)].astype(np.int64)
        wrong = real[(real < 0) | (real >= num_classes)]
        if len(wrong):
            raise ValueError(
                f"assign_targets: `gt_labels` has {wrong[0]} in a valid row, expected labels in [0, {num_classes})"
            )
    labels = labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)
    known = jnp.all(~valid | ((labels >= 0) & (labels < num_classes)))
    # `checkify` of a batch would sort along the batch, which a mesh with Explicit axes refuses.
    if not both_concrete and jax.sharding.AxisType.Explicit not in jax.typeof(known).sharding.mesh.axis_types:
        checkify.debug_check(
            known, f"assign_targets: `gt_labels` has a label outside [0, {num_classes}) in a valid row"
        )
    return jnp.where(valid, labels, 0).astype(jnp.int32), known
