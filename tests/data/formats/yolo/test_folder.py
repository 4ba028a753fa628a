import json
import os

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from PIL import Image

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.data_yaml import parse_data_yaml, parse_names, parse_names_yaml, parse_obj_data
from jaxssd.data.formats.yolo.detect import NAMES_FILES, looks_like_yolo
from jaxssd.data.formats.yolo.folder import YOLOFolder
from jaxssd.data.formats.yolo.labels import Labels, UnreadableLabels, parse_labels
from jaxssd.data.splits import choose_splits

NAMES = ("car", "horse")
WIDTH, HEIGHT = 50, 40
LINE = "0 0.5 0.5 0.5 0.25"
BOX = np.float32([0.375, 0.25, 0.625, 0.75])


class Folder:
    """A folder in layout (a), unless paths say otherwise."""

    def __init__(self, root):
        self.root = root
        root.mkdir()
        self.write("data.yaml", "train: ../elsewhere\nnc: 2\nnames: [car, horse]\n")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def draw(self, path, grey=100, size=(WIDTH, HEIGHT)):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (grey, grey, grey)).save(path)

    def add(self, name, *lines, suffix=".png", labels=None, **look):
        self.draw(f"images/{name}{suffix}", **look)
        self.write(f"labels/{name}.txt", "".join(f"{line}\n" for line in lines) if labels is None else labels)

    def read(self, *ids, **options):
        source = YOLOFolder(self.root)
        settings = {"image_size": 8, "class_names": NAMES, "progress": False, "workers": 1, **options}
        return build_dataset(source, ids or source.all_ids(), **settings)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "yolo")


def only_problem(dataset):
    (problem,) = dataset.report.problems
    assert problem.detail
    return problem.file, problem.action, problem.kind


# ---- what is read ----


