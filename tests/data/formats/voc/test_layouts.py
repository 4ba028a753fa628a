"""Exports of tools in VOC's form, each built as a tree of small files: what it states is what is trained on."""

import math

import numpy as np
import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.build import build_dataset
from jaxssd.data.formats.registry import open_source
from jaxssd.data.formats.voc.annotation import parse_annotation
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.load import default_split, load_split, notes_on_splits, with_classes
from jaxssd.data.splits import choose_splits
from tests.data.trees import BOX, voc_xml, write_tree

XML = voc_xml("car")


def annotated(images, annotations, *names, ending=".jpg", xml=XML):
    """Pictures and their annotations, one box each; `{}` stands for a name."""
    found = {images.format(name) + ending: 100 for name in names}
    return found | {annotations.format(name) + ".xml": xml for name in names}


def voc(*names, images="JPEGImages/{}", annotations="Annotations/{}", **options):
    return annotated(images, annotations, *names, **options)


def split(folder, train="train.txt", val="val.txt", lines=("a\nb\n", "c\n")):
    return {f"{folder}{train}": lines[0], f"{folder}{val}": lines[1]}


def by_folder(images, annotations, train="train", val="val", **options):
    """Pictures a and b of one folder and c of another; `@` stands for the folder."""
    parts = ((train, ("a", "b")), (val, ("c",)))
    found = [annotated(images.replace("@", s), annotations.replace("@", s), *names, **options) for s, names in parts]
    return found[0] | found[1]


