"""Exports of tools in YOLO's form, each built as a tree of small files: what it states is what is trained on."""

import numpy as np
import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.build import build_dataset
from jaxssd.data.formats.registry import open_source
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.folder import YOLOFolder
from jaxssd.data.load import default_split, notes_on_splits
from jaxssd.data.splits import choose_splits
from tests.data.trees import BOX, LINE, voc_xml, write_tree

NAMES = "names: [car, horse]\n"
TWO = "car\nhorse\n"


def labelled(images, labels, *names, ending=".jpg"):
    """Pictures and their labels, one box of class 0 each; `{}` stands for a name."""
    return {images.format(name) + ending: 100 for name in names} | {
        labels.format(name) + ".txt": LINE for name in names
    }


def pairs(folder, *names, **options):
    return labelled(f"{folder}/{{}}", f"{folder}/{{}}", *names, **options)


def below(train="images/train", val="images/val", **options):
    """Two training pictures and one to validate on, with their labels as Ultralytics finds them."""
    as_labels = [folder.replace("images", "labels") for folder in (train, val)]
    return labelled(f"{train}/{{}}", f"{as_labels[0]}/{{}}", "a", "b", **options) | labelled(
        f"{val}/{{}}", f"{as_labels[1]}/{{}}", "c", **options
    )


