import json
import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from PIL import Image

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.coco.file import COCOJson, default_images_folder
from jaxssd.data.formats.coco.instances import Flaw, InstanceBox, parse_annotation, parse_instances
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.splits import choose_splits

NAMES = ("car", "horse")
WIDTH, HEIGHT = 50, 40
CATEGORIES = [{"id": 9, "name": "horse"}, {"id": 2, "name": "car"}]


def image_entry(number, file_name, width=WIDTH, height=HEIGHT):
    return {"id": number, "file_name": file_name, "width": width, "height": height}


def annotation(image, bbox=(10, 10, 20, 20), category=2, **extra):
    return {"image_id": image, "category_id": category, "bbox": None if bbox is None else list(bbox), **extra}


class Folder:
    """A file of instances with its images."""

    def __init__(self, root):
        self.root = root
        self.images_root = root / "images"
        self.images_root.mkdir(parents=True)
        self.images, self.annotations, self.categories = [], [], list(CATEGORIES)

    def add(self, number, file_name, *annotations, image=b"", size=(WIDTH, HEIGHT), grey=100):
        self.images.append(image_entry(number, file_name, *size))
        self.annotations += [{"id": 100 * number + i, **item} for i, item in enumerate(annotations)]
        if image is not None:
            self.draw(file_name, image, size, grey)

    def draw(self, file_name, content=b"", size=(WIDTH, HEIGHT), grey=100):
        path = self.images_root / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            path.write_bytes(content)
        else:
            Image.new("RGB", size, (grey, grey, grey)).save(path)

    def source(self, name="train", **changes):
        content = {"images": self.images, "annotations": self.annotations, "categories": self.categories, **changes}
        return self.write(name, json.dumps(content).encode())

    def write(self, name, content):
        (self.root / f"{name}.json").write_bytes(content)
        return COCOJson(self.root / f"{name}.json", self.images_root)

    def read(self, source=None, ids=None, **options):
        source = source or self.source()
        settings = {"image_size": 8, "class_names": NAMES, "progress": False, "workers": 1, **options}
        return build_dataset(source, source.all_ids() if ids is None else ids, **settings)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "coco")


def only_problem(dataset):
    (problem,) = dataset.report.problems
    assert problem.detail
    return problem.file, problem.action, problem.kind


# ---- what is read ----


def test_the_lessons_box_is_vocs(folder, tmp_path):
    """VOC 2007's image 000012: bbox 155 96 196 174 in the lesson's file, corners 156 97 351 270 in VOC's."""
    folder.add(12, "000012.jpg", annotation(12, (155, 96, 196, 174), ignore=0, iscrowd=0, area=34104), size=(500, 333))
    dataset = folder.read(folder.source("pascal_train2007", type="instances"))
    expected = np.float32([96 / 333, 155 / 500, 270 / 333, 351 / 500])
    np.testing.assert_array_equal(dataset.examples.boxes, expected[None, None])
    assert dataset.report.summary() == "1 image, 1 object"

    voc = tmp_path / "VOC"
    (voc / "Annotations").mkdir(parents=True)
    (voc / "JPEGImages").symlink_to(folder.images_root)
    corners = "<xmin>156</xmin><ymin>97</ymin><xmax>351</xmax><ymax>270</ymax>"
    xml = f"<annotation><object><name>car</name><bndbox>{corners}</bndbox></object></annotation>"
    (voc / "Annotations" / "000012.xml").write_text(xml)
    reference = build_dataset(VOCFolder(voc), ["000012"], image_size=8, class_names=NAMES, progress=False)
    assert reference.ids == dataset.ids
    for field in dataset.examples._fields:
        np.testing.assert_array_equal(getattr(dataset.examples, field), getattr(reference.examples, field))