PADDLE = (
    "./JPEGImages/a.jpg ./Annotations/a.xml\nJPEGImages/b.jpg Annotations/b.xml\n",
    "JPEGImages/c.jpg Annotations/c.xml\n",
)
LAYOUTS = {
    "VOC": voc("a", "b", "c") | split("ImageSets/Main/"),
    "VOC with all that belongs to it": {
        **voc("a", "b", "c"),
        **split("ImageSets/Main/"),
        **split("ImageSets/Segmentation/", lines=("c\n", "a\n")),
        **split("ImageSets/Main/", "car_train.txt", "car_val.txt", ("a  1\nb -1\n", "c  1\n")),
        **annotated("SegmentationClass/{}", "other/{}", "a", "b", ending=".png"),
    },
    "ImageSets": voc("a", "b", "c") | split("ImageSets/"),
    "ImageSets in another case": voc("a", "b", "c") | split("imagesets/main/", "Train.TXT", "VAL.txt"),
    "ImageSets/Layout": voc("a", "b", "c") | split("ImageSets/Layout/"),
    "Splits": voc("a", "b", "c") | split("Splits/"),
    "lists with another ending": voc("a", "b", "c") | split("ImageSets/Main/", "train.lst", "val.list"),
    "lists without an ending": voc("a", "b", "c") | split("ImageSets/Main/", "train", "val") | {"ImageSets/Main/x": ""},
    "lists in the root, and one of all": voc("a", "b", "c")
    | split("")
    | {"ImageSets/Main/default.txt": "a\nb\nc\n", "ImageSets/Layout/train.txt.bak": "c"},
    "lists in the root, and one of both": voc("a", "b", "c") | split("") | {"ImageSets/Main/trainval.txt": "a\nb\nc"},
    "lists in two places": voc("a", "b", "c")
    | split("ImageSets/Layout/", lines=("c\n", "c\n"))
    | {"ImageSets/Main/train.txt": "a\nb\n", "ImageSets/Layout/trainval.txt": "c", "ImageSets/Layout/car_val.txt": "a"},
    "valid": voc("a", "b", "c") | split("ImageSets/Main/", "training.txt", "valid.txt"),
    "lists in the root": voc("a", "b", "c") | split(""),
    "keras-yolo3": voc("a", "b", "c")
    | split(
        "", "2007_train.txt", "2007_val.txt", ("/home/me/set/JPEGImages/a.jpg 1,2,3,4,0\nJPEGImages/b.jpg\n", "c.jpg")
    ),
    "PaddleDetection": voc("a", "b", "c")
    | split("", "train_list.txt", "val_list.txt", PADDLE)
    | {"labels.txt": "car\n"},
    "names with endings": voc("a", "b", "c") | split("ImageSets/Main/", lines=("a.jpg\nb.JPG\n", "c.xml")),
    "quotes and blanks": voc("a", "b", "c")
    | split("ImageSets/Main/", lines=("\ufeff  \"a\"\r\n'b.jpg'  1\r\n\r\n", ' "JPEGImages/c.jpg"\t')),
    "backslashes": voc("a", "b", "c")
    | split("ImageSets/Main/", lines=("JPEGImages\\a.jpg\nD:\\set\\JPEGImages\\b.jpg\n", "..\\..\\JPEGImages\\c.jpg")),
    "UTF-16": voc("a", "b", "c")
    | {"ImageSets/Main/train.txt": "a\r\nb\r\n".encode("utf-16"), "ImageSets/Main/val.txt": "c".encode("utf-16")},
    "annotations and images": voc("a", "b", "c", images="images/{}", annotations="annotations/{}") | split(""),
    "upper case": voc("a", "b", "c", images="IMAGES/{}", annotations="ANNOTATIONS/{}", ending=".JPG")
    | split("IMAGESETS/MAIN/"),
    "Oxford pets": {
        **voc("a", "b", "c", images="images/{}", annotations="Annotations/xmls/{}"),
        **split("Annotations/", lines=("a 1 1 1\nb 2 1 2\n", "c 1 1 1\n")),
        "Annotations/trimaps/a.png": 1,
    },
    "Roboflow": {**by_folder("@/{}", "@/{}", val="valid"), "README.roboflow.txt": "cars", "README.dataset.txt": "cars"},
    "folders of splits": by_folder("@/JPEGImages/{}", "@/Annotations/{}", val="validation"),
    "splits within folders": by_folder("images/@/{}", "annotations/@/{}", "Train", "Val"),
    "splits within the folder of images": annotated("images/train/{}", "annotations/{}", "a", "b")
    | annotated("images/valid/{}", "annotations/{}", "c"),
    "splits within the folder of annotations": annotated("images/{}", "annotations/train/{}", "a", "b")
    | annotated("images/{}", "annotations/validation/{}", "c"),
    "Kaggle's fruit": by_folder("@_zip/@/{}", "@_zip/@/{}"),
    "XML beside the pictures": voc("a", "b", "c", images="data/{}", annotations="data/{}") | split(""),
    "XML in a folder of the pictures'": voc("a", "b", "c", images="{}", annotations="xml/{}") | split(""),
    "what systems leave behind": {
        **voc("a", "b", "c"),
        **split("ImageSets/Main/"),
        "__MACOSX/Annotations/z.xml": XML,
        "Annotations/._a.xml": b"\0\5\x16\7",
        "Annotations/.DS_Store": b"",
        "JPEGImages/._a.jpg": b"\0\5\x16\7",
        "JPEGImages/Thumbs.db": b"",
        "JPEGImages/__MACOSX/z.jpg": 1,
        "JPEGImages/.ipynb_checkpoints/a-checkpoint.jpg": 1,
        "ImageSets/Main/._train.txt": b"\xff",
    },
}


def names_of(ids):
    return sorted(name.rpartition("/")[2] for name in ids)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_stated_is_followed(layout, tmp_path):
    root = write_tree(tmp_path / "set", LAYOUTS[layout])
    config = DatasetConfig(data=str(root))
    source = open_source(config.data, config.images)
    assert isinstance(source, VOCFolder)
    chosen = choose_splits(source)
    assert (names_of(chosen.train), names_of(chosen.val), chosen.notes) == (["a", "b"], ["c"], ())
    assert default_split(config) == "val"
    assert names_of(source.all_ids()) == ["a", "b", "c"]
    assert source.class_names(chosen.train) == ("car",)
    dataset = build_dataset(source, source.all_ids(), image_size=8, class_names=("car",), progress=False, workers=1)
    assert dataset.report.summary() == "3 images, 3 objects"
    np.testing.assert_array_equal(dataset.examples.boxes, np.float32([[BOX]] * 3))
    assert all((root / name).is_file() for name in source.file_names(source.all_ids()))