ROBOFLOW = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['car', 'horse']\n"
LAYOUTS = {
    "stated folders": {**below("images/t1", "images/v1"), "data.yaml": NAMES + "train: images/t1\nval: images/v1\n"},
    "names as a mapping": {
        **below("images/t1", "images/v1"),
        "data.yaml": "train: images/t1\nval: images/v1\nnc: 2\nnames:\n  0: car\n  1: horse\n",
    },
    "path is a dot": {**below(), "data.yaml": NAMES + "path: .\ntrain: images/train\nval: images/val\n"},
    "path of another machine": {
        **below("images/t1", "images/v1"),
        "data.yaml": NAMES + "path: /content/datasets/cars\ntrain: images/t1\nval: images/v1\n",
    },
    "path beside the folder": {
        **below("images/t1", "images/v1"),
        "data.yaml": NAMES + "path: ../datasets/cars\ntrain: images/t1\nval: images/v1\n",
    },
    "paths of another machine, in a folder for training": {
        **below("images/t1", "images/v1"),
        "data.yaml": NAMES + "train: /home/me/yolo_train/images/t1\nval: /home/me/yolo_train/images/v1\n",
    },
    "path above": {
        **{f"set/{path}": content for path, content in below("images/t1", "images/v1").items()},
        "data.yaml": NAMES + "path: set\ntrain: images/t1\nval: images/v1\n",
    },
    "other case": {
        **below("images/Train", "images/VAL"),
        "data.yaml": NAMES + "train: images/train\nval: images/val\n",
    },
    "other case, not stated": {**below("Images/Train", "Images/Val"), "classes.txt": TWO},
    "labels in other case": {
        **labelled("images/train/{}", "Labels/Train/{}", "a", "b"),
        **labelled("images/val/{}", "Labels/Val/{}", "c"),
        "data.yaml": NAMES,
    },
    "validation": {**below("images/training", "images/validation"), "data.yaml": NAMES},
    "dev": {**below("train/images", "dev/images"), "data.yaml": NAMES},
    "lists of folders": {
        **labelled("images/one/{}", "labels/one/{}", "a"),
        **labelled("images/two/{}", "labels/two/{}", "b"),
        **labelled("images/three/{}", "labels/three/{}", "c"),
        "data.yaml": NAMES + "train: [images/one, images/two]\nval:\n  - images/three\n",
    },
    "lists of images": {
        **labelled("images/{}", "labels/{}", "a", "b", "c"),
        "data.yaml": NAMES + "train: train.txt\nval: lists/holdout.txt\n",
        "train.txt": "./images/a.jpg\nimages/b.jpg\n",
        "lists/holdout.txt": "\ufeff../images/c.jpg\r\n",
    },
    "lists of another machine": {
        **labelled("images/{}", "labels/{}", "a", "b", "c"),
        "data.yaml": NAMES + "path: /home/me/set\ntrain: train.txt\nval: val.txt\n",
        "train.txt": "/home/me/set/images/a.jpg\n/home/me/set/images/b.jpg\n",
        "val.txt": "C:\\me\\set\\images\\c.jpg\n",
    },
    "lists without a yaml": {
        **labelled("images/{}", "labels/{}", "a", "b", "c"),
        "classes.txt": TWO,
        "train.txt": "images/a.jpg\nimages/b.jpg\n",
        "Valid.txt": "images/c.jpg\n",
    },
    "Ultralytics' autosplit": {
        **labelled("images/{}", "labels/{}", "a", "b", "c"),
        "classes.txt": TWO,
        "autosplit_train.txt": "./images/a.jpg\n./images/b.jpg\n",
        "autosplit_val.txt": "./images/c.jpg\n",
    },
    "Roboflow": {**below("train/images", "valid/images"), "data.yaml": ROBOFLOW, "README.roboflow.txt": "cars"},
    "Roboflow, Darknet": {
        **pairs("train", "a", "b"),
        **pairs("valid", "c"),
        "train/_darknet.labels": TWO,
        "valid/_darknet.labels": TWO,
        "README.dataset.txt": "cars",
    },
    "CVAT YOLO 1.1": {
        **pairs("obj_train_data", "a", "b"),
        **pairs("obj_valid_data", "c"),
        "train.txt": "data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n",
        "valid.txt": "data/obj_valid_data/c.jpg\n",
        "obj.names": TWO,
        "obj.data": "classes=2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = x\n",
    },
    "CVAT Ultralytics": {
        **below(),
        "data.yaml": "names:\n  0: car\n  1: horse\npath: .\ntrain: train.txt\nval: val.txt\n",
        "train.txt": "data/images/train/a.jpg\ndata/images/train/b.jpg\n",
        "val.txt": "data/images/val/c.jpg\n",
    },
    "Darknet": {
        **pairs("data/obj", "a", "b", "c"),
        "data/train.txt": "data/obj/a.jpg\ndata/obj/b.jpg\n",
        "data/test.txt": "data/obj/c.jpg\n",
        "data/cars.names": TWO,
        "obj.data": "classes=2\ntrain=data/train.txt\nvalid=data/test.txt\nnames=data/cars.names\n",
    },
    "LabelImg": {
        **labelled("train/images/{}", "train/labels/{}", "a", "b"),
        **labelled("val/images/{}", "val/labels/{}", "c"),
        "train/labels/classes.txt": TWO,
        "val/labels/classes.txt": TWO,
    },
    "a yaml of another name": {
        **below("images/t1", "images/v1"),
        "cars.yaml": NAMES + "train: images/t1\nval: images/v1\n",
        "hyp.yaml": "lr0: 0.01\n",
    },
    "years": {**below("images/train2017", "images/val2017"), "data.yaml": NAMES},
    "what systems leave behind": {
        **below(),
        "data.yaml": NAMES,
        "__MACOSX/images/train/._a.jpg": b"",
        "__MACOSX/images/train/z.jpg": 100,
        "images/train/.DS_Store": b"",
        "images/train/._a.jpg": b"",
        "images/train/Thumbs.db": b"",
        "images/.ipynb_checkpoints/a-checkpoint.jpg": 100,
        "labels/train.cache": b"",
    },
    "images without labels beside labelled ones": {
        **below(),
        "data.yaml": NAMES + "train: images/train\nval: images/val\n",
        "docs/logo.png": 100,
        "runs/detect/a.jpg": 100,
    },
}


def names_of(ids):
    return sorted(name.rpartition("/")[2] for name in ids)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_stated_is_followed(layout, tmp_path):
    root = write_tree(tmp_path / "set", LAYOUTS[layout])
    config = DatasetConfig(data=str(root))
    source = open_source(config.data, config.images)
    assert isinstance(source, YOLOFolder)
    chosen = choose_splits(source)
    assert (names_of(chosen.train), names_of(chosen.val), chosen.notes) == (["a", "b"], ["c"], ())
    assert source.class_names([]) == ("car", "horse")
    assert default_split(config) == "val"
    assert names_of(source.all_ids()) == ["a", "b", "c"]
    dataset = build_dataset(
        source, source.all_ids(), image_size=8, class_names=("car", "horse"), progress=False, workers=1
    )
    assert dataset.report.summary() == "3 images, 3 objects"
    np.testing.assert_array_equal(dataset.examples.boxes, np.float32([[BOX]] * 3))
    assert all((source._place[0] / name).is_file() for name in source.file_names(source.all_ids()))


