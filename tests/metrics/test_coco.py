"""COCO's numbers through the library: known answers, VOC's area where the two must agree, pycocotools as the judge."""

import contextlib
import gc
import io
import json
import logging
import math
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.metrics import COCOScores, coco_scores, format_coco_scores, voc_scores
from jaxssd.metrics.coco import SUMMARY
from jaxssd.metrics.coco_records import coco_instances, coco_results
from tests.metrics.scenes import Found, Truth

SIDE = 256  # a power of two: boxes of whole pixels are exact in float32
NUM_CLASSES = 2


def score(found: Found, truth: Truth, num_classes: int = 1, sizes=None) -> COCOScores:
    sizes = np.full((len(found.valid), 2), SIDE) if sizes is None else sizes
    return coco_scores(found, *truth, sizes, num_classes=num_classes)


def by_hand(found: list[list[tuple]], truth: list[list[tuple]], sizes=None) -> tuple[Found, Truth]:
    """Padded arrays from a list for each image of (pixels, score) and of (pixels, difficult); one class; NaN padding.

    Pixels are `[y1, x1, y2, x2]` of a square of `SIDE`, or of the image's size.
    """
    n, d, g = len(found), max(map(len, found)) + 1, max(map(len, truth)) + 1
    sizes = [(SIDE, SIDE)] * n if sizes is None else sizes
    detections = Found(np.full((n, d, 4), np.nan), np.full((n, d), np.nan), np.full((n, d), -7), np.zeros((n, d), bool))
    truths = Truth(np.full((n, g, 4), np.nan), np.full((n, g), 99), np.zeros((n, g), bool), np.ones((n, g), bool))
    for image, rows in enumerate(found):
        for row, (box, value) in enumerate(rows):
            for array, cell in zip(detections, (np.array(box) / np.tile(sizes[image], 2), value, 0, True), strict=True):
                array[image, row] = cell
    for image, rows in enumerate(truth):
        for row, (box, difficult) in enumerate(rows):
            for array, cell in zip(truths, (np.array(box) / np.tile(sizes[image], 2), 0, True, difficult), strict=True):
                array[image, row] = cell
    return detections, truths


def assert_same(a: COCOScores, b: COCOScores) -> None:
    np.testing.assert_array_equal([*a.summary().values()], [*b.summary().values()])
    np.testing.assert_array_equal(a.class_ap, b.class_ap)
    np.testing.assert_array_equal(a.class_ap50, b.class_ap50)


# Scenes where VOC and COCO must match alike: truths lie in cells of their own with a margin between them, so that a
# detection reaches an IoU of 0.5 with one of them at most; nothing is difficult; no two scores are equal.

CELL, MARGIN, PER_SIDE = 64, 8, 4