def test_pets_have_a_test_split_alone(tmp_path):
    files = voc("a", "b", images="images/{}", annotations="annotations/xmls/{}")
    root = write_tree(
        tmp_path, {**files, "annotations/trainval.txt": "a 1 1 1\nb 1 1 1", "annotations/test.txt": "c 1 1 1"}
    )
    assert (
        choose_splits(open_source(str(root)))
        .notes[0]
        .startswith("no validation split found, there is test and trainval but no val: 20 % of trainval, 1 of 2")
    )


def test_cvats_only_subset_is_trained_on(tmp_path):
    """Its names have folders and quotes."""
    files = {
        **voc("a", "my cats/b 1", "c"),
        "ImageSets/Main/default.txt": 'a\n"my cats/b 1"\nc\n',
        "ImageSets/Main/car_default.txt": 'a  1\n"my cats/b 1"  1\nc -1\n',
        "labelmap.txt": "# label:color_rgb:parts:actions\ncar:1,2,3::\n",
    }
    chosen = choose_splits(open_source(str(write_tree(tmp_path, files))))
    assert sorted(chosen.train + chosen.val) == ["a", "c", "my cats/b 1"]
    assert chosen.notes[0] == "train is the data set's only split, default"
    assert "20 % of default, 1 of 3, are held out" in chosen.notes[1]


# ---- folders within folders ----


def test_equal_names_in_different_folders(tmp_path):
    files = {
        **annotated("JPEGImages/dogs/{}", "Annotations/dogs/{}", "1", "2", xml=voc_xml("dog")),
        **annotated("JPEGImages/cats/{}", "Annotations/cats/{}", "1", "2", xml=voc_xml("cat")),
        "ImageSets/Main/train.txt": "dogs/1\nJPEGImages/cats/2.jpg\n",
        "ImageSets/Main/val.txt": "dogs/2.jpg\ncats\\1.jpg\n",
    }
    root = write_tree(tmp_path, files)
    source = VOCFolder(root)
    assert choose_splits(source)[:2] == (("dogs/1", "cats/2"), ("dogs/2", "cats/1"))
    records, problems = source.records(["dogs/1", "cats/2"], ("cat", "dog"))
    assert [(record.image_name, record.labels.tolist()) for record in records] == [
        ("JPEGImages/dogs/1.jpg", [1]),
        ("JPEGImages/cats/2.jpg", [0]),
    ]
    assert problems == []
    write_tree(root, {"ImageSets/Main/val.txt": "2\n"})
    with pytest.raises(ValueError, match=r"val\.txt, line 1: '2' can be cats/2, dogs/2: write the path"):
        VOCFolder(root).split_ids("val")
    write_tree(root, {"ImageSets/Main/val.txt": "dogs/3\nhorses/1\n"})
    with pytest.raises(ValueError, match=r"val\.txt, line 2: 'horses/1' is not a plain file name"):
        VOCFolder(root).split_ids("val")
    write_tree(root, {"ImageSets/Main/val.txt": "dogs/3\n"})
    (problem,) = VOCFolder(root).records(VOCFolder(root).split_ids("val"), ("cat",))[1]
    assert (problem.file, problem.kind) == ("Annotations/dogs/3.xml", "without annotation")


@pytest.mark.parametrize("hostile", ["../../../etc/passwd", "/etc/passwd", "..\\a", "C:\\a", "a\0"])
def test_lists_never_lead_out(hostile, tmp_path):
    root = write_tree(tmp_path, {**voc("a"), "ImageSets/Main/train.txt": f"a\n{hostile}\n"})
    with pytest.raises(ValueError, match=r"train\.txt, line 2: .* move them there, and list their paths from it"):
        VOCFolder(root).split_ids("train")


# ---- the image of an annotation ----


