"""RetinaNet against torchvision itself, with its whole ResNet50. Run by `make parity`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.data.dataset import Examples
from jaxssd.data.plain_resize import resize_bilinear, shorter_side_size
from jaxssd.models.coco_classes import COCO_CLASSES
from jaxssd.models.detector import normalize_images
from jaxssd.models.heads import Predictions
from jaxssd.models.torchvision_names import load_detector
from jaxssd.presets import PRESETS
from jaxssd.tasks.detection import DetectionTask
from tests.models.golden_retinanet import FILE
from tests.models.torchvision_names import photographs, retinanet_shapes, retinanet_weights

pytestmark = pytest.mark.torch
SHORTER, LONGER = 224, 373  # 800 and 1,333 take ten times as long
(PICTURE,) = photographs(((90, 130),), seed=3)
SIZE, CANVAS = shorter_side_size(PICTURE.shape[:2], SHORTER, LONGER)
NAMES = {1: "retinanet_resnet50_fpn", 2: "retinanet_resnet50_fpn_v2"}
TASKS = {
    version: DetectionTask.from_config(PRESETS[name]().replace(classes=COCO_CLASSES, image_size=CANVAS))
    for version, name in NAMES.items()
}


@pytest.fixture(scope="module")
def reference():
    import tests.models.torchvision_detectors  # here, because collecting this file must not need it

    return tests.models.torchvision_detectors


@pytest.fixture(scope="module", params=NAMES)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def network(reference, version):
    weights = retinanet_weights(version, seed=2)
    if version == 1:  # its towers have no norm: at full width scores would reach 1, and boxes the edges, in ties
        weights["head.classification_head.cls_logits.weight"] *= np.float32(0.3)
        weights["head.regression_head.bbox_reg.weight"] *= np.float32(0.3)
    network = reference.set_weights(reference.make_retinanet(version), weights)
    network.transform.min_size, network.transform.max_size = (SHORTER,), LONGER
    return network


@pytest.fixture(scope="module")
def stages(reference, network):
    return reference.stages(network, [PICTURE])


@pytest.fixture(scope="module")
def ours(reference, network, version, tmp_path_factory):
    """Maps, predictions and detections of the file that PyTorch wrote."""
    path, task = tmp_path_factory.mktemp("weights") / "retinanet.pth", TASKS[version]
    reference.torch.save(network.state_dict(), path)
    params, state = jax.eval_shape(partial(task.init, image_size=CANVAS), jax.random.key(0))
    variables = load_detector(path, {"params": params, **state}, background=False)
    canvas = np.zeros((1, *CANVAS, 3), np.float32)
    canvas[0, : SIZE[0], : SIZE[1]] = resize_bilinear(np.asarray(normalize_images(PICTURE)), SIZE)

    @jax.jit
    def run(variables, canvas, extents):
        keeps = {"capture_intermediates": lambda module, _: module.name == "fpn", "mutable": ["intermediates"]}
        predictions, kept = task.model.apply(variables, canvas, train=False, **keeps)
        maps = kept["intermediates"]["head"]["fpn"]["__call__"][0]
        return maps, predictions, task.postprocess(predictions, extents)

    return jax.device_get(run(variables, canvas, np.float32([[SIZE[0] / CANVAS[0], SIZE[1] / CANVAS[1]]])))


def test_names_and_shapes_are_those_the_other_tests_use(network, version):
    state = network.state_dict()
    counted = any(name.endswith("num_batches_tracked") for name in state)
    assert counted == (version == 2)
    shapes = {name: tuple(x.shape) for name, x in state.items() if not name.endswith("num_batches_tracked")}
    assert shapes == retinanet_shapes(version)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.std(theirs))


def test_maps_logits_and_offsets_are_torchvisions(stages, ours):
    maps, logits, offsets, _ = stages
    for features, expected in zip(ours[0], maps, strict=True):
        close(features, expected)
    close(ours[1].class_logits, logits[..., 1:])
    close(ours[1].box_activations[..., [1, 0, 3, 2]], offsets)


def test_anchors_are_torchvisions(reference, network):
    for size in (CANVAS, (800, 1344), (1344, 800), (800, 1088)):
        maps = [reference.torch.zeros(1, 1, -(-size[0] // 2**level), -(-size[1] // 2**level)) for level in range(3, 8)]
        images = reference.ImageList(reference.torch.zeros(1, 3, *size), [size])
        expected = network.anchor_generator(images, maps)[0].numpy()
        task = DetectionTask.from_config(PRESETS[NAMES[1]]().replace(classes=("a",), image_size=size))
        corners = np.asarray(task.anchors.corners) * np.tile(size, 2)
        np.testing.assert_allclose(corners[:, [1, 0, 3, 2]], expected, rtol=0, atol=1e-3)


def test_detections_are_torchvisions(stages, ours):
    (theirs,), found = stages[3], jax.tree.map(lambda column: column[0], ours[2])
    assert found.valid.sum() == len(theirs["scores"]) > 50
    boxes = found.boxes[found.valid] * np.tile(np.divide(CANVAS, SIZE) * PICTURE.shape[:2], 2)
    boxes, scores, labels = boxes[:, [1, 0, 3, 2]], found.scores[found.valid], found.labels[found.valid]
    left = np.ones(len(boxes), bool)  # one of ours for each of theirs; scores that are nearly equal change places
    for box, score, label in zip(theirs["boxes"], theirs["scores"], theirs["labels"], strict=True):
        fits = left & (labels == label - 1) & (np.abs(scores - score) < 1e-4) & (np.abs(boxes - box) < 0.01).all(axis=1)
        assert fits.any(), (box, score, label)
        left[np.argmax(fits)] = False
    assert np.all(np.diff(scores) <= 0)


def test_losses_are_torchvisions(reference, network, version):
    """Of two images with two objects and one, each divided by its own positives."""
    torch, task, rng = reference.torch, TASKS[version], np.random.default_rng(0)
    count = len(task.anchors.corners)
    logits, offsets = (rng.normal(-2, 1, (2, count, n)).astype(np.float32) for n in (91, 4))
    offsets = (offsets + 2) / 3
    boxes = np.float32([[[30.3, 40.1, 200.2, 120.7], [100, 90.3, 280.9, 210.4]], [[10.2, 20.7, 90.9, 60.6], [0] * 4]])
    labels, valid = np.int32([[16, 2], [0, 0]]), np.array([[True, True], [True, False]])
    targets = [
        {"boxes": torch.tensor(corners[real]), "labels": torch.tensor(of[real] + 1).long()}
        for corners, of, real in zip(boxes, labels, valid, strict=True)
    ]
    maps = [torch.zeros(1, 1, -(-CANVAS[0] // 2**level), -(-CANVAS[1] // 2**level)) for level in range(3, 8)]
    anchors = network.anchor_generator(reference.ImageList(torch.zeros(2, 3, *CANVAS), [CANVAS] * 2), maps)
    logits[..., 0] = -50  # background, which is no class here
    outputs = {"cls_logits": torch.tensor(logits), "bbox_regression": torch.tensor(offsets)}
    expected = network.compute_loss(targets, outputs, anchors)

    corners = boxes[..., [1, 0, 3, 2]] / np.tile(np.float32(CANVAS), 2)
    examples = Examples(np.zeros((2, 1, 1, 3), np.uint8), corners, labels, valid, ~valid & False)
    found = jax.jit(task.loss)(Predictions(jnp.asarray(logits[..., 1:]), offsets[..., [1, 0, 3, 2]]), examples)
    assert found.num_positive.sum() > 20
    np.testing.assert_allclose(found.localization.mean(), expected["bbox_regression"], rtol=1e-4)
    np.testing.assert_allclose(found.classification.mean(), expected["classification"], rtol=1e-4)


def test_the_golden_numbers_are_still_what_torchvision_computes(reference, tmp_path):
    reference.write_golden_retinanet(tmp_path / "golden.npz")
    again, stored = np.load(tmp_path / "golden.npz"), np.load(FILE)
    assert set(again.files) == set(stored.files)
    for name in stored.files:
        np.testing.assert_allclose(again[name], stored[name], rtol=0, atol=1e-4)
