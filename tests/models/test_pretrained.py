"""PyTorch's weights in our ResNets: the same features, whatever the file, or an error that says all that is wrong."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save as safetensors_file

from jaxssd.models import BACKBONES
from jaxssd.models.pretrained import load_pretrained
from jaxssd.models.resnet import BasicBlock, Bottleneck, ResNet
from tests.models.golden import FILE, NETWORKS, golden_images, golden_weights
from tests.models.torch_writers import contents, legacy_file, tensors, torch_legacy, torch_zip, zip_file
from tests.models.torchvision_names import random_weights, resnet_shapes

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
TINY = ResNet(stage_sizes=(1, 1), width=4)
WRITERS = {"zip": torch_zip, "legacy": torch_legacy, "safetensors": safetensors_file}


def shapes_of(model):
    init = partial(model.init, jax.random.key(0, impl="rbg"), train=False)
    return jax.eval_shape(init, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))


LIKE = shapes_of(TINY)


@cache
def tiny_weights():
    return random_weights(resnet_shapes((1, 1), 4), seed=3)


def ours(variables, name):
    """The leaf of torchvision's name, in torchvision's layout."""
    module, leaf = name.rsplit(".", 1)
    keys = re.sub(r"layer(\d)\.(\d+)", r"layer\1_\2", module)
    keys = keys.replace("downsample.0", "downsample_conv").replace("downsample.1", "downsample_bn").split(".")
    collection = variables["batch_stats" if leaf.startswith("running") else "params"]
    for key in keys:
        collection = collection[key]
    if leaf == "weight" and "kernel" in collection:
        return np.einsum("hwio->oihw", collection["kernel"])
    return collection[{"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}[leaf]]


def load(tmp_path, data, like=LIKE):
    path = tmp_path / "weights"
    path.write_bytes(data)
    return load_pretrained(path, like)


def error_of(tmp_path, weights, like=LIKE):
    with pytest.raises(ValueError) as error:
        load(tmp_path, torch_zip(weights), like)
    assert str(error.value).startswith(f"{tmp_path / 'weights'}: ")
    return str(error.value)


def assert_same(variables, weights, like=LIKE, **tolerance):
    assert jax.tree.structure(variables) == jax.tree.structure(like)
    assert len(jax.tree.leaves(variables)) == len(weights)
    for leaf in jax.tree.leaves(variables):
        assert type(leaf) is np.ndarray
        assert leaf.dtype == np.float32
        assert leaf.flags.c_contiguous
        assert leaf.flags.writeable
    for name, array in weights.items():
        np.testing.assert_allclose(ours(variables, name), array, err_msg=name, **tolerance)


# The same features as PyTorch


@pytest.mark.parametrize("name", NETWORKS)
def test_features_and_statistics_are_pytorchs(name, tmp_path):
    golden, weights, images = np.load(FILE), golden_weights(name), golden_images()
    shape = NETWORKS[name]
    model = ResNet(shape["stage_sizes"], shape["width"], block=BLOCKS[name])
    variables = load(tmp_path, torch_zip(weights), shapes_of(model))

    @jax.jit
    def both(variables, images):
        trained, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return model.apply(variables, images, train=False), trained, updates

    evaluated, trained, updates = both(variables, images)
    for got, expected in ((evaluated, golden[f"{name}.eval"]), (trained, golden[f"{name}.train"])):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.std(expected))

    def statistics(kind):
        return np.concatenate([ours(updates, key) for key in sorted(weights) if key.endswith(kind)])

    np.testing.assert_allclose(statistics("running_mean"), golden[f"{name}.running_mean"], rtol=1e-4, atol=1e-5)
    before = np.concatenate([0.9 * weights[key] for key in sorted(weights) if key.endswith("running_var")])
    batch = statistics("running_var") - before
    pytorchs = golden[f"{name}.running_var"] - before
    for part, values in ((slice(None, 4), 2 * 20 * 17), (slice(-4, None), 2 * 2 * 2)):  # of the stem, of the last block
        np.testing.assert_allclose(pytorchs[part], batch[part] * values / (values - 1), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "stage_sizes", "bottleneck"),
    [("resnet18", (2, 2, 2, 2), False), ("resnet34", (3, 4, 6, 3), False), ("resnet50", (3, 4, 6, 3), True)],
)
def test_every_name_of_torchvisions_networks_is_taken(name, stage_sizes, bottleneck, tmp_path):
    shapes = resnet_shapes(stage_sizes, bottleneck=bottleneck)
    weights = {key: np.full(shape, i, ml_dtypes.bfloat16) for i, (key, shape) in enumerate(shapes.items())}
    like = shapes_of(BACKBONES[name]())
    variables = load(tmp_path, safetensors_file(weights), like)
    for key, array in weights.items():
        assert ours(variables, key).shape == array.shape
        assert np.all(ours(variables, key) == np.float32(array.flat[0])), key
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda x: x.shape, like)
    assert len(jax.tree.leaves(variables)) == len(shapes)


# Whatever the file


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64], ids=lambda x: x.__name__)
@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_and_dtype_gives_the_same_variables(kind, dtype, tmp_path):
    weights = {name: array.astype(dtype) for name, array in tiny_weights().items()}
    variables = load(tmp_path, WRITERS[kind](weights))
    assert_same(variables, {name: array.astype(np.float32) for name, array in weights.items()}, rtol=0)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "encoder.module.", "a.b.c.d.e.f.g.", "layer1.0."])
def test_a_common_prefix_is_found(prefix, tmp_path):
    weights = {prefix + name: array for name, array in tiny_weights().items()}
    assert_same(load(tmp_path, torch_zip(weights)), tiny_weights())


def test_what_the_backbone_has_no_use_for_is_ignored(tmp_path):
    weights = tiny_weights()
    classifier = {"fc.weight": np.full((10, 8), np.nan, np.float32), "fc.bias": np.zeros(10, np.float32)}
    counters = {"bn1.num_batches_tracked": np.array(5), "layer1.0.bn2.num_batches_tracked": np.array([2.5], np.float32)}
    assert_same(load(tmp_path, torch_zip(weights | classifier | counters)), weights)
    within = {f"backbone.{name}": array for name, array in (weights | classifier | counters).items()}
    beside = {"head.conv1.weight": np.ones((3, 8, 1, 1), np.float32), "conv1.weight": np.ones(3, np.int8)}
    assert_same(load(tmp_path, torch_zip(within | beside)), weights)


def test_stages_after_the_backbones_last_one_are_ignored(tmp_path):
    """Such as the fourth one of ResNet34, which the backbone of SSD300 does not have."""
    whole = random_weights(resnet_shapes((1, 1, 2, 1), 4), seed=3)
    kept = {name: array for name, array in whole.items() if not name.startswith(("layer3.", "layer4."))}
    broken = {name: np.full_like(array, np.nan) for name, array in whole.items() if name not in kept}
    assert_same(load(tmp_path, torch_zip(kept | broken)), kept)
    assert_same(load(tmp_path, torch_zip({f"module.{name}": array for name, array in (kept | broken).items()})), kept)

    shapes = resnet_shapes((3, 4, 6, 3))
    weights = {name: np.full(shape, i, ml_dtypes.bfloat16) for i, (name, shape) in enumerate(shapes.items())}
    variables = load(tmp_path, safetensors_file(weights), shapes_of(BACKBONES["resnet34_ssd300"]()))
    used = {name: array for name, array in weights.items() if not name.startswith("layer4.")}
    assert len(jax.tree.leaves(variables)) == len(used) < len(weights)
    assert all(np.all(ours(variables, name) == np.float32(array.flat[0])) for name, array in used.items())


def test_stages_that_the_file_lacks_are_missing_and_no_other_depth_is_suggested(tmp_path):
    message = error_of(tmp_path, random_weights(resnet_shapes((1,), 4)))
    assert "15 missing: layer2.0.bn1.bias [8]" in message
    assert "unexpected" not in message
    deeper = random_weights(resnet_shapes((2, 1, 1), 4))
    assert "10 unexpected: layer1.1.bn1.bias [4]" in (message := error_of(tmp_path, deeper))
    assert "looks like" not in message


def test_checkpoints_and_arrays_as_the_pattern(tmp_path):
    weights = tiny_weights()
    checkpoint = zip_file({"epoch": 5, "state_dict": tensors(weights)}, contents(weights))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.bfloat16), LIKE)
    assert_same(load(tmp_path, checkpoint, zeros), weights)
    old = legacy_file({"model": tensors(weights, legacy=True)}, contents(weights))
    assert_same(load(tmp_path, old, {name: LIKE[name] for name in reversed(LIKE)}), weights)


def test_the_order_of_the_file_does_not_matter(tmp_path):
    weights = tiny_weights()
    assert_same(load(tmp_path, torch_legacy(dict(reversed(weights.items())))), weights)


# Or an error that says all that is wrong


def test_every_tensor_that_is_wrong_is_named_at_once(tmp_path):
    weights = dict(tiny_weights())
    del weights["bn1.running_var"], weights["layer2.0.downsample.0.weight"]
    weights["layer1.0.conv3.weight"] = np.zeros((2, 1), np.float32)
    weights["norm.bias"] = np.zeros(6, np.float32)
    weights["conv1.weight"] = np.zeros((4, 1, 7, 7), np.float32)
    weights["bn1.bias"] = np.zeros((), np.float32)
    weights["layer1.0.bn1.weight"] = np.ones(4, np.int32)
    weights["layer1.0.bn2.weight"] = np.array([1, np.nan, 1, 1], np.float32)
    weights["layer2.0.bn2.bias"] = np.full(8, 1e39)
    message = error_of(tmp_path, weights)
    for line in (
        "2 missing: bn1.running_var [4], layer2.0.downsample.0.weight [8, 4, 1, 1]",
        "2 unexpected: layer1.0.conv3.weight [2, 1], norm.bias [6]",
        "2 of another shape: bn1.bias [], expected [4], conv1.weight [4, 1, 7, 7], expected [4, 3, 7, 7]",
        "1 not floating point: layer1.0.bn1.weight int32",
        "2 not finite: layer1.0.bn2.weight, layer2.0.bn2.bias",
    ):
        assert f"\n  {line}" in message


RIGHT = {
    "resnet18": set(resnet_shapes((2, 2, 2, 2))),
    "resnet34": set(resnet_shapes((3, 4, 6, 3))),
    "resnet50": set(resnet_shapes((3, 4, 6, 3), bottleneck=True)),
}


@pytest.mark.parametrize(
    ("wrong", "right", "hint"),
    [
        (((3, 4, 6, 3), True), "resnet34", "(it looks like a ResNet-50, the backbone is a ResNet-34)"),
        (((3, 4, 6, 3), False), "resnet50", "(it looks like a ResNet-34, the backbone is a ResNet-50)"),
        (((3, 4, 6, 3), False), "resnet18", "(it looks like a ResNet-34, the backbone is a ResNet-18)"),
        (((3, 4, 23, 3), True), "resnet50", "(it looks like a ResNet-101, the backbone is a ResNet-50)"),
    ],
)
def test_another_resnet_is_recognised_and_long_lists_are_cut(wrong, right, hint, tmp_path):
    stage_sizes, bottleneck = wrong
    shapes = resnet_shapes(stage_sizes, 4, bottleneck=bottleneck)
    weights = {f"module.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    message = error_of(tmp_path, weights, shapes_of(BACKBONES[right](width=4)))
    assert hint in message
    assert re.search(r", and \d+ more", message)
    assert len(message) < 2000
    expected = RIGHT[right]
    for problem, names in (("missing", expected - set(shapes)), ("unexpected", set(shapes) - expected)):
        assert (f"{len(names)} {problem}: {min(names)}" in message) if names else (problem not in message)


def test_the_same_depth_and_another_width_gives_no_hint(tmp_path):
    weights = random_weights(resnet_shapes((1, 1), 8))
    message = error_of(tmp_path, weights)
    assert f"{len(weights)} of another shape: " in message
    assert "looks like" not in message
    assert "missing" not in message


def test_a_file_of_something_else_misses_everything(tmp_path):
    message = error_of(tmp_path, {"encoder.weight": np.zeros((3, 3), np.float32)})
    assert f"{len(tiny_weights())} missing: bn1.bias [4]" in message
    assert "1 unexpected: encoder.weight [3, 3]" in message
    assert "looks like" not in message


def test_unexpected_tensors_count_only_within_the_prefix(tmp_path):
    weights = {f"backbone.{name}": array for name, array in tiny_weights().items()}
    weights |= {"head.weight": np.zeros(3, np.float32), "backbone.attention.weight": np.zeros(3, np.float32)}
    message = error_of(tmp_path, weights)
    assert message.endswith("1 unexpected: attention.weight [3]")


def test_two_backbones_in_a_file_are_not_chosen_between(tmp_path):
    weights = {f"{part}.{name}": array for part in ("student", "teacher") for name, array in tiny_weights().items()}
    assert "'student.', 'teacher.'" in error_of(tmp_path, weights)


def test_names_of_the_file_cannot_flood_the_screen(tmp_path):
    weights = tiny_weights() | {"\x1b[2J" + "a." * 10**5: np.zeros(1, np.float32)}
    message = error_of(tmp_path, weights)
    assert len(message) < 300
    assert "\x1b" not in message


def test_files_that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_pretrained(tmp_path / "none.pth", LIKE)
    with pytest.raises(ValueError, match=r"weights: expected weights in PyTorch"):
        load(tmp_path, b"<html>")