@pytest.mark.parametrize(
    ("image", "annotation", "filename"),
    [
        ("a.jpg", "a", "b.jpg"),
        ("b.jpg", "a", "b.jpg"),
        ("b.jpg", "a", "C:\\photos\\b.jpg"),
        ("b.jpg", "a", "B.JPG"),
        ("b.jpg", "a", "b"),
        ("dogs/b.jpg", "a", "b.jpg"),
        ("dogs/b.jpg", "dogs/a", "b.jpg"),
        ("dogs/a.jpg", "a", None),
        ("a.JPG", "A", None),
        ("a.jpg", "a.jpg", None),
        ("my cat.jpg", "my%20cat", None),
        ("my%20cat.jpg", "my cat", None),
        ("my cat.jpg", "a", "my%20cat.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301", None),
        *((f"a{ending}", "a", None) for ending in (".webp", ".bmp", ".tif", ".TIFF", ".gif", ".jfif")),
    ],
)
def test_the_image_is_the_file_that_exists(image, annotation, filename, tmp_path):
    root = write_tree(
        tmp_path, {f"JPEGImages/{image}": 100, f"Annotations/{annotation}.xml": voc_xml("car", filename=filename)}
    )
    source = VOCFolder(root)
    assert source.all_ids() == (annotation,)
    (record,), problems = source.records([annotation], ("car",))
    assert (record.image, problems) == (root / "JPEGImages" / image, [])
    assert source.inputs([annotation]) == [root / f"Annotations/{annotation}.xml", root / "JPEGImages" / image]
    assert source.file_names([annotation]) == (f"JPEGImages/{image}",)


def test_a_list_may_name_images_or_annotations(tmp_path):
    files = {"JPEGImages/b.jpg": 100, "Annotations/a.xml": voc_xml("car", filename="b.jpg")}
    for line in ("a", "b", "b.jpg", "JPEGImages/b.jpg"):
        root = write_tree(tmp_path, {**files, "ImageSets/Main/train.txt": line})
        assert VOCFolder(root).split_ids("train") == ("a",)


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        ({"a.xml": "z.jpg", "b.xml": "z.jpg", "z.jpg": 1}, ["skipped ambiguous", "skipped ambiguous"]),
        ({"a.xml": "b.jpg", "b.xml": "b.jpg", "b.jpg": 1}, ["skipped missing", None]),
        ({"a.xml": "z.jpg", "A.jpg": 1, "z.jpg": 1, "b.xml": None, "b.jpg": 1}, ["skipped ambiguous", None]),
        ({"a.xml": "z.jpg", "a.jpg": 1, "z.jpg": 1, "b.xml": None, "b.jpg": 1}, ["noted named otherwise", None]),
        ({"a.xml": "b.jpg", "a.jpg": 1, "b.xml": "a.jpg", "b.jpg": 1}, [None, None]),
        (
            {"a.xml": None, "a.jpg": 1, "a.png": 2, "b.xml": None, "b.JPEG": 1},
            ["noted one of several of its name", None],
        ),
        ({"a.xml": None, "x/a.jpg": 1, "y/a.jpg": 2, "b.xml": None, "b.jpg": 1}, ["skipped ambiguous", None]),
        ({"a.xml": "../../../b.jpg", "b.xml": None, "b.jpg": 1}, ["skipped missing", None]),
    ],
)
def test_doubts_are_counted(files, kinds, tmp_path):
    """A name stands for what is in <filename>."""
    tree = {
        f"{'Annotations' if path.endswith('.xml') else 'JPEGImages'}/{path}": voc_xml("car", filename=content)
        if path.endswith(".xml")
        else content
        for path, content in files.items()
    }
    source = VOCFolder(write_tree(tmp_path, tree))
    found = []
    for name in ("a", "b"):
        _, problems = source.records([name], ("car",))
        found.append(" ".join(f"{problem.action} {problem.kind}" for problem in problems) or None)
    assert found == kinds


def test_images_that_nobody_claims_are_told(tmp_path):
    """One that an annotation names otherwise is not among them."""
    files = {"JPEGImages/b.jpg": 1, "JPEGImages/c.jpg": 1, "Annotations/a.xml": voc_xml("car", filename="b.jpg")}
    assert VOCFolder(write_tree(tmp_path, files)).all_ids() == ("a", "c")


# ---- shapes other than boxes ----


def turned(cx, cy, w, h, angle):
    return f"<robndbox><cx>{cx}</cx><cy>{cy}</cy><w>{w}</w><h>{h}</h><angle>{angle}</angle></robndbox>"


