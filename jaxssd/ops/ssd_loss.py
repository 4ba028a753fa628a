"""Loss of single-shot detection for one image: localization of the positive anchors, classification of all."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Integer, Shaped

from jaxssd.ops.anchors import Anchors, with_anchors
from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_floats, as_mask, check_setting, exportable
from jaxssd.ops.box_coder import TANH_CODER, BoxCoder
from jaxssd.ops.losses import focal_loss, hard_negative_mask
from jaxssd.ops.targets import Targets, assign_targets

BoxLoss = Callable[[Array, Array], Array]
Normalizer = Literal["classes", "positives", "batch_positives"]


@exportable
class SSDLoss(NamedTuple):
    """Loss of one image and its two parts, scalars.

    Attributes:
        total: `localization + classification`.
        localization: weighted mean over the positive anchors of the box loss, see `detection_loss`.
        classification: sum over anchors and classes, divided by `normalizer`.
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
    normalizer: Normalizer | Number = "classes",
    threshold: Number = 0.4,
    rule: str = "best_iou",
    ignore_threshold: Number | None = None,
    anchors_per_object: int = 1,
    min_iou: Number = 0.1,
    background: bool = False,
    box_loss: BoxLoss | None = None,
    box_loss_weight: Number = 1.0,
    min_negatives: Number = 0,
    axis_name: str = "batch",
) -> SSDLoss:
    """Single-shot detection loss of one image: `assign_targets`, then `detection_loss` (vmap it over a batch).

    The lesson's numbers come with `rule="lesson"`; its batch loss is the sum over images. SSD300's loss takes
    `class_loss=softmax_loss`, `background=True`, `box_coder=OFFSET_CODER`, `negative_ratio=3`, `threshold=0.5` and
    `normalizer="batch_positives"` under `jax.vmap(..., axis_name="batch")`. RetinaNet's takes the focal loss,
    `OFFSET_CODER`, `normalizer="batch_positives"`, `threshold=0.5` and `ignore_threshold=0.4`.

    Args:
        class_logits: `[A, C]`, or `[A, C + 1]` with `background`.
        box_activations: `[A, 4]`, in the form that `box_coder` decodes.
        gt_boxes: corners `[G, 4]`, padded; `G` may be 0.
        gt_labels: `[G]` integers in `[0, C)`. A label outside that range in a valid row is an error outside of `jit`;
            where it is traced, loss and gradient are NaN and `jax.experimental.checkify` reports it (not on a mesh with
            Explicit axes).
        gt_valid: `[G]` mask of the rows that are real, bool or nonzero for True; other rows may hold anything.
        anchors: from `make_anchors` or `ssd300_anchors`.
        class_loss: loss of each logit or of each anchor, not reduced, see `detection_loss`.
        box_coder: pair of functions between boxes and activations, see `detection_loss`.
        negative_ratio: number of negatives kept for each positive anchor, see `detection_loss`. None keeps all.
        normalizer: divisor of the classification loss, see `detection_loss`.
        threshold: IoU above which an anchor is positive, see `match_anchors`; may be traced.
        rule: `"best_iou"` or `"lesson"`, see `match_anchors`.
        ignore_threshold: IoU from which an anchor that is not positive is ignored, see `assign_targets`.
        anchors_per_object: number of best anchors that are positive for each ground truth, see `match_anchors`.
        min_iou: IoU that these anchors must exceed, see `match_anchors`; may be traced.
        background: if True, the last column of `class_logits` is background, as `softmax_loss` expects.
        box_loss: loss of decoded boxes such as `giou_loss`, see `detection_loss`. None is the loss of the box coder.
        box_loss_weight: factor of the localization loss; may be traced.
        min_negatives: smallest number of negatives kept, see `detection_loss`.
        axis_name: name of the batch under `vmap`, see `detection_loss`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`. A NaN in a prediction of any anchor is a NaN in
        the loss.

    Raises:
        TypeError: if an argument is not an array of real numbers, `gt_labels` are not integers, `anchors` is
            not `Anchors`, `box_coder` is not a `BoxCoder`, or `class_loss` is not a function.
        ValueError: if a shape does not fit, a label of a valid row lies outside `[0, C)`, `rule` or `normalizer` is
            unknown, `threshold` is NaN, `negative_ratio` is below 1, `class_loss`, `box_loss` or a function of
            `box_coder` returns another shape, or the batch has no axis of that name.

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
        anchors,
        boxes,
        gt_labels,
        gt_valid,
        num_classes=logits.shape[1] - background,
        threshold=threshold,
        rule=rule,
        ignore_threshold=ignore_threshold,
        anchors_per_object=anchors_per_object,
        min_iou=min_iou,
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
        background=background,
        box_loss=box_loss,
        box_loss_weight=box_loss_weight,
        min_negatives=min_negatives,
        axis_name=axis_name,
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
    normalizer: Normalizer | Number = "classes",
    background: bool = False,
    box_loss: BoxLoss | None = None,
    box_loss_weight: Number = 1.0,
    min_negatives: Number = 0,
    axis_name: str = "batch",
) -> SSDLoss:
    """Loss of predictions against the training targets of the anchors, from `assign_targets` or elsewhere.

    localization = `box_loss_weight` x mean over positive anchors of the box loss, 0 if no anchor is positive. The box
    loss is `box_loss(decoded, target)` if that is given. Otherwise, with `box_coder.encode`, it is the sum of smooth
    L1(activations - encoded target), where smooth L1(x) = x^2 / 2 for |x| <= 1 and |x| - 1/2 beyond, or of
    `box_coder.loss` in place of smooth L1. Without it, it is the mean over the four coordinates of |decoded - target|.

    classification = sum over anchors and classes of `class_loss(logits, classes)`, divided by `normalizer`. The target
    of an anchor that is not positive is zero for every class: background is the absence of a label. Ignored anchors
    have no loss.

    The normalizer `"batch_positives"` divides both sums by the mean number of positive anchors of an image in the
    batch, so the mean of the losses is the sum over the batch divided by its positives (at least 1). Every positive
    anchor then has the same weight. The mean is taken along `axis_name`: call
    `jax.vmap(partial(detection_loss, normalizer="batch_positives"), axis_name="batch")`; a batch that is sharded under
    `jit` is one batch. A number divides both sums as well; give one inside `shard_map`, where JAX has no mean along an
    axis of `vmap`.

    Args:
        class_logits: `[A, C]`, or `[A, C + 1]` with `background`.
        box_activations: `[A, 4]`, in the form that `box_coder` decodes.
        targets: from `assign_targets`, or your own.
        anchors: from `make_anchors` or `ssd300_anchors`.
        class_loss: loss of each logit, not reduced, such as `focal_loss` or `bce_loss`, or of each anchor, such as
            `softmax_loss`; `functools.partial` sets its parameters.
        box_coder: `TANH_CODER`, `OFFSET_CODER` or your own.
        negative_ratio: number of negatives kept in the classification loss for each positive anchor, hardest first; see
            `hard_negative_mask`. None keeps all. May be traced.
        normalizer: divisor of the classification loss: the number of `"classes"`, or of `"positives"` but at least 1;
            or the mean number of `"batch_positives"`, or a number above 0, which divides the localization loss too. A
            number may be traced.
        background: if True, the last column of `class_logits` is background, as `softmax_loss` expects.
        box_loss: loss of each decoded box, `(boxes[A, 4], truth[A, 4]) -> [A]`, such as `giou_loss`, `diou_loss` or
            `ciou_loss`; its values lie near 1 at first, those of `OFFSET_CODER` near 2 and of `TANH_CODER` near 0.1.
            None is the loss of the box coder.
        box_loss_weight: factor of the localization loss; may be traced.
        min_negatives: smallest number of negatives kept in an image, where `negative_ratio` is given: without it an
            image without objects has no loss. May be traced.
        axis_name: name of the batch's axis, for `normalizer="batch_positives"`.

    Returns:
        `SSDLoss(total, localization, classification, num_positive)`. A NaN in a prediction of any anchor is a NaN in
        the loss.

    Raises:
        TypeError: if an argument is not an array of real numbers, `targets` is not `Targets`, `anchors` is
            not `Anchors`, `box_coder` is not a `BoxCoder`, or `class_loss` is not a function.
        ValueError: if a shape does not fit, `normalizer` is unknown, `negative_ratio` is below 1, `class_loss`,
            `box_loss` or a function of `box_coder` returns another shape, or the batch has no axis of that name.

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
    given = {
        "targets.boxes": (targets.boxes, "A 4"),
        "targets.classes": (targets.classes, "A C"),
        "targets.positive": (targets.positive, "A"),
    }
    if targets.ignored is not None:
        given["targets.ignored"] = (targets.ignored, "A")
    _, logits, activations, truth, classes, positive, *masks = as_arrays(
        "detection_loss",
        anchors=(anchors.corners, "A 4"),
        class_logits=(class_logits, "A outputs" if background else "A C"),
        box_activations=(box_activations, "A 4"),
        **given,
    )
    if logits.shape[1] != classes.shape[1] + background:
        raise ValueError(
            f"detection_loss: `class_logits` has {logits.shape[1]} columns for {classes.shape[1]} classes, expected "
            "one more than classes: the last is background"
        )
    logits, activations, truth, classes, *fields = as_floats(logits, activations, truth, classes, *anchors)
    anchors, positive = Anchors(*fields), as_mask(positive)
    if not isinstance(normalizer, str):
        check_setting("detection_loss", "normalizer", normalizer, lambda x: x > 0, "a number above 0, or a name")
    elif normalizer not in get_args(Normalizer):
        expected = " or ".join(map(repr, get_args(Normalizer)))
        raise ValueError(f"detection_loss: `normalizer` is {normalizer!r}, expected {expected}, or a number above 0")
    if negative_ratio is not None:
        check_setting("detection_loss", "negative_ratio", negative_ratio, lambda x: x >= 1, "1 or more, or None")
    check_setting("detection_loss", "box_loss_weight", box_loss_weight, lambda x: x >= 0, "0 or more")
    if not isinstance(box_coder, BoxCoder):
        raise TypeError(f"detection_loss: `box_coder` is {box_coder!r}, expected a `BoxCoder` such as `TANH_CODER`")
    for name, function, example in (
        ("class_loss", class_loss, "focal_loss"),
        ("box_loss", box_loss or focal_loss, "giou_loss"),
    ):
        if not callable(function):
            raise TypeError(f"detection_loss: `{name}` is {function!r}, expected a function such as `{example}`")
    num_positive = jnp.sum(positive, dtype=jnp.int32)
    positives = _divisor(normalizer, num_positive, axis_name).astype(logits.dtype)

    # The error of other anchors is masked before any loss. A prediction that is NaN is never masked.
    counted = (positive | jnp.any(jnp.isnan(activations), axis=1))[:, None]
    if box_loss is not None:
        decoded = _checked("box_coder.decode", box_coder.decode(activations, anchors), activations.shape)
        of_each = _checked("box_loss", box_loss(jnp.where(counted, decoded, truth), truth), activations.shape[:1])
        box_losses = jnp.sum(jnp.where(counted[:, 0], of_each, 0))
    elif box_coder.encode is None:
        decoded = _checked("box_coder.decode", box_coder.decode(activations, anchors), activations.shape)
        box_losses = jnp.sum(jnp.abs(jnp.where(counted, decoded - truth, 0))) / 4
    else:
        encoded = _checked("box_coder.encode", box_coder.encode(truth, anchors), activations.shape)
        errors = jnp.where(counted, activations - encoded, 0)
        of_errors = optax.huber_loss(errors, delta=1.0) if box_coder.loss is None else box_coder.loss(errors)
        box_losses = jnp.sum(_checked("box_coder.loss", of_errors, activations.shape))
    localization = jnp.asarray(box_loss_weight, logits.dtype) * (box_losses / positives)

    losses = _checked("class_loss", class_loss(logits, classes), logits.shape, logits.shape[:1]).astype(logits.dtype)
    losses = losses[:, None] if losses.ndim == 1 else losses
    kept, ignored = None, as_mask(masks[0]) & ~positive if masks else None
    if negative_ratio is not None:
        mined = {"ratio": negative_ratio, "min_negatives": min_negatives, "ignored": ignored}
        kept = positive | hard_negative_mask(jnp.sum(losses, axis=1), positive, **mined)
    elif ignored is not None:
        kept = ~ignored
    if kept is not None:
        losses = jnp.where(kept[:, None] | jnp.isnan(losses), losses, 0)
    by_classes = isinstance(normalizer, str) and normalizer == "classes"
    divisor = jax.core.max_dim(classes.shape[1], 1) if by_classes else positives
    classification = jnp.sum(losses) / divisor
    return SSDLoss(localization + classification, localization, classification, num_positive)