@st.composite
def scenes(draw, overlapping: bool = False, num_images: int = 3) -> tuple[Found, Truth]:
    n, d, g = num_images, 6, 4

    def integers(shape, low, high):
        return draw(hnp.arrays(np.int64, shape, elements=st.integers(low, high)))

    cells = np.array([draw(st.permutations(range(PER_SIDE**2)))[:g] for _ in range(n)])
    corner = np.stack([cells // PER_SIDE, cells % PER_SIDE], axis=-1) * CELL + MARGIN
    extent = integers((n, g, 2), 16, CELL - 2 * MARGIN)
    truths = np.concatenate([corner, corner + extent], axis=-1)
    if overlapping:
        truths = truths // 4  # everything into one corner
    of = integers((n, d), 0, g - 1)
    shift = integers((n, d, 4), -8, 8)
    boxes = np.maximum(np.take_along_axis(truths, of[..., None], axis=1) + shift, 0)
    ranks = np.array(draw(st.permutations(range(n * d)))).reshape(n, d)
    gt_labels = integers((n, g), 0, NUM_CLASSES - 1)
    swapped = draw(hnp.arrays(bool, (n, d), elements=st.sampled_from([False, False, False, True])))
    labels = np.where(swapped, integers((n, d), 0, NUM_CLASSES - 1), np.take_along_axis(gt_labels, of, axis=1))
    flags = st.sampled_from([True, True, True, False])
    valid, gt_valid = (draw(hnp.arrays(bool, shape, elements=flags)) for shape in ((n, d), (n, g)))
    difficult = draw(hnp.arrays(bool, (n, g))) if overlapping else np.zeros((n, g), bool)
    found = Found(np.float32(boxes / SIDE), np.float32((ranks + 1) / (n * d)), labels, valid)
    return found, Truth(np.float32(truths / SIDE), gt_labels, gt_valid, difficult)


@given(scenes())
def test_ap_at_half_is_vocs_area_to_a_hundredth(scene):
    """Both take the same envelope p, which falls with recall: VOC its integral, COCO the mean of p(0), ..., p(1).

    A sum of 100 rectangles bounds the integral from either side: (sum - p(0)) / 100 <= area <= (sum - p(1)) / 100. With
    sum = 101 AP that makes |AP - area| at most 1/100.
    """
    found, truth = scene
    ours, theirs = voc_scores(found, *truth, num_classes=NUM_CLASSES), score(found, truth, NUM_CLASSES)
    np.testing.assert_array_equal(np.isnan(theirs.class_ap50), np.isnan(ours.ap_area))
    known = ours.num_truths > 0
    assert (np.abs(theirs.class_ap50 - ours.ap_area)[known] <= 0.01 + 1e-9).all()


@given(scenes(num_images=1))
def test_ap_at_half_is_exact_where_the_recalls_are_hundredths(scene):
    """With 1, 2 or 4 truths every step of p ends on a hundredth.

    Then area = (sum - p(0)) / 100, and 101 AP = 100 area + p(0).
    """
    found, truth = scene
    ours, theirs = voc_scores(found, *truth, num_classes=NUM_CLASSES), score(found, truth, NUM_CLASSES)
    for label in np.flatnonzero(np.isin(ours.num_truths, [1, 2, 4])):
        highest = ours.curves[label].precision.max(initial=0)
        assert theirs.class_ap50[label] == pytest.approx((100 * ours.ap_area[label] + highest) / 101, abs=1e-12)


@settings(max_examples=25)
@given(scenes(overlapping=True))
def test_pycocotools_gives_the_same_numbers(scene):
    """The official scorer, on our records read by itself: crowds, overlapping truths and sizes included."""
    found, truth = scene
    n = len(found.valid)
    sizes, ids = np.full((n, 2), SIDE * 3), {"image_ids": range(1, n + 1), "category_ids": range(1, NUM_CLASSES + 1)}
    instances = coco_instances(*truth, sizes, **ids, class_names=["cat", "dog"])
    official = by_pycocotools(instances, coco_results(found, sizes, **ids))
    ours = score(found, truth, NUM_CLASSES, sizes)
    np.testing.assert_allclose([*ours.summary().values()], official, rtol=0, atol=1e-12)


def test_images_have_their_own_height_and_width():
    truth = np.zeros((2, 1, 4)), np.zeros((2, 1), int), np.zeros((2, 1), bool), None
    sizes = np.array([[10, 20], [30, 40]])
    images = coco_instances(*truth, sizes, image_ids=[5, 6], category_ids=[1], class_names=["cat"])["images"]
    assert [(image["id"], image["height"], image["width"]) for image in images] == [(5, 10, 20), (6, 30, 40)]


def by_pycocotools(instances: dict, results: list) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = instances
        truth.createIndex()
        if results:
            found = truth.loadRes(results)
        else:  # its loadRes looks at the first one
            found.dataset = instances | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


@given(scenes(overlapping=True), st.randoms(use_true_random=False))
def test_the_order_of_images_and_of_detections_changes_nothing(scene, random):
    found, truth = scene
    images, rows = (random.sample(range(size), size) for size in found.valid.shape)
    sizes = np.array([[300, 400], [500, 250], [100, 90]])
    shuffled = Found(*(array[images][:, rows] for array in found))
    assert_same(
        score(found, truth, NUM_CLASSES, sizes),
        score(shuffled, Truth(*(array[images] for array in truth)), NUM_CLASSES, sizes[images]),
    )


@given(scenes(overlapping=True))
def test_what_the_padding_holds_changes_nothing(scene):
    found, truth = scene
    n = len(found.valid)

    def padded(array, valid, junk):
        array = np.where(valid.reshape(valid.shape + (1,) * (array.ndim - 2)), array, junk)
        return np.concatenate([array, np.full((n, 2, *array.shape[2:]), junk)], axis=1).astype(array.dtype)

    more_found = Found(*(padded(a, found.valid, j) for a, j in zip(found, (np.nan, np.inf, -7, False), strict=True)))
    more_truth = Truth(*(padded(a, truth.valid, j) for a, j in zip(truth, (np.nan, 99, False, True), strict=True)))
    assert_same(score(found, truth, NUM_CLASSES), score(more_found, more_truth, NUM_CLASSES))


@given(scenes(overlapping=True))
def test_means_are_over_the_classes_that_have_ground_truth(scene):
    scores = score(*scene, NUM_CLASSES + 1)
    assert math.isnan(scores.class_ap[NUM_CLASSES])
    for mean, of_classes in ((scores.ap, scores.class_ap), (scores.ap50, scores.class_ap50)):
        known = of_classes[~np.isnan(of_classes)]
        assert math.isnan(mean) if len(known) == 0 else mean == pytest.approx(known.mean(), abs=1e-12)


# Known answers. Of 101 recalls, 0 to 1, a recall of 1/2 reaches 51.


def test_perfect_detections_score_one():
    boxes = [(0, 0, 20, 30), (100, 100, 150, 160), (0, 100, 120, 250)]
    truth = [[(box, False) for box in boxes], [(boxes[0], False)], []]
    found = [[(box, 0.5) for box in boxes], [(boxes[0], 0.4)], []]
    scores = score(*by_hand(found, truth))
    assert scores.summary() == pytest.approx(dict.fromkeys(SUMMARY, 1.0) | {"ar1": 0.5})  # 2 images of 4 objects
    np.testing.assert_allclose(scores.class_ap, [1.0])
    assert scores.num_images == 3


def test_a_duplicate_ranked_between_two_hits():
    one, other = (0, 0, 100, 100), (120, 120, 220, 220)
    found = [[(one, 0.9), (one, 0.8), (other, 0.7)]]
    scores = score(*by_hand(found, [[(one, False), (other, False)]]))
    right_wrong_right = (51 * 1 + 50 * 2 / 3) / 101
    assert (scores.ap50, scores.ap) == (pytest.approx(right_wrong_right), pytest.approx(right_wrong_right))
    assert (scores.ar1, scores.ar10, scores.ar100) == (0.5, 1.0, 1.0)


def test_one_miss():
    one, other = (0, 0, 100, 100), (120, 120, 220, 220)
    scores = score(*by_hand([[(one, 0.9)]], [[(one, False), (other, False)]]))
    assert scores.ap == pytest.approx(51 / 101)
    assert scores.ar100 == 0.5


def test_iou_thresholds_run_from_half_to_095():
    truth, found = (0, 0, 100, 100), (0, 0, 100, 79)  # IoU 0.79: found at 0.5, 0.55, ..., 0.75, six of ten
    scores = score(*by_hand([[(found, 0.9)]], [[(truth, False)]]))
    assert scores.ap == pytest.approx(0.6)
    assert scores.ar100 == pytest.approx(0.6)
    assert (scores.ap50, scores.ap75) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("box", "belongs_to"),
    [
        ((0, 0, 31, 33), ["small"]),  # 1,023 square pixels
        ((0, 0, 32, 32), ["small", "medium"]),  # exactly 32²: both include it
        ((0, 0, 25, 41), ["medium"]),  # 1,025
        ((0, 0, 95, 97), ["medium"]),  # 9,215
        ((0, 0, 96, 96), ["medium", "large"]),
        ((0, 0, 97, 96), ["large"]),
    ],
)
@pytest.mark.parametrize("size", [(333, 500), (97, 101), (4000, 3001)])
def test_sizes_are_areas_in_pixels_of_the_original_image(box, belongs_to, size):
    """Whatever rounding to float32 did to the normalised box."""
    found, truth = by_hand([[(box, 0.9)]], [[(box, False)]], [size])
    found, truth = found._replace(boxes=np.float32(found.boxes)), truth._replace(boxes=np.float32(truth.boxes))
    scores = score(found, truth, sizes=np.array([size]))
    for name in ("small", "medium", "large"):
        value, recall = getattr(scores, f"ap_{name}"), getattr(scores, f"ar_{name}")
        assert (value, recall) == (pytest.approx(1.0), 1.0) if name in belongs_to else np.isnan([value, recall]).all()


def test_the_same_normalised_box_is_of_another_size_in_another_image():
    found, truth = by_hand([[((0, 0, 16, 16), 0.9)]], [[((0, 0, 16, 16), False)]])
    assert score(found, truth, sizes=np.array([[256, 256]])).ap_small == pytest.approx(1.0)
    assert score(found, truth, sizes=np.array([[1024, 1024]])).ap_medium == pytest.approx(1.0)
    assert score(found, truth, sizes=np.array([[4096, 4096]])).ap_large == pytest.approx(1.0)


def test_the_ap_of_a_class_is_of_a_hundred_detections_as_the_ap_is():
    box, elsewhere = (0, 0, 50, 50), (100, 100, 150, 150)
    found = [[(elsewhere, 0.9 - row / 1000) for row in range(20)] + [(box, 0.1)]]
    scores = score(*by_hand(found, [[(box, False)]]))
    assert scores.class_ap[0] == pytest.approx(scores.ap)
    assert scores.ap == pytest.approx(1 / 21)


def test_only_the_hundred_best_of_a_class_in_an_image_count():
    box, elsewhere = (0, 0, 50, 50), (100, 100, 150, 150)
    found = [[(elsewhere, 0.9 - row / 1000) for row in range(100)] + [(box, 0.1)]]
    assert score(*by_hand(found, [[(box, False)]])).ar100 == 0.0
    found[0] = found[0][1:]
    scores = score(*by_hand(found, [[(box, False)]]))
    assert scores.ar100 == 1.0
    assert scores.ap50 == pytest.approx(1 / 100)


# Difficult ground truth is a crowd.


def test_a_crowd_need_not_be_found():
    one, crowd = (0, 0, 50, 50), (100, 100, 200, 200)
    assert score(*by_hand([[(one, 0.9)]], [[(one, False), (crowd, True)]])).ap == pytest.approx(1.0)
    assert math.isnan(score(*by_hand([[(crowd, 0.9)]], [[(crowd, True)]])).ap)


def test_any_number_of_boxes_inside_a_crowd_are_ignored_where_voc_calls_small_ones_wrong():
    one, crowd = (0, 0, 50, 50), (100, 100, 200, 200)
    inside = [((100, 100, 130, 130), 0.9), ((150, 150, 180, 180), 0.8), (crowd, 0.7), (crowd, 0.6)]
    scene = by_hand([[*inside, (one, 0.5)]], [[(one, False), (crowd, True)]])
    assert score(*scene).ap == pytest.approx(1.0)
    assert voc_scores(scene[0], *scene[1], num_classes=1).ap_area[0] == pytest.approx(1 / 3)  # two wrong before it


def test_overlap_with_a_crowd_is_over_the_detections_area():
    one, crowd = (0, 0, 50, 50), (100, 100, 200, 200)
    mostly_inside, mostly_outside = (90, 100, 110, 200), (80, 100, 109, 200)  # by 10 of 20 rows, and by 9 of 29
    assert score(*by_hand([[(mostly_inside, 0.9), (one, 0.5)]], [[(one, False), (crowd, True)]])).ap50 == 1.0
    scores = score(*by_hand([[(mostly_outside, 0.9), (one, 0.5)]], [[(one, False), (crowd, True)]]))
    assert scores.ap50 == pytest.approx(0.5)


def test_an_ordinary_object_comes_before_a_crowd():
    one, crowd, found = (0, 0, 100, 80), (0, 0, 100, 100), (0, 0, 100, 99)
    scene = by_hand([[(found, 0.9)]], [[(one, False), (crowd, True)]])
    assert score(*scene).ap50 == pytest.approx(1.0)
    assert voc_scores(scene[0], *scene[1], num_classes=1).ap_area[0] == 0.0  # looks at the crowd alone, is ignored


def test_difficult_may_be_left_out():
    found, truth = by_hand([[((0, 0, 50, 50), 0.9)]], [[((0, 0, 50, 50), False)]])
    assert_same(score(found, truth._replace(difficult=None)), score(found, truth))


# Nothing there


def test_no_detections_score_zero():
    scores = score(*by_hand([[], []], [[((0, 0, 50, 50), False)], []]))
    assert (scores.ap, scores.ap50, scores.ar100, scores.ap_medium) == (0, 0, 0, 0)
    assert math.isnan(scores.ap_small)
    np.testing.assert_array_equal(scores.class_ap, [0.0])


def test_no_ground_truth_is_undefined():
    scores = score(*by_hand([[((0, 0, 50, 50), 0.9)], []], [[], []]))
    assert np.isnan([*scores.summary().values()]).all()
    assert np.isnan(scores.class_ap).all()


@pytest.mark.parametrize(("n", "d", "g"), [(0, 3, 2), (0, 0, 0), (2, 0, 0), (2, 0, 2), (2, 3, 0)])
def test_arrays_without_rows(n, d, g):
    found = Found(np.zeros((n, d, 4)), np.zeros((n, d)), np.zeros((n, d), int), np.zeros((n, d), bool))
    truth = Truth(np.zeros((n, g, 4)), np.zeros((n, g), int), np.zeros((n, g), bool), np.zeros((n, g), bool))
    scores = score(found, truth, NUM_CLASSES)
    assert scores.num_images == n
    assert np.isnan([*scores.summary().values(), *scores.class_ap, *scores.class_ap50]).all()


def test_boxes_without_area_and_with_swapped_corners_are_wrong_and_harm_nothing():
    one, crowd = (0, 0, 50, 50), (100, 100, 200, 200)
    found = [[((120, 120, 120, 150), 0.9), ((180, 180, 120, 120), 0.8), (one, 0.5)]]
    assert score(*by_hand(found, [[(one, False), (crowd, True)]])).ap50 == pytest.approx(1 / 3)


# What is wrong with the arguments


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("detections.boxes", lambda found, truth: (found._replace(boxes=found.boxes[..., :3]), truth)),
        ("detections.scores", lambda found, truth: (found._replace(scores=found.scores * np.nan), truth)),
        ("detections.labels", lambda found, truth: (found._replace(labels=found.labels + 1), truth)),
        ("gt_boxes", lambda found, truth: (found, truth._replace(boxes=truth.boxes * np.nan))),
        ("gt_boxes", lambda found, truth: (found, Truth(*(np.repeat(array, 2, axis=0) for array in truth)))),
        ("gt_labels", lambda found, truth: (found, truth._replace(labels=truth.labels + 5))),
        ("gt_difficult", lambda found, truth: (found, truth._replace(difficult=truth.difficult[:, :1]))),
    ],
)
def test_the_argument_at_fault_is_named(name, change):
    found, truth = change(*by_hand([[((0, 0, 50, 50), 0.9)]], [[((0, 0, 50, 50), False)]]))
    with pytest.raises(Exception, match=name):
        coco_scores(found, *truth, np.array([[SIDE, SIDE]]), num_classes=1)


