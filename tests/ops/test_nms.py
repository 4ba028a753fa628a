"""NMS against a box-by-box greedy reference in integers, so that every comparison with the threshold is exact."""

from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.arrays import as_arrays
from jaxssd.ops.boxes import box_iou
from jaxssd.ops.nms import Detections, multiclass_nms, nms
from tests.ops.optimized import optimized

GRID = 64  # integer boxes are in 1/64 of the image: exact in float32, and in bfloat16
CASES, K, D = 2000, 20, 12
THRESHOLDS = [Fraction(0), Fraction(1, 3), Fraction(9, 20), Fraction(1, 2), Fraction(1)]


@partial(optimized, static_argnames="max_outputs")  # the threshold is traced: one program for all of them
def batched_nms(boxes, scores, valid, *, iou_threshold=0.5, max_outputs=D):
    return jax.vmap(partial(nms, iou_threshold=iou_threshold, max_outputs=max_outputs))(boxes, scores, valid)


jitted_nms = jax.jit(nms, static_argnames="max_outputs")
jitted_multiclass = jax.jit(multiclass_nms, static_argnames=("max_candidates", "max_outputs"))


def overlaps(boxes, threshold):
    """`[..., K, 4]` integers -> `[..., K, K]`, exactly whether intersection / union > threshold."""
    boxes = boxes.astype(np.int64)
    a, b = boxes[..., :, None, :], boxes[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = sides.clip(0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)
    union = area[..., :, None] + area[..., None, :] - intersection
    return intersection * threshold.denominator > union * threshold.numerator


def greedy(overlap, scores, valid, group=None):
    """Indices kept, one box after the other; boxes of another group are let be."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if valid[i] and not np.isnan(scores[i]):
            rivals = [j for j in kept if group is None or group[j] == group[i]]
            if not overlap[i, rivals].any():
                kept.append(int(i))
    return kept


def padded(indices, count):
    indices = indices[:count]
    return np.array(indices + [0] * (count - len(indices))), np.arange(count) < len(indices)


def random_cases(seed):
    """Integer boxes of many kinds, among them copies and boxes without area; tied and NaN scores; invalid rows."""
    rng = np.random.default_rng(seed)
    near = rng.integers(0, 12, (CASES, K, 2))
    boxes = np.concatenate([near, near + rng.integers(0, 12, (CASES, K, 2))], axis=-1)
    copies = np.take_along_axis(boxes, rng.integers(0, K, (CASES, K))[..., None], axis=1)
    boxes = np.where(rng.random((CASES, K, 1)) < 0.2, copies, boxes)
    scores = rng.integers(0, 8, (CASES, K)) / np.float32(8)
    distinct = rng.permuted(np.broadcast_to(np.arange(K), (CASES, K)), axis=1) / np.float32(K)
    scores = np.where(rng.random((CASES, 1)) < 0.5, scores, distinct).astype(np.float32)
    scores[rng.random((CASES, K)) < 0.05] = np.nan
    return boxes, scores, rng.random((CASES, K)) < 0.9


def to_unit(boxes):
    return (boxes / GRID).astype(np.float32)


def test_worked_example():
    """Boxes 0 to 4, 1 to 5 and 3 to 7 on a line: IoUs 3/5, 2/6 and 1/7, in the order 0-1, 1-2, 0-2.

    The first drops the second, which therefore drops nothing; of another class it would stay.
    """
    boxes = np.float32([[0, 0, 1, 4], [0, 1, 1, 5], [0, 3, 1, 7]])
    scores = np.float32([0.9, 0.8, 0.7])
    result = jitted_nms(boxes, scores, iou_threshold=0.5, max_outputs=3)
    assert (result.indices.tolist(), result.valid.tolist()) == ([0, 2, 0], [True, True, False])
    of_two_classes = np.float32([[0.9, 0], [0, 0.8], [0.7, 0]])
    found = jitted_multiclass(boxes, of_two_classes, iou_threshold=0.5, max_outputs=3)
    assert (found.labels.tolist(), found.valid.tolist()) == ([0, 1, 0], [True, True, True])
    np.testing.assert_array_equal(found.scores, scores)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=str)
def test_thousands_of_random_cases_equal_the_greedy_reference(threshold):
    boxes, scores, valid = random_cases(seed=threshold.denominator)
    result = batched_nms(to_unit(boxes), scores, valid, iou_threshold=float(threshold))
    overlap = overlaps(boxes, threshold)
    expected = [padded(greedy(*case), D) for case in zip(overlap, scores, valid, strict=True)]
    np.testing.assert_array_equal(result.indices, [indices for indices, _ in expected])
    np.testing.assert_array_equal(result.valid, [kept for _, kept in expected])


@given(
    boxes=arrays(np.int64, (8, 4), elements=st.integers(0, 6)),
    scores=arrays(np.float32, (8,), elements=st.sampled_from([-np.inf, -1, 0, 0.5, 1, np.inf, np.nan])),
    valid=arrays(bool, (8,)),
)
def test_any_case_equals_the_greedy_reference(boxes, scores, valid):
    result = jitted_nms(to_unit(boxes), scores, valid, iou_threshold=0.5, max_outputs=8)
    indices, kept = padded(greedy(overlaps(boxes, Fraction(1, 2)), scores, valid), 8)
    np.testing.assert_array_equal(result.indices, indices)
    np.testing.assert_array_equal(result.valid, kept)


def test_a_chain_keeps_every_second_box():
    """The deepest case there is: each box overlaps only the next one, so each decision waits for the one before."""
    start = np.arange(50)
    boxes = np.stack([start, 0 * start, start + 3, 0 * start + 1], axis=-1)  # IoU 2/4 with the next, 1/5 after that
    result = jitted_nms(to_unit(boxes), np.linspace(1, 0, 50, dtype=np.float32), iou_threshold=0.45, max_outputs=50)
    np.testing.assert_array_equal(result.indices[:25], np.arange(0, 50, 2))
    assert result.valid.sum() == 25


def test_on_float_boxes_the_kept_do_not_overlap_and_each_dropped_one_has_a_better_kept_rival():
    rng = np.random.default_rng(0)
    near = rng.random((CASES, K, 2), np.float32)
    boxes = np.concatenate([near, near + rng.random((CASES, K, 2), np.float32)], axis=-1)
    scores = rng.permuted(np.broadcast_to(np.arange(K, dtype=np.float32), (CASES, K)), axis=1)
    result = batched_nms(boxes, scores, np.ones((CASES, K), bool), max_outputs=K)
    iou = np.asarray(jax.jit(jax.vmap(box_iou))(boxes, boxes))
    kept = np.zeros((CASES, K), bool)
    np.logical_or.at(kept, (np.arange(CASES)[:, None], np.asarray(result.indices)), np.asarray(result.valid))
    others = ~np.eye(K, dtype=bool)
    assert iou[kept[:, :, None] & kept[:, None, :] & others].max() <= 0.5 + 1e-6
    better = kept[:, None, :] & (scores[:, None, :] > scores[:, :, None])
    assert np.where(better, iou, 0).max(axis=-1)[~kept].min() > 0.5 - 1e-6


def test_the_order_of_the_rows_does_not_matter_when_scores_differ():
    boxes, _, valid = random_cases(seed=1)
    rng = np.random.default_rng(1)
    rows = np.broadcast_to(np.arange(K), (CASES, K))
    scores = rng.permuted(rows, axis=1).astype(np.float32)
    permutation = rng.permuted(rows, axis=1)
    shuffled = [np.take_along_axis(x, permutation, axis=1) for x in (scores, valid)]
    straight = batched_nms(to_unit(boxes), scores, valid)
    other = batched_nms(np.take_along_axis(to_unit(boxes), permutation[..., None], axis=1), *shuffled)
    np.testing.assert_array_equal(other.valid, straight.valid)
    mapped_back = np.take_along_axis(permutation, np.asarray(other.indices), axis=1)
    np.testing.assert_array_equal(np.where(other.valid, mapped_back, 0), straight.indices)


def test_nms_of_the_kept_keeps_them_all():
    boxes, scores, valid = random_cases(seed=2)
    first = batched_nms(to_unit(boxes), scores, valid, max_outputs=K)
    indices = np.asarray(first.indices)
    survivors = np.take_along_axis(to_unit(boxes), indices[..., None], axis=1)
    again = batched_nms(survivors, np.take_along_axis(scores, indices, axis=1), first.valid, max_outputs=K)
    np.testing.assert_array_equal(again.valid, first.valid)
    np.testing.assert_array_equal(again.indices, np.where(first.valid, np.arange(K)[None, :], 0))


def test_jit_equals_eager_and_vmap_equals_a_loop():
    boxes, scores, valid = (x[:5] for x in random_cases(seed=3))
    batched = jax.device_get(batched_nms(to_unit(boxes), scores, valid))
    settings = {"iou_threshold": 0.5, "max_outputs": D}
    singles = [jitted_nms(to_unit(b), s, v, **settings) for b, s, v in zip(boxes, scores, valid, strict=True)]
    np.testing.assert_array_equal(batched.indices, [single.indices for single in singles])
    np.testing.assert_array_equal(batched.valid, [single.valid for single in singles])
    for case in zip(to_unit(boxes[:3, :4]), scores[:3, :4], valid[:3, :4], strict=True):  # of the shape of `rows.py`
        settings = {"iou_threshold": 0.5, "max_outputs": 3}
        jitted, eager = jax.device_get((jitted_nms(*case, **settings), nms(*case, **settings)))
        np.testing.assert_array_equal(jitted.indices, eager.indices)
        np.testing.assert_array_equal(jitted.valid, eager.valid)


def test_invalid_rows_may_hold_anything():
    boxes, scores, valid = random_cases(seed=4)
    rubbish = np.where(valid[..., None], to_unit(boxes), np.nan)
    clean = batched_nms(to_unit(boxes), scores, valid)
    dirty = batched_nms(rubbish, np.where(valid, scores, np.inf).astype(np.float32), valid)
    np.testing.assert_array_equal(dirty.indices, clean.indices)
    np.testing.assert_array_equal(dirty.valid, clean.valid)


def test_bfloat16_boxes_and_scores_decide_as_float32_does():
    boxes, scores, valid = random_cases(seed=5)
    scores = np.asarray(jnp.asarray(scores, jnp.bfloat16), np.float32)
    half = batched_nms(jnp.asarray(to_unit(boxes), jnp.bfloat16), jnp.asarray(scores, jnp.bfloat16), valid)
    full = batched_nms(to_unit(boxes), scores, valid)
    np.testing.assert_array_equal(half.indices, full.indices)
    np.testing.assert_array_equal(half.valid, full.valid)


def test_no_valid_box_keeps_nothing():
    boxes, some_scores, some_valid = (x[0] for x in random_cases(seed=6))
    for scores, valid in [(some_scores, np.zeros_like(some_valid)), (some_scores * np.nan, some_valid)]:
        nothing = jitted_nms(to_unit(boxes), scores, valid)
        assert nothing.indices.shape == nothing.valid.shape == (100,)
        assert not nothing.valid.any()
        assert not nothing.indices.any()


def test_no_box_at_all_gives_padding():
    empty = jitted_nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), max_outputs=3)
    np.testing.assert_array_equal(empty.indices, [0, 0, 0])
    assert not empty.valid.any()


def test_identical_boxes_keep_the_first_of_the_best():
    boxes = np.tile(to_unit(np.array([8, 8, 40, 40])), (6, 1))
    scores = np.array([0.5, 0.9, 0.9, 0.1, 0.9, 0.2], np.float32)
    result = jax.device_get(jitted_nms(boxes, scores, max_outputs=10))
    np.testing.assert_array_equal(result.indices[result.valid], [1])
    everything = jax.device_get(jitted_nms(boxes, scores, iou_threshold=1.0, max_outputs=10))
    np.testing.assert_array_equal(everything.indices[everything.valid], [1, 2, 4, 0, 5, 3])


def test_threshold_zero_drops_what_overlaps_and_keeps_what_touches():
    boxes = to_unit(np.array([[0, 0, 32, 32], [0, 32, 32, 64], [31, 31, 64, 64]]))
    result = jitted_nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), iou_threshold=0.0, max_outputs=3)
    np.testing.assert_array_equal(result.valid, [True, True, False])


def test_a_box_at_the_threshold_is_kept():
    boxes = to_unit(np.array([[0, 0, 16, 16], [0, 0, 16, 8]]))  # IoU exactly 1/2
    scores = np.array([0.9, 0.8], np.float32)
    assert jitted_nms(boxes, scores, iou_threshold=0.5, max_outputs=2).valid.sum() == 2
    assert jitted_nms(boxes, scores, iou_threshold=0.49, max_outputs=2).valid.sum() == 1


ANCHORS, CLASSES, MULTICLASS_CASES = 12, 3, 600


@pytest.mark.parametrize("max_candidates", [9, 200])
def test_multiclass_equals_a_greedy_reference_for_each_class(max_candidates):
    rng = np.random.default_rng(max_candidates)
    near = rng.integers(0, 12, (MULTICLASS_CASES, ANCHORS, 2))
    boxes = np.concatenate([near, near + rng.integers(0, 16, near.shape)], axis=-1)
    scores = (rng.integers(0, 16, (MULTICLASS_CASES, ANCHORS, CLASSES)) / np.float32(16)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    settings = {"iou_threshold": 0.5, "score_threshold": 0.25, "max_candidates": max_candidates, "max_outputs": D}
    result = optimized(jax.vmap(partial(multiclass_nms, **settings)))(to_unit(boxes), scores)
    overlap = overlaps(boxes, Fraction(1, 2))
    expected = []
    for case in range(MULTICLASS_CASES):
        flat = scores[case].reshape(-1)
        candidates = [int(i) for i in np.argsort(-flat, kind="stable") if flat[i] > 0.25][:max_candidates]
        anchors, labels = np.divmod(np.array(candidates, int), CLASSES)
        kept = greedy(overlap[case][np.ix_(anchors, anchors)], flat[candidates], np.ones(len(candidates), bool), labels)
        kept = np.array(kept[:D], int)
        blank = D - len(kept)
        detections = Detections(
            boxes=np.pad(to_unit(boxes[case])[anchors[kept]], ((0, blank), (0, 0))),
            scores=np.pad(flat[candidates][kept], (0, blank)),
            labels=np.pad(labels[kept], (0, blank)),
            valid=np.arange(D) < len(kept),
        )
        expected.append(detections)
    for name in Detections._fields:
        references = [getattr(detections, name) for detections in expected]
        np.testing.assert_array_equal(getattr(result, name), references, err_msg=name)


@pytest.mark.parametrize("count", [1, 5, 11, 12, 40])
@given(scores=arrays(np.float32, (12, 3), elements=st.sampled_from([-np.inf, 0, 0.25, 0.5, 1, np.inf, np.nan])))
def test_the_candidates_are_the_best_of_all_pairs(count, scores):
    """Nothing is suppressed, so the detections are the candidates: fewer than the anchors, or more than the pairs."""
    boxes = to_unit(np.arange(48).reshape(12, 4))
    found = jitted_multiclass(boxes, scores, iou_threshold=1.0, max_candidates=count, max_outputs=count)
    found = jax.device_get(found)  # a mask of JAX's arrays is compiled anew for each count
    ranked = np.argsort(-scores.reshape(-1), kind="stable")  # NaN comes last
    anchors, labels = np.divmod(ranked[scores.reshape(-1)[ranked] > 0.01][:count], CLASSES)
    assert found.valid.sum() == len(anchors)
    np.testing.assert_array_equal(found.boxes[found.valid], boxes[anchors])
    np.testing.assert_array_equal(found.labels[found.valid], labels)
    np.testing.assert_array_equal(found.scores[found.valid], scores[anchors, labels])


def test_multiclass_jit_equals_eager_with_the_promised_dtypes():
    rng = np.random.default_rng(0)
    for _ in range(3):
        boxes = to_unit(np.sort(rng.integers(0, GRID, (4, 2, 2)), axis=1).reshape(4, 4))
        scores = rng.random((4, CLASSES), np.float32)
        results = (function(boxes, scores, max_outputs=3) for function in (multiclass_nms, jitted_multiclass))
        eager, jitted = jax.device_get(tuple(results))
        for name, dtype in {"boxes": jnp.float32, "scores": jnp.float32, "labels": jnp.int32, "valid": bool}.items():
            np.testing.assert_array_equal(getattr(jitted, name), getattr(eager, name))
            assert getattr(eager, name).dtype == dtype
        assert eager.valid.any()


def test_multiclass_accepts_bfloat16():
    boxes = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0.75]], jnp.bfloat16)
    scores = jnp.array([[0.5, 0.25], [0.75, 0.125]], jnp.bfloat16)
    found = jitted_multiclass(boxes, scores, max_outputs=3)
    np.testing.assert_array_equal(found.scores, np.array([0.75, 0.25, 0], np.float32))
    np.testing.assert_array_equal(found.labels, [0, 1, 0])
    np.testing.assert_array_equal(found.boxes, np.array([[0, 0, 1, 0.75], [0, 0, 1, 1], [0, 0, 0, 0]], np.float32))


def test_small_boxes_of_a_high_label_are_compared_at_full_precision():
    """Moving class 999 aside by 999 would round these corners to the same few numbers."""
    unit = 2.0**-20
    corners = np.array([[0, 0, 8, 8], [0, 4, 8, 12], [0, 1, 8, 9]])  # IoU with the first: 1/3 and 7/9
    scores = np.zeros((3, 1000), np.float32)
    scores[:, 999] = [0.9, 0.8, 0.7]
    found = jitted_multiclass((corners * unit).astype(np.float32), scores, max_outputs=4)
    np.testing.assert_array_equal(found.scores, np.array([0.9, 0.8, 0, 0], np.float32))
    np.testing.assert_array_equal(found.labels, [999, 999, 0, 0])


def test_one_anchor_may_be_detected_as_several_classes():
    found = jitted_multiclass(np.array([[0, 0, 1, 1]], np.float32), np.array([[0.5, 0.01, 0.9]], np.float32))
    found = jax.device_get(found)
    np.testing.assert_array_equal(found.labels[found.valid], [2, 0])  # 0.01 is not above the threshold


@pytest.mark.parametrize("scores", [np.zeros((5, 2), np.float32), np.full((5, 2), np.nan, np.float32)])
def test_multiclass_without_candidates_is_all_padding(scores):
    found = jitted_multiclass(np.full((5, 4), np.nan, np.float32), scores, max_outputs=7)
    assert found.boxes.shape == (7, 4)
    assert not any(np.asarray(column).any() for column in found)


def test_multiclass_without_anchors_is_all_padding():
    found = jitted_multiclass(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32), max_outputs=2)
    assert found.boxes.shape == (2, 4)
    assert not any(np.asarray(column).any() for column in found)


def test_the_score_of_a_detection_has_the_gradient_of_its_logit():
    boxes = to_unit(np.array([[0, 0, 32, 32], [0, 0, 32, 30], [40, 40, 60, 60]]))
    scores = np.array([[0.9], [0.8], [0.7]], np.float32)
    gradient = jax.grad(lambda s: jitted_multiclass(boxes, s, max_outputs=5).scores.sum())(scores)
    np.testing.assert_array_equal(gradient, [[1], [0], [1]])


BOXES, SCORES = np.zeros((5, 4), np.float32), np.zeros(5, np.float32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_outputs": 0}, "`max_outputs` is 0"),
        ({"max_outputs": -3}, "`max_outputs` is -3"),
        ({"iou_threshold": 1.5}, r"`iou_threshold` is 1\.5"),
        ({"iou_threshold": -0.1}, r"`iou_threshold` is -0\.1"),
        ({"iou_threshold": float("nan")}, "`iou_threshold` is nan"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=f"^nms: {message}"):
        nms(BOXES, SCORES, **settings)
    with pytest.raises(ValueError, match=f"^multiclass_nms: {message}"):
        multiclass_nms(BOXES, SCORES[:, None], **settings)


def test_a_candidate_count_below_one_is_named():
    with pytest.raises(ValueError, match="`max_candidates` is 0"):
        multiclass_nms(BOXES, SCORES[:, None], max_candidates=0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nms(BOXES[:, :3], SCORES), "boxes"),
        (lambda: nms(BOXES, SCORES[:4]), "scores"),
        (lambda: nms(BOXES, SCORES, np.ones(4, bool)), "valid"),
        (lambda: multiclass_nms(BOXES[0], SCORES[:, None]), "boxes"),
        (lambda: multiclass_nms(BOXES, SCORES), "scores"),
    ],
)
def test_bad_shapes_are_named(call, name):
    with pytest.raises((ValueError, TypeCheckError), match=name):
        call()


def test_anchors_in_place_of_their_corners_are_named():
    with pytest.raises(TypeError, match=r"nms: `boxes` is a Anchors, .*; pass its `corners`"):
        as_arrays("nms", boxes=(make_anchors(grids=(1,)), "K 4"))
