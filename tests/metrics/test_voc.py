import json
import math
import sys
import tracemalloc
from fractions import Fraction

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.metrics import VOCScores, average_precision, format_scores, voc, voc_scores
from tests.metrics.scenes import Found, Truth

WHOLE, LEFT, TOP_LEFT, BOTTOM_RIGHT = (0, 0, 1, 1), (0, 0, 1, 0.5), (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)
NUM_CLASSES = 3


def score(found: Found, truth: Truth, num_classes: int = NUM_CLASSES, **options) -> VOCScores:
    return voc_scores(found, *truth, num_classes=num_classes, **options)


def by_hand(found: list[list[tuple]], truth: list[list[tuple]]) -> tuple[Found, Truth]:
    """Padded arrays from a list for each image of (box, score) and of (box, difficult); one class; NaN as padding."""
    n, d, g = len(found), max(map(len, found)) + 1, max(map(len, truth)) + 1
    detections = Found(np.full((n, d, 4), np.nan), np.full((n, d), np.nan), np.full((n, d), -7), np.zeros((n, d), bool))
    truths = Truth(np.full((n, g, 4), np.nan), np.full((n, g), 99), np.zeros((n, g), bool), np.ones((n, g), bool))
    for image, rows in enumerate(found):
        for row, (box, value) in enumerate(rows):
            for array, cell in zip(detections, (box, value, 0, True), strict=True):
                array[image, row] = cell
    for image, rows in enumerate(truth):
        for row, (box, difficult) in enumerate(rows):
            for array, cell in zip(truths, (box, 0, True, difficult), strict=True):
                array[image, row] = cell
    return detections, truths


# A slow reference, from the protocol's words: at every score it judges again the detections of that score or more.


def slow_iou(a, b) -> Fraction:
    (ay1, ax1, ay2, ax2), (by1, bx1, by2, bx2) = ([Fraction(float(v)) for v in box] for box in (a, b))
    intersection = max(min(ay2, by2) - max(ay1, by1), 0) * max(min(ax2, bx2) - max(ax1, bx1), 0)
    union = (ay2 - ay1) * (ax2 - ax1) + (by2 - by1) * (bx2 - bx1) - intersection
    return intersection / union if union else Fraction(0)


def slow_curve(found: Found, truth: Truth, label: int) -> list[tuple[Fraction, Fraction, float]]:
    truths = {
        image: [g for g in range(truth.valid.shape[1]) if truth.valid[image, g] and truth.labels[image, g] == label]
        for image in range(len(truth.valid))
    }
    countable = sum(not truth.difficult[image, g] for image, rows in truths.items() for g in rows)
    rows = [
        (float(found.scores[image, d]), image, d)
        for image in range(len(found.valid))
        for d in range(found.valid.shape[1])
        if found.valid[image, d] and found.labels[image, d] == label
    ]
    rows.sort(key=lambda row: -row[0])
    curve = []
    for lowest in sorted({value for value, _, _ in rows}, reverse=True):
        claimed, right, wrong = set(), 0, 0
        for value, image, d in rows:
            if value < lowest:
                break
            best, best_iou = None, Fraction(-1)
            for g in truths[image]:
                iou = slow_iou(found.boxes[image, d], truth.boxes[image, g])
                if iou > best_iou:
                    best, best_iou = g, iou
            if best_iou < Fraction(1, 2):
                wrong += 1
            elif truth.difficult[image, best]:
                continue
            elif (image, best) in claimed:
                wrong += 1
            else:
                claimed.add((image, best))
                right += 1
        if countable and right + wrong:
            curve.append((Fraction(right, countable), Fraction(right, right + wrong), lowest))
    return curve


