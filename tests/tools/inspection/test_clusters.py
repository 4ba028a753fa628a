import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.ops import box_iou
from jaxssd.tools.inspection.clusters import _lloyd, kmeans_anchors, shape_iou


def sizes(most=30, cells=64):
    """Multiples of `1 / cells`: exact, and often equal."""
    shapes = st.tuples(st.integers(1, most), st.just(2))
    return hnp.arrays(np.int64, shapes, elements=st.integers(1, cells)).map(lambda k: k / cells)


@given(*(hnp.arrays(np.int64, (count, 2), elements=st.integers(1, 64)) for count in (6, 4)))
def test_iou_of_shapes_is_that_of_boxes_with_one_centre(a, b):
    a, b = a / 64, b / 64
    boxes = [np.concatenate([-side / 2, side / 2], axis=1).astype(np.float32) for side in (a, b)]
    np.testing.assert_allclose(shape_iou(a, b), box_iou(*boxes), rtol=1e-5)


@given(sizes(), st.integers(1, 6))
def test_every_box_has_the_cluster_that_it_overlaps_most(points, k):
    found = kmeans_anchors(points, k)
    assert len(found.sizes) == min(k, len(np.unique(points, axis=0)))
    ious = np.array(
        [
            [min(h, a) * min(w, b) / (h * w + a * b - min(h, a) * min(w, b)) for a, b in found.sizes.tolist()]
            for h, w in points.tolist()
        ]
    )
    np.testing.assert_array_equal(found.label, ious.argmax(axis=1))
    assert found.mean_iou == pytest.approx(ious.max(axis=1).mean())
    assert (found.sizes.min(axis=0) >= points.min(axis=0) - 1e-12).all()
    assert (found.sizes.max(axis=0) <= points.max(axis=0) + 1e-12).all()
    assert (np.diff(found.sizes.prod(axis=1)) >= 0).all()


@given(sizes(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_does_not_matter(points, k, random):
    order = list(range(len(points)))
    random.shuffle(order)
    one, other = kmeans_anchors(points, k), kmeans_anchors(points[order], k)
    np.testing.assert_array_equal(one.sizes, other.sizes)
    np.testing.assert_array_equal(one.label[order], other.label)


@given(sizes(), st.integers(1, 6), st.integers(-3, 3), st.integers(-3, 3))
def test_stretching_heights_and_widths_stretches_the_clusters(points, k, high, wide):
    """Powers of two, so that not a bit is rounded otherwise."""
    stretch = 2.0 ** np.array([high, wide])
    one, other = kmeans_anchors(points, k), kmeans_anchors(points * stretch, k)
    assert one.mean_iou == other.mean_iou
    sort = [np.lexsort(array.T) for array in (one.sizes, other.sizes)]
    np.testing.assert_array_equal(one.sizes[sort[0]] * stretch, other.sizes[sort[1]])


@given(sizes(), st.integers(1, 6))
def test_boxes_that_are_all_there_twice_change_nothing(points, k):
    one, other = kmeans_anchors(points, k), kmeans_anchors(np.concatenate([points, points]), k)
    assert len(one.sizes) == len(other.sizes)
    assert one.mean_iou == pytest.approx(other.mean_iou)


@given(sizes(), st.integers(0, 100))
def test_a_seed_gives_the_same_clusters_again(points, seed):
    one, other = (kmeans_anchors(points, 3, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(one.sizes, other.sizes)


@given(sizes(most=12), st.integers(1, 12))
def test_more_restarts_are_never_worse(points, k):
    few, many = (kmeans_anchors(points, k, restarts=n) for n in (1, 4))
    assert many.mean_iou >= few.mean_iou - 1e-12


def test_groups_that_lie_apart_are_found():
    rng = np.random.default_rng(0)
    centers = np.array([[0.05, 0.05], [0.1, 0.4], [0.4, 0.1], [0.8, 0.7]])
    points = (centers[:, None] * rng.uniform(0.95, 1.05, (4, 50, 2))).reshape(-1, 2)
    found = kmeans_anchors(points, 4)
    np.testing.assert_allclose(np.sort(found.sizes, axis=0), np.sort(centers, axis=0), rtol=0.02)
    assert np.bincount(found.label).tolist() == [50] * 4


def test_as_many_clusters_as_boxes_are_the_boxes():
    points = np.array([[0.3, 0.1], [0.1, 0.3], [0.3, 0.1], [0.2, 0.2]])
    found = kmeans_anchors(points, 9)
    np.testing.assert_array_equal(found.sizes, [[0.1, 0.3], [0.3, 0.1], [0.2, 0.2]])
    assert found.mean_iou == 1


def test_a_shape_that_no_box_is_left_with_moves_to_the_box_that_is_covered_worst():
    points, count = np.array([[0.1, 0.1], [0.11, 0.1], [0.9, 0.1]]), np.array([5, 5, 1])
    centers, score = _lloyd(points, count, np.array([[0.1, 0.1], [0.0001, 0.0001]]), 10)
    np.testing.assert_allclose(centers[centers[:, 0].argsort()], [[0.105, 0.1], [0.9, 0.1]])
    assert score > 0.9


def test_no_boxes_have_no_clusters():
    found = kmeans_anchors(np.empty((0, 2)), 3)
    assert found.sizes.shape == (0, 2)
    assert found.label.shape == (0,)
    assert np.isnan(found.mean_iou)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"k": 0}, "`k` is 0"),
        ({"restarts": 0}, "restarts"),
        ({"max_rounds": -1}, "max_rounds"),
        ({"sizes": np.array([[0.0, 1.0]])}, "sizes"),
        ({"sizes": np.array([[np.nan, 1.0]])}, "sizes"),
    ],
)
def test_mistakes_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        kmeans_anchors(**{"sizes": np.ones((2, 2)), "k": 1} | arguments)
