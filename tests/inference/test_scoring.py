"""Detections of a published detector on a data set with other words for its classes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxssd.config import DatasetConfig
from jaxssd.data.load import load_split
from jaxssd.inference.scoring import dataset_inputs, detect_on_dataset, match_classes, truth_config
from tests.inference.conftest import TASK, Arithmetic, grey
from tests.tasks.scenes import CONFIG


@pytest.mark.parametrize(
    ("ours", "theirs", "matched"),
    [
        (["cat", "dog"], ["dog", "bird"], {"dog": "dog"}),
        (["airplane", "tv"], ["tvmonitor", "aeroplane"], {"airplane": "aeroplane", "tv": "tvmonitor"}),
        (["motorbike"], ["motorcycle"], {"motorbike": "motorcycle"}),  # VOC's run on COCO
        (["sofa", "couch"], ["couch"], {"couch": "couch"}),  # each name once, equal ones first
        (["couch", "sofa"], ["sofa", "couch"], {"couch": "couch", "sofa": "sofa"}),
        (["Dining-Table"], ["diningtable"], {"Dining-Table": "diningtable"}),
        (["cat"], ["truck"], {}),
    ],
)
def test_classes_match_by_name_and_by_meaning(ours, theirs, matched):
    found = match_classes(ours, theirs)
    assert found == matched
    assert list(found) == [name for name in ours if name in matched]


def voc(folder, **files):
    """Images with one object on the left half; EXIF orientations by name."""
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for name, (value, cls, orientation) in files.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(grey(value, 40, 60)).save(folder / "JPEGImages" / f"{name}.jpg", exif=exif)
        width, height = (60, 40) if orientation < 5 else (40, 60)
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size><object><name>{cls}</name>"
            f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{width // 2}</xmax><ymax>{height}</ymax></bndbox></object>"
            "</annotation>"
        )
    return DatasetConfig(data=str(folder), image_size=8)


def test_worked_example(tmp_path, monkeypatch):
    """Dark images are airplanes, bright ones couches; the data set calls them otherwise and has no dog.

    One picture is turned as its boxes are, one has an orientation that its boxes do not follow.
    """
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    files = {"a": (90, "aeroplane", 1), "b": (200, "sofa", 6), "c": (210, "sofa", 1), "d": (220, "sofa", 3)}
    config = replace(voc(tmp_path / "voc", **files), classes=("aeroplane", "sofa"))
    detector = Arithmetic(replace(TASK(), class_names=("airplane", "dog", "couch")))
    dataset = load_split(config, "all")
    inputs = dataset_inputs(config, dataset)
    assert [one.upright for one in inputs] == [False, True, False, True]  # `d` as `b`: its boxes fit either
    task, results = detect_on_dataset(detector, config, dataset, batch_size=2, progress=False)
    assert task.class_names == ("aeroplane", "sofa")
    assert results.labels[:, 0].tolist() == [0, 1, 1, 1]
    assert results.valid.tolist() == [[True, False]] * 4
    scores = task.score(results, dataset)
    assert scores.voc.mean_area == pytest.approx(1)
    detector = Arithmetic(replace(TASK(), class_names=("airplane", "couch", "dog")))  # bright ones are dogs
    _, results = detect_on_dataset(detector, config, dataset, batch_size=4, progress=False)
    assert results.valid.tolist() == [[True, False], *[[False, False]] * 3]


def test_files_that_changed_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    config = replace(voc(tmp_path / "voc", a=(90, "cat", 1)), classes=("cat",))
    dataset = load_split(config, "all")
    Image.fromarray(grey(1, 30, 60)).save(tmp_path / "voc/JPEGImages/a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg.*\(30, 60\) pixels, and \[40, 60\] when"):
        detect_on_dataset(Arithmetic(), config, dataset, batch_size=2, progress=False)


def test_truths_are_those_of_whole_images():
    config = truth_config(CONFIG.replace(aspect="crop", stored_scale=2.0))
    assert (config.dataset.aspect, config.dataset.input_shape) == ("squash", (300, 300))
    np.testing.assert_equal(config.dataset.stored_scale, 1)
