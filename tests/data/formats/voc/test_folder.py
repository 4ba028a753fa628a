import os
import struct
import zlib
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.voc.annotation import Annotation, UnreadableAnnotation, parse_annotation
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.splits import choose_splits

NAMES = ("car", "horse")
WIDTH, HEIGHT = 50, 40


def box_xml(xmin, ymin, xmax, ymax):
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def object_xml(name="car", box=(11, 11, 30, 30), extra=""):
    return f"<object><name>{name}</name>{extra}{box_xml(*box)}</object>"


def annotation_xml(*objects, size=(WIDTH, HEIGHT)):
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><filename>other.jpg</filename>{stated}{''.join(objects)}</annotation>"


class Folder:
    """A VOC folder, image by image."""

    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name).mkdir(parents=True)

    def add(self, name, *objects, xml=None, image=b"", suffix=".png", size=(WIDTH, HEIGHT), grey=100):
        if xml is None:
            xml = annotation_xml(*objects, size=size)
        if xml:
            (self.root / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")
        path = self.root / "JPEGImages" / f"{name}{suffix}"
        if image == b"":
            Image.new("RGB", size, (grey, grey, grey)).save(path, "PNG" if suffix.lower() == ".png" else "JPEG")
        elif image is not None:
            path.write_bytes(image)

    def split(self, name, text):
        (self.root / "ImageSets" / "Main" / f"{name}.txt").write_bytes(text.encode())

    def read(self, *ids, **options):
        settings = {"image_size": 8, "class_names": NAMES, "progress": False, **options}
        return build_dataset(VOCFolder(self.root), ids, **settings)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "VOC")


def only_problem(dataset):
    (problem,) = dataset.report.problems
    return problem.file, problem.action, problem.kind


# ---- what is read ----


def test_corners_are_1_based_and_inclusive(folder):
    """VOC 2007's image 000012, whose box the lesson prints as 96 155 269 350 (0-based, inclusive)."""
    folder.add("000012", object_xml("car", (156, 97, 351, 270)), size=(500, 333), suffix=".jpg")
    dataset = folder.read("000012")
    expected = np.float32([96 / 333, 155 / 500, 270 / 333, 351 / 500])
    np.testing.assert_array_equal(dataset.examples.boxes, expected[None, None])
    np.testing.assert_array_equal(dataset.sizes, [[333, 500]])
    assert dataset.report.summary() == "1 image, 1 object"


def test_a_box_around_the_whole_image_is_the_unit_square(folder):
    folder.add("a", object_xml(box=(1, 1, WIDTH, HEIGHT)))
    np.testing.assert_array_equal(folder.read("a").examples.boxes, [[[0, 0, 1, 1]]])


def test_everything_lands_in_its_place(folder):
    folder.add("b", object_xml("horse", extra="<difficult>1</difficult>"), object_xml("car"), grey=10)
    folder.add("a", object_xml("car", extra="<difficult>0</difficult>"), grey=20, size=(20, 30))
    folder.add("c", grey=30)
    dataset = folder.read("b", "c", "a")
    examples = dataset.examples
    assert dataset.ids == ("b", "c", "a")
    assert dataset.class_names == NAMES
    assert (dataset.report.images, dataset.report.objects) == (3, 3)
    np.testing.assert_array_equal(examples.images[:, 0, 0, 0], [10, 30, 20])
    np.testing.assert_array_equal(examples.labels, [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(examples.valid, [[True, True], [False, False], [True, False]])
    np.testing.assert_array_equal(examples.difficult, [[True, False], [False, False], [False, False]])
    np.testing.assert_array_equal(dataset.sizes, [[HEIGHT, WIDTH], [HEIGHT, WIDTH], [30, 20]])
    assert {field: (a.dtype, a.shape) for field, a in examples._asdict().items()} == {
        "images": (np.uint8, (3, 8, 8, 3)),
        "boxes": (np.float32, (3, 2, 4)),
        "labels": (np.int32, (3, 2)),
        "valid": (bool, (3, 2)),
        "difficult": (bool, (3, 2)),
    }


def test_coordinates_may_be_decimals(folder):
    folder.add("a", object_xml(box=(" 11.5 ", "1e1", 30.25, 20)))
    expected = np.float32([9 / HEIGHT, 10.5 / WIDTH, 20 / HEIGHT, 30.25 / WIDTH])
    np.testing.assert_array_equal(folder.read("a").examples.boxes[0, 0], expected)


def test_parts_are_not_objects(folder):
    part = f"<part><name>head</name>{box_xml(1, 1, 5, 5)}</part>"
    folder.add("a", f"<object>{part}<name>horse</name>{part}{box_xml(11, 11, 30, 30)}{part}</object>")
    dataset = folder.read("a")
    np.testing.assert_array_equal(dataset.examples.boxes[0], np.float32([[10 / 40, 10 / 50, 30 / 40, 30 / 50]]))
    assert dataset.report.summary() == "1 image, 1 object"


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".Png"])
def test_extensions_in_any_case(folder, suffix):
    folder.add("a", object_xml(), suffix=suffix)
    assert folder.read("a").report.summary() == "1 image, 1 object"


