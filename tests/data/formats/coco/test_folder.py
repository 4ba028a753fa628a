"""COCO's layouts as tools export them: each a folder that is named, or a file, in docs/data.md's words."""

import gzip
import json

import numpy as np
import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.formats.coco import detect
from jaxssd.data.formats.coco.detect import find_coco_files
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.coco.folder import COCOFolder
from jaxssd.data.formats.registry import open_source
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.load import default_split, load_split, notes_on_splits, with_classes
from tests.data.trees import BOX, HEIGHT, LINE, WIDTH, voc_xml, write_tree

GREYS = {"train": 10, "val": 200, "test": 100}
"""Of the pictures of each split; so it is seen which file an entry led to."""


def instances(*names, classes=("cup",), first=0, **extra):
    """One file: an object in each image, numbered from `first`, as many tools do in every file."""
    y1, x1, y2, x2 = BOX
    bbox = [x1 * WIDTH, y1 * HEIGHT, (x2 - x1) * WIDTH, (y2 - y1) * HEIGHT]
    numbers = range(first, first + len(names))
    content = {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in zip(numbers, names, strict=True)
        ],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": bbox, "iscrowd": 0} for n in numbers],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, start=1)],
    }
    return json.dumps(content | extra)


def pictures(split, *paths):
    return dict.fromkeys(paths, GREYS[split])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))


def splits_of(path, splits=("train", "val"), **settings):
    """Grey of each split's pictures, and how many there are; every one has its object in its place."""
    config = with_classes(DatasetConfig(data=str(path), image_size=8, **settings))
    found = {}
    for split in splits:
        dataset = load_split(config, split)
        assert dataset.examples.valid.all()
        np.testing.assert_allclose(dataset.examples.boxes[:, 0], [BOX] * len(dataset.ids), atol=1e-6)
        (grey,) = {round(float(image.mean()), -1) for image in dataset.examples.images}
        found[split] = (grey, len(dataset.ids))
    return found


TWO = "0000.png", "0001.png"
PAIR = {"train": (10, 2), "val": (200, 2)}

