"""Published detectors by `jaxssd.load` against torchvision, from photographs to boxes. Run by `make parity`."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import jaxssd
from jaxssd.inference.resizing import ShorterSideResizing
from jaxssd.models import download
from tests.models.torchvision_names import photographs, retinanet_weights, ssd300_weights

pytestmark = pytest.mark.torch
PICTURES = photographs(((90, 130), (150, 110), (60, 110)), seed=4)  # of two shapes on a RetinaNet's canvas
SHORTER, LONGER = 224, 373  # 800 and 1,333 take ten times as long


@pytest.fixture(params=["ssd300_vgg16_coco", "retinanet_resnet50_fpn_v2_coco"])
def name(request):
    return request.param


@pytest.fixture
def theirs(name):
    import tests.models.torchvision_detectors as reference  # here, because collecting this file must not need it

    if name.startswith("ssd"):
        return reference.set_weights(reference.make_ssd300(), ssd300_weights(seed=2))
    weights = retinanet_weights(2, seed=2)
    weights["head.classification_head.cls_logits.weight"] *= np.float32(0.4)  # else many scores are exactly 1
    network = reference.set_weights(reference.make_retinanet(2), weights)
    network.transform.min_size, network.transform.max_size = (SHORTER,), LONGER
    return network


def test_boxes_are_torchvisions(name, theirs, tmp_path, monkeypatch):
    """Each photograph alone there, in batches of two here; as a file and as an array."""
    import torch

    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(download, "find_weights", lambda name: tmp_path / "weights.pth")
    detector = jaxssd.load(name)
    if isinstance(detector.resize, ShorterSideResizing):
        detector.resize = replace(detector.resize, shorter=SHORTER, longer=LONGER)
    Image.fromarray(PICTURES[0]).save(tmp_path / "0.png")
    images = [tmp_path / "0.png", *PICTURES[1:]]
    for picture, found in zip(PICTURES, detector(images, threshold=0.0, batch_size=2), strict=True):
        with torch.no_grad():
            (expected,) = theirs([torch.tensor(picture).permute(2, 0, 1).float() / 255])
        labels, scores, boxes = (expected[key].numpy() for key in ("labels", "scores", "boxes"))
        shown = [not detector.class_names[label - 1].startswith("N/A") for label in labels]
        assert len(found) == sum(shown) > 5
        # Each of ours is the nearest of theirs, once: scores that are equal up to rounding may change places.
        distance = np.abs(found.boxes[:, None, [1, 0, 3, 2]] - boxes[shown]).max(axis=-1)
        distance += 1e6 * (found.class_ids[:, None] + 1 != labels[shown])
        nearest = distance.argmin(axis=1)
        assert len(set(nearest)) == len(found)
        assert distance.min(axis=1).max() < 0.01
        np.testing.assert_allclose(found.scores, scores[shown][nearest], rtol=0, atol=1e-4)
