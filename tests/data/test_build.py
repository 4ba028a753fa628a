"""What the layer between formats and arrays finds: units, sizes, turned pictures, rows that are there twice."""

import numpy as np
import pytest
from PIL import Image

from jaxssd.data.build import build_dataset, decode_records
from jaxssd.data.formats.base import Record
from jaxssd.data.formats.voc.folder import VOCFolder
from tests.data.trees import voc_xml, write_tree

HEIGHT, WIDTH = 20, 40


def picture(path, *, size=(WIDTH, HEIGHT), orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size, (9, 9, 9)).save(path, "JPEG", exif=exif)
    return path


def record(path, *boxes, labels=None, **fields):
    count = len(boxes)
    labels = np.zeros(count, np.int32) if labels is None else np.array(labels, np.int32)
    boxes = np.array(boxes, np.float64).reshape(count, 4)
    return Record(path.stem, path, path.name, f"{path.stem}.xml", boxes, labels, np.zeros(count, bool), **fields)


def load(*records, exif="auto", aspect="squash"):
    return decode_records(
        records[0].image.parent,
        records,
        (),
        image_size=8,
        aspect=aspect,
        exif=exif,
        class_names=("a", "b"),
        max_objects=10,
        allocate=lambda shape: np.empty(shape, np.uint8),
        workers=1,
        progress=False,
    )


def found(dataset):
    """Boxes in pixels of each image, and what is reported."""
    e = dataset.examples
    boxes = [
        (b[v] * np.tile(size, 2)).round(3).tolist() for b, v, size in zip(e.boxes, e.valid, dataset.sizes, strict=True)
    ]
    return boxes, [(p.action, p.kind, p.count) for p in dataset.report.problems]


def test_rows_that_are_there_twice_are_dropped_and_counted(tmp_path):
    a, b = [1, 2, 10, 20], [0, 0, 5, 5]
    image = picture(tmp_path / "a.jpg")
    boxes, problems = found(load(record(image, a, b, a, a, b, labels=[0, 0, 0, 1, 0])))
    assert boxes == [[a, b, a]]  # the fourth row is of another class
    assert problems == [("dropped", "repeated", 2)]


def test_pictures_stay_with_their_boxes_where_one_is_skipped(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"")
    for grey in (50, 150):
        Image.new("RGB", (WIDTH, HEIGHT), (grey,) * 3).save(tmp_path / f"{grey}.png")
    names = ["50.png", "broken.jpg", "150.png"]
    dataset = load(*(record(tmp_path / name, [row, 0, 10, 10]) for row, name in enumerate(names)))
    assert dataset.ids == ("50", "150")
    assert dataset.examples.images[:, 4, 4, 0].tolist() == [50, 150]
    assert found(dataset)[0] == [[[0, 0, 10, 10]], [[2, 0, 10, 10]]]


def test_what_a_crop_leaves_little_of_is_difficult(tmp_path):
    image = picture(tmp_path / "a.jpg")  # of which columns 10 to 30 are left
    dataset = load(record(image, [0, 0, 10, 20], [0, 8, 10, 18], [0, 2, 10, 12]), aspect="crop")
    assert dataset.examples.valid.tolist() == [[True, True, True]]
    assert dataset.examples.difficult.tolist() == [[False, False, True]]


OTHER = ("noted", "of another size than annotated", 1)
CLIPPED = ("clipped", "beyond the image's edge", 1)