def _divisor(normalizer: Normalizer | Number, num_positive: Int[Array, ""], axis_name: str) -> Array:
    """Divisor of the localization loss, and of the classification loss unless that is the number of classes."""
    if not isinstance(normalizer, str):
        return jnp.asarray(normalizer)
    if normalizer == "batch_positives":
        return _mean_positives(num_positive, axis_name)
    return jnp.maximum(num_positive, 1)


def _mean_positives(num_positive: Int[Array, ""], axis_name: str) -> Float[Array, ""]:
    """Mean number of positive anchors of an image in the batch, which has one at least."""
    explicit = jax.sharding.AxisType.Explicit in jax.typeof(num_positive).sharding.mesh.axis_types
    try:
        if explicit:  # there JAX has no sum along an axis of `vmap`
            positives = jnp.sum(lax.all_gather(num_positive, axis_name), dtype=jnp.int32)
        else:
            positives = lax.psum(num_positive, axis_name)
        return jnp.maximum(positives, 1) / lax.axis_size(axis_name)
    except NameError as error:
        raise ValueError(
            f"detection_loss: the batch has no axis of the name {axis_name!r}, which `normalizer='batch_positives'` "
            f"needs: call it under jax.vmap(..., axis_name={axis_name!r})"
        ) from error


def _checked(name: str, values: Any, *shapes: tuple) -> Array:
    """Return value of a function given by the caller; a mean in place of losses would broadcast."""
    found = np.shape(values)
    if found not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"detection_loss: `{name}` returned an array of shape {found}, expected {expected}")
    return jnp.asarray(values)
