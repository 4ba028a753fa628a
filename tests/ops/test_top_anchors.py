"""Several positive anchors for each object, against a slow loop on boxes full of ties. One program for all examples."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.matching import match_anchors
from jaxssd.ops.ssd_loss import ssd_loss
from jaxssd.ops.targets import assign_targets
from jaxssd.ops.top_anchors import BLOCK, top_anchors

COUNT, OBJECTS, ANCHORS = 3, 8, 5 * BLOCK + 7  # more blocks than anchors wanted, the last one padded
several = jax.jit(partial(match_anchors, anchors_per_object=COUNT))
top = jax.jit(top_anchors, static_argnums=2)


def boxes_on_a_grid(rng, count, largest=8):
    low = rng.integers(0, 8, (count, 2))
    high = np.minimum(low + rng.integers(1, largest + 1, (count, 2)), 8)
    return np.concatenate([low, high], axis=1).astype(np.float32) / 8


def overlaps_of(boxes, anchors):
    """IoU `[G, A]` in float32, exact up to the division for boxes on a coarse grid."""
    near, far = (
        np.maximum(boxes[:, None, :2], anchors[None, :, :2]),
        np.minimum(boxes[:, None, 2:], anchors[None, :, 2:]),
    )
    shared = np.prod(np.maximum(far - near, 0), axis=2)
    areas = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (boxes, anchors)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared)


def reference(boxes, anchors, valid, threshold, min_iou, count=COUNT):
    """The rule as loops: who owns, who exceeds the threshold, who is among the best of an object."""
    overlaps = overlaps_of(boxes, anchors)
    rows = sorted(np.flatnonzero(valid), key=lambda row: tuple(boxes[row]))
    pairs = sorted(
        (-overlaps[row, a], a, place) for place, row in enumerate(rows) for a in np.flatnonzero(overlaps[row])
    )
    owner = {}
    for _, a, place in pairs:
        if a not in owner and rows[place] not in owner.values():
            owner[a] = rows[place]
    best = {row: sorted(range(len(anchors)), key=lambda a: (-overlaps[row, a], a))[:count] for row in rows}
    index, overlap, positive = (
        np.zeros(len(anchors), int),
        np.zeros(len(anchors), np.float32),
        np.zeros(len(anchors), bool),
    )
    for a in range(len(anchors) if rows else 0):
        above = [row for row in rows if overlaps[row, a] > threshold]
        among = [row for row in rows if a in best[row] and overlaps[row, a] > max(min_iou, 0)]
        index[a] = owner[a] if a in owner else max(above or among or rows, key=lambda row: overlaps[row, a])
        overlap[a], positive[a] = overlaps[index[a], a], bool(a in owner or above or among)
    return index, overlap, positive


def scene(seed):
    """Objects, small ones among them, anchors with many ties, and a mask."""
    rng = np.random.default_rng(seed)
    boxes = boxes_on_a_grid(rng, OBJECTS, largest=rng.choice([1, 3, 8]))
    anchors = boxes_on_a_grid(rng, ANCHORS, largest=rng.choice([4, 8]))
    return boxes, anchors, rng.random(OBJECTS) < rng.choice([0.2, 1.0])


def test_worked_example():
    """Anchors: the left, middle and right half. Objects: the second quarter, and a quarter within the right half.

    IoU of the first object: 1/2, 1/2, 0; of the second: 0, 1/5, 1/2. They own the left and the right half. The middle
    one is among the two best of both and goes to the first object, whose IoU is higher.
    """
    anchors = np.float32([[0, 0, 1, 1 / 2], [0, 1 / 4, 1, 3 / 4], [0, 1 / 2, 1, 1]])
    boxes = np.float32([[0, 1 / 4, 1, 1 / 2], [0, 5 / 8, 1, 7 / 8]])

    def match(valid, min_iou=0.1):
        """Padded to the shapes of the shared program; the third best anchor of each has an IoU of 0."""
        padded = [np.zeros((rows, 4), np.float32) for rows in (ANCHORS, OBJECTS)]
        padded[0][:3], padded[1][:2] = anchors, boxes
        found = several(*padded, np.append(valid, np.zeros(OBJECTS - 2, bool)), threshold=0.6, min_iou=min_iou)
        return [np.asarray(field)[:3].tolist() for field in found]

    assert match([True, True]) == [[0, 0, 1], [1 / 2] * 3, [True] * 3]
    assert match([True, False]) == [[0, 0, 0], [1 / 2, 1 / 2, 0], [True, True, False]]
    assert match([False, True])[2] == [False, True, True]  # 1/5 exceeds 0.1
    assert match([False, True], min_iou=0.25)[2] == [False, False, True]
    assert match([True, True], min_iou=0.5)[2] == [True, False, True]  # exceeded, not reached


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6), threshold=st.sampled_from([0.2, 0.5, 2.0]), min_iou=st.sampled_from([-1.0, 0.1, 0.3])
)
def test_equals_the_slow_loop(seed, threshold, min_iou):
    boxes, anchors, valid = scene(seed)
    found = several(anchors, boxes, valid, threshold=threshold, min_iou=min_iou)
    for got, expected in zip(found, reference(boxes, anchors, valid, threshold, min_iou), strict=True):
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_best_anchors_are_the_object_s_own_or_those_of_one_that_overlaps_them_more(seed):
    """Or they are owned. So an object has `COUNT` anchors, as far as IoUs allow, less those that others take."""
    boxes, anchors, valid = scene(seed)
    found, overlaps = several(anchors, boxes, valid, threshold=0.5), overlaps_of(boxes, anchors)
    owned = np.asarray(several(anchors, boxes, valid, threshold=2.0, min_iou=2.0).positive)
    for row in np.flatnonzero(valid):
        best = [a for a in np.argsort(-overlaps[row], kind="stable")[:COUNT] if overlaps[row, a] > 0.1]
        own = np.asarray(found.positive & (found.gt_index == row))
        others = [a for a in best if not own[a]]
        assert found.positive[np.array(best, int)].all()
        assert all(owned[a] or found.overlap[a] >= overlaps[row, a] for a in others)
        assert own.sum() >= len(best) - len(others)
        if valid.sum() == 1:
            assert own.sum() == max(len(best), (overlaps[row] > 0.5).sum(), overlaps[row].any())


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), junk=st.sampled_from([np.nan, 0.5, -1, np.inf]))
def test_neither_order_nor_padding_matters(seed, junk):
    boxes, anchors, valid = scene(seed)
    order = np.random.default_rng(seed).permutation(OBJECTS)
    padded = np.where(valid[:, None], boxes, np.float32(junk))
    found, again = several(anchors, boxes, valid), several(anchors, padded[order], valid[order])
    np.testing.assert_array_equal(again.overlap, found.overlap)
    np.testing.assert_array_equal(again.positive, found.positive)
    if valid.any():  # identical boxes are interchangeable, so boxes are compared and not rows
        np.testing.assert_array_equal(boxes[order][again.gt_index], boxes[found.gt_index])


@pytest.mark.parametrize("seed", range(5))
def test_one_or_none_above_the_minimum_is_the_rule_without_it(seed):
    boxes, anchors, valid = scene(seed)
    found = several(anchors, boxes, valid, min_iou=2.0)
    for got, by_hand in zip(found, reference(boxes, anchors, valid, 0.4, 0.1, count=1), strict=True):
        np.testing.assert_array_equal(got, by_hand)


@pytest.mark.parametrize(("anchors", "count"), [(4, 9), (ANCHORS, 9)])
def test_the_blocks_hold_the_best(anchors, count):
    rng = np.random.default_rng(0)
    boxes, anchors = boxes_on_a_grid(rng, OBJECTS), boxes_on_a_grid(rng, anchors)
    overlap, index = jax.device_get(top(boxes, anchors, count))
    expected = overlaps_of(boxes, anchors)
    best = np.argsort(-expected, axis=1, kind="stable")[:, :count]
    found = slice(0, best.shape[1])  # columns after it are padding
    np.testing.assert_array_equal(overlap[:, found], np.take_along_axis(expected, best, axis=1))
    real = overlap[:, found] > 0
    np.testing.assert_array_equal(index[:, found][real], best[real])
    assert (overlap[:, best.shape[1] :] == 0).all()


def test_small_objects_have_several_anchors_in_targets():
    """Objects half as large as the cells, off their centres: no IoU exceeds the threshold, the rest is background."""
    anchors = make_anchors(grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),))
    boxes, labels, valid = (
        np.float32([[0.2, 0.2, 0.35, 0.35], [0.7, 0.7, 0.8, 0.8]]),
        np.array([0, 1]),
        np.ones(2, bool),
    )
    settings = {"threshold": 0.5, "ignore_threshold": 0.05, "anchors_per_object": 4, "min_iou": 0.05}
    targets = jax.device_get(jax.jit(partial(assign_targets, num_classes=2, **settings))(anchors, boxes, labels, valid))
    index, overlap, positive = reference(boxes, np.asarray(anchors.corners), valid, 0.5, 0.05, count=4)
    np.testing.assert_array_equal(targets.positive, positive)
    np.testing.assert_array_equal(targets.boxes[positive], boxes[index][positive])
    np.testing.assert_array_equal(targets.ignored, ~positive & (overlap >= 0.05))
    assert positive.sum() > 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"anchors_per_object": 0}, "`anchors_per_object` is 0, expected a positive number"),
        ({"anchors_per_object": 2, "rule": "lesson"}, "`anchors_per_object` is 2 with rule='lesson', expected 1"),
        ({"min_iou": float("nan")}, "`min_iou` is nan, expected a number"),
    ],
)
def test_bad_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=f"match_anchors: {message}"):
        match_anchors(np.zeros((1, 4)), np.zeros((1, 4)), np.ones(1, bool), **wrong)
    if "rule" not in wrong:  # the loss passes them on
        image = np.zeros((1, 2)), np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(1, int), np.ones(1, bool)
        with pytest.raises(ValueError, match=f"match_anchors: {message}"):
            ssd_loss(*image, make_anchors(grids=(1,), zooms=(1.0,), ratios=((1.0, 1.0),)), **wrong)