def polygon(*points, form="<x{0}>{1}</x{0}><y{0}>{2}</y{0}>"):
    return f"<polygon>{''.join(form.format(n, *point) for n, point in enumerate(points, start=1))}</polygon>"


TRIANGLE = [(10, 30), (40, 10), (20, 20)]
ROOT2 = math.sqrt(2)


@pytest.mark.parametrize(
    ("shape", "edges"),
    [
        (turned(25, 20, 20, 10, 0), (15, 15, 35, 25)),
        (turned(25, 20, 20, 10, math.pi / 2), (20, 10, 30, 30)),
        (turned(25, 20, 20, 10, -math.pi), (15, 15, 35, 25)),
        (turned(25, 20, 10 * ROOT2, 10 * ROOT2, math.pi / 4), (15, 10, 35, 30)),
        (turned(25, 20, 20, 10, math.pi / 6), None),
        (turned(25, 20, 20, 10, 90), (20, 10, 30, 30)),
        (polygon(*TRIANGLE), (10, 10, 40, 30)),
        (polygon(*TRIANGLE, form="<pt><x>{1}</x><y>{2}</y></pt>"), (10, 10, 40, 30)),
        (polygon(*TRIANGLE, form="<point>{1}.0, {2}.0</point>"), (10, 10, 40, 30)),
        (
            "<robndbox><x_left_top>10</x_left_top><y_left_top>30</y_left_top><x_right>40</x_right><y_right>10</y_right>"
            "<x_b>20</x_b><y_b>20</y_b></robndbox>",
            (10, 10, 40, 30),
        ),
    ],
)
def test_hulls(shape, edges, tmp_path):
    files = {"JPEGImages/a.jpg": 1, "Annotations/a.xml": voc_xml(f"<name>car</name>{shape}", "horse")}
    (record,), (problem,) = VOCFolder(write_tree(tmp_path, files)).records(["a"], ("car", "horse"))
    if edges is None:
        wide = (20 * math.cos(math.pi / 6) + 10 * 0.5) / 2
        high = (20 * 0.5 + 10 * math.cos(math.pi / 6)) / 2
        edges = (25 - wide, 20 - high, 25 + wide, 20 + high)
    x1, y1, x2, y2 = edges
    np.testing.assert_allclose(record.boxes, [[y1, x1, y2, x2], [15, 12.5, 25, 37.5]])
    assert (problem.file, problem.kind) == ("Annotations/a.xml", "with outlines")
    assert problem.detail.startswith("1 rotated boxes")


@pytest.mark.parametrize(
    "shape",
    [
        *(turned(*[25, 20, 20, 10, 0][:missing], "", *[25, 20, 20, 10, 0][missing + 1 :]) for missing in range(5)),
        turned(25, 20, 20, 10, "nan"),
        polygon((1, 2), (3, 4)),
        polygon(*TRIANGLE, (5, "many")),
        "<polygon><x1>1</x1><x2>2</x2><x3>3</x3><y1>1</y1></polygon>",
        "<polygon/>",
    ],
)
def test_shapes_that_are_incomplete(shape):
    parsed = parse_annotation(voc_xml(f"<name>car</name>{shape}").encode())
    assert (parsed.objects, parsed.incomplete) == ([], ["car: no <bndbox> with four numbers"])


def test_a_box_counts_before_other_shapes():
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    parsed = parse_annotation(voc_xml(f"<name>car</name>{polygon(*TRIANGLE)}{box}{turned(1, 2, 3, 4, 0)}").encode())
    assert (parsed.objects[0].box, sum(item.is_hull for item in parsed.objects)) == ((2, 3, 9, 8), 0)


