"""Parity of PyTorch's baselines with ours: losses, NMS, networks, augmentation.

Run by `make parity`.
"""

import re
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from baselines.torch_process import BaselineError, open_baseline
from inputs import apart, boxes_and_scores, random_predictions, require_agreement
from loss import LOSSES, loss_calls
from nms import in_one_order, padded
from workloads import baseline_training, call_steps, make_workload

from jaxssd import (
    augment_boxes,
    augment_image,
    clip_boxes,
    decode_offsets,
    encode_offsets,
    identity_augmentation,
    make_anchors,
    multiclass_nms,
    ssd300_anchors,
    ssd_loss,
)
from tests.training.blocks import collections

pytestmark = pytest.mark.torch
ANCHORS = apart(make_anchors())


@pytest.fixture(scope="module")
def torch():
    import torch  # here, because collecting this file must not need it

    torch.set_num_threads(2)
    return torch


@pytest.fixture(scope="module")
def eager(torch):
    from baselines.torch_compiler import Compiler

    return Compiler(torch.device("cpu"), works=False)


@pytest.fixture(scope="module")
def baseline():
    with open_baseline("torch") as baseline:
        yield baseline


@cache
def our_loss(name):
    def total(*image):
        return ssd_loss(*image, ANCHORS, **LOSSES[name].ours).total

    return jax.jit(jax.vmap(jax.value_and_grad(total, argnums=(0, 1))))


