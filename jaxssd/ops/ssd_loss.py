"""The detector's loss for one image."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.anchors import Anchors
from jaxssd.ops.coding import decode_tanh
from jaxssd.ops.losses import focal_loss, hard_negative_mask
from jaxssd.ops.matching import match_anchors

Normalizer = Literal["classes", "positives"]


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
    gt_labels: Int[ArrayLike, " G"],
    gt_valid: Bool[ArrayLike, " G"],
    anchors: Anchors,
    *,
    class_loss: Callable[[Array, Array], Array] = focal_loss,
    decode: Callable[[Array, Anchors], Array] = decode_tanh,
    encode: Callable[[Array, Anchors], Array] | None = None,
    negative_ratio: int | None = None,
    normalizer: Normalizer = "classes",
    threshold: float = 0.4,
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
        gt_labels: `[G]` in `[0, C)`.
        gt_valid: `[G]`, which rows are real; the others may hold anything.
        anchors: of `make_anchors` or `ssd300_anchors`.
        class_loss: elementwise, such as `focal_loss` or `bce_loss`; `functools.partial` sets their parameters.
        decode: `decode_tanh` or `decode_offsets`; not used with `encode`.
        encode: such as `encode_offsets`: compare the activations with the encoded truth, not the boxes. None compares
            the boxes.
        negative_ratio: only positive anchors and this many negative ones for each of them, the hardest, count in the
            classification loss; see `hard_negative_mask`. None counts all.
        normalizer: divide the classification loss by the number of `"classes"`, or of `"positives"` but at least 1.
        threshold: of `match_anchors`.
        rule: of `match_anchors`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`.

    Raises:
        ValueError: if `rule` or `normalizer` is unknown, `negative_ratio` is below 1 or a shape does not fit.

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
    check_shapes(
        "ssd_loss",
        anchors=(anchors.corners, "A 4"),
        class_logits=(class_logits, "A C"),
        box_activations=(box_activations, "A 4"),
        gt_boxes=(gt_boxes, "G 4"),
        gt_labels=(gt_labels, "G"),
        gt_valid=(gt_valid, "G"),
    )
    if normalizer not in get_args(Normalizer):
        expected = " or ".join(map(repr, get_args(Normalizer)))
        raise ValueError(f"ssd_loss: `normalizer` is {normalizer!r}, expected {expected}")
    if negative_ratio is not None and negative_ratio < 1:
        raise ValueError(f"ssd_loss: `negative_ratio` is {negative_ratio}, expected 1 or more, or None")
    logits, activations = as_float(class_logits), as_float(box_activations)
    num_classes = logits.shape[1]
    match = match_anchors(anchors.corners, gt_boxes, gt_valid, threshold=threshold, rule=rule)
    num_positive = jnp.sum(match.positive, dtype=jnp.int32)

    # One row of padding more, so that there is a row to gather when G = 0. An anchor without a truth stands in for it,
    # and its error is masked before any loss: a NaN in the padding reaches neither value nor gradient.
    positive = match.positive[:, None]
    truth = jnp.pad(as_float(gt_boxes), ((0, 1), (0, 0)))[match.gt_index]
    truth = jnp.where(positive, truth, anchors.corners)
    if encode is None:
        error = jnp.where(positive, decode(activations, anchors) - truth, 0)
        box_loss = jnp.sum(jnp.abs(error)) / 4
    else:
        error = jnp.where(positive, activations - encode(truth, anchors), 0)
        box_loss = jnp.sum(optax.huber_loss(error, delta=1.0))
    localization = box_loss / jnp.maximum(num_positive, 1)

    labels = jnp.where(match.positive, jnp.pad(jnp.asarray(gt_labels), (0, 1))[match.gt_index], -1)
    losses = class_loss(logits, jax.nn.one_hot(labels, num_classes))  # the target of -1 is a row of zeros
    if negative_ratio is not None:
        hard = hard_negative_mask(jnp.sum(losses, axis=1), match.positive, ratio=negative_ratio)
        losses = jnp.where(positive | hard[:, None], losses, 0)
    classification = jnp.sum(losses) / (num_classes if normalizer == "classes" else jnp.maximum(num_positive, 1))
    return SSDLoss(localization + classification, localization, classification, num_positive)
