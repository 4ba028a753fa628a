"""SSD300-VGG16: what torchvision computes with the same weights, their names, and what VGG and its head do alone."""

from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxssd.data.plain_resize import resize_bilinear
from jaxssd.models import BACKBONES
from jaxssd.models.detector import Detector
from jaxssd.models.pretrained import load_pretrained
from jaxssd.models.ssd300_vgg_head import L2Norm, SSD300VGGHead
from jaxssd.models.torchvision_names import load_detector
from jaxssd.models.vgg import VGG, vgg16
from jaxssd.ops import ssd300_anchors
from jaxssd.presets import PRESETS
from jaxssd.tasks.detection import DetectionTask
from tests.models.golden_ssd300 import FILE, KEPT, OUTPUTS, WIDTH, golden_photographs, golden_weights, sample
from tests.models.torchvision_names import random_weights, ssd300_shapes, vgg16_shapes

CONFIG = PRESETS["ssd300_vgg16"]().replace(classes=tuple("abcde"))
THIN = Detector(vgg16(width=WIDTH), SSD300VGGHead(OUTPUTS, width=16 * WIDTH))


def shapes_of(model, *shape):
    init = partial(model.init, jax.random.key(0, impl="rbg"), train=False)
    return jax.eval_shape(init, jax.ShapeDtypeStruct(shape, jnp.float32))


LIKE = shapes_of(THIN, 1, 300, 300, 3)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "ssd300.safetensors"
    save_file(golden_weights(), path)
    return path


def error_of(path, weights, like=LIKE):
    save_file(weights, path)
    with pytest.raises(ValueError) as error:
        load_detector(path, like, background=True)
    return str(error.value)


# The same as torchvision