def test_the_image_is_found_by_id_whatever_the_xml_calls_it(folder):
    folder.add("a", object_xml(), grey=10)
    Image.new("L", (9, 9), 200).save(folder.root / "JPEGImages" / "other.jpg")
    Image.new("L", (9, 9), 200).save(folder.root / "JPEGImages" / "a.gif")
    assert folder.read("a").examples.images[0, 0, 0, 0] == 10


@pytest.mark.parametrize("name", ["größe 1", "猫", "v1.2.final", "it's"])
def test_any_plain_name(folder, name):
    folder.add(name, object_xml())
    folder.split("train", f"{name}\n")
    assert folder.read(*VOCFolder(folder.root).split_ids("train")).ids == (name,)


def test_linked_files_and_folders_are_followed(folder, tmp_path):
    folder.add("a", object_xml())
    other = tmp_path / "linked"
    (other / "Annotations").mkdir(parents=True)
    os.symlink(folder.root / "Annotations" / "a.xml", other / "Annotations" / "a.xml")
    os.symlink(folder.root / "JPEGImages", other / "JPEGImages", target_is_directory=True)
    dataset = build_dataset(VOCFolder(other), ["a"], image_size=8, class_names=NAMES, progress=False)
    assert dataset.report.summary() == "1 image, 1 object"


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_is_deterministic(folder, workers):
    for i in range(12):
        folder.add(str(i), object_xml(), grey=10 * i)
    folder.add("5", object_xml(), image=b"broken")
    dataset = folder.read(*map(str, range(12)), workers=workers)
    assert dataset.ids == tuple(str(i) for i in range(12) if i != 5)
    np.testing.assert_array_equal(dataset.examples.images[:, 0, 0, 0], [10 * i for i in range(12) if i != 5])


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [("letterbox", [0.2, 0.0, 0.8, 0.5]), ("crop", [0, -0.333333, 1, 0.5]), ("squash", [0, 0, 1, 0.5])],
)
def test_boxes_follow_their_image_onto_the_square(folder, aspect, expected):
    """Of an image of 5 by 3, its left half."""
    folder.add("a", object_xml(box=(1, 1, 25, 30)), size=(50, 30))
    dataset = folder.read("a", aspect=aspect, image_size=10)
    np.testing.assert_allclose(dataset.examples.boxes[0, 0], np.clip(expected, 0, 1), atol=1e-6)


def test_objects_outside_the_crop_are_dropped_and_what_is_cut_is_difficult(folder):
    """Of 50x30 pixels the middle 30 columns are kept, 11 to 40: of the first box 4 in 14, of the second 7 in 17."""
    boxes = [(1, 1, 14, 30), (1, 1, 17, 30), (42, 5, 50, 9), (12, 3, 30, 20)]
    folder.add("a", *(object_xml(box=box) for box in boxes), size=(50, 30))
    dataset = folder.read("a", aspect="crop")
    assert dataset.report.summary() == (
        "1 image, 3 objects; dropped 1 box (outside the crop), noted 1 image (with objects cut by the crop)"
    )
    assert dataset.examples.difficult.tolist() == [[True, False, False]]
    np.testing.assert_allclose(dataset.examples.boxes[0, :2, 3], [4 / 30, 7 / 30], atol=1e-6)


