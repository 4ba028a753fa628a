"""Box losses of overlap against the formulas in float64, box by box, and what happens without area or overlap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.test_util import check_grads
from jaxtyping import TypeCheckError

from jaxssd.ops.box_losses import BOX_LOSSES, ciou_loss, diou_loss, giou_loss
from jaxssd.ops.boxes import generalized_box_iou
from tests.strategies import grid_boxes

LOSSES = (giou_loss, diou_loss, ciou_loss)


def all_three(boxes, truth):
    return jnp.stack([loss(boxes, truth) for loss in LOSSES])


@jax.jit
def program(boxes, truth):
    """Losses `[3, N]` and the gradients of each one's sum."""
    values, back = jax.vjp(all_three, boxes, truth)
    return values, [back(jnp.zeros_like(values).at[i].set(1)) for i in range(3)]


def values_and_gradients(boxes, truth):
    """For at most 64 pairs: filled up, so that one program is compiled."""
    count = len(boxes)
    filled = [np.zeros((64, 4), np.float32) for _ in range(2)]
    for rows, given_rows in zip(filled, (boxes, truth), strict=True):
        rows[:count] = given_rows
    values, gradients = jax.device_get(program(*filled))
    return values[:, :count], jax.tree.map(lambda x: x[:count], gradients)


def losses(box, truth):
    return values_and_gradients([box], [truth])[0][:, 0]


def reference(a, b):
    """All three losses of one pair, by the papers' formulas in float64."""
    a, b = np.float64(a), np.float64(b)
    height_a, width_a, height_b, width_b = *(a[2:] - a[:2]), *(b[2:] - b[:2])
    overlap = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    union = height_a * width_a + height_b * width_b - overlap
    hull = np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2])
    iou = overlap / union if union else 0.0
    giou = 1 - iou + ((hull.prod() - union) / hull.prod() if hull.prod() else 0.0)
    distance = (((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2) ** 2).sum()
    diou = 1 - iou + (distance / (hull**2).sum() if hull.any() else 0.0)
    v = 4 / np.pi**2 * (np.arctan2(width_b, height_b) - np.arctan2(width_a, height_a)) ** 2
    return giou, diou, diou + (v * v / (1 - iou + v) if v else 0.0)


def test_worked_example():
    """Squares of 2 x 2 cells on a grid of 4 x 4 that share one cell: 1 of 7 cells, a hull of 3 x 3.

    The centres are one cell apart in each direction, of the hull's three. The second case is a bar and the bar turned,
    with a quarter of 7/16 in common: arctan 4 - arctan 1/4 = 1.0808, v = 0.4734.
    """
    squares = [0, 0, 2, 2], [1, 1, 3, 3]
    np.testing.assert_allclose(losses(*squares), [1 - 1 / 7 + 2 / 9, 1 - 1 / 7 + 2 / 18, 1 - 1 / 7 + 2 / 18], rtol=1e-6)
    flat, tall = [0, 0, 1, 4], [0, 0, 4, 1]
    v = 0.47342
    expected = [1 - 1 / 7 + 9 / 16, 1 - 1 / 7 + 4.5 / 32, 1 - 1 / 7 + 4.5 / 32 + v * v / (1 - 1 / 7 + v)]
    np.testing.assert_allclose(losses(flat, tall), expected, rtol=1e-4)


@settings(max_examples=40)
@given(a=grid_boxes(8, cells=8, empty=True), b=grid_boxes(8, cells=8, empty=True))
def test_they_are_the_formulas_and_bounded(a, b):
    got, gradients = values_and_gradients(a, b)
    np.testing.assert_allclose(got, np.transpose([reference(*pair) for pair in zip(a, b, strict=True)]), atol=2e-6)
    assert (got >= 0).all()
    assert (got.max(axis=1) <= [2, 2, 3]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    np.testing.assert_array_equal(got, values_and_gradients(b, a)[0])  # symmetric


def test_equal_boxes_have_no_loss_and_no_gradient():
    boxes = np.float32([[0.1, 0.2, 0.5, 0.4], [0, 0, 1, 1], [-3, 2, 4, 9], [0.1, 0.1, 0.1001, 0.9], [0, 0, 0, 0]])
    got, gradients = values_and_gradients(boxes, boxes)
    np.testing.assert_array_equal(got, [[0] * 4 + [1]] * 3)  # a point has an IoU of 0 with itself
    assert all(np.abs(x).max() < 1e-3 for x in jax.tree.leaves(gradients))


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1.0, 1e6])
def test_gradients_are_finite_without_area_or_overlap(scale):
    kinds = np.float32(
        [[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0.5] * 4, [1, 1, 0, 0], [5, 5, 6, 6], [0, 0, 1e-3, 1], [0] * 4]
    )
    a, b = np.repeat(kinds, 8, axis=0) * np.float32(scale), np.tile(kinds, (8, 1))
    for pair in ((a, b), (a, np.float32(scale) * b)):
        got, gradients = values_and_gradients(*pair)
        assert np.isfinite(got).all()
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_generalized_iou_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    near = rng.random((2, 6, 2))
    a, b = np.concatenate([near, near + rng.random((2, 6, 2))], axis=-1).astype(np.float32)
    all_pairs = 1 - np.asarray(jax.jit(generalized_box_iou)(a, b))
    np.testing.assert_allclose(values_and_gradients(a, b)[0][0], np.diagonal(all_pairs), atol=1e-6)


def test_gradients_match_finite_differences():
    """The weight of `ciou_loss` has no gradient, so the pairs have the shape of their truth."""
    a = np.array([[0.1, 0.2, 0.5, 0.7], [0.0, 0.0, 0.3, 0.2], [0.6, 0.6, 0.9, 0.8]])
    b = np.concatenate([a[:, :2], 1.3 * a[:, 2:] - 0.3 * a[:, :2]], axis=1) + 0.07
    with jax.enable_x64(True):
        check_grads(jax.jit(lambda shift: all_three(a + shift, b)), (np.full((3, 1), 0.01),), order=1, modes=("rev",))


def test_a_step_against_the_gradient_brings_a_distant_box_nearer():
    box, truth = np.float32([[0, 0, 0.2, 0.2]]), np.float32([[0.6, 0.5, 0.9, 0.9]])
    before, gradients = values_and_gradients(box, truth)
    for i, (of_box, _) in enumerate(gradients):
        assert values_and_gradients(box - 0.1 * of_box, truth)[0][i] < before[i]


def test_an_unknown_coordinate_is_an_unknown_loss():
    assert np.isnan(losses([np.nan, 0, 1, 1], [0, 0, 1, 1])).all()


def test_names_of_the_option():
    assert list(BOX_LOSSES) == ["coder", "giou", "diou", "ciou"]


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_are_not_broadcast(loss):
    for name, pair in {"truth": (np.zeros((3, 4)), np.zeros(4)), "boxes": (np.zeros((3, 5)), np.zeros((3, 4)))}.items():
        with pytest.raises((ValueError, TypeCheckError), match=name):
            loss(*map(np.float32, pair))