def test_the_lessons_held_out_share_comes_from_the_lessons_file(folder):
    """Ids are names and not numbers, of which 1000 sorts before 12."""
    for number in reversed(range(2501)):
        folder.add(number, f"{number:06}.jpg", image=None)
    train, val = choose_splits(folder.source())[:2]
    assert (len(train), len(val)) == (2001, 500)
    assert [int(name) for name in val[:10]] == [25, 29, 43, 44, 48, 49, 51, 56, 67, 69]


def test_everything_lands_in_its_place(folder):
    folder.add(7, "b.png", annotation(7, category=9, ignore=1), annotation(7), grey=10)
    folder.add(3, "sub/c.png", grey=30)
    folder.add(5, "a.png", annotation(5, (10, 10, 10, 20), iscrowd=1), grey=20, size=(20, 30))
    dataset = folder.read()
    examples = dataset.examples
    assert dataset.ids == ("b", "sub/c", "a")
    np.testing.assert_array_equal(examples.images[:, 0, 0, 0], [10, 30, 20])
    np.testing.assert_array_equal(examples.labels, [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(examples.valid, [[True, True], [False, False], [True, False]])
    np.testing.assert_array_equal(examples.difficult, [[True, False], [False, False], [True, False]])
    np.testing.assert_array_equal(dataset.sizes, [[HEIGHT, WIDTH], [HEIGHT, WIDTH], [30, 20]])
    np.testing.assert_array_equal(examples.boxes[2, 0], np.float32([10 / 30, 0.5, 1, 1]))
    assert dataset.report.summary() == "3 images, 3 objects; noted 1 image (without objects)"


def test_outlines_and_keypoints_are_left_out(folder):
    rle = {"counts": "abc", "size": [HEIGHT, WIDTH]}
    folder.add(
        1,
        "a.png",
        annotation(1, segmentation=rle, keypoints=[1, 2, 3]),
        annotation(1, (1, 1, 5, 5), segmentation=[[1, 2]]),
    )
    source = folder.source()
    assert folder.read(source).report.summary() == "1 image, 2 objects"
    assert all("segmentation" not in item for item in source._listed("").instances.annotations[1])


def test_a_byte_order_mark_is_no_fault(folder):
    folder.add(1, "a.png", annotation(1))
    path = folder.source().annotations
    assert folder.read(folder.write("marked", b"\xef\xbb\xbf" + path.read_bytes())).report.objects == 1


@pytest.mark.parametrize("name", ["größe 1.png", "猫/犬.jpg", "v1.2.final.PNG", "it's.jpeg", "-x.png"])
def test_any_plain_name(folder, name):
    folder.add(1, name, annotation(1))
    assert folder.read().ids == (name.rpartition(".")[0],)


@pytest.mark.parametrize(
    "file_name",
    ["train/a.png", "./train/a.png", "train\\a.png", "a.png", "elsewhere/a.png", "/elsewhere/a.png", "C:\\a.png"],
)
def test_images_are_found_by_path_or_by_last_part(folder, file_name):
    folder.draw("train/a.png")
    folder.add(1, file_name, annotation(1), image=None)
    assert folder.read().report.summary() == "1 image, 1 object"


def test_linked_files_and_folders_are_followed_once(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "elsewhere" / "a.png")
    os.symlink(tmp_path / "elsewhere", folder.images_root / "linked")
    os.symlink(folder.images_root, tmp_path / "elsewhere" / "above")
    os.symlink("self", folder.images_root / "self.png")
    os.symlink("loop.png", folder.images_root / "loop.png")
    folder.add(1, "a.png", annotation(1), image=None)
    assert folder.read().report.summary() == "1 image, 1 object"


def test_default_images_folder(tmp_path, monkeypatch):
    assert default_images_folder(tmp_path / "annotations" / "x.json") == tmp_path
    assert default_images_folder(tmp_path / "x.json") == tmp_path
    (tmp_path / "annotations").mkdir()
    monkeypatch.chdir(tmp_path / "annotations")
    assert default_images_folder(Path("x.json")) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert default_images_folder(Path("x.json")) == Path(".")


# ---- the table of faults ----


@pytest.mark.parametrize(
    ("file_name", "image", "kind"),
    [
        ("bad.png", b"no image", "broken"),
        ("bad.png", None, "missing"),
        ("bad.gif", None, "missing"),
        ("twice.png", None, "ambiguous"),
        ("elsewhere/twice.png", None, "ambiguous"),
        ("../../secret.png", None, "missing"),
        ("/etc/passwd", None, "missing"),
        ("a\0b.png", None, "missing"),
        ("\ud800.png", None, "missing"),
        (".hidden.png", None, "missing"),
        ("x" * 5000 + ".png", None, "missing"),
        ("", None, "incomplete"),
        ("..", None, "incomplete"),
        (None, None, "incomplete"),
        (["a"], None, "incomplete"),
    ],
)
def test_skipped_images(folder, file_name, image, kind):
    for name in ("1/twice.png", "2/twice.png", ".hidden.png", "../secret.png"):
        folder.draw(name)
    folder.add(1, "first.png", annotation(1), grey=10)
    folder.add(2, file_name, annotation(2), image=image)
    folder.add(3, "last.png", annotation(3, category=9), grey=30)
    dataset = folder.read()
    assert only_problem(dataset)[1:] == ("skipped", kind)
    assert dataset.report.problems[0].file == ("bad.png" if kind == "broken" else "train.json, image 2")
    assert dataset.report.summary() == f"2 images, 2 objects; skipped 1 image ({kind})"
    assert dataset.ids == ("first", "last")
    assert all(folder.source().all_ids())
    np.testing.assert_array_equal(dataset.examples.images[:, 0, 0, 0], [10, 30])


def test_what_is_not_a_regular_file_is_missing(folder):
    folder.add(1, "a.png", annotation(1))
    folder.add(2, "pipe.png", annotation(2), image=None)
    os.mkfifo(folder.images_root / "pipe.png")  # opening it would wait for ever
    assert only_problem(folder.read()) == ("train.json, image 2", "skipped", "missing")


def test_two_entries_of_one_image_are_skipped(folder):
    folder.add(1, "a.png", annotation(1))
    folder.add(2, "b.png", annotation(2))
    folder.add(3, "./b.png", annotation(3), image=None)
    dataset = folder.read()
    assert dataset.report.summary() == "1 image, 1 object; skipped 2 images (ambiguous)"
    assert "2 entries are of b.png" in dataset.report.problems[0].detail


def test_ids_stay_unique(folder):
    folder.add(1, "a.png", annotation(1), grey=10)
    folder.add(2, "a.jpg", annotation(2, category=9), grey=20)
    folder.add(3, "b.png")
    assert folder.source().all_ids() == ("a#1", "a#2", "b")
    assert folder.read(class_names=NAMES).examples.labels[:, 0].tolist() == [0, 1, 0]
    folder.add(4, "a#1.png")
    with pytest.raises(ValueError, match=r"train\.json has two images with the same name 'a#1': rename one"):
        folder.source().all_ids()


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (annotation(1, (10, 10, 0, 5)), "without area"),
        (annotation(1, (1e17, 10, 1, 5)), "without area"),
        (annotation(1, (10, 10, 5, -1)), "negative size"),
        (annotation(1, (float("nan"), 10, 5, 5)), "not finite"),
        (annotation(1, (10, 10, float("inf"), 5)), "not finite"),
        (annotation(1, (1e308, 10, 1e308, 5)), "not finite"),
        (annotation(1, (10, 10, 10**400, 5)), "not finite"),
        (annotation(1, (WIDTH, 10, 9, 9)), "outside the image"),
        (annotation(1, (10, 10, 5)), "incomplete"),
        (annotation(1, (10, 10, 5, 5, 5)), "incomplete"),
        (annotation(1, ("10", "10", "5", "wide")), "incomplete"),
        (annotation(1, None), "incomplete"),
        (annotation(1, ()), "incomplete"),
        (annotation(1, None, segmentation=[]), "incomplete"),
        (annotation(1, None, segmentation=[[1, 2, 3]]), "incomplete"),
        (annotation(1, (True, 10, 5, 5)), "incomplete"),
        (annotation(1, (None, 10, 5, 5)), "incomplete"),
        ({"image_id": 1, "category_id": 2}, "incomplete"),
        ({"image_id": 1, "category_id": 2, "bbox": "10 10 5 5"}, "incomplete"),
        ({"image_id": 1, "bbox": [10, 10, 5, 5]}, "incomplete"),
        (annotation(1, category="car"), "unknown category"),
        (annotation(1, category=""), "incomplete"),
        (annotation(1, category=2.5), "incomplete"),
        (annotation(1, category=True), "incomplete"),
        (annotation(1, category=3), "unknown category"),
    ],
)
def test_dropped_boxes(folder, bad, kind):
    folder.add(1, "a.png", annotation(1, category=9), bad, annotation(1, (0, 0, 10, 10)))
    dataset = folder.read()
    assert only_problem(dataset) == ("train.json, image 1", "dropped", kind)
    assert kind == "outside the image" or dataset.report.problems[0].detail.startswith("annotation 101")
    assert dataset.report.summary() == f"1 image, 2 objects; dropped 1 box ({kind})"
    np.testing.assert_array_equal(dataset.examples.labels, [[1, 0]])


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (annotation(99), "unknown image"),
        (annotation("99"), "unknown image"),
        (annotation(1.5), "incomplete"),
        (annotation(True), "incomplete"),
        (annotation([1]), "incomplete"),
        ({"bbox": [1, 2, 3, 4]}, "incomplete"),
        ("annotation", "incomplete"),
        (None, "incomplete"),
    ],
)
def test_annotations_of_no_image_are_dropped(folder, bad, kind):
    folder.add(1, "a.png", annotation(1))
    folder.annotations.append(bad)
    assert only_problem(folder.read()) == ("train.json", "dropped", kind)