@pytest.mark.parametrize("sizes", [[[0, 256]], [[256, -1]], [[256, 256], [256, 256]], [[256, 256, 3]]])
def test_sizes_that_cannot_be_are_refused(sizes):
    found, truth = by_hand([[((0, 0, 50, 50), 0.9)]], [[((0, 0, 50, 50), False)]])
    with pytest.raises(Exception, match="sizes"):
        score(found, truth, sizes=np.array(sizes))


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        score(*by_hand([[]], [[]]), num_classes=0)


# What it costs


@contextlib.contextmanager
def counted_collections():
    """A list that grows by one with each garbage collection."""
    collections = []

    def count(phase: str, _: dict) -> None:
        if phase == "start":
            collections.append(phase)

    gc.callbacks.append(count)
    try:
        yield collections
    finally:
        gc.callbacks.remove(count)


def test_no_garbage_is_looked_for_while_there_are_many_records():
    """A third of all the time would go there. There is no garbage either: all records are gone in the end."""
    boxes = [((row, row, row + 50, row + 50), row / 100) for row in range(100)]
    scene = by_hand([boxes] * 50, [[((0, 0, 50, 50), False)]] * 50)
    score(*scene)  # loads the library
    gc.collect()
    objects = len(gc.get_objects())
    with counted_collections() as collections:
        score(*scene)
    assert len(collections) < 5  # 5,000 records are worth dozens
    assert len(gc.get_objects()) - objects < 1000


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled):
    scene = by_hand([[((0, 0, 50, 50), 0.9)]], [[((0, 0, 50, 50), False)]])
    try:
        if not enabled:
            gc.disable()
        score(*scene)
        assert gc.isenabled() == enabled
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("faster_coco_eval.COCO", None)
            with pytest.raises(TypeError):
                score(*scene)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_without_the_library_the_message_says_what_to_install():
    message = run_python(
        "import sys; sys.modules['faster_coco_eval'] = None\n"
        "import numpy as np; from types import SimpleNamespace; from jaxssd.metrics import coco_scores\n"
        "boxes, rows, none = np.zeros((1, 1, 4)), np.zeros((1, 1)), np.zeros((1, 1), bool)\n"
        "found = SimpleNamespace(boxes=boxes, scores=rows, labels=rows.astype(int), valid=none)\n"
        "try: coco_scores(found, boxes, rows.astype(int), none, none, np.array([[9, 9]]), num_classes=1)\n"
        "except ImportError as error: print(error)"
    )
    assert message == 'coco_scores needs faster-coco-eval: pip install -e ".[coco]"'