def test_classes_without_names_are_numbered(tmp_path):
    root = write_tree(tmp_path / "set", {**below(), "data.yaml": "nc: 2\ntrain: images/train\nval: images/val\n"})
    assert YOLOFolder(root).class_names([]) == ("class_0", "class_1")
    for count in ("0", "-1", "many", "999999999"):
        (root / "data.yaml").write_text(f"nc: {count}\ntrain: images/train\nval: images/val\n")
        with pytest.raises(ValueError, match=r"data\.yaml has no names"):
            YOLOFolder(root).class_names([])


@pytest.mark.parametrize(("shape", "behind"), [("[2, 3]", " 0.1 0.2 2 0.3 0.4 2"), ("[3, 2]", " 0 0 0.5 0.5 70 0")])
def test_keypoints_behind_a_box_are_left_out(shape, behind, tmp_path):
    files = {"images/a.jpg": 1, "labels/a.txt": f"{LINE.strip()}{behind}\n1 {LINE[2:]}"}
    root = write_tree(tmp_path / "set", files)
    (root / "data.yaml").write_text(f"{NAMES}kpt_shape: {shape}\n")
    source = YOLOFolder(root)
    dataset = build_dataset(
        source, source.all_ids(), image_size=8, class_names=("car", "horse"), progress=False, workers=1
    )
    np.testing.assert_array_equal(dataset.examples.boxes, np.float32([[BOX, BOX]]))
    assert dataset.report.summary() == "1 image, 2 objects"


def test_label_studio_has_no_splits(tmp_path):
    """Its names are encoded, and its notes.json is no COCO file."""
    names = [f"8a7b{number}-my%20cat" for number in range(5)]
    files = {
        **labelled("images/{}", "labels/{}", *names),
        "classes.txt": "car\nhorse",
        "notes.json": '{"categories": []}',
    }
    config = DatasetConfig(data=str(write_tree(tmp_path, files)))
    assert isinstance(open_source(config.data, config.images), YOLOFolder)
    assert "there are no splits: 20 % of all images, 1 of 5" in notes_on_splits(config, "--val-split")[0]
    records, problems = open_source(config.data, config.images).records(names, ("car",))
    assert ([len(record.boxes) for record in records], problems) == ([1] * 5, [])


def test_a_yaml_can_be_named_itself(tmp_path):
    """Of several, that is the one that counts."""
    files = {
        **below("images/t1", "images/v1"),
        "data.yaml": "names: [x, y]\ntrain: images/v1\nval: images/t1\n",
        "mine.yml": NAMES + "train: images/t1\nval: images/v1\n",
    }
    root = write_tree(tmp_path, files)
    source = open_source(str(root / "mine.yml"))
    assert (names_of(choose_splits(source).train), source.class_names([])) == (["a", "b"], ("car", "horse"))
    source = open_source(str(root))
    assert (names_of(choose_splits(source).train), source.class_names([])) == (["c"], ("x", "y"))
    (root / "data.yaml").rename(root / "other.yaml")
    with pytest.raises(ValueError, match=r"several files with class names, mine\.yml, other\.yaml: name one, --data"):
        open_source(str(root))


