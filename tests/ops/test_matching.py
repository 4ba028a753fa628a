"""Both rules against slow loops on boxes full of ties, and what must not matter: padding and the order of the rows."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import make_anchors, ssd300_anchors
from jaxssd.ops.boxes import box_iou
from jaxssd.ops.matching import RULES, match_anchors
from tests.ops.optimized import optimized
from tests.ops.reference import iou as reference_iou
from tests.ops.reference import match_greedy, match_lesson
from tests.strategies import grid_boxes, masks, permutations

JITTED = {rule: jax.jit(partial(match_anchors, rule=rule)) for rule in RULES}
jitted_iou = jax.jit(box_iou)
REFERENCES = {"best_iou": match_greedy, "lesson": match_lesson}
GOLDEN = json.loads(Path(__file__).with_name("golden_lesson_4x4.json").read_text())
CELLS_4X4 = make_anchors(grids=(4,), zooms=(1.0,), ratios=((1.0, 1.0),)).corners
MANY_TIES = grid_boxes(16, cells=8)


def truths(count):
    """Boxes on a coarse grid, some without area, some not valid."""
    return st.tuples(grid_boxes(count, cells=8, empty=True), masks(count))


def match(rule, *inputs):
    return jax.device_get(JITTED[rule](*inputs))


def assert_same(got_match, expected):
    for got, want in zip(got_match, expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_worked_example():
    """The anchors are the left and the right half; the objects three quarters of the image from the left, and a half.

    IoU of the first object: 2/3 with the left half, 1/4 with the right one; of the second: 1 and 0. Both want the left
    half. It goes to the better one, and the first object owns the right half, though 1/4 is below the threshold.
    """
    anchors = np.float32([[0, 0, 1, 1 / 2], [0, 1 / 2, 1, 1]])
    boxes, valid = np.float32([[0, 0, 1, 3 / 4], [0, 0, 1, 1 / 2]]), np.array([True, True])
    assert_same(match("best_iou", anchors, boxes, valid), ([1, 0], [1, 1 / 4], [True, True]))
    # The lesson gives the left half to the last of both and forces it; the first object owns none.
    assert_same(match("lesson", anchors, boxes, valid), ([1, 0], np.float32([1.99, 1 / 4]), [True, False]))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [3, 40])
@settings(max_examples=25)
@given(data=st.data())
def test_equals_the_slow_loop(rule, count, data):
    anchors = data.draw(st.one_of(st.just(np.asarray(CELLS_4X4)), MANY_TIES))
    boxes, valid = data.draw(truths(count))
    ours = match(rule, anchors, boxes, valid)
    assert_same(ours, REFERENCES[rule](anchors, boxes, valid, threshold=0.4))
    assert ours.gt_index.dtype == jnp.int32
    assert ours.overlap.dtype == jnp.float32


@pytest.mark.parametrize("jitter", [1e-6, 1e-2])
def test_objects_that_want_the_same_anchors_are_served_in_turn(jitter):
    """More of them than propose in the rounds before each is served alone."""
    rng = np.random.default_rng(0)
    boxes = np.float32([0.3, 0.3, 0.5, 0.6] + jitter * rng.normal(size=(40, 4)))
    low = rng.random((60, 2))
    anchors = np.float32(np.concatenate([low / 2, low / 2 + 0.3], axis=1))
    ours = match("best_iou", anchors, boxes, np.ones(40, bool))
    slow = REFERENCES["best_iou"](anchors, boxes, np.ones(40, bool), threshold=0.4)
    assert_same((ours.gt_index, ours.positive), (slow[0], slow[2]))
    np.testing.assert_allclose(ours.overlap, slow[1], rtol=1e-6)
    assert len(set(ours.gt_index[ours.positive])) == 40


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 1])  # few, because eager compiles the loop anew for each
def test_jit_and_eager_are_equal(rule, seed):
    near = np.random.default_rng(seed).integers(0, 4, (8, 2))  # 4 and 4, of the shape of `rows.py`
    boxes = np.concatenate([near, near + np.array([2, 3])], axis=1).astype(np.float32) / 8
    inputs = boxes[:4], boxes[4:], np.array([True, seed == 0, True, True])
    assert_same(match_anchors(*inputs, rule=rule), match(rule, *inputs))


@settings(max_examples=25)
@given(anchors=MANY_TIES, truths=truths(3))
def test_best_iou_gives_every_valid_ground_truth_an_anchor_that_overlaps_it(anchors, truths):
    """Three objects, so one without an anchor has none of those that overlap it: the other two own them all."""
    boxes, valid = truths
    ours = match("best_iou", anchors, boxes, valid)
    overlaps = np.asarray(jitted_iou(boxes, anchors))
    owners = set(ours.gt_index[ours.positive])
    for row in np.flatnonzero(valid):
        others = owners - {row}
        taken = sum(bool((overlaps[other] > 0).any()) for other in others)
        assert row in owners or (overlaps[row] > 0).sum() <= taken
    assert owners <= set(np.flatnonzero(valid & (overlaps > 0).any(axis=1)))
    np.testing.assert_array_equal(ours.overlap, overlaps[ours.gt_index, np.arange(16)] * valid.any())


@settings(max_examples=25)
@given(boxes=grid_boxes(40, cells=8))
def test_forty_ground_truths_share_sixteen_anchors_one_each(boxes):
    boxes = np.concatenate([0 * boxes[:, :2], boxes[:, 2:]], axis=1)  # from the corner, so that they overlap cell 0
    anchors = np.concatenate([np.zeros((16, 2)), 1 + np.arange(32).reshape(16, 2) / 32], axis=1).astype(np.float32)
    ours = match("best_iou", anchors, boxes, np.ones(40, bool))
    assert len(set(ours.gt_index)) == 16
    assert ours.positive.all()


@pytest.mark.parametrize("count", [3, 40])
@settings(max_examples=15)
@given(data=st.data())
def test_best_iou_does_not_depend_on_the_order_of_the_rows(count, data):
    anchors, (boxes, valid) = data.draw(MANY_TIES), data.draw(truths(count))
    order = data.draw(permutations(count))
    ours = match("best_iou", anchors, boxes, valid)
    permuted = match("best_iou", anchors, boxes[order], valid[order])
    np.testing.assert_array_equal(permuted.overlap, ours.overlap)
    np.testing.assert_array_equal(permuted.positive, ours.positive)
    if valid.any():  # identical boxes are interchangeable, so boxes are compared and not rows
        np.testing.assert_array_equal(boxes[order][permuted.gt_index], boxes[ours.gt_index])


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25)
@given(
    anchors=MANY_TIES,
    boxes=grid_boxes(3, cells=8, empty=True),
    slots=permutations(8),
    junk=st.sampled_from([np.nan, 0.5, -1, np.inf]),
)
def test_padding_takes_no_part_wherever_it_stands(rule, anchors, boxes, slots, junk):
    rows = np.sort(slots[:3])
    padded, valid = np.full((8, 4), junk, np.float32), np.zeros(8, bool)
    padded[rows], valid[rows] = boxes, True
    ours = match(rule, anchors, boxes, np.ones(3, bool))
    assert_same(match(rule, anchors, padded, valid), ours._replace(gt_index=rows[ours.gt_index]))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("threshold", "count"), [(-0.5, 3), (0.0, 0), (0.4, 3)])
def test_without_a_valid_row_nothing_is_matched(rule, threshold, count):
    nothing = np.full((count, 4), np.nan, np.float32), np.zeros(count, bool)
    match = JITTED[rule](CELLS_4X4, *nothing, threshold=threshold)
    assert_same(match, (np.zeros(16), np.zeros(16), np.zeros(16, bool)))
    assert (match.gt_index.dtype, match.positive.dtype) == (jnp.int32, bool)


@pytest.mark.parametrize("rule", RULES)
def test_vmap_is_a_loop(rule):
    """The images need different numbers of rounds, one of them 16, and one has nothing valid."""
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 9, (5, 40, 2, 2)), axis=2).reshape(5, 40, 4).astype(np.float32) / 8
    boxes[3] = boxes[3, :1]
    valid = rng.random((5, 40)) < np.array([0.1, 0.3, 0.9, 1.0, 0.0])[:, None]
    batched = jax.jit(jax.vmap(partial(match_anchors, rule=rule), in_axes=(None, 0, 0)))(CELLS_4X4, boxes, valid)
    for i in range(5):
        assert_same([np.asarray(field)[i] for field in batched], match(rule, CELLS_4X4, boxes[i], valid[i]))


@pytest.mark.parametrize("seed", range(4))
def test_on_float_boxes_no_pair_would_rather_have_each_other(seed):
    """Boxes that nearly coincide take many rounds; above a threshold of 2 only anchors that are owned are positive."""
    rng = np.random.default_rng(seed)
    boxes = (np.array([0.2, 0.3, 0.6, 0.8]) + rng.normal(0, 0.02, (60, 4))).astype(np.float32)
    anchors = np.asarray(make_anchors().corners)
    ours = jax.device_get(JITTED["best_iou"](anchors, boxes, np.ones(60, bool), threshold=2.0))
    owned = np.flatnonzero(ours.positive)
    assert sorted(ours.gt_index[owned]) == list(range(60))

    iou = np.array([[reference_iou(box, anchor) for anchor in anchors] for box in boxes])
    of_truth, of_anchor = np.zeros((60, 1)), np.full((1, 189), -1.0)
    of_truth[ours.gt_index[owned], 0] = of_anchor[0, owned] = iou[ours.gt_index[owned], owned]
    assert not ((iou > of_truth + 1e-6) & (iou > of_anchor + 1e-6)).any()
    np.testing.assert_allclose(ours.overlap, np.where(ours.positive, of_anchor[0], iou.max(axis=0)), atol=1e-6)


def test_two_ground_truths_with_one_best_anchor():
    """Both overlap cell 0 most. The closer one owns it; the lesson gives it to the last and the other gets none."""
    close, loose, padding = [0.0, 0.0, 0.25, 0.25], [0.0, 0.0, 0.25, 0.375], [0.0] * 4
    valid = np.array([True, True, False])
    for boxes, closer in (([close, loose, padding], 0), ([loose, close, padding], 1)):
        boxes = np.array(boxes, np.float32)
        ours = match("best_iou", CELLS_4X4, boxes, valid)
        assert ours.gt_index[:2].tolist() == [closer, 1 - closer]
        assert ours.positive.tolist() == [True, True] + [False] * 14
        np.testing.assert_array_equal(ours.overlap[:2], [1.0, 0.25])
        lesson = match("lesson", CELLS_4X4, boxes, valid)
        assert lesson.gt_index[0] == 1
        assert lesson.overlap[0] == np.float32(1.99)
        assert lesson.positive.tolist() == [True] + [False] * 15


def test_ground_truths_that_overlap_no_anchor_have_none():
    """One outside of the image, one without area; the lesson forces both on the first anchor."""
    boxes = np.array([[2.0, 2.0, 3.0, 3.0], [0.0, 0.0, 0.25, 0.25], [0.5, 0.5, 0.5, 0.5]], np.float32)
    ours = match("best_iou", CELLS_4X4, boxes, np.ones(3, bool))
    assert ours.gt_index[0] == 1
    assert ours.positive.tolist() == [True] + [False] * 15
    assert ours.overlap.tolist() == [1.0] + [0.0] * 15
    assert match("lesson", CELLS_4X4, boxes, np.ones(3, bool)).gt_index[0] == 2


@pytest.mark.parametrize("rule", RULES)
def test_the_threshold_is_strict(rule):
    """1 x 2.5 cells have an IoU of exactly 0.4 with two cells: the first is forced, the second not enough."""
    valid = np.array([True, False, False])
    for width, second in ((0.625, False), (0.625 - 1 / 64, True)):
        boxes = np.zeros((3, 4), np.float32)
        boxes[0] = [0.0, 0.0, 0.25, width]
        assert match(rule, CELLS_4X4, boxes, valid).positive.tolist() == [True, second] + [False] * 14


def test_the_lesson_s_worked_example():
    boxes, valid = np.float32(GOLDEN["gt_boxes_pixels"]) / np.float32(GOLDEN["image_size"]), np.ones(3, bool)
    overlaps = np.asarray(jitted_iou(boxes, CELLS_4X4))
    printed = partial(np.testing.assert_allclose, rtol=0, atol=0.5001e-4)
    printed(overlaps, GOLDEN["overlaps"])
    printed(overlaps.max(axis=1), GOLDEN["row_max"])
    printed(overlaps.max(axis=0), GOLDEN["column_max"])
    assert overlaps.argmax(axis=1).tolist() == GOLDEN["row_argmax"]
    assert overlaps.argmax(axis=0).tolist() == GOLDEN["column_argmax"]

    labels = np.array(GOLDEN["gt_labels"])
    names = dict(zip(GOLDEN["gt_labels"], GOLDEN["gt_names"], strict=True))
    at_half = jax.jit(partial(match_anchors, rule="lesson", threshold=0.5))(CELLS_4X4, boxes, valid)
    for lesson in (match("lesson", CELLS_4X4, boxes, valid), jax.device_get(at_half)):
        printed(lesson.overlap, GOLDEN["gt_overlap"])
        assert lesson.gt_index.tolist() == GOLDEN["gt_index"]
        assert labels[lesson.gt_index].tolist() == GOLDEN["labels_before_background"]
        assert np.flatnonzero(lesson.positive).tolist() == GOLDEN["positive_anchors"]
        found = zip(labels[lesson.gt_index], lesson.positive, strict=True)
        assert [names[label] if positive else "bg" for label, positive in found] == GOLDEN["names"]

    ours = match("best_iou", CELLS_4X4, boxes, valid)
    assert np.flatnonzero(ours.positive).tolist() == GOLDEN["positive_anchors"]
    printed(ours.overlap, GOLDEN["column_max"])


def test_every_small_object_gets_an_anchor_of_ssd300():
    rng = np.random.default_rng(0)
    near = rng.integers(0, 60, (100, 2))
    boxes = np.concatenate([near, near + rng.integers(1, 4, (100, 2))], axis=1).astype(np.float32) / 64
    ours = match("best_iou", ssd300_anchors().corners, boxes, np.ones(100, bool))
    assert set(ours.gt_index[ours.positive]) == set(range(100))


@pytest.mark.parametrize("rule", RULES)
def test_no_array_of_all_pairs_is_ever_stored(rule):
    images, truths, anchors = 4, 100, ssd300_anchors().corners
    batched = optimized(jax.vmap(partial(match_anchors, rule=rule), in_axes=(None, 0, 0)))
    boxes = jax.ShapeDtypeStruct((images, truths, 4), jnp.float32)
    valid = jax.ShapeDtypeStruct((images, truths), bool)
    memory = batched.lower(anchors, boxes, valid).compile().memory_analysis()
    bytes_of_one_array = images * truths * len(anchors) * 4
    assert memory.temp_size_in_bytes < bytes_of_one_array / 20


@pytest.mark.parametrize("rule", RULES)
def test_no_gradient_flows_through_a_match(rule):
    boxes = jnp.array([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5], [jnp.nan] * 4])
    valid = jnp.array([True, True, False])
    gradient = jax.jit(jax.grad(lambda b: match_anchors(CELLS_4X4, b, valid, rule=rule).overlap.sum()))(boxes)
    np.testing.assert_array_equal(gradient, 0)


def test_half_precision_and_float64():
    boxes, valid = (
        np.array([[0.125, 0.25, 0.5, 0.75], [0.0, 0.0, 0.375, 0.25], [0.0] * 4], np.float32),
        np.ones(3, bool),
    )
    half = match("best_iou", CELLS_4X4.astype(jnp.bfloat16), jnp.asarray(boxes, jnp.bfloat16), valid)
    assert half.overlap.dtype == jnp.float32
    assert_same(half, match("best_iou", CELLS_4X4, boxes, valid))
    with jax.enable_x64(True):
        wide = match("best_iou", np.float64(CELLS_4X4), np.float64(boxes), valid)
    assert (wide.gt_index.dtype, wide.overlap.dtype) == (np.int32, np.float64)


def test_an_unknown_rule_lists_the_rules():
    with pytest.raises(ValueError, match="match_anchors: `rule` is 'hungarian', expected one of 'best_iou', 'lesson'"):
        match_anchors(CELLS_4X4, jnp.zeros((1, 4)), jnp.ones(1, bool), rule="hungarian")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("anchor_corners", {"anchor_corners": jnp.zeros((16, 5))}),
        ("gt_boxes", {"gt_boxes": jnp.zeros((4,))}),
        ("gt_valid", {"gt_valid": jnp.ones(3, bool)}),
    ],
)
def test_a_wrong_shape_names_the_argument(name, changed):
    good = {"anchor_corners": CELLS_4X4, "gt_boxes": jnp.zeros((2, 4)), "gt_valid": jnp.ones(2, bool)}
    with pytest.raises((ValueError, TypeCheckError), match=name):
        match_anchors(**good | changed)