LAYOUTS = {
    "COCO 2017": {
        "annotations/instances_train2017.json": instances(*TWO),
        "annotations/instances_val2017.json": instances(*TWO),
        "annotations/captions_train2017.json": '{"info": {}, "images": [], "annotations": []}',
        "annotations/person_keypoints_val2017.json": instances(*TWO),
        **pictures("train", "train2017/0000.png", "train2017/0001.png"),
        **pictures("val", "val2017/0000.png", "val2017/0001.png"),
    },
    "images below images": {
        "annotations/instances_train.json": instances(*TWO),
        "annotations/instances_val.json": instances(*TWO),
        **pictures("train", "images/train/0000.png", "images/train/0001.png"),
        **pictures("val", "images/val/0000.png", "images/val/0001.png"),
    },
    "files in the folder": {
        "train.json": instances(*TWO),
        "val.json": instances(*TWO),
        **pictures("train", "images/train/0000.png", "images/train/0001.png"),
        **pictures("val", "images/val/0000.png", "images/val/0001.png"),
    },
    "Roboflow": {
        "train/_annotations.coco.json": instances(*TWO),
        "valid/_annotations.coco.json": instances(*TWO),
        "README.roboflow.txt": "Exported",
        **pictures("train", "train/0000.png", "train/0001.png"),
        **pictures("val", "valid/0000.png", "valid/0001.png"),
    },
    "a file in each split's folder": {
        "train/annotations/instances.json": instances(*TWO),
        "test/annotations/instances.json": instances(*TWO),
        "val/annotations/instances.json": instances(*TWO),
        **pictures("train", "train/images/0000.png", "train/images/0001.png"),
        **pictures("val", "val/images/0000.png", "val/images/0001.png"),
        **pictures("test", "test/images/0000.png", "test/images/0001.png"),
    },
    "names of the splits in the files": {
        "annotations/Birds_TRAIN.json": instances("train/0000.png", "train/0001.png"),
        "annotations/Birds_Validation.json": instances("val/0000.png", "val/0001.png"),
        **pictures("train", "Images/train/0000.png", "Images/train/0001.png"),
        **pictures("val", "Images/val/0000.png", "Images/val/0001.png"),
    },
    "Ultralytics' COCO, whose labels have no names": {
        "annotations/instances_train2017.json": instances(*TWO),
        "annotations/instances_val2017.json": instances(*TWO),
        **pictures("train", "images/train2017/0000.png", "images/train2017/0001.png"),
        **pictures("val", "images/val2017/0000.png", "images/val2017/0001.png"),
        **dict.fromkeys(("labels/train2017/0000.txt", "labels/val2017/0000.txt"), LINE),
    },
    "a folder ann": {
        "ann/train.json": instances(*TWO),
        "ann/val.json": '{"version": "1.0", "year": 2024, ' + instances(*TWO)[1:],
        **pictures("train", "img/train/0000.png", "img/train/0001.png"),
        **pictures("val", "img/val/0000.png", "img/val/0001.png"),
    },
    "packed": {
        "annotations/lvis_v1_train.json.gz": gzip.compress(instances(*TWO).encode()),
        "annotations/lvis_v1_val.json.gz": gzip.compress(instances(*TWO).encode()),
        **pictures("train", "train2017/0000.png", "train2017/0001.png"),
        **pictures("val", "val2017/0000.png", "val2017/0001.png"),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_followed(layout, tmp_path):
    root = write_tree(tmp_path / "data", LAYOUTS[layout])
    assert splits_of(root) == PAIR
    config = with_classes(DatasetConfig(data=str(root), image_size=8))
    assert config.classes == ("cup",)
    assert default_split(config) == "val"
    assert [note[:38] for note in notes_on_splits(config, "--val-split")] == (
        ["COCO's JSON is read, and not the label"] if "Ultra" in layout else []
    )
    assert load_split(config, "train").ids[0].startswith("train/")
    assert load_split(config, "val").ids[0].startswith("val/")


@pytest.mark.parametrize(
    "files",
    [
        {
            "annotations/instances_default.json": instances(*TWO),
            **pictures("train", "images/0000.png", "images/0001.png"),
        },
        {
            "annotations/instances_default.json": instances(*TWO),
            **pictures("train", "images/default/0000.png", "images/default/0001.png"),
        },
        {
            "result.json": instances("images\\6f1c-0000.png", "../../media/upload/1/6f1c-0001.png"),
            **pictures("train", "images/6f1c-0000.png", "images/6f1c-0001.png"),
        },
        {"labels.json": instances(*TWO), **pictures("train", "data/0000.png", "data/0001.png")},
    ],
    ids=["CVAT", "CVAT with a subset", "Label Studio", "FiftyOne"],
)
def test_a_folder_with_one_file(tmp_path, files):
    root = write_tree(tmp_path / "data", files)
    source = open_source(str(root))
    assert isinstance(source, COCOJson)
    assert source.split_names() == ()
    assert splits_of(root, ["all"]) == {"all": (10, 2)}


def test_roboflows_root_category_is_dropped_with_a_word(tmp_path):
    categories = [
        {"id": 0, "name": "cups-and-plates", "supercategory": "none"},
        {"id": 1, "name": "cup", "supercategory": "cups-and-plates"},
        {"id": 2, "name": "plate", "supercategory": "cups-and-plates"},
    ]
    files = {**LAYOUTS["Roboflow"]}
    for split in ("train", "valid"):
        files[f"{split}/_annotations.coco.json"] = instances(*TWO, categories=categories)
    root = write_tree(tmp_path / "data", files)
    config = with_classes(DatasetConfig(data=str(root), image_size=8))
    assert config.classes == ("cup", "plate")
    assert load_split(config, "val").report.summary() == "2 images, 2 objects; ignored 1 entry (root category)"
    assert open_source(config.data, config.images).category_ids((), config.classes) == (1, 2)


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ([(0, "all", "none"), (1, "all", "all")], ("all",)),  # Roboflow's project is often called as its class
        ([(0, "cup", "none"), (1, "plate", "none")], ("cup", "plate")),  # the lesson's file has it of every class
        ([(0, "cup", "none")], ("cup",)),
        ([(0, "tools", "indoor"), (1, "cup", "none")], ("tools", "cup")),  # used
        ([(0, "tools", "indoor"), (1, "cup", "indoor")], ("tools", "cup")),
    ],
)
def test_only_a_root_is_dropped(tmp_path, categories, expected):
    entries = [{"id": number, "name": name, "supercategory": above} for number, name, above in categories]
    content = instances("0000.png", categories=entries)
    if len(entries) == 1:
        content = content.replace('"category_id": 1', '"category_id": 0')
    root = write_tree(tmp_path / "data", {"a.json": content, "0000.png": 10})
    assert with_classes(DatasetConfig(data=str(root)), ["all"]).classes == expected


