"""Images found by what a COCO file of another machine calls them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data.formats.coco.images import ImageIndex, clean_name
from jaxssd.data.formats.split_names import split_word
from tests.data.trees import write_tree


def index(root, *paths):
    return ImageIndex(write_tree(root, dict.fromkeys(paths, 1)))


@pytest.mark.parametrize(
    "name",
    [
        *["images/train/0000.png", "train/0000.png", "./train/0000.png", "/home/anna/data/train/0000.png"],
        *["train\\0000.png", "C:\\data\\images\\train\\0000.png", "..\\train/0000.png", "Train/0000.PNG"],
        *["https://host/set/train/0000.png", "http://host/train/0000.png?token=a/b", "file:///data/train/0000.png"],
        *[
            "http://localhost:8080/data/local-files/?d=set/train/0000.png",
            "/data/local-files/?d=set%2Ftrain%2F0000.png",
        ],
        *["train%2F0000.png", "images%5Ctrain%5C0000.png", "train/0000"],
    ],
)
def test_the_longest_tail_counts(tmp_path, name):
    images = index(tmp_path, "images/train/0000.png", "images/val/0000.png", "images/train/10000.png")
    assert images.find(name) == ("images/train/0000.png",)


@pytest.mark.parametrize("name", ["0000.png", "elsewhere/0000.png", "images/0000.png"])
def test_what_several_may_be_is_ambiguous(tmp_path, name):
    images = index(tmp_path, "images/train/0000.png", "images/val/0000.png")
    assert images.find(name) == ("images/train/0000.png", "images/val/0000.png")


def test_a_path_from_the_root_is_meant_first(tmp_path):
    images = index(tmp_path, "a.png", "old/a.png", "train/a.png")
    assert images.find("a.png") == images.find("a.png", "train") == ("a.png",)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("instances_train2017", ["train2017"]),
        ("instances_train2014", ["train2014"]),
        ("train", ["train2014", "train2017"]),
        ("instances_val", ["val2017"]),
        ("validation", ["val2017"]),
        ("all", ["train2014", "train2017", "val2017"]),
        ("test", ["train2014", "train2017", "val2017"]),  # there is no folder of its own
    ],
)
def test_folders_called_after_the_source_are_preferred(tmp_path, source, expected):
    images = index(tmp_path, *(f"{folder}/a.png" for folder in ("train2014", "train2017", "val2017")))
    assert images.find("a.png", source) == tuple(f"{folder}/a.png" for folder in expected)


def test_a_name_that_states_its_folder_is_believed(tmp_path):
    """LVIS validates on images that COCO had to train on."""
    images = index(tmp_path, "train2017/a.png", "val2017/b.png")
    assert images.find("train2017/a.png", "lvis_v1_val") == ("train2017/a.png",)
    assert images.find("coco/train2017/a.png", "lvis_v1_val") == ("train2017/a.png",)
    assert images.find("a.png", "lvis_v1_val") == ()


def test_case_accents_and_endings_that_another_system_wrote(tmp_path):
    images = index(
        tmp_path, "IMG_1.JPG", "gr\u00f6\u00dfe.png", "both.png", "BOTH.png", "v1.2.png", "100%.png", "a b.png"
    )
    assert images.find("img_1.jpg") == ("IMG_1.JPG",)
    assert images.find("gro\u0308\u00dfe.png") == ("gr\u00f6\u00dfe.png",)
    assert images.find("BOTH.png") == ("BOTH.png",)
    assert images.find("both.png") == ("both.png",)
    assert images.find("Both.png") == ("BOTH.png", "both.png")
    assert images.find("IMG_1") == ("IMG_1.JPG",)
    assert images.find("v1.2") == ("v1.2.png",)
    assert images.find("100%.png") == images.find("100%25.png") == ("100%.png",)
    assert images.find("a%20b.png") == ("a b.png",)
    assert images.find("img_1.png") == images.find("v1") == images.find("") == ()


def test_the_exact_name_comes_before_one_of_another_case(tmp_path):
    images = index(tmp_path, "below/both.png", "below/BOTH.png")
    assert images.find("both.png") == ("below/both.png",)
    assert images.find("BOTH.png") == ("below/BOTH.png",)


def test_two_paths_of_one_file_are_no_riddle(tmp_path):
    images = index(tmp_path, "one/a.png", "two/b.png")
    (tmp_path / "two/a.png").symlink_to("../one/a.png")
    assert images.find("a.png") == ("one/a.png",)
    assert images.identity("two/a.png") == images.identity("one/a.png") != images.identity("two/b.png")
    assert images.identity("nothing") == "nothing"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[("train", "train"), ("Train", "train"), ("training", "train"), ("instances_train2017", "train")],
        *[("valid", "val"), ("VALIDATION", "val"), ("x-val-y", "val"), ("val_2017", "val"), ("test-dev2017", "test")],
        *[("trainval", "trainval"), ("VOC2012_trainval", "trainval"), ("train_val", "trainval"), ("testing", "test")],
        *[("strain", None), ("interval", None), ("trained", None), ("latest", None), ("train_test", None), ("", None)],
        *[("minival2014", None), ("valley", None)],
    ],
)
def test_names_of_splits(name, expected):
    assert split_word(name) == expected


@given(st.text(st.characters(codec=None), max_size=30) | st.text("/\\%:?=&[]d.a ", max_size=30))
def test_any_name_is_a_path_downwards(name):
    for clean in (clean_name(name), clean_name(f"http://{name}"), clean_name(f"?d={name}")):
        assert not clean.startswith("/")
        assert not {"", ".", ".."} & set(clean.split("/")[: len(clean)])


@given(name=st.text(st.characters(codec=None), max_size=20))
def test_any_name_is_looked_up(tmp_path_factory, name):
    images = ImageIndex(tmp_path_factory.mktemp("empty"))
    assert images.find(name, name) == images.find(f"http://[{name}") == images.find(f"%{name}") == ()


def found(images, *names, source=""):
    return [hits[0] if len(hits) == 1 else hits for hits in images.find_all(dict(enumerate(names)), source).values()]


@pytest.mark.parametrize("start", ["", "/home/anna/", "https://host/", "C:\\set\\"])
def test_a_frame_of_another_video_is_not_taken(tmp_path, start):
    images = index(tmp_path, *(f"images/vidB/{number}.jpg" for number in (1, 2, 3)))
    names = [f"{start}{name}" for name in ("vidA/1.jpg", "vidB/2.jpg", "vidB/3.jpg")]
    assert found(images, *names) == [(), "images/vidB/2.jpg", "images/vidB/3.jpg"]
    named = ImageIndex(tmp_path / "images/vidB")
    assert found(named, *names) == [(), "2.jpg", "3.jpg"]


def test_a_picture_of_another_split_is_not_taken(tmp_path):
    images = index(tmp_path, "images/train/0.jpg", "images/train/1.jpg", "images/train/images/2.jpg")
    assert found(images, "val/0.jpg", "train/1.jpg", source="train") == [(), "images/train/1.jpg"]
    assert found(images, "val/images/2.jpg", "train/1.jpg", source="train") == [(), "images/train/1.jpg"]
    assert found(images, "val/0.jpg", source="val") == [()]


def test_folders_of_another_machine_tell_nothing(tmp_path):
    images = index(tmp_path, "images/train/0.jpg", "images/train/1.jpg")
    assert found(images, "x/0.jpg", "y/1.jpg") == ["images/train/0.jpg", "images/train/1.jpg"]
    assert found(images, "val2017/0.jpg", "1.jpg", source="train") == ["images/train/0.jpg", "images/train/1.jpg"]
    mixed = "images/train/0.jpg", "../../media/upload/1/1.jpg"  # of Label Studio
    assert found(images, *mixed) == ["images/train/0.jpg", "images/train/1.jpg"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["images/a.png", "masks/a.png"], ["images/a.png"]),
        (["img/train/a.png", "train_masks/a.png"], ["img/train/a.png"]),
        (["JPEGImages/a.png", "SegmentationClass/a.png", "thumbs/a.png"], ["JPEGImages/a.png"]),
        (["pictures of cats/a.png", "Labels/a.png", "gt/a.png"], ["pictures of cats/a.png"]),
        (["images/a.png", "images/masks/a.png"], ["images/a.png"]),
        (["images/train/a.png", "images/val/a.png", "masks/train/a.png"], ["images/train/a.png"]),
        (["images/1/a.png", "images/2/a.png", "masks/a.png"], ["images/1/a.png", "images/2/a.png"]),
        (["masks/a.png", "labels/a.png"], ["labels/a.png", "masks/a.png"]),
        (["left/a.png", "right/a.png"], ["left/a.png", "right/a.png"]),
    ],
)
def test_masks_are_not_taken_for_images(tmp_path, paths, expected):
    assert index(tmp_path, *paths).find("a.png", "train") == tuple(expected)
