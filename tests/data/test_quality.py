"""Lines about a data set's faults: there from a share on, with the right numbers, and none of a clean set."""

import json

import numpy as np
import pytest

from jaxssd.config import Config, DatasetConfig
from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.load import load_split, with_classes
from jaxssd.data.placement import place_images
from jaxssd.data.quality import notes_on_quality, why_untrainable
from jaxssd.data.report import LoadReport, Problem
from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, job
from tests.data.trees import voc_xml, write_tree
from tests.test_formats import EVALUATE

SIZE = 100
SOUND = (0.1, 0.1, 0.5, 0.5)
UNKNOWN = "<name>car</name>"
OUTSIDE = ("car", 100, 100, 120, 120)
DIFFICULT = (
    "<name>car</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
)


def make_set(*images, problems=()):
    """Each image is a list of boxes, or of (box, True) for a difficult one."""
    rows = [[item if isinstance(item[0], tuple) else (item, False) for item in image] for image in images]
    padded = pad_objects(
        [np.array([box for box, _ in row], np.float32).reshape(-1, 4) for row in rows],
        [np.zeros(len(row), np.int32) for row in rows],
        [np.array([flag for _, flag in row], bool) for row in rows],
        max_objects=100,
    )
    sizes = np.full((len(rows), 2), 50, np.int32)
    return Dataset(
        examples=Examples(np.zeros((len(rows), SIZE, SIZE, 3), np.uint8), *padded),
        class_names=("car",),
        ids=tuple(str(row) for row in range(len(rows))),
        sizes=sizes,
        placements=place_images(sizes, SIZE, "squash"),
        report=LoadReport(len(rows), sum(map(len, rows)), tuple(problems)),
    )


def problems(action, kind, count):
    return [Problem("a.xml", action, kind, "why"), Problem("b.xml", action, kind, "why", count - 1)]


def box(height, width):
    return (0.2, 0.2, 0.2 + height / SIZE, 0.2 + width / SIZE)


@pytest.mark.parametrize(
    ("few", "many", "line"),
    [
        (
            make_set([box(1.9, 50)] * 4 + [box(2.1, 2.1)] * 96),
            make_set([box(1.9, 50)] * 3 + [box(50, 1.9)] * 2 + [box(2.1, 2.1)] * 95),
            "boxes with a side below 2 pixels at the network's input of 100 x 100: 5 of 100 (5 %); correct",
        ),
        (
            make_set([(SOUND, True)] + [SOUND] * 10),
            make_set([(SOUND, True)] * 80, [(SOUND, True)] * 81, [SOUND] * 79),
            "objects that are difficult, crowds or cut by the crop: 161 of 240 (67 %); they are neither trained on",
        ),
        (
            make_set([SOUND] * 100, problems=problems("clipped", "beyond the image's edge", 4)),
            make_set([SOUND] * 100, problems=problems("clipped", "beyond the image's edge", 5)),
            "boxes beyond the picture: 5 of 100 (5 %); clipped",
        ),
        (
            make_set([SOUND] * 96, problems=problems("dropped", "without area", 4)),
            make_set([SOUND] * 90, problems=problems("dropped", "without area", 8) + problems("dropped", "NaN", 2)),
            "boxes dropped: 10 of 100 (10 %), 8 without area, 2 NaN; correct",
        ),
        (
            make_set([SOUND] * 96, problems=problems("dropped", "repeated", 4)),
            make_set([SOUND] * 80, problems=problems("dropped", "repeated", 20)),
            "boxes repeated: 20 of 100 (20 %); dropped",
        ),
        (
            make_set([SOUND] * 96, problems=problems("dropped", "over max_objects", 4)),
            make_set([SOUND] * 80, problems=problems("dropped", "over max_objects", 20)),
            "boxes above --max-objects: 20 of 100 (20 %); dropped",
        ),
        (
            make_set([SOUND] * 91, problems=problems("dropped", "outside the crop", 9)),
            make_set([SOUND] * 90, problems=problems("dropped", "outside the crop", 10)),
            "boxes outside the crop: 10 of 100 (10 %); dropped; --aspect",
        ),
        (
            make_set([], *[[SOUND]] * 10),
            make_set([], *[[SOUND]] * 9),
            "images without objects: 1 of 10 (10 %); they count",
        ),
        (
            make_set(*[[SOUND]] * 96, problems=problems("skipped", "broken", 4)),
            make_set(*[[SOUND]] * 8, problems=problems("skipped", "broken", 2)),
            "images skipped: 2 of 10 (20 %), 2 broken; restore",
        ),
    ],
)
def test_a_fault_has_its_line_from_a_share_on(few, many, line):
    assert notes_on_quality("train", few) == []
    (found,) = notes_on_quality("train", many)
    assert found.startswith(f"train: {line}")


