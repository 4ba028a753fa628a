"""The loss of one image against the whole of the lesson's loss written as loops, and what must have no effect on it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.box_coder import BoxCoder, decode_offsets, encode_offsets
from jaxssd.ops.losses import bce_loss, focal_loss
from jaxssd.ops.matching import RULES
from jaxssd.ops.ssd_loss import SSDLoss, ssd_loss
from tests.ops.reference import match_greedy, match_lesson
from tests.ops.rows import ROWS
from tests.strategies import grid_boxes, masks

ANCHORS = make_anchors(grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),))
CLASSES, TRUTHS = 5, 3
LOSSES = {"bce": bce_loss, "focal": focal_loss}
GAMMAS = {"bce": None, "focal": 2}
JITTED = {
    (rule, name): jax.jit(partial(ssd_loss, rule=rule, class_loss=loss))
    for rule in RULES
    for name, loss in LOSSES.items()
}
DEFAULT = JITTED["best_iou", "focal"]


def total_and_parts(rule, *inputs):
    loss = ssd_loss(*inputs, rule=rule)
    return loss.total, loss


GRADIENT = {
    rule: jax.jit(jax.value_and_grad(partial(total_and_parts, rule), argnums=(0, 1), has_aux=True)) for rule in RULES
}


def reference(logits, activations, boxes, labels, valid, anchors, rule, gamma):
    """Decode, match and judge, anchor by anchor, in float64."""
    match = {"lesson": match_lesson, "best_iou": match_greedy}[rule]
    index, _, positive = match(np.asarray(anchors.corners), boxes, valid, 0.4)
    num_classes = logits.shape[1]
    distances, cost = [], 0.0
    for a in range(len(logits)):
        label = labels[index[a]] if positive[a] else None
        for c in range(num_classes):
            x, t = np.float64(logits[a, c]), float(c == label)
            log_p_t = -np.logaddexp(0, -x if t else x)
            weight = 1.0 if gamma is None else (0.25 if t else 0.75) * (1 - np.exp(log_p_t)) ** gamma
            cost -= weight * log_p_t
        if positive[a]:
            t = np.tanh(np.float64(activations[a]))
            cy, cx, height, width = np.float64(anchors.center_size[a])
            cell = float(anchors.cell_size[a, 0])
            cy, cx = cy + t[0] / 2 * cell, cx + t[1] / 2 * cell
            height, width = height * (1 + t[2] / 2), width * (1 + t[3] / 2)
            decoded = [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]
            distances += [abs(decoded[k] - boxes[index[a]][k]) for k in range(4)]
    localization = np.mean(distances) if distances else 0.0
    classification = cost / num_classes
    return localization + classification, localization, classification, positive.sum()


def predictions(seed, anchors=16):
    rng = np.random.default_rng(seed)
    logits, activations = rng.normal(-2, 2, (anchors, CLASSES)), rng.normal(0, 1, (anchors, 4))
    return logits.astype(np.float32), activations.astype(np.float32)


def assert_close(loss, expected):
    for got, want in zip(loss, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


LOGITS, ACTIVATIONS = predictions(0)
BOXES = np.array([[0.0, 0.0, 0.25, 0.375], [0.3125, 0.25, 0.75, 0.75], [0.0, 0.0, 0.25, 0.75]], np.float32)
LABELS, VALID = np.array([4, 0, 2], np.int32), np.array([True, True, True])
IMAGE = (LOGITS, ACTIVATIONS, BOXES, LABELS, VALID)


def test_worked_example():
    """One anchor, the whole image; the object is its left half, of class 1 of 2. All predictions are 0.

    The decoded box is the anchor: errors 0, 0, 0 and 1/2, a mean of 1/8. Each logit is a probability of 1/2, with a
    cross entropy of log 2; the focal weights are 1/4 x 1/4 for the object's class and 3/4 x 1/4 for the other.
    """
    anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
    box, label, valid = np.float32([[0, 0, 1, 1 / 2]]), np.array([1]), np.array([True])
    inputs = np.zeros((1, 2), np.float32), np.zeros((1, 4), np.float32), box, label, valid, anchors
    focal, bce = (JITTED["best_iou", name](*inputs) for name in ("focal", "bce"))
    assert_close(focal, (1 / 8 + np.log(2) / 8, 1 / 8, (1 / 16 + 3 / 16) * np.log(2) / 2, 1))
    assert_close(bce, (1 / 8 + np.log(2), 1 / 8, 2 * np.log(2) / 2, 1))


@pytest.mark.parametrize(("rule", "name"), JITTED)
@settings(max_examples=10)
@given(
    boxes=grid_boxes(TRUTHS, cells=16, empty=True),
    valid=masks(TRUTHS),
    labels=st.permutations(range(CLASSES)),
    seed=st.integers(0, 99),
)
def test_equals_the_lesson_written_as_loops(rule, name, boxes, valid, labels, seed):
    labels = np.array(labels[:TRUTHS], np.int32)
    inputs = (*predictions(seed), boxes, labels, valid, ANCHORS)
    loss = JITTED[rule, name](*inputs)
    assert_close(loss, reference(*inputs, rule, GAMMAS[name]))
    assert all(part.shape == () for part in loss)
    assert loss.num_positive.dtype == jnp.int32


def test_eager_with_the_defaults_is_focal_loss_best_iou_and_0_4():
    small = ROWS["ssd_loss"].arguments  # whose shapes other eager calls have too
    eager = ssd_loss(*small)
    assert_close(eager, reference(*small, "best_iou", 2))
    assert_close(eager, DEFAULT(*small))
    assert_close(DEFAULT(*IMAGE, ANCHORS), reference(*IMAGE, ANCHORS, "best_iou", 2))


def test_the_rules_differ_where_two_share_a_best_anchor():
    ours, lesson = (JITTED[rule, "bce"](*IMAGE, ANCHORS) for rule in ("best_iou", "lesson"))
    assert ours.num_positive == lesson.num_positive + 1


@pytest.mark.parametrize(("grids", "bias", "cost"), [((4,), -3.0, 0.7774), ((4, 2, 1), -4.0, 3.4303)])
def test_the_lesson_s_initial_cost_of_background(grids, bias, cost):
    ones = {"zooms": (1.0,), "ratios": ((1.0, 1.0),)} if grids == (4,) else {}
    anchors = make_anchors(grids, **ones)
    count = len(anchors.corners)

    def lesson_loss(*inputs):
        return jax.device_get(JITTED["lesson", "bce"](*inputs))

    predicted = np.full((count, 20), bias, np.float32), np.zeros((count, 4), np.float32)
    loss = lesson_loss(*predicted, BOXES, LABELS, ~VALID, anchors)
    np.testing.assert_allclose(loss.total, cost, atol=1e-4)
    assert loss.localization == 0
    matched = lesson_loss(*predicted, BOXES, LABELS, VALID, anchors)
    each = (matched.classification - loss.classification) / matched.num_positive
    np.testing.assert_allclose(each, -bias / 20, atol=1e-5)  # .15 and .20


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -1.0])
def test_padding_has_no_effect_on_value_or_gradient(rule, junk):
    valid = np.array([True, False, True])
    zeros = np.stack([BOXES[0], np.zeros(4, np.float32), BOXES[2]])
    boxes = np.where(valid[:, None], zeros, np.float32(junk))
    expected = GRADIENT[rule](LOGITS, ACTIVATIONS, zeros, LABELS * valid, valid, ANCHORS)
    assert_close(expected[0][1], reference(LOGITS, ACTIVATIONS, BOXES[::2], LABELS[::2], VALID[::2], ANCHORS, rule, 2))
    for label in (-1, 3, 10**9):
        labels = np.where(valid, LABELS, label)
        got = GRADIENT[rule](LOGITS, ACTIVATIONS, boxes, labels, valid, ANCHORS)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize(("rule", "count"), [("lesson", 3), ("best_iou", 3), ("best_iou", 0)])
def test_an_image_without_objects(rule, count):
    boxes, labels, valid = np.full((count, 4), np.nan, np.float32), np.zeros(count, np.int32), np.zeros(count, bool)
    (_, loss), gradient = jax.device_get(GRADIENT[rule](LOGITS, ACTIVATIONS, boxes, labels, valid, ANCHORS))
    assert_close(loss, reference(LOGITS, ACTIVATIONS, np.zeros((count, 4)), labels, valid, ANCHORS, rule, 2))
    assert loss.localization == 0
    assert loss.num_positive == 0
    assert (gradient[0] > 0).all()  # every logit is pushed down
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("size", [0.0, 1000.0])
def test_value_and_gradient_are_finite_at_extreme_predictions(size):
    signs = np.sign(LOGITS), np.sign(ACTIVATIONS)
    (value, _), gradients = GRADIENT["best_iou"](signs[0] * size, signs[1] * size, *IMAGE[2:], ANCHORS)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name):
    def total(logits, activations):
        return ssd_loss(logits, activations, *IMAGE[2:], ANCHORS, class_loss=LOSSES[name]).total

    with jax.enable_x64(True):
        check_grads(jax.jit(total), (np.float64(LOGITS), np.float64(ACTIVATIONS)), order=1, modes=("rev",))


def test_the_truth_decoded_has_no_localization_loss():
    """Each anchor predicts the one object exactly; only its best anchors are positive, and the error is 0 there."""
    boxes = BOXES[1:2]
    exact = encode_offsets(np.repeat(boxes, 16, axis=0), ANCHORS)
    inputs = (boxes, LABELS[1:2], VALID[:1], ANCHORS)
    offsets_loss = jax.jit(partial(ssd_loss, box_coder=BoxCoder(None, decode_offsets)))
    loss = offsets_loss(LOGITS, exact, *inputs)
    assert loss.num_positive > 0
    np.testing.assert_allclose(loss.localization, 0, atol=1e-6)
    assert offsets_loss(LOGITS, 0 * exact, *inputs).localization > 0.05


def test_the_threshold_reaches_the_matching():
    """The third box has an IoU of 1/3 with three cells: one is another's, one its own, one up to the threshold."""
    low = jax.jit(partial(ssd_loss, threshold=0.3))(*IMAGE, ANCHORS)
    assert int(low.num_positive) == int(DEFAULT(*IMAGE, ANCHORS).num_positive) + 1