def test_a_path_that_is_there_is_followed_and_said(tmp_path):
    write_tree(tmp_path / "pool", below("images/t1", "images/v1"))
    yaml = f"path: {tmp_path / 'pool'}\ntrain: images/t1\nval: images/v1\n{NAMES}"
    write_tree(tmp_path / "configs", {"cars.yaml": yaml})
    config = DatasetConfig(data=str(tmp_path / "configs/cars.yaml"))
    source = open_source(config.data, config.images)
    assert names_of(choose_splits(source).val) == ["c"]
    assert source.inputs(["v1/c"])[1:] == [tmp_path / "pool/labels/v1/c.txt", tmp_path / "pool/images/v1/c.jpg"]
    (line,) = notes_on_splits(config, "--val-split")
    assert line == f"cars.yaml states path: {tmp_path / 'pool'}: images are read from {tmp_path / 'pool'}"
    write_tree(tmp_path / "configs", {"cars.yaml": "path: /\ntrain: tmp\n" + NAMES})
    with pytest.raises(ValueError, match="the root of the file system"):
        open_source(config.data, config.images)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train\nval: images/holdout\n", r"data\.yaml, val: images/holdout is not there; expected a"),
        ("train: images/train\nval: holdout.txt\n", r"data\.yaml, val: holdout\.txt is not there"),
        ("train: images/train\nval: val/images/val\n", r"data\.yaml, val: val/images/val is not there"),
        ("train: images/train\nval: images/empty\n", r"data\.yaml, val: images/empty holds no image"),
        ("train: images/train\nval: [images/val, images/gone]\n", r"data\.yaml, val: images/gone is not there"),
        ("train: images/train\nval: ../beside/images\n", r"val: \.\./beside/images leads out of .* state a `path`"),
        ("train: images/train\nval: {outside}/beside/images\n", r"val: .*/beside/images leads out of .* not followed"),
        ("train: images/train\nval: images/val/c.jpg\n", r"c\.jpg is neither a folder of images nor a \.txt list"),
        ("train: images/train\nval: blank.txt\n", r"blank\.txt names no image"),
        (
            "train: images/train\nval: escape.txt\n",
            r"escape\.txt, line 2: '\.\./beside/images/z\.jpg' is not .* move them",
        ),
        ("train: images/train\nval: absolute.txt\n", r"absolute\.txt, line 1: '/.*z\.jpg' is not a plain .* move them"),
        ("train: images/train\nval: images/train\n", r"in both splits train and val: 2 images, the first 'train/a'"),
        ("train: images\nval: images/val\n", r"in both splits train and val: 1 image, the first 'val/c'"),
        ("train: {{a: b}}\nval: images/val\n", r"data\.yaml has train: that is neither a path nor a list of paths"),
    ],
)
def test_what_is_stated_and_not_there_is_an_error(yaml, message, tmp_path):
    """It names the file, the key and the path, or the line of the list."""
    lists = {
        "blank.txt": "\n",
        "escape.txt": "images/val/c.jpg\n../beside/images/z.jpg\n",
        "absolute.txt": f"{tmp_path}/beside/images/z.jpg\n",
        "images/empty": None,
        "data.yaml": yaml.format(outside=tmp_path) + NAMES,
    }
    write_tree(tmp_path, labelled("beside/images/{}", "beside/labels/{}", "z"))
    root = write_tree(tmp_path / "set", {**below(), **lists})
    with pytest.raises(ValueError, match=message) as raised:
        choose_splits(open_source(str(root)))
    assert str(root) in str(raised.value)


def test_a_split_that_is_not_asked_for_may_be_missing(tmp_path):
    root = write_tree(tmp_path, {**below(), "data.yaml": NAMES + "train: images/train\nval: images/val\ntest: gone\n"})
    source = open_source(str(root))
    assert choose_splits(source).notes == ()
    assert source.split_names() == ("test", "train", "val")
    with pytest.raises(ValueError, match=r"data\.yaml, test: gone is not there"):
        source.split_ids("test")


def test_paths_that_lead_nowhere_are_said(tmp_path):
    """Folders take their place; without those, some images are held out."""
    files = {**below(), "data.yaml": NAMES + "train: /content/x\nval: ../y\n"}
    config = DatasetConfig(data=str(write_tree(tmp_path / "a", files)))
    assert [names_of(ids) for ids in choose_splits(open_source(config.data, config.images))[:2]] == [["a", "b"], ["c"]]
    assert [line.partition(" is not there")[0].partition("data.yaml, ")[2] for line in notes_on_splits(config, "")] == [
        "train: /content/x",
        "val: ../y",
    ]
    files = {**labelled("images/{}", "labels/{}", *"abcde"), "data.yaml": NAMES + "train: ../x\n"}
    config = DatasetConfig(data=str(write_tree(tmp_path / "b", files)))
    first, second = notes_on_splits(config, "--val-split")
    assert "data.yaml, train: ../x is not there" in first
    assert "no validation split found, there are no splits: 20 % of all images, 1 of 5, are held out" in second


@pytest.mark.parametrize(
    ("stated", "said"), [("test: images/val\n", "test and train but no val"), ("", "train but no val")]
)
def test_a_test_split_is_not_validated_on(stated, said, tmp_path):
    files = {
        **below(val="images/holdout"),
        "data.yaml": NAMES + "train: images/train\nval:\n" + stated.replace("val", "holdout"),
    }
    config = DatasetConfig(data=str(write_tree(tmp_path, files)))
    chosen = choose_splits(open_source(config.data, config.images))
    assert names_of([*chosen.train, *chosen.val]) == ["a", "b"]
    *others, line = notes_on_splits(config, "--val-split")
    unused = ["images that are in none of train, val and test: 1, such as holdout/c"]
    assert others == ([] if stated else unused)
    assert line.startswith(f"no validation split found, there is {said}: 20 % of train, 1 of 2, are held out at random")


