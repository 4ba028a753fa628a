"""The head: the lesson's parameter counts, the order of its rows, and what it does with grids it cannot reach."""

import math
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.config import Config
from jaxssd.models.heads import OutConv, PyramidHead, SSDHead, SSDMultiHead, StdConv, pyramid_grids
from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.arrays import as_pair
from jaxssd.tasks.task import make_task

key = partial(jax.random.key, impl="rbg")  # Threefry takes XLA a second to compile for every draw on a CPU
ZOOMS, RATIOS = (0.75, 1.0, 1.3), ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))
TINY = SSDMultiHead(num_classes=3, grids=(3, 2), boxes_per_cell=2, width=4)


def shapes_of(model, *shape, **kwargs):
    """Shapes of the outputs and variables for features of a shape, or for several of them."""
    several = [jax.ShapeDtypeStruct(each, jnp.float32) for each in shape if isinstance(each, tuple)]
    features = several or jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, **kwargs), key(0), features)


def identity_conv(channels):
    """Each output channel reads one input channel, at the centre tap."""
    kernel = np.zeros((3, 3, channels, channels), np.float32)
    kernel[1, 1] = np.eye(channels)
    return {"kernel": kernel, "bias": np.zeros(channels, np.float32)}


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(features):
    return jax.jit(partial(TINY.init, train=False))(key(0), features)


@partial(jax.jit, static_argnames="dtype")
def train(variables, features, dropout_key, dtype=jnp.float32):
    """Predictions, new statistics, and the gradients of a loss."""

    def loss(params):
        predictions, updates = TINY.clone(dtype=dtype).apply(
            {**variables, "params": params},
            features,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        return sum(jnp.mean(x**2) for x in predictions), (predictions, updates["batch_stats"])

    gradients, (predictions, stats) = jax.grad(loss, has_aux=True)(variables["params"])
    return predictions, stats, gradients


@pytest.mark.parametrize(("head", "count", "anchors"), [(SSDHead, 1_828_633, 16), (SSDMultiHead, 4_508_067, 189)])
def test_lessons_heads(head, count, anchors):
    predictions, variables = shapes_of(head(num_classes=21), 2, 7, 7, 512, train=False)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
    assert predictions.class_logits.shape == (2, anchors, 21)
    assert predictions.box_activations.shape == (2, anchors, 4)


def test_first_convolution_keeps_the_grid_and_no_layer_is_unused():
    _, variables = shapes_of(SSDMultiHead(num_classes=20, grids=(4, 2)), 1, 7, 7, 8, train=False)
    assert set(variables["params"]) == {"std_conv0", "std_conv1", "std_conv2", "out_conv1", "out_conv2"}


@settings(max_examples=20)
@given(st.integers(1, 40), st.data())
def test_every_selection_of_the_pyramid_gives_a_row_an_anchor(grid, data):
    pyramid = pyramid_grids(grid)
    assert pyramid[0] == grid
    assert pyramid[-1] == 1
    assert all(small == (large + 1) // 2 for large, small in pairwise(pyramid))
    grids = tuple(sorted(data.draw(st.sets(st.sampled_from(pyramid), min_size=1)), reverse=True))
    head = SSDMultiHead(num_classes=2, grids=grids, boxes_per_cell=3, width=2)
    predictions, _ = shapes_of(head, 1, grid, grid, 2, train=False)
    anchors = make_anchors(grids, zooms=(1.0,), ratios=RATIOS)
    assert predictions.box_activations.shape == (1, *anchors.corners.shape)
    assert predictions.class_logits.shape == (1, len(anchors.corners), 2)


def test_finer_grids_leave_the_others_as_they_are(variables, features):
    """Rows of finer grids come first; those of the lesson's grids are equal to the last bit."""
    rng = np.random.default_rng(6)
    fine = rng.normal(size=(2, 5, 6, 2)).astype(np.float32)
    head = TINY.clone(grids=((5, 6), 3, 2), levels=2)
    _, shapes = shapes_of(head, fine.shape, features.shape, train=False)
    assert set(shapes["params"]) - set(variables["params"]) == {"fpn", "finer_std_conv0", "finer_out_conv0"}
    more = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32), shapes)
    more = {kind: {**layers, **variables[kind]} for kind, layers in more.items()}
    found = jax.jit(partial(head.apply, train=False))(more, [fine, features])
    expected = jax.jit(partial(TINY.apply, train=False))(variables, features)
    assert found.class_logits.shape == (2, 2 * (5 * 6 + 3 * 3 + 2 * 2), 3)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:, 2 * 5 * 6 :], y), found, expected)
    changed = jax.jit(partial(head.apply, train=False))(more, [2 * fine, features])
    assert np.all(np.any(changed.class_logits[:, : 2 * 5 * 6] != found.class_logits[:, : 2 * 5 * 6], axis=(0, 2)))