# ---- the table of faults ----


def claimed_png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BILLION_LAUGHS = '<!DOCTYPE annotation [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>' + annotation_xml(object_xml("&b;"))
EXTERNAL = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + annotation_xml(object_xml("&a;"))


@pytest.mark.parametrize(
    ("fault", "file", "kind"),
    [
        ({"image": b"no image"}, "JPEGImages/bad.png", "broken"),
        ({"image": claimed_png(8, 8)}, "JPEGImages/bad.png", "broken"),
        ({"image": None}, "JPEGImages/bad", "missing"),
        ({"image": claimed_png(30_000, 30_000)}, "JPEGImages/bad.png", "oversized"),
        ({"xml": ""}, "Annotations/bad.xml", "without annotation"),
        ({"xml": "<annotation><object>"}, "Annotations/bad.xml", "malformed annotation"),
        ({"xml": "<html></html>"}, "Annotations/bad.xml", "malformed annotation"),
        (
            {"xml": '<?xml version="1.0" encoding="klingon"?><annotation/>'},
            "Annotations/bad.xml",
            "malformed annotation",
        ),
        ({"xml": BILLION_LAUGHS}, "Annotations/bad.xml", "forbidden annotation"),
        ({"xml": EXTERNAL}, "Annotations/bad.xml", "forbidden annotation"),
        ({"xml": "<!DOCTYPE annotation><annotation/>"}, "Annotations/bad.xml", "forbidden annotation"),
    ],
)
def test_skipped_images(folder, fault, file, kind):
    folder.add("first", object_xml(), grey=10)
    folder.add("bad", object_xml(), **fault)
    folder.add("last", object_xml("horse"), grey=30)
    dataset = folder.read("first", "bad", "last")
    assert only_problem(dataset) == (file, "skipped", kind)
    assert dataset.report.problems[0].detail
    assert dataset.report.summary() == f"2 images, 2 objects; skipped 1 image ({kind})"
    assert dataset.ids == ("first", "last")
    np.testing.assert_array_equal(dataset.examples.images[:, 0, 0, 0], [10, 30])
    np.testing.assert_array_equal(dataset.examples.labels, [[0], [1]])
    assert len(dataset.sizes) == 2


def test_a_truncated_photograph_is_skipped(folder):
    folder.add("good", object_xml(), suffix=".jpg")
    folder.add("cut", object_xml(), suffix=".jpg")
    path = folder.root / "JPEGImages" / "cut.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    assert only_problem(folder.read("cut", "good")) == ("JPEGImages/cut.jpg", "skipped", "broken")


def test_what_is_not_a_regular_file_is_missing(folder):
    folder.add("good", object_xml())
    folder.add("bad", object_xml(), image=None)
    os.mkfifo(folder.root / "JPEGImages" / "bad.png")  # opening it would wait for ever
    assert only_problem(folder.read("good", "bad")) == ("JPEGImages/bad", "skipped", "missing")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (object_xml(box=(10, 11, 10, 30)), "without area"),
        (object_xml(box=(10, 30, 20, 30)), "without area"),
        (object_xml(box=(20, 11, 10, 30)), "swapped corners"),
        (object_xml(box=(10, 31, 20, 30)), "swapped corners"),
        (object_xml(box=("nan", 11, 20, 30)), "not finite"),
        (object_xml(box=(10, 11, 20, "inf")), "not finite"),
        (object_xml(box=(10, "-1e999", 20, 30)), "not finite"),
        (object_xml(box=(WIDTH + 1, 11, WIDTH + 9, 30)), "outside the image"),
        (object_xml(box=(-9, -9, 0, 0)), "outside the image"),
        (object_xml(box=(10, 11, "", 30)), "incomplete"),
        (object_xml(box=(10, 11, "many", 30)), "incomplete"),
        (object_xml(name=" "), "incomplete"),
        ("<object><name>car</name></object>", "incomplete"),
        ("<object/>", "incomplete"),
        (f"<objects>{object_xml()}</objects>", "incomplete"),
    ],
)
def test_dropped_boxes(folder, bad, kind):
    folder.add("a", object_xml("horse"), bad, object_xml("car", (1, 1, 10, 10)))
    dataset = folder.read("a")
    assert only_problem(dataset) == ("Annotations/a.xml", "dropped", kind)
    assert dataset.report.problems[0].detail
    assert dataset.report.summary() == f"1 image, 2 objects; dropped 1 box ({kind})"
    np.testing.assert_array_equal(dataset.examples.labels, [[1, 0]])
    assert dataset.examples.valid.all()


