"""Names of folders and lists of splits, the same in every format."""

import json

import pytest

from jaxssd.data.formats.registry import open_source
from jaxssd.data.splits import choose_splits
from tests.data.formats.yolo.test_layouts import LINE, TWO, names_of, pairs
from tests.data.trees import voc_xml, write_tree

FOLDERS = [
    *[("Train Set", "Val Set"), ("Train Images", "Validation Images"), ("cars_train", "cars_val"), ("train1", "val1")],
    *[("my-train", "my-val"), ("01_train", "02_val"), ("images_train", "images_val"), ("my train", "val")],
    *[("cars_train_images", "cars_valid_images"), ("Cars-Training", "Cars-Validation")],
]
CLASSES = ["test_car_01", "contest", "latest", "testament", "trains", "crash_test", "toy_train"]


def files(layout, train, val):
    places = [f"{train}/a", f"{train}/b", f"{val}/c"]
    images = {f"{place}.jpg": 1 for place in places}
    if layout == "yolo":
        return images | {f"{place}.txt": LINE for place in places} | {"classes.txt": TWO}
    if layout == "voc":
        return images | {f"{place}.xml": voc_xml("car") for place in places}
    for folder in (train, val):
        names = [place.rpartition("/")[2] for place in places if place.startswith(f"{folder}/")]
        content = {
            "images": [{"id": ord(x), "file_name": f"{x}.jpg", "width": 50, "height": 40} for x in names],
            "annotations": [{"id": ord(x), "image_id": ord(x), "category_id": 1, "bbox": [1, 1, 9, 9]} for x in names],
            "categories": [{"id": 1, "name": "car"}],
        }
        images[f"{folder}/_annotations.coco.json"] = json.dumps(content)
    return images


@pytest.mark.parametrize("layout", ["yolo", "voc", "coco"])
@pytest.mark.parametrize(("train", "val"), FOLDERS)
def test_folders_of_splits(layout, train, val, tmp_path):
    source = open_source(str(write_tree(tmp_path, files(layout, train, val))))
    chosen = choose_splits(source)
    assert [names_of(ids) for ids in chosen[:2]] == [["a", "b"], ["c"]]
    assert (source.split_names(), chosen.notes) == (("train", "val"), ())


@pytest.mark.parametrize(
    "words", [("images_{}", "labels_{}"), ("{}_images", "{}_annotations"), ("{} Img", "{} Labels")]
)
@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_folders_of_a_splits_images_and_labels(layout, words, tmp_path):
    """Names of pictures are the same in both splits."""
    ending, content = (".txt", LINE) if layout == "yolo" else (".xml", voc_xml("car"))
    tree = {"classes.txt": TWO}
    for split, names in (("train", "ab"), ("val", "a")):
        images, labels = (word.format(split) for word in words)
        tree |= {f"{images}/{name}.jpg": 1 for name in names} | {f"{labels}/{name}{ending}": content for name in names}
    source = open_source(str(write_tree(tmp_path, tree)))
    chosen = choose_splits(source)
    assert [names_of(ids) for ids in chosen[:2]] == [["a", "b"], ["a"]]
    records, problems = source.records([*chosen.train, *chosen.val], ("car", "horse"))
    assert ([len(record.boxes) for record in records], problems) == ([1] * 3, [])


@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_folders_of_splits_with_folders_of_images_in_them(layout, tmp_path):
    """As LabelImg leaves them; with lists of its own a folder is a data set itself."""
    places = [("cars_train", "a"), ("cars_train", "b"), ("cars_val", "c")]
    labels, ending, content = ("labels", ".txt", LINE) if layout == "yolo" else ("annotations", ".xml", voc_xml("car"))
    tree = {f"{split}/images/{name}.jpg": 1 for split, name in places}
    tree |= {f"{split}/{labels}/{name}{ending}": content for split, name in places}
    tree |= {f"{split}/{labels}/classes.txt": TWO for split in ("cars_train", "cars_val")}
    root = write_tree(tmp_path, tree)
    assert [names_of(ids) for ids in choose_splits(open_source(str(root)))[:2]] == [["a", "b"], ["c"]]
    if layout == "voc":
        write_tree(root, {"cars_train/ImageSets/Main/train.txt": "a"})
        with pytest.raises(ValueError, match=r"Did you mean .*cars_train\?"):
            open_source(str(root))


@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_folders_of_classes_are_no_splits(layout, tmp_path):
    """Nor are pictures, whatever they are called."""
    ending, content = (".txt", LINE) if layout == "yolo" else (".xml", voc_xml("car"))
    places = [f"{name}/{name}" for name in CLASSES] + ["trains/train", "trains/test"]
    tree = {f"{place}.jpg": 1 for place in places} | {place + ending: content for place in places}
    source = open_source(str(write_tree(tmp_path, tree | {"classes.txt": TWO})))
    assert source.split_names() == ()
    assert len(source.all_ids()) == len(places)


@pytest.mark.parametrize("above", ["yolo_train/{}/{}", "{}/toy_train/{}"])
@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_a_folder_called_just_so_counts_before_one_that_ends_so(layout, above, tmp_path):
    """Above it or in it."""
    ending, content = (".txt", LINE) if layout == "yolo" else (".xml", voc_xml("car"))
    places = [above.format(*place) for place in (("train", "a"), ("train", "b"), ("val", "c"))]
    tree = {f"{place}.jpg": 1 for place in places} | {place + ending: content for place in places}
    source = open_source(str(write_tree(tmp_path, tree | {"classes.txt": TWO})))
    assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("train", "val"), [("cars_train", "cars_val"), ("Train List", "valid list"), ("train1", "val")]
)
def test_lists_of_splits(train, val, tmp_path):
    tree = {**pairs("all", "a", "b", "c"), f"{train}.txt": "all/a.jpg\nall/b.jpg\n", f"{val}.txt": "all/c.jpg\n"}
    source = open_source(str(write_tree(tmp_path / "yolo", {**tree, "classes.txt": TWO})))
    assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]
    for folder in ("", "ImageSets/Main/"):
        tree = {f"Annotations/{name}.xml": voc_xml("car") for name in "abc"} | {f"JPEGImages/{x}.jpg": 1 for x in "abc"}
        tree |= {f"{folder}{train}.txt": "a\nb\n", f"{folder}{val}.txt": "c\n"}
        source = open_source(str(write_tree(tmp_path / f"voc{len(folder)}", tree)))
        assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]


def test_lists_of_classes_keep_their_names(tmp_path):
    tree = {f"Annotations/{name}.xml": voc_xml("car") for name in "abc"} | {f"JPEGImages/{x}.jpg": 1 for x in "abc"}
    names = ("car_train", "car_val", "dog_train", "dog_val")
    tree |= {f"ImageSets/Main/{name}.txt": "a 1\nb -1\n" for name in names}
    assert open_source(str(write_tree(tmp_path, tree))).split_names() == names


def test_labels_of_pictures_called_after_splits_are_no_lists(tmp_path):
    names = ("bus", "test", "train", "val1", "car1", "car2")
    tree = pairs(".", *names) | {"test.txt": "", "valid.txt": LINE}
    source = open_source(str(write_tree(tmp_path, {**tree, "classes.txt": TWO})))
    assert source.split_names() == ()
    assert set(names) <= set(choose_splits(source).train + choose_splits(source).val)