@pytest.mark.parametrize(
    ("size", "grids", "levels", "cells"),
    [
        (224, (28, 14, 7), 3, 28 * 28 + 14 * 14 + 7 * 7),
        (224, (14, 7, 4, 2, 1), 2, 14 * 14 + 70),
        (224, (7, 4), None, 65),
        ((128, 96), (8, 4, 2), 2, 8 * 6 + 4 * 3 + 2 * 2),
        (256, (16, 8), 2, 256 + 64),
    ],
)
def test_grids_finer_than_the_last_map_come_from_finer_maps(size, grids, levels, cells):
    config = Config.of(image_size=size, grids=grids, backbone="resnet34", head_width=4, classes=("a",))
    task = make_task(config)
    assert task.model.head.levels == levels
    images = jax.ShapeDtypeStruct((1, *config.dataset.input_shape, 3), jnp.float32)
    predictions, _ = jax.eval_shape(partial(task.model.init_with_output, train=False), key(0), images)
    assert predictions.class_logits.shape == (1, 9 * cells, 1)
    assert task.anchors.corners.shape == (9 * cells, 4)


@pytest.mark.parametrize("grids", [(30, 7), (112,), (28, 7), (28, 14)])
def test_grids_that_no_map_has_are_named_with_those_of_all_maps(grids):
    with pytest.raises(ValueError, match=r"grids.* is .*expected some of .*28,? 14,? 7,? 4,? 2,? 1"):
        make_task(Config.of(grids=grids, backbone="resnet34", classes=("a",)))


@pytest.mark.parametrize("grids", [(3,), (8, 4), (4, 3, 2, 1), (1, 2, 4), (4, 4), ()])
def test_grids_that_cannot_be_had_are_named_with_those_that_can(grids):
    with pytest.raises(ValueError, match=r"`grids`.*\(7, 4, 2, 1\).*7x7"):
        shapes_of(SSDMultiHead(num_classes=2, grids=grids), 1, 7, 7, 8, train=False)


@pytest.mark.parametrize("grids", [(8, 5, 3), ((5, 8), (2, 3)), ((8, 5),)])
def test_grids_that_rectangular_features_do_not_have_are_named(grids):
    with pytest.raises(ValueError, match=r"\(5, 8\), \(3, 4\), \(2, 2\), \(1, 1\)\).*5x8 features: --grids 8 4 2 1 "):
        shapes_of(SSDMultiHead(num_classes=2, grids=grids), 1, 5, 8, 8, train=False)


@pytest.mark.parametrize(
    ("backbone_grid", "grids"),
    [
        (7, (7, 4, 2, 1)),
        (7, (4, 2, 1)),
        (8, (8, 4, 2, 1)),
        (5, (5, 2)),
        ((4, 6), ((4, 6), (2, 3))),
        ((6, 4), ((3, 2),)),
    ],
)
def test_rows_are_in_the_order_of_the_anchors(backbone_grid, grids):
    """Features hold their cell's row and column, and box j of an `OutConv` reads them as the anchor's centre."""
    head = PyramidHead(
        num_classes=2, grids=grids, boxes_per_cell=9, prior_probability=0.5, input_dropout=0.0, dropout=0.0, width=2
    )
    sizes_in_cells = np.array([(zoom * h, zoom * w) for zoom in ZOOMS for h, w in RATIOS], np.float32)
    params, stats = {}, {}
    pyramid, wanted = pyramid_grids(as_pair(backbone_grid)), tuple(map(as_pair, grids))
    for level, grid in enumerate(pyramid[: pyramid.index(wanted[-1]) + 1]):
        params[f"std_conv{level}"] = {"conv": identity_conv(2), "bn": {"scale": np.ones(2), "bias": np.zeros(2)}}
        stats[f"std_conv{level}"] = {"bn": {"mean": np.zeros(2), "var": np.full(2, 1 - 1e-5)}}
        if grid in wanted:
            boxes = {"kernel": np.zeros((3, 3, 2, 9, 4)), "bias": np.zeros((9, 4))}
            for axis, cells in enumerate(grid):
                boxes["kernel"][1, 1, axis, :, axis] = 1 / (2**level * cells)  # every 2nd cell is kept
            boxes["bias"][:, :2] = 0.5 / np.array(grid)
            boxes["bias"][:, 2:] = sizes_in_cells / grid
            classes = {"kernel": np.zeros((3, 3, 2, 9, 2)), "bias": np.zeros((9, 2))}
            classes["kernel"][1, 1, 1, :, 0] = 1 / 2**level
            classes["bias"][:, 1] = np.arange(9)
            params[f"out_conv{level}"] = {
                "boxes": {"kernel": boxes["kernel"].reshape(3, 3, 2, 36), "bias": boxes["bias"].reshape(36)},
                "classes": {"kernel": classes["kernel"].reshape(3, 3, 2, 18), "bias": classes["bias"].reshape(18)},
            }
    cells = np.moveaxis(np.indices(pyramid[0]), 0, -1)[None].astype(np.float32)

    logits, activations = jax.jit(partial(head.apply, train=False))({"params": params, "batch_stats": stats}, cells)

    expected = make_anchors(grids, ZOOMS, RATIOS, image_size=pyramid[0]).center_size
    np.testing.assert_allclose(activations[0], expected, rtol=1e-5)
    columns = [column for rows, width in wanted for _ in range(rows) for column in range(width) for _ in range(9)]
    np.testing.assert_allclose(logits[0, :, 0], columns, rtol=1e-5)
    np.testing.assert_allclose(logits[0, :, 1], np.tile(np.arange(9), sum(map(math.prod, wanted))), rtol=1e-5)


