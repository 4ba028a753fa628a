"""The detector as a whole: its sizes, where in the image each row looks, and what it refuses."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models import BACKBONES
from jaxssd.models.detector import IMAGENET_MEAN, IMAGENET_STD, Detector, make_detector, normalize_images
from jaxssd.models.heads import PyramidHead, SSDMultiHead
from jaxssd.models.resnet import ResNet
from jaxssd.models.ssd300_head import SSD300Head
from jaxssd.ops.anchors import make_anchors

key = partial(jax.random.key, impl="rbg")  # Threefry takes XLA a second to compile for every draw on a CPU
HEAD = SSDMultiHead(num_classes=2, grids=(4, 2), boxes_per_cell=3, width=4)
TINY = Detector(ResNet(stage_sizes=(1, 1), width=4), HEAD)  # output stride 8


def shapes_of(model, size, batch=1):
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), images)


def parameter_count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(1)
    _, shapes = shapes_of(TINY, 32)
    params = jax.tree.map(lambda x: rng.uniform(-0.5, 0.7, x.shape).astype(np.float32), shapes["params"])
    return {
        "params": params,
        "batch_stats": jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes["batch_stats"]),
    }


@jax.jit
def evaluate(variables, images):
    return TINY.apply(variables, images, train=False)


@pytest.mark.parametrize(
    ("settings", "size", "anchors", "parameters"),
    [
        ({}, 224, 189, 21_284_672 + 4_508_067),
        ({"backbone": "resnet18"}, 224, 189, 11_176_512 + 4_508_067),
        (
            {"grids": (4,), "boxes_per_cell": 1, "prior_probability": 1 / (1 + math.exp(3.0))},
            224,
            16,
            21_284_672 + 1_828_633,
        ),
        ({"grids": [7, 4, 2, 1]}, 224, 630, 21_284_672 + 4_508_067 + 518_625),
        ({"grids": (10, 5, 3)}, 300, 134 * 9, 21_284_672 + 4_508_067 - 590_592),
        ({"backbone": "resnet_small", "grids": (8, 4, 2)}, 128, 84 * 9, None),
    ],
)
def test_made_detectors_predict_for_every_anchor(settings, size, anchors, parameters):
    predictions, variables = shapes_of(make_detector(num_classes=21, **settings), size, batch=2)
    assert predictions.class_logits.shape == (2, anchors, 21)
    assert predictions.box_activations.shape == (2, anchors, 4)
    assert set(variables["params"]) == set(variables["batch_stats"]) == {"backbone", "head"}
    assert parameters in (None, parameter_count(variables["params"]))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((predictions, variables)))


def test_settings_reach_the_layers():
    made = make_detector(
        num_classes=5,
        grids=[2, 1],
        boxes_per_cell=3,
        width=16,
        prior_probability=1 / (1 + math.exp(1.0)),
        input_dropout=0.3,
        dropout=0.2,
        dtype="bfloat16",
        fast_layers=["norm", "stem"],
        remat=True,
    )
    assert made.backbone == BACKBONES["resnet34"](dtype="bfloat16", fast_layers=("norm", "stem"), remat=True)
    assert made.head == PyramidHead(
        num_classes=5,
        grids=(2, 1),
        boxes_per_cell=3,
        prior_probability=1 / (1 + math.exp(1.0)),
        input_dropout=0.3,
        dropout=0.2,
        width=16,
        dtype="bfloat16",
        fast_layers=("norm", "stem"),
    )


def test_settings_reach_the_layers_of_ssd300():
    made = make_detector(
        num_classes=5,
        backbone="resnet34_ssd300",
        head="ssd300",
        prior_probability=1 / (1 + math.exp(1.0)),
        dtype="bfloat16",
        fast_layers=["norm"],
    )
    assert made.head == SSD300Head(
        num_classes=5, prior_probability=1 / (1 + math.exp(1.0)), dtype="bfloat16", fast_layers=("norm",)
    )
    assert made.backbone == BACKBONES["resnet34_ssd300"](dtype="bfloat16", fast_layers=("norm",))


def test_rows_look_at_their_own_cell():
    """A bright blob in each cell in turn, through a network of blurs: the cell's own row must react most.

    The blob lies in the quarter towards the origin, because PyTorch's padding centres receptive fields on that corner.
    """
    grid, stride, k = 4, 8, 2
    model = Detector(ResNet((1, 1), width=2), SSDMultiHead(num_classes=1, grids=(grid,), boxes_per_cell=k, width=2))

    def blur(path, x):
        if path[-1].key == "kernel":
            taps = 4.0 ** -np.abs(np.arange(x.shape[0]) - x.shape[0] // 2)
            return np.broadcast_to((taps[:, None] * taps[None, :])[:, :, None, None], x.shape)
        return np.full(x.shape, float(path[-1].key in ("scale", "var")))

    variables = jax.tree.map_with_path(blur, shapes_of(model, grid * stride)[1])
    cells = [(row, column) for row in range(grid) for column in range(grid)]
    images = np.zeros((len(cells), grid * stride, grid * stride, 3), np.float32)
    for image, (row, column) in zip(images, cells, strict=True):
        y, x = row * stride, column * stride
        image[y : y + stride // 2, x : x + stride // 2] = 1

    predictions = jax.jit(partial(model.apply, train=False))(variables, images)

    best = np.argmax(np.asarray(predictions.class_logits).max(-1).reshape(len(cells), -1, k).max(-1), axis=-1)
    centers = make_anchors((grid,), zooms=(1.0,), ratios=((1.0, 1.0),)).center_size[best, :2]
    np.testing.assert_allclose(centers, (np.array(cells) + 0.5) / grid)


def test_a_batch_equals_its_images(variables, images):
    together, swapped = evaluate(variables, images), evaluate(variables, np.stack([images[1], 5 * images[0]]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-4), swapped, together)


def test_bfloat16_training_step_is_finite_and_respects_frozen_stages(variables, images):
    model = Detector(TINY.backbone.clone(dtype=jnp.bfloat16), TINY.head.clone(dtype=jnp.bfloat16))

    @jax.jit
    def step(params, dropout_key):
        def loss(params):
            predictions, updates = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                frozen_stages=2,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            return sum(jnp.mean(x**2) for x in predictions), (predictions, updates["batch_stats"])

        return jax.grad(loss, has_aux=True)(params)

    gradients, (predictions, stats) = step(variables["params"], key(0))
    for leaf in jax.tree.leaves((gradients, predictions, stats)):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
    jax.tree.map(np.testing.assert_array_equal, stats["backbone"], variables["batch_stats"]["backbone"])
    assert not any(np.any(x) for x in jax.tree.leaves(gradients["backbone"]))
    assert all(np.any(x) for x in jax.tree.leaves(gradients["head"]))
    assert all(np.any(x != 1) for x in jax.tree.leaves(stats["head"]))


def test_unknown_backbone_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'vgg19'.*resnet_tiny, resnet_small, resnet10_light, resnet18, resnet34"):
        make_detector(num_classes=2, backbone="vgg19")


@pytest.mark.parametrize(
    ("settings", "message"), [({"head": "ssd512"}, "ssd512"), ({"fast_layers": ("poool",)}, "poool")]
)
def test_unknown_heads_and_reformulations_are_named(settings, message):
    with pytest.raises(Exception, match=message):
        make_detector(num_classes=2, **settings)


def test_grid_beyond_the_image_size_is_refused():
    with pytest.raises(ValueError, match=r"`grids`.*\(8, 4, 2, 1\)"):
        shapes_of(make_detector(num_classes=2, grids=(7, 4)), 256)


@pytest.mark.parametrize(("shape", "dtype"), [((32, 32, 3), np.float32), ((1, 32, 32, 3), np.uint8)])
def test_images_of_another_form_are_refused(shape, dtype):
    with pytest.raises(Exception, match="images"):
        TINY.init(key(0), np.zeros(shape, dtype), train=False)


def test_normalized_images():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, size=(2, 3, 5, 3), dtype=np.uint8)
    expected = (images / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    assert normalize_images(images).dtype == jnp.float32
    np.testing.assert_allclose(normalize_images(images), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(normalize_images)(images), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(normalize_images)(images), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normalize_images(np.float32(images / 255)), expected, rtol=1e-5, atol=1e-5)
    half = normalize_images(jnp.asarray(images / 255, jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, expected, atol=0.02)
    own = normalize_images(images, mean=(0.0, 0.5, 1.0), std=(1.0, 2.0, 4.0))
    np.testing.assert_allclose(own, (images / 255 - [0, 0.5, 1]) / [1, 2, 4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4, 1), np.uint8), np.zeros((3,), np.float32), np.zeros((4, 4, 3), np.int32)]
)
def test_images_that_cannot_be_normalized_are_named(images):
    with pytest.raises(Exception, match="images"):
        normalize_images(images)
