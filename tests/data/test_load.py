"""Which images and classes the settings of a run stand for."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxssd.config import Config, DatasetConfig
from jaxssd.data.class_filter import notes_on_classes
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.registry import open_source
from jaxssd.data.formats.tfds.source import TFDSVoc
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.folder import YOLOFolder
from jaxssd.data.load import _other_spellings, default_split, load_split, notes_on_splits, with_classes
from jaxssd.data.shapes import CLASS_NAMES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten small images, each with a cat or a dog, and no splits."""
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    for number in range(10):
        Image.fromarray(np.full((12, 16, 3), number, np.uint8)).save(tmp_path / "JPEGImages" / f"{number}.png")
        name = "dog" if number % 2 else "cat"
        xml = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        (tmp_path / "Annotations" / f"{number}.xml").write_text(xml)
    return tmp_path


def test_a_folder_without_splits(folder):
    config = with_classes(DatasetConfig(data=str(folder), image_size=8))
    assert config.classes == ("cat", "dog")
    train, val, everything = (load_split(config, split) for split in ("train", "val", "all"))
    assert (len(train.ids), len(val.ids), len(everything.ids)) == (8, 2, 10)
    assert sorted(train.ids + val.ids) == list(everything.ids)
    assert default_split(config) == "all"
    with pytest.raises(ValueError, match="test"):
        load_split(config, "test")


def test_a_folder_with_a_validation_split_is_scored_on_it(folder):
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/val.txt").write_text("3\n4\n")
    (folder / "ImageSets/Main/train.txt").write_text("1\n2\n")
    config = DatasetConfig(data=str(folder), image_size=8, classes=("cat", "dog"))
    assert default_split(config) == "val"
    assert load_split(config, "val").ids == ("3", "4")


def test_some_of_the_classes_are_learned(folder):
    config = with_classes(DatasetConfig(data=str(folder), image_size=8, classes=("cat",)))
    assert config.classes == ("cat",)
    dataset = load_split(config, "all")
    assert dataset.report.summary() == (
        "10 images, 5 objects; dropped 5 boxes (other class), noted 5 images (without objects)"
    )
    (line,) = notes_on_classes("all", dataset)
    assert line == "all: objects of other classes are left out and count as background: dog (5)"


def test_a_class_that_the_data_has_not_is_an_error(folder):
    with pytest.raises(ValueError, match=r"--classes: .* has no class 'Dgo' \(near: 'dog'\); it has 2: cat, dog"):
        with_classes(DatasetConfig(data=str(folder), image_size=8, classes=("cat", "Dgo")))


def test_other_data_is_scored_on_the_classes_that_are_known(folder):
    """Of the run's classes it may lack some, and it may have others."""
    dataset = load_split(DatasetConfig(data=str(folder), image_size=8, classes=("zebra", "dog", "yak")), "all")
    assert dataset.class_names == ("zebra", "dog", "yak")
    assert dataset.examples.labels[dataset.examples.valid].tolist() == [1] * 5
    assert notes_on_classes("all", dataset) == [
        "all: objects of other classes are left out and count as background: cat (5)",
        "all: classes without an object that counts, not scored and not in the mean: zebra, yak",
    ]
    assert "cannot be learned: zebra, yak" in notes_on_classes("train", dataset, trained_on=True)[1]


@pytest.mark.parametrize(("in_train", "in_val"), [("cat", "dog"), ("dog", "cat")])
def test_a_class_of_one_split_only(folder, in_train, in_val):
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text({"cat": "0\n2\n", "dog": "1\n3\n"}[in_train])
    (folder / "ImageSets/Main/val.txt").write_text({"cat": "4\n", "dog": "5\n"}[in_val] + "6\n7\n")
    config = with_classes(DatasetConfig(data=str(folder), image_size=8))
    assert config.classes == ("cat", "dog")
    assert in_val in notes_on_classes("train", load_split(config, "train"), trained_on=True)[0]
    assert notes_on_classes("val", load_split(config, "val")) == []


def test_fingerprints_tell_data_sets_apart(folder):
    config = with_classes(DatasetConfig(data=str(folder), image_size=8))
    before = load_split(config, "all").fingerprint
    assert load_split(config, "all").fingerprint == before
    annotation = folder / "Annotations/3.xml"
    annotation.write_text(annotation.read_text().replace("<ymax>8", "<ymax>7"))
    assert load_split(config, "all").fingerprint != before


