"""ResNet against torchvision's published layout, and against a slow NumPy network with PyTorch's padding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.models import BACKBONES
from jaxssd.models.resnet import BasicBlock, Bottleneck, ResNet

key = partial(jax.random.key, impl="rbg")  # Threefry takes XLA a second to compile for every draw on a CPU
TINY = ResNet(
    stage_sizes=(1, 1), width=4
)  # output stride 8; every kind of layer: stem, plain block, downsampling block


def numpy_conv(x, kernel, stride, padding):
    """PyTorch's convolution: pad both sides alike, then step from the first pixel."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    out = np.zeros((len(x), len(rows), len(columns), kernel.shape[3]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = x[:, row : row + size, column : column + size, :]
            out[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernel)
    return out


def numpy_max_pool(x):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns = range(0, x.shape[1] - 2, 2), range(0, x.shape[2] - 2, 2)
    return np.stack([np.stack([x[:, r : r + 3, c : c + 3].max((1, 2)) for c in columns], 1) for r in rows], 1)


def numpy_norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def numpy_block(x, params, stats, stride):
    y = numpy_norm(numpy_conv(x, params["conv1"]["kernel"], stride, 1), params["bn1"], stats["bn1"])
    y = numpy_conv(np.maximum(y, 0), params["conv2"]["kernel"], 1, 1)
    y = numpy_norm(y, params["bn2"], stats["bn2"])
    if "downsample_conv" in params:
        x = numpy_conv(x, params["downsample_conv"]["kernel"], stride, 0)
        x = numpy_norm(x, params["downsample_bn"], stats["downsample_bn"])
    return np.maximum(x + y, 0)


def numpy_bottleneck(x, params, stats, stride):
    y = numpy_norm(numpy_conv(x, params["conv1"]["kernel"], 1, 0), params["bn1"], stats["bn1"])
    y = numpy_conv(np.maximum(y, 0), params["conv2"]["kernel"], stride, 1)
    y = numpy_norm(y, params["bn2"], stats["bn2"])
    y = numpy_norm(numpy_conv(np.maximum(y, 0), params["conv3"]["kernel"], 1, 0), params["bn3"], stats["bn3"])
    if "downsample_conv" in params:
        x = numpy_conv(x, params["downsample_conv"]["kernel"], stride, 0)
        x = numpy_norm(x, params["downsample_bn"], stats["downsample_bn"])
    return np.maximum(x + y, 0)


def numpy_tiny(images, params, stats, pool=True):
    x = numpy_conv(images, params["conv1"]["kernel"], 2 if pool else 4, 3)
    x = np.maximum(numpy_norm(x, params["bn1"], stats["bn1"]), 0)
    x = numpy_max_pool(x) if pool else x
    x = numpy_block(x, params["layer1_0"], stats["layer1_0"], 1)
    return numpy_block(x, params["layer2_0"], stats["layer2_0"], 2)


def shapes_of(model, size=64, channels=3):
    images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, train=False), key(0), images)


def random_variables(model, channels=3):
    """No parameter at 0 or 1, so that none can be mistaken for another; statistics positive, as a variance must be."""
    rng = np.random.default_rng(0)
    _, shapes = shapes_of(model, channels=channels)
    params = jax.tree.map(lambda x: rng.uniform(-0.5, 0.7, x.shape).astype(np.float32), shapes["params"])
    stats = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes["batch_stats"])
    return {"params": params, "batch_stats": stats}


