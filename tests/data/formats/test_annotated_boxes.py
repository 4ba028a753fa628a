"""The checks that all formats share.

By hand: of four objects of one image, one is of another class, one is a click without area, and two are kept. Their
labels are the positions of their classes.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data.formats.annotated_boxes import AnnotatedBox, box_flaw, check_boxes

CORNER = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([np.nan, np.inf, -np.inf]))


def test_the_objects_of_an_image():
    box = (0.0, 1.0, 2.0, 3.0)
    objects = [
        AnnotatedBox("dog", box),
        AnnotatedBox("bus", box),
        AnnotatedBox("cat", box, flaw="without area", detail="cat: a click"),
        AnnotatedBox("cat", (5.0, 5.0, 6.0, 8.0), difficult=True),
    ]
    problems = []
    boxes, labels, difficult = check_boxes(objects, {"cat": 0, "dog": 1}, file="a.xml", problems=problems)
    np.testing.assert_array_equal(boxes, [[0, 1, 2, 3], [5, 5, 6, 8]])
    assert (labels.tolist(), difficult.tolist()) == ([1, 0], [False, True])
    assert [(problem.file, problem.action, problem.kind, problem.detail) for problem in problems] == [
        ("a.xml", "dropped", "other class", "bus"),
        ("a.xml", "dropped", "without area", "cat: a click"),
    ]


def test_no_object_gives_empty_arrays():
    boxes, labels, difficult = check_boxes([], {"cat": 0}, file="a.xml", problems=[])
    assert (boxes.shape, labels.shape, difficult.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, labels.dtype, difficult.dtype) == (np.float64, np.int32, bool)


@given(st.tuples(CORNER, CORNER, CORNER, CORNER))
def test_a_box_without_a_flaw_is_finite_and_has_an_area(corners):
    y1, x1, y2, x2 = corners
    sound = bool(np.isfinite(corners).all() and y1 < y2 and x1 < x2)
    assert (box_flaw(corners) is None) == sound


@pytest.mark.parametrize(
    ("corners", "flaw"),
    [
        ((0, 0, 1, np.nan), "not finite"),
        ((0, 0, -np.inf, 1), "not finite"),
        ((2, 0, 1, 1), "swapped"),
        ((0, 2, 1, 1), "swapped"),
        ((2, 1, 1, 1), "swapped"),
        ((1, 0, 1, 1), "without area"),
        ((0, 1, 1, 1), "without area"),
    ],
)
def test_the_first_of_several_flaws_is_named(corners, flaw):
    assert box_flaw(tuple(map(float, corners)), reversed_kind="swapped") == flaw