def test_a_category_alone_is_a_class(tmp_path):
    content = instances("0.png", categories=[{"id": 1, "name": "cup", "supercategory": "none"}], annotations=[])
    source = open_source(str(write_tree(tmp_path / "data", {"a.json": content, "0.png": 10})))
    assert source.class_names([]) == ("cup",)


def test_a_split_goes_by_its_files_and_its_folders_name_too(tmp_path):
    source = open_source(str(write_tree(tmp_path / "data", LAYOUTS["Roboflow"])))
    assert source.split_names() == ("train", "val")
    assert source.split_ids("valid") == source.split_ids("val") == ("val/0000", "val/0001")
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        source.split_ids("test")
    source = open_source(str(write_tree(tmp_path / "other", LAYOUTS["COCO 2017"])))
    assert source.split_ids("instances_val2017") == ("val/0000", "val/0001")


def test_a_file_of_roboflows_tells_of_the_others(tmp_path):
    root = write_tree(tmp_path / "data", LAYOUTS["Roboflow"])
    config = DatasetConfig(data=str(root / "train/_annotations.coco.json"), image_size=8)
    assert splits_of(config.data) == {"train": (10, 1), "val": (10, 1)}
    note, held_out = notes_on_splits(config, "--val-split")
    assert note == f"_annotations.coco.json is also in valid beside train: --data {root} takes all as splits"
    assert "held out at random" in held_out
    (root / "valid/_annotations.coco.json").unlink()
    assert len(notes_on_splits(config, "--val-split")) == 1


def test_what_is_held_out_where_a_folder_has_training_images_alone(tmp_path):
    names = [f"{number}.png" for number in range(5)]
    files = {"train.json": instances(*names), "more.json": instances("5.png"), **dict.fromkeys([*names, "5.png"], 10)}
    config = DatasetConfig(data=str(write_tree(tmp_path / "data", files)))
    assert splits_of(config.data) == {"train": (10, 4), "val": (10, 1)}
    assert "beside it lie more: --val-split" in notes_on_splits(config, "--val-split")[-1]
    assert splits_of(config.data, val_split="more") == {"train": (10, 5), "val": (10, 1)}


def test_a_picture_in_two_splits_is_an_error(tmp_path):
    """By the file: under one name, in a folder of the other split, or by a link."""
    files = LAYOUTS["images below images"]
    shared = {"annotations/instances_val.json": instances("0002.png", "train/0001.png"), "images/val/0002.png": 200}
    root = write_tree(tmp_path / "data", files | shared)
    with pytest.raises(ValueError, match=r"in both splits train and val: 1 images?, the first 'train/0001'"):
        with_classes(DatasetConfig(data=str(root)))
    root = write_tree(tmp_path / "linked", files)
    (root / "images/val/0001.png").unlink()
    (root / "images/val/0001.png").symlink_to("../train/0000.png")
    with pytest.raises(ValueError, match="in both splits train and val: 1 image"):
        with_classes(DatasetConfig(data=str(root)))