def test_what_a_yaml_leaves_open_is_found_by_folders(tmp_path):
    files = {**below(), "data.yaml": NAMES + "train: images/train\n"}
    source = open_source(str(write_tree(tmp_path, files)))
    assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]


def test_a_line_of_a_list_without_its_image_is_counted(tmp_path):
    files = {
        **labelled("images/{}", "labels/{}", "a", "b", "c"),
        "data.yaml": NAMES + "train: train.txt\nval: val.txt\n",
        "train.txt": "images/a.jpg\nimages/gone.jpg\n/home/me/images/lost.jpg\nimages/b.jpg\n",
        "val.txt": "images/c.jpg\n",
    }
    source = open_source(str(write_tree(tmp_path, files)))
    ids = choose_splits(source).train
    records, problems = source.records(ids, ("car", "horse"))
    assert [record.id for record in records] == ["a", "b"]
    assert [(problem.action, problem.kind) for problem in problems] == [("skipped", "missing")] * 2


def test_labels_in_another_folder_are_taken_and_counted(tmp_path):
    files = {**labelled("images/train/{}", "labels/{}", "a", "b"), **below(), "classes.txt": TWO}
    del files["labels/train/a.txt"]
    source = open_source(str(write_tree(tmp_path, {**files, "labels/c.txt": LINE})))
    records, problems = source.records(["train/a", "train/b"], ("car", "horse"))
    assert [len(record.boxes) for record in records] == [1, 1]
    assert [(problem.file, problem.kind) for problem in problems] == [
        ("images/train/a.jpg", "labels in another folder")
    ]
    assert source._pairs["val/c"].labels == "labels/val/c.txt"


def test_one_of_several_of_a_name_is_counted(tmp_path):
    files = {**below(), "images/train/a.png": 9, "images/train/a.webp": 9, "data.yaml": NAMES}
    source = open_source(str(write_tree(tmp_path, files)))
    _, (problem,) = source.records(["train/a", "train/b"], ("car",))
    assert (problem.file, problem.kind) == ("images/train/a.jpg", "one of several of its name")
    assert problem.detail == "read instead of images/train/a.png, images/train/a.webp"


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/a.JPG", "labels/train/a.TXT"),
        ("images/my cat.jpg", "labels/my%20cat.txt"),
        ("images/my%20cat.jpg", "labels/my cat.txt"),
        ("images/A.jpg", "labels/a.txt"),
        ("images/caf\u00e9.jpg", "labels/cafe\u0301.txt"),
        ("images/a.jpg", "labels/a.jpg.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
        ("images/x/a.jpg", "images/x/a.txt"),
        ("JPEGImages/a.jpg", "labels/a.txt"),
        *((f"images/a{ending}", "labels/a.txt") for ending in (".webp", ".bmp", ".tif", ".TIFF", ".gif", ".jfif")),
    ],
)
def test_labels_are_found(image, labels, tmp_path):
    root = write_tree(tmp_path, {image: 100, labels: LINE, "classes.txt": TWO})
    source = open_source(str(root))
    (name,) = source.all_ids()
    (record,), problems = source.records([name], ("car",))
    assert (record.image, len(record.boxes), problems) == (root / image, 1, [])


def test_names_that_differ_are_an_error(tmp_path):
    files = {**pairs("train", "a"), "train/classes.txt": TWO, **pairs("val", "b"), "val/classes.txt": "horse\ncar\n"}
    with pytest.raises(ValueError, match=r"train/classes\.txt and .*val/classes\.txt name different classes"):
        open_source(str(write_tree(tmp_path, files)))


@pytest.mark.parametrize("depth", ["deeper", "a/deeper"])
def test_a_folder_further_down_is_hinted_at(depth, tmp_path):
    files = {f"{depth}/{path}": content for path, content in {**below(), "data.yaml": NAMES}.items()}
    write_tree(tmp_path, files)
    with pytest.raises(ValueError, match=rf"Did you mean --data .*/{depth}\?"):
        open_source(str(tmp_path))


