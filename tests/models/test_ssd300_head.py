"""SSD300's head: its sizes, the order of its rows, its layers in NumPy, and which features it takes."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models import BACKBONES
from jaxssd.models.detector import Detector, make_detector
from jaxssd.models.heads import OutConv
from jaxssd.models.layers import conv_to_float32
from jaxssd.models.resnet import ResNet
from jaxssd.models.ssd300_head import BOXES_PER_CELL, EXTRA_LAYERS, ExtraLayer, SSD300Head
from jaxssd.ops import ssd300_anchors
from tests.models.test_resnet import numpy_conv, numpy_norm

key = partial(jax.random.key, impl="rbg")  # Threefry takes XLA a second to compile for every draw on a CPU
CLASSES = 2
HEAD = SSD300Head(num_classes=CLASSES)
GRIDS = (38, 19, 10, 5, 3, 1)


def shapes_of(model, *shape):
    return jax.eval_shape(partial(model.init_with_output, train=False), key(0), jax.ShapeDtypeStruct(shape, "float32"))


def tree_of(shapes, fill):
    return jax.tree.map_with_path(lambda path, x: np.float32(fill([entry.key for entry in path], x.shape)), shapes)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(2, 38, 38, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(features):
    rng = np.random.default_rng(1)

    def fill(path, shape):
        if path[-1] in ("scale", "var"):
            return rng.uniform(0.5, 1.5, shape)
        return rng.normal(0, 1 / np.sqrt(np.prod(shape[:3])) if path[-1] == "kernel" else 0.3, shape)

    return tree_of(shapes_of(HEAD, *features.shape)[1], fill)


@partial(jax.jit, static_argnames="dtype")
def evaluate(variables, features, dtype=jnp.float32):
    return HEAD.clone(dtype=dtype).apply(variables, features, train=False)


# Sizes


def test_parameters_are_counted_by_hand():
    classes = 80
    _, variables = shapes_of(SSD300Head(num_classes=classes), 1, 38, 38, 256)
    count, channels = 0, 256
    for boxes, extra in zip(
        (4, 6, 6, 6, 4, 4), [(256, 512), (256, 512), (128, 256), (128, 256), (128, 256), None], strict=True
    ):
        count += (9 * channels + 1) * boxes * (classes + 4)
        if extra is not None:
            narrow, wide = extra
            count += channels * narrow + 2 * narrow + 9 * narrow * wide + 2 * wide
            channels = wide
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count == 11_708_120


SHORT = Detector(ResNet(stage_sizes=(1, 1, 1), strides=(1, 2, 1), dtype=jnp.bfloat16), SSD300Head(num_classes=20))
"""Strides, and with them cells, of `resnet34_ssd300`, in fewer blocks."""


@pytest.mark.parametrize("size", [297, 300, 304])
def test_detector_predicts_for_every_anchor(size):
    whole = make_detector(num_classes=20, backbone="resnet34_ssd300", head="ssd300", dtype="bfloat16")
    predictions, variables = shapes_of(whole if size == 300 else SHORT, 2, size, size, 3)
    anchors = ssd300_anchors()
    assert predictions.box_activations.shape == (2, *anchors.corners.shape) == (2, 8732, 4)
    assert predictions.class_logits.shape == (2, 8732, 20)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((predictions, variables)))
    assert set(variables["params"]) == set(variables["batch_stats"]) == {"backbone", "head"}


def test_backbone_is_resnet34_with_three_stages_and_half_its_stride():
    backbone = BACKBONES["resnet34_ssd300"]()
    assert backbone == ResNet(stage_sizes=(3, 4, 6), strides=(1, 2, 1))
    assert backbone.output_stride == 8
    features, variables = shapes_of(backbone, 1, 300, 300, 3)
    assert features.shape == (1, 38, 38, 256)
    _, whole = shapes_of(BACKBONES["resnet34"](), 1, 300, 300, 3)
    for kind, layers in variables.items():
        kept = {name: layer for name, layer in whole[kind].items() if not name.startswith("layer4")}
        assert jax.tree.map(np.shape, layers) == jax.tree.map(np.shape, kept)


@pytest.mark.parametrize("shape", [(1, 37, 37, 3), (1, 38, 37, 3), (1, 19, 19, 3), (1, 39, 39, 3)])
def test_other_maps_are_refused_with_the_image_sizes_that_work(shape):
    with pytest.raises(ValueError, match=rf"{shape[1]}x{shape[2]}.*38x38.*resnet34_ssd300.*297 to 304 pixels"):
        shapes_of(HEAD, *shape)


def test_image_sizes_beside_those_are_refused():
    for size in (296, 305):
        with pytest.raises(ValueError, match="297 to 304"):
            shapes_of(SHORT, 1, size, size, 3)


# Order and layers


def test_rows_are_in_the_order_of_the_anchors():
    """Layers that hand on two channels: a cell's row and column, here of every second cell or of the inner ones.

    Box j of an `OutConv` makes the anchor's centre and size of them.
    """
    anchors = ssd300_anchors().center_size
    _, shapes = shapes_of(HEAD, 1, 38, 38, 2)
    cells = [np.float32(np.stack(np.meshgrid(np.arange(38), np.arange(38), indexing="ij"), axis=-1))]
    for _, _, stride, padding in EXTRA_LAYERS:
        cells.append(cells[-1][::2, ::2] if padding else cells[-1][1:-1, 1:-1])
        assert stride == 1 + padding
    starts = np.cumsum([0, *(grid * grid * boxes for grid, boxes in zip(GRIDS, BOXES_PER_CELL, strict=True))])

    def fill(path, shape):
        layer, part, leaf = path[1:] if len(path) == 4 else (*path[1:], "")
        if path[0] == "batch_stats":
            return np.full(shape, 1 - 1e-5 if path[-1] == "var" else 0)
        if layer.startswith("extra"):
            if leaf != "kernel":
                return np.full(shape, leaf == "scale")
            kernel = np.zeros(shape)
            kernel[shape[0] // 2, shape[1] // 2, :2, :2] = np.eye(2)
            return kernel
        level = int(layer[-1])
        boxes = BOXES_PER_CELL[level]
        anchor = np.asarray(anchors[starts[level] : starts[level + 1]]).reshape(GRIDS[level], GRIDS[level], boxes, 4)
        step = np.ptp(anchor[:, 0, 0, 0]) / max(GRIDS[level] - 1, 1)
        spacing = np.ptp(cells[level][:, 0, 0]) / max(GRIDS[level] - 1, 1) or 1.0
        if part == "classes":
            return (
                np.tile(np.arange(CLASSES), boxes) + CLASSES * np.repeat(np.arange(boxes), CLASSES)
                if leaf == "bias"
                else np.zeros(shape)
            )
        if leaf == "bias":
            bias = anchor[0, 0].copy()
            bias[:, :2] -= cells[level][0, 0] * step / spacing
            return bias.reshape(-1)
        kernel = np.zeros((3, 3, shape[2], boxes, 4))
        kernel[1, 1, 0, :, 0] = kernel[1, 1, 1, :, 1] = step / spacing
        return kernel.reshape(shape)

    logits, activations = evaluate(tree_of(shapes, fill), cells[0][None])
    assert [len(grid) for grid in cells] == list(GRIDS)
    np.testing.assert_allclose(activations[0], anchors, rtol=1e-4, atol=1e-4)
    for start, grid, boxes in zip(starts, GRIDS, BOXES_PER_CELL, strict=False):
        rows = logits[0, start : start + grid * grid * boxes]
        np.testing.assert_array_equal(
            rows, np.tile(np.arange(boxes * CLASSES).reshape(boxes, CLASSES), (grid * grid, 1))
        )


@pytest.mark.parametrize(("stride", "padding"), [(2, 1), (1, 0)])
def test_extra_layer_is_two_times_convolution_norm_relu(stride, padding):
    layer = ExtraLayer(4, 5, stride, padding)
    x = np.random.default_rng(2).normal(size=(2, 7, 6, 3)).astype(np.float32)
    rng = np.random.default_rng(3)
    variables = tree_of(
        shapes_of(layer, *x.shape)[1], lambda path, shape: rng.uniform(0.2, 1, shape) - (path[-1] == "kernel") / 2
    )
    params, stats = variables["params"], variables["batch_stats"]
    expected = x
    for i, (step, pad) in enumerate([(1, 0), (stride, padding)], start=1):
        expected = numpy_conv(expected, params[f"conv{i}"]["kernel"], step, pad)
        expected = np.maximum(numpy_norm(expected, params[f"bn{i}"], stats[f"bn{i}"]), 0)
    got = jax.jit(partial(layer.apply, train=False))(variables, x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_jit_is_eager_and_images_do_not_mix(features, variables):
    together = evaluate(variables, features)
    eager = HEAD.apply(variables, features, train=False)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), together, eager)
    swapped = evaluate(variables, features[::-1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-4), together, swapped)


def test_logits_start_near_the_class_bias(features):
    head = SSD300Head(num_classes=CLASSES, prior_probability=1 / (1 + math.exp(3.0)))
    variables = jax.jit(partial(head.init, train=False))(key(0), features)
    for level in range(6):
        classes = variables["params"][f"out_conv{level}"]["classes"]
        assert np.all(classes["bias"] == -3.0)
    assert abs(float(np.mean(head.apply(variables, features, train=False).class_logits)) + 3) < 0.5


def test_training_moves_statistics_and_gradients_reach_every_parameter(features, variables):
    @jax.jit
    def step(params, x):
        def loss(params):
            predictions, updates = HEAD.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return sum(jnp.mean(x**2) for x in predictions), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradients, stats = step(variables["params"], features)
    assert all(np.any(x) for x in jax.tree.leaves(gradients))
    assert all(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (stats, variables["batch_stats"])), strict=True))
    for x in (0 * features, 1e6 * features):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(step(variables["params"], x)))


# Half precision


def test_bfloat16_gives_float32_predictions_that_do_not_tie(features, variables):
    half, full = evaluate(variables, features, jnp.bfloat16), evaluate(variables, features)
    for ours, expected in zip(half, full, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, expected, atol=0.1 * np.std(expected))
    scores = np.asarray(half.class_logits).reshape(2, -1)
    rounded = np.asarray(half.class_logits.astype(jnp.bfloat16)).reshape(2, -1)
    assert all(len(np.unique(row)) > 0.98 * row.size for row in scores)
    assert all(len(np.unique(row)) < 0.2 * row.size for row in rounded)


def test_out_convs_have_float32_biases_and_bfloat16_gradients_of_their_features():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(1, 4, 4, 8)), jnp.bfloat16)
    layer = OutConv(
        num_classes=3, boxes_per_cell=2, prior_probability=1 / (1 + math.exp(4.001)), dtype=jnp.bfloat16
    )  # bfloat16 has no -4.001
    variables = jax.device_get(jax.jit(layer.init)(key(0), x))
    kernels_off = jax.tree.map(lambda leaf: leaf * np.float32(leaf.ndim == 1), variables)
    np.testing.assert_array_equal(jax.jit(layer.apply)(kernels_off, x).class_logits, np.float32(-4.001))

    def loss(params, x):
        return sum(jnp.sum(part**2) for part in layer.apply({"params": params}, x))

    of_params, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], x)
    assert of_x.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(of_params))
    wide = partial(layer.clone(dtype=jnp.float32).apply)
    of_wide = jax.grad(lambda p, x: sum(jnp.sum(part**2) for part in wide({"params": p}, x)), argnums=(0, 1))
    expected = jax.jit(of_wide)(variables["params"], np.float32(x))
    for ours, theirs in zip(jax.tree.leaves((of_params, of_x)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.float32(ours), theirs, atol=0.03 * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_float32_sums_of_a_convolution_and_its_gradients_in_half(dtype):
    rng = np.random.default_rng(5)
    x, kernel = (jnp.asarray(rng.integers(-3, 4, shape), dtype) for shape in ((2, 5, 5, 40), (3, 3, 40, 2)))
    conv = partial(conv_to_float32, window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y, pull_back = jax.vjp(conv, x, kernel)
    assert y.dtype == jnp.float32
    exact = numpy_conv(np.float32(x), np.float32(kernel), 1, 1)
    np.testing.assert_array_equal(y, exact)  # whole numbers, beyond what bfloat16 can tell apart
    text = str(jax.make_jaxpr(pull_back)(y))
    assert all(leaf.dtype == dtype for leaf in pull_back(y))
    assert ("f32[2,5,5,40]" in text) == (dtype == jnp.float32)