def test_a_picture_that_only_another_split_has_is_missing(tmp_path):
    """`val/0001.png` is not there; `train/0001.png` is not taken for it."""
    root = write_tree(tmp_path / "data", LAYOUTS["images below images"])
    (root / "images/val/0001.png").unlink()
    dataset = load_split(with_classes(DatasetConfig(data=str(root), image_size=8)), "val")
    assert dataset.report.summary() == "1 image, 1 object; skipped 1 image (missing)"
    assert dataset.examples.images.max() > 150


@pytest.mark.parametrize("images", [None, "images", "images/train", "images/train/."])
def test_splits_whose_pictures_share_names_by_naming_files(tmp_path, images):
    """Validation was made of training pictures."""
    root = write_tree(tmp_path / "data", LAYOUTS["files in the folder"])
    settings = {"val_split": "val"} | ({"images": str(root / images)} if images else {})
    assert splits_of(root / "train.json", **settings) == PAIR


def test_splits_whose_pictures_share_names_from_the_other_side(tmp_path):
    root = write_tree(tmp_path / "data", LAYOUTS["files in the folder"])
    settings = {"train_split": "train", "val_split": "val", "images": str(root / "images/val")}
    assert splits_of(root / "val.json", **settings) == PAIR


def test_a_folder_that_is_named_is_the_one_that_is_meant(tmp_path):
    """Not its neighbour that is called after the split too."""
    files = {
        "train.json": instances(*TWO),
        **pictures("train", "images/train2014/0000.png", "images/train2014/0001.png"),
    }
    files |= pictures("val", "images/train2017/0000.png", "images/train2017/0001.png")
    root = write_tree(tmp_path / "data", files)
    assert splits_of(root / "train.json", ["all"], images=str(root / "images/train2014")) == {"all": (10, 2)}


def test_a_part_of_a_whole_is_held_out_whatever_it_is_called(tmp_path):
    names = [f"{number}.png" for number in range(4)]
    files = {"whole.json": instances(*names), "val.json": instances("1.png"), **dict.fromkeys(names, 10)}
    root = write_tree(tmp_path / "data", files)
    assert splits_of(root / "whole.json", val_split="val") == {"train": (10, 3), "val": (10, 1)}


def test_folders_of_images_below_those_of_splits(tmp_path):
    files = {
        "train.json": instances(*TWO),
        "val.json": instances(*TWO),
        **pictures("train", "train/images/0000.png", "train/images/0001.png"),
        **pictures("val", "val/images/0000.png", "val/images/0001.png"),
    }
    root = write_tree(tmp_path / "data", files)
    assert splits_of(root / "train.json", val_split="val", images=str(root / "train/images")) == PAIR


def test_files_that_list_one_picture_are_no_splits(tmp_path):
    """Each is called after a split; a part of a file without a split's name may be held out."""
    files = {"train.json": instances(*TWO), "val.json": instances(*TWO), **pictures("train", *TWO)}
    root = write_tree(tmp_path / "data", files)
    with pytest.raises(
        ValueError, match=r"val\.json and .*train\.json list the same pictures: 2, the first .*0000\.png"
    ):
        with_classes(DatasetConfig(data=str(root / "train.json"), val_split="val"))


def test_images_of_a_folder_that_lie_elsewhere(tmp_path):
    files = {name: content for name, content in LAYOUTS["COCO 2017"].items() if name.startswith("annotations")}
    root = write_tree(tmp_path / "data", files)
    elsewhere = write_tree(
        tmp_path / "pictures",
        pictures("train", "train2017/0000.png", "train2017/0001.png")
        | pictures("val", "val2017/0000.png", "val2017/0001.png"),
    )
    assert splits_of(root, images=str(elsewhere)) == PAIR
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder: .*--images"):
        open_source(str(root), str(tmp_path / "nowhere"))


