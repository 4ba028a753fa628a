"""Files that `evaluate.py --images` writes."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxssd.tools.detect_images import detect_images
from tests.inference.conftest import Arithmetic, grey


def written(folder, name):
    return json.loads((folder / name).read_text())


def photographs(folder, *names):
    files = [folder / name for name in names]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey(100 + 50 * number)).save(file)
    return files


@pytest.fixture
def drawn(monkeypatch):
    """Pictures that would be drawn."""
    saved = []
    monkeypatch.setattr("jaxssd.inference.found.Found.save", lambda found, path: saved.append(path))
    return saved


def test_pictures_are_numbered_and_damaged_files_are_named(tmp_path, drawn, capsys):
    files = photographs(tmp_path, "one/a.png", "two/a.png", "b.png")
    files[1].write_bytes(b"nothing")
    out = tmp_path / "out"
    failures = detect_images(Arithmetic(), files, lambda: (out.mkdir(), out)[1], 0.5)
    (failure,) = failures
    assert failure.startswith(f"{files[1]}: ValueError: neither JPEG")
    rows = written(out, "detections.json")
    assert [(row["file"], row["picture"]) for row in rows] == [
        (str(files[0]), "0000-a.png"),
        (str(files[2]), "0001-b.png"),
    ]
    assert drawn == [out / row["picture"] for row in rows]
    assert rows[0] | {"file": 0} == {"file": 0, "picture": "0000-a.png", "height": 4, "width": 6, "detections": []}
    assert [detection["class"] for detection in rows[1]["detections"]] == ["horse"]
    assert f"1 found in 2 images; pictures and JSON in {out}" in capsys.readouterr().out
    assert not (out / "coco_results.json").exists()


def test_nothing_is_written_where_nothing_can_be_read(tmp_path, drawn):
    assert len(detect_images(Arithmetic(), [tmp_path / "missing.png"], lambda: pytest.fail("a folder"), 0.5)) == 1


@pytest.mark.parametrize(
    ("names", "ids"),
    [(("000000000139.png", "7.png"), [139, 7]), (("a.png", "7.png"), [1, 2]), (("1/7.png", "2/7.png"), [1, 2])],
)
def test_cocos_results_have_all_scores_and_the_files_numbers(tmp_path, drawn, names, ids):
    """Categories are numbered from 1, which are COCO's numbers for its own classes."""
    out = tmp_path / "out"
    out.mkdir()
    files = photographs(tmp_path, *names)
    detect_images(Arithmetic(), files, lambda: out, 0.9, with_coco=True)
    results, instances = written(out, "coco_results.json"), written(out, "coco_instances.json")
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in results] == [
        (ids[0], 1, [0, 0, 3, 4]),
        (ids[1], 3, [0, 0, 3, 4]),
    ]
    np.testing.assert_allclose([row["score"] for row in results], np.array([100, 150]) / 255, rtol=1e-6)
    assert [(image["id"], image["file_name"]) for image in instances["images"]] == list(
        zip(ids, map(str, files), strict=True)
    )
    assert [category["name"] for category in instances["categories"]] == ["cat", "dog", "horse"]
    assert instances["annotations"] == []


def test_a_file_that_is_gone_when_it_is_drawn_is_named(tmp_path):
    (file,) = photographs(tmp_path, "a.png")
    assert detect_images(Arithmetic(), [file], lambda: file.unlink() or tmp_path, 0.5) == [f"{file}: no such file"]
    assert list(tmp_path.iterdir()) == []