def test_std_conv_is_convolution_bias_relu_norm():
    """On a map of one cell a padded convolution is its centre tap: a matrix product."""
    rng = np.random.default_rng(3)
    x, kernel = rng.normal(size=(6, 4)), rng.normal(size=(3, 3, 4, 5))
    bias, scale, shift, mean = rng.normal(size=(4, 5))
    var = rng.uniform(0.5, 2, size=5)
    variables = {
        "params": {"conv": {"kernel": kernel, "bias": bias}, "bn": {"scale": scale, "bias": shift}},
        "batch_stats": {"bn": {"mean": mean, "var": var}},
    }
    variables = jax.tree.map(np.float32, variables)
    got = jax.jit(partial(StdConv(5, stride=1, dropout=0.5).apply, train=False))(
        variables, np.float32(x)[:, None, None]
    )
    expected = (np.maximum(x @ kernel[1, 1] + bias, 0) - mean) / np.sqrt(var + 1e-5) * scale + shift
    np.testing.assert_allclose(got[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_dropout_comes_last_and_only_in_training():
    x = np.random.default_rng(4).normal(size=(4, 8, 8, 8)).astype(np.float32)
    layer, dropless = StdConv(8, stride=1, dropout=0.25), StdConv(8, stride=1, dropout=0.0)
    variables = jax.jit(partial(layer.init, train=False))(key(0), x)

    @jax.jit
    def run(dropout_key):
        apply = partial(layer.apply, variables, x, train=True, mutable=["batch_stats"])
        return apply(rngs={"dropout": dropout_key})[0], dropless.apply(
            variables, x, train=True, mutable=["batch_stats"]
        )[0]

    dropped, kept = run(key(1))
    gone = np.asarray(dropped == 0)
    assert np.mean(gone) == pytest.approx(0.25, abs=0.04)
    np.testing.assert_allclose(np.asarray(dropped)[~gone], np.asarray(kept)[~gone] / 0.75, rtol=1e-4, atol=1e-5)
    assert np.any(dropped != run(key(2))[0])


def test_backbone_features_are_dropped_too():
    """With all of them gone, what they were does not matter."""
    head = SSDHead(num_classes=2, grids=(1,), input_dropout=1.0, dropout=0.0, width=3)
    x = np.random.default_rng(5).normal(size=(4, 1, 1, 2)).astype(np.float32)
    variables = jax.jit(partial(head.init, train=False))(key(0), x)

    @partial(jax.jit, static_argnames="train")
    def run(x, train):
        return head.apply(variables, x, train=train, rngs={"dropout": key(1)}, mutable=["batch_stats"])[0]

    jax.tree.map(np.testing.assert_array_equal, run(x, train=True), run(0 * x, train=True))
    assert np.any(run(x, train=False).class_logits != run(0 * x, train=False).class_logits)


def test_out_conv_starts_at_the_class_bias():
    model = OutConv(num_classes=3, boxes_per_cell=2, prior_probability=1 / (1 + math.exp(4.0)))
    (logits, activations), _ = model.init_with_output(key(0), jnp.zeros((2, 2, 2, 1)))
    assert logits.shape == (2, 8, 3)
    assert activations.shape == (2, 8, 4)
    assert np.all(logits == -4.0)
    assert np.all(activations == 0)


def test_kernels_start_as_in_the_lesson(variables):
    kernel = variables["params"]["std_conv0"]["conv"]["kernel"]
    bound = 1 / np.sqrt(9 * 6)
    assert 0.9 * bound < np.max(np.abs(kernel)) <= bound
    assert np.std(kernel) == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_training_is_random_by_key_only_and_evaluation_is_not(variables, features):
    first, stats, _ = train(variables, features, key(1))
    jax.tree.map(np.testing.assert_array_equal, first, train(variables, features, key(1))[0])
    assert np.any(first.class_logits != train(variables, features, key(2))[0].class_logits)
    assert all(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (stats, variables["batch_stats"])), strict=True))

    evaluate = jax.jit(partial(TINY.apply, train=False, mutable=["batch_stats"]))
    predictions, updates = evaluate(variables, features)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])
    eager = TINY.apply(variables, features, train=False)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), predictions, eager)


def test_gradients_reach_every_parameter_and_are_finite_at_extremes(variables, features):
    _, _, gradients = train(variables, features, key(1))
    assert all(np.any(x) for x in jax.tree.leaves(gradients))
    for x in (0 * features, 1e6 * features):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(train(variables, x, key(1))))


def test_bfloat16_gives_float32_predictions_and_finite_gradients(variables, features):
    predictions, stats, gradients = train(variables, features, key(1), dtype=jnp.bfloat16)
    for leaf in jax.tree.leaves((predictions, stats, gradients)):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
    expected, _, _ = train(variables, features, key(1))
    jax.tree.map(partial(np.testing.assert_allclose, atol=0.1), predictions, expected)
    assert np.any(predictions.class_logits != expected.class_logits)