def test_several_files_without_a_splits_name_are_an_error_that_names_them(tmp_path):
    files = {"a.json": instances("0000.png"), "b.json": instances("0001.png"), **pictures("train", *TWO)}
    root = write_tree(tmp_path / "data", files)
    with pytest.raises(ValueError, match=r"2 COCO files named after no split: a\.json, b\.json\. Name one"):
        open_source(str(root))
    files = {"train_a.json": instances("0000.png"), "train_b.json": instances("0001.png")}
    with pytest.raises(ValueError, match=r"2 COCO files for the split train: train_a\.json, train_b\.json"):
        open_source(str(write_tree(tmp_path / "two", files)))


def test_numbers_of_a_split_are_its_files(tmp_path):
    files = LAYOUTS["images below images"] | {"annotations/instances_val.json": instances(*TWO, first=7)}
    source = open_source(str(write_tree(tmp_path / "data", files)))
    assert source.image_ids(source.split_ids("val")) == (7, 8)
    assert source.image_ids(source.split_ids("train")) == (0, 1)
    assert source.image_ids(source.all_ids()) == (1, 2, 3, 4)  # of two files: their places
    assert source.file_names(source.split_ids("val")) == TWO
    assert source.category_ids(source.split_ids("val"), ("cup",)) == (1,)


def test_ids_that_are_no_numbers_are_exported_as_places(tmp_path):
    content = json.loads(instances(*TWO))
    for number, image in enumerate(content["images"]):
        image["id"] = content["annotations"][number]["image_id"] = f"image-{number}"
    content["annotations"][0]["category_id"] = content["annotations"][1]["category_id"] = content["categories"][0][
        "id"
    ] = "c"
    root = write_tree(tmp_path / "data", {"a.json": json.dumps(content), **pictures("train", *TWO)})
    source = open_source(str(root))
    assert source.image_ids(source.all_ids()) == source.image_ids(source.all_ids()[::-1]) == (1, 2)
    assert source.category_ids(source.all_ids(), ("cup", "plate")) == (1, 2)
    assert splits_of(root, ["all"]) == {"all": (10, 2)}


def test_files_that_number_categories_differently_are_an_error(tmp_path):
    files = LAYOUTS["Roboflow"] | {"valid/_annotations.coco.json": instances(*TWO, classes=("plate",))}
    with pytest.raises(ValueError, match=r"has the category 1, plate, but .* has 1, cup"):
        with_classes(DatasetConfig(data=str(write_tree(tmp_path / "data", files))))


def test_a_class_that_only_the_validation_file_lists(tmp_path):
    files = LAYOUTS["Roboflow"] | {"valid/_annotations.coco.json": instances(*TWO, classes=("cup", "plate"))}
    root = write_tree(tmp_path / "data", files)
    assert with_classes(DatasetConfig(data=str(root))).classes == ("cup", "plate")
    assert splits_of(root) == PAIR


@pytest.mark.parametrize("folder", ["Annotations", "annotations", "xmls", "annotations/all"])
def test_xml_annotations_come_before_a_coco_file_with_a_word(tmp_path, folder):
    files = {f"{folder}/{name}.xml": voc_xml("cup") for name in "ab"} | dict.fromkeys(
        ("images/a.jpg", "images/b.jpg"), 1
    )
    root = write_tree(tmp_path / "voc", files | {"instances.json": instances("a.jpg")})
    config = DatasetConfig(data=str(root))
    assert isinstance(open_source(config.data, config.images), VOCFolder)
    assert notes_on_splits(config, "--val-split")[0].startswith("XML is read, and not instances.json beside it: --data")