def by_path(tree):
    return {"/".join(entry.key for entry in path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(2, 24, 17, 3)).astype(np.float32)  # even and odd sides


@pytest.fixture(scope="module")
def variables():
    return random_variables(TINY)


@jax.jit
def evaluate(variables, images):
    return TINY.apply(variables, images, train=False)


@partial(jax.jit, static_argnames="frozen_stages")
def train(variables, images, frozen_stages=0):
    """Features, new statistics, and the gradients of a loss."""

    def loss(params):
        features, updates = TINY.apply(
            {**variables, "params": params}, images, train=True, frozen_stages=frozen_stages, mutable=["batch_stats"]
        )
        return jnp.mean(features**2), (features, updates["batch_stats"])

    gradients, (features, stats) = jax.grad(loss, has_aux=True)(variables["params"])
    return features, stats, gradients


@pytest.mark.parametrize(
    ("name", "count", "features"),
    [
        ("resnet18", 11_176_512, (1, 7, 7, 512)),
        ("resnet34", 21_284_672, (1, 7, 7, 512)),
        ("resnet50", 23_508_032, (1, 7, 7, 2048)),
    ],
)
def test_size_is_torchvisions_without_fc(name, count, features):
    output, variables = shapes_of(BACKBONES[name](), 224)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
    assert output.shape == features


def test_layout_is_torchvisions():
    _, variables = shapes_of(BACKBONES["resnet18"]())
    expected = {"conv1/kernel": (7, 7, 3, 64)}
    norms = {"bn1": 64}
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            layer = f"layer{stage}_{block}"
            inputs = channels // 2 if stage > 1 and block == 0 else channels
            expected |= {
                f"{layer}/conv1/kernel": (3, 3, inputs, channels),
                f"{layer}/conv2/kernel": (3, 3, channels, channels),
            }
            norms |= {f"{layer}/bn1": channels, f"{layer}/bn2": channels}
            if inputs != channels:
                expected[f"{layer}/downsample_conv/kernel"] = (1, 1, inputs, channels)
                norms[f"{layer}/downsample_bn"] = channels
    statistics = {f"{norm}/{name}": (size,) for norm, size in norms.items() for name in ("mean", "var")}
    expected |= {f"{norm}/{name}": (size,) for norm, size in norms.items() for name in ("scale", "bias")}
    for collection, shapes in (("params", expected), ("batch_stats", statistics)):
        assert {path: x.shape for path, x in by_path(variables[collection]).items()} == shapes


@settings(max_examples=10)
@given(st.sampled_from([(1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)]), st.integers(33, 300))
def test_feature_map_is_the_image_over_the_output_stride_rounded_up(stage_sizes, size):
    model = ResNet(stage_sizes, width=2)
    output, _ = shapes_of(model, size)
    grid = -(-size // model.output_stride)
    assert model.output_stride == 2 ** (len(stage_sizes) + 1)
    assert output.shape == (1, grid, grid, 2 * 2 ** (len(stage_sizes) - 1))


@pytest.mark.parametrize(("stride", "channels"), [(1, 3), (1, 6), (2, 3)])
def test_block_equals_its_numpy_reference(stride, channels):
    features = np.random.default_rng(2).normal(size=(1, 4, 5, 3)).astype(np.float32)
    block = BasicBlock(channels, stride)
    variables = random_variables(block)
    assert ("downsample_conv" in variables["params"]) == (stride != 1 or channels != 3)
    got = jax.jit(partial(block.apply, train=False))(variables, features)
    expected = numpy_block(features, variables["params"], variables["batch_stats"], stride)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "channels"), [(1, 2), (1, 1), (2, 2)])
def test_bottleneck_equals_its_numpy_reference(stride, channels):
    """With 8 inputs, two channels keep the shape."""
    features = np.random.default_rng(2).normal(size=(1, 4, 5, 8)).astype(np.float32)
    block = Bottleneck(channels, stride)
    variables = random_variables(block, channels=8)
    assert ("downsample_conv" in variables["params"]) == (stride != 1 or channels != 2)
    got = jax.jit(partial(block.apply, train=False))(variables, features)
    expected = numpy_bottleneck(features, variables["params"], variables["batch_stats"], stride)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_bottlenecks_have_torchvisions_names():
    _, variables = shapes_of(BACKBONES["resnet50"]())
    params = variables["params"]
    assert {name for name in params if name.startswith("layer3")} == {f"layer3_{block}" for block in range(6)}
    layers = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}
    assert set(params["layer1_0"]) == set(params["layer4_0"]) == {*layers, "downsample_conv", "downsample_bn"}
    assert set(params["layer1_1"]) == layers
    assert params["layer1_0"]["downsample_conv"]["kernel"].shape == (1, 1, 64, 256)
    assert params["layer4_0"]["conv2"]["kernel"].shape == (3, 3, 512, 512)


@pytest.mark.parametrize("frozen_stages", [1, 2])
def test_frozen_stages_of_bottlenecks(frozen_stages, images):
    model = ResNet(stage_sizes=(1, 1), width=2, block=Bottleneck)
    variables = random_variables(model)

    @jax.jit
    def step(params):
        def loss(params):
            features, updates = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                frozen_stages=frozen_stages,
                mutable=["batch_stats"],
            )
            return jnp.mean(features**2), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradients, stats = step(variables["params"])
    trained = {"layer2_0"} if frozen_stages == 1 else set()
    old = by_path(variables["batch_stats"])
    assert {path.split("/")[0] for path, x in by_path(stats).items() if np.any(x != old[path])} == trained
    assert {path.split("/")[0] for path, x in by_path(gradients).items() if np.any(x)} == trained


def test_network_equals_its_numpy_reference(variables, images):
    expected = numpy_tiny(images, variables["params"], variables["batch_stats"])
    assert expected.shape == (2, 3, 3, 8)
    np.testing.assert_allclose(evaluate(variables, images), expected, rtol=1e-4, atol=1e-4)