@pytest.mark.parametrize("bad", ["a.png", None, {}, {"id": " "}, {"id": True}, {"id": 1.5}, {"id": [1]}])
def test_entries_without_a_number_are_skipped(folder, bad):
    folder.add(1, "a.png", annotation(1))
    folder.images.append(bad)
    assert only_problem(folder.read()) == ("train.json", "skipped", "incomplete")


def test_an_annotation_that_is_there_twice_counts_once(folder):
    """Whether or not it has another number; and numbers need not be unique."""
    same, other = annotation(1, id=5), annotation(1, (1, 1, 5, 5), id=5)
    folder.add(1, "a.png", same, other, same, annotation(1, id=6), *[annotation(1, id=[])] * 2)
    folder.add(2, "b.png", annotation(2, id=5))
    dataset = folder.read()
    assert {(p.file, p.action, p.kind) for p in dataset.report.problems} == {
        ("train.json, image 1", "dropped", "repeated")
    }
    assert sum(problem.count for problem in dataset.report.problems) == 4
    assert dataset.report.objects == 3


@pytest.mark.parametrize(
    ("size", "kinds"),
    [
        ((HEIGHT, WIDTH), ["of another size than annotated"]),
        ((WIDTH, HEIGHT), []),
        ((float(WIDTH), HEIGHT), []),
        ((None, HEIGHT), []),
        ((float("nan"), HEIGHT), []),
        ((10**400, HEIGHT), []),
        (("50", "40"), []),
    ],
)
def test_stated_sizes(folder, size, kinds):
    folder.add(1, "a.png", annotation(1))
    folder.images[0].update(width=size[0], height=size[1])
    assert [problem.kind for problem in folder.read().report.problems] == kinds