def test_boxes_over_the_edge_are_clipped(folder):
    folder.add("a", object_xml(box=(-20, 11, WIDTH + 40, HEIGHT + 2)), object_xml(box=(11, 11, WIDTH, HEIGHT)))
    dataset = folder.read("a")
    assert only_problem(dataset) == ("Annotations/a.xml", "clipped", "beyond the image's edge")
    np.testing.assert_array_equal(dataset.examples.boxes[0], np.float32([[0.25, 0, 1, 1], [0.25, 0.2, 1, 1]]))
    assert dataset.report.summary() == "1 image, 2 objects; clipped 1 box (beyond the image's edge)"


def test_two_pixels_over_the_edge_are_reported(folder):
    folder.add("a", object_xml(box=(11, 11, WIDTH, HEIGHT + 2)))
    assert only_problem(folder.read("a")) == ("Annotations/a.xml", "clipped", "beyond the image's edge")


def test_what_belongs_to_a_dropped_box_goes_with_it(folder):
    outside, inside = object_xml(box=(90, 11, 99, 30)), object_xml("horse", extra="<difficult>1</difficult>")
    folder.add("a", outside, inside, outside)
    examples = folder.read("a").examples
    assert (examples.labels.tolist(), examples.difficult.tolist()) == ([[1]], [[True]])
    np.testing.assert_array_equal(examples.boxes, np.float32([[[0.25, 0.2, 0.75, 0.6]]]))


def test_one_pixel_over_the_edge_is_not_worth_a_word(folder):
    folder.add("a", object_xml(box=(0, 0, WIDTH + 1, HEIGHT + 1)))
    dataset = folder.read("a")
    assert not dataset.report.problems
    np.testing.assert_array_equal(dataset.examples.boxes, [[[0, 0, 1, 1]]])


def test_too_many_objects(folder):
    folder.add("a", *[object_xml("horse" if i % 2 else "car", (1, 1, 2 + i, 2 + i)) for i in range(7)])
    folder.add("b", object_xml())
    dataset = folder.read("a", "b", max_objects=3)
    assert dataset.report.summary() == "2 images, 4 objects; dropped 4 boxes (over max_objects)"
    assert {p.file for p in dataset.report.problems} == {"Annotations/a.xml"}
    assert "max_objects=7" in dataset.report.problems[0].detail
    np.testing.assert_array_equal(dataset.examples.labels[0], [0, 1, 0])
    assert folder.read("a", "b", max_objects=7).examples.boxes.shape == (2, 7, 4)


@pytest.mark.parametrize(("objects", "dropped"), [([], 0), ([object_xml(box=(9, 9, 9, 9))], 1)])
def test_an_image_without_objects_is_kept(folder, objects, dropped):
    folder.add("a", *objects)
    dataset = folder.read("a")
    noted = dataset.report.problems[dropped]
    assert (noted.file, noted.action, noted.kind) == ("Annotations/a.xml", "noted", "without objects")
    assert dataset.report.summary().endswith("noted 1 image (without objects)")
    assert dataset.examples.boxes.shape == (1, 1, 4)
    assert not dataset.examples.valid.any()


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (0, 0), (WIDTH, 1e300)])
def test_another_size_than_annotated_is_noted(folder, size):
    folder.add("a", xml=annotation_xml(object_xml(box=(1, 1, 25, 20)), size=size))
    dataset = folder.read("a")
    assert only_problem(dataset) == ("Annotations/a.xml", "noted", "of another size than annotated")
    assert f"{WIDTH}x{HEIGHT}" in dataset.report.problems[0].detail
    np.testing.assert_array_equal(dataset.examples.boxes, [[[0, 0, 0.5, 0.5]]])
    np.testing.assert_array_equal(dataset.sizes, [[HEIGHT, WIDTH]])


