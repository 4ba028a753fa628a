"""Methods that are timed give the same results: NumPy's loops give our numbers, and other results are refused."""

import numpy as np
import pytest
from baselines import numpy_loops
from inputs import apart, boxes_and_scores, random_predictions, require_agreement
from loss import LOSSES, loss_calls, stacked
from nms import in_one_order, nms_calls, padded

from jaxssd import box_iou, make_anchors, to_center_size

ANCHORS = apart(make_anchors(grids=(4, 2)))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_all_ways_of_the_loss_agree(loss):
    calls = loss_calls(ANCHORS, loss, random_predictions(ANCHORS, 5, num_objects=7, num_classes=3), baseline=None)
    assert list(calls)[:2] == ["vmap + jit", "loop of jit"]
    assert ("loop of NumPy" in calls) == ("class_loss" not in loss.ours)


@pytest.mark.parametrize("max_candidates", [3, 60, 10_000])
def test_all_ways_of_suppression_agree(max_candidates):
    batch = boxes_and_scores(ANCHORS, *random_predictions(ANCHORS, 5, num_classes=3))
    assert len(nms_calls(batch, baseline=None, max_candidates=max_candidates)) == 3


def test_another_result_is_refused():
    ours = np.zeros((200, 3))
    one, three = ours.copy(), ours.copy()
    one[7, 1] = three[[1, 2, 3], 0] = 1e-3
    require_agreement("one of two hundred", [ours], [one])
    with pytest.raises(ValueError, match="three: other results for 3 of 200 images"):
        require_agreement("three", [ours], [three])
    with pytest.raises(ValueError, match=r"has results of shape \(200,\)"):
        require_agreement("shape", [ours], [ours[:, 0]])


def test_no_two_overlaps_are_equal_but_for_rounding():
    boxes = np.array([[0.3, 0.3, 0.35, 0.35]], np.float32)  # in many anchors, of which some are equally large
    overlaps = np.sort(np.asarray(box_iou(boxes, ANCHORS.corners))[0])
    overlaps = overlaps[overlaps > 0]
    assert len(overlaps) > 4
    assert (np.diff(overlaps) / overlaps[1:] > 1e-6).all()
    np.testing.assert_allclose(to_center_size(ANCHORS.corners), ANCHORS.center_size, atol=1e-6)


def test_coordinates_are_moved_without_rounding():
    boxes, _ = boxes_and_scores(ANCHORS, *random_predictions(ANCHORS, 2, num_classes=3))
    moved = np.float32(boxes + np.float32(40))
    np.testing.assert_array_equal(np.float64(moved) - 40, np.float64(boxes))


def test_the_order_of_equal_scores_does_not_matter():
    scores, labels = np.array([[0.5, 0.5, 0.2]]), np.array([[3, 1, 2]])
    boxes, valid = np.arange(12.0).reshape(1, 3, 4), np.ones((1, 3), bool)
    swapped = [1, 0, 2]
    one = in_one_order(boxes, scores, labels, valid)
    other = in_one_order(boxes[:, swapped], scores[:, swapped], labels[:, swapped], valid)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one[1], scores)
    np.testing.assert_array_equal(one[2], [[1, 3, 2]])


def test_detections_of_different_number_are_padded():
    found = [[np.ones((n, 4), np.float32), np.ones(n, np.float32), np.ones(n, np.int64)] for n in (2, 0)]
    boxes, scores, labels, valid = padded(found)
    assert (boxes.shape, scores.shape, labels.dtype) == ((2, 100, 4), (2, 100), np.int64)
    np.testing.assert_array_equal(valid.sum(axis=1), [2, 0])
    np.testing.assert_array_equal(scores.sum(axis=1), [2, 0])


def test_numpy_keeps_the_best_of_each_class():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.9, 1], [0.5, 0.5, 0.6, 0.6]], np.float32)
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [0.2, 0.0]], np.float32)
    _, kept, labels, valid = numpy_loops.multiclass_nms(boxes, scores, max_outputs=4)
    np.testing.assert_allclose(kept, [0.9, 0.3, 0.2, 0.0])
    np.testing.assert_array_equal(labels, [0, 1, 0, 0])
    np.testing.assert_array_equal(valid, [True, True, True, False])


def test_results_are_stacked():
    (a, b) = stacked([(1, np.array([2, 3])), (4, np.array([5, 6]))])
    np.testing.assert_array_equal(a, [1, 4])
    np.testing.assert_array_equal(b, [[2, 3], [5, 6]])