# ---- errors ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not JSON"),
        (b'{"images": [{"id": 1', "is not JSON.*cut short"),
        (b'{"images": ["caf\xe9"]}', "is not UTF-8"),
        ('{"images": []}'.encode("utf-16"), "is not UTF-8"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"a":' * 200_000, "is nested too deeply"),
        (b"9" * 5000, "is not JSON"),
        (b"[]", "holds a list instead of an object; expected COCO's"),
        (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]', "is a list of results"),
        (b"3", "holds a int"),
        (b"null", "holds a NoneType"),
        (b"{}", "has no list images and no list annotations and no list categories"),
        (b'{"images": [1], "annotations": {}, "categories": [1]}', "has no list annotations; expected"),
        (b'{"images": [], "annotations": [], "categories": [1]}', "has an empty list images"),
        (b'{"images": [1], "annotations": [], "categories": []}', "has an empty list categories"),
        (
            b'{"images": [1], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
            r"lists no image that can be used: images\[0\]",
        ),
    ],
)
def test_files_that_are_useless(folder, content, expected):
    source = folder.write("bad", content)
    for use in (source.all_ids, lambda: source.class_names([]), lambda: choose_splits(source)[:2]):
        with pytest.raises(ValueError, match=rf"bad\.json {expected}") as raised:
            use()
        assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "two categories with the id 1: 'a' and 'b'"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": " a"}], "the class name 'a' twice"),
        ([{"id": 1, "name": " "}], "no name for class 0"),
        ([{"id": 1, "name": "a\x1b[2J"}], "a class name that cannot be printed"),
        ([{"id": 1, "name": "\ud800"}], "a class name that cannot be printed"),
        ([{"id": " ", "name": "a"}], r"no integer id and name in categories\[0\]"),
        ([{"id": 1, "name": "a"}, {"id": "1", "name": "b"}], "two categories with the id 1: 'a' and 'b'"),
        ([{"id": 1}], r"no integer id and name in categories\[0\]"),
        ([{"id": 1, "name": 5.5}], r"no integer id and name in categories\[0\]"),
        ([None], r"no integer id and name in categories\[0\]"),
    ],
)
def test_categories_are_sound_or_an_error(folder, categories, expected):
    folder.add(1, "a.png", annotation(1))
    with pytest.raises(ValueError, match=rf"train\.json has {expected}"):
        folder.source(categories=categories).all_ids()