def test_everything_lands_in_its_place(folder):
    folder.add("train/b", "1 0.5 0.5 1 1", f"  {LINE}\t", "", grey=10)
    folder.add("train/c", grey=30)
    folder.add("train/a", LINE, grey=20, size=(20, 30), suffix=".JPG")
    dataset = folder.read("train/b", "train/c", "train/a")
    examples = dataset.examples
    assert dataset.ids == ("train/b", "train/c", "train/a")
    np.testing.assert_array_equal(examples.images[:, 0, 0, 0], [10, 30, 20])
    np.testing.assert_array_equal(examples.labels, [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(examples.valid, [[True, True], [False, False], [True, False]])
    np.testing.assert_array_equal(examples.boxes[:, 0], [[0, 0, 1, 1], [0, 0, 0, 0], BOX])
    np.testing.assert_array_equal(dataset.sizes, [[HEIGHT, WIDTH], [HEIGHT, WIDTH], [30, 20]])
    assert not examples.difficult.any()
    assert dataset.report.summary() == "3 images, 3 objects; noted 1 image (without objects)"


LAYOUTS = {
    "split below images": ("images/{}.png", "labels/{}.txt", ["train/a", "train/deep/b", "val/a"]),
    "split above images": ("{}.png", "{}.txt", ["train/images/a", "train/images/deep/b", "valid/images/a"]),
    "beside each other": ("{}.png", "{}.txt", ["train/a", "train/deep/b", "validation/a"]),
    "with years": ("images/{}.png", "labels/{}.txt", ["train2007/a", "train2012/b", "val2012/a"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(folder, layout):
    image, labels, names = LAYOUTS[layout]
    for name in names:
        folder.draw(image.format(name))
        folder.write(labels.format(name.replace("images", "labels")), LINE)
    source = YOLOFolder(folder.root)
    ids = tuple(name.replace("/images", "") for name in names)
    assert source.split_names() == ("train", "val")
    assert choose_splits(source)[:2] == (ids[:2], ids[2:])
    assert folder.read(*ids).report.summary() == "3 images, 3 objects"
    assert looks_like_yolo(folder.root)


@pytest.mark.parametrize(("image", "labels"), [("images/{}.png", "labels/{}.txt"), ("{}.png", "{}.txt")])
@pytest.mark.parametrize("names", [["a", "b", "c"], ["cats/a", "dogs/a", "dogs/b"]])
def test_without_splits_a_share_is_held_out(folder, image, labels, names):
    for name in names:
        folder.draw(image.format(name))
        folder.write(labels.format(name), LINE)
    source = YOLOFolder(folder.root)
    assert source.split_names() == ()
    train, val = choose_splits(source)[:2]
    assert (len(val), sorted(train + val)) == (1, names)
    assert looks_like_yolo(folder.root)


def test_any_folder_can_be_a_split_beside_one_that_is(folder):
    for name in ("train/a", "holdout/b", "test/c", "d"):
        folder.add(name, LINE)
    source = YOLOFolder(folder.root)
    assert source.split_names() == ("holdout", "test", "train")
    assert source.split_ids("holdout") == ("holdout/b",)
    assert source.all_ids() == ("d", "holdout/b", "test/c", "train/a")
    with pytest.raises(ValueError, match=r"no split 'val'; its folders are holdout, test, train$"):
        source.split_ids("val")


def test_the_boxes_are_vocs(folder, tmp_path):
    """VOC 2007's image 000012, with the box 156 97 351 270 counted from 1."""
    x1, y1, x2, y2, width, height = 155, 96, 351, 270, 500, 333
    numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    folder.add("000012", "0 " + " ".join(map(str, numbers)), size=(width, height))
    dataset = folder.read()

    voc = tmp_path / "VOC"
    (voc / "Annotations").mkdir(parents=True)
    (voc / "JPEGImages").symlink_to(folder.root / "images")
    corners = "<xmin>156</xmin><ymin>97</ymin><xmax>351</xmax><ymax>270</ymax>"
    xml = f"<annotation><object><name>car</name><bndbox>{corners}</bndbox></object></annotation>"
    (voc / "Annotations" / "000012.xml").write_text(xml)
    reference = build_dataset(VOCFolder(voc), ["000012"], image_size=8, class_names=NAMES, progress=False)
    assert reference.ids == dataset.ids
    np.testing.assert_allclose(dataset.examples.boxes, reference.examples.boxes, atol=1e-6)
    np.testing.assert_array_equal(dataset.examples.images, reference.examples.images)


def test_one_data_set_in_three_formats(folder, tmp_path):
    """Boxes of two and more whole pixels, once as VOC, once as COCO and once as YOLO."""
    rng = np.random.default_rng(0)
    voc = tmp_path / "VOC"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (voc / name).mkdir(parents=True)
    categories = [{"id": 5 - label, "name": name} for label, name in enumerate(NAMES[::-1])]
    names = {"train": ["b", "a", "c"], "val": ["e", "d"]}
    for split in names:
        coco = {"images": [], "annotations": [], "categories": categories}
        for number, name in enumerate(names[split]):
            width, height = (int(side) for side in rng.integers(20, 60, 2))
            folder.draw(f"images/{split}/{name}.png", grey=int(rng.integers(255)), size=(width, height))
            os.symlink(folder.root / f"images/{split}/{name}.png", voc / "JPEGImages" / f"{name}.png")
            coco["images"].append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
            xml, lines = "", ""
            for _ in range(rng.integers(4)):
                label = int(rng.integers(2))
                x1, y1 = int(rng.integers(width - 2)), int(rng.integers(height - 2))
                x2, y2 = int(rng.integers(x1 + 2, width)), int(rng.integers(y1 + 2, height))
                corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
                xml += f"<object><name>{NAMES[label]}</name><bndbox>{corners}</bndbox></object>"
                center = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
                lines += f"{label} {center[0]} {center[1]} {(x2 - x1) / width} {(y2 - y1) / height}\n"
                entry = {"image_id": number, "category_id": 4 + label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                coco["annotations"].append(entry)
            (voc / "Annotations" / f"{name}.xml").write_text(f"<annotation>{xml}</annotation>")
            folder.write(f"labels/{split}/{name}.txt", lines)
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names[split]))
        (tmp_path / f"{split}.json").write_text(json.dumps(coco))

    sources = VOCFolder(voc), COCOJson(tmp_path / "train.json", folder.root / "images"), YOLOFolder(folder.root)
    split_ids = [choose_splits(source, val_split="val")[:2] for source in sources]
    assert split_ids[0] == (("b", "a", "c"), ("e", "d"))
    for part in (0, 1):
        order = [sorted(ids[part], key=lambda name: name.rpartition("/")[2]) for ids in split_ids]
        options = {"image_size": 8, "class_names": NAMES, "progress": False, "workers": 1}
        expected, *others = (build_dataset(source, ids, **options) for source, ids in zip(sources, order, strict=True))
        assert expected.report.objects > 2
        for dataset in others:
            np.testing.assert_allclose(dataset.examples.boxes, expected.examples.boxes, atol=1e-6)
            for field in ("images", "labels", "valid", "difficult"):
                np.testing.assert_array_equal(getattr(dataset.examples, field), getattr(expected.examples, field))
            assert [name.rpartition("/")[2] for name in dataset.ids] == list(expected.ids)
    for source, ids in zip(sources, split_ids, strict=True):
        assert source.class_names(ids[0]) == NAMES


@pytest.mark.parametrize("name", ["größe 1", "猫/犬", "v1.2.final", "it's", "-x", "car_jpg.rf.0a1b"])
def test_any_plain_name(folder, name):
    folder.add(name, LINE)
    assert folder.read().ids == (name,)


def test_extensions_in_any_case_and_the_earlier_one_first(folder):
    folder.add("a", LINE, grey=10, suffix=".png")
    folder.draw("images/a.JPG", grey=200)
    (folder.root / "labels" / "a.txt").rename(folder.root / "labels" / "a.TXT")
    dataset = folder.read()
    assert (dataset.ids, dataset.examples.images[0, 0, 0, 0], dataset.report.objects) == (("a",), 200, 1)


def test_marks_and_line_ends_of_other_systems(folder):
    other = "1" + LINE[1:]
    folder.add("a", labels=b"\xef\xbb\xbf" + f"{LINE}\r\n\r\n{other}\r\n".encode())
    folder.add("b", labels=f"{LINE}\r{other}\r")
    assert folder.read().report.summary() == "2 images, 4 objects"


def test_photographs_are_turned_as_a_person_sees_them(folder):
    """Stored lying, to be shown standing; the box is the upper half of what is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder.root / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.root / "images/a.jpg", exif=exif)
    folder.write("labels/a.txt", "0 0.5 0.25 1 0.5\n")
    dataset = folder.read("a")
    np.testing.assert_array_equal(dataset.sizes, [[WIDTH, HEIGHT]])
    np.testing.assert_allclose(dataset.examples.boxes[0, 0], [0, 0, 0.5, 1])


def test_outlines_become_their_hulls(folder):
    folder.add("a", "1 0.1 0.5 0.3 0.25 0.2 0.75", LINE, "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5")
    dataset = folder.read()
    assert only_problem(dataset) == ("labels/a.txt", "noted", "with outlines")
    assert "2 outlines, the first in line 1" in dataset.report.problems[0].detail
    expected = np.float32([[0.25, 0.1, 0.75, 0.3], BOX, [0.1, 0.1, 0.5, 0.5]])
    np.testing.assert_array_equal(dataset.examples.boxes[0], expected)
    assert dataset.examples.labels.tolist() == [[1, 0, 0]]


def test_linked_files_and_folders_are_followed(folder, tmp_path):
    folder.add("train/a", LINE)
    other = tmp_path / "linked"
    other.mkdir()
    for name in ("images", "labels", "data.yaml"):
        os.symlink(folder.root / name, other / name)
    os.symlink(other, folder.root / "images" / "above")
    source = YOLOFolder(other)
    assert source.all_ids() == ("train/a",)
    assert looks_like_yolo(other)


# ---- the table of faults ----


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (b"0 0.5 0.5 0.5 0.25\xff", "malformed annotation"),
        (b"\xff\xfe0\x00", "malformed annotation"),
        (b"0 250 200 100 50", "not normalised"),
        (b"0 0.5 0.5 0.5 0.25\n0 0.5 0.5 1.6 0.25", "not normalised"),
        (b"0 0.1 0.5 0.3 0.25 -20 0.75", "not normalised"),
    ],
)
def test_skipped_images(folder, labels, kind):
    folder.add("a", LINE)
    folder.add("bad", labels=labels)
    folder.add("c", "1 0.5 0.5 1 1")
    dataset = folder.read()
    assert only_problem(dataset) == ("labels/bad.txt", "skipped", kind)
    assert dataset.ids == ("a", "c")
    assert dataset.examples.labels.tolist() == [[0], [1]]


def test_pixels_everywhere_say_what_is_expected(folder):
    folder.add("a", "0 250 200 100 50")
    with pytest.raises(
        ValueError, match=r"no image could be read: .*labels/a\.txt: line 1: 0 250 .*are pixels; expected"
    ):
        folder.read()


BOX_AND_POINTS = "0 0.5 0.5 0.5 0.25 0.4 0.4 2 0.6 0.6 1 0 0 0"


@pytest.mark.parametrize(
    ("content", "hinted"),
    [
        (BOX_AND_POINTS, True),
        (f"{BOX_AND_POINTS}\n{BOX_AND_POINTS}\n", True),
        ("0 0.5 0.5 0.5 0.25 0.4 0.4 1", True),  # an odd number, so incomplete
        (f"{BOX_AND_POINTS}\n0 0.5 0.5 0.5 0.25\n", False),
        (BOX_AND_POINTS.replace("0.4 0.4 2", "0.4 0.9 2"), False),
        (BOX_AND_POINTS.replace("0.4 0.4 2", "0.4 0.4 3"), False),
        (BOX_AND_POINTS.replace(" 0 0 0", " 0 0"), False),
    ],
)
def test_keypoints_that_no_yaml_states(content, hinted):
    """They are not guessed; the problem says how they are read."""
    try:
        ((_, detail),) = set(parse_labels(content.encode(), 1).flaws)
    except UnreadableLabels as error:
        detail = str(error)
    assert ("state their number in data.yaml, such as `kpt_shape: [17, 3]`" in detail) == hinted
    behind = len(content.split("\n")[0].split()) - 5
    assert len(parse_labels(content.encode(), 1, behind).boxes) == len(content.split("\n")) - content.endswith("\n")


def test_files_without_their_other_half(folder):
    folder.add("a", LINE)
    folder.draw("images/b.png")
    folder.write("labels/c.txt", LINE)
    folder.add("d", LINE)
    (folder.root / "images" / "d.png").write_bytes(b"no image")
    dataset = folder.read()
    found = {(problem.file, problem.action, problem.kind) for problem in dataset.report.problems}
    assert found == {
        ("images/b.png", "noted", "without label file"),
        ("images/b.png", "noted", "without objects"),
        ("labels/c.txt", "skipped", "missing"),
        ("images/d.png", "skipped", "broken"),
    }
    assert dataset.ids == ("a", "b")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("0 0.5 0.5 0 0.25", "without area"),
        ("0 0.5 0.5 1e-30 0.25", "without area"),
        ("0 0.1 0.1 0.1 0.2 0.1 0.3", "without area"),
        ("0 0.5 0.5 0.5 -0.25", "negative size"),
        ("0 nan 0.5 0.5 0.25", "not finite"),
        ("0 0.5 0.5 inf 0.25", "not finite"),
        ("0 0.5 0.5 0.5 1e999", "not finite"),
        ("0 -0.5 0.5 0.5 0.25", "outside the image"),
        ("0 0.5 0.5 0.5 0.25 0.9", "with confidence"),
        ("0 0.5 0.5 0.5 0.25 0.9 0.1 0.2", "incomplete"),
        ("0 0.5 0.5 0.5", "incomplete"),
        ("0", "incomplete"),
        ("hello world", "incomplete"),
        ("0 0.5 0.5 0.5 wide", "incomplete"),
        ("0 0,5 0,5 0,5 0,25", "incomplete"),
        ("0 0.5 0.5 0.5 0_2", "incomplete"),
        ("0 0.5 0.5 0.5 \u0661", "incomplete"),
    ],
)
def test_dropped_boxes(folder, bad, kind):
    folder.add("a", "1 0.5 0.5 1 1", bad, LINE)
    dataset = folder.read()
    assert only_problem(dataset) == ("labels/a.txt", "dropped", kind)
    assert kind == "outside the image" or dataset.report.problems[0].detail.startswith("line 2: ")
    assert dataset.report.summary() == f"1 image, 2 objects; dropped 1 box ({kind})"
    assert dataset.examples.labels.tolist() == [[1, 0]]


def test_a_fifth_number_that_is_no_confidence_is_an_angle(folder):
    """In any line of a file: then it is one in all of them."""
    folder.add("a", "0 0.5 0.5 0.5 0.25 0.9", "0 0.5 0.5 0.5 0.25 1.57", LINE)
    folder.add("b", "0 0.5 0.5 0.5 0.25 -45")
    folder.add("c", "0 0.5 0.5 0.5 0.25 1")
    dataset = folder.read()
    kinds = [(problem.file, problem.kind) for problem in dataset.report.problems if problem.action == "dropped"]
    turned = "with an angle"
    assert kinds == [("labels/a.txt", turned)] * 2 + [("labels/b.txt", turned), ("labels/c.txt", "with confidence")]
    assert "four corners" in dataset.report.problems[0].detail
    assert dataset.report.objects == 1


def test_turned_boxes_become_their_hulls(folder):
    """Ultralytics' form: a class and four corners."""
    folder.add("a", "1 0.5 0.2 0.8 0.5 0.5 0.8 0.2 0.5")
    dataset = folder.read()
    np.testing.assert_array_equal(dataset.examples.boxes[0], np.float32([[0.2, 0.2, 0.8, 0.8]]))
    assert only_problem(dataset)[2] == "with outlines"


@pytest.mark.parametrize("index", ["1.0", "1.", "01", "1.000000"])
def test_classes_may_be_written_as_decimals(folder, index):
    folder.add("a", f"{index} 0.5 0.5 0.5 0.25")
    assert folder.read().examples.labels.tolist() == [[1]]


def test_a_class_of_many_digits_is_cut_short(folder):
    folder.add("a", f"{'9' * 39} 0.5 0.5 0.5 0.25")
    with pytest.raises(
        ValueError, match=r"line 1: the class is '9{17}\.\.\. \(39 characters\)', expected an index below 2"
    ):
        folder.read()


def test_files_of_names_are_no_labels(folder):
    folder.add("a", LINE)
    folder.write("labels/classes.txt", "car\nhorse\n")
    assert YOLOFolder(folder.root).all_ids() == ("a",)


def test_other_texts_are_no_labels_where_there_is_no_image(folder):
    folder.draw("train/a.png")
    folder.write("train/a.txt", LINE)
    folder.write("README.txt", "read me")
    folder.write("notes/requirements.txt", "numpy")
    assert YOLOFolder(folder.root).all_ids() == ("train/a",)


# ---- errors ----


@pytest.mark.parametrize("index", ["2", "-1", "1.5", "2.0", "car", "nan", "9" * 5000, "\u0661", "0_0"])
def test_classes_are_indices_of_names(folder, index):
    folder.add("train/a", LINE, "", f"{index} 0.5 0.5 0.5 0.25")
    with pytest.raises(
        ValueError, match=r"labels/train/a\.txt, line 3: the class is '.*', expected an index below 2"
    ) as raised:
        folder.read()
    assert len(str(raised.value)) < 400


def test_objects_of_other_classes_are_left_out_and_counted(folder):
    folder.add("a", LINE, "1 0.5 0.5 1 1")
    dataset = folder.read(class_names=("car",))
    assert dataset.report.summary() == "1 image, 1 object; dropped 1 box (other class)"
    assert dataset.examples.labels.tolist() == [[0]]
    assert folder.read(class_names=("zebra", "horse", "car")).examples.labels.tolist() == [[2, 1]]


def test_another_layout_says_what_is_expected_and_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        YOLOFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"not in YOLO's layout: .*has nothing\. Expected are images/train"):
        YOLOFolder(tmp_path)
    folder = Folder(tmp_path / "yolo")
    folder.draw("images/a.png")
    folder.write("labels/b.txt", LINE)
    with pytest.raises(ValueError, match=r"no image in it has a \.txt file; it has data\.yaml, images/, labels/\."):
        YOLOFolder(folder.root)
    folder.write("labels/a.txt", LINE)
    (folder.root / "data.yaml").unlink()
    with pytest.raises(ValueError, match=r"yolo has no class names: expected one of data\.yaml, .*classes\.txt"):
        YOLOFolder(folder.root)


@pytest.mark.parametrize("name", ["b", "", "../a", "a.png", "/", "a\0", ".."])
def test_unknown_ids(folder, name):
    folder.add("a", LINE)
    source = YOLOFolder(folder.root)
    records, problems = source.records([name], NAMES)
    assert (records, [problem.kind for problem in problems]) == ([], ["missing"])
    assert source.inputs([name]) == [folder.root / "data.yaml", None, None]


def test_what_is_not_a_regular_file_is_missing(folder):
    folder.add("a", LINE)
    folder.write("labels/bad.txt", LINE)
    os.mkfifo(folder.root / "images" / "bad.png")  # opening it would wait for ever
    os.mkfifo(folder.root / "labels" / "pipe.txt")
    assert only_problem(folder.read()) == ("labels/bad.txt", "skipped", "missing")


# ---- names of classes ----


@pytest.mark.parametrize("file", NAMES_FILES)
def test_files_of_names(folder, file):
    folder.add("a", "1 0.5 0.5 1 1")
    (folder.root / "data.yaml").unlink()
    for other in NAMES_FILES[NAMES_FILES.index(file) :]:  # those after it do not count
        folder.write(other, "names:\n  1: größe\n  0: no\n" if ".y" in other else "\ufeffno\r\n größe \n\n")
    source = YOLOFolder(folder.root)
    assert source.class_names([]) == ("no", "größe")
    assert folder.read(class_names=source.class_names([])).examples.labels.tolist() == [[1]]
    assert source.inputs([])[0] == folder.root / file


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [a, 'b c', 3, yes]", ("a", "b c", "3", "yes")),
        ("names:\n- a\n- b\n", ("a", "b")),
        ("names: {1: b, 0: a, '2': c}", ("a", "b", "c")),
        ("# from somewhere\nnc: many\nnames: [a]\nroboflow:\n  workspace: x", ("a",)),
        ("names: [!!python/object/apply:os.system [x], a]", None),
        ("names: [!!python/name:os.system a]", ("a",)),
    ],
)
def test_names_in_yaml(yaml, names):
    if names is None:
        with pytest.raises(ValueError, match="not plain text"):
            parse_names_yaml(yaml.encode())
    else:
        assert parse_names_yaml(yaml.encode()) == names


BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nnames: *b"


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (b"", "is not a mapping"),
        (b"car", "is not a mapping"),
        (b"[names]", "is not a mapping"),
        (b"path: x", "has no names"),
        (b"names: []", "has no class names"),
        (b"names:", "neither a list nor a mapping"),
        (b"names: classes.txt", "neither a list nor a mapping"),
        (b"names: [a]\nnames: [b]", "has names twice"),
        (b"names: [a, b, a]", "'a' twice"),
        (b"names: [a, '', b]", "no name for class 1"),
        (b'names: ["a\\e[2J"]', "cannot be printed"),
        (b'names: ["\\uD800"]', "cannot be printed"),
        (b'names: ["\\UFFFFFFFF"]', "is not YAML"),
        (b'names: ["\\U00110000"]', "chr"),
        (b"names: [[a], b]", "not plain text"),
        (b"names: {0: a, 2: b}", "indices are not 0 to 1"),
        (b"names: {0: a, 0: b}", "indices are not 0 to 1"),
        (b"names: {0: a, [1]: b}", "indices are not 0 to 1"),
        (b"names: {-1: a, 0: b}", "indices are not 0 to 1"),
        (b"nc: 3\nnames: [a, b]", "has nc: 3 but 2 names"),
        (b"kpt_shape: 51\nnames: [a]", "has kpt_shape: .51., expected the number of keypoints, and 2 or 3"),
        (b"kpt_shape: [17, x]\nnames: [a]", "has kpt_shape: .17, x., expected"),
        (b"names: [a", "is not YAML"),
        (b"names: [a]\n---\nnames: [b]", "is not YAML"),
        (b"names: [caf\xe9]", "is not UTF-8"),
        (b"names: [\x00]", "is not YAML"),
        (BILLION_LAUGHS.encode(), "has the alias"),
        (b"a: &a [*a]\nnames: [x]", "has the alias"),
        (b"[" * 900_000, "nested too deeply"),
        (b"- " * 400_000, "nested too deeply"),
        (b"names: [a]\n" + b"#" * 1_000_000, "bytes, expected at most 1,000,000"),
    ],
)
def test_faulty_yaml(folder, yaml, expected):
    folder.add("a", LINE)
    folder.write("data.yaml", yaml)
    with pytest.raises(ValueError, match=rf"data\.yaml .*{expected}") as raised:
        YOLOFolder(folder.root)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "has no class names"),
        (b" \n\n", "has no class names"),
        (b"car\n\nhorse", "no name for class 1"),
        (b"car\ncar", "'car' twice"),
        (b"caf\xe9", "is not UTF-8"),
        (b"a\x00b", "cannot be printed"),
        (b"x" * 1_000_001, "bytes"),
    ],
)
def test_faulty_lists_of_names(folder, text, expected):
    folder.add("a", LINE)
    (folder.root / "data.yaml").unlink()
    folder.write("classes.txt", text)
    with pytest.raises(ValueError, match=rf"classes\.txt .*{expected}"):
        YOLOFolder(folder.root)


