"""The first convolution on 2x2 blocks: the numbers and gradients of the 7x7 convolution, and its variables."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.models.fast_layers import SpaceToDepthConv, space_to_depth_conv
from jaxssd.models.resnet import KERNEL_INIT


def plain_conv(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (2, 2), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.jit, static_argnames="function")
def value_and_pull_back(function, images, kernel, cotangent):
    y, pull_back = jax.vjp(function, images, kernel)
    return y, pull_back(cotangent)


@settings(max_examples=20)
@given(st.sampled_from([(8, 14, 3), (13, 6, 1), (9, 7, 2), (1, 1, 3), (2, 3, 1)]), st.integers(0, 999))
def test_equals_the_plain_convolution(shape, seed):
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, height, width, channels)).astype(np.float32)
    kernel = rng.normal(size=(7, 7, channels, 4)).astype(np.float32)
    cotangent = rng.normal(size=(2, -(-height // 2), -(-width // 2), 4)).astype(np.float32)
    got, expected = (value_and_pull_back(f, images, kernel, cotangent) for f in (space_to_depth_conv, plain_conv))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), got, expected)


@pytest.mark.parametrize(("size", "pixel"), [(9, (8, 8)), (8, (0, 7)), (6, (3, 2))])
def test_a_pixel_shows_the_kernel(size, pixel):
    """Output i reads pixel p with tap p - 2i + 3, if there is one."""
    images = np.zeros((1, size, size, 1), np.float32)
    images[0, *pixel] = 1
    kernel = np.arange(1.0, 50).reshape(7, 7, 1, 1).astype(np.float32)
    got = space_to_depth_conv(images, kernel)[0, :, :, 0]
    taps = [
        [tuple(p - 2 * n + 3 for p, n in zip(pixel, (i, j), strict=True)) for j in range(len(got))]
        for i in range(len(got))
    ]
    expected = [[kernel[tap][0, 0] if all(0 <= t < 7 for t in tap) else 0 for tap in row] for row in taps]
    np.testing.assert_allclose(got, expected)


def test_variables_are_those_of_the_plain_convolution():
    images = np.random.default_rng(0).normal(size=(1, 9, 8, 3)).astype(np.float32)
    ours = SpaceToDepthConv(16, KERNEL_INIT)
    plain = nn.Conv(16, (7, 7), strides=2, padding=3, use_bias=False, kernel_init=KERNEL_INIT)
    variables = ours.init(jax.random.key(0), images)
    jax.tree.map(np.testing.assert_array_equal, variables, plain.init(jax.random.key(0), images))
    assert variables["params"]["kernel"].shape == (7, 7, 3, 16)
    np.testing.assert_allclose(ours.apply(variables, images), plain.apply(variables, images), rtol=1e-4, atol=1e-5)


def test_bfloat16_computes_in_it_and_keeps_the_kernel_in_float32():
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    half = SpaceToDepthConv(4, KERNEL_INIT, jnp.bfloat16)
    variables = half.init(jax.random.key(0), images)
    assert variables["params"]["kernel"].dtype == jnp.float32
    got = half.apply(variables, images)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), half.clone(dtype=jnp.float32).apply(variables, images), atol=0.05)


def test_a_nan_reaches_one_output_more_where_the_blocks_have_one_pixel_more():
    """The zero in front of the kernel reads it, and zero times NaN is NaN."""
    images = np.zeros((1, 12, 11, 3), np.float32)
    images[0, 5, 6, 1] = np.nan  # 5 is odd: a block that ends there ends a 7x7 window too
    kernel = np.ones((7, 7, 3, 1), np.float32)
    ours, plain = (np.isnan(f(images, kernel))[0, :, :, 0] for f in (space_to_depth_conv, plain_conv))
    assert np.argwhere(ours & ~plain).tolist() == [[row, 5] for row in (1, 2, 3, 4)]
    assert not (plain & ~ours).any()
