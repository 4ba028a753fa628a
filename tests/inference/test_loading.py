"""What `jaxssd.load` takes; a run's detections are compared in `tests/test_commands.py`."""

import jax
import numpy as np
import pytest

import jaxssd
from jaxssd import presets
from jaxssd.inference.resizing import PlainResizing, ShorterSideResizing
from jaxssd.models import download, published, torchvision_names
from jaxssd.training.variables import variable_shapes
from tests.inference.conftest import TASK
from tests.tasks.scenes import CONFIG, NAMES
from tests.test_formats import EVALUATE


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """A published detector with a small preset, whose weights are zeros."""
    known = published.Published("tiny_coco", "https://nowhere/tiny.pth", "", "", "", "resnet_tiny", "tiny", NAMES)
    monkeypatch.setitem(published.PUBLISHED, "tiny_coco", known._replace(mean=(0.1, 0.2, 0.3)))
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: CONFIG.replace(classes=()))
    monkeypatch.setattr(download, "find_weights", lambda name: tmp_path / name)
    asked = []

    def load_detector(path, like, *, background):
        asked.append((path.name, background))
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)

    monkeypatch.setattr(torchvision_names, "load_detector", load_detector)
    return asked


def test_a_published_detector_is_its_preset_with_its_weights(weights):
    detector = jaxssd.load("tiny_coco", score_threshold=0.25)
    assert weights == [("tiny_coco", False)]
    assert detector.class_names == NAMES
    assert detector.task.mean == (0.1, 0.2, 0.3)
    assert detector.config.postprocess.score_threshold == 0.25
    assert detector.resize == PlainResizing(CONFIG.dataset.input_shape)
    shapes = variable_shapes(TASK(), CONFIG.dataset.input_shape)
    assert jax.tree.map(np.shape, detector.variables) == jax.tree.map(np.shape, shapes)


def test_a_published_retinanet_keeps_the_shape_of_photographs(weights, monkeypatch):
    """Padded with the mean, which becomes zero."""
    retinanet = {"head": "retinanet", "levels": (3, 4), "tower_depth": 1, "grids": (1,), "image_size": 64}
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: CONFIG.replace(**retinanet))
    row = published.PUBLISHED["tiny_coco"]._replace(by_shorter_side=True)
    monkeypatch.setitem(published.PUBLISHED, "tiny_coco", row)
    assert jaxssd.load("tiny_coco").resize == ShorterSideResizing((0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet34", "'resnet34' is the name of a backbone, which detects nothing: train.py --pretrained takes it"),
        (
            "ssd300_vgg16_cocoa",
            r"'ssd300_vgg16_cocoa' is neither .* \(near: ssd300_vgg16_coco\); published detectors: ",
        ),
        ("no such run", "'no such run' is neither the folder of a run nor the name of a published detector"),
    ],
)
def test_what_is_neither_a_run_nor_a_detector(name, words):
    with pytest.raises(FileNotFoundError, match=words):
        jaxssd.load(name)


def test_a_name_comes_before_a_folder(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_coco").mkdir()
    assert jaxssd.load("tiny_coco").name == "tiny_coco"
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        jaxssd.load("./tiny_coco")
    with pytest.raises(ValueError, match="tiny_coco has one set of weights"):
        jaxssd.load("tiny_coco", checkpoint="last")


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        jaxssd.load(tmp_path)


def test_unknown_settings_are_named():
    with pytest.raises(TypeError, match="load: unknown settings: iou; expected some of iou_threshold, "):
        jaxssd.load("run", iou=0.5)


def test_load_is_one_of_the_public_names():
    """It is resolved when it is used: `tests/test_package.py` imports the package without Flax."""
    assert "load" in dir(jaxssd)


@pytest.mark.parametrize("options", [{}, {"data": "no-such-folder", "limits": EVALUATE.Limits(score_threshold=2.0)}])
def test_mistakes_come_before_a_download(monkeypatch, options):
    monkeypatch.setattr(download, "find_weights", lambda name: pytest.fail("a download"))
    command = EVALUATE.Command(run="ssd300_vgg16_coco", **options)
    with pytest.raises(ValueError, match="--score-threshold is 2" if options else "has no data of its own"):
        EVALUATE.results_of_published(command)
    with pytest.raises(ValueError, match="--iou-threshold is -1"):
        jaxssd.load("ssd300_vgg16_coco", iou_threshold=-1.0)