@pytest.mark.parametrize("loop", [False, True], ids=["batch", "loop"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_ours(eager, name, loop):
    from baselines.torch_workloads import prepare_loss

    logits, activations, boxes, labels, valid = random_predictions(ANCHORS, 6, num_classes=5)
    valid[2] = False
    valid[3] = True
    boxes[4, ~valid[4]] = 7.0  # what lies in the padding has no effect
    batch = logits, activations, boxes, labels, valid
    run = prepare_loss(eager, anchors=tuple(ANCHORS), batch=batch, settings=LOSSES[name].theirs, loop=loop)
    theirs = [tensor.numpy() for tensor in run()]
    for ours, other in zip(jax.tree.leaves(our_loss(name)(*batch)), theirs, strict=True):
        np.testing.assert_allclose(other, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_losses_are_ours(baseline, name):
    calls = loss_calls(ANCHORS, LOSSES[name], random_predictions(ANCHORS, 3, num_objects=5), baseline)
    assert list(calls)[-2:] == ["torch", "loop of torch"]
    assert calls["torch"].clock(2) > 0
    baseline.forget()


def test_every_object_owns_an_anchor_however_few_there_are(torch):
    from baselines.torch_loss import greedy

    overlap = torch.tensor([[[0.9, 0.8], [0.85, 0.1], [0.2, 0.3]]])
    valid = torch.tensor([[True, True, True]])
    assert greedy(overlap, valid).tolist() == [[0, 2]]
    assert greedy(torch.where(valid[..., None], overlap, -1)[:, :2], valid[:, :2]).tolist() == [[0, 1]]


def test_suppression_is_ours(eager):
    from baselines.torch_workloads import prepare_nms

    batch = boxes_and_scores(ANCHORS, *random_predictions(ANCHORS, 6, num_classes=5))
    run = prepare_nms(eager, batch=batch, max_candidates=200)
    theirs = padded([[tensor.numpy() for tensor in image] for image in run()])
    ours = jax.device_get(jax.vmap(multiclass_nms)(*batch))
    require_agreement("torchvision", in_one_order(*ours), in_one_order(*theirs))


def test_offsets_are_ours(torch):
    from baselines import torch_loss

    anchors = jax.device_get(ssd300_anchors())
    there = torch_loss.Anchors(*(torch.tensor(column) for column in anchors))
    activations = np.random.default_rng(0).normal(0, 3, anchors.center_size.shape).astype(np.float32)
    boxes = np.asarray(decode_offsets(activations, anchors))
    np.testing.assert_allclose(torch_loss.decode_offsets(torch.tensor(activations), there), boxes, rtol=1e-5, atol=1e-5)
    boxes = np.asarray(clip_boxes(boxes))
    encoded = torch_loss.encode_offsets(torch.tensor(boxes), there)
    np.testing.assert_allclose(encoded, encode_offsets(boxes, anchors), rtol=1e-3, atol=1e-4)


LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var", "bias": "bias"}
SHORTCUT = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
EXTRA = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}


def torch_name(path, blocks):
    """Of one of our parameters or statistics."""
    part, layer, *names, leaf = path
    if part == "backbone":
        places = ["conv1", "bn1", "relu", "pool", *blocks]
        where = [str(places.index(layer)), *(SHORTCUT.get(name, name) for name in names)]
    else:
        kind, number = re.fullmatch(r"(\D+)(\d+)", layer).groups()
        place = {"std_conv": "convs", "out_conv": "outs", "extra": "extras"}[kind]
        number = str(int(number) - (kind == "extra"))  # these are counted from 1
        where = [place, number, *(EXTRA.get(name, name) if kind == "extra" else name for name in names)]
    return ".".join([part, *where, LEAVES[leaf]])


def torch_weights(torch, variables):
    """Our variables as a state dict of the baseline's network."""
    blocks = sorted(
        {name for name in variables.params["backbone"] if name.startswith("layer")},
        key=lambda name: tuple(map(int, name[5:].split("_"))),
    )
    state = {}
    for collection in ("params", "batch_stats"):
        for keys, value in jax.tree_util.tree_leaves_with_path(collections(variables)[collection]):
            name = torch_name([key.key for key in keys], blocks)
            state[name] = torch.tensor(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
    return state


def randomised(variables, rng):
    """With scales, biases and statistics that are not those of the start, where a wrong order would not be seen."""

    def change(value):
        return value * rng.uniform(0.5, 1.5, value.shape).astype(np.float32) + (value.ndim == 1) * np.float32(0.1)

    return jax.tree.map(change, jax.device_get(variables))


@pytest.mark.parametrize(("preset", "images"), [("tiny", 3), ("focal", 1), ("ssd300", 1)])
def test_networks_are_ours(torch, preset, images):
    from baselines.torch_model import Detector, Network, normalize

    workload = make_workload(preset, "float32", images)
    variables = randomised(workload.variables, np.random.default_rng(0))
    model = Detector(Network(**workload.baseline_network())).eval()
    assert sum(p.numel() for p in model.parameters()) == workload.num_parameters
    missing, unexpected = model.load_state_dict(torch_weights(torch, variables), strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    pixels = np.asarray(workload.examples.images[:images])
    mean, std = (torch.tensor(values) for values in (workload.config.model.mean, workload.config.model.std))
    with torch.no_grad():
        theirs = model(normalize(torch.tensor(pixels), mean, std))
    ours = jax.jit(workload.task.predict)(variables, pixels)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * float(np.std(a)))


def test_augmentation_is_ours_where_nothing_shrinks(torch):
    from baselines import torch_augment

    rng = np.random.default_rng(0)
    images = rng.uniform(size=(4, 24, 24, 3)).astype(np.float32)
    corners = np.sort(rng.uniform(size=(4, 5, 2, 2)), axis=2).reshape(4, 5, 4).astype(np.float32)
    valid = np.array([True, True, True, True, False]) & np.ones((4, 1), bool)
    scale = rng.uniform(1.0, 1.6, (4, 2)).astype(np.float32)
    shift = (rng.uniform(size=(4, 2)) * (1 - scale)).astype(np.float32)
    flip = np.array([False, True, True, False])
    parameters = tuple(torch.tensor(array) for array in (scale, shift, flip))
    moved = torch_augment.move_images(torch.tensor(images).permute(0, 3, 1, 2), *parameters).permute(0, 2, 3, 1)
    boxes, kept = torch_augment.move_boxes(torch.tensor(corners), torch.tensor(valid), *parameters)
    for i in range(4):
        ours = identity_augmentation()._replace(
            scale=jnp.array(scale[i]), translation=jnp.array(shift[i]), flip=jnp.array(flip[i])
        )
        expected_boxes, expected_kept = augment_boxes(corners[i], valid[i], ours)
        np.testing.assert_array_equal(kept[i], expected_kept)
        np.testing.assert_allclose(boxes[i], expected_boxes, atol=1e-6)
        inside = slice(2, -2)  # at the image's edge one blends with the fill and the other does not
        np.testing.assert_allclose(moved[i, inside, inside], augment_image(images[i], ours)[inside, inside], atol=1e-4)


@pytest.mark.parametrize("loop", [False, True], ids=["batch", "loop"])
@pytest.mark.parametrize("augment", ["none", "crop"])
def test_training_learns(eager, augment, loop):
    from baselines.torch_training import prepare_training

    workload = make_workload("tiny", "float32", 4)
    workload = replace(workload, config=workload.config.replace(dropout=0.0, input_dropout=0.0))
    arguments = baseline_training(workload, batch=4, steps=10, augment=augment, loop=loop)
    run = prepare_training(eager, **arguments)
    losses = np.concatenate([run().numpy() for _ in range(3)])
    assert losses.shape == (30,)
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    assert call_steps() == 1


def test_an_augmentation_that_the_baseline_has_not_is_none():
    workload = make_workload("tiny", "float32", 4)
    assert baseline_training(workload, batch=4, steps=1, augment="lesson", loop=False) is None


@pytest.mark.parametrize("suppressed", [False, True])
def test_inference_is_the_same_from_the_host(torch, eager, suppressed):
    from baselines.torch_inference import prepare_inference
    from workloads import baseline_inference

    arguments = baseline_inference(make_workload("tiny", "bfloat16", 2), 2)["detections" if suppressed else "network"]
    results = []
    for from_host in (False, True):
        torch.manual_seed(0)
        results.append(prepare_inference(eager, **arguments | {"from_host": from_host})())
    resident, from_host = results
    for image, same in zip(resident, from_host, strict=True):
        for a, b in zip(image, same, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_process_says_what_fails_and_goes_on(baseline):
    with pytest.raises(BaselineError, match="KeyError: 'nothing'"):
        baseline.prepare("nothing")
    size = baseline.prepare("size", network=make_workload("tiny", "float32", 1).baseline_network())
    assert size() > 1e5
    assert {"torch", "torchvision", "torch's device", "torch's compiler"} == set(baseline.about)
    baseline.forget()
