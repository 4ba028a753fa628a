"""The keywords of `ssd_loss` that SSD300 needs: each alone, and together, against the paper's formulas as loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import make_anchors, ssd300_anchors
from jaxssd.ops.box_coder import OFFSET_CODER, TANH_CODER, BoxCoder, encode_offsets
from jaxssd.ops.losses import bce_loss
from jaxssd.ops.matching import RULES
from jaxssd.ops.ssd_loss import ssd_loss
from tests.ops.optimized import optimized
from tests.ops.reference import match_greedy
from tests.ops.rows import ROWS
from tests.strategies import grid_boxes, masks

ANCHORS = make_anchors(grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),))
COUNT, CLASSES, TRUTHS = 16, 5, 3
SETTINGS = {
    "offsets": {"box_coder": OFFSET_CODER},
    "negative_ratio": {"negative_ratio": 2},
    "normalizer": {"normalizer": "positives"},
    "together": {"box_coder": OFFSET_CODER, "negative_ratio": 3, "normalizer": "positives"},
}
bce_ssd_loss = partial(ssd_loss, class_loss=bce_loss, threshold=0.5)
ssd300_loss = partial(bce_ssd_loss, **SETTINGS["together"])
JITTED = {name: jax.jit(partial(bce_ssd_loss, **keywords)) for name, keywords in SETTINGS.items()}
SSD300 = JITTED["together"]
FOCAL = jax.jit(partial(ssd_loss, box_coder=OFFSET_CODER, normalizer="positives"))


def total_and_parts(*inputs):
    loss = ssd300_loss(*inputs)
    return loss.total, loss


GRADIENT = jax.jit(jax.value_and_grad(total_and_parts, argnums=(0, 1), has_aux=True))


def reference_encode(box, anchor):
    center, size = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1e-6)
    return np.concatenate([10 * (center - anchor[:2]) / anchor[2:], 5 * np.log(size / anchor[2:])])


def reference_smooth_l1(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def reference(
    logits, activations, boxes, labels, valid, box_coder=TANH_CODER, negative_ratio=None, normalizer="classes"
):
    """Match, encode or decode, choose the negatives and judge, anchor by anchor, in float64."""
    index, _, positive = match_greedy(np.asarray(ANCHORS.corners), boxes, valid, 0.5)
    localization, cost = 0.0, np.zeros(COUNT)
    for a, anchor in enumerate(np.float64(ANCHORS.center_size)):
        label = labels[index[a]] if positive[a] else None
        cost[a] = sum(np.logaddexp(0, -x if c == label else x) for c, x in enumerate(np.float64(logits[a])))
        if not positive[a]:
            continue
        box, activation = np.float64(boxes[index[a]]), np.float64(activations[a])
        if box_coder.encode:
            localization += sum(map(reference_smooth_l1, activation - reference_encode(box, anchor)))
        else:
            bounded = np.tanh(activation) / 2
            center = anchor[:2] + bounded[:2] * float(ANCHORS.cell_size[a, 0])
            size = anchor[2:] * (1 + bounded[2:])
            localization += np.abs(np.concatenate([center - size / 2, center + size / 2]) - box).mean()
    negatives = sorted(np.flatnonzero(~positive), key=lambda a: -cost[a])
    if negative_ratio is not None:
        negatives = negatives[: negative_ratio * positive.sum()]
    localization /= max(positive.sum(), 1)
    divisor = CLASSES if normalizer == "classes" else max(positive.sum(), 1)
    classification = (cost[positive].sum() + cost[negatives].sum()) / divisor
    return localization + classification, localization, classification, positive.sum()


def predictions(seed):
    rng = np.random.default_rng(seed)
    logits, activations = rng.normal(-2, 2, (COUNT, CLASSES)), rng.normal(0, 2, (COUNT, 4))
    return logits.astype(np.float32), activations.astype(np.float32)


def assert_close(loss, expected):
    for got, want in zip(loss, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


LOGITS, ACTIVATIONS = predictions(0)
BOXES = np.array([[0.0, 0.0, 0.25, 0.375], [0.3125, 0.25, 0.75, 0.75], [0.0, 0.0, 0.25, 0.75]], np.float32)
LABELS, VALID = np.array([4, 0, 2], np.int32), np.ones(3, bool)
TRUTH = (BOXES, LABELS, VALID)


def test_worked_example():
    """Four anchors, the quarters of the image; the object is the first quarter, moved right by a fifth of its side.

    Its IoU is 0.2 / 0.3 with the first quarter and 0.05 / 0.45 with the second: one positive. The offset is 2, 10 times
    a fifth, with a smooth L1 of 2 - 1/2. Each of the 4 logits costs log 2: the positive, and 2 or all of the negatives.
    """
    anchors = make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 1.0),))
    box, label, valid = np.float32([[0, 0.1, 0.5, 0.6]]), np.array([0]), np.array([True])
    inputs = np.zeros((4, 1), np.float32), np.zeros((4, 4), np.float32), box, label, valid, anchors
    loss = jax.jit(lambda ratio: ssd300_loss(*inputs, negative_ratio=ratio))
    assert_close(loss(3), (1.5 + 4 * np.log(2), 1.5, 4 * np.log(2), 1))
    assert_close(loss(2), (1.5 + 3 * np.log(2), 1.5, 3 * np.log(2), 1))


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=15)
@given(
    boxes=grid_boxes(TRUTHS, cells=16, empty=True),
    valid=masks(TRUTHS),
    labels=st.permutations(range(CLASSES)),
    seed=st.integers(0, 99),
)
def test_equals_the_formulas_written_as_loops(name, boxes, valid, labels, seed):
    inputs = (*predictions(seed), boxes, np.array(labels[:TRUTHS], np.int32), valid)
    loss = JITTED[name](*inputs, ANCHORS)
    assert_close(loss, reference(*inputs, **SETTINGS[name]))
    assert all(part.shape == () for part in loss)


def test_eager_equals_jit_and_vmap_equals_a_loop():
    valid = np.array([[True] * 3, [True, False, True], [False] * 3])
    batch = [np.stack(x) for x in zip(*map(predictions, range(3)), strict=True)]
    batched = jax.jit(jax.vmap(ssd300_loss, in_axes=(0, 0, None, None, 0, None)))(*batch, BOXES, LABELS, valid, ANCHORS)
    for i in range(3):
        inputs = (batch[0][i], batch[1][i], BOXES, LABELS, valid[i], ANCHORS)
        assert_close(SSD300(*inputs), [np.asarray(part)[i] for part in batched])
    small = ROWS["ssd_loss"].arguments  # whose shapes other eager calls have too
    assert_close(ssd300_loss(*small), SSD300(*small))


@given(boxes=grid_boxes(TRUTHS, cells=16), valid=masks(TRUTHS), seed=st.integers(0, 99))
def test_only_the_positives_and_three_negatives_for_each_learn(boxes, valid, seed):
    (_, loss), (of_logits, of_activations) = GRADIENT(*predictions(seed), boxes, LABELS, valid, ANCHORS)
    learning = np.abs(of_logits).sum(axis=1) > 0
    assert learning.sum() == min(4 * int(loss.num_positive), COUNT)
    assert (np.abs(of_activations).sum(axis=1) > 0).sum() <= loss.num_positive


@pytest.mark.parametrize("count", [3, 0])
def test_an_image_without_objects_costs_nothing(count):
    nothing = np.full((count, 4), np.nan, np.float32), np.zeros(count, np.int32), np.zeros(count, bool)
    (_, loss), gradients = GRADIENT(LOGITS, ACTIVATIONS, *nothing, ANCHORS)
    assert all(part == 0 for part in loss)
    assert all((gradient == 0).all() for gradient in gradients)
    focal = FOCAL(LOGITS, ACTIVATIONS, *nothing, ANCHORS)
    assert focal.localization == 0
    assert np.isfinite(focal.total)
    assert focal.total > 0


@pytest.mark.parametrize("junk", [np.nan, np.inf, -1.0])
def test_padding_has_no_effect_on_value_or_gradient(junk):
    valid = np.array([True, False, True])
    zeros = np.where(valid[:, None], BOXES, 0)
    expected = GRADIENT(LOGITS, ACTIVATIONS, zeros, LABELS * valid, valid, ANCHORS)
    assert_close(expected[0][1], reference(LOGITS, ACTIVATIONS, zeros, LABELS, valid, **SETTINGS["together"]))
    for label in (-1, 10**9):
        boxes, labels = np.where(valid[:, None], BOXES, np.float32(junk)), np.where(valid, LABELS, label)
        got = GRADIENT(LOGITS, ACTIVATIONS, boxes, labels, valid, ANCHORS)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("valid", [[True, False, False], [False] * 3])
def test_the_gradient_of_the_truth_is_finite_whatever_the_padding(valid):
    valid = np.array(valid)
    boxes = np.where(valid[:, None], BOXES, np.nan)
    gradient = jax.jit(jax.grad(lambda b: ssd300_loss(LOGITS, ACTIVATIONS, b, LABELS, valid, ANCHORS).total))(boxes)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal((gradient != 0).any(axis=1), valid)


@pytest.mark.parametrize("size", [0.0, 1000.0, 1e30])
@pytest.mark.parametrize("side", [0.0, 1e-20, 1.0, 1e6])
def test_value_and_gradient_are_finite_at_the_extremes(size, side):
    boxes = np.array([[0.5, 0.5, 0.5 + side, 0.5 + side], [0, 0, side, 0], [0, 0, 1, 1]], np.float32)
    signs = np.sign(LOGITS), np.sign(ACTIVATIONS)
    (value, loss), gradients = GRADIENT(signs[0] * size, signs[1] * size, boxes, LABELS, VALID, ANCHORS)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[1]).max() <= 1 / loss.num_positive + 1e-6


def test_gradients_match_finite_differences():
    def total(logits, activations):
        return ssd300_loss(logits, activations, *TRUTH, ANCHORS).total

    with jax.enable_x64(True):
        check_grads(jax.jit(total), (np.float64(LOGITS), np.float64(ACTIVATIONS)), order=1, modes=("rev",))


def test_the_truth_encoded_has_no_localization_loss_and_nothing_is_decoded():
    def refuse(activations, anchors):
        raise AssertionError("`decode` was called")

    box = BOXES[1:2]
    exact = encode_offsets(np.repeat(box, COUNT, axis=0), ANCHORS)
    loss = jax.jit(partial(ssd300_loss, box_coder=BoxCoder(encode_offsets, refuse)))(
        LOGITS, exact, box, LABELS[1:2], VALID[:1], ANCHORS
    )
    assert loss.num_positive > 0
    np.testing.assert_allclose(loss.localization, 0, atol=1e-9)


def test_a_ratio_that_reaches_every_negative_changes_nothing():
    all_of_them = jax.jit(partial(bce_ssd_loss, negative_ratio=COUNT))(LOGITS, ACTIVATIONS, *TRUTH, ANCHORS)
    assert_close(all_of_them, reference(LOGITS, ACTIVATIONS, *TRUTH))


@pytest.mark.parametrize("rule", RULES)
def test_no_array_of_all_pairs_is_ever_stored(rule):
    images, truths, anchors = 2, 100, ssd300_anchors()
    num_anchors = len(anchors.corners)

    def total(*image):
        return ssd300_loss(*image, anchors, rule=rule).total

    shapes = [((num_anchors, 1), jnp.float32), ((num_anchors, 4), jnp.float32)]
    shapes += [((truths, 4), jnp.float32), ((truths,), jnp.int32), ((truths,), bool)]
    batch = [jax.ShapeDtypeStruct((images, *shape), dtype) for shape, dtype in shapes]
    compiled = optimized(jax.vmap(jax.value_and_grad(total, argnums=(0, 1)))).lower(*batch).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < images * truths * num_anchors * 4 / 3


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"normalizer": "anchors"}, "normalizer"),
        ({"normalizer": 0}, "`normalizer` is 0, expected a number above 0"),
        ({"negative_ratio": 0}, "`negative_ratio` is 0, expected 1 or more"),
        ({"negative_ratio": -3}, "`negative_ratio` is -3"),
        ({"box_coder": "offsets"}, "box_coder"),
        ({"class_loss": "focal"}, "class_loss"),
    ],
)
def test_a_bad_keyword_is_named(keywords, message):
    with pytest.raises((ValueError, TypeError, TypeCheckError), match=message):
        jax.eval_shape(partial(ssd_loss, **keywords), *ROWS["ssd_loss"].arguments)