def test_without_pooling_the_first_convolution_has_stride_four(variables, images):
    without = ResNet(stage_sizes=(1, 1), width=4, pool=False)
    expected = numpy_tiny(images, variables["params"], variables["batch_stats"], pool=False)
    features = jax.jit(partial(without.apply, train=False))(variables, images)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert (without.output_stride, without.layers[0]) == (TINY.output_stride, (7, 4))


def test_jit_equals_eager(variables, images):
    np.testing.assert_allclose(
        TINY.apply(variables, images, train=False), evaluate(variables, images), rtol=1e-4, atol=1e-5
    )


def test_stride_two_reads_the_even_pixels():
    """With SAME padding an even map would be read at its odd pixels, one pixel off what pretrained weights expect."""
    block = BasicBlock(1, stride=2)
    features = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    centre = np.zeros((3, 3, 1, 1), np.float32)
    centre[1, 1] = 1
    norm, stats = {"scale": np.ones(1), "bias": np.zeros(1)}, {"mean": np.zeros(1), "var": np.ones(1)}
    params = {
        "conv1": {"kernel": centre},
        "conv2": {"kernel": centre},
        "downsample_conv": {"kernel": np.zeros((1, 1, 1, 1))},
        "bn1": norm,
        "bn2": norm,
        "downsample_bn": norm,
    }
    variables = {"params": params, "batch_stats": {"bn1": stats, "bn2": stats, "downsample_bn": stats}}
    got = jax.jit(partial(block.apply, train=False))(variables, features)
    np.testing.assert_allclose(got[0, :, :, 0], features[0, ::2, ::2, 0], rtol=1e-4)


def test_evaluation_keeps_the_statistics_and_does_not_mix_images(variables, images):
    _, updates = jax.jit(partial(TINY.apply, train=False, mutable=["batch_stats"]))(variables, images)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])
    beside_another = evaluate(variables, np.stack([images[0], 9 * images[1]]))
    np.testing.assert_allclose(beside_another[0], evaluate(variables, images)[0], rtol=1e-5, atol=1e-6)


def test_training_moves_every_statistic_a_tenth_of_the_way(variables, images):
    features, stats, _ = train(variables, images)
    old = variables["batch_stats"]
    assert all(np.all(x != by_path(old)[path]) for path, x in by_path(stats).items())
    first = numpy_conv(images, variables["params"]["conv1"]["kernel"], 2, 3)
    for name, batch in (("mean", first.mean((0, 1, 2))), ("var", first.var((0, 1, 2)))):
        np.testing.assert_allclose(stats["bn1"][name], 0.9 * old["bn1"][name] + 0.1 * batch, rtol=1e-4, atol=1e-5)
    assert not np.allclose(features, evaluate(variables, images), atol=1e-2)


def test_frozen_stages_behave_as_in_evaluation(variables, images):
    _, stats, gradients = train(variables, images, frozen_stages=1)
    old = by_path(variables["batch_stats"])
    assert {path.split("/")[0] for path, x in by_path(stats).items() if np.any(x != old[path])} == {"layer2_0"}
    assert {path.split("/")[0] for path, x in by_path(gradients).items() if np.any(x)} == {"layer2_0"}


def test_with_all_stages_frozen_training_is_evaluation(variables, images):
    features, stats, gradients = train(variables, images, frozen_stages=2)
    np.testing.assert_allclose(features, evaluate(variables, images), rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
    assert not any(np.any(x) for x in jax.tree.leaves(gradients))


def test_gradients_reach_every_parameter(variables, images):
    _, _, gradients = train(variables, images)
    assert all(np.all(np.isfinite(x)) and np.any(x) for x in jax.tree.leaves(gradients))


def test_convolutions_start_with_he_variance_of_their_outputs():
    init = jax.jit(partial(BasicBlock(96).init, train=False))
    kernel = init(key(0), jnp.zeros((1, 2, 2, 32)))["params"]["conv1"]["kernel"]
    assert kernel.shape == (3, 3, 32, 96)
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 96)), rel=0.02)
    assert np.mean(kernel) == pytest.approx(0, abs=1e-3)


def test_bfloat16_computes_in_half_and_keeps_the_rest_in_float32(variables, images):
    half = TINY.clone(dtype=jnp.bfloat16)

    @jax.jit
    def step(params, images):
        def loss(params):
            features, updates = half.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
            return jnp.mean(features.astype(jnp.float32) ** 2), (features, updates["batch_stats"])

        return jax.grad(loss, has_aux=True)(params)

    gradients, (features, stats) = step(variables["params"], images)
    assert features.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 and np.all(np.isfinite(x)) for x in jax.tree.leaves((gradients, stats)))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(shapes_of(half)[1]))
    expected, _, _ = train(variables, images)
    np.testing.assert_allclose(np.float32(features), expected, atol=0.05 * np.max(expected))