def test_other_formats_are_not_taken_for_coco(tmp_path):
    yolo = {"images/a.jpg": 1, "labels/a.txt": "", "classes.txt": "cup", "instances.json": instances("a.jpg")}
    assert not isinstance(open_source(str(write_tree(tmp_path / "yolo", yolo))), COCOJson | COCOFolder)
    assert find_coco_files(write_tree(tmp_path / "x", {"a.json": '{"shapes": []}', ".b.json": instances("a")})) == ()
    assert find_coco_files(tmp_path / "nowhere") == ()


def test_files_of_captions_are_no_splits(tmp_path):
    files = {
        "train.json": instances("a.png"),
        "captions_train.json": '{"info": {}}',
        "image_info_test.json": '{"images": []}',
    }
    found = find_coco_files(write_tree(tmp_path / "data", files))
    assert [(file.path.name, file.split) for file in found] == [("train.json", "train")]


def test_the_first_words_tell_a_file(tmp_path):
    heads = {
        "a.json": '\ufeff {\n "info": {}}',
        "b.JSON": '{"type":"instances"}',
        "c.json.gz": gzip.compress(b'{"images": []}'),
        "d.json": '{"categories" : []}',
        "da.json": '{"version": "a \\"b", "year": -2.5e3, "done": true, "info": {"images": [1]}}',
    }
    others = {
        "e.json": "[]",
        "f.json": '{"imagesize": 3}',
        "g.json.gz": "damaged",
        "h.json": "",
        "i.txt": '{"info": 1}',
        "j.json": '{"version": "1", "shapes": [], "images": []}',
        "k.json": '{"name": "x", "info": {}, "tags": []}',
    }
    root = write_tree(tmp_path / "data", heads | others)
    assert [file.path.name for file in find_coco_files(root)] == list(heads)


def lvis(split, numbers, folder="train2017"):
    """1,203 classes, images by their address, and which classes not every object is annotated of."""
    images = [
        {
            "id": number,
            "coco_url": f"http://images.cocodataset.org/{folder}/{number:012d}.jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "neg_category_ids": [1, 2],
            "not_exhaustive_category_ids": [3, 4] if number == numbers[0] else [],
        }
        for number in numbers
    ]
    content = json.loads(instances(*map(str, numbers)))
    for annotation, number in zip(content["annotations"], numbers, strict=True):
        annotation.update(image_id=number, category_id=number)
    content |= {
        "images": images,
        "categories": [{"id": n, "name": f"class {n}", "frequency": "r"} for n in range(1, 1204)],
    }
    return {f"lvis_v1_{split}.json": json.dumps(content)}


def test_lvis(tmp_path):
    """Its `val` has images of COCO's train2017 too."""
    files = lvis("train", [7, 1203]) | lvis("val", [9])
    files |= pictures("train", "train2017/000000000007.jpg", "train2017/000000001203.jpg")
    files |= {"train2017/000000000009.jpg": GREYS["val"], "val2017/000000000009.jpg": 50}
    root = write_tree(tmp_path / "data", files)
    assert splits_of(root) == {"train": (10, 2), "val": (200, 1)}
    config = with_classes(DatasetConfig(data=str(root), image_size=8))
    assert len(config.classes) == 1203
    train = load_split(config, "train")
    assert train.examples.labels[:, 0].tolist() == [6, 1202]
    assert train.report.summary() == "2 images, 2 objects; noted 1 image (not exhaustively annotated)"
    assert "2 classes are not fully annotated" in train.report.problems[0].detail
    some = with_classes(DatasetConfig(data=str(root), image_size=8, classes=("class 1203",)))
    assert "dropped 1 box (other class)" in load_split(some, "train").report.summary()
    with pytest.raises(ValueError, match=r"no class 'clas 12' \(near: 'class 12', .*it has 1,203: class 1, "):
        with_classes(DatasetConfig(data=str(root), classes=("clas 12",)))


