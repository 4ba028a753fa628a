"""The detector's loss for one image."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import checkify
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from jaxssd.ops.anchors import Anchors, with_anchors
from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    as_arrays,
    as_floats,
    as_mask,
    check_setting,
    concrete,
    exportable,
    take_rows,
)
from jaxssd.ops.box_coder import decode_tanh
from jaxssd.ops.losses import focal_loss, hard_negative_mask
from jaxssd.ops.matching import match_anchors

Normalizer = Literal["classes", "positives"]


@exportable
class SSDLoss(NamedTuple):
    """The loss of one image and its parts, scalars.

    Attributes:
        total: `localization + classification`.
        localization: mean over the positive anchors: of a corner coordinate's absolute error, or with `encode` of the
            smooth L1 of the four offsets.
        classification: sum over anchors and classes, divided by the number of classes or of positive anchors.
        num_positive: int32, positive anchors.
    """

    total: Float[Array, ""]
    localization: Float[Array, ""]
    classification: Float[Array, ""]
    num_positive: Int[Array, ""]


def ssd_loss(
    class_logits: Float[ArrayLike, "A C"],
    box_activations: Float[ArrayLike, "A 4"],
    gt_boxes: Float[ArrayLike, "G 4"],
    gt_labels: Integer[ArrayLike, " G"],
    gt_valid: Shaped[ArrayLike, " G"],
    anchors: Anchors,
    *,
    class_loss: Callable[[Array, Array], Array] = focal_loss,
    decode: Callable[[Array, Anchors], Array] = decode_tanh,
    encode: Callable[[Array, Anchors], Array] | None = None,
    negative_ratio: Number | None = None,
    normalizer: Normalizer = "classes",
    threshold: Number = 0.4,
    rule: str = "best_iou",
) -> SSDLoss:
    """Single-shot detection loss of one image: match the anchors, then judge boxes and classes (vmap it over a batch).

    localization = mean |decoded - truth| over positive anchors and four coordinates, 0 if no anchor is positive;
    classification = sum over anchors and classes of `class_loss(logits, one-hot target)`, divided by C. The target of
    an anchor that is not positive is zero for every class: background is the absence of a label. The lesson's numbers
    come with `rule="lesson"`; its batch loss is the sum over images.

    SSD300's loss, but with a sigmoid for each class in place of the softmax, takes `class_loss=bce_loss`,
    `encode=encode_offsets`, `negative_ratio=3`, `normalizer="positives"` and `threshold=0.5`. Then localization = mean
    over positive anchors of sum of smooth L1(activations - encoded truth), with smooth L1(x) = x^2 / 2 where |x| <= 1,
    |x| - 1/2 beyond. An image without objects has a loss of 0. RetinaNet's classification is focal loss with
    `normalizer="positives"` alone.

    Args:
        class_logits: `[A, C]`.
        box_activations: `[A, 4]`, what `decode` understands or `encode` gives.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_labels: `[G]` integers in `[0, C)`. Another label in a valid row is an error outside of `jit`; where it is
            traced, loss and gradient are NaN, and `jax.experimental.checkify` finds it (not on a mesh with Explicit
            axes).
        gt_valid: `[G]`, which rows are real; bool, or not zero for True. The others may hold anything.
        anchors: of `make_anchors` or `ssd300_anchors`.
        class_loss: elementwise and not reduced, such as `focal_loss` or `bce_loss`; `functools.partial` sets their
            parameters.
        decode: `decode_tanh` or `decode_offsets`; not used with `encode`.
        encode: such as `encode_offsets`: compare the activations with the encoded truth, not the boxes. None compares
            the boxes.
        negative_ratio: only positive anchors and this many negative ones for each of them, the hardest, count in the
            classification loss; see `hard_negative_mask`. None counts all. May be traced.
        normalizer: divide the classification loss by the number of `"classes"`, or of `"positives"` but at least 1.
        threshold: of `match_anchors`; may be traced.
        rule: of `match_anchors`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`. A NaN in a prediction, of any anchor, is a NaN in
        the loss.

    Raises:
        TypeError: if an argument is no array of real numbers, `gt_labels` are not integers or `anchors` no `Anchors`.
        ValueError: if `rule` or `normalizer` is unknown, `negative_ratio` is below 1, a shape does not fit,
            `class_loss`, `decode` or `encode` returns another one, or a label of a valid row lies outside `[0, C)`.

    Source:
        fast.ai 2018, lesson 9, `ssd_1_loss`; SSD (arXiv:1512.02325, section 2.2, eq. 1 to 3); RetinaNet
        (arXiv:1708.02002, section 4.1); `optax.huber_loss`.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> box, label, valid = jnp.array([[0.0, 0.0, 1.0, 0.5]]), jnp.array([1]), jnp.array([True])
        >>> loss = ssd_loss(jnp.zeros((1, 2)), jnp.zeros((1, 4)), box, label, valid, anchors)
        >>> float(loss.localization), int(loss.num_positive)
        (0.125, 1)
    """
    anchors, _ = with_anchors("ssd_loss", anchors)
    _, logits, activations, boxes, labels, valid = as_arrays(
        "ssd_loss",
        anchors=(anchors.corners, "A 4"),
        class_logits=(class_logits, "A C"),
        box_activations=(box_activations, "A 4"),
        gt_boxes=(gt_boxes, "G 4"),
        gt_labels=(gt_labels, "G"),
        gt_valid=(gt_valid, "G"),
    )
    valid = as_mask(valid)
    # Padding may hold anything: zeros take its place before there is any arithmetic, and reach no loss.
    boxes = jnp.where(valid[:, None], boxes, 0)
    logits, activations, boxes, *fields = as_floats(logits, activations, boxes, *anchors)
    anchors = Anchors(*fields)
    if normalizer not in get_args(Normalizer):
        expected = " or ".join(map(repr, get_args(Normalizer)))
        raise ValueError(f"ssd_loss: `normalizer` is {normalizer!r}, expected {expected}")
    if negative_ratio is not None:
        check_setting("ssd_loss", "negative_ratio", negative_ratio, lambda x: x >= 1, "1 or more, or None")
    check_setting("ssd_loss", "threshold", threshold, lambda x: x == x, "a number")
    num_classes = logits.shape[1]
    labels, labels_known = _known_labels(labels, valid, num_classes, given=(gt_labels, gt_valid))
    match = match_anchors(anchors.corners, boxes, valid, threshold=threshold, rule=rule)
    num_positive = jnp.sum(match.positive, dtype=jnp.int32)
    at_least_one = jnp.maximum(num_positive, 1).astype(logits.dtype)

    # One row of padding more, so that there is a row to gather when G = 0. An anchor without a truth stands in for it,
    # and its error is masked before any loss. A prediction that is NaN is never masked.
    positive = match.positive[:, None]
    counted = positive | jnp.any(jnp.isnan(activations), axis=1, keepdims=True)
    truth = jnp.where(positive, take_rows(jnp.pad(boxes, ((0, 1), (0, 0))), match.gt_index), anchors.corners)
    if encode is None:
        decoded = _checked("decode", decode(activations, anchors), activations.shape)
        box_loss = jnp.sum(jnp.abs(jnp.where(counted, decoded - truth, 0))) / 4
    else:
        encoded = _checked("encode", encode(truth, anchors), activations.shape)
        box_loss = jnp.sum(optax.huber_loss(jnp.where(counted, activations - encoded, 0), delta=1.0))
    localization = box_loss / at_least_one

    label = jnp.where(match.positive, take_rows(jnp.pad(labels, (0, 1)), match.gt_index), -1)
    targets = (label[:, None] == jnp.arange(num_classes, dtype=jnp.int32)[None, :]).astype(logits.dtype)
    losses = _checked("class_loss", class_loss(logits, targets), logits.shape).astype(logits.dtype)
    if negative_ratio is not None:
        hard = hard_negative_mask(jnp.sum(losses, axis=1), match.positive, ratio=negative_ratio)
        losses = jnp.where(positive | hard[:, None] | jnp.isnan(losses), losses, 0)
    classification = jnp.sum(losses) / (at_least_one if normalizer == "positives" else jax.core.max_dim(num_classes, 1))
    classification *= jnp.where(labels_known, 1.0, jnp.nan).astype(logits.dtype)
    return SSDLoss(localization + classification, localization, classification, num_positive)


def _known_labels(
    labels: Array, valid: Bool[Array, " G"], num_classes: Any, *, given: tuple[Any, Any]
) -> tuple[Int[Array, " G"], Bool[Array, ""]]:
    """Labels as int32, zero where not valid, and whether the others lie in `[0, C)`: an error where that is concrete.

    What is `given` may hold wider integers than JAX's arrays.
    """
    if labels.shape[0] == 0:
        return labels.astype(jnp.int32), jnp.array(True)
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == bool):
        raise TypeError(f"ssd_loss: `gt_labels` has dtype {labels.dtype}, expected integers")
    known_labels, known_valid = map(concrete, given)
    if known_labels is not None and known_valid is not None and isinstance(num_classes, int):
        real = known_labels[known_valid.astype(bool)].astype(np.int64)
        wrong = real[(real < 0) | (real >= num_classes)]
        if len(wrong):
            raise ValueError(
                f"ssd_loss: `gt_labels` has {wrong[0]} in a valid row, expected labels in [0, {num_classes})"
            )
    labels = labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)
    known = jnp.all(~valid | ((labels >= 0) & (labels < num_classes)))
    labels = jnp.where(valid, labels, 0)
    # The check of a batch would sort along the batch, which a mesh with Explicit axes refuses.
    concrete_both = known_labels is not None and known_valid is not None
    if not concrete_both and jax.sharding.AxisType.Explicit not in jax.typeof(known).sharding.mesh.axis_types:
        checkify.debug_check(known, f"ssd_loss: `gt_labels` has a label outside [0, {num_classes}) in a valid row")
    return labels.astype(jnp.int32), known


def _checked(name: str, values: Any, shape: tuple) -> Array:
    """What a function given by the caller returned; a mean in place of losses would broadcast."""
    found = np.shape(values)
    if found != shape:
        raise ValueError(f"ssd_loss: `{name}` returned an array of shape {found}, expected {shape}: elementwise")
    return jnp.asarray(values)