# ---- telling formats apart ----


@pytest.mark.parametrize(
    "extra", [[], ["data.yaml"], ["classes.txt", "labels/a.txt", "images/a.jpg"], ["a.txt", "a.jpg"]]
)
def test_a_voc_folder_does_not_look_like_yolo(tmp_path, extra):
    for path in ("Annotations/a.xml", "JPEGImages/a.jpg", "ImageSets/Main/train.txt", *extra):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert not looks_like_yolo(tmp_path)
    assert not looks_like_yolo(tmp_path / "Annotations")


def test_what_does_not_look_like_yolo(tmp_path):
    assert not looks_like_yolo(tmp_path)
    assert not looks_like_yolo(tmp_path / "nowhere")
    for path in ("data.yaml", "a.jpg", "b.txt", "images/c.jpg", "annotations/train.json"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert not looks_like_yolo(tmp_path / "data.yaml")
    assert not looks_like_yolo(tmp_path)
    (tmp_path / "a.txt").touch()
    assert looks_like_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert not looks_like_yolo(tmp_path)
    (tmp_path / "labels").mkdir()
    assert not looks_like_yolo(tmp_path)
    (tmp_path / "labels" / "c.txt").touch()
    assert looks_like_yolo(tmp_path)


# ---- the cache ----


def test_the_cache_sees_what_changed(folder, tmp_path):
    folder.add("a", LINE)
    cache = {"cache_dir": tmp_path / "cache"}
    assert folder.read(**cache).report.objects == 1
    folder.add("a", LINE, "1 0.5 0.5 1 1")
    assert folder.read(**cache).examples.labels.tolist() == [[0, 1]]
    folder.write("data.yaml", "names: [horse, car]  # the other way round")
    assert folder.read(**cache).examples.labels.tolist() == [[1, 0]]


# ---- hostile content ----


def parse_or_refuse(content):
    """Any other exception fails the test that calls this."""
    try:
        labels: Labels | ValueError = parse_labels(content, 2)
    except ValueError as error:
        labels = error
    if isinstance(labels, UnreadableLabels):
        assert labels.kind in ("malformed annotation", "not normalised")
    elif isinstance(labels, Labels):
        for item in labels.boxes:
            assert item.label in (0, 1)
            assert np.isfinite(item.box).all()
            assert item.box[0] < item.box[2]
            assert item.box[1] < item.box[3]
    else:
        assert str(labels).startswith("line ")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_parsed_or_refused(content):
    parse_or_refuse(content)


FIELDS = st.one_of(st.sampled_from(["0", "1", "0.5", "0.25", "nan", "x", "1e999", "-0"]), st.floats(0, 1).map(str))


@given(st.lists(st.lists(FIELDS | st.floats().map(str), max_size=9), max_size=5))
def test_any_lines_are_parsed_or_refused(lines):
    parse_or_refuse("\n".join(" ".join(line) for line in lines).encode())


def names_or_refused(content):
    for parse in (parse_data_yaml, parse_obj_data):
        try:
            stated = parse(content)
        except ValueError:
            continue
        assert all(paths and all(paths) for _, paths in stated.splits.values())
    for parse in (parse_names, parse_names_yaml):
        try:
            names = parse(content)
        except ValueError:
            continue
        assert all(names)
        assert len(set(names)) == len(names) > 0


TOKENS = [
    "names",
    "train",
    "val",
    "path",
    "=",
    ":",
    " ",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "- ",
    ",",
    "0",
    "1",
    "a",
    "b",
    "&a",
    "*a",
    "!!",
    "!",
    "|",
    ">",
    "%",
]
TOKENS += [
    "'",
    '"',
    "\\",
    "\\U",
    "FFFFFFFF",
    "---",
    "...",
    "#",
    "\t",
    "? ",
    "<<",
    "é",
    "\x00",
    "\ufeff",
    "@",
    "`",
    "%YAML 9",
]


@given(st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(TOKENS), max_size=30).map("".join).map(str.encode)))
def test_any_names_are_parsed_or_refused(content):
    names_or_refused(content)
    names_or_refused(b"names: " + content)
    names_or_refused(b"names:\n- a\n- " + content)


# ---- what a writer writes ----

CENTERS = st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.floats(0.01, 0.6), st.floats(0.01, 0.6))


@settings(max_examples=25)  # each has several times as many objects as a hundred smaller ones would have
@given(st.lists(st.lists(st.tuples(st.integers(0, 1), CENTERS), max_size=8), min_size=1, max_size=5))
def test_what_was_written_is_read(tmp_path_factory, images):
    assume(all(len(set(objects)) == len(objects) for objects in images))  # the same object twice is counted once
    folder = Folder(tmp_path_factory.mktemp("data") / "yolo")
    for row, objects in enumerate(images):
        folder.add(str(row), *(" ".join(map(str, (label, *numbers))) for label, numbers in objects))
    dataset = folder.read()
    for row, objects in enumerate(images):
        expected = [[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for _, (x, y, w, h) in objects]
        valid = dataset.examples.valid[row]
        np.testing.assert_allclose(dataset.examples.boxes[row, valid], np.reshape(expected, (-1, 4)), atol=1e-6)
        assert dataset.examples.labels[row, valid].tolist() == [label for label, _ in objects]