def test_numbers_of_images_are_unique(folder):
    folder.add(1, "a.png", annotation(1))
    folder.add(1, "b.png")
    with pytest.raises(ValueError, match=r"train\.json has two images with the id 1: 'a\.png' and 'b\.png'"):
        folder.source().all_ids()


def test_entries_that_are_there_twice_count_once(folder):
    """As where files were joined: one image and one category, whatever else the second entry says."""
    folder.add(1, "a.png", annotation(1))
    folder.images.append({"id": "1", "file_name": "a.png"})
    folder.categories.append({"id": 2.0, "name": "car "})
    dataset = folder.read()
    assert dataset.report.summary() == "1 image, 1 object; ignored 1 entry (repeated image)"
    assert folder.source().class_names([]) == ("car", "horse")


def test_annotations_that_all_belong_to_no_image_are_an_error(folder):
    folder.add(1, "a.png", image=None)
    folder.annotations = [annotation(None), annotation(None)]
    with pytest.raises(
        ValueError, match=r"train\.json has no annotation that belongs to an image.*no integer image_id"
    ):
        folder.source().all_ids()


def test_objects_of_other_classes_are_left_out_and_counted(folder):
    folder.add(1, "a.png", annotation(1, category=9), annotation(1, (1, 2, 3, 4)), annotation(1, category=9, id=7))
    dataset = folder.read(class_names=("car",))
    assert dataset.report.summary() == "1 image, 1 object; dropped 2 boxes (other class)"
    np.testing.assert_array_equal(dataset.examples.boxes[0, 0], np.float32([2 / 40, 1 / 50, 6 / 40, 4 / 50]))
    (problem,) = dataset.report.problems
    assert (problem.detail, problem.count) == ("horse", 2)