FAR = [0.45, 0.4, 0.9, 0.9]
"""Corners, in shares, that reach beyond the image if they are read as sides; `NEAR` are within it either way."""
NEAR = [0.1, 0.1, 0.4, 0.5]
SIDES = [0.6, 0.5, 0.2, 0.3]


def with_boxes(names, share, fractions=False, **extra):
    """One file whose boxes are these shares of the images, in pixels unless they are fractions."""
    content = json.loads(instances(*names))
    scale = [1] * 4 if fractions else [WIDTH, HEIGHT] * 2
    for annotation in content["annotations"]:
        annotation["bbox"] = [share[i] * scale[i] for i in range(4)]
    return json.dumps(content | extra)


def first_boxes(path, **settings):
    config = with_classes(DatasetConfig(data=str(path), image_size=8, **settings))
    loaded = [load_split(config, split) for split in ("train", "val")]
    return [dataset.examples.boxes[0, 0].tolist() for dataset in loaded], loaded[1].report


@pytest.mark.parametrize("fractions", [False, True])
@pytest.mark.parametrize("named", [None, "y"])
def test_a_small_file_is_read_as_the_other_splits_show(tmp_path, fractions, named):
    own, other = ("x.json", "y.json") if named else ("train.json", "val.json")
    files = {own: with_boxes(TWO, FAR, fractions), other: with_boxes(("a.png", "b.png"), NEAR, fractions)}
    root = write_tree(tmp_path / "data", files | dict.fromkeys((*TWO, "a.png", "b.png"), 10))
    boxes, report = first_boxes(root / own if named else root, val_split=named)
    np.testing.assert_allclose(boxes, [[0.4, 0.45, 0.9, 0.9], [0.1, 0.1, 0.5, 0.4]], atol=1e-6)
    assert {problem.kind for problem in report.problems} == {f"with bbox as corners{' in fractions' * fractions}"}
    assert f"{own} show" in report.problems[0].detail
    (root / own).write_text(with_boxes(TWO, [0.1, 0.1, 0.2, 0.2], fractions))  # now nothing shows corners
    boxes, _ = first_boxes(root / own if named else root, val_split=named)
    np.testing.assert_allclose(boxes[1], [0.1, 0.1, 0.6, 0.5], atol=1e-6)


def test_files_that_are_sure_keep_their_own_way(tmp_path):
    files = {"train.json": with_boxes(TWO, FAR), "val.json": with_boxes(("a.png", "b.png"), SIDES)}
    root = write_tree(tmp_path / "data", files | dict.fromkeys((*TWO, "a.png", "b.png", "c.png"), 10))
    boxes, report = first_boxes(root)
    np.testing.assert_allclose(boxes, [[0.4, 0.45, 0.9, 0.9], [0.5, 0.6, 0.8, 0.8]], atol=1e-6)
    assert not report.problems
    (root / "test.json").write_text(with_boxes(["c.png"], NEAR))
    with pytest.raises(ValueError, match=r"test\.json has boxes .*train\.json can only be corners, .*val\.json"):
        load_split(with_classes(DatasetConfig(data=str(root), image_size=8)), "test")


def test_images_that_are_trained_and_tested_on_are_said(tmp_path, monkeypatch):
    files = {"train.json": instances(*TWO), "val.json": instances("b.png"), "test.json": instances("a.png", TWO[1])}
    root = write_tree(tmp_path / "data", files | dict.fromkeys((*TWO, "a.png", "b.png"), 10))
    config = DatasetConfig(data=str(root))
    (note,) = notes_on_splits(config, "--val-split")
    assert note.startswith("test and train have 1 image in common, such as train/0001")
    monkeypatch.setattr("jaxssd.data.formats.coco.folder._MAX_EXTRA", 10)  # too large to be read for a remark
    detect._open_folder.cache_clear()
    assert notes_on_splits(config, "--val-split") == []
    assert notes_on_splits(config, "--split", split="test") == [note]
    (root / "test.json").write_text("{}")
    assert notes_on_splits(config, "--val-split") == []