XML = voc_xml("car")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"classes.txt": TWO}, YOLOFolder),
        ({"labels/classes.txt": TWO}, YOLOFolder),
        ({"Annotations/a.xml": XML}, VOCFolder),
        ({"Annotations/a.xml": XML, "classes.txt": TWO}, YOLOFolder),
        ({"Annotations/a.xml": XML, "labels/classes.txt": TWO}, YOLOFolder),
        ({"labels/a.xml": XML, "classes.txt": TWO}, YOLOFolder),
        ({"Annotations/a.xml": XML, "JPEGImages/a.jpg": 1, "classes.txt": TWO}, VOCFolder),
        ({"labels/a.xml": XML, "labels/a.txt": None, "labels.txt": TWO}, VOCFolder),
    ],
)
def test_formats_beside_each_other(files, kind, tmp_path):
    """Labels count if classes have names; `None` takes a file away."""
    tree = {**labelled("images/{}", "labels/{}", "a"), **files}
    root = write_tree(tmp_path, {path: content for path, content in tree.items() if content is not None})
    assert isinstance(open_source(str(root)), kind)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            labelled("{}", "{}", "a"),
            r"has no class names: expected one of data\.yaml, .*predefined_classes\.txt$",
        ),
        (labelled("images/{}", "labels/{}", "a"), "has no class names"),
        ({"images/a.jpg": 1, "data.yaml": NAMES}, "no image in it has a .txt file; it has data.yaml, images/"),
        ({"obj_train_data/a.txt": LINE, "obj.names": TWO}, "there is no image at all, export them too"),
        ({**below(), "cfg/data.yaml": NAMES}, r"Did you mean --data .*/cfg/data\.yaml\?"),
        ({"set.zip": b"PK"}, r"but the archive set\.zip: unpack it"),
    ],
)
def test_what_is_missing_is_named(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        open_source(str(write_tree(tmp_path, files)))


def test_images_that_no_split_has_are_told(tmp_path):
    files = {**below(val="images/bus"), "data.yaml": NAMES}
    (unused, _) = notes_on_splits(DatasetConfig(data=str(write_tree(tmp_path, files))), "--val-split")
    assert unused == "images that are in none of train, val and test: 1, such as bus/c"


def test_a_list_may_name_labels_and_have_remarks(tmp_path):
    files = {
        **labelled("images/{}", "labels/{}", "a", "b", "c", "#1"),
        "data.yaml": NAMES + "train: train.txt\nval: val.txt\n",
        "train.txt": "# mine\nlabels/a.txt\nb\n#1.jpg\n",
        "val.txt": "c\n",
    }
    assert choose_splits(open_source(str(write_tree(tmp_path, files))))[:2] == (("a", "b", "#1"), ("c",))


@pytest.mark.parametrize(("images", "labels"), [("images/@/{}", "labels/{}"), ("images/{}", "labels/@/{}")])
def test_splits_of_one_kind_of_folder(images, labels, tmp_path):
    parts = (("train", "ab"), ("valid", "c"))
    found = [labelled(images.replace("@", split), labels.replace("@", split), *names) for split, names in parts]
    source = open_source(str(write_tree(tmp_path, {**found[0], **found[1], "data.yaml": NAMES})))
    assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("valid: images/v1\n", "c"),
        ("validation: images/v1\n", "c"),
        ("valid: images/train\nval: images/v1\n", "c"),
        ("val: images/v1\nvalid: images/train\n", "c"),
        ("val: ~\nvalid: images/v1\n", "c"),
        ("val: null\nvalidation: [images/v1, '']\n", "c"),
    ],
)
def test_keys_of_the_validation_split(yaml, expected, tmp_path):
    files = {**below(val="images/v1"), "data.yaml": NAMES + "train: images/train\n" + yaml}
    assert names_of(choose_splits(open_source(str(write_tree(tmp_path, files)))).val) == [expected]


def test_a_split_of_several_folders_one_of_which_is_stale(tmp_path):
    files = {**below(), "data.yaml": NAMES + "train: [images/train, ../gone]\nval: images/val\n"}
    with pytest.raises(ValueError, match=r"data\.yaml, train: \.\./gone is not there"):
        choose_splits(open_source(str(write_tree(tmp_path, files))))


