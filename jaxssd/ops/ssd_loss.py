"""The detector's loss for one image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.anchors import Anchors
from jaxssd.ops.coding import decode_tanh
from jaxssd.ops.losses import focal_loss
from jaxssd.ops.matching import match_anchors


class SSDLoss(NamedTuple):
    """The loss of one image and its parts, scalars.

    Attributes:
        total: `localization + classification`.
        localization: mean absolute error of a corner coordinate over the positive anchors.
        classification: sum over anchors, mean over classes.
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
    threshold: float = 0.4,
    rule: str = "best_iou",
) -> SSDLoss:
    """Single-shot detection loss of one image: match the anchors, then judge boxes and classes (vmap it over a batch).

    localization = mean |decoded - truth| over positive anchors and four coordinates, 0 if no anchor is positive;
    classification = sum over anchors and classes of `class_loss(logits, one-hot target)`, divided by C. The target of
    an anchor that is not positive is zero for every class: background is the absence of a label. The lesson's numbers
    come with `rule="lesson"`; its batch loss is the sum over images.

    Args:
        class_logits: `[A, C]`.
        box_activations: `[A, 4]`, what `decode` understands.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_labels: `[G]` in `[0, C)`.
        gt_valid: `[G]`, which rows are real; the others may hold anything.
        anchors: of `make_anchors` or `ssd300_anchors`.
        class_loss: elementwise, such as `focal_loss` or `bce_loss`; `functools.partial` sets their parameters.
        decode: `decode_tanh` or `decode_offsets`.
        threshold: of `match_anchors`.
        rule: of `match_anchors`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`.

    Raises:
        ValueError: if the rule is unknown or a shape does not fit.

    Source:
        fast.ai 2018, lesson 9, `ssd_1_loss`; SSD (arXiv:1512.02325, section 2.2).

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
    num_classes = class_logits.shape[1]
    match = match_anchors(anchors.corners, gt_boxes, gt_valid, threshold=threshold, rule=rule)
    num_positive = jnp.sum(match.positive, dtype=jnp.int32)

    # One row of padding more, so that there is a row to gather when G = 0.
    target_boxes = jnp.pad(as_float(gt_boxes), ((0, 1), (0, 0)))[match.gt_index]
    target_labels = jnp.where(match.positive, jnp.pad(jnp.asarray(gt_labels), (0, 1))[match.gt_index], -1)

    # Masked before the absolute value, so that a NaN in the padding reaches neither value nor gradient.
    error = jnp.where(match.positive[:, None], decode(as_float(box_activations), anchors) - target_boxes, 0)
    localization = jnp.sum(jnp.abs(error)) / (4 * jnp.maximum(num_positive, 1))
    targets = jax.nn.one_hot(target_labels, num_classes)  # a row of zeros for -1
    classification = jnp.sum(class_loss(as_float(class_logits), targets)) / num_classes
    return SSDLoss(localization + classification, localization, classification, num_positive)