def test_shapes_has_classes_and_splits_of_its_own():
    assert with_classes(DatasetConfig()).classes == CLASS_NAMES
    assert default_split(DatasetConfig()) == "val"
    for wrong in (DatasetConfig(classes=("dog", "cat")), DatasetConfig(val_split="val")):
        with pytest.raises(ValueError, match="--classes"):
            with_classes(wrong)
    with pytest.raises(ValueError, match="nonsense"):
        load_split(DatasetConfig(image_size=8), "nonsense")


def test_the_format_is_recognised(folder, tmp_path, monkeypatch):
    """By the name, by the ending, by what lies in the folder."""
    assert open_source(str(folder)) == VOCFolder(folder)
    yolo = tmp_path / "yolo"
    for name in ("images/train", "labels/train"):
        (yolo / name).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(yolo / "images/train/a.png")
    (yolo / "labels/train/a.txt").write_text("0 0.5 0.5 1 1\n")
    (yolo / "classes.txt").write_text("cat\n")
    assert open_source(str(yolo)) == YOLOFolder(yolo)
    file = tmp_path / "Instances.JSON"
    file.write_text("{}")
    assert open_source(str(file)) == COCOJson(file, tmp_path)
    assert open_source(str(file), str(yolo)) == COCOJson(file, yolo)
    (tmp_path / "voc/2007").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert open_source("voc/2007") == TFDSVoc("voc/2007")
    with pytest.raises(ValueError, match="not in PASCAL VOC layout"):
        open_source("./voc/2007")


def test_what_is_not_there_or_does_not_go_together_is_told(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"gone\.json is not a file"):
        open_source(str(tmp_path / "gone.json"))
    with pytest.raises(ValueError, match=r"no --data voc/2009: .* voc/2007 and voc/2012"):
        open_source("voc/2009")
    (tmp_path / "coco/annotations").mkdir(parents=True)
    with pytest.raises(ValueError, match="but annotations/"):
        open_source(str(tmp_path / "coco"))
    (tmp_path / "coco/annotations/train.json").write_text('{"meta": {}, "images": [], "annotations": []}')
    with pytest.raises(ValueError, match=r"COCO data set, name the file: --data .*annotations/train\.json"):
        open_source(str(tmp_path / "coco"))
    (tmp_path / "coco/data.yaml").write_text("")
    with pytest.raises(ValueError, match=r"data\.yaml is not a mapping with the key names"):
        open_source(str(tmp_path / "coco/data.yaml"))
    with pytest.raises(ValueError, match=r"--images .* goes with a COCO file"):
        open_source(str(folder), str(folder))


def test_files_beside_a_coco_file_are_told_of(folder, tmp_path):
    """They may be splits; nobody knows before one is named."""
    (tmp_path / "coco").mkdir()
    for name in ("train", "val", "test"):
        images = [{"id": number, "file_name": f"{name}{number}.jpg"} for number in range(3)]
        content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
        (tmp_path / f"coco/{name}.json").write_text(json.dumps(content))
    config = DatasetConfig(data=str(tmp_path / "coco/train.json"))
    (line,) = notes_on_splits(config, "--val-split")
    assert line.endswith("beside it lie test, val: --val-split NAME takes one of them")
    assert notes_on_splits(replace(config, val_split="val"), "--val-split") == []
    assert notes_on_splits(DatasetConfig(), "--val-split") == []


HELD_OUT = "no validation split found, {}: 20 % of {}, {} of {}, are held out at random (seed 42) and validated on"


