"""Settings of `ssd_loss` that other detectors need: batch normalisation, softmax, ignored anchors, overlap losses.

All in one program of a batch, against loops in float64.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.box_coder import OFFSET_CODER, PLAIN_OFFSET_CODER, TANH_CODER
from jaxssd.ops.box_losses import giou_loss
from jaxssd.ops.losses import bce_loss, softmax_loss
from jaxssd.ops.ssd_loss import detection_loss, ssd_loss
from jaxssd.ops.targets import Targets, assign_targets
from tests.ops.reference import iou, match_greedy
from tests.ops.test_box_losses import reference as overlap_losses

ANCHORS = make_anchors(grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),))
CORNERS = np.asarray(ANCHORS.corners)
IMAGES, COUNT, CLASSES, TRUTHS = 4, 16, 3, 4
RNG = np.random.default_rng(0)
NEAR = RNG.integers(0, 12, (IMAGES, TRUTHS, 2))
BOXES = np.float32(np.concatenate([NEAR, NEAR + RNG.integers(2, 8, NEAR.shape)], axis=-1) / 16)
LABELS = RNG.integers(0, CLASSES, (IMAGES, TRUTHS)).astype(np.int32)
VALID = np.arange(TRUTHS) < np.array([[4], [0], [1], [3]])  # the second image is empty
LOGITS = RNG.normal(-1, 2, (IMAGES, COUNT, CLASSES + 1)).astype(np.float32)
ACTIVATIONS = RNG.normal(0, 1, (IMAGES, COUNT, 4)).astype(np.float32)
SETTINGS = {
    "softmax": {"class_loss": softmax_loss, "background": True, "normalizer": "positives"},
    "mined": {"class_loss": softmax_loss, "background": True, "negative_ratio": 2, "min_negatives": 5},
    "batch": {"class_loss": bce_loss, "normalizer": "batch_positives", "box_coder": OFFSET_CODER},
    "ignored": {"class_loss": bce_loss, "ignore_threshold": 0.2, "negative_ratio": 3},
    "band": {"class_loss": bce_loss, "ignore_threshold": 0.2},
    "tanh, overlap": {"class_loss": bce_loss, "box_loss": giou_loss, "box_loss_weight": 3.0},
    "plain offsets": {"class_loss": bce_loss, "box_coder": PLAIN_OFFSET_CODER, "normalizer": "positives"},
    "offsets, overlap": {"class_loss": bce_loss, "box_loss": giou_loss, "box_coder": OFFSET_CODER},
}


def of_batch(settings):
    return jax.vmap(partial(ssd_loss, anchors=ANCHORS, **settings), axis_name="batch")


def of_each(logits, activations, boxes, labels, valid):
    """Loss of each image with each of the settings."""
    return {
        name: of_batch(settings)(
            logits if settings.get("background") else logits[..., :-1], activations, boxes, labels, valid
        )
        for name, settings in SETTINGS.items()
    }


@jax.jit
@partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
def program(*batch):
    """Sum over the settings of their mean losses, the losses, and the gradients of the sum."""
    found = of_each(*batch)
    return sum(jnp.mean(loss.total) for loss in found.values()), found


@pytest.fixture(scope="module")
def losses():
    return jax.device_get(program(LOGITS, ACTIVATIONS, BOXES, LABELS, VALID)[0][1])


def reference(i, settings):
    """Sums of the localization and classification loss of image i, and its positives; one anchor after the other."""
    index, overlap, positive = match_greedy(CORNERS, BOXES[i], VALID[i], 0.4)
    background = settings.get("background", False)
    logits, coder = np.float64(LOGITS[i]), settings.get("box_coder", TANH_CODER)
    decoded = np.asarray(coder.decode(ACTIVATIONS[i], ANCHORS))
    cost, localization = np.zeros(COUNT), 0.0
    for a in range(COUNT):
        label = LABELS[i, index[a]] if positive[a] else None
        if background:
            cost[a] = np.log(np.exp(logits[a]).sum()) - logits[a, CLASSES if label is None else label]
        else:
            cost[a] = sum(np.logaddexp(0, -x if c == label else x) for c, x in enumerate(logits[a, :CLASSES]))
        if positive[a] and "box_loss" in settings:
            localization += overlap_losses(decoded[a], BOXES[i, index[a]])[0]
        elif positive[a] and coder is not TANH_CODER:
            target = np.asarray(OFFSET_CODER.encode(np.tile(BOXES[i, index[a]], (COUNT, 1)), ANCHORS))[a]
            target = target / (10, 10, 5, 5) if coder is PLAIN_OFFSET_CODER else target
            error = np.abs(np.float64(ACTIVATIONS[i, a]) - target)
            smooth = np.where(error < 1, error**2 / 2, error - 0.5)
            localization += (error if coder is PLAIN_OFFSET_CODER else smooth).sum()
        elif positive[a]:
            localization += np.abs(decoded[a] - BOXES[i, index[a]]).mean()
    ignored = ~positive & (overlap >= settings.get("ignore_threshold", 2))
    negatives = sorted(np.flatnonzero(~positive & ~ignored), key=lambda a: -cost[a])
    if "negative_ratio" in settings:
        wanted = max(settings["negative_ratio"] * positive.sum(), settings.get("min_negatives", 0))
        negatives = negatives[:wanted]
    return localization, cost[positive].sum() + cost[negatives].sum(), int(positive.sum())


def test_worked_example():
    """Two images of one anchor each: one object and an empty image, so half a positive anchor an image.

    Logits of 0 cost log 3 with two classes and background, divided by 1/2; the mean over both images is their sum over
    the one positive.
    """
    anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
    one = (np.zeros((2, 1, 3), np.float32), np.zeros((2, 1, 4), np.float32), np.float32([[[0, 0, 1, 0.5]]] * 2))
    labels, valid = np.array([[1], [0]]), np.array([[True], [False]])
    settings = {"class_loss": softmax_loss, "background": True, "normalizer": "batch_positives", "box_loss": giou_loss}
    loss = jax.jit(jax.vmap(partial(ssd_loss, anchors=anchors, **settings), axis_name="batch"))(*one, labels, valid)
    np.testing.assert_allclose(loss.classification, [2 * np.log(3), 2 * np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(loss.localization, [2 * 0.5, 0], rtol=1e-6)  # IoU 1/2, nothing of the hull is free
    np.testing.assert_allclose(loss.total.mean(), 2 * np.log(3) + 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_they_are_the_formulas_written_as_loops(losses, name):
    settings = SETTINGS[name]
    expected = [reference(i, settings) for i in range(IMAGES)]
    mean = max(sum(count for *_, count in expected), 1) / IMAGES
    for i, (localization, classification, count) in enumerate(expected):
        positives = mean if settings.get("normalizer") == "batch_positives" else max(count, 1)
        divisor = CLASSES if "normalizer" not in settings else positives
        got = [field[i] for field in losses[name]]
        localization *= settings.get("box_loss_weight", 1) / positives
        classification /= divisor
        np.testing.assert_allclose(got[1:], [localization, classification, count], rtol=2e-5)
        np.testing.assert_allclose(got[0], got[1] + got[2], rtol=1e-6)


def test_an_empty_image_has_no_mined_loss_without_a_minimum(losses):
    assert losses["ignored"].total[1] == 0
    assert losses["mined"].total[1] > 0


def test_every_positive_of_a_batch_weighs_the_same(losses):
    """The mean over images is the sum over the batch divided by its positives."""
    sums = np.sum([reference(i, SETTINGS["batch"]) for i in range(IMAGES)], axis=0)
    np.testing.assert_allclose(losses["batch"].total.mean(), sums[:2].sum() / sums[2], rtol=1e-5)


def test_a_batch_without_objects_is_divided_by_one():
    nothing = program(LOGITS, ACTIVATIONS, BOXES, LABELS, np.zeros_like(VALID))[0][1]["batch"]
    assert (np.asarray(nothing.localization) == 0).all()
    np.testing.assert_allclose(nothing.total.mean(), np.logaddexp(0, np.float64(LOGITS[..., :-1])).sum(), rtol=1e-5)


def test_ignored_anchors_lie_in_the_band_and_forced_ones_do_not():
    assign = jax.jit(partial(assign_targets, num_classes=CLASSES, ignore_threshold=0.2))
    for i in range(IMAGES):
        targets = jax.device_get(assign(ANCHORS, BOXES[i], LABELS[i], VALID[i]))
        overlaps = np.array([[iou(box, anchor) for anchor in CORNERS] for box in BOXES[i]]) * VALID[i][:, None]
        best = overlaps.max(axis=0)
        np.testing.assert_array_equal(targets.ignored, (best >= 0.2) & ~targets.positive)
    without = jax.jit(partial(assign_targets, num_classes=CLASSES))(ANCHORS, BOXES[0], LABELS[0], VALID[0])
    assert without.ignored is None


def test_ignored_anchors_have_no_gradient_but_positive_ones_have():
    everything = np.ones(COUNT, bool)
    positive = np.arange(COUNT) < 3
    targets = Targets(CORNERS, np.eye(CLASSES, dtype=np.float32)[[0] * COUNT] * positive[:, None], positive, everything)

    @jax.jit
    @jax.grad
    def gradient(logits):
        return detection_loss(logits, ACTIVATIONS[0], targets, ANCHORS, class_loss=bce_loss).total

    np.testing.assert_array_equal((np.asarray(gradient(LOGITS[0, :, :-1])) != 0).any(axis=1), positive)


def test_value_and_gradient_are_finite_at_the_extremes():
    for size in (0.0, 100.0, 1e30):
        for boxes in (BOXES, BOXES * 0, np.float32(1e6) * BOXES):
            extremes = np.sign(LOGITS) * np.float32(size), np.sign(ACTIVATIONS) * np.float32(size)
            (value, _), gradients = jax.device_get(program(*extremes, boxes, LABELS, VALID))
            assert np.isfinite(value)
            assert all(np.isfinite(gradient).all() for gradient in gradients)


IMAGE = (LOGITS[0], ACTIVATIONS[0], BOXES[0], LABELS[0], VALID[0], ANCHORS)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"normalizer": "batch_positives"}, "no axis of the name 'batch'.*axis_name='batch'"),
        ({"class_loss": softmax_loss}, "4 columns for 4 classes, expected one more than classes.*`background=True`"),
        ({"background": True}, "targets"),  # of a loss without background
        ({"box_loss": "giou"}, "box_loss"),
        ({"box_loss": lambda a, b: jnp.mean(a - b)}, r"`box_loss` returned an array of shape \(\), expected \(16,\)"),
        ({"box_coder": OFFSET_CODER._replace(loss=jnp.sum)}, r"`box_coder.loss` returned an array of shape \(\)"),
        ({"box_loss_weight": -1.0}, "`box_loss_weight` is -1.0"),
        ({"negative_ratio": 1, "min_negatives": -1}, "`min_negatives` is -1"),
        ({"ignore_threshold": float("nan")}, "`ignore_threshold` is nan"),
    ],
)
def test_what_does_not_fit_is_named(keywords, message):
    with pytest.raises((ValueError, TypeError, TypeCheckError), match=message):
        jax.eval_shape(partial(ssd_loss, **keywords), *IMAGE)


def test_hard_negatives_of_mined_anchors_leave_out_the_ignored():
    targets = Targets(CORNERS, np.zeros((COUNT, CLASSES), np.float32), np.arange(COUNT) < 1, np.arange(COUNT) < 10)
    logits = np.zeros((COUNT, CLASSES), np.float32)
    logits[:10] = 9  # the highest losses
    mined = jax.jit(partial(detection_loss, class_loss=bce_loss, negative_ratio=2))
    loss = mined(logits, ACTIVATIONS[0], targets, ANCHORS)
    expected = (3 * np.logaddexp(0, 9) + 2 * 3 * np.log(2)) / 3
    np.testing.assert_allclose(loss.classification, expected, rtol=1e-6)