# ---- what cannot be read says so ----


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data/VOC2007/x": None}, "not in PASCAL VOC layout"),
        ({f"VOC2007/{path}": content for path, content in voc("a").items()}, r"Did you mean .*/VOC2007\?"),
        (
            {f"{year}/{path}": content for year in ("VOC2007", "VOC2012") for path, content in voc("a").items()},
            r"Did you mean .*/VOC2007 or .*/VOC2012\?",
        ),
        ({f"kit/VOC2012/{path}": content for path, content in voc("a").items()}, r"Did you mean .*/kit/VOC2012\?"),
        ({}, "nor in any other that is read: it has nothing"),
        ({"images/a.jpg": 1}, "has no Annotations, but images/"),
    ],
)
def test_other_folders(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        open_source(str(write_tree(tmp_path, files)))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("set.zip", r"is an archive: unpack it, and name the folder, such as --data .*/set$"),
        ("set.tar.gz", r"is an archive: unpack it, and name the folder, such as --data .*/set$"),
        ("set.v2.RAR", r"such as --data .*/set\.v2$"),
        ("a.jpg", "is one image: name the folder of the data set, such as --data"),
        ("a.xml", "is one annotation"),
        ("train.txt", "is a list, or one image's labels"),
        ("set.bin", "is a file of no known format"),
    ],
)
def test_files_in_place_of_a_folder(file, message, tmp_path):
    write_tree(tmp_path, {file: b"x"})
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / file))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"ImageSets/Main/train.txt": "x\ny\nz\n"},
            "none of the 3 images asked for has an annotation: looked for Annotations/",
        ),
        ({"Annotations/b.xml": voc_xml()}, r"the 1 annotations asked for hold no object$"),
        (
            {"Annotations/b.xml": "<annotation>"},
            r"hold no object; 1 cannot be read, the first Annotations/b\.xml: .*no element",
        ),
        ({"Annotations/b.xml": "<annotations/>"}, "CVAT's own format is not read"),
    ],
)
def test_why_there_are_no_classes(files, message, tmp_path):
    lists = {"ImageSets/Main/train.txt": "b\n", "ImageSets/Main/val.txt": "b\n"}
    root = write_tree(tmp_path, {**voc("a"), "JPEGImages/b.jpg": 1, **lists, **files})
    source = VOCFolder(root)
    with pytest.raises(ValueError, match=message):
        source.class_names(source.split_ids("train"))


def test_a_run_reads_an_export(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    config = with_classes(DatasetConfig(data=str(write_tree(tmp_path / "set", LAYOUTS["Roboflow"])), image_size=8))
    assert config.classes == ("car",)
    assert load_split(config, "val").ids == ("valid/c",)
    assert load_split(config, "train").ids == ("train/a", "train/b")


def test_images_that_no_folder_of_a_split_has_are_told(tmp_path):
    files = by_folder("JPEGImages/@/{}", "Annotations/@/{}", val="bus")
    (unused, _) = notes_on_splits(DatasetConfig(data=str(write_tree(tmp_path, files))), "--val-split")
    assert unused == "images that are in none of train, val and test: 1, such as bus/c"


def test_images_that_no_list_has_are_told(tmp_path):
    files = {**voc("a", "b", "c", "d", "e"), **split("ImageSets/Main/")}
    source = VOCFolder(write_tree(tmp_path, files))
    assert source.notes() == ("images that are in none of train, val and test: 2, such as d",)
    assert VOCFolder(write_tree(tmp_path, {"ImageSets/Main/test.txt": "d\ne"})).notes() == ()
    assert VOCFolder(write_tree(tmp_path, {"ImageSets/Main/test.txt": "\n"})).notes() == ()


def test_images_of_a_split_without_annotation_are_counted(tmp_path):
    source = VOCFolder(write_tree(tmp_path, {**LAYOUTS["Roboflow"], "train/z.jpg": 1, "z.jpg": 1}))
    assert source.split_ids("train") == ("train/a", "train/b", "train/z")
    (problem,) = source.records(source.split_ids("train"), ("car",))[1]
    assert (problem.file, problem.kind) == ("train/z.xml", "without annotation")
    assert source.notes() == ()


def test_what_is_there_without_being_meant(tmp_path):
    """Folders called like files; images of a list's set that no list has; XML in a class's folder."""
    files = {**LAYOUTS["VOC"], "Annotations/folder.xml/x.txt": "", "JPEGImages/d.jpg": 1, "JPEGImages/folder.jpg/x": ""}
    source = VOCFolder(write_tree(tmp_path / "lists", files))
    assert source.all_ids() == ("a", "b", "c")
    source = VOCFolder(write_tree(tmp_path / "folders", {**LAYOUTS["Roboflow"], "train/z.jpg": 1}))
    assert names_of(source.all_ids()) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="not in PASCAL VOC layout"):
        VOCFolder(write_tree(tmp_path / "none", {"a.jpg": 1, "b.xml/c": ""}))
    files = {**annotated("photos/{}", "Annotations/{}", "a", "b"), "Annotations/a.png": 9, "other/x.xml": XML}
    assert VOCFolder(write_tree(tmp_path / "masks", files)).all_ids() == ("a", "b")