@pytest.mark.parametrize(
    ("lists", "options", "notes"),
    [
        ({}, {}, [HELD_OUT.format("there are no splits", "all images", 2, 10)]),
        ({"train": "123", "val": "4"}, {}, []),
        ({"Train": "123", "valid": "4"}, {}, []),
        ({"train": "12345"}, {}, [HELD_OUT.format("there is train but no val", "train", 1, 5)]),
        ({"train": "12345", "test": "6"}, {}, [HELD_OUT.format("there is test and train but no val", "train", 1, 5)]),
        ({"train": "12345", "test": "6"}, {"val_split": "test"}, []),
        ({"trainval": "1234", "val": "34"}, {}, ["2 images of val are left out of trainval to train on"]),
        (
            {"default": "12345", "cat_default": "24"},
            {},
            [
                "train is the data set's only split, default",
                HELD_OUT.format("there is cat_default and default but no val", "default", 1, 5),
            ],
        ),
        (
            {"val": "12345"},
            {"train_split": "val"},
            [HELD_OUT.format("val is trained on", "val", 1, 5)],
        ),
        ({"val": "12"}, {"train_split": "val", "val_split": "val"}, "in both splits val and val"),
        ({"test": "12"}, {}, "no split train or trainval, only test"),
        ({"default": "12", "other": "34"}, {}, "no split train or trainval, only default, other"),
    ],
)
def test_whatever_is_not_stated_is_said(folder, lists, options, notes):
    for name, ids in lists.items():
        (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (folder / f"ImageSets/Main/{name}.txt").write_text("\n".join(ids))
    config = DatasetConfig(data=str(folder), **options)
    if isinstance(notes, str):
        with pytest.raises(ValueError, match=notes):
            notes_on_splits(config, "--val-split")
    else:
        unused = [line for line in notes_on_splits(config, "--val-split", split="all") if lists]
        assert all(line.startswith("images that are in none of train, val and test") for line in unused)
        assert notes_on_splits(config, "--val-split") == unused + notes


@pytest.mark.parametrize(
    ("options", "first"), [({}, "no validation split found"), ({"split": "all"}, "all: 10 images")]
)
def test_evaluation_says_what_was_held_out(folder, capsys, options, first):
    spec = importlib.util.spec_from_file_location("evaluate_command", Path(__file__).parents[2] / "evaluate.py")
    sys.modules[spec.name] = evaluate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluate)
    config = with_classes(DatasetConfig(data=str(folder), image_size=8))
    run = SimpleNamespace(require_same_data=lambda fingerprints: None)
    evaluate.load(evaluate.Command(run="run", **options), Config(dataset=config), run)
    assert capsys.readouterr().out.startswith(first)


IMPORTS = """
import sys
from dataclasses import replace
from jaxssd.config import DatasetConfig
from jaxssd.data import load
load.SHAPES_IMAGES = dict.fromkeys(load.SHAPES_IMAGES, 1)
for data in ("shapes", sys.argv[1]):
    for split in ("train", "val"):
        load.load_split(load.with_classes(DatasetConfig(data=data, image_size=8)), split)
    load.notes_on_splits(DatasetConfig(data=data), "--val-split")
    rooms = ("jaxssd.data.", "jaxssd.viz", "jaxssd.tools", "PIL.")
    print(*sorted(name for name in sys.modules if name.startswith(rooms)))
"""


def test_only_what_the_data_needs_is_imported(folder, tmp_path):
    """A run on Shapes imports no format and no decoder, one on a VOC folder no other format's reader."""
    environment = {**os.environ, "JAXSSD_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", IMPORTS, str(folder)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    on_shapes, on_voc = (set(line.split()) for line in ran.stdout.splitlines()[-2:])
    of_shapes = {"dataset", "formats", "formats.tfds", "formats.tfds.detect", "load", "report", "shapes"}
    assert on_shapes == {f"jaxssd.data.{name}" for name in of_shapes}
    assert all(name.startswith(("jaxssd.data.", "PIL.")) for name in on_voc)
    others = {name for name in on_voc if name.startswith("jaxssd.data.formats.") and name.count(".") == 4}
    others = {name for name in others if not name.startswith("jaxssd.data.formats.voc.")}
    assert others == {f"jaxssd.data.formats.{name}.detect" for name in ("coco", "tfds", "yolo")}


def test_generated_pictures_are_scored_by_a_run_with_their_classes():
    load_split(DatasetConfig(image_size=8, classes=CLASS_NAMES), "test")
    with pytest.raises(ValueError, match=r"--data shapes has the classes circle, .* and the run has cat"):
        load_split(DatasetConfig(image_size=8, classes=("cat",)), "test")


def test_a_split_named_by_another_word_is_said():
    source = SimpleNamespace(split_names=lambda: ("test", "train", "val"))
    assert _other_spellings(source, ("train", "test2", None, "Valid", "foo")) == [
        "split 'test2' is read as 'test'",
        "split 'Valid' is read as 'val'",
    ]
