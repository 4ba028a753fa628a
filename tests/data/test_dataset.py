import json

import numpy as np
import pytest

from jaxssd.data.dataset import LoadReport, Problem, pad_objects


def squares(*sides):
    return np.array([[0, 0, side, side] for side in sides], np.float32).reshape(-1, 4)


def pad(*sides, max_objects=100):
    boxes = [squares(*image) for image in sides]
    labels = [np.arange(1, len(image) + 1, dtype=np.int32) for image in sides]
    difficult = [np.arange(len(image)) % 2 == 1 for image in sides]
    return pad_objects(boxes, labels, difficult, max_objects=max_objects)


def test_padding_is_zeros_and_false_behind_the_objects():
    boxes, labels, valid, difficult = pad([0.5], [], [0.25, 0.75])
    np.testing.assert_array_equal(boxes[:, :, 2], [[0.5, 0], [0, 0], [0.25, 0.75]])
    np.testing.assert_array_equal(labels, [[1, 0], [0, 0], [1, 2]])
    np.testing.assert_array_equal(valid, [[True, False], [False, False], [True, True]])
    np.testing.assert_array_equal(difficult, [[False, False], [False, False], [False, True]])
    assert [a.dtype for a in (boxes, labels, valid, difficult)] == [np.float32, np.int32, bool, bool]


@pytest.mark.parametrize("sides", [([],), ([], []), ()])
def test_there_is_at_least_one_place(sides):
    boxes, labels, valid, difficult = pad(*sides)
    assert boxes.shape == (len(sides), 1, 4)
    assert labels.shape == valid.shape == difficult.shape == (len(sides), 1)
    assert not valid.any()


def test_the_largest_are_kept_in_their_order():
    boxes, labels, valid, difficult = pad([0.1, 0.4, 0.2, 0.4, 0.3], [0.1], max_objects=3)
    np.testing.assert_array_equal(labels, [[2, 4, 5], [1, 0, 0]])
    np.testing.assert_array_equal(boxes[0], squares(0.4, 0.4, 0.3))
    np.testing.assert_array_equal(difficult[0], [True, True, False])
    np.testing.assert_array_equal(valid, [[True] * 3, [True, False, False]])


def test_of_equal_boxes_the_first_are_kept():
    np.testing.assert_array_equal(pad([0.2] * 40, max_objects=2)[1], [[1, 2]])


def test_max_objects_must_be_positive():
    with pytest.raises(ValueError, match="max_objects"):
        pad([0.5], max_objects=0)


def problem(action, kind):
    return Problem("Annotations/1.xml", action, kind, "")


def test_summary():
    assert LoadReport(1, 0).summary() == "1 image, 0 objects"
    problems = [
        problem("noted", "without objects"),
        problem("skipped", "missing"),
        problem("skipped", "broken"),
        problem("skipped", "broken"),
        problem("dropped", "without area"),
        *[problem("clipped", "beyond the image's edge")] * 1003,
    ]
    assert LoadReport(2400, 3412, tuple(problems)).summary() == (
        "2,400 images, 3,412 objects; skipped 3 images (2 broken, 1 missing), "
        "clipped 1,003 boxes (beyond the image's edge), dropped 1 box (without area), noted 1 image (without objects)"
    )


def test_write(tmp_path):
    report = LoadReport(1, 2, (Problem("JPEGImages/ü\udcff.jpg", "skipped", "broken", "cut"),))
    report.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == {
        "summary": "1 image, 2 objects; skipped 1 image (broken)",
        "images": 1,
        "objects": 2,
        "problems": [
            {"file": "JPEGImages/ü\udcff.jpg", "action": "skipped", "kind": "broken", "detail": "cut", "count": 1}
        ],
    }
