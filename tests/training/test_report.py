"""What is left of an evaluation: numbers first, then a table of all classes, then figures."""

import csv
import json
import math

import numpy as np
import pytest

from jaxssd.ops import Detections
from jaxssd.tasks.detection import DetectionScores
from jaxssd.tasks.multilabel import LabelScores
from jaxssd.tasks.task import MOST_ROWS
from jaxssd.training import draw_scores, report_scores, write_scores
from jaxssd.training.evaluation import Evaluation
from jaxssd.viz.tasks import DRAWINGS, Drawing
from tests.tasks.scenes import NAMES, dataset_of, task_of

LEFT, WHOLE = (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)
DATA = dataset_of([(LEFT, 0)], [(WHOLE, 1, True)])
TASK = task_of()
FOUND = Detections(
    np.float32([[LEFT], [WHOLE]]), np.float32([[0.75], [0.5]]), np.zeros((2, 1), np.int32), np.ones((2, 1), bool)
)


def evaluation(with_coco: bool) -> Evaluation:
    return Evaluation(FOUND, None, TASK.score(FOUND, DATA, with_coco=with_coco))


def rows_of(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_class_has_a_line_in_the_table_with_the_numbers_of_the_json(tmp_path):
    write_scores(tmp_path, evaluation(True), "val", {"checkpoint": "best"})
    assert {path.name for path in tmp_path.iterdir()} == {"scores-val.json", "scores-val.csv"}
    scores, rows = json.loads((tmp_path / "scores-val.json").read_text()), rows_of(tmp_path / "scores-val.csv")
    assert scores["checkpoint"] == "best"
    assert [row["class"] for row in rows] == list(NAMES)
    for row in rows:
        voc, coco = scores["classes"][row["class"]], scores["coco"]["classes"][row["class"]]
        numbers = {**voc, "coco_ap": coco["ap"], "coco_ap50": coco["ap50"]}
        assert {name: float(value) if value else None for name, value in row.items() if name != "class"} == numbers
    assert (rows[0]["ap_area"], rows[1]["ap_area"], rows[1]["difficult"]) == ("1.0", "", "1")


def test_without_coco_the_table_has_vocs_columns(tmp_path):
    write_scores(tmp_path, evaluation(False), "val-last", {})
    assert list(rows_of(tmp_path / "scores-val-last.csv")[0]) == [
        "class", "ap_voc07", "ap_area", "truths", "difficult", "detections",
    ]  # fmt: skip


def test_scores_without_classes_have_no_table(tmp_path):
    class OneNumber:
        def as_dict(self):
            return {"box_error": 1.0}

    write_scores(tmp_path, Evaluation(None, None, OneNumber()), "val", {})
    assert [path.name for path in tmp_path.iterdir()] == ["scores-val.json"]


def test_numbers_are_written_though_a_figure_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError("no room for figures")

    monkeypatch.setitem(DRAWINGS, "detection", Drawing(figures=fail))
    with pytest.raises(MemoryError):
        report_scores(tmp_path, TASK, DATA, evaluation(False), "val", {})
    assert (tmp_path / "scores-val.json").exists()
    assert (tmp_path / "scores-val.csv").exists()


def test_figures_are_named_after_the_split(tmp_path):
    draw_scores(tmp_path, TASK, DATA, evaluation(False), "test")
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"test-detections.png", "test-precision-recall.png"}


# Very many classes


def scores_of(num_classes: int, *, with_coco: bool = True) -> DetectionScores:
    """Class k has k % 7 objects, all found."""
    from jaxssd.metrics import coco_scores, voc_scores

    labels = np.repeat(np.arange(num_classes), np.arange(num_classes) % 7)[None]
    near = np.linspace(0, 0.5, labels.size, dtype=np.float32)[None, :, None]
    boxes = np.concatenate([near, near, near + 0.25, near + 0.25], axis=-1)
    valid = np.ones(labels.shape, bool)
    found = Detections(boxes, np.linspace(1, 0.5, labels.size)[None], labels, valid)
    truths, options = (boxes, labels, valid, ~valid), {"num_classes": num_classes}
    coco = coco_scores(found, *truths, np.array([[100, 100]]), **options) if with_coco else None
    return DetectionScores(voc_scores(found, *truths, **options), [f"class {k}" for k in range(num_classes)], coco)


def test_a_table_of_few_classes_has_them_all_in_order():
    table = scores_of(MOST_ROWS, with_coco=False).table().splitlines()
    assert [line.split("  ")[0] for line in table[1:-2]] == [f"class {k}" for k in range(MOST_ROWS)]
    assert "not shown" not in table[-1]


def test_a_table_of_1203_classes_has_the_most_frequent_and_says_where_all_are():
    voc, rest = scores_of(1203, with_coco=False).table().split("\n\n")
    assert [line.split("  ")[0] for line in voc.splitlines()[1:4]] == ["class 6", "class 13", "class 20"]
    assert rest == "1,103 classes with fewer objects are not shown: scores-*.csv and scores-*.json have all."
    num_classes = MOST_ROWS + 3
    scores = scores_of(num_classes)
    voc, coco, rest = scores.table().split("\n\n")
    labels = sorted(range(num_classes), key=lambda k: (-(k % 7), k))[:MOST_ROWS]
    for part, below in ((voc, 2), (coco, 4)):
        lines = part.splitlines()
        assert [line.split("  ")[0].strip() for line in lines[1:-below]] == [f"class {k}" for k in labels]
    assert f"{int(scores.voc.num_truths.sum())}" in voc.splitlines()[-2]  # the totals are of all classes
    assert rest.startswith("3 classes")


def test_labels_of_1203_classes_are_cut_alike():
    images = np.arange(1203)
    scores = LabelScores(0.5, np.where(images > 5, 0.25, math.nan), [f"class {k}" for k in images], images)
    lines = scores.table().splitlines()
    assert [line.split("  ")[0] for line in lines[1:-2]] == [f"class {k}" for k in range(1202, 1202 - MOST_ROWS, -1)]
    assert lines[-1].startswith("1,103 classes")


def test_names_of_any_script_stand_in_columns():
    scores = scores_of(3)
    voc, coco = DetectionScores(scores.voc, ["猫", "traffic\nlight", "ぶた"], scores.coco).table().split("\n\n")
    for part, columns in ((voc, 6), (coco, 3)):
        rows = part.splitlines()[:5]
        width = {len(row) + sum(letter in "猫ぶた" for letter in row) for row in rows}
        assert len(width) == 1
        assert len(rows[2].split()) == 1 + columns
