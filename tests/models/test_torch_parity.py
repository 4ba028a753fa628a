"""Our ResNets against PyTorch's, through files that PyTorch itself wrote. Run by `make parity`."""

import copy
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxssd.models import BACKBONES
from jaxssd.models.pretrained import load_pretrained
from jaxssd.models.weight_files import read_weights
from tests.models.golden import FILE
from tests.models.torchvision_names import random_weights, resnet_shapes

pytestmark = pytest.mark.torch
SHAPES = {
    "resnet18": {"stage_sizes": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {"stage_sizes": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {"stage_sizes": (3, 4, 6, 3), "bottleneck": True},
}
IMAGES = np.random.default_rng(5).normal(size=(2, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def torch():
    import torch  # here, because collecting this file must not need it

    torch.set_num_threads(2)
    return torch


@pytest.fixture(scope="module")
def reference(torch):
    import tests.models.torch_reference

    return tests.models.torch_reference


@cache
def like(name):
    init = partial(BACKBONES[name]().init, jax.random.key(0), train=False)
    return jax.eval_shape(init, jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32))


@cache
def compiled(name):
    model = BACKBONES[name]()

    @jax.jit
    def evaluate_and_train(variables, images):
        trained, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return model.apply(variables, images, train=False), trained, updates["batch_stats"]

    return evaluate_and_train


def save_zip(torch, weights, path):
    torch.save(weights, path)


def save_legacy(torch, weights, path):
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def save_safetensors(torch, weights, path):
    safetensors.numpy.save_file({name: tensor.numpy() for name, tensor in weights.items()}, path)


SAVES = {"zip": save_zip, "legacy": save_legacy, "safetensors": save_safetensors}


def make(reference, name, **options):
    network = reference.TorchResNet(**SHAPES[name], **options)
    network.set_weights(random_weights(resnet_shapes(**SHAPES[name]), seed=2))
    return network


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_those_the_other_tests_use(reference, name):
    state = reference.TorchResNet(**SHAPES[name]).state_dict()
    shapes = {key: tuple(x.shape) for key, x in state.items() if not key.endswith("num_batches_tracked")}
    assert shapes == resnet_shapes(**SHAPES[name])


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("resnet18", "zip", "float32"),
        ("resnet18", "legacy", "float16"),
        ("resnet18", "safetensors", "float16"),
        ("resnet34", "legacy", "float32"),
        ("resnet34", "zip", "float16"),
        ("resnet50", "zip", "float32"),
        ("resnet50", "safetensors", "float32"),
        ("resnet50", "legacy", "float16"),
    ],
)
def test_features_are_pytorchs(torch, reference, name, kind, dtype, tmp_path):
    network, path = make(reference, name, classes=10), tmp_path / "weights"
    saved = {
        key: x.to(getattr(torch, dtype)) if x.is_floating_point() else x for key, x in network.state_dict().items()
    }
    SAVES[kind](torch, saved, path)
    network.load_state_dict(saved)
    exact = copy.deepcopy(network).double()
    variables = load_pretrained(path, like(name))
    evaluated, trained, statistics = compiled(name)(variables, IMAGES)

    expected = reference.features(network, IMAGES, train=False)
    np.testing.assert_allclose(evaluated, expected, rtol=0, atol=1e-4 * np.std(expected))

    # Eight values a channel in the last stage, and a division by their deviation in every layer: rounding grows to
    # 1e-3 in PyTorch itself. So ask to be as close to the exact features as PyTorch is.
    expected = reference.features(exact, IMAGES.astype(np.float64), train=True)
    pytorchs = np.max(np.abs(reference.features(network, IMAGES, train=True) - expected))
    np.testing.assert_allclose(trained, expected, rtol=0, atol=max(1e-4 * np.std(expected), 2 * pytorchs))
    assert pytorchs < 2e-3 * np.std(expected)

    old, new, after = variables["batch_stats"]["bn1"], statistics["bn1"], network.state_dict()
    np.testing.assert_allclose(new["mean"], after["bn1.running_mean"], rtol=1e-4, atol=1e-5)
    values = 2 * 32 * 32
    batch = (np.asarray(new["var"]) - 0.9 * old["var"]) * values / (values - 1)
    np.testing.assert_allclose(batch, after["bn1.running_var"].numpy() - 0.9 * old["var"], rtol=1e-4)


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_a_wrapped_network_and_an_optimizer(torch, reference, legacy, tmp_path):
    network = make(reference, "resnet18", classes=10)
    wrapped = torch.nn.Sequential()
    wrapped.add_module("module", network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.tensor(IMAGES).permute(0, 3, 1, 2)).mean().backward()
    optimizer.step()
    (SAVES["legacy"] if legacy else SAVES["zip"])(
        torch,
        {
            "epoch": 3,
            "arch": "resnet18",
            "best_acc1": torch.tensor(0.5),
            "state_dict": wrapped.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        tmp_path / "checkpoint.pth.tar",
    )
    variables = load_pretrained(tmp_path / "checkpoint.pth.tar", like("resnet18"))
    state = network.state_dict()
    kernel = variables["params"]["layer2_0"]["downsample_conv"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0].T, state["layer2.0.downsample.0.weight"][:, :, 0, 0])
    np.testing.assert_array_equal(variables["batch_stats"]["bn1"]["mean"], state["bn1.running_mean"])


@pytest.mark.parametrize("legacy", [False, True])
def test_every_kind_of_tensor_is_read_as_pytorch_reads_it(torch, legacy, tmp_path):
    numbers = torch.arange(-12, 12)
    kinds = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    weights = {kind: numbers.reshape(2, 3, 4).to(getattr(torch, kind)) for kind in kinds}
    base = torch.arange(24.0)
    weights |= {
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": base.reshape(4, 6).T,
        "tied": base,
        "part": base[3:9:2],
        "scalar": torch.tensor(3.5),
        "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    save = SAVES["legacy"] if legacy else SAVES["zip"]
    save(torch, weights, tmp_path / "kinds.pt")
    got = read_weights(tmp_path / "kinds.pt")
    assert set(got) == set(weights)
    for name, tensor in weights.items():
        expected = tensor.detach()
        expected = expected.float().numpy() if name == "bfloat16" else expected.numpy()
        assert got[name].dtype.name == (name if name in kinds else "float32")
        np.testing.assert_array_equal(got[name].astype(expected.dtype), expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_network_is_refused_with_advice(torch, legacy, tmp_path):
    save = SAVES["legacy"] if legacy else SAVES["zip"]
    save(torch, torch.nn.Linear(2, 2), tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"network\.pt.*torch\.nn\.modules\.linear Linear.*state_dict\(\)"):
        read_weights(tmp_path / "network.pt")


def test_the_golden_features_are_still_what_pytorch_computes(reference, tmp_path: Path):
    reference.write_golden(tmp_path / "golden.npz")
    again, stored = np.load(tmp_path / "golden.npz"), np.load(FILE)
    assert set(again.files) == set(stored.files)
    for name in stored.files:
        np.testing.assert_allclose(again[name], stored[name], rtol=0, atol=2e-5 * np.std(stored[name]))
