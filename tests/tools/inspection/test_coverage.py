import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data import best_anchors as module
from jaxssd.data.best_anchors import BestAnchors, best_anchors, loses_anchor
from jaxssd.tools.inspection import inspection
from jaxssd.tools.inspection.inspection import repeated_boxes
from tests.strategies import grid_boxes, masks


def slow_iou(a, b):
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = side[0] * side[1]
    return np.float32(shared) / np.float32(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


@given(st.integers(0, 20).flatmap(grid_boxes), grid_boxes(7))
def test_the_best_anchor_of_each_box(boxes, anchors):
    found = best_anchors(boxes, anchors)
    iou = np.array([[slow_iou(box, anchor) for anchor in anchors] for box in boxes]).reshape(len(boxes), 7)
    np.testing.assert_array_equal(found.iou, iou.max(axis=1, initial=0))
    np.testing.assert_array_equal(found.anchor, iou.argmax(axis=1))


def test_parts_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    boxes, anchors = (np.sort(rng.random((n, 2, 2), np.float32), axis=1).reshape(n, 4) for n in (50, 9))
    whole = best_anchors(boxes, anchors)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 9 * 7)
    for one, other in zip(whole, best_anchors(boxes, anchors), strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), max_size=12),
)
def test_of_objects_that_share_an_anchor_all_but_the_best_lose_it(rows):
    image, anchor, iou = np.array(rows).reshape(-1, 3).T.astype(int)
    best = BestAnchors((iou / 4).astype(np.float32), anchor.astype(np.int32))
    expected = [
        best.iou[i] > 0
        and any(
            (image[j], anchor[j]) == (image[i], anchor[i]) and (iou[j] > iou[i] or (iou[j] == iou[i] and j < i))
            for j in range(len(rows))
        )
        for i in range(len(rows))
    ]
    np.testing.assert_array_equal(loses_anchor(image, best), np.array(expected, bool))


@given(grid_boxes(5, cells=2), st.lists(st.integers(0, 1), min_size=5, max_size=5), masks(5))
def test_a_box_is_repeated_if_an_earlier_one_of_its_class_covers_it(boxes, labels, valid):
    labels = np.array(labels, np.int32)
    expected = [
        valid[i] and any(valid[j] and labels[j] == labels[i] and slow_iou(boxes[i], boxes[j]) > 0.95 for j in range(i))
        for i in range(5)
    ]
    found = repeated_boxes(boxes[None], labels[None], valid[None], threshold=0.95)
    np.testing.assert_array_equal(found, [expected])


@pytest.mark.parametrize("images", [0, 1, 5])
def test_images_are_taken_in_parts(images, monkeypatch):
    monkeypatch.setattr(inspection, "PAIRS_AT_ONCE", 2 * 3 * 3)
    boxes = np.tile(np.array([0, 0, 0.5, 0.5], np.float32), (images, 3, 1))
    found = repeated_boxes(boxes, np.zeros((images, 3), np.int32), np.ones((images, 3), bool), threshold=0.95)
    np.testing.assert_array_equal(found, np.tile([False, True, True], (images, 1)))
