"""Decodings against loops, the two encodings as inverses, and extremes that must stay finite."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import Anchors, make_anchors
from jaxssd.ops.box_coder import OFFSET_CODER, TANH_CODER, decode_offsets, decode_tanh, encode_offsets
from tests.ops.optimized import optimized
from tests.strategies import grid_boxes

ANCHORS = make_anchors(grids=(2,), zooms=(0.75, 1.3), ratios=((1.0, 0.5),))  # 8 anchors
FUNCTIONS = (decode_tanh, encode_offsets, decode_offsets)
JITTED = {function: optimized(function) for function in FUNCTIONS}
GRADIENTS = {f: jax.jit(jax.grad(lambda x, f=f: f(x, ANCHORS).sum())) for f in FUNCTIONS}
ACTIVATIONS = np.random.default_rng(0).normal(0, 2, (8, 4)).astype(np.float32)


def test_worked_example():
    """The anchor is the whole image: centre (1/2, 1/2), height, width and cell 1."""
    anchors = make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),))
    # Offsets: the centre moves down by 1/10 of the height, the width doubles: 0.6 -+ 1/2 and 0.5 -+ 1.
    offsets, box = np.float32([[1, 0, 0, 5 * np.log(2)]]), [[0.1, -0.5, 1.1, 1.5]]
    np.testing.assert_allclose(JITTED[decode_offsets](offsets, anchors), box, atol=1e-6)
    np.testing.assert_allclose(JITTED[encode_offsets](np.float32(box), anchors), offsets, atol=1e-5)
    # Tanh(0.5493) = 1/2: the centre moves down by half of that, 1/4 cell; the width is 1 - 1/4 of the anchor's.
    activations = np.float32([[0.549306, 0, 0, -0.549306]])
    np.testing.assert_allclose(JITTED[decode_tanh](activations, anchors), [[0.25, 0.125, 1.25, 0.875]], atol=1e-6)
    assert (TANH_CODER.encode, TANH_CODER.decode) == (None, decode_tanh)
    assert (OFFSET_CODER.encode, OFFSET_CODER.decode) == (encode_offsets, decode_offsets)


def test_tanh_moves_by_half_a_cell_along_each_axis():
    """Cells of 1/2 x 1/4: tanh(100) = 1 moves the centre of the first, (1/4, 1/8), to (1/2, 0), its corner."""
    anchors = make_anchors(grids=((2, 4),), zooms=(1.0,), ratios=((1.0, 1.0),), image_size=(100, 200))
    activations = np.float32([[100, -100, 0, 0]] * 8)
    np.testing.assert_allclose(JITTED[decode_tanh](activations, anchors)[0], [0.25, -0.125, 0.75, 0.125], atol=1e-6)
    np.testing.assert_allclose(JITTED[decode_tanh](0 * activations, anchors), anchors.corners, atol=1e-6)


def corners(cy, cx, height, width):
    return [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]


def reference_decode_tanh(activations, anchors):
    rows = []
    for (cy, cx, h, w), cell, a in zip(anchors.center_size, anchors.cell_size[:, 0], activations, strict=True):
        t = np.tanh(a)
        rows.append(corners(cy + t[0] / 2 * cell, cx + t[1] / 2 * cell, (1 + t[2] / 2) * h, (1 + t[3] / 2) * w))
    return np.array(rows)


def reference_encode(boxes, anchors, scales):
    rows = []
    for (acy, acx, ah, aw), (y1, x1, y2, x2) in zip(anchors.center_size, boxes, strict=True):
        dy, dx = ((y1 + y2) / 2 - acy) / ah, ((x1 + x2) / 2 - acx) / aw
        rows.append(np.array([dy, dx, np.log((y2 - y1) / ah), np.log((x2 - x1) / aw)]) * scales)
    return np.array(rows)


def reference_decode(offsets, anchors, scales):
    rows = []
    for (acy, acx, ah, aw), d in zip(anchors.center_size, offsets / np.array(scales), strict=True):
        rows.append(corners(acy + d[0] * ah, acx + d[1] * aw, np.exp(d[2]) * ah, np.exp(d[3]) * aw))
    return np.array(rows)


float64 = partial(jax.tree.map, np.float64)


def test_decode_tanh_is_the_loop():
    np.testing.assert_allclose(
        JITTED[decode_tanh](ACTIVATIONS, ANCHORS), reference_decode_tanh(*float64((ACTIVATIONS, ANCHORS))), atol=1e-6
    )


@pytest.mark.parametrize("scales", [(10.0, 10.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0)])
@settings(max_examples=20)
@given(boxes=grid_boxes(8))
def test_offsets_are_the_loop_and_come_back(scales, boxes):
    encoded = encode_offsets(boxes, ANCHORS, scales=scales)
    np.testing.assert_allclose(encoded, reference_encode(*float64((boxes, ANCHORS)), scales), rtol=1e-5, atol=1e-5)
    decoded = decode_offsets(encoded, ANCHORS, scales=scales)
    np.testing.assert_allclose(decoded, reference_decode(*float64((encoded, ANCHORS)), scales), atol=1e-5)
    np.testing.assert_allclose(decoded, boxes, atol=1e-5)


def test_the_default_scales_are_the_paper_s():
    scales = (10.0, 10.0, 5.0, 5.0)
    boxes = ANCHORS.corners + 0.125
    np.testing.assert_array_equal(encode_offsets(boxes, ANCHORS), encode_offsets(boxes, ANCHORS, scales=scales))
    np.testing.assert_array_equal(
        decode_offsets(ACTIVATIONS, ANCHORS), decode_offsets(ACTIVATIONS, ANCHORS, scales=scales)
    )


@pytest.mark.parametrize("decode", [decode_tanh, decode_offsets])
def test_zero_is_the_anchor_itself(decode):
    np.testing.assert_allclose(decode(jnp.zeros((8, 4)), ANCHORS), ANCHORS.corners, atol=1e-7)


def test_tanh_moves_half_a_cell_and_scales_by_half():
    far = jnp.full((8, 4), 1000.0)
    center, size = np.split(np.asarray(ANCHORS.center_size), 2, axis=1)
    for sign in (1, -1):
        moved, scaled = center + sign / 4, size * (1 + sign / 2)  # the cells of a 2 x 2 grid are 1/2 wide
        expected = np.concatenate([moved - scaled / 2, moved + scaled / 2], axis=1)
        np.testing.assert_allclose(decode_tanh(sign * far, ANCHORS), expected, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_jit_and_vmap_agree_with_eager(function):
    batch = np.stack([ANCHORS.corners + 0.125, ACTIVATIONS])
    for x in batch:
        np.testing.assert_allclose(JITTED[function](x, ANCHORS), function(x, ANCHORS), rtol=1e-6, atol=1e-6)
    batched = jax.jit(jax.vmap(function, in_axes=(0, None)))(batch, ANCHORS)
    np.testing.assert_allclose(batched, [JITTED[function](x, ANCHORS) for x in batch], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("extreme", [-1e4, -1000.0, 0.0, 1000.0, 1e4])
def test_value_and_gradient_are_finite_at_extremes(function, extreme):
    x = jnp.full((8, 4), extreme)  # as a box: one without area
    assert np.isfinite(JITTED[function](x, ANCHORS)).all()
    assert np.isfinite(GRADIENTS[function](x)).all()


def test_decoded_sizes_are_bounded_as_in_torchvision():
    size = ANCHORS.center_size[:, 2:]
    y1, x1, y2, x2 = decode_offsets(jnp.array([[0.0, 0.0, 100.0, 1000.0]] * 8), ANCHORS).T
    np.testing.assert_allclose(jnp.stack([y2 - y1, x2 - x1], axis=1), size * 1000 / 16, rtol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_half_precision_is_computed_in_float32(function):
    half = jnp.asarray(ACTIVATIONS, jnp.bfloat16)
    got = JITTED[function](half, ANCHORS)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, JITTED[function](half.astype(jnp.float32), ANCHORS))


@pytest.mark.parametrize(
    ("function", "name"), [(decode_tanh, "activations"), (encode_offsets, "boxes"), (decode_offsets, "offsets")]
)
def test_a_wrong_shape_names_the_argument(function, name):
    with pytest.raises((ValueError, TypeCheckError), match=name):
        function(jnp.zeros((8, 5)), ANCHORS)
    with pytest.raises(ValueError, match=rf"{function.__name__}: `anchors` has shape \(8, 4\)"):
        function(jnp.zeros((7, 4)), Anchors(*ANCHORS))


@pytest.mark.parametrize("function", [encode_offsets, decode_offsets])
def test_scales_are_four(function):
    with pytest.raises(ValueError, match=f"{function.__name__}: `scales` has shape"):
        function(jnp.zeros((8, 4)), ANCHORS, scales=(10.0, 5.0))
