"""RetinaNet: what torchvision computes with the same weights in both versions, and the names of its tensors."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxssd.data.plain_resize import resize_bilinear, shorter_side_size
from jaxssd.models.detector import Detector, normalize_images
from jaxssd.models.resnet import Bottleneck, ResNet
from jaxssd.models.torchvision_names import load_detector
from jaxssd.presets import PRESETS
from jaxssd.tasks.detection import DetectionTask
from tests.models.golden_retinanet import (
    CANDIDATES,
    FILE,
    LONGER,
    NETWORK,
    SHORTER,
    VERSIONS,
    golden_photograph,
    golden_weights,
)
from tests.models.golden_ssd300 import sample
from tests.models.torchvision_names import retinanet_shapes

SIZE, CANVAS = shorter_side_size(golden_photograph().shape[:2], SHORTER, LONGER)


def preset_of(version):
    return PRESETS[f"retinanet_resnet50_fpn{'_v2' * (version == 2)}"]()


def thin_task(version):
    """The preset's task, with a body of four blocks and a narrow head."""
    config = preset_of(version).replace(
        classes=tuple("abcd"), image_size=CANVAS, head_width=NETWORK["width"], max_candidates_per_level=CANDIDATES
    )
    task = DetectionTask.from_config(config)
    body = ResNet(NETWORK["stage_sizes"], block=Bottleneck)
    return dataclasses.replace(task, model=Detector(body, task.model.head))


def like_of(task):
    params, state = jax.eval_shape(partial(task.init, image_size=CANVAS), jax.random.key(0, impl="rbg"))
    return {"params": params, **state}


def old_name(name):
    """Name before towers and pyramid had blocks."""
    *module, layer, _zero, kind = name.split(".")
    if module[-1].endswith("_blocks"):
        return ".".join([*module, layer, kind])
    return ".".join([*module, str(2 * int(layer)), kind]) if module[-1] == "conv" and "head" in module else name