def test_what_obj_data_may_hold(tmp_path):
    """Remarks, empty values, and blanks anywhere."""
    text = "\n# train = x.txt\nclasses\n train  =  t.txt \nvalid = v.txt\ntest =\nnames = obj.names\n"
    files = {
        **pairs("obj", "a", "b", "c"),
        "obj.data": text,
        "obj.names": TWO,
        "t.txt": "obj/a.jpg\nobj/b.jpg",
        "v.txt": "obj/c.jpg",
    }
    source = open_source(str(write_tree(tmp_path, files)))
    assert source.split_names() == ("train", "val")
    assert [names_of(ids) for ids in choose_splits(source)[:2]] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("path", ['"a\\0b"', "x" * 5000, "/" + "y/" * 3000, '"../\\0"', "'*'", '"\\uD83D"'])
@pytest.mark.parametrize("key", ["path", "val"])
def test_any_path_is_followed_or_refused(key, path, tmp_path):
    """Of those that no file system has: a fault of `path` is a remark, one of a split an error or a remark."""
    files = {**below(), "data.yaml": NAMES + f"train: images/train\n{key}: {path}\n"}
    try:
        source = open_source(str(write_tree(tmp_path, files)))
        choose_splits(source)
        said = "".join(source.notes())
    except ValueError as error:
        said = str(error)
    assert "data.yaml" in said


def test_a_list_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxssd.data.formats.split_lists.MAX_LIST_BYTES", 5)
    with pytest.raises(ValueError, match=r"train\.txt has more than 5 bytes"):
        choose_splits(open_source(str(write_tree(tmp_path, LAYOUTS["lists of images"]))))


@pytest.mark.parametrize("stated", [".", "./", "../set", "{root}", "{root}/../set"])
def test_a_path_that_is_the_folder_is_not_worth_a_word(stated, tmp_path, monkeypatch):
    yaml = NAMES + f"path: {stated.format(root=tmp_path / 'set')}\ntrain: images/train\nval: images/val\n"
    write_tree(tmp_path / "set", {**below(), "data.yaml": yaml, "sub": None})
    monkeypatch.chdir(tmp_path / "set/sub")
    for data in ("..", "../data.yaml", str(tmp_path / "set")):
        assert notes_on_splits(DatasetConfig(data=data), "--val-split") == []
        assert names_of(choose_splits(open_source(data)).val) == ["c"]


def test_labels_of_one_name_in_two_folders_are_nobodys(tmp_path):
    """Of images without labels, or of labels without an image, that have a namesake, none is guessed."""
    files = {**below(), "images/train/x.jpg": 1, "labels/one/x.txt": LINE, "labels/two/x.txt": LINE, "classes.txt": TWO}
    source = open_source(str(write_tree(tmp_path, files)))
    assert [pair.labels for name, pair in source._pairs.items() if name == "train/x"] == [None]
    kinds = sorted(problem.kind for problem in source.records(source.all_ids(), ("car",))[1])
    assert kinds == ["missing", "missing", "without label file"]


def test_images_that_would_have_one_id(tmp_path):
    files = {**labelled("images/{}", "labels/{}", "a"), **labelled("set/images/{}", "set/labels/{}", "a"), "a.jpg": 1}
    source = open_source(str(write_tree(tmp_path, {**files, "a.txt": LINE, "classes.txt": TWO})))
    assert source.all_ids() == ("a", "images/a", "set/a")


def test_images_without_labels_belong_to_the_set(tmp_path):
    """Beside labelled ones wherever those lie; where those lie in folders of images, only in such folders."""
    files = {**pairs("train", "a"), "train/background.jpg": 1, "other/b.jpg": 1, "classes.txt": TWO}
    source = open_source(str(write_tree(tmp_path / "beside", files)))
    assert source.all_ids() == ("other/b", "train/a", "train/background")
    files = {**labelled("images/{}", "labels/{}", "a"), "images/b.jpg": 1, "logo.jpg": 1, "classes.txt": TWO}
    source = open_source(str(write_tree(tmp_path / "below", files)))
    assert source.all_ids() == ("a", "b")


def test_a_folder_of_any_name_with_images_and_labels(tmp_path):
    files = {**labelled("camera/images/{}", "camera/labels/{}", "a", "b"), "camera/labels/classes.txt": TWO}
    assert open_source(str(write_tree(tmp_path, files))).all_ids() == ("camera/a", "camera/b")


def test_a_path_of_very_many_folders_takes_no_time(tmp_path):
    """Each is looked for less its first parts, which would take hours."""
    deep = "y/" * 20_000
    files = {
        **below(),
        "train.txt": f"images/train/a.jpg\n{deep}a.jpg\n",
        "val.txt": "images/val/c.jpg",
        "obj.data": f"names={deep}n",
    }
    source = open_source(str(write_tree(tmp_path, {**files, "classes.txt": TWO})))
    with pytest.raises(ValueError, match="is not a plain file name"):
        source.split_ids("train")