def test_nothing_to_open_is_an_error(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json is not a file"):
        COCOJson(tmp_path / "nothing.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        COCOJson(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder: .*--images"):
        COCOJson(folder.source().annotations, tmp_path / "nowhere")
    folder.add(1, "a.png", annotation(1), image=None)
    with pytest.raises(
        ValueError, match=r"train\.json: no image could be read: .*no 'a\.png' with .*--images can name"
    ):
        folder.read()


# ---- classes, splits and numbers ----


def test_classes_are_in_the_order_of_their_numbers(folder):
    folder.add(1, "a.png", annotation(1))
    folder.categories.append({"id": -4, "name": "zebra", "supercategory": "animal"})
    source = folder.source()
    assert source.class_names([]) == ("zebra", "car", "horse")
    assert source.category_ids((), ("horse", "zebra", "car")) == (9, -4, 2)
    assert source.category_ids((), ("unicorn", "horse", "yeti")) == (10, 9, 11)


def test_one_file_is_held_out_from_whatever_lies_beside_it(folder):
    for number in range(10):
        folder.add(number, f"{number}.png", image=None)
    source = folder.source()
    folder.write("captions", b'{"annotations": []}')
    folder.write("broken", b"{")
    train, val = choose_splits(source)[:2]
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == [str(number) for number in range(10)]


@pytest.mark.parametrize(
    "pair", [("train", "val"), ("birds_train", "birds_val"), ("instances_a2017", "instances_b2017")]
)
def test_a_file_beside_it_is_a_split(folder, tmp_path, pair):
    """The numbers of both begin with 0, as many tools have it."""
    folder.add(0, "train/a.png", annotation(0), grey=10)
    folder.add(1, "train/b.png", annotation(1))
    source = folder.source(pair[0])
    other = Folder(tmp_path / "other")
    other.images_root = folder.images_root
    other.add(0, "val/a.png", annotation(0, category=9), grey=30)
    other.source(pair[1]).annotations.rename(folder.root / f"{pair[1]}.json")

    assert source.split_names() == ()
    train, val = choose_splits(source, val_split=pair[1])[:2]
    assert train == ("train/a", "train/b") == source.split_ids(pair[0])
    assert val == (f"{pair[1]}.json/val/a",)
    dataset = folder.read(COCOJson(source.annotations, source.images), val + train[:1])
    np.testing.assert_array_equal(dataset.examples.images[:, 0, 0, 0], [30, 10])
    np.testing.assert_array_equal(dataset.examples.labels, [[1], [0]])
    assert (source.image_ids(train), source.image_ids(val)) == ((0, 1), (0,))
    with pytest.raises(ValueError, match=r"no JSON file beside .* lists all of 3 images"):
        source.image_ids((*train, *val))
    expected = [f"{pair[0]}.json", "a.png"], [f"{pair[1]}.json", "a.png"]
    assert tuple([path.name for path in source.inputs([name])] for name in (train[0], val[0])) == expected


def test_an_image_in_both_files_is_seen(folder):
    for number in range(3):
        folder.add(number, f"{number}.png", annotation(number))
    source = folder.source("all")
    entries = [image_entry(8, "images/2.png"), image_entry(9, "gone.png"), image_entry(10, "2.png")]
    folder.source("some", images=entries, annotations=[])
    assert source.split_ids("some") == ("2", "some.json/gone")
    assert choose_splits(source, val_split="some")[0] == ("0", "1")
    with pytest.raises(ValueError, match=r"in both splits all and some: 1 images?, the first '2'"):
        choose_splits(source, train_split="all", val_split="some")
    assert source.image_ids(("2", "some.json/gone")) == (8, 9)  # as the split's own file has them


def test_categories_of_a_split_keep_their_numbers(folder):
    """A class that only the other file has; and one that no file has, whose number is free in both."""
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.source("val", images=[image_entry(1, "b.png")], categories=[*CATEGORIES, {"id": 70, "name": "dog"}])
    classes = ("dog", "car", "yak", "horse")
    assert source.category_ids(source.split_ids("val"), classes) == (70, 2, 71, 9)
    assert source.category_ids(source.all_ids(), classes) == (10, 2, 11, 9)


def test_classes_of_both_files(folder):
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.source("val", images=[image_entry(1, "b.png")], categories=[*CATEGORIES, {"id": 5, "name": "dog"}])
    assert source.class_names(["a", *source.split_ids("val")]) == ("car", "dog", "horse")
    assert source.class_names(["a"]) == ("car", "horse")


@pytest.mark.parametrize("other", [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}])
def test_files_that_number_categories_differently_are_no_splits(folder, other):
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.source("val", categories=[other], annotations=[])
    with pytest.raises(ValueError, match=rf"val\.json has the category {other['id']}, .*train\.json has 2, car"):
        source.split_ids("val")


