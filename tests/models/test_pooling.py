"""Max-pooling with a gathered gradient: Flax's numbers and gradients, and a slow loop over the windows."""

from functools import partial

import flax.linen as nn
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.models.fast_layers import max_pool_3x3

SHAPES = [(2, 8, 6, 3), (1, 7, 5, 2), (1, 1, 1, 1), (1, 1, 6, 2), (1, 9, 10, 1)]


def flax_max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def relu_after(x):
    return nn.relu(max_pool_3x3(x))


def relu_before(x):
    return flax_max_pool(nn.relu(x))


@partial(jax.jit, static_argnames="function")
def value_and_pull_back(function, x, cotangent):
    y, pull_back = jax.vjp(function, x)
    return y, pull_back(cotangent)[0]


def reference(x, cotangent):
    """Window by window: its largest pixel, the first one row by row, gets its gradient."""
    y, gradient = np.zeros(cotangent.shape), np.zeros(x.shape)
    for b, i, j, c in np.ndindex(y.shape):
        rows = range(max(2 * i - 1, 0), min(2 * i + 2, x.shape[1]))
        columns = range(max(2 * j - 1, 0), min(2 * j + 2, x.shape[2]))
        pixels = [(x[b, row, column, c], row, column) for row in rows for column in columns]
        largest, row, column = max(pixels, key=lambda pixel: pixel[0])  # the first of equals
        y[b, i, j, c] = largest
        gradient[b, row, column, c] += cotangent[b, i, j, c]
    return y, gradient


def cotangent_like(shape, seed=0):
    batch, height, width, channels = shape
    grid = (batch, -(-height // 2), -(-width // 2), channels)
    return np.random.default_rng(seed).integers(-9, 10, grid).astype(np.float32)  # whose sums are exact


@st.composite
def maps(draw):
    """Few different values, so that there are ties; some are at 0, where the ReLU has its kink."""
    return draw(hnp.arrays(np.float32, draw(st.sampled_from(SHAPES)), elements=st.integers(-2, 2).map(float)))


@given(maps())
def test_equals_the_reference_and_flax(x):
    cotangent = cotangent_like(x.shape)
    got = value_and_pull_back(max_pool_3x3, x, cotangent)
    for expected in (reference(x, cotangent), value_and_pull_back(flax_max_pool, x, cotangent)):
        jax.tree.map(np.testing.assert_array_equal, got, expected)


@settings(max_examples=25)
@given(maps())
def test_the_relu_may_come_afterwards(x):
    cotangent = cotangent_like(x.shape)
    after, before = (value_and_pull_back(function, x, cotangent) for function in (relu_after, relu_before))
    jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize("shape", SHAPES)
def test_random_maps_and_any_gradient(shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    cotangent = np.random.default_rng(2).normal(size=cotangent_like(shape).shape).astype(np.float32)
    got, expected = (value_and_pull_back(function, x, cotangent) for function in (max_pool_3x3, flax_max_pool))
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-6, atol=1e-6)
    jitted_is_eager = max_pool_3x3(x), jax.vjp(max_pool_3x3, x)[1](cotangent)[0]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), got, jitted_is_eager)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.finfo(np.float32).max, -np.finfo(np.float32).max])
def test_extremes_as_in_flax(value):
    x = np.full((1, 5, 6, 1), value, np.float32)
    x[0, 2, 3] = 0
    got, expected = (
        value_and_pull_back(function, x, cotangent_like(x.shape)) for function in (max_pool_3x3, flax_max_pool)
    )
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("pixel", [(0, 0), (1, 1), (2, 4), (5, 4)])
def test_a_nan_reaches_the_windows_it_lies_in_and_takes_their_gradient(pixel):
    x = np.random.default_rng(3).normal(size=(1, 6, 5, 1)).astype(np.float32)
    x[0, *pixel] = np.nan
    (y, gradient), (expected, _) = (
        value_and_pull_back(function, x, np.ones((1, 3, 3, 1), np.float32))
        for function in (max_pool_3x3, flax_max_pool)
    )
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(relu_after(x), relu_before(x))
    assert gradient[0, *pixel, 0] == np.isnan(y).sum() > 0


def test_vmap_is_a_loop_and_bfloat16_stays():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(3, 2, 6, 7, 2)), jnp.bfloat16)
    gradient = jax.grad(lambda x: max_pool_3x3(x).sum())
    together, loop = jax.jit(lambda x: (jax.vmap(gradient)(x), jnp.stack([gradient(part) for part in x])))(x)
    assert together.dtype == max_pool_3x3(x[0]).dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(together), np.float32(loop))


def test_a_byte_for_each_window_is_all_that_is_kept():
    x = jnp.zeros((2, 8, 8, 4))
    y, pull_back = jax.vjp(max_pool_3x3, x)
    assert [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(pull_back) if leaf.size > 1] == [(jnp.uint8, y.shape)]
    compiled = jax.jit(jax.grad(lambda x: max_pool_3x3(x).sum())).lower(x).as_text()
    assert "scatter" not in compiled
