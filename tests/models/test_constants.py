"""Numbers of the models that nothing else would notice: normalisation, biases, and which output is which anchor's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.models import BACKBONES
from jaxssd.models.detector import IMAGENET_MEAN, IMAGENET_STD, make_detector, normalize_images
from jaxssd.models.heads import OutConv, StdConv
from jaxssd.models.layers import EPSILON, MOMENTUM


def test_imagenets_mean_and_deviation_are_of_red_green_and_blue():
    """As torchvision's weights expect; green has the least deviation from blue, red the greatest mean."""
    np.testing.assert_array_equal(IMAGENET_MEAN, (0.485, 0.456, 0.406))
    np.testing.assert_array_equal(IMAGENET_STD, (0.229, 0.224, 0.225))
    assert (Config().model.mean, Config().model.std) == (IMAGENET_MEAN, IMAGENET_STD)
    red = normalize_images(jnp.array([[[255, 0, 0]]], jnp.uint8))[0, 0]
    np.testing.assert_allclose(red, [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)


def test_batch_norm_has_pytorchs_constants():
    assert (MOMENTUM, EPSILON) == (0.9, 1e-5)


def test_row_j_of_a_cell_is_what_its_filters_say():
    """Filters that give their own number, and features that give the place: class logits and boxes in order."""
    head = OutConv(num_classes=3, boxes_per_cell=2, prior_probability=0.5)
    features = jnp.zeros((1, 2, 3, 1)).at[0, :, :, 0].set(100 * jnp.arange(6.0).reshape(2, 3))
    variables = {}
    center = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    for name, filters in (("classes", 6), ("boxes", 8)):
        variables[name] = {
            "kernel": jnp.tile(center, (1, 1, 1, filters)),
            "bias": jnp.arange(filters, dtype=jnp.float32),
        }
    found = jax.jit(head.apply)({"params": variables}, features)
    places = 100 * np.arange(6)[:, None]
    np.testing.assert_allclose(found.class_logits[0], (places + np.arange(6)).reshape(12, 3))
    np.testing.assert_allclose(found.box_activations[0], (places + np.arange(8)).reshape(12, 4))


@pytest.mark.parametrize(
    ("head", "backbone", "size", "grids", "settings"),
    [("pyramid", "resnet_tiny", 64, 2, {"grids": (8, 4), "width": 8}), ("ssd300", "resnet34_ssd300", 300, 6, {})],
)
def test_classes_start_at_their_prior_and_boxes_at_their_anchors(head, backbone, size, grids, settings):
    prior = 1 / (1 + math.exp(3.5))
    detector = make_detector(num_classes=2, backbone=backbone, head=head, prior_probability=prior, **settings)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: detector.init(jax.random.key(0), x, train=False), images)["params"]["head"]
    outs = [name for name in shapes if name.startswith("out_conv")]
    assert len(outs) == grids
    network = OutConv(2, 4, detector.head.prior_probability)
    biases = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1, 1, 4)))["params"]
    np.testing.assert_array_equal(biases["classes"]["bias"], np.full(8, -3.5))
    np.testing.assert_array_equal(biases["boxes"]["bias"], np.zeros(16))


def test_background_starts_with_a_bias_of_zero():
    """The odds of each class against background are those of the prior: 1 to 4, so 1/7 for each of three classes."""
    network = OutConv(num_classes=4, boxes_per_cell=2, prior_probability=0.2, background=True)
    biases = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1, 1, 4)))["params"]["classes"]["bias"]
    np.testing.assert_allclose(jax.nn.softmax(biases.reshape(2, 4)), [[1 / 7, 1 / 7, 1 / 7, 4 / 7]] * 2, rtol=1e-6)
    for head, backbone, size in (("pyramid", "resnet_tiny", 64), ("ssd300", "resnet34_ssd300", 300)):
        detector = make_detector(num_classes=4, backbone=backbone, head=head, background=True)
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        variables = jax.eval_shape(lambda x, d=detector: d.init(jax.random.key(0), x, train=False), images)
        found = jax.eval_shape(lambda v, x, d=detector: d.apply(v, x, train=False), variables, images)
        assert found.class_logits.shape[-1] == 4


def test_a_block_of_the_head_is_relu_then_norm():
    """The lesson's order: what comes out has a mean of 0 over the batch, negative values included."""
    block = StdConv(4, 1, 0.0)
    x = jax.random.normal(jax.random.key(0), (4, 5, 5, 3))

    @jax.jit
    def first_pass(x):
        variables = block.init(jax.random.key(1), x, train=False)
        return block.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)})[0]

    y = first_pass(x)
    assert float(y.min()) < -0.1
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), np.zeros(4), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stride", "blocks", "channels"),
    [
        ("resnet18", 32, (2, 2, 2, 2), 512),
        ("resnet34", 32, (3, 4, 6, 3), 512),
        ("resnet50", 32, (3, 4, 6, 3), 2048),
        ("resnet10_light", 32, (1, 1, 1, 1), 256),
        ("resnet_small", 16, (1, 1, 1), 128),
        ("resnet_tiny", 8, (1, 1), 64),
        ("resnet34_ssd300", 8, (3, 4, 6), 256),
    ],
)
def test_strides_blocks_and_channels(name, stride, blocks, channels):
    network = BACKBONES[name]()
    assert (network.output_stride, network.stage_sizes) == (stride, blocks)
    images = jax.ShapeDtypeStruct((1, 2 * stride + 1, 4 * stride, 3), jnp.float32)
    features = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x, train=False)[0], images)
    assert features.shape == (1, 3, 4, channels)