@pytest.mark.parametrize("texts", ["a", "abcdefghij"])
def test_labelimgs_two_formats_in_one_folder(texts, tmp_path):
    """What has boxes is no image without objects; an XML without any, or beside labels, is no matter."""
    xmls = {f"{name}.{kind}": {"jpg": 1, "xml": voc_xml("car")}[kind] for name in "xyz" for kind in ("jpg", "xml")}
    root = write_tree(tmp_path, {**labelled("{}", "{}", *texts), **xmls, "classes.txt": TWO})
    with pytest.raises(ValueError, match=rf"formats: {len(texts)} images with a \.txt .* 3 without, .* x\.jpg\. Con"):
        open_source(str(root))
    (root / "x.xml").unlink()
    (root / "y.xml").write_text(voc_xml())
    (root / "z.txt").write_text(LINE)
    assert open_source(str(root)).all_ids() == (*texts, "x", "y", "z")
    for path in root.glob("*.txt"):
        path.unlink()
    assert isinstance(open_source(str(root)), VOCFolder)


@pytest.mark.parametrize("image", ["images/train/q.jpg", "train/q.jpg", "train/images/q.jpg"])
@pytest.mark.parametrize("labels", ["labels/val/q.txt", "labels/test/q.txt", "val/labels/q.txt"])
def test_labels_of_another_split_are_not_taken(image, labels, tmp_path):
    yaml = NAMES + "train: images/train\nval: images/val\n"
    files = {**below(), image: 99, labels: "1 0.2 0.2 0.1 0.1\n", "data.yaml": yaml}
    source = open_source(str(write_tree(tmp_path, files)))
    name = next(name for name, pair in source._pairs.items() if pair.image == image)
    (record,), (problem,) = source.records([name], ("car", "horse"))
    assert (len(record.boxes), problem.kind) == (0, "without label file")


def test_labels_elsewhere_belong_to_the_image_with_the_same_last_folders(tmp_path):
    """Labels lie in a folder that Ultralytics does not look into, and so does one whose image is gone."""
    files = {f"{name}.jpg": 1 for name in ("train/0", "train/1", "val/0", "val/2")}
    files |= {f"labels/{name}.txt": LINE for name in ("train/0", "train/1", "val/0", "train/2")}
    files |= {**pairs("train", "x"), "classes.txt": TWO}
    source = open_source(str(write_tree(tmp_path, files)))
    taken = {name: pair.labels for name, pair in source._pairs.items() if pair.elsewhere}
    assert taken == {name: f"labels/{name}.txt" for name in ("train/0", "train/1", "val/0")}
    assert source._pairs["val/2"].labels is None


@pytest.mark.parametrize("file", ["data.yaml", "obj.data"])
def test_what_describes_a_set_is_one_of_its_inputs(file, tmp_path):
    """The number of keypoints in a data.yaml changes boxes, wherever the names are."""
    stated = "kpt_shape: [1, 2]\n" if file == "data.yaml" else "names = classes.txt\n"
    root = write_tree(tmp_path, {**labelled("{}", "{}", "a"), "classes.txt": TWO, file: stated})
    assert YOLOFolder(root).inputs(["a"]) == [root / name for name in ("classes.txt", file, "a.txt", "a.jpg")]
    (root / "data.yaml").write_text(NAMES + stated * (file == "data.yaml"))
    assert YOLOFolder(root).inputs(["a"]) == [root / name for name in ("data.yaml", "a.txt", "a.jpg")]


@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_images_that_are_trained_and_tested_on_are_said(layout, tmp_path):
    stated = {"data.yaml": NAMES + "train: images/train\nval: images/val\ntest: images/train\n"}
    if layout == "voc":
        stated = {f"{name}.txt": "a\nb\n" for name in ("train", "test")} | {"val.txt": "c\n"}
        stated |= {f"Annotations/{name}.xml": voc_xml("car") for name in "abc"}
        stated |= {f"JPEGImages/{name}.jpg": 1 for name in "abc"}
    files = stated if layout == "voc" else {**below(), **stated}
    (note,) = notes_on_splits(DatasetConfig(data=str(write_tree(tmp_path, files))), "--val-split")
    assert note.startswith("test and train have 2 images in common, such as ")
