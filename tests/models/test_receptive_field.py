"""The theory against what networks really depend on: a NaN in a pixel reaches exactly what that pixel can influence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models import BACKBONES
from jaxssd.models.dense_heads import BoxHead
from jaxssd.models.detector import Detector
from jaxssd.models.heads import SSDMultiHead
from jaxssd.models.receptive_field import anchor_receptive_fields, effective_receptive_field, receptive_field
from jaxssd.models.resnet import ResNet
from jaxssd.models.retinanet_head import RetinaNetHead
from jaxssd.ops import make_anchors

SIZE = 64
HEAD = SSDMultiHead(num_classes=2, grids=(8, 2), boxes_per_cell=3, width=4)
TINY = Detector(ResNet(stage_sizes=(1, 1), width=4), HEAD)  # output stride 8


OTHERS = (
    Detector(ResNet(stage_sizes=(1, 1), width=4), HEAD.clone(grids=(16, 8, 4), levels=2)),
    Detector(
        ResNet(stage_sizes=(1, 1), width=4), RetinaNetHead(2, levels=2, num_grids=3, boxes_per_cell=3, width=4, depth=0)
    ),
)
"""Finer grids of the lesson's head, and RetinaNet's, on both maps of the backbone."""


def zeros_like_variables(module, images):
    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), images)
    return jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)


def positive_variables(detector):
    rng = np.random.default_rng(1)
    shapes = zeros_like_variables(detector, jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32))
    return {
        "params": jax.tree.map(lambda x: rng.uniform(-0.5, 0.7, x.shape).astype(np.float32), shapes["params"]),
        "batch_stats": jax.tree.map(np.ones_like, shapes["batch_stats"]),
    }


@pytest.fixture(scope="module")
def variables():
    return positive_variables(TINY)


@partial(jax.jit, static_argnums=2)
def logits_of(variables, images, detector=TINY):
    return detector.apply(variables, images, train=False).class_logits


@jax.jit
def effect(variables, images, anchor_index):
    return effective_receptive_field(partial(logits_of, variables), images, anchor_index)


# In theory


@pytest.mark.parametrize(
    ("layers", "first_cell"),
    [
        ([], (0, 1)),
        ([(3, 1)], (-1, 2)),
        ([(3, 1), (3, 1)], (-2, 3)),
        ([(3, 1), (3, 1), (3, 1)], (-3, 4)),
        ([(1, 2), (1, 2)], (0, 1)),
        ([(3, 2), (3, 1)], (-3, 4)),  # the second one steps over two pixels
        ([(7, 2), (3, 2)], (-5, 6)),  # a ResNet's stem: 11 pixels
    ],
)
def test_known_stacks(layers, first_cell):
    stride = int(np.prod([stride for _, stride in layers]))
    expected = np.array(first_cell)[None, :] + stride * np.arange(4)[:, None]
    np.testing.assert_array_equal(receptive_field(layers, cells=4), expected)


@pytest.mark.parametrize("name", [name for name in BACKBONES if hasattr(BACKBONES[name](), "level_layers")])
def test_the_theory_fits_every_backbone(name):
    """In a strip just long enough for one cell to have its whole field inside."""
    backbone = BACKBONES[name](width=2)
    stride, head = backbone.output_stride, SSDMultiHead(num_classes=1, grids=(1,), boxes_per_cell=1)
    fields = anchor_receptive_fields(Detector(backbone, head), stride) * stride
    first, last = fields[0, 0], fields[0, 2]  # of cell 0, through a head of two 3x3 convolutions
    below, above = int(first) + 2 * stride, int(last) - 2 * stride
    cell = -(below // stride)
    first, last = below + cell * stride, above + cell * stride
    length = (last // stride + 1) * stride

    images = np.zeros((4, length, 8, 3), np.float32)
    images[0, first] = images[1, last - 1] = np.nan  # the outermost pixels reach the cell
    images[2, :first] = images[3, last:] = np.nan  # what lies beyond them does not
    variables = zeros_like_variables(backbone, images)
    features = jax.jit(partial(backbone.apply, train=False))(variables, images)
    assert first >= 0
    assert np.isnan(features[:, cell, 0]).any(axis=-1).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("detector", "cells"), [(TINY, 8 * 8 + 2 * 2), *((other, 16 * 16 + 8 * 8 + 4 * 4) for other in OTHERS)]
)
def test_every_anchor_has_the_field_that_the_detector_has(detector, cells):
    fields = anchor_receptive_fields(detector, SIZE)
    assert fields.shape == (3 * cells, 4)
    blank = np.zeros((SIZE, SIZE, SIZE, 3), np.float32)
    rows, columns = blank.copy(), blank.copy()
    pixel = np.arange(SIZE)
    rows[pixel, pixel] = columns[pixel, :, pixel] = np.nan
    variables = positive_variables(detector)
    pixels_of_axis = [np.isnan(logits_of(variables, images, detector)).any(axis=-1) for images in (rows, columns)]
    for axis, depends in enumerate(pixels_of_axis):
        first, last = (np.clip(fields[:, side], 0, 1) * SIZE for side in (axis, axis + 2))
        expected = (pixel[:, None] >= first[None, :]) & (pixel[:, None] < last[None, :])
        np.testing.assert_array_equal(depends, expected)
    assert not expected.all()


def test_fields_of_a_rectangular_image_are_those_of_its_sides():
    square, wide = (anchor_receptive_fields(OTHERS[1], size) for size in (SIZE, (SIZE // 2, SIZE)))
    grids = 16, 8, 4
    assert len(wide) == len(square) // 2
    halves = [
        part.reshape(grid, grid, 3, 4)[: grid // 2]
        for grid, part in zip(grids, np.split(square, [768, 960]), strict=True)
    ]
    expected = np.concatenate([part.reshape(-1, 4) for part in halves]) * (2, 1, 2, 1)
    np.testing.assert_allclose(wide, expected)


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="BoxHead"):
        anchor_receptive_fields(Detector(ResNet(stage_sizes=(1,)), BoxHead()), SIZE)


# In effect


def test_two_convolutions_see_five_pixels_with_the_weights_of_their_paths():
    kernel = np.ones((3, 3, 1, 1), np.float32)

    def logits_of(images):
        x = images.sum(axis=-1, keepdims=True)
        for _ in range(2):
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x.reshape(len(images), -1, 1)

    field = effective_receptive_field(logits_of, jnp.zeros((2, 9, 9, 3)), 4 * 9 + 3)
    paths = np.array([1, 2, 3, 2, 1])
    expected = np.zeros((9, 9))
    expected[2:7, 1:6] = 3 * np.outer(paths, paths)  # three channels
    np.testing.assert_allclose(field, expected)
    (first, last), (left, right) = (receptive_field([(3, 1), (3, 1)], 9)[cell] for cell in (4, 3))
    assert (first, last, left, right) == (2, 7, 1, 6)


@pytest.mark.parametrize("anchor_index", [0, 8 * 8 * 3 // 2 + 10, 8 * 8 * 3 - 1, 8 * 8 * 3, 8 * 8 * 3 + 11])
def test_the_effect_lies_inside_the_theory(variables, anchor_index):
    images = np.random.default_rng(2).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    field = np.asarray(effect(variables, images, anchor_index))
    y1, x1, y2, x2 = (np.clip(anchor_receptive_fields(TINY, SIZE)[anchor_index], 0, 1) * SIZE).astype(int)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[y1:y2, x1:x2] = True
    assert (field[~inside] == 0).all()
    assert np.isfinite(field).all()
    y, x = np.asarray(make_anchors((8, 2), (1.0,), ((1.0, 1.0),)).center_size)[anchor_index // 3, :2]
    assert field[int(y * SIZE), int(x * SIZE)] > 0


def test_it_is_the_mean_over_images_and_jit_changes_nothing(variables):
    images = np.random.default_rng(3).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    together = effect(variables, images, 100)
    eager = effective_receptive_field(partial(logits_of, variables), images, 100)
    np.testing.assert_allclose(together, eager, rtol=1e-4, atol=1e-6)
    one_by_one = [effect(variables, np.stack([image] * 3), 100) for image in images]
    np.testing.assert_allclose(together, np.mean(one_by_one, axis=0), rtol=1e-4, atol=1e-6)
    assert np.ptp([x.sum() for x in one_by_one]) > 0


def test_integer_images_have_no_gradient(variables):
    with pytest.raises(TypeError):
        effective_receptive_field(partial(logits_of, variables), np.zeros((1, SIZE, SIZE, 3), np.uint8), 0)
