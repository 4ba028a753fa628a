"""Values against the formulas in float64, gradients against theirs, and what happens at the extremes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads
from jaxtyping import TypeCheckError

from jaxssd.ops.losses import bce_loss, focal_loss, hard_negative_mask
from tests.ops.optimized import optimized
from tests.strategies import grid_scores, masks

LOSSES = (bce_loss, focal_loss)
JITTED = {loss: optimized(loss) for loss in LOSSES}
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
EXTREMES = [-1e4, -1000, -100, -1e-3, -0.0, 100, 1000, 1e4]
LOGITS = np.concatenate([np.linspace(-30, 30, 25), EXTREMES]).astype(np.float32)
VALUES_AND_GRADIENTS = {  # None stands for the cross entropy
    gamma: jax.jit(jax.vmap(jax.value_and_grad(bce_loss if gamma is None else partial(focal_loss, gamma=gamma))))
    for gamma in (None, *GAMMAS)
}
MASKS = {ratio: jax.jit(partial(hard_negative_mask, ratio=ratio)) for ratio in (1, 3)}
BATCHED_MASK = jax.jit(jax.vmap(hard_negative_mask))


def test_worked_example():
    """The logit log 3 is a probability of 3/4."""
    logits, targets = np.float32([np.log(3), np.log(3)]), np.array([1, 0])
    np.testing.assert_allclose(JITTED[bce_loss](logits, targets), [np.log(4 / 3), np.log(4)], rtol=1e-6)
    weights = [0.25 * (1 / 4) ** 2, 0.75 * (3 / 4) ** 2]  # alpha_t (1 - p_t)^2
    np.testing.assert_allclose(JITTED[focal_loss](logits, targets), weights * np.log([4 / 3, 4]), rtol=1e-5)
    # One positive and a ratio of 2: of the negatives 1, 3 and 2 the last two.
    mask = jax.jit(hard_negative_mask)(np.float32([9, 1, 3, 2]), np.array([True, False, False, False]), ratio=2)
    assert mask.tolist() == [False, False, True, True]


def log_p(x):
    """Logarithm of sigmoid(x), in float64."""
    return -np.logaddexp(0, -np.float64(x))


def reference_bce(x, t):
    return -t * log_p(x) - (1 - t) * log_p(-x)


def reference_focal(x, t, alpha, gamma):
    p = np.exp(log_p(x))
    p_t = p * t + (1 - p) * (1 - t)
    return (alpha * t + (1 - alpha) * (1 - t)) * (1 - p_t) ** gamma * reference_bce(x, t)


def reference_focal_gradient(x, t, alpha, gamma):
    """For hard targets, with the gradient through the weight."""
    p, q = np.exp(log_p(x)), np.exp(log_p(-x))
    one = alpha * q**gamma * (gamma * p * log_p(x) - q)
    zero = (1 - alpha) * p**gamma * (p - gamma * q * log_p(-x))
    return np.where(t == 1, one, zero)


def reference_hard_negative_mask(loss, positive, ratio):
    negatives = sorted(np.flatnonzero(~positive), key=lambda a: (np.isnan(loss[a]), -np.nan_to_num(loss[a], nan=0), a))
    mask = np.zeros(len(loss), bool)
    mask[negatives[: ratio * int(positive.sum())]] = True
    return mask


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_bce_is_the_formula(target):
    targets = np.full_like(LOGITS, target)
    np.testing.assert_allclose(JITTED[bce_loss](LOGITS, targets), reference_bce(LOGITS, target), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5)])
def test_focal_is_the_formula(alpha, gamma):
    loss = optimized(partial(focal_loss, alpha=alpha, gamma=gamma))
    for target in (0.0, 0.3, 1.0):
        targets = np.full_like(LOGITS, target)
        got, expected = loss(LOGITS, targets), reference_focal(LOGITS, target, alpha, gamma)
        np.testing.assert_allclose(
            got, expected, rtol=1e-4, atol=1e-15
        )  # the reference's 1 - p_t cancels where it is tiny
        if (alpha, gamma) == (0.25, 2.0):
            np.testing.assert_array_equal(got, JITTED[focal_loss](LOGITS, targets))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("target", [0, 1])
def test_the_gradient_flows_through_the_focal_weight(gamma, target):
    _, gradient = VALUES_AND_GRADIENTS[gamma](LOGITS, np.full_like(LOGITS, target))
    np.testing.assert_allclose(gradient, reference_focal_gradient(LOGITS, target, 0.25, gamma), rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("gamma", [None, *GAMMAS])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_value_and_gradient_are_finite_at_extreme_logits(gamma, target):
    value, gradient = jax.device_get(VALUES_AND_GRADIENTS[gamma](LOGITS, np.full_like(LOGITS, target)))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert (value >= 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_match_finite_differences(loss):
    logits, targets = np.meshgrid(np.linspace(-4, 4, 7), [0.0, 0.3, 1.0])
    with jax.enable_x64(True):
        check_grads(jax.jit(partial(loss, targets=targets)), (logits,), order=1)


@pytest.mark.parametrize("loss", LOSSES)
def test_jit_and_vmap_agree_with_eager(loss):
    x = LOGITS[:28].reshape(4, 7)
    t = (x > 1).astype(np.float32)
    np.testing.assert_allclose(JITTED[loss](x, t), loss(x, t), rtol=1e-6)
    rows = [JITTED[loss](*row) for row in zip(x, t, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(x, t), rows, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [bool, np.int32, jnp.bfloat16])
def test_targets_of_any_dtype_and_half_precision_logits(loss, dtype):
    x, t = LOGITS[:8], np.arange(8) % 2
    np.testing.assert_array_equal(JITTED[loss](x, t.astype(dtype)), JITTED[loss](x, t.astype(np.float32)))
    half = jnp.asarray(x, jnp.bfloat16)
    got = JITTED[loss](half, t.astype(dtype))
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, JITTED[loss](half.astype(jnp.float32), t.astype(np.float32)))


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_are_not_broadcast(loss):
    for shape in ((3, 1), (1, 3), (3,), ()):
        with pytest.raises((ValueError, TypeCheckError), match="targets"):
            loss(jnp.zeros((3, 3)), jnp.zeros(shape))


@given(loss=grid_scores(16, steps=4), positive=masks(16), ratio=st.sampled_from([1, 3]))
def test_hard_negatives_are_the_sorted_list(loss, positive, ratio):
    selected = np.asarray(MASKS[ratio](loss, positive))
    np.testing.assert_array_equal(selected, reference_hard_negative_mask(loss, positive, ratio))
    assert selected.sum() == min(ratio * positive.sum(), (~positive).sum())
    assert not (selected & positive).any()


@settings(max_examples=10)
@given(loss=grid_scores(16, steps=4), positive=masks(16))
def test_hard_negatives_jit_and_vmap_agree_with_eager(loss, positive):
    one, other = MASKS[3](loss, positive), MASKS[3](-loss, ~positive)
    np.testing.assert_array_equal(hard_negative_mask(loss, positive), one)
    np.testing.assert_array_equal(
        BATCHED_MASK(np.stack([loss, -loss]), np.stack([positive, ~positive])), np.stack([one, other])
    )


@given(
    loss=arrays(np.float32, 12, elements=st.floats(width=32, allow_subnormal=False) | st.sampled_from([-0.0, 0.0])),
    positive=masks(12),
)
def test_hard_negatives_of_any_floats_are_the_sorted_list(loss, positive):
    """Negative numbers, two zeros that tie, infinities, NaN of either sign."""
    np.testing.assert_array_equal(MASKS[1](loss, positive), reference_hard_negative_mask(loss, positive, 1))


def test_hard_negatives_in_float64():
    with jax.enable_x64(True):
        loss = np.array([0.0, 1.0, 1.0 + 1e-12, -1.0, -1.0 + 1e-12])
        for ratio, selected in ((1, [2]), (3, [1, 2, 4])):
            mask = jax.jit(partial(hard_negative_mask, ratio=ratio))(loss, loss == 0)
            assert np.flatnonzero(mask).tolist() == selected


def test_hard_negatives_at_the_extremes():
    nan, inf = float("nan"), float("inf")
    loss = np.array([nan, 1.0, inf, 5.0, -inf, nan], np.float32)
    one = np.array([False, False, False, True, False, False])
    assert MASKS[3](loss, one).tolist() == [False, True, True, False, True, False]
    assert MASKS[1](loss.astype(jnp.bfloat16), one).tolist() == [False, False, True, False, False, False]
    assert jax.jit(partial(hard_negative_mask, ratio=5))(loss, one).tolist() == (~one).tolist()
    assert not any(MASKS[3](loss, ~one & one).tolist())
    assert not any(MASKS[3](loss, ~one | one).tolist())
    assert MASKS[3](loss[:0], one[:0]).shape == (0,)


def test_the_mask_itself_has_no_gradient_but_the_masked_loss_has():
    positive = np.array([True, False, False])
    gradient = jax.jit(jax.grad(lambda loss: jnp.sum(loss, where=hard_negative_mask(loss, positive, ratio=1))))
    assert gradient(np.array([3.0, 1.0, 2.0], np.float32)).tolist() == [0.0, 0.0, 1.0]


def test_hard_negatives_name_a_wrong_shape():
    for name, arguments in {
        "loss": (jnp.zeros((3, 1)), jnp.zeros(3, bool)),
        "positive": (jnp.zeros(3), jnp.zeros(4, bool)),
    }.items():
        with pytest.raises((ValueError, TypeCheckError), match=name):
            hard_negative_mask(*arguments)