@pytest.mark.parametrize("split", ["", "nothing", "../coco/val", "val.json", "."])
def test_unknown_splits(folder, split):
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.source("val")
    with pytest.raises(ValueError, match=r"train\.json has no split .*in its folder are train, val$"):
        source.split_ids(split)


def test_a_faulty_split_names_its_file(folder):
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.write("captions", b'{"annotations": []}')
    with pytest.raises(ValueError, match=r"captions\.json has no list images"):
        source.split_ids("captions")


@pytest.mark.parametrize("name", ["b", "", "../a", "a.png", "nothing.json/a", "train.json/a", "val.json/", "/", "a\0"])
def test_unknown_ids(folder, name):
    folder.add(1, "a.png", annotation(1))
    source = folder.source()
    folder.source("val", images=[image_entry(1, "c.png")])
    records, problems = source.records([name], NAMES)
    assert (records, [problem.kind for problem in problems]) == ([], ["without annotation"])
    with pytest.raises(ValueError, match=r"train\.json lists all of 1 images"):
        source.image_ids([name])
    assert source.inputs([name]) == [None]


def test_the_cache_sees_what_changed(folder, tmp_path):
    folder.add(1, "a.png", annotation(1))
    cache = {"cache_dir": tmp_path / "cache"}
    assert folder.read(**cache).report.objects == 1
    folder.annotations.append(annotation(1, (1, 1, 5, 5)))
    assert folder.read(**cache).report.objects == 2
    folder.draw("a.png", grey=7)
    assert folder.read(**cache).examples.images.max() == 7


# ---- hostile content ----


def parse_or_refuse(content):
    """Any other exception fails the test that calls this."""
    try:
        instances = parse_instances(content, "x.json")
    except ValueError:
        return
    for number in instances.images:
        for item in instances.boxes(number)[0]:
            assert np.isfinite(item.box).all()
            assert item.box[0] < item.box[2]
            assert item.box[1] < item.box[3]


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_parsed_or_refused(content):
    parse_or_refuse(content)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(), st.sampled_from(["", "a", "1", "\ud800"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner))
NUMBERS = st.one_of(st.integers(0, 2), SCALARS)
KEYS = {"id": NUMBERS, "image_id": NUMBERS, "category_id": NUMBERS, "bbox": st.lists(NUMBERS, max_size=5) | VALUES}
KEYS |= {key: VALUES for key in ("file_name", "name", "width", "height", "iscrowd", "ignore", "segmentation")}
ENTRIES = st.one_of(VALUES, st.fixed_dictionaries({}, optional=KEYS))
LISTS = st.one_of(VALUES, st.lists(ENTRIES, max_size=4))
FILES = st.fixed_dictionaries({}, optional={key: LISTS for key in ("images", "annotations", "categories", "type")})


@given(st.one_of(VALUES, FILES))
def test_any_structure_is_parsed_or_refused(value):
    parse_or_refuse(json.dumps(value).encode())