def test_a_clean_set_has_no_line():
    assert notes_on_quality("val", make_shapes(40, image_size=64, seed=0)) == []
    assert notes_on_quality("val", make_set()) == []


def test_images_that_other_classes_left_empty_are_told_elsewhere():
    assert notes_on_quality("val", make_set([], [SOUND], problems=problems("dropped", "other class", 3))) == []


def test_what_can_be_trained_on_has_no_reason():
    assert why_untrainable(make_set([], [SOUND, (SOUND, True)])) is None


# ---- in commands ----


def voc(root, *objects):
    return write_tree(
        root,
        {f"Annotations/{name}.xml": voc_xml(*objects) for name in "abc"} | {f"JPEGImages/{n}.jpg": 1 for n in "abc"},
    )


def yolo(root, labels, images="abc"):
    tree = {f"images/{split}/{name}.jpg": 1 for split in ("train", "val") for name in images}
    return write_tree(root, {"classes.txt": "car\n", "labels/val/a.txt": "0 .5 .5 .5 .5\n", **tree, **labels})


def coco(root, **annotation):
    images = [{"id": index, "file_name": f"{name}.jpg"} for index, name in enumerate("abc")]
    rows = (
        [{"id": index, "image_id": index, "category_id": 1, **annotation} for index in range(3)] if annotation else []
    )
    content = {
        "images": images,
        "annotations": rows,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
    }
    return write_tree(root, {"train.json": json.dumps(content), **{f"{name}.jpg": 1 for name in "abc"}})


@pytest.mark.parametrize(
    ("make", "classes", "message"),
    [
        (
            lambda root: yolo(root, {}),
            (),
            r"none of the 3 images has a label file, the first images/train/a\.jpg: .* looked for labels/train/a\.txt",
        ),
        (
            lambda root: yolo(root, dict.fromkeys([f"labels/train/{name}.txt" for name in "abc"], "")),
            (),
            r"none of the 3 images has an object annotated; looked in labels/train/a\.txt, .* and 1 more$",
        ),
        (coco, (), r"none of the 2 images has an object annotated; looked in train\.json"),
        (
            lambda root: yolo(root, {"labels/train/a.txt": "0 .5 .5 0 0\n0 .5 .5 nan 1\n0 .5 .5 0 0\n"}),
            (),
            r"all 3 boxes of its classes were dropped \(2 without area, 1 not finite\), the first in labels/train/a",
        ),
        (lambda root: voc(root, OUTSIDE), (), r"all 2 boxes .* were dropped \(2 outside the image\), the first in Ann"),
        (lambda root: voc(root, DIFFICULT), (), r"all 2 objects are difficult, crowds or cut by the crop"),
        (
            lambda root: coco(root, bbox=[1, 1, 9, 9]),
            ("bus",),
            r"objects are of other classes: car \(2\); the classes asked for are bus: name others with --classes",
        ),
        (lambda root: voc(root), (), r"the 3 annotations asked for hold no object$"),
        (
            lambda root: voc(root, UNKNOWN),
            (),
            r"hold no object; 3 are incomplete, the first Annotations/.\.xml: car: no <bndbox> with four numbers",
        ),
        (
            lambda root: write_tree(root, {"Annotations": None, "JPEGImages": None}),
            (),
            "no annotated image was found",
        ),
    ],
)
def test_why_nothing_can_be_trained_on(make, classes, message, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    config = DatasetConfig(data=str(make(tmp_path / "data")), image_size=8, classes=classes)
    with pytest.raises(ValueError, match=message):
        job._load(with_classes(config))


def test_runs_and_scoring_begin_with_the_doubts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    config = with_classes(DatasetConfig(data=str(voc(tmp_path / "data", "car", DIFFICULT)), image_size=32))
    job._load(config)
    lines = capsys.readouterr().out.splitlines()
    for split in ("train", "val"):
        (line,) = notes_on_quality(split, load_split(config, split))
        assert line in lines
        assert "(50 %); they are neither trained on nor scored" in line
    EVALUATE.load(EVALUATE.Command(run=tmp_path, data=config.data), Config(dataset=config), RunFolder(tmp_path))
    assert "all: objects that are difficult, crowds or cut by the crop: 3 of 6 (50 %)" in capsys.readouterr().out
