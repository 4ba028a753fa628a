"""Paths that lead out of a data set's folder to something that is there: no namesake inside takes its place."""

import os

import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.formats.registry import open_source
from jaxssd.data.load import notes_on_splits
from jaxssd.data.splits import choose_splits
from tests.data.formats.yolo.test_layouts import NAMES, below, labelled, names_of
from tests.data.trees import voc_xml, write_tree

VOC = {
    **{f"Annotations/{name}.xml": voc_xml("car") for name in "abc"},
    **{f"JPEGImages/{name}.jpg": 100 for name in "abc"},
}


def opened(root):
    return open_source(str(root))


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        ("train: [images/train, ../other/images/train]\nval: images/val\n", "train: ../other/images/train"),
        ("train: images/train\nval: ../other/images/val\n", "val: ../other/images/val"),
        ("train: images/train\nval: {tmp}/other/images/val\n", "val: /"),
        ("train: images/train\nval: ..\\other\\images\\val\n", "val: "),
        ("train: ../images/train\nval: images/val\n", "train: ../images/train"),
        ("train: images/train\nval: {tmp}/other/val.txt\n", "val: /"),
    ],
)
def test_a_folder_outside_is_no_folder_inside(stated, key, tmp_path):
    write_tree(tmp_path, {**below(), "other/val.txt": "images/val/c.jpg\n"})
    write_tree(tmp_path / "other", below())
    files = {**below(), "data.yaml": NAMES + stated.format(tmp=tmp_path), "val.txt": "images/val/c.jpg\n"}
    root = write_tree(tmp_path / "set", files)
    with pytest.raises(ValueError, match=r"leads out of the data set's folder, .* and is not followed") as raised:
        choose_splits(opened(root))
    assert f"{root}/data.yaml, {key}" in str(raised.value)


def test_what_is_not_there_or_the_same_is_followed_as_before(tmp_path):
    stated = f"train: {tmp_path}/link/images/train\nval: [../val/images, {tmp_path}/gone/val/images, ../set/val/images]"
    files = {**below(val="val/images"), "data.yaml": f"{NAMES}{stated}\n"}
    root = write_tree(tmp_path / "set", files)
    os.symlink(root, tmp_path / "link")
    for path in (root, tmp_path / "link"):
        chosen = choose_splits(opened(path))
        assert [names_of(chosen.train), names_of(chosen.val)] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("change", ["size", "bytes", "second", "none"])
@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_lines_that_name_another_set(kind, change, tmp_path):
    """A copy of the set is one if its files are equal: that is said."""
    folder, train = ("JPEGImages", "ImageSets/Main/train.txt") if kind == "voc" else ("images", "train.txt")
    files = VOC if kind == "voc" else labelled("images/{}", "labels/{}", *"abc") | {"data.yaml": NAMES}
    write_tree(tmp_path / "first", files)
    lines = "".join(f"{tmp_path}/first/{folder}/{name}.jpg\n" for name in "ab")
    root = write_tree(tmp_path / "second", {**files, train: lines, train.replace("train", "val"): f"{folder}/c.jpg\n"})
    picture = root / folder / ("b.jpg" if change == "second" else "a.jpg")
    content = picture.read_bytes()
    picture.write_bytes({"bytes": content[:-1] + b"x", "none": content}.get(change, content + b"x"))
    if change == "none":
        assert names_of(choose_splits(opened(root)).train) == ["a", "b"]
        (note,) = notes_on_splits(DatasetConfig(data=str(root)), "--val-split")
        assert note == (
            f"{root}/{train} names images outside the data set's folder, such as {tmp_path}/first/{folder}/a.jpg: "
            f"their copies in {root} are read"
        )
        return
    number = 2 if change == "second" else 1
    with pytest.raises(ValueError, match=rf"{train}, line {number}: .* leads out .*{picture.name} in it is a diff"):
        choose_splits(opened(root))


def test_names_outside_are_no_names_inside(tmp_path):
    write_tree(tmp_path, {"data/obj.names": "horse\ncar\n"})
    files = {**labelled("data/{}", "data/{}", "a"), "data/obj.names": "car\nhorse\n"}
    root = write_tree(tmp_path / "set", {**files, "obj.data": "names = ../data/obj.names\n"})
    with pytest.raises(ValueError, match=r"obj\.data, names: \.\./data/obj\.names leads out"):
        opened(root)
    (tmp_path / "data/obj.names").unlink()
    assert opened(root).class_names([]) == ("car", "horse")