def test_vmap_is_a_loop():
    valid = np.array([[True] * 3, [True, False, True], [False] * 3, [False, True, False]])
    batch = (*(np.stack(x) for x in zip(*map(predictions, range(4)), strict=True)),)
    batched = jax.jit(jax.vmap(ssd_loss, in_axes=(0, 0, None, None, 0, None)))(*batch, BOXES, LABELS, valid, ANCHORS)
    for i in range(4):
        inputs = (batch[0][i], batch[1][i], BOXES, LABELS, valid[i], ANCHORS)
        assert_close(DEFAULT(*inputs), [np.asarray(part)[i] for part in batched])
    assert isinstance(batched, SSDLoss)


def test_half_precision_is_computed_in_float32():
    half = jnp.asarray(LOGITS, jnp.bfloat16), jnp.asarray(ACTIVATIONS, jnp.bfloat16)
    (total, loss), gradient = GRADIENT["best_iou"](*half, *IMAGE[2:], ANCHORS)
    assert total.dtype == jnp.float32
    assert_close(loss, DEFAULT(*(x.astype(jnp.float32) for x in half), *IMAGE[2:], ANCHORS))
    assert all(g.dtype == jnp.bfloat16 for g in gradient)


def test_an_unknown_rule_lists_the_rules():
    with pytest.raises(ValueError, match="`rule` is 'best', expected one of 'best_iou', 'lesson'"):
        ssd_loss(*IMAGE, ANCHORS, rule="best")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("class_logits", jnp.zeros((16, 5, 1))),
        ("box_activations", jnp.zeros((16, 5))),
        ("gt_boxes", jnp.zeros(4)),
        ("gt_labels", jnp.zeros(4, jnp.int32)),
        ("gt_valid", jnp.zeros(2, bool)),
    ],
)
def test_a_wrong_shape_names_the_argument(name, wrong):
    names = ("class_logits", "box_activations", "gt_boxes", "gt_labels", "gt_valid")
    inputs = dict(zip(names, IMAGE, strict=True)) | {name: wrong}
    with pytest.raises((ValueError, TypeCheckError), match=name):
        ssd_loss(**inputs, anchors=ANCHORS)


def test_predictions_for_other_anchors_are_refused():
    with pytest.raises(
        ValueError, match=r"ssd_loss: `class_logits` has shape \(16, 5\), expected \[A, C\] with A = 189"
    ):
        ssd_loss(*IMAGE, make_anchors())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_labels_of_any_width_name_any_class(dtype):
    anchors = make_anchors((1,), (1.0,), ((1.0, 1.0),))
    box, valid = np.array([[0, 0, 1, 1]], np.float32), np.array([True])
    logits = np.full((1, 200), -20, np.float32)
    logits[0, 150] = 20
    inputs = logits, np.zeros((1, 4), np.float32), box, np.array([150], dtype), valid, anchors
    loss = jax.jit(partial(ssd_loss, *inputs))()  # of known labels, which are checked as they are given
    assert loss.classification < 1e-5
