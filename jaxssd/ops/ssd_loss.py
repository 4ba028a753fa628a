"""Loss of single-shot detection for one image: localization of the positive anchors, classification of all."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Shaped

from jaxssd.ops.anchors import Anchors, with_anchors
from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_floats, as_mask, check_setting, exportable
from jaxssd.ops.box_coder import TANH_CODER, BoxCoder
from jaxssd.ops.losses import focal_loss, hard_negative_mask
from jaxssd.ops.targets import Targets, assign_targets

Normalizer = Literal["classes", "positives"]


@exportable
class SSDLoss(NamedTuple):
    """Loss of one image and its two parts, scalars.

    Attributes:
        total: `localization + classification`.
        localization: mean over the positive anchors of the box loss, see `detection_loss`.
        classification: sum over anchors and classes, divided by the number of classes or of positive anchors.
        num_positive: int32 number of positive anchors.
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
    box_coder: BoxCoder = TANH_CODER,
    negative_ratio: Number | None = None,
    normalizer: Normalizer = "classes",
    threshold: Number = 0.4,
    rule: str = "best_iou",
) -> SSDLoss:
    """Single-shot detection loss of one image: `assign_targets`, then `detection_loss` (vmap it over a batch).

    The lesson's numbers come with `rule="lesson"`; its batch loss is the sum over images. SSD300's loss, with a sigmoid
    for each class in place of the softmax, takes `class_loss=bce_loss`, `box_coder=OFFSET_CODER`, `negative_ratio=3`,
    `normalizer="positives"` and `threshold=0.5`; an image without objects then has a loss of 0. RetinaNet's
    classification loss is the focal loss with `normalizer="positives"`.

    Args:
        class_logits: `[A, C]`.
        box_activations: `[A, 4]`, in the form that `box_coder` decodes.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_labels: `[G]` integers in `[0, C)`. A label outside that range in a valid row is an error outside of `jit`;
            where it is traced, loss and gradient are NaN and `jax.experimental.checkify` reports it (not on a mesh with
            Explicit axes).
        gt_valid: `[G]` mask of the rows that are real, bool or nonzero for True; other rows may hold anything.
        anchors: from `make_anchors` or `ssd300_anchors`.
        class_loss: elementwise loss, not reduced, see `detection_loss`.
        box_coder: pair of functions between boxes and activations, see `detection_loss`.
        negative_ratio: number of negatives kept for each positive anchor, see `detection_loss`. None keeps all.
        normalizer: divisor of the classification loss, see `detection_loss`.
        threshold: IoU above which an anchor is positive, see `match_anchors`; may be traced.
        rule: `"best_iou"` or `"lesson"`, see `match_anchors`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`. A NaN in a prediction of any anchor is a NaN in
        the loss.

    Raises:
        TypeError: if an argument is not an array of real numbers, `gt_labels` are not integers, `anchors` is
            not `Anchors`, `box_coder` is not a `BoxCoder`, or `class_loss` is not a function.
        ValueError: if a shape does not fit, a label of a valid row lies outside `[0, C)`, `rule` or `normalizer` is
            unknown, `threshold` is NaN, `negative_ratio` is below 1, or `class_loss` or a function of `box_coder`
            returns another shape.

    Source:
        fast.ai 2018, lesson 9, `ssd_1_loss`; SSD (arXiv:1512.02325, section 2.2, eq. 1 to 3); RetinaNet
        (arXiv:1708.02002, section 4.1).

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> box, label, valid = jnp.array([[0.0, 0.0, 1.0, 0.5]]), jnp.array([1]), jnp.array([True])
        >>> loss = ssd_loss(jnp.zeros((1, 2)), jnp.zeros((1, 4)), box, label, valid, anchors)
        >>> float(loss.localization), int(loss.num_positive)
        (0.125, 1)
    """
    anchors, _ = with_anchors("ssd_loss", anchors)
    _, logits, activations, boxes, *_ = as_arrays(
        "ssd_loss",
        anchors=(anchors.corners, "A 4"),
        class_logits=(class_logits, "A C"),
        box_activations=(box_activations, "A 4"),
        gt_boxes=(gt_boxes, "G 4"),
        gt_labels=(gt_labels, "G"),
        gt_valid=(gt_valid, "G"),
    )
    targets = assign_targets(
        anchors, boxes, gt_labels, gt_valid, num_classes=logits.shape[1], threshold=threshold, rule=rule
    )
    return detection_loss(
        logits,
        activations,
        targets,
        anchors,
        class_loss=class_loss,
        box_coder=box_coder,
        negative_ratio=negative_ratio,
        normalizer=normalizer,
    )