@pytest.mark.parametrize(
    ("stated", "box", "expected", "problems"),
    [
        (None, [1, 2, 10, 20], [1, 2, 10, 20], []),
        ((20, 40), [1, 2, 10, 20], [1, 2, 10, 20], []),
        ((40, 80), [2, 4, 20, 40], [1, 2, 10, 20], [OTHER]),  # twice the size: boxes are scaled
        ((10, 20), [1, 2, 10, 20], [2, 4, 20, 40], [OTHER]),
        ((10, 20), [1, 2, 11, 20], [2, 4, 20, 40], [OTHER, CLIPPED]),  # carelessly drawn on the smaller one
        ((10, 20), [12, 25, 18, 38], [12, 25, 18, 38], [OTHER]),  # a stale size: these boxes are the picture's
        ((10, 20), [1, 2, 11.5, 20], [1, 2, 11.5, 20], [OTHER]),
        ((10, 20), [1, 2, 10, 50], [2, 4, 20, 40], [OTHER, CLIPPED]),  # lies in neither
        ((40, 80), [2, 4, 44, 40], [1, 2, 20, 20], [OTHER, CLIPPED]),
        ((201, 400), [10, 20, 100, 200], [0.995, 2, 9.95, 20], [OTHER]),  # to rounding
        ((21, 40), [1, 2, 10, 20], [1, 2, 10, 20], [OTHER]),  # somebody counted from 0
        ((40, 20), [1, 2, 10, 20], [1, 2, 10, 20], [OTHER]),  # sides exchanged, boxes inside
    ],
)
def test_boxes_of_another_size_are_scaled(tmp_path, stated, box, expected, problems):
    image = picture(tmp_path / "a.jpg")
    assert found(load(record(image, box, stated_size=stated))) == ([[expected]], problems)


@pytest.mark.parametrize(("stated", "box"), [((30, 40), [1, 2, 10, 20]), ((40, 20), [1, 2, 30, 20])])
def test_an_image_of_another_shape_is_skipped(tmp_path, stated, box):
    right = record(picture(tmp_path / "a.jpg"), [1, 2, 10, 20])
    dataset = load(right, record(picture(tmp_path / "b.jpg"), box, stated_size=stated))
    assert found(dataset) == ([[[1, 2, 10, 20]]], [("skipped", "of another shape than annotated", 1)])
    assert f"says {stated[1]}x{stated[0]} (width x height) but the image has 40x20" in dataset.report.problems[0].detail


TURNED = ("noted", "turned as its EXIF says", 1)
LOW = [20, 5, 38, 15]  # fits 40 x 20 (height x width), which is what EXIF shows, and not 20 x 40
WIDE = [5, 20, 15, 38]  # fits the pixels as they are stored
SMALL = [2, 2, 12, 12]  # fits both


@pytest.mark.parametrize(
    ("boxes", "turned"),
    [
        ([LOW], [True]),
        ([WIDE], [False]),
        ([SMALL], [False]),
        ([LOW, SMALL], [True, True]),  # as the others of the data set
        ([WIDE, SMALL], [False, False]),
        ([LOW, WIDE, SMALL], [True, False, False]),
    ],
)
def test_boxes_show_whether_a_picture_is_turned(tmp_path, boxes, turned):
    records = [record(picture(tmp_path / f"{n}.jpg", orientation=6), box) for n, box in enumerate(boxes)]
    dataset = load(*records)
    assert dataset.sizes.tolist() == [[WIDTH, HEIGHT] if turn else [HEIGHT, WIDTH] for turn in turned]
    assert found(dataset) == ([[box] for box in boxes], [TURNED] * sum(turned))


STORED, SHOWN = (HEIGHT, WIDTH), (WIDTH, HEIGHT)  # (height, width)


@pytest.mark.parametrize(
    ("stated", "boxes", "turned"),
    [
        ([SHOWN, STORED], [LOW, SMALL], [True, False]),  # each as it says
        ([SHOWN, STORED], [LOW, LOW], [True, True]),  # the boxes do not lie in what it says
        ([STORED, STORED], [LOW, SMALL], [True, True]),  # a tool that states one picture and draws on the other
        ([STORED, STORED], [SMALL, SMALL], [False, False]),
        ([STORED, STORED, None], [LOW, SMALL, WIDE], [True, False, False]),
    ],
)
def test_stated_sizes_are_believed_unless_boxes_show_otherwise(tmp_path, stated, boxes, turned):
    records = [
        record(picture(tmp_path / f"{n}.jpg", orientation=6), box, stated_size=size)
        for n, (size, box) in enumerate(zip(stated, boxes, strict=True))
    ]
    assert load(*records).sizes.tolist() == [list(SHOWN if turn else STORED) for turn in turned]


