"""A result of one photograph: pictures, and what other libraries take."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference.found import found_in
from jaxssd.inference.inputs import Input
from jaxssd.tasks.largest import BoxResults
from jaxssd.tasks.multilabel import LabelResults
from tests.inference.conftest import grey
from tests.tasks.scenes import task_of


@pytest.fixture
def found(detector, tmp_path):
    Image.fromarray(grey(200, 40, 60)).save(tmp_path / "a.png")
    (found,) = detector(tmp_path / "a.png")
    return found


def test_a_picture_has_the_photographs_size(found, tmp_path):
    found.save(tmp_path / "new folder" / "found.png")
    with Image.open(tmp_path / "new folder" / "found.png") as picture:
        assert picture.size == (60, 40)
        drawn = np.asarray(picture.convert("RGB"))
    assert (drawn != 200).any()
    shown = Image.open(io.BytesIO(found._repr_png_()))
    np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), drawn)
    assert (found.photograph() == 200).all()


def test_it_is_shown_by_the_viewer_or_the_notebook(found, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image, title: shown.append((image.size, title)))
    found.show()
    assert shown == [((60, 40), str(found.file))]
    display = SimpleNamespace(display=lambda image: shown.append(image.size))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("builtins.get_ipython", lambda: SimpleNamespace(kernel=1), raising=False)
    found.show()
    assert shown[1:] == [(60, 40)]
    monkeypatch.setattr("builtins.get_ipython", SimpleNamespace, raising=False)  # in a terminal
    found.show()
    assert shown[2:] == shown[:1]


def test_a_file_that_is_gone_is_named(found):
    found.file.unlink()
    with pytest.raises(UnreadableImage, match=r"a\.png: no such file"):
        found.photograph()


def test_supervision_takes_x_first(found, monkeypatch):
    """The arguments of `supervision.Detections`, whose library needs OpenCV and is not there."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **arguments: arguments))
    taken = found.to_supervision()
    assert found.boxes.tolist() == [[0, 0, 40, 30]]
    assert taken["xyxy"].tolist() == [[0, 0, 30, 40]]
    assert taken["confidence"].tolist() == found.scores.tolist()
    assert taken["class_id"].tolist() == [2]
    assert taken["data"]["class_name"].tolist() == ["horse"]


def test_supervision_takes_nothing(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **arguments: arguments))
    (nothing,) = detector(grey(0))
    taken = nothing.to_supervision()
    assert [taken[name].shape for name in ("xyxy", "confidence", "class_id")] == [(0, 4), (0,), (0,)]
    assert taken["data"]["class_name"].shape == (0,)
    assert repr(nothing) == "<Found in image 0: nothing>"


def test_a_missing_library_is_named(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match="pip install supervision"):
        found.to_supervision()


def test_tasks_without_detections_have_the_rows_of_their_json():
    photograph = Input(grey(1), "image 0")
    labels = found_in(photograph, (4, 6), LabelResults(np.float32([0.6, 0.2, 0.9])), task_of(task="multilabel"), 0.5)
    assert labels.labels == ["horse", "cat"]
    assert labels.class_ids.tolist() == [2, 0]
    assert labels.boxes.tolist() == [[0, 0, 4, 6]] * 2
    largest = found_in(photograph, (4, 6), BoxResults(np.float32([0, 0, 0.5, 1])), task_of(task="largest_box"), 0.5)
    assert (largest.labels, largest.scores.tolist()) == (["largest object"], [1])
    assert largest.boxes.tolist() == [[0, 0, 2, 6]]