def detection_loss(
    class_logits: Float[ArrayLike, "A C"],
    box_activations: Float[ArrayLike, "A 4"],
    targets: Targets,
    anchors: Anchors,
    *,
    class_loss: Callable[[Array, Array], Array] = focal_loss,
    box_coder: BoxCoder = TANH_CODER,
    negative_ratio: Number | None = None,
    normalizer: Normalizer = "classes",
) -> SSDLoss:
    """Loss of predictions against the training targets of the anchors, from `assign_targets` or elsewhere.

    localization = mean over positive anchors of the box loss, 0 if no anchor is positive. With `box_coder.encode` the
    box loss is the sum of smooth L1(activations - encoded target), where smooth L1(x) = x^2 / 2 for |x| <= 1 and
    |x| - 1/2 beyond. Without it, it is the mean over the four coordinates of |decoded - target|.

    classification = sum over anchors and classes of `class_loss(logits, classes)`, divided by `normalizer`. The target
    of an anchor that is not positive is zero for every class: background is the absence of a label.

    Args:
        class_logits: `[A, C]`.
        box_activations: `[A, 4]`, in the form that `box_coder` decodes.
        targets: from `assign_targets`, or your own.
        anchors: from `make_anchors` or `ssd300_anchors`.
        class_loss: elementwise loss, not reduced, such as `focal_loss` or `bce_loss`; `functools.partial` sets its
            parameters.
        box_coder: `TANH_CODER`, `OFFSET_CODER` or your own.
        negative_ratio: number of negatives kept in the classification loss for each positive anchor, hardest first; see
            `hard_negative_mask`. None keeps all. May be traced.
        normalizer: divisor of the classification loss: the number of `"classes"`, or of `"positives"` but at least 1.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`. A NaN in a prediction of any anchor is a NaN in
        the loss.

    Raises:
        TypeError: if an argument is not an array of real numbers, `targets` is not `Targets`, `anchors` is
            not `Anchors`, `box_coder` is not a `BoxCoder`, or `class_loss` is not a function.
        ValueError: if a shape does not fit, `normalizer` is unknown, `negative_ratio` is below 1, or `class_loss` or a
            function of `box_coder` returns another shape.

    Source:
        SSD (arXiv:1512.02325, section 2.2, eq. 1 to 3); fast.ai 2018, lesson 9, `ssd_1_loss`; `optax.huber_loss`.

    Example:
        >>> from jaxssd.ops.anchors import make_anchors
        >>> anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
        >>> half_as_wide = jnp.array([[0.0, 0.0, 1.0, 0.5]])
        >>> targets = Targets(half_as_wide, classes=jnp.array([[0.0, 1.0]]), positive=jnp.array([True]))
        >>> float(detection_loss(jnp.zeros((1, 2)), jnp.zeros((1, 4)), targets, anchors).localization)
        0.125
    """
    anchors, _ = with_anchors("detection_loss", anchors)
    if not isinstance(targets, Targets):
        raise TypeError(f"detection_loss: `targets` is a {type(targets).__name__}, expected `Targets`")
    _, logits, activations, truth, classes, positive = as_arrays(
        "detection_loss",
        anchors=(anchors.corners, "A 4"),
        class_logits=(class_logits, "A C"),
        box_activations=(box_activations, "A 4"),
        **{
            "targets.boxes": (targets.boxes, "A 4"),
            "targets.classes": (targets.classes, "A C"),
            "targets.positive": (targets.positive, "A"),
        },
    )
    logits, activations, truth, classes, *fields = as_floats(logits, activations, truth, classes, *anchors)
    anchors, positive = Anchors(*fields), as_mask(positive)
    if normalizer not in get_args(Normalizer):
        expected = " or ".join(map(repr, get_args(Normalizer)))
        raise ValueError(f"detection_loss: `normalizer` is {normalizer!r}, expected {expected}")
    if negative_ratio is not None:
        check_setting("detection_loss", "negative_ratio", negative_ratio, lambda x: x >= 1, "1 or more, or None")
    if not isinstance(box_coder, BoxCoder):
        raise TypeError(f"detection_loss: `box_coder` is {box_coder!r}, expected a `BoxCoder` such as `TANH_CODER`")
    if not callable(class_loss):
        raise TypeError(f"detection_loss: `class_loss` is {class_loss!r}, expected a function such as `focal_loss`")
    num_positive = jnp.sum(positive, dtype=jnp.int32)
    at_least_one = jnp.maximum(num_positive, 1).astype(logits.dtype)

    # The error of other anchors is masked before any loss. A prediction that is NaN is never masked.
    counted = (positive | jnp.any(jnp.isnan(activations), axis=1))[:, None]
    if box_coder.encode is None:
        decoded = _checked("box_coder.decode", box_coder.decode(activations, anchors), activations.shape)
        box_loss = jnp.sum(jnp.abs(jnp.where(counted, decoded - truth, 0))) / 4
    else:
        encoded = _checked("box_coder.encode", box_coder.encode(truth, anchors), activations.shape)
        box_loss = jnp.sum(optax.huber_loss(jnp.where(counted, activations - encoded, 0), delta=1.0))
    localization = box_loss / at_least_one

    losses = _checked("class_loss", class_loss(logits, classes), logits.shape).astype(logits.dtype)
    if negative_ratio is not None:
        hard = hard_negative_mask(jnp.sum(losses, axis=1), positive, ratio=negative_ratio)
        losses = jnp.where((positive | hard)[:, None] | jnp.isnan(losses), losses, 0)
    divisor = at_least_one if normalizer == "positives" else jax.core.max_dim(logits.shape[1], 1)
    classification = jnp.sum(losses) / divisor
    return SSDLoss(localization + classification, localization, classification, num_positive)


def _checked(name: str, values: Any, shape: tuple) -> Array:
    """Return value of a function given by the caller; a mean in place of losses would broadcast."""
    found = np.shape(values)
    if found != shape:
        raise ValueError(f"detection_loss: `{name}` returned an array of shape {found}, expected {shape}: elementwise")
    return jnp.asarray(values)