def test_maps_outputs_and_detections_are_torchvisions(file):
    """From photographs, through the resizing, to boxes in their pixels."""
    golden, pictures = np.load(FILE), golden_photographs()
    variables = load_detector(file, LIKE, background=True)
    task = DetectionTask.from_config(CONFIG)
    images = np.stack([resize_bilinear(picture / np.float32(255), 300) for picture in pictures])

    @jax.jit
    def run(variables, images):
        images = task.normalize(images)
        predictions, mutable = THIN.apply(
            variables, images, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return predictions, task.postprocess(predictions), mutable["intermediates"]

    (logits, offsets), found, maps = run(variables, images)
    head = maps["head"]
    layers = [head["l2_norm"], {"__call__": (jax.nn.relu(head["fc7"]["__call__"][0]),)}]
    layers += [head[f"extra{index}"] for index in range(1, 5)]
    for index, layer in enumerate(layers):
        (features,) = layer["__call__"]
        np.testing.assert_allclose(sample(np.asarray(features)), golden[f"map{index}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sample(np.roll(logits, 1, axis=-1)), golden["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sample(np.asarray(offsets)[..., [1, 0, 3, 2]]), golden["offsets"], rtol=0, atol=1e-4)

    assert found.valid.all()  # 200 of each
    assert found.valid.shape == (2, 200)
    for index, picture in enumerate(pictures):
        boxes = np.asarray(found.boxes)[index, :KEPT] * np.tile(picture.shape[:2], 2)
        np.testing.assert_array_equal(found.labels[index, :KEPT], golden[f"labels{index}"] - 1)
        np.testing.assert_allclose(found.scores[index, :KEPT], golden[f"scores{index}"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(boxes[:, [1, 0, 3, 2]], golden[f"boxes{index}"], rtol=0, atol=0.01)


def test_the_preset_is_the_whole_network():
    """35,641,826 parameters with COCO's 90 classes, as published."""
    config = CONFIG.replace(classes=tuple(map(str, range(90))))
    params, state = jax.eval_shape(partial(DetectionTask.from_config(config).init, image_size=300), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 35_641_826
    assert not state
    assert params["head"]["l2_norm"]["scale"].shape == (512,)


def test_no_anchor_is_larger_than_the_image():
    """Two of the last map would be: 0.87 sqrt(2) of the image."""
    found, unlimited = SSD300VGGHead.anchors(CONFIG), ssd300_anchors(CONFIG.anchors.anchor_sizes)
    for ours, theirs in zip(found, unlimited, strict=True):
        np.testing.assert_array_equal(ours[:-2], theirs[:-2])
    np.testing.assert_allclose(found.center_size[-2:, 2:], [[0.87 / 2**0.5, 1], [1, 0.87 / 2**0.5]], rtol=1e-6)
    np.testing.assert_allclose(unlimited.center_size[-1, 2], 0.87 * 2**0.5, rtol=1e-6)


# Weights


@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_tensor_has_its_place(file, tmp_path, prefix):
    """Every value of the file is taken exactly once, whatever its rows."""
    weights, start = {}, 0
    for name, shape in sorted(ssd300_shapes(WIDTH, OUTPUTS).items()):
        size = int(np.prod(shape))
        weights[prefix + name] = np.arange(start, start + size, dtype=np.float32).reshape(shape)
        start += size
    save_file(weights, tmp_path / "numbers")
    variables = load_detector(tmp_path / "numbers", LIKE, background=True)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, LIKE)
    values = np.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(variables)])
    np.testing.assert_array_equal(np.sort(values), np.arange(start))
    first = variables["params"]["head"]["out_conv2"]["classes"]["bias"].reshape(6, OUTPUTS)
    theirs = weights[f"{prefix}head.classification_head.module_list.1.bias"].reshape(6, OUTPUTS)
    np.testing.assert_array_equal(first[:, -1], theirs[:, 0])  # background
    np.testing.assert_array_equal(first[:, :-1], theirs[:, 1:])


def test_without_background_the_first_output_is_left_out(tmp_path):
    """As many rows as the network has classes; a file that has no more keeps them all."""
    like = {"params": {"head": {"fc6": {}, "out_conv1": {}}}}
    for kind, count in (("classes", 2 * 3), ("boxes", 2 * 4)):
        like["params"]["head"]["out_conv1"][kind] = {"bias": jax.ShapeDtypeStruct((count,), jnp.float32)}
    for outputs, expected in ((4, [1, 2, 3, 5, 6, 7]), (3, [0, 1, 2, 3, 4, 5])):
        weights = {
            "head.classification_head.module_list.0.bias": np.arange(2 * outputs, dtype=np.float32),
            "head.regression_head.module_list.0.bias": np.arange(8, dtype=np.float32),
        }
        save_file(weights, tmp_path / "file")
        found = load_detector(tmp_path / "file", like, background=False)["params"]["head"]["out_conv1"]
        assert found["classes"]["bias"].tolist() == expected
        assert found["boxes"]["bias"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_weights_that_do_not_fit_are_listed(tmp_path):
    weights = golden_weights()
    weights["head.classification_head.module_list.5.bias"] = np.zeros(91 * 4, np.float32)
    del weights["backbone.extra.0.7.3.bias"]
    weights["backbone.extra.5.0.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    message = error_of(tmp_path / "file", weights)
    assert message.startswith(f"{tmp_path / 'file'}: does not fit the detector")
    for part in (
        "1 missing: backbone.extra.0.7.3.bias [64]",
        "1 unexpected: backbone.extra.5.0.weight [1, 1, 1, 1]",
        "1 of another shape: head.classification_head.module_list.5.bias [364], expected [24]",
    ):
        assert part in message
    assert "1 not floating point" in error_of(
        tmp_path / "file", golden_weights() | {"backbone.scale_weight": np.zeros(8 * WIDTH, np.int32)}
    )


def test_a_head_without_counterpart_is_told(tmp_path):
    like = {"params": {"backbone": {}, "head": {"out_conv0": {}}}}
    assert "no counterpart in torchvision" in error_of(tmp_path / "file", golden_weights(), like)
    other = {"params": LIKE["params"] | {"backbone": {"conv1": {"kernel": jax.ShapeDtypeStruct((1,), np.float32)}}}}
    assert "backbone.conv1 has no counterpart" in error_of(tmp_path / "file", golden_weights(), other)


def test_vgg16_takes_its_imagenet_weights_without_the_classifier(tmp_path):
    """The file of features alone has a classifier of NaNs; timm's VGG has other names for it."""
    shapes = vgg16_shapes(WIDTH)
    classifier = ("classifier.0.weight", "pre_logits.fc1.weight", "head.fc.bias")
    weights = random_weights(shapes) | dict.fromkeys(classifier, np.full((2, 3), np.nan, np.float32))
    save_file({name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}, tmp_path / "vgg16")
    like = shapes_of(vgg16(width=WIDTH), 1, 32, 32, 3)
    variables = load_pretrained(tmp_path / "vgg16", like)["params"]
    assert len(jax.tree.leaves(variables)) == len(shapes)
    for layer, place in (("layer1/conv1", 0), ("layer3/conv3", 14), ("layer5/conv2", 26)):
        stage, conv = layer.split("/")
        expected = weights[f"features.{place}.weight"].astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(variables[stage][conv]["kernel"].transpose(3, 2, 0, 1), expected)
    full = shapes_of(BACKBONES["vgg16"](), 1, 32, 32, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(full)) == 14_714_688  # of VGG16's 138 million


# The network alone


def test_levels_strides_and_frozen_stages():
    model = VGG((1, 1, 1), width=2)
    assert (model.level_strides, model.output_stride, model.num_stages) == ((1, 2, 4), 4, 3)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 13, 10, 3)), jnp.float32)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0, impl="rbg"), images)

    @jax.jit
    def maps_and_gradients(variables):
        def loss(variables, frozen, remat):
            maps = model.clone(remat=remat).apply(variables, images, train=True, frozen_stages=frozen, levels=2)
            return sum(jnp.sum(features**2) for features in maps), maps

        settings = ((0, False), (0, True), (2, False))
        gradients, maps = zip(*(jax.grad(loss, has_aux=True)(variables, *each) for each in settings), strict=True)
        return maps[0], *gradients

    maps, gradients, again, stopped = maps_and_gradients(variables)
    assert [features.shape for features in maps] == [(1, 7, 5, 4), (1, 4, 3, 8)]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), again, gradients)
    moves = [bool(np.any(stopped["params"][f"layer{stage}"]["conv1"]["kernel"])) for stage in (1, 2, 3)]
    assert moves == [False, False, True]
    with pytest.raises(ValueError, match="`levels` is 4, expected 1 to 3"):
        model.apply(variables, images, train=False, levels=4)


def test_a_cell_of_zeros_has_a_finite_gradient():
    features = jnp.zeros((1, 1, 2, 4)).at[0, 0, 1].set(jnp.array([0.0, 3.0, 4.0, 0.0]))

    @jax.jit
    def run(features):
        norm = L2Norm()
        variables = norm.init(jax.random.key(0, impl="rbg"), features)
        found, pull_back = jax.vjp(lambda x: norm.apply(variables, x), features)
        return found, *pull_back(jnp.ones_like(found))

    found, gradient = run(features)
    np.testing.assert_allclose(found[0, 0], [[0, 0, 0, 0], [0, 12, 16, 0]], rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("cells", [(38, 18), (37, 19)])
def test_other_maps_are_refused_with_the_image_sizes_that_work(cells):
    maps = [jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32) for side in cells]
    with pytest.raises(ValueError, match=rf"{cells[0]}x{cells[0]}, .*expected 38x38, 19x19.*vgg16.*297 to 304 pixels"):
        jax.eval_shape(partial(SSD300VGGHead(2).init, train=False), jax.random.key(0), maps)
