"""SSD300-VGG16 against torchvision itself, in full size. Run by `make parity`."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxssd.data.dataset import Examples
from jaxssd.data.plain_resize import resize_bilinear
from jaxssd.models.coco_classes import COCO_CLASSES
from jaxssd.models.heads import Predictions
from jaxssd.models.torchvision_names import load_detector
from jaxssd.ops.anchors import SSD300_CELLS
from jaxssd.presets import PRESETS
from jaxssd.tasks.detection import DetectionTask
from tests.models.golden_ssd300 import FILE
from tests.models.torchvision_names import photographs, ssd300_shapes, ssd300_weights

pytestmark = pytest.mark.torch
TASK = DetectionTask.from_config(PRESETS["ssd300_vgg16"]().replace(classes=COCO_CLASSES))
PICTURES = photographs(((375, 500), (480, 320)), seed=3)


@pytest.fixture(scope="module")
def reference():
    import tests.models.torchvision_detectors  # here, because collecting this file must not need it

    return tests.models.torchvision_detectors


@pytest.fixture(scope="module")
def network(reference):
    return reference.set_weights(reference.make_ssd300(), ssd300_weights(seed=2))


@pytest.fixture(scope="module")
def variables(reference, network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "ssd300.pth"
    reference.torch.save(network.state_dict(), path)
    params, state = jax.eval_shape(partial(TASK.init, image_size=300), jax.random.key(0))
    return load_detector(path, {"params": params, **state}, background=True)


@pytest.fixture(scope="module")
def stages(reference, network):
    return reference.stages(network, PICTURES)


@pytest.fixture(scope="module")
def predictions(variables):
    images = np.stack([resize_bilinear(picture / np.float32(255), 300) for picture in PICTURES])
    return jax.jit(lambda variables, images: TASK.apply(variables["params"], {}, images)[0])(variables, images)


def test_names_and_shapes_are_those_the_other_tests_use(network):
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == ssd300_shapes()


def test_logits_and_offsets_are_torchvisions(stages, predictions):
    _, logits, offsets, _ = stages
    assert 0.5 < np.std(logits) < 3
    assert 0.5 < np.std(offsets) < 3
    np.testing.assert_allclose(np.roll(predictions.class_logits, 1, axis=-1), logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(predictions.box_activations[..., [1, 0, 3, 2]], offsets, rtol=0, atol=1e-4)


def test_features_are_torchvisions(stages, variables):
    images = np.stack([resize_bilinear(picture / np.float32(255), 300) for picture in PICTURES])

    @jax.jit
    def maps_of(variables, images):
        head = TASK.model.apply(
            variables, TASK.normalize(images), train=False, capture_intermediates=True, mutable=["intermediates"]
        )[1]["intermediates"]["head"]
        layers = [head["l2_norm"], head["fc7"], *(head[f"extra{index}"] for index in range(1, 5))]
        return [jax.nn.relu(layer["__call__"][0]) for layer in layers]

    for ours, theirs in zip(maps_of(variables, images), stages[0], strict=True):
        assert 0.2 < np.std(theirs) < 3
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_detections_are_torchvisions(stages, predictions):
    found = jax.device_get(jax.jit(TASK.postprocess)(predictions))
    for picture, theirs, boxes, scores, labels, valid in zip(PICTURES, stages[3], *found, strict=True):
        assert valid.sum() == len(theirs["scores"]) > 50
        ours = boxes[valid] * np.tile(picture.shape[:2], 2)
        np.testing.assert_array_equal(labels[valid], theirs["labels"] - 1)
        np.testing.assert_allclose(scores[valid], theirs["scores"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours[:, [1, 0, 3, 2]], theirs["boxes"], rtol=0, atol=0.01)


def test_losses_are_torchvisions(reference, network, stages):
    """Of two images with two objects and one, with hard negatives, divided by the positives of the batch."""
    torch, (_, logits, offsets, _) = reference.torch, stages
    boxes = np.float32([[[30, 40, 200, 120], [100, 100, 280, 290]], [[10, 20, 90, 60], [0, 0, 0, 0]]])
    labels, valid = np.int32([[16, 2], [0, 0]]), np.array([[True, True], [True, False]])
    targets = [
        {"boxes": torch.tensor(corners[real]), "labels": torch.tensor(of[real] + 1).long()}
        for corners, of, real in zip(boxes, labels, valid, strict=True)
    ]
    grid = network.anchor_generator(
        reference.ImageList(torch.zeros(2, 3, 300, 300), [(300, 300)] * 2),
        [torch.zeros(1, 1, cells, cells) for cells in SSD300_CELLS],
    )
    matched = [
        network.proposal_matcher(reference.box_iou(target["boxes"], anchors))
        for target, anchors in zip(targets, grid, strict=True)
    ]
    outputs = {"cls_logits": torch.tensor(logits), "bbox_regression": torch.tensor(offsets)}
    expected = network.compute_loss(targets, outputs, grid, matched)

    examples = Examples(np.zeros((2, 1, 1, 3), np.uint8), boxes[..., [1, 0, 3, 2]] / 300, labels, valid, ~valid & False)
    ours = jax.jit(TASK.loss)(Predictions(np.roll(logits, -1, axis=-1), offsets[..., [1, 0, 3, 2]]), examples)
    assert ours.num_positive.sum() > 20
    np.testing.assert_allclose(ours.localization.mean(), expected["bbox_regression"], rtol=1e-4)
    np.testing.assert_allclose(ours.classification.mean(), expected["classification"], rtol=1e-4)


def test_the_golden_numbers_are_still_what_torchvision_computes(reference, tmp_path):
    reference.write_golden_ssd300(tmp_path / "golden.npz")
    again, stored = np.load(tmp_path / "golden.npz"), np.load(FILE)
    assert set(again.files) == set(stored.files)
    for name in stored.files:
        np.testing.assert_allclose(again[name], stored[name], rtol=0, atol=1e-4)