def test_no_stated_size_is_nothing_to_note(folder):
    folder.add("a", xml=annotation_xml(object_xml(), size=None))
    folder.add("b", xml=annotation_xml(object_xml(), size=("wide", "")))
    assert folder.read("a", "b").report.summary() == "2 images, 2 objects"


# ---- errors ----


def test_objects_of_other_classes_are_left_out_and_counted(folder):
    folder.add("a", object_xml("zebra"), object_xml("horse"))
    dataset = folder.read("a")
    assert dataset.report.summary() == "1 image, 1 object; dropped 1 box (other class)"
    assert dataset.examples.labels.tolist() == [[1]]


def test_nothing_readable_is_an_error_with_the_reasons(folder, tmp_path):
    folder.add("a", image=b"broken")
    folder.add("b", object_xml(), image=None)
    expected = r"VOC: no image could be read: 0 images, 0 objects; skipped 2 images \(.*1 missing.*first, .*b: no file"
    with pytest.raises(ValueError, match=expected):
        folder.read("a", "b", cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match="VOC: no image could be read"):
        folder.read()
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_ids_are_plain_names(folder, name):
    folder.add("a", object_xml())
    with pytest.raises(ValueError, match=r"`ids`: .* is not a plain file name"):
        folder.read("a", name)
    if name and name != ".":
        folder.split("train", f"a\n{name}\n")
        with pytest.raises(ValueError, match=r"train\.txt, line 2: .* is not a plain file name"):
            VOCFolder(folder.root).split_ids("train")


@pytest.mark.parametrize("argument", ["image_size", "max_objects", "workers"])
def test_numbers_must_be_positive(folder, argument):
    folder.add("a", object_xml())
    with pytest.raises(ValueError, match=f"`{argument}` is -1, expected a positive number"):
        folder.read("a", **{argument: -1})