def test_two_annotations_of_one_id(tmp_path):
    """Each has an id of its own, and neither the image."""
    files = {"Annotations/x.xml": XML, "Annotations/xmls/x.xml": XML, "JPEGImages/x.jpg": 1, **voc("y")}
    source = VOCFolder(write_tree(tmp_path, files))
    assert source.all_ids() == ("Annotations/x", "Annotations/xmls/x", "x", "y")
    records, problems = source.records(source.all_ids(), ("car",))
    assert [record.id for record in records] == ["y"]
    assert [problem.kind for problem in problems] == ["ambiguous", "ambiguous", "without annotation"]
    assert "JPEGImages/x.jpg is the image of several annotations" in problems[0].detail
    files = {"Annotations/a.xml": XML, "JPEGImages/x/a.jpg": 1, "JPEGImages/y/a.jpg": 1}
    (problem,) = VOCFolder(write_tree(tmp_path / "other", files)).records(["a"], ("car",))[1]
    assert "its image can be JPEGImages/x/a.jpg, JPEGImages/y/a.jpg" in problem.detail


def test_cvats_own_format_is_named(tmp_path):
    files = {"images/a.jpg": 1, "images/b.jpg": 1, "annotations.xml": "<annotations><image/></annotations>"}
    with pytest.raises(
        ValueError,
        match=r"hold no object; 1 cannot be read, .*CVAT's own format is not read: exp",
    ):
        with_classes(DatasetConfig(data=str(write_tree(tmp_path, files))))


# ---- units ----


def read_all(root):
    source = VOCFolder(root)
    return build_dataset(source, source.all_ids(), image_size=8, class_names=("car",), progress=False)


def notes(dataset, kind):
    return [problem.file for problem in dataset.report.problems if problem.kind == kind]


HULL_IN_FRACTIONS = (
    "<name>car</name><polygon><x1>0.25</x1><y1>0.5</y1><x2>0.75</x2><y2>0.375</y2><x3>0.5</x3><y3>0.625</y3></polygon>"
)


@pytest.mark.parametrize("size", [(50, 40), None, (1, 1), (100, 80)])
@pytest.mark.parametrize("item", [("car", 0.25, 0.375, 0.75, 0.625), HULL_IN_FRACTIONS])
def test_fractions_are_read_as_such(item, size, tmp_path):
    whole = voc_xml(("car", 0, 0, 1, 1), size=size)
    root = write_tree(
        tmp_path, {**voc("a", "b", xml=voc_xml(item, size=size)), **voc("c", xml=whole), **voc("d", xml=voc_xml())}
    )
    dataset = read_all(root)
    assert dataset.examples.boxes[:, 0].tolist() == [BOX, BOX, [0, 0, 1, 1], [0, 0, 0, 0]]
    assert notes(dataset, "with boxes in fractions") == [f"Annotations/{name}.xml" for name in "abc"]


def test_one_tiny_box_among_others_is_in_pixels(tmp_path):
    tiny = voc_xml(("car", 1, 0.5, 1.5, 1))
    dataset = read_all(write_tree(tmp_path, {**voc("a", xml=tiny), **voc("b")}))
    np.testing.assert_allclose(dataset.examples.boxes[:, 0], [[0, 0, 1 / 40, 1.5 / 50], BOX], rtol=1e-6)
    assert not notes(dataset, "with boxes in fractions")


def test_without_a_finite_number_there_is_nothing_to_tell_fractions_by(tmp_path):
    dataset = read_all(write_tree(tmp_path, voc("a", xml=voc_xml(("car", math.nan, math.inf, 0, 0)))))
    assert not notes(dataset, "with boxes in fractions")