@pytest.mark.parametrize("version", VERSIONS)
def test_outputs_and_detections_are_torchvisions(version, tmp_path):
    """From a photograph, through resizing and padding, to boxes in its pixels. Version 1 has the names of its file."""
    task, golden, photograph = thin_task(version), np.load(FILE), golden_photograph()
    weights = golden_weights(version)
    if version == 1:
        weights = {old_name(name): array for name, array in weights.items()}
        assert "head.regression_head.conv.6.weight" in weights
    else:
        weights["backbone.body.bn1.num_batches_tracked"] = np.array(5)
    save_file(weights, tmp_path / "weights")
    variables = load_detector(tmp_path / "weights", like_of(task), background=False)

    canvas = np.zeros((1, *CANVAS, 3), np.float32)
    canvas[0, : SIZE[0], : SIZE[1]] = resize_bilinear(np.asarray(normalize_images(photograph)), SIZE)
    extents = np.float32([[SIZE[0] / CANVAS[0], SIZE[1] / CANVAS[1]]])

    @jax.jit
    def run(variables, canvas, extents):
        keeps = {"capture_intermediates": lambda module, _: module.name == "fpn", "mutable": ["intermediates"]}
        predictions, kept = task.model.apply(variables, canvas, train=False, **keeps)
        maps = kept["intermediates"]["head"]["fpn"]["__call__"][0]
        return maps, predictions, task.postprocess(predictions, extents)

    maps, (logits, offsets), found = jax.device_get(run(variables, canvas, extents))
    for index, features in enumerate(maps):
        np.testing.assert_allclose(sample(features), golden[f"{version}.map{index}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sample(logits), golden[f"{version}.logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sample(offsets[..., [1, 0, 3, 2]]), golden[f"{version}.offsets"], rtol=0, atol=1e-4)

    valid, count = found.valid[0], len(golden[f"{version}.scores"])
    assert valid.sum() == count > 40
    boxes = found.boxes[0, valid] * np.tile(np.divide(CANVAS, SIZE) * photograph.shape[:2], 2)
    np.testing.assert_array_equal(found.labels[0, valid], golden[f"{version}.labels"] - 1)
    np.testing.assert_allclose(found.scores[0, valid], golden[f"{version}.scores"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(boxes[:, [1, 0, 3, 2]], golden[f"{version}.boxes"], rtol=0, atol=0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_tensor_has_its_place(version, tmp_path):
    """Every value of the file is taken exactly once; only output 0 of the classes, background, is left out."""
    like, weights, start = like_of(thin_task(version)), {}, 1
    for name, shape in sorted(retinanet_shapes(version, **NETWORK).items()):
        size = int(np.prod(shape))
        weights[name] = np.arange(start, start + size, dtype=np.float64).reshape(shape) % 2**24
        start += size
    weights["backbone.body.bn1.num_batches_tracked"] = np.array(0)
    save_file(weights, tmp_path / "numbers")
    variables = load_detector(tmp_path / "numbers", like, background=False)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, like)
    rows = {name: array for name, array in weights.items() if "cls_logits" in name}
    kept = {name: array.reshape(9, 5, *array.shape[1:])[:, 1:] for name, array in rows.items()}
    expected = np.concatenate([array.reshape(-1) for name, array in (weights | kept).items() if "num_b" not in name])
    values = np.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(variables)])
    np.testing.assert_array_equal(np.sort(values), np.sort(expected))
    theirs = weights["head.regression_head.bbox_reg.bias"].reshape(9, 4)[:, [1, 0, 3, 2]]
    np.testing.assert_array_equal(variables["params"]["head"]["out_conv"]["boxes"]["bias"].reshape(9, 4), theirs)


def batch_norm(weights, x, epsilon):
    name = "backbone.body.bn1"
    scale, bias, mean, var = (weights[f"{name}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
    return (x - mean) / np.sqrt(np.float64(var) + epsilon) * scale + bias


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_have_no_epsilon(frozen, tmp_path):
    """Variances as small as some that were published: 5.6e-45, which a float32 cannot hold in full."""
    weights, rng = golden_weights(1), np.random.default_rng(0)
    weights["backbone.body.bn1.running_var"] = np.geomspace(1e-9, 1, 64).astype(np.float32)
    weights["backbone.body.bn1.running_var"][0], weights["backbone.body.bn1.weight"][0] = 5.6e-45, 1e-10
    if not frozen:
        weights["backbone.body.bn1.num_batches_tracked"] = np.array(5)
    save_file(weights, tmp_path / "file")
    variables = load_detector(tmp_path / "file", like_of(thin_task(1)), background=False)
    norm, stats = variables["params"]["backbone"]["bn1"], variables["batch_stats"]["backbone"]["bn1"]
    x = rng.normal(size=(3, 64))
    ours = (x - stats["mean"]) / np.sqrt(np.float64(stats["var"]) + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(ours, batch_norm(weights, x, 0 if frozen else 1e-5), rtol=1e-5, atol=1e-6)


def test_a_frozen_norm_without_variance_is_named(tmp_path):
    weights = golden_weights(1)
    weights["backbone.body.layer1.0.bn2.running_var"][3] = 0
    save_file(weights, tmp_path / "file")
    with pytest.raises(ValueError, match=r"file: backbone.body.layer1.0.bn2.running_var has a variance of 0"):
        load_detector(tmp_path / "file", like_of(thin_task(1)), background=False)


def test_a_retinanet_of_other_layers_has_no_counterpart(tmp_path):
    config = preset_of(1).replace(classes=("a",), tower_norm="batch")
    head = DetectionTask.from_config(config).model.head
    maps = [jax.ShapeDtypeStruct((1, side, side, 8), jnp.float32) for side in (8, 4, 2)]
    params = jax.eval_shape(partial(head.init, train=False), jax.random.key(0), maps)["params"]
    save_file({"bias": np.zeros(1, np.float32)}, tmp_path / "file")
    with pytest.raises(ValueError, match=r"head.*norm0_level0 has no counterpart in torchvision's RetinaNet"):
        load_detector(tmp_path / "file", {"params": {"head": params}}, background=False)


@pytest.mark.parametrize(("version", "published"), [(1, 34_014_999 + 53_120), (2, 38_198_935)])
def test_presets_are_the_published_networks(version, published):
    """With 91 outputs. The scales and biases of version 1's frozen BatchNorms are not counted there."""
    task = DetectionTask.from_config(preset_of(version).replace(classes=tuple(map(str, range(91))), image_size=32))
    params, _ = jax.eval_shape(partial(task.init, image_size=32), jax.random.key(0, impl="rbg"))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published
    loss = task.loss_of_image.keywords
    assert (loss["threshold"], loss["ignore_threshold"], loss["normalizer"]) == (0.5, 0.4, "positives")
    assert (loss["box_loss"] is None) == (version == 1)
    limits = task.nms.keywords
    assert (limits["score_threshold"], limits["iou_threshold"], limits["max_outputs"]) == (0.05, 0.5, 300)
    assert (limits["max_candidates_per_level"], limits["level_sizes"]) == (1000, (9 * 16, 9 * 4, 9, 9, 9))