def slow_voc07(curve) -> float:
    best = [max((p for r, p, _ in curve if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
    return float(sum(best) / 11)


def slow_area(curve) -> float:
    total, reached = Fraction(0), Fraction(0)
    for recall in sorted({r for r, _, _ in curve}):
        total += (recall - reached) * max(p for r, p, _ in curve if r >= recall)
        reached = recall
    return float(total)


# Few places and few scores, so that IoUs of exactly 1/2, equal IoUs and equal scores are common.


@st.composite
def boxes(draw, n: int, rows: int) -> np.ndarray:
    near = draw(hnp.arrays(np.float32, (n, rows, 2), elements=st.sampled_from([0.0, 0.25, 0.5])))
    size = draw(hnp.arrays(np.float32, (n, rows, 2), elements=st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0])))
    return np.concatenate([near, near + size], axis=-1)


@st.composite
def scenes(draw) -> tuple[Found, Truth]:
    n, d, g = draw(st.sampled_from([(1, 6, 3), (3, 5, 4), (4, 3, 2), (2, 0, 2), (2, 3, 0), (0, 2, 2)]))

    def rows(size, elements, dtype=np.int32):
        return draw(hnp.arrays(dtype, (n, size), elements=elements))

    label, flag = st.integers(0, NUM_CLASSES - 1), st.booleans()
    found_scores = rows(d, st.sampled_from([0.125, 0.25, 0.5, 1.0]), np.float32)
    found = Found(draw(boxes(n, d)), found_scores, rows(d, label), rows(d, flag, bool))
    return found, Truth(draw(boxes(n, g)), rows(g, label), rows(g, flag, bool), rows(g, flag, bool))


def assert_same(a: VOCScores, b: VOCScores) -> None:
    for name in ("ap_voc07", "ap_area", "num_truths", "num_difficult", "num_detections"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for ours, theirs in zip(a.curves, b.curves, strict=True):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(x, y)


@settings(max_examples=250)
@given(scenes())
def test_agrees_with_the_slow_twin(scene):
    found, truth = scene
    scores = score(found, truth)
    for label in range(NUM_CLASSES):
        of_class = truth.valid & (truth.labels == label)
        assert scores.num_truths[label] == np.sum(of_class & ~truth.difficult)
        assert scores.num_difficult[label] == np.sum(of_class & truth.difficult)
        assert scores.num_detections[label] == np.sum(found.valid & (found.labels == label))
        if not scores.num_truths[label]:
            assert math.isnan(scores.ap_voc07[label])
            assert math.isnan(scores.ap_area[label])
            assert [len(values) for values in scores.curves[label]] == [0, 0, 0]
            continue
        curve = slow_curve(found, truth, label)
        points = np.array(curve, float).reshape(-1, 3)
        kept = np.isin(points[:, 2], scores.curves[label][2])  # a score whose detections are all ignored is no point
        np.testing.assert_allclose(np.array(scores.curves[label]).T, points[kept], rtol=0, atol=1e-12)
        assert scores.ap_voc07[label] == pytest.approx(slow_voc07(curve), abs=1e-12)
        assert scores.ap_area[label] == pytest.approx(slow_area(curve), abs=1e-12)
    assert scores.num_images == len(found.valid)


@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_images_and_of_detections_changes_nothing(scene, random):
    found, truth = scene
    images, rows = (random.sample(range(size), size) for size in found.valid.shape)
    shuffled = Found(*(array[images][:, rows] for array in found))
    assert_same(score(found, truth), score(shuffled, Truth(*(array[images] for array in truth))))


@given(scenes())
def test_what_the_padding_holds_changes_nothing(scene):
    found, truth = scene
    n = len(found.valid)

    def padded(array, valid, junk):
        array = np.where(valid.reshape(valid.shape + (1,) * (array.ndim - 2)), array, junk)
        return np.concatenate([array, np.full((n, 2, *array.shape[2:]), junk)], axis=1).astype(array.dtype)

    more_found = Found(*(padded(a, found.valid, j) for a, j in zip(found, (np.nan, np.inf, -7, False), strict=True)))
    more_truth = Truth(*(padded(a, truth.valid, j) for a, j in zip(truth, (np.nan, 99, False, True), strict=True)))
    assert_same(score(found, truth), score(more_found, more_truth))


@settings(max_examples=20)
@given(scenes())
def test_images_are_scored_alike_in_chunks_of_any_size(scene):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc, "_PAIRS_PER_CHUNK", 1)
        one_by_one = score(*scene)
    assert_same(score(*scene), one_by_one)


@given(scenes())
def test_a_worst_ranked_false_positive_never_raises_ap(scene):
    found, truth = scene
    before = score(found, truth)
    for label in range(NUM_CLASSES):
        far_away = Found(
            np.full((len(found.valid), 1, 4), [9.0, 9.0, 9.5, 9.5], np.float32),
            np.full((len(found.valid), 1), 0.0625, np.float32),
            np.full((len(found.valid), 1), label, np.int32),
            np.ones((len(found.valid), 1), bool),
        )
        after = score(Found(*(np.concatenate(pair, axis=1) for pair in zip(found, far_away, strict=True))), truth)
        known = before.num_truths > 0
        assert (after.ap_voc07[known] <= before.ap_voc07[known]).all()
        assert (after.ap_area[known] <= before.ap_area[known]).all()


@given(scenes())
def test_the_ground_truth_itself_scores_one(scene):
    _, truth = scene
    distinct = np.arange(truth.valid.shape[1], dtype=np.float32) * 2  # apart, so that each is its own best match
    apart = truth._replace(boxes=np.array([0, 0, 1, 1], np.float32) + distinct[:, None] + 0 * truth.boxes)
    perfect = Found(apart.boxes, np.full(apart.labels.shape, 0.5, np.float32), apart.labels, apart.valid)
    scores = score(perfect, apart)
    known = scores.num_truths > 0
    np.testing.assert_array_equal(scores.ap_area[known], 1.0)
    np.testing.assert_allclose(scores.ap_voc07[known], 1.0, rtol=0, atol=1e-12)
    assert math.isnan(scores.mean_area) == (not known.any())


def test_a_case_worked_by_hand():
    found = [[(TOP_LEFT, 0.9), (TOP_LEFT, 0.8)], [((0, 0, 0.25, 0.25), 0.7), (LEFT, 0.6)], [(WHOLE, 0.5)]]
    truth = [[(TOP_LEFT, False), (BOTTOM_RIGHT, False)], [((0, 0, 0.25, 0.25), True), (WHOLE, False)], []]
    scores = score(*by_hand(found, truth), num_classes=1)
    # 0.9 right; 0.8 a second hit, wrong; 0.7 on the difficult one, ignored; 0.6 right with IoU of exactly 1/2;
    # 0.5 in an image without ground truth, wrong. The bottom right one is never found.
    recall, precision, score_of = scores.curves[0]
    np.testing.assert_allclose(recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_array_equal(score_of, [0.9, 0.8, 0.6, 0.5])
    assert scores.ap_area[0] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert scores.ap_voc07[0] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recalls 0 to 0.3, then 0.4 to 0.6
    assert (scores.num_truths[0], scores.num_difficult[0], scores.num_detections[0]) == (3, 1, 5)


def test_a_detection_looks_only_at_the_truth_it_overlaps_most():
    narrower = (0, 0, 1, 0.9)
    found = [[(WHOLE, 0.9), ((0, 0, 1, 0.98), 0.8)]]
    claimed = score(*by_hand(found, [[(WHOLE, False), (narrower, False)]]), num_classes=1)
    np.testing.assert_array_equal(claimed.curves[0][1], [1.0, 0.5])  # the narrower one, free, is not its second choice
    difficult = score(*by_hand(found, [[(WHOLE, True), (narrower, False)]]), num_classes=1)
    assert difficult.ap_area[0] == 0.0
    assert len(difficult.curves[0][0]) == 0  # both are ignored


def test_of_two_equal_overlaps_the_first_truth_is_taken():
    found = [[(WHOLE, 0.9)]]
    right = (0, 0.5, 1, 1)
    assert score(*by_hand(found, [[(LEFT, False), (right, True)]]), num_classes=1).ap_area[0] == 1.0
    assert score(*by_hand(found, [[(right, True), (LEFT, False)]]), num_classes=1).ap_area[0] == 0.0


def test_equal_scores_make_one_point():
    found = [[(BOTTOM_RIGHT, 0.5), (TOP_LEFT, 0.5), (TOP_LEFT, 0.5)]]
    scores = score(*by_hand(found, [[(TOP_LEFT, False)]]), num_classes=1)
    np.testing.assert_allclose(np.array(scores.curves[0])[:, 0], [1.0, 1 / 3, 0.5])


def test_boxes_without_area_match_nothing_and_divide_by_nothing():
    point = (0.5, 0.5, 0.5, 0.5)
    scores = score(*by_hand([[(point, 0.9), (BOTTOM_RIGHT[::-1], 0.8)]], [[(point, False)]]), num_classes=1)
    assert scores.ap_area[0] == 0.0


def test_iou_threshold_decides_what_is_found():
    found, truth = by_hand([[(LEFT, 0.9)]], [[(WHOLE, False)]])
    assert score(found, truth, 1, iou_threshold=0.5).ap_area[0] == 1.0
    assert score(found, truth, 1, iou_threshold=0.51).ap_area[0] == 0.0


@st.composite
def halves(draw) -> tuple[tuple, tuple, tuple]:
    """Height and width of an image, and two boxes of whole pixels with an IoU of exactly 1/2."""
    height, width = draw(st.tuples(st.integers(2, 5000), st.integers(2, 5000)))
    half = draw(st.integers(1, width // 2))
    tall = draw(st.integers(1, height))
    y, x = draw(st.integers(0, height - tall)), draw(st.integers(0, width - 2 * half))
    inner = x + draw(st.integers(0, half))
    larger, smaller = (y, x, y + tall, x + 2 * half), (y, inner, y + tall, inner + half)
    size, pair = (height, width), (larger, smaller)
    if draw(st.booleans()):  # the same lying down
        size, pair = size[::-1], tuple((x1, y1, x2, y2) for y1, x1, y2, x2 in pair)
    return size, *(pair if draw(st.booleans()) else pair[::-1])


def found_in_pixels(size: tuple, detection: tuple, truth: tuple, *, dtype=np.float32, sizes: bool) -> float:
    found, truths = by_hand(
        [[(np.array(detection) / np.tile(size, 2), 0.9)]], [[(np.array(truth) / np.tile(size, 2), False)]]
    )
    found, truths = found._replace(boxes=dtype(found.boxes)), truths._replace(boxes=dtype(truths.boxes))
    return score(found, truths, 1, sizes=np.array([size]) if sizes else None).ap_area[0]


@settings(max_examples=300)
@given(halves(), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_an_iou_of_exactly_half_counts_whatever_float32_makes_of_the_boxes(case, dtype, sizes):
    assert found_in_pixels(*case, dtype=dtype, sizes=sizes) == 1.0


def test_a_pixel_less_than_half_does_not_count():
    for size in [(100, 100), (333, 500), (1999, 3001)]:
        for columns in (3, 7, 50):
            whole, less = (0, 0, size[0], 2 * columns), (0, 0, size[0], columns)
            less_by_a_pixel = (0, 0, size[0] - 1, columns)
            for sizes in (False, True):
                assert found_in_pixels(size, less, whole, sizes=sizes) == 1.0
                assert found_in_pixels(size, less_by_a_pixel, whole, sizes=sizes) == 0.0


def test_boxes_in_pixels_have_no_rounding_to_allow_for():
    found, truth = by_hand([[((0, 0, 2999, 2000), 0.9)]], [[((0, 0, 3000, 4000), False)]])  # 5,998,000 of 12,000,000
    assert score(found, truth, 1).ap_area[0] == 0.0
    exact, _ = by_hand([[((0, 0, 3000, 2000), 0.9)]], [[]])
    assert score(exact, truth, 1).ap_area[0] == 1.0


def test_with_sizes_boxes_are_rounded_to_a_thousandth_of_a_pixel():
    size, whole = (100, 100), (0, 0, 100, 100)
    for right, counts in [(49.9996, 1.0), (49.999, 0.0)]:
        assert found_in_pixels(size, (0, 0, 100, right), whole, sizes=True) == counts
        assert found_in_pixels(size, (0, 0, 100, right), whole, sizes=False) == 0.0


def test_each_image_has_its_own_size():
    found, truth = by_hand([[(LEFT, 0.9)], [(LEFT, 0.8)]], [[(WHOLE, False)], [(WHOLE, False)]])
    almost = found._replace(boxes=found.boxes * np.array([1, 1, 1, 1 - 8e-6]))
    scores = score(almost, truth, 1, sizes=np.array([[10, 10], [10, 1000]]))
    np.testing.assert_array_equal(
        scores.curves[0].precision, [1.0, 0.5]
    )  # 4.99996 px is 5, 499.996 px is less than 500


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.9])
def test_any_threshold_is_reached_exactly(threshold):
    for size in [(7, 11), (333, 500), (1203, 997)]:
        hundredths = round(threshold * 20)
        whole, part = (0, 0, size[0], 20), (0, 0, size[0], hundredths)
        wide = (size[0], max(size[1], 20))
        for sizes in (False, True):
            found, truth = by_hand(
                [[(np.array(part) / np.tile(wide, 2), 0.9)]], [[(np.array(whole) / np.tile(wide, 2), False)]]
            )
            found, truth = (r._replace(boxes=np.float32(r.boxes)) for r in (found, truth))
            options = {"sizes": np.array([wide])} if sizes else {}
            assert score(found, truth, 1, iou_threshold=threshold, **options).ap_area[0] == 1.0


def test_difficult_may_be_left_out():
    found, truth = by_hand([[(LEFT, 0.9)]], [[(LEFT, False)]])
    assert_same(voc_scores(found, *truth[:3], num_classes=1), score(found, truth, 1))


def test_classes_without_ground_truth_leave_the_mean():
    found, truth = by_hand([[(TOP_LEFT, 0.9), (WHOLE, 0.8)]], [[(TOP_LEFT, False), (BOTTOM_RIGHT, False)]])
    scores = score(found, truth, num_classes=4)
    assert np.isnan(scores.ap_area[1:]).all()
    assert scores.mean_area == scores.ap_area[0] == 0.5
    assert scores.mean_voc07 == scores.ap_voc07[0]


def test_many_images_take_bounded_memory():
    n, d, g = 2000, 100, 40
    corner = np.arange(g, dtype=np.float32) * 2
    grid = corner[:, None] + np.array([0, 0, 1, 1], np.float32)
    truth = Truth(
        np.broadcast_to(grid, (n, g, 4)), np.zeros((n, g), int), np.ones((n, g), bool), np.zeros((n, g), bool)
    )
    rows = np.arange(d) % g  # every truth is found, then found again at a lower score
    ranked = np.broadcast_to(np.linspace(1, 0.1, d, dtype=np.float32), (n, d))
    found = Found(truth.boxes[:, rows], ranked, np.zeros((n, d), int), np.ones((n, d), bool))
    tracemalloc.start()
    scores = score(found, truth, num_classes=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.ap_area[0] == 1.0
    assert peak < 150e6  # the float64 IoUs of all pairs at once would be 64 MB, and a dozen such arrays are made


def test_no_loop_in_python_goes_over_images():
    """Four times the images are scored in as many calls of functions as one time, whatever the machine is busy with."""

    def number_of_calls(num_images: int) -> int:
        rng = np.random.default_rng(0)
        boxes, labels = rng.random((num_images, 5, 4)), rng.integers(0, NUM_CLASSES, (num_images, 5))
        found = Found(boxes, rng.random((num_images, 5)), labels, np.ones((num_images, 5), bool))
        truth = Truth(boxes, labels, found.valid, rng.random((num_images, 5)) < 0.1)
        events: list[str] = []
        profiler = sys.getprofile()
        sys.setprofile(lambda _, event, __: events.append(event))
        try:
            score(found, truth)
        finally:
            sys.setprofile(profiler)
        return sum(event in ("call", "c_call") for event in events)

    number_of_calls(100)  # whatever happens once
    assert number_of_calls(400) < number_of_calls(100) + 50


# average_precision


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_eleven_points_are_reached_in_either_precision(dtype):
    for found in range(11):  # the curve ends at exactly found / 10, by division in `dtype`
        recall = np.arange(1, found + 1).astype(dtype) / dtype(10)
        expected = (found + 1 if found else 0) / 11
        assert average_precision(recall, np.ones_like(recall), method="voc07") == pytest.approx(expected, abs=1e-12)
    for truths in (3, 7, 9, 30, 70, 490):
        recall = np.arange(1, truths + 1).astype(dtype) / dtype(truths)
        assert average_precision(recall, np.ones_like(recall)) == pytest.approx(1.0)


def test_a_threshold_missed_by_more_than_rounding_stays_missed():
    assert average_precision(np.array([0.3 - 1e-6]), np.array([1.0])) == pytest.approx(3 / 11)


def test_average_precision_of_a_curve_worked_by_hand():
    recall, precision = np.array([0.2, 0.2, 0.4, 0.4, 0.8]), np.array([1, 0.5, 2 / 3, 0.5, 0.7])
    # the envelope is 1 up to 0.2, then 0.7 up to 0.8
    assert average_precision(recall, precision, method="area") == pytest.approx(0.2 * 1 + 0.6 * 0.7)
    assert average_precision(recall, precision, method="voc07") == pytest.approx((3 * 1 + 6 * 0.7) / 11)
    assert average_precision(recall, precision) == average_precision(recall, precision, method="voc07")


@pytest.mark.parametrize("method", ["voc07", "area"])
def test_an_empty_curve_scores_zero(method):
    assert average_precision(np.empty(0), np.empty(0), method=method) == 0.0


@pytest.mark.parametrize(
    ("name", "recall", "precision"),
    [
        ("recall", [0.5, 0.4], [1.0, 1.0]),
        ("recall", [0.5, 1.5], [1.0, 1.0]),
        ("recall", [np.nan, 0.5], [1.0, 1.0]),
        ("precision", [0.5, 0.6], [1.0, np.nan]),
        ("precision", [0.5, 0.6], [1.0, -0.1]),
        ("precision", [0.5, 0.6], [1.0]),
        ("recall", [[0.5, 0.6]], [1.0, 1.0]),
    ],
)
def test_average_precision_names_the_argument_at_fault(name, recall, precision):
    with pytest.raises(Exception, match=name):
        average_precision(np.array(recall), np.array(precision))


def test_average_precision_names_an_unknown_method():
    with pytest.raises(Exception, match="method"):
        average_precision(np.array([0.5]), np.array([1.0]), method="coco")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("detections.boxes", lambda found, truth: (found._replace(boxes=found.boxes[..., :3]), truth)),
        ("detections.scores", lambda found, truth: (found._replace(scores=found.scores[:, :1]), truth)),
        ("detections.scores", lambda found, truth: (found._replace(scores=found.scores * np.nan), truth)),
        ("detections.boxes", lambda found, truth: (found._replace(boxes=found.boxes + np.inf), truth)),
        ("detections.labels", lambda found, truth: (found._replace(labels=found.labels - 1), truth)),
        ("gt_boxes", lambda found, truth: (found, truth._replace(boxes=truth.boxes * np.nan))),
        ("gt_boxes", lambda found, truth: (found, Truth(*(np.repeat(array, 2, axis=0) for array in truth)))),
        ("gt_labels", lambda found, truth: (found, truth._replace(labels=truth.labels + 5))),
        ("gt_valid", lambda found, truth: (found, truth._replace(valid=truth.valid[:, :1]))),
        ("gt_difficult", lambda found, truth: (found, truth._replace(difficult=truth.difficult[:, :1]))),
    ],
)
def test_voc_scores_names_the_argument_at_fault(name, change):
    with pytest.raises(Exception, match=name):
        score(*change(*by_hand([[(LEFT, 0.9)]], [[(LEFT, False)]])), num_classes=1)


@pytest.mark.parametrize("iou_threshold", [0.0, 1.1, -0.5])
def test_an_iou_threshold_nothing_can_meet_is_refused(iou_threshold):
    with pytest.raises(ValueError, match="iou_threshold"):
        score(*by_hand([[]], [[]]), num_classes=1, iou_threshold=iou_threshold)


# What people and programs read


def two_classes() -> VOCScores:
    found, truth = by_hand([[(TOP_LEFT, 0.9)]], [[(TOP_LEFT, False), (BOTTOM_RIGHT, True)]])
    return score(found, truth, num_classes=2)


def test_as_dict_survives_json():
    report = json.loads(json.dumps(two_classes().as_dict(["cat", "dog"]), allow_nan=False))
    assert report == {
        "map_voc07": 1.0,
        "map_area": 1.0,
        "iou_threshold": 0.5,
        "num_images": 1,
        "classes": {
            "cat": {"ap_voc07": 1.0, "ap_area": 1.0, "truths": 1, "difficult": 1, "detections": 1},
            "dog": {"ap_voc07": None, "ap_area": None, "truths": 0, "difficult": 0, "detections": 0},
        },
    }
    nothing = score(*by_hand([[]], [[]]), num_classes=1).as_dict(["cat"])
    assert nothing["map_area"] is nothing["map_voc07"] is None


def test_the_table_is_aligned_and_says_the_protocol():
    header, cat, dog, mean, protocol = format_scores(two_classes(), ["cat", "a rather long name"]).splitlines()
    assert len({len(line) for line in (header, cat, dog, mean)}) == 1
    assert cat.split() == ["cat", "1", "1", "1", "1.0000", "1.0000"]
    assert dog.split()[-5:] == ["0", "0", "0", "-", "-"]
    assert mean.split() == ["total,", "mean", "1", "1", "1", "1.0000", "1.0000"]
    for phrase in ("IoU >= 0.5", "difficult", "1 images"):
        assert phrase in protocol


@pytest.mark.parametrize("report", [format_scores, VOCScores.as_dict])
def test_reports_want_a_name_for_each_class(report):
    with pytest.raises(ValueError, match="class_names"):
        report(two_classes(), ["cat"])
