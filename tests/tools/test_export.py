"""What `evaluate.py --export` writes: numbers and names of the data set, about the original images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.load import load_split
from jaxssd.data.shapes import make_shapes
from jaxssd.tools.export import export
from tests.data.trees import HEIGHT, WIDTH, picture, voc_xml, write_tree
from tests.metrics.scenes import Found


def coco_json(*numbers):
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT} for number in numbers
        ],
        "annotations": [
            {"id": 1, "image_id": numbers[0], "category_id": 9, "bbox": [10, 4, 20, 30], "iscrowd": 1},
            {"id": 2, "image_id": numbers[0], "category_id": 4, "bbox": [5, 5, 5, 5]},
        ],
        "categories": [{"id": 9, "name": "cup"}, {"id": 4, "name": "plate"}],
    }
    return json.dumps(content)


def found_in(dataset, label=0):
    """One detection in each image, the left half of it."""
    rows = (len(dataset.ids), 1)
    boxes = np.tile(np.float32([0, 0, 1, 0.5]), (*rows, 1))
    return Found(boxes, np.full(rows, 0.75, np.float32), np.full(rows, label), np.ones(rows, bool))


def written(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))


def test_numbers_and_names_are_those_of_a_coco_file(tmp_path, capsys):
    root = write_tree(tmp_path / "data", {"a.json": coco_json(70, 8), "70.png": 1, "8.png": 2})
    config = DatasetConfig(data=str(root), image_size=8, classes=("cup", "plate"), aspect="letterbox")
    dataset = load_split(config, "all")
    export(tmp_path / "out", config, dataset, found_in(dataset, label=1), "all")
    assert written(tmp_path / "out", "coco_results.json") == [
        {"image_id": number, "category_id": 4, "bbox": [0, 0, WIDTH / 2, HEIGHT], "score": 0.75} for number in (70, 8)
    ]
    instances = written(tmp_path / "out", "coco_instances.json")
    assert [(image["id"], image["file_name"]) for image in instances["images"]] == [(70, "70.png"), (8, "8.png")]
    assert instances["categories"] == [{"id": 9, "name": "cup"}, {"id": 4, "name": "plate"}]
    objects = [(item["image_id"], item["category_id"], item["iscrowd"]) for item in instances["annotations"]]
    assert objects == [(70, 9, 1), (70, 4, 0)]
    assert instances["annotations"][0]["bbox"] == pytest.approx([10, 4, 20, 30], abs=0.01)
    out = capsys.readouterr().out
    assert f"{tmp_path}/out/coco_results.json" in out
    assert f"{tmp_path}/out/comp4_det_all_*.txt" in out


def test_other_data_is_numbered_by_place(tmp_path):
    files = {f"Annotations/{name}.xml": voc_xml("cup") for name in ("b", "a")}
    files |= {f"JPEGImages/{name}.png": picture(ending=".png") for name in ("b", "a")}
    config = DatasetConfig(data=str(write_tree(tmp_path / "data", files)), image_size=8, classes=("plate", "cup"))
    dataset = load_split(config, "all")
    export(tmp_path / "out", config, dataset, found_in(dataset), "val")
    instances = written(tmp_path / "out", "coco_instances.json")
    assert [(image["id"], image["file_name"]) for image in instances["images"]] == [
        (1, "JPEGImages/a.png"),
        (2, "JPEGImages/b.png"),
    ]
    assert [(item["image_id"], item["category_id"]) for item in instances["annotations"]] == [(1, 2), (2, 2)]
    assert (tmp_path / "out/comp4_det_val_plate.txt").read_text() == "".join(
        f"{name} 0.75 1 1 {WIDTH // 2} {HEIGHT}\n" for name in "ab"
    )
    assert (tmp_path / "out/comp4_det_val_cup.txt").read_text() == ""


def test_generated_pictures_are_called_by_their_ids(tmp_path):
    config = DatasetConfig(image_size=32)
    dataset = make_shapes(3, image_size=32)
    export(tmp_path / "out", config, dataset, found_in(dataset), "test")
    instances = written(tmp_path / "out", "coco_instances.json")
    assert [image["file_name"] for image in instances["images"]] == list(dataset.ids)
    assert [image["id"] for image in instances["images"]] == [1, 2, 3]
    assert len(list((tmp_path / "out").glob("comp4_det_test_*.txt"))) == len(dataset.class_names)


def test_what_vocs_format_cannot_hold_leaves_cocos(tmp_path):
    dataset = make_shapes(2, image_size=32)
    dataset = replace(dataset, ids=("a b", "c"))
    with pytest.raises(ValueError, match="'a b' is empty or has a space"):
        export(tmp_path / "out", DatasetConfig(image_size=32), dataset, found_in(dataset), "test")
    assert len(written(tmp_path / "out", "coco_results.json")) == 2
    assert len(written(tmp_path / "out", "coco_instances.json")["images"]) == 2
