"""What people hand to the scores: masks of any dtype, lists, other libraries; and errors that name the fault."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.metrics import average_precision, coco_scores, voc_scores
from jaxssd.metrics.arrays import checked_detections, checked_truths
from jaxssd.metrics.coco_records import coco_instances, coco_results
from tests.metrics.scenes import Found, Truth

SIZES = np.array([[100, 200], [64, 48]])
CLASSES = 3


def scene() -> tuple[Found, Truth]:
    """Found and missed, twice and difficult; invalid rows that would change every score if they counted."""
    rng = np.random.default_rng(0)
    near = rng.uniform(0, 0.5, (2, 4, 2))
    boxes = np.concatenate([near, near + rng.uniform(0.2, 0.5, (2, 4, 2))], axis=-1).astype(np.float32)
    labels = rng.integers(0, CLASSES, (2, 4))
    valid = np.array([[True, True, True, False], [True, False, True, True]])
    difficult = np.array([[False, True, False, True], [False, False, False, True]])
    rows, scores = [0, 1, 1, 2, 3], np.float32(rng.permutation(10).reshape(2, 5) / 16)
    found = Found(boxes[:, rows], scores, labels[:, rows], np.array([[1, 1, 1, 0, 1], [1, 1, 0, 1, 1]], bool))
    return found, Truth(boxes, labels, valid, difficult)


def as_dtype(array: np.ndarray, kind: str):
    values = {"int32": 1, "twos": 2, "minus": -1, "float": 0.5}
    return {"bool": array, "list": array.tolist(), "jax": jnp.asarray(array)}.get(
        kind, array.astype(np.float32 if kind == "float" else np.int32) * values.get(kind, 1)
    )


def reports(found, truth) -> list:
    names = [str(label) for label in range(CLASSES)]
    ids = {"image_ids": range(2), "category_ids": range(CLASSES)}
    return [
        voc_scores(found, *truth, num_classes=CLASSES).as_dict(names),
        voc_scores(found, *truth, num_classes=CLASSES, sizes=SIZES).as_dict(names),
        coco_scores(found, *truth, SIZES, num_classes=CLASSES).as_dict(names),
        coco_results(found, SIZES, **ids),
        coco_instances(*truth, SIZES, class_names=names, **ids),
    ]


@pytest.mark.parametrize("kind", ["int32", "twos", "minus", "float", "list", "jax"])
def test_masks_of_any_dtype_are_the_mask(kind):
    found, truth = scene()
    expected = reports(found, truth)
    assert expected[0]["classes"]["0"]["truths"] + expected[0]["classes"]["1"]["truths"] > 0
    masked = (
        found._replace(valid=as_dtype(found.valid, kind)),
        truth._replace(valid=as_dtype(truth.valid, kind), difficult=as_dtype(truth.difficult, kind)),
    )
    np.testing.assert_equal(reports(*masked), expected)


@pytest.mark.parametrize("convert", [np.ndarray.tolist, jnp.asarray, np.asfortranarray], ids=["lists", "jax", "order"])
def test_lists_and_other_arrays_are_taken(convert):
    found, truth = scene()
    converted = Found(*map(convert, found)), Truth(*map(convert, truth))
    np.testing.assert_equal(reports(*converted), reports(found, truth))


def test_lists_of_sizes_are_taken_and_whole_numbers_that_are_floats():
    found, truth = scene()
    expected = reports(found, truth)
    floats = found._replace(labels=found.labels.astype(np.float32)), truth._replace(labels=truth.labels.astype(float))
    np.testing.assert_equal(reports(*floats), expected)
    listed = voc_scores(found, *truth, num_classes=CLASSES, sizes=SIZES.tolist())
    assert listed.as_dict(["0", "1", "2"]) == expected[1]
    bytes_ = found._replace(labels=found.labels.astype(np.uint64)), truth._replace(labels=truth.labels.astype(np.uint8))
    np.testing.assert_equal(reports(*bytes_), expected)


def test_bfloat16_is_taken():
    found, _ = scene()
    half = found._replace(scores=jnp.asarray(found.scores, jnp.bfloat16))
    np.testing.assert_array_equal(checked_detections("f", half, num_classes=CLASSES).scores, found.scores * found.valid)


def test_what_comes_out_has_one_dtype_each():
    found, truth = scene()
    ours = checked_detections("f", found._replace(valid=found.valid.astype(int)), num_classes=CLASSES)
    assert [array.dtype for array in ours] == [np.float64, np.float64, np.int64, bool]
    theirs = checked_truths("f", *truth[:3], None, num_images=2, num_classes=CLASSES)
    assert [array.dtype for array in theirs] == [np.float64, np.int64, bool, bool]
    assert not theirs.difficult.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": [[1, 1], [1]]}, r"f: `detections.valid` is not an array of numbers"),
        ({"labels": [["cat"] * 5] * 2}, r"f: `detections.labels` is not an array of numbers"),
        ({"valid": np.full((2, 5), np.nan)}, r"f: `detections.valid` holds NaN"),
        ({"scores": np.where(np.arange(5) == 4, np.inf, np.ones((2, 1)))},
         r"f: `detections.scores` is not finite in a valid row: inf in image 0, row 4"),
        ({"boxes": np.full((2, 5, 4), np.nan)}, r"f: `detections.boxes` is not finite .* in image 0, row 0"),
        ({"labels": np.full((2, 5), 3)}, r"whole numbers in \[0, 3\) .* 3 in image 0, row 0"),
        ({"labels": np.full((2, 5), 0.5)}, r"f: `detections.labels` must be whole numbers .* 0.5 in"),
        ({"labels": np.full((2, 5), np.nan)}, r"f: `detections.labels` must be whole numbers .* nan in"),
        ({"labels": np.full((2, 5), -1)}, r"f: `detections.labels` must be whole numbers .* -1 in"),
        ({"scores": 0.5}, r"f: `detections.scores` has shape \(\), expected \[2, 5\]"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_detections_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        checked_detections("f", scene()[0]._replace(**change), num_classes=CLASSES)


def test_detections_that_are_no_record_are_named():
    with pytest.raises(Exception, match="detections"):
        voc_scores(tuple(scene()[0]), *scene()[1], num_classes=CLASSES)
    with pytest.raises(Exception, match="detections"):
        checked_detections("f", {"boxes": 1}, num_classes=CLASSES)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gt_boxes", {"boxes": [[[0, 0, 1]]]}),
        ("gt_labels", {"labels": np.full((2, 4), 1.5)}),
        ("gt_valid", {"valid": np.full((2, 4), np.nan)}),
        ("gt_difficult", {"difficult": [[0, 1], [0]]}),
    ],
)
@pytest.mark.parametrize("function", [voc_scores, coco_scores])
def test_what_is_wrong_with_ground_truth_is_named(function, name, change):
    found, truth = scene()
    truth = truth._replace(**change)
    with pytest.raises(ValueError, match=f"{function.__name__}: `{name}`"):
        function(found, *truth, sizes=SIZES, num_classes=CLASSES)


@pytest.mark.parametrize(
    "sizes", [[[100, 200]], [[100, 200], [0, 48]], [[100, 200], [64.5, 48]], [[1, 2], [3]], [[1, np.inf]] * 2]
)
@pytest.mark.parametrize("function", [voc_scores, coco_scores])
def test_sizes_that_cannot_be_are_named(function, sizes):
    found, truth = scene()
    with pytest.raises(ValueError, match=f"{function.__name__}: `sizes`"):
        function(found, *truth, sizes=sizes, num_classes=CLASSES)


# average_precision


def test_a_curve_may_be_lists_integers_or_other_arrays():
    recall, precision = [0, 0.5, 1], [1, 1, 0.5]
    expected = average_precision(np.array(recall, float), np.array(precision, float))
    for convert in (list, tuple, jnp.asarray, np.float16):
        assert average_precision(convert(recall), convert(precision)) == expected
    assert average_precision([1], [1]) == 1.0
    assert average_precision([], []) == 0.0


@pytest.mark.parametrize(
    ("recall", "precision", "message"),
    [
        ([0.5, 0.4], [1, 1], "`recall` must not decrease, and does after point 0: sort both by recall"),
        ([0.1, np.nan], [1, 1], r"`recall` must lie in \[0, 1\], and is nan at point 1"),
        ([0.1, 0.2], [1, 1.5], r"`precision` must lie in \[0, 1\], and is 1.5 at point 1"),
        ([0.1, 0.2], [1], r"`precision` has shape \(1,\), expected \[2\]"),
        ([[0.1], [0.2, 0.3]], [1], "`recall` is not an array of numbers"),
        (["a"], [1], "`recall` is not an array of numbers"),
    ],
)
def test_what_is_wrong_with_a_curve_is_named(recall, precision, message):
    with pytest.raises(ValueError, match=message):
        average_precision(recall, precision)
