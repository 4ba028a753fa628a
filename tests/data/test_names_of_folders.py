"""Data sets and their cache in folders of any name: nothing is taken for a pattern, an option or an escape."""

import json
from dataclasses import replace

import pytest

from jaxssd.config import DatasetConfig
from jaxssd.data.load import load_split, with_classes
from tests.data.trees import HEIGHT, LINE, WIDTH, voc_xml, write_tree

STEMS = [f"{number} [x] #%*" for number in range(5)]


def voc(root):
    files = {f"JPEGImages/{stem}.jpg": 90 + 9 * place for place, stem in enumerate(STEMS)}
    return write_tree(root, files | {f"Annotations/{stem}.xml": voc_xml("dog") for stem in STEMS})


def yolo(root):
    files = {f"images/{stem}.jpg": 90 + 9 * place for place, stem in enumerate(STEMS)}
    return write_tree(root, files | {f"labels/{stem}.txt": LINE for stem in STEMS} | {"classes.txt": "dog\n"})


def coco(root):
    images = [
        {"id": place, "file_name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT} for place, stem in enumerate(STEMS)
    ]
    boxes = [{"id": 1 + i, "image_id": i, "category_id": 1, "bbox": [12.5, 15, 25, 10]} for i in range(len(STEMS))]
    record = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}
    files = {f"{stem}.jpg": 90 + 9 * place for place, stem in enumerate(STEMS)}
    return write_tree(root, files | {"a [1].json": json.dumps(record)}) / "a [1].json"


@pytest.mark.parametrize(
    "name", ["proj [2024]", "a*b? {c}", "new\nline", "~", "back\\slash", "日本 'q'", "byte \udcff"]
)
def test_data_and_cache_lie_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / name / "cache"))
    for make in (voc, yolo, coco):
        config = DatasetConfig(data=str(make(tmp_path / name / make.__name__)), image_size=16)
        config = with_classes(replace(config, val_fraction=0.4))
        for _ in range(2):  # read, and read from the cache
            sets = [load_split(config, split) for split in ("train", "val")]
            assert [len(found.ids) for found in sets] == [3, 2], make.__name__
            assert all(found.examples.valid.sum() == len(found.ids) for found in sets)