@pytest.mark.parametrize(("orientation", "corner"), [(2, (0, -1)), (3, (-1, -1)), (4, (-1, 0))])
@pytest.mark.parametrize(
    ("others", "turned"),
    [([(SHOWN, SMALL)], True), ([(STORED, SMALL)], False), ([(None, LOW), (None, WIDE)], False), ([], False)],
)
def test_half_turns_and_mirrors_go_by_the_other_images(tmp_path, orientation, corner, others, turned):
    bright = Image.new("L", (WIDTH, HEIGHT), 20)
    bright.paste(220, (0, 0, WIDTH // 2, HEIGHT // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    bright.save(tmp_path / "bright.jpg", exif=exif)
    records = [
        record(picture(tmp_path / f"{n}.jpg", orientation=6), box, stated_size=size)
        for n, (size, box) in enumerate(others)
    ]
    dataset = load(record(tmp_path / "bright.jpg", SMALL, stated_size=STORED), *records)
    image = dataset.examples.images[0]
    assert image[corner][0] == pytest.approx(220 if turned else 20, abs=9)
    assert image[0, 0, 0] == pytest.approx(20 if turned else 220, abs=9)
    assert ("bright.jpg" in {p.file for p in dataset.report.problems if p.kind == TURNED[1]}) == turned


@pytest.mark.parametrize(
    ("train", "val", "turned"),
    [
        (["LOW", "SMALL"], ["SMALL"], {"train": [True, True], "val": [True]}),
        (["SMALL"], ["LOW"], {"train": [True], "val": [True]}),
        (["LOW", "SMALL"], ["WIDE", "SMALL"], {"train": [True, False], "val": [False, False]}),
    ],
)
@pytest.mark.parametrize("asked", ["train", "val"])
def test_every_split_is_turned_as_all_of_them_show(tmp_path, train, val, turned, asked):
    boxes = {"LOW": (5, 20, 15, 38), "WIDE": (20, 5, 38, 15), "SMALL": (2, 2, 12, 12)}  # xmin, ymin, xmax, ymax
    files = {"ImageSets/Main/test.txt": "", "ImageSets/Main/train.txt": "", "ImageSets/Main/val.txt": ""}
    (tmp_path / "JPEGImages").mkdir()
    for split, kinds in (("train", train), ("val", val)):
        for n, kind in enumerate(kinds):
            name = f"{split}{n}"
            files[f"ImageSets/Main/{split}.txt"] += f"{name}\n"
            files[f"Annotations/{name}.xml"] = voc_xml(("cat", *boxes[kind]), size=None)
            picture(tmp_path / f"JPEGImages/{name}.jpg", orientation=6)
    source = VOCFolder(write_tree(tmp_path, files))
    dataset = build_dataset(source, source.split_ids(asked), image_size=8, class_names=("cat",), progress=False)
    assert dataset.sizes.tolist() == [list(SHOWN if turn else STORED) for turn in turned[asked]]


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("exif", "size"), [("apply", [WIDTH, HEIGHT]), ("ignore", [HEIGHT, WIDTH])])
def test_exif_can_be_applied_or_ignored(tmp_path, exif, size, upright):
    image = picture(tmp_path / "a.jpg", orientation=6)
    assert load(record(image, SMALL, upright=upright), exif=exif).sizes.tolist() == [size]


def test_notes_about_pixels_are_reported(tmp_path):
    image = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(image)
    dataset = load(record(image, [1, 2, 3, 4]))
    (problem,) = dataset.report.problems
    assert (problem.file, problem.action, problem.kind) == ("a.png", "noted", "of 10 bits in 16")
    assert problem.detail == "up to 1000"