SOUND = {"images": [image_entry(1, "a.png")], "annotations": [annotation(1)], "categories": CATEGORIES}


@given(
    st.sampled_from(["images", "annotations", "categories"]),
    st.lists(ENTRIES, max_size=3),
    st.booleans(),
)
def test_sound_files_with_foreign_entries_are_parsed_or_refused(key, entries, first):
    changed = {**SOUND, key: entries + SOUND[key] if first else SOUND[key] + entries}
    parse_or_refuse(json.dumps(changed).encode())


@given(
    st.integers(0, 10_000), st.integers(0, 12), st.sampled_from(["", "[", "-", "\u0661", "9" * 400, "{", '"', "NaN"])
)
def test_mutated_files_are_parsed_or_refused(start, length, replacement):
    text = json.dumps(SOUND)
    start %= len(text)
    parse_or_refuse((text[:start] + replacement + text[start + length :]).encode())


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), VALUES))
def test_any_annotation_gives_a_sound_box_or_a_flaw(entry):
    parsed = parse_annotation({"category_id": 2, **entry}, {2: "car"})
    assert isinstance(parsed, InstanceBox | Flaw)
    assert parsed[0]


@given(st.lists(st.text(st.characters(codec=None), max_size=20), min_size=1, max_size=5, unique=True))
def test_any_file_names_are_found_or_reported(tmp_path_factory, names):
    folder = Folder(tmp_path_factory.mktemp("coco"))
    for number, name in enumerate(names):
        folder.add(number, name, annotation(number), image=None)
    source = folder.source()
    ids = source.all_ids()
    assert len(set(ids)) == len(names)
    assert not any(part == ".." for name in ids for part in name.split("/"))
    records, problems = source.records(ids, NAMES)
    assert not records
    assert {problem.kind for problem in problems} <= {"missing", "incomplete"}
    assert source.image_ids(ids) == tuple(range(len(names)))


# ---- what a writer writes ----

CORNERS = st.tuples(*[st.floats(0, 1)] * 4).filter(lambda c: abs(c[0] - c[2]) > 1e-3 and abs(c[1] - c[3]) > 1e-3)


@settings(max_examples=25)  # each has several times as many objects as a hundred smaller ones would have
@given(
    st.lists(st.lists(st.tuples(CORNERS, st.sampled_from([2, 9]), st.booleans()), max_size=8), min_size=1, max_size=5)
)
def test_what_was_written_is_read(tmp_path_factory, images):
    folder = Folder(tmp_path_factory.mktemp("coco"))
    for number, objects in enumerate(images):
        entries = []
        for (a, b, c, d), category, crowd in objects:
            y1, y2, x1, x2 = min(a, c) * HEIGHT, max(a, c) * HEIGHT, min(b, d) * WIDTH, max(b, d) * WIDTH
            entries.append(annotation(number, (x1, y1, x2 - x1, y2 - y1), category, iscrowd=int(crowd)))
        folder.add(number, f"{number}.png", *entries)
    numbers = [max(c) for objects in images for c, _, _ in objects]
    assume(not numbers or max(numbers) > 0.1)  # boxes of which none is a pixel wide are taken for fractions
    dataset = folder.read()
    for row, objects in enumerate(images):
        unique = {(min(a, c), min(b, d), max(a, c), max(b, d), *rest) for (a, b, c, d), *rest in objects}
        assume(len(unique) == len(objects))  # the same object twice is counted once
        expected = [[min(a, c), min(b, d), max(a, c), max(b, d)] for (a, b, c, d), _, _ in objects]
        valid = dataset.examples.valid[row]
        np.testing.assert_allclose(dataset.examples.boxes[row, valid], np.reshape(expected, (-1, 4)), atol=1e-6)
        assert dataset.examples.labels[row, valid].tolist() == [int(category == 9) for _, category, _ in objects]
        assert dataset.examples.difficult[row, valid].tolist() == [crowd for _, _, crowd in objects]