def test_another_layout_says_what_is_expected_and_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        choose_splits(VOCFolder(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nor in any other that is read: it has nothing"):
        choose_splits(VOCFolder(tmp_path))
    for i in range(12):
        (tmp_path / f"image{i:02}.jpg").touch()
    Folder(tmp_path / "Abc")
    with pytest.raises(
        ValueError, match=r"Abc/, image00\.jpg.* and 5 more\. Did you mean .*Abc\? Expected are"
    ) as raised:
        build_dataset(VOCFolder(tmp_path), ["a"], image_size=8, class_names=NAMES)
    for part in ("Annotations/*.xml", "JPEGImages/*.jpg", "ImageSets/Main/train.txt"):
        assert part in str(raised.value)


# ---- splits and classes ----


def test_split_files(folder):
    folder.add("my cat 1", object_xml())
    folder.split("train", "\ufeff000012\r\n000017 -1\n000023  1\n\n  000026\t0  \nmy cat 1\n000012\n")
    assert VOCFolder(folder.root).split_ids("train") == ("000012", "000017", "000023", "000026", "my cat 1")


def test_faulty_split_files(folder):
    folder.split("empty", "\n\n")
    folder.split("test", "a\n")
    (folder.root / "ImageSets" / "Main" / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"empty\.txt names no image"):
        VOCFolder(folder.root).split_ids("empty")
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8"):
        VOCFolder(folder.root).split_ids("latin")
    for split in ("train", "../Main/test", ""):
        with pytest.raises(ValueError, match=r"no split .*has empty, latin, test$"):
            VOCFolder(folder.root).split_ids(split)
    with pytest.raises(ValueError, match=r"no split train or trainval, only empty, latin, test: .* --train-split"):
        choose_splits(VOCFolder(folder.root))


def test_one_split_can_be_named_and_the_other_found(folder):
    """Whatever is validated on is not trained on, and nothing else is left out."""
    folder.split("train", "a\nb\nc\nd\n")
    folder.split("test", "z\n")
    assert choose_splits(VOCFolder(folder.root), val_split="test")[:2] == (("a", "b", "c", "d"), ("z",))
    train, val = choose_splits(VOCFolder(folder.root), train_split="train", val_fraction=0.5)[:2]
    assert (sorted(train + val), len(val)) == (["a", "b", "c", "d"], 2)
    with pytest.raises(ValueError, match=r"splits train and train"):
        choose_splits(VOCFolder(folder.root), val_split="train")


def test_validation_is_taken_out_of_trainval(folder):
    folder.split("trainval", "c\nb\na\n")
    folder.split("val", "b\n")
    assert choose_splits(VOCFolder(folder.root))[:2] == (("c", "a"), ("b",))


def test_named_train_and_val_are_used_as_they_are(folder):
    folder.split("train", "c\na\n")
    folder.split("val", "b\n")
    folder.split("trainval", "z\n")
    assert choose_splits(VOCFolder(folder.root))[:2] == (("c", "a"), ("b",))
    folder.split("val", "b\na\n")
    with pytest.raises(ValueError, match=r"in both splits train and val: 1 images?, the first 'a'"):
        choose_splits(VOCFolder(folder.root))


def test_the_held_out_share_is_the_lessons(folder):
    folder.split("train", "".join(f"{i:06}\n" for i in range(2501)))
    train, val = choose_splits(VOCFolder(folder.root))[:2]
    assert len(val) == 500
    assert len(train) == 2001
    assert [int(i) for i in val[:10]] == [25, 29, 43, 44, 48, 49, 51, 56, 67, 69]
    assert sorted(train + val) == [f"{i:06}" for i in range(2501)]
    assert choose_splits(VOCFolder(folder.root), seed=1)[1] != val
    assert len(choose_splits(VOCFolder(folder.root), val_fraction=0.5)[1]) == 1250


def test_the_held_out_share_depends_on_names_alone(folder, tmp_path):
    names = [f"{i:02}" for i in range(10)]
    folder.split("trainval", "\n".join(reversed(names)))
    expected = choose_splits(VOCFolder(folder.root))[:2]
    folder.split("trainval", "\n".join(names))
    assert choose_splits(VOCFolder(folder.root))[:2] == expected

    without_splits = Folder(tmp_path / "unsplit")
    for name in names[::-1]:
        without_splits.add(name, image=None)
    (without_splits.root / "Annotations" / "._00.xml").touch()  # what a Mac leaves in an archive
    (without_splits.root / "ImageSets" / "Main").rmdir()
    assert choose_splits(VOCFolder(without_splits.root))[:2] == expected
    assert [len(part) for part in expected] == [8, 2]


def test_holding_out_needs_a_sensible_share(folder):
    folder.split("train", "a\nb\nc\n")
    assert [len(part) for part in choose_splits(VOCFolder(folder.root), val_fraction=0.01)[:2]] == [2, 1]
    for share in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="cannot hold out"):
            choose_splits(VOCFolder(folder.root), val_fraction=share)
    folder.split("train", "a\n")
    with pytest.raises(ValueError, match=r"of 1 image\(s\) none would be left"):
        choose_splits(VOCFolder(folder.root))


def test_class_names_are_in_alphabetical_order(folder):
    folder.add("a", object_xml("sheep"), object_xml(" dog "), object_xml("sheep"))
    folder.add("b", object_xml("cat"))
    folder.add("c", object_xml("zebra"))
    folder.add("d", xml="<annotation>")
    assert VOCFolder(folder.root).class_names(["a", "b", "d", "missing"]) == ("cat", "dog", "sheep")
    with pytest.raises(ValueError, match="hold no object"):
        VOCFolder(folder.root).class_names(["d"])


# ---- the cache ----


def assert_same(a, b):
    for field in a.examples._fields:
        np.testing.assert_array_equal(getattr(a.examples, field), getattr(b.examples, field))
    np.testing.assert_array_equal(a.sizes, b.sizes)
    assert (a.ids, a.class_names, a.report) == (b.ids, b.class_names, b.report)


def test_a_cached_reading_is_the_same_and_reads_no_file(folder, tmp_path, monkeypatch):
    folder.add("a", object_xml(), grey=10)
    folder.add("bad", object_xml(), image=b"broken")
    folder.add("c", object_xml(box=(-9, 1, 20, 20)), object_xml("horse"), grey=30)
    plain = folder.read("a", "bad", "c", "missing")
    cache = {"cache_dir": tmp_path / "cache"}
    assert_same(folder.read("a", "bad", "c", "missing", **cache), plain)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", None)
        patch.setattr("jaxssd.data.build.decode_all", None)
        assert_same(folder.read("a", "bad", "c", "missing", **cache), plain)
    assert "skipped 2 images" in plain.report.summary()


def test_the_cache_sees_what_changed(folder, tmp_path):
    folder.add("a", object_xml(), grey=10)
    folder.add("b", object_xml(), grey=20, image=None)
    cache = {"cache_dir": tmp_path / "cache"}
    assert folder.read("a", "b", **cache).report.objects == 1
    folder.add("b", object_xml(), grey=20)
    assert folder.read("a", "b", **cache).report.objects == 2
    folder.add("b", object_xml(), object_xml(box=(1, 1, 9, 9)), grey=20)
    assert folder.read("a", "b", **cache).report.objects == 3
    assert folder.read("b", "a", **cache).ids == ("b", "a")
    assert folder.read("b", "a", image_size=4, **cache).examples.images.shape == (2, 4, 4, 3)
    assert folder.read("b", "a", class_names=("x", "car"), **cache).examples.labels.max() == 1
    assert folder.read("b", "a", max_objects=1, **cache).examples.boxes.shape == (2, 1, 4)
    assert len(list((tmp_path / "cache").iterdir())) == 7


# ---- hostile annotations ----


def parse_or_refuse(xml):
    """Any other exception fails the test that calls this."""
    try:
        parsed: Annotation | UnreadableAnnotation = parse_annotation(xml)
    except UnreadableAnnotation as error:
        parsed = error
    if isinstance(parsed, Annotation):
        assert all(item.name and len(item.box) == 4 for item in parsed.objects)
    else:
        assert parsed.kind in ("malformed annotation", "forbidden annotation")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_parsed_or_refused(xml):
    parse_or_refuse(xml)


TOKENS = ["<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "<bndbox>", "</bndbox>"]
TOKENS += [
    "<size>",
    "</size>",
    "<xmin>",
    "</xmin>",
    "<xmax>1</xmax>",
    "<ymin/>",
    "<difficult>",
    "</difficult>",
    "1e999",
]
TOKENS += [
    "nan",
    "-0",
    "&amp;",
    "&a;",
    "<!DOCTYPE a>",
    "<![CDATA[",
    "]]>",
    "<!--",
    '<?xml version="1.0"?>',
    "é",
    "\x00",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=30))
def test_any_tags_are_parsed_or_refused(tokens):
    parse_or_refuse("".join(tokens).encode())
    parse_or_refuse(f"<annotation>{''.join(tokens)}</annotation>".encode())


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(["", "<", "-", "\u0661", "9" * 400, "<object>"]))
def test_mutated_annotations_are_parsed_or_refused(start, length, replacement):
    xml = annotation_xml(object_xml(), object_xml("horse", extra="<difficult>1</difficult>"))
    start %= len(xml)
    parse_or_refuse((xml[:start] + replacement + xml[start + length % 12 :]).encode())


@given(st.lists(st.one_of(st.floats(), st.integers(-60, 60)), min_size=4, max_size=4))
def test_any_four_numbers_give_a_sound_box_or_none(tmp_path_factory, corners):
    folder = Folder(tmp_path_factory.mktemp("VOC"))
    folder.add("a", object_xml(box=corners))
    dataset = folder.read("a", workers=1)
    y1, x1, y2, x2 = dataset.examples.boxes[0, 0]
    if dataset.examples.valid[0, 0]:
        assert 0 <= y1 < y2 <= 1
        assert 0 <= x1 < x2 <= 1
    else:
        assert (y1, x1, y2, x2) == (0, 0, 0, 0)
        actions = [problem.action for problem in dataset.report.problems if "fractions" not in problem.kind]
        assert actions == ["dropped", "noted"]


def test_deep_nesting_does_not_exhaust_the_stack():
    assert parse_annotation(b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</annotation>").objects == []
