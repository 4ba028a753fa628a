"""Links in a data set: one picture is one, by whatever name it is reached."""

import json
import os

import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.formats.registry import open_source
from jaxssd.data.load import notes_on_splits
from jaxssd.data.splits import choose_splits
from tests.data.formats.yolo.test_layouts import LINE, NAMES, below, labelled
from tests.data.trees import voc_xml, write_tree


def opened(root):
    return open_source(str(root))


def replaced_by_link(root, kind, name, target):
    """One of two kinds of links, in place of a picture."""
    (root / name).unlink()
    (os.link if kind == "hard" else os.symlink)(root / target, root / name)


@pytest.mark.parametrize("kind", ["hard", "symbolic"])
@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_a_picture_in_two_splits_by_a_link(layout, kind, tmp_path):
    if layout == "yolo":
        files = {**below("images/train", "images/val"), "data.yaml": NAMES}
    else:
        files = {f"{split}/{name}.jpg": 1 for split, name in (("train", "a"), ("train", "b"), ("val", "c"))}
        files |= {path.replace(".jpg", ".xml"): voc_xml("car") for path in files}
    root = write_tree(tmp_path, files)
    folder = "images/" if layout == "yolo" else ""
    assert len(choose_splits(opened(root)).val) == 1
    replaced_by_link(root, kind, f"{folder}val/c.jpg", f"{folder}train/b.jpg")
    with pytest.raises(ValueError, match=r"in both splits train and val: 1 image, the first 'train/b', .* 'val/c' or"):
        choose_splits(opened(root))


@pytest.mark.parametrize("kind", ["hard", "symbolic"])
@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_links_to_what_is_held_out_are_not_trained_on(layout, kind, tmp_path):
    """Of 12 pictures each is there twice, so that some are on both sides by chance."""
    names = [f"{number:02}" for number in range(24)]
    if layout == "yolo":
        files = {**labelled("images/{}", "labels/{}", *names), "classes.txt": "car\n"}
    else:
        files = {f"images/{name}.jpg": 1 for name in names} | {f"annotations/{name}.xml": voc_xml() for name in names}
    root = write_tree(tmp_path, files)
    for one, other in zip(names[::2], names[1::2], strict=True):
        replaced_by_link(root, kind, f"images/{one}.jpg", f"images/{other}.jpg")
    chosen = choose_splits(opened(root))
    pictures = [{int(name) // 2 for name in ids} for ids in chosen[:2]]
    assert len(chosen.val) == 4
    assert not pictures[0] & pictures[1]
    assert len(pictures[0] | pictures[1]) == 12
    (_, note) = notes_on_splits(DatasetConfig(data=str(root)), "--val-split")
    assert "images are links to such that are held out" in note


@pytest.mark.parametrize("layout", ["yolo", "beside", "roboflow", "voc", "coco"])
def test_folders_of_splits_that_are_links_to_folders_inside(layout, tmp_path):
    """Their content is theirs, although it lies in `all`, which comes first in the alphabet."""
    if layout == "voc":
        files = {path: 1 if path.endswith("jpg") else voc_xml("car") for path in _in_all("xml")}
    elif layout == "coco":
        files = {path: 1 for path in _in_all("json") if path.endswith("jpg")}
        for name, ids in (("one", "ab"), ("two", "c")):
            images = [{"id": ord(x), "file_name": f"{x}.jpg", "width": 50, "height": 40} for x in ids]
            boxes = [{"id": ord(x), "image_id": ord(x), "category_id": 1, "bbox": [1, 1, 9, 9]} for x in ids]
            content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
            files[f"all/{name}/_annotations.coco.json"] = json.dumps(content)
    else:
        files = {path: 1 if path.endswith("jpg") else LINE for path in _in_all("txt")}
        if layout == "roboflow":
            files = {
                f"{path[:7]}/{'images' if path.endswith('jpg') else 'labels'}{path[7:]}": content
                for path, content in files.items()
            }
        files["data.yaml"] = NAMES
    root = write_tree(tmp_path, files)
    links = {"train": "all/one", "val": "all/two"}
    if layout == "yolo":
        (root / "images").mkdir()
        links = {f"images/{split}": f"../{folder}" for split, folder in links.items()}
    for link, target in links.items():
        os.symlink(target, root / link)
    source = opened(root)
    chosen = choose_splits(source)
    assert [[name[-1] for name in ids] for ids in chosen[:2]] == [["a", "b"], ["c"]]
    assert chosen.notes == ()
    records, problems = source.records([*chosen.train, *chosen.val], ("car", "horse"))
    assert ([len(record.boxes) for record in records], problems) == ([1, 1, 1], [])


@pytest.mark.parametrize("stated", ["train: all/one\nval: all/two\n", "train: t.txt\nval: v.txt\n"])
def test_a_path_may_lead_through_another_link(stated, tmp_path):
    """Images are listed under `train` and `val`, and stated as they lie."""
    files = {path: 1 if path.endswith("jpg") else LINE for path in _in_all("txt")}
    files |= {"t.txt": "all/one/a.jpg\n./all/one/b.jpg\n", "v.txt": "all/two/c.jpg\n", "data.yaml": NAMES + stated}
    root = write_tree(tmp_path, files)
    os.symlink("all/one", root / "train")
    os.symlink("all/two", root / "val")
    assert choose_splits(opened(root))[:2] == (("train/a", "train/b"), ("val/c",))
    (root / "data.yaml").write_text(NAMES + "train: all\n")
    assert opened(root).split_ids("train") == ("train/a", "train/b", "val/c")


def _in_all(ending):
    return [f"all/{path}.{kind}" for path in ("one/a", "one/b", "two/c") for kind in ("jpg", ending)]