def test_the_library_is_loaded_when_a_score_is_asked_for():
    libraries = "{'faster_coco_eval', 'pycocotools', 'matplotlib', 'flax', 'jaxssd.metrics.coco'}"
    assert run_python(f"import sys, jaxssd.metrics; print({libraries} & set(sys.modules))") == "set()"


def test_nothing_is_printed_or_logged(capfd, caplog):
    caplog.set_level(logging.INFO)
    score(*by_hand([[((0, 0, 50, 50), 0.9)]], [[((0, 0, 50, 50), False)]]))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# What people and programs read


def two_classes() -> COCOScores:
    one, other = (0, 0, 100, 100), (120, 120, 220, 220)
    return score(*by_hand([[(one, 0.9)]], [[(one, False), (other, False)]]), num_classes=2)


def test_as_dict_survives_json():
    report = json.loads(json.dumps(two_classes().as_dict(["cat", "dog"]), allow_nan=False))
    assert [*report] == [*SUMMARY, "num_images", "classes"]
    assert report["ap"] == pytest.approx(51 / 101)
    assert report["ap_small"] is None
    assert report["num_images"] == 1
    assert report["classes"]["cat"] == pytest.approx({"ap": 51 / 101, "ap50": 51 / 101})
    assert report["classes"]["dog"] == {"ap": None, "ap50": None}


def test_the_table_is_aligned_and_says_the_protocol():
    table = format_coco_scores(two_classes(), ["cat", "a rather long name"])
    header, cat, dog, mean, *others, protocol = table.splitlines()
    assert len({len(line) for line in (header, cat, dog, mean)}) == 1
    assert cat.split() == ["cat", "0.5050", "0.5050"]
    assert dog.split()[-2:] == ["-", "-"]
    assert mean.split() == ["mean", "0.5050", "0.5050"]
    assert "AP .75 0.5050; AP .50:.95 small -, medium -, large 0.5050" in others
    assert "crowds" in protocol


def test_names_must_fit():
    with pytest.raises(ValueError, match="1 names for 2 classes"):
        format_coco_scores(two_classes(), ["cat"])
