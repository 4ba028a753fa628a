"""The six box functions against NumPy, box by box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jaxtyping import TypeCheckError

from jaxssd.ops.boxes import (
    box_area,
    box_iou,
    clip_boxes,
    generalized_box_iou,
    remove_small_boxes,
    to_center_size,
    to_corners,
)
from tests.ops.optimized import optimized
from tests.ops.reference import iou
from tests.strategies import grid_boxes

ELEMENTWISE = (box_area, clip_boxes, to_center_size, to_corners)
PAIRWISE = (box_iou, generalized_box_iou)
JITTED = {function: optimized(function) for function in ELEMENTWISE + PAIRWISE}
BOXES = grid_boxes(4, empty=True)


def test_worked_example():
    """Two squares of 2 x 2 cells on a 4 x 4 grid that share one cell: 1 of 7 covered cells, in a hull of 9."""
    a, b = np.float32([[0, 0, 2, 2]]) / 4, np.float32([[1, 1, 3, 3]]) / 4
    for function, arguments, expected in [
        (box_area, [a], [4 / 16]),
        (box_iou, [a, b], [[1 / 7]]),
        (generalized_box_iou, [a, b], [[1 / 7 - 2 / 9]]),
        (to_center_size, [b], [[0.5, 0.5, 0.5, 0.5]]),
        (to_corners, [np.float32([[0.5, 0.5, 0.5, 0.5]])], b),
        (clip_boxes, [2 * b], [[0.5, 0.5, 1, 1]]),
    ]:
        np.testing.assert_allclose(JITTED[function](*arguments), expected, rtol=1e-6)


def reference_area(boxes):
    return np.array([max(y2 - y1, 0) * max(x2 - x1, 0) for y1, x1, y2, x2 in boxes])


def reference_clip(boxes):
    return np.array([[min(max(float(c), 0), 1) for c in box] for box in boxes])


def reference_center_size(boxes):
    return np.array([[(y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1] for y1, x1, y2, x2 in boxes])


def reference_corners(boxes):
    return np.array([[cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2] for cy, cx, h, w in boxes])


REFERENCES = dict(
    zip(ELEMENTWISE, (reference_area, reference_clip, reference_center_size, reference_corners), strict=True)
)


def reference_giou(a, b):
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    if hull <= 0:
        return 0.0
    area_a, area_b = reference_area([a, b])
    overlap = iou(a, b)
    union = (area_a + area_b) / (1 + overlap)  # from IoU = I / U and U = A + B - I
    return overlap - (hull - union) / hull


@pytest.mark.parametrize("function", ELEMENTWISE)
@given(boxes=BOXES)
def test_elementwise_equal_the_formula_and_their_jit(function, boxes):
    boxes = 2 * boxes - 0.5  # some of it outside the image; still exact
    got = function(boxes)
    np.testing.assert_array_equal(got, REFERENCES[function](boxes))
    np.testing.assert_array_equal(got, JITTED[function](boxes))
    assert got.dtype == jnp.float32


@given(a=BOXES, b=BOXES)
def test_pairwise_equal_the_formula_and_their_jit(a, b):
    ious, gious = box_iou(a, b), generalized_box_iou(a, b)
    np.testing.assert_array_equal(ious, [[iou(p, q) for q in b] for p in a])
    np.testing.assert_allclose(gious, [[reference_giou(p, q) for q in b] for p in a], atol=1e-6)
    np.testing.assert_array_equal(ious, JITTED[box_iou](a, b))
    np.testing.assert_array_equal(gious, JITTED[generalized_box_iou](a, b))


@given(a=BOXES, b=grid_boxes(4))
def test_pairwise_are_symmetric_and_bounded(a, b):
    for function in PAIRWISE:
        np.testing.assert_array_equal(JITTED[function](a, b), JITTED[function](b, a).T)
    ious, gious = (np.asarray(JITTED[function](a, b)) for function in PAIRWISE)
    assert (ious >= 0).all()
    assert (gious <= ious).all()
    assert (gious >= -1).all()
    np.testing.assert_array_equal(np.diag(JITTED[box_iou](b, b)), 1)


@given(boxes=BOXES)
def test_corners_and_center_size_are_inverses(boxes):
    np.testing.assert_array_equal(to_corners(to_center_size(boxes)), boxes)
    np.testing.assert_array_equal(to_center_size(to_corners(boxes)), boxes)


def test_small_boxes_are_those_with_a_short_side():
    boxes = np.float32([[0, 0, 0.25, 0.25], [0, 0, 1, 0.125], [0, 0, 0.125, 1], [1, 1, 0, 0], [0, np.nan, 1, 1]])
    small = jax.jit(remove_small_boxes)
    assert small(boxes, min_size=0.25).tolist() == [True, False, False, False, False]
    assert small(boxes, np.array([0, 1, 1, 1, 1]), min_size=0.125).tolist() == [False, True, True, False, False]
    with pytest.raises((ValueError, TypeCheckError), match="valid"):
        remove_small_boxes(boxes, np.ones(3, bool), min_size=0.1)


def test_swapped_corners_have_no_area_and_no_overlap():
    swapped, whole = jnp.array([[0.75, 0.75, 0.25, 0.25]]), jnp.array([[0.0, 0.0, 1.0, 1.0]])
    assert box_area(swapped) == 0
    assert box_iou(swapped, whole) == 0
    assert box_iou(swapped, swapped) == 0


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_elementwise_take_any_leading_axes(function):
    boxes = np.random.default_rng(0).random((2, 3, 4), np.float32)
    whole = np.asarray(JITTED[function](boxes))
    np.testing.assert_array_equal(whole[1, 2], JITTED[function](boxes[1, 2]))
    np.testing.assert_array_equal(jax.jit(jax.vmap(function))(boxes), whole)


@pytest.mark.parametrize("function", PAIRWISE)
def test_pairwise_vmap_is_a_loop_and_no_box_is_no_row(function):
    boxes = np.random.default_rng(0).integers(0, 16, (2, 3, 4)).astype(np.float32)
    one = JITTED[function]
    np.testing.assert_array_equal(jax.jit(jax.vmap(function))(boxes, boxes), [one(b, b) for b in boxes])
    assert one(boxes[0], np.zeros((0, 4), np.float32)).shape == (3, 0)


@pytest.mark.parametrize("function", PAIRWISE)
def test_gradients_are_finite_without_area_or_overlap(function):
    a = jnp.array([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
    for gradient in jax.jit(jax.jacobian(function, argnums=(0, 1)))(a, a):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("function", ELEMENTWISE + PAIRWISE)
def test_half_precision_is_computed_in_float32(function):
    # Exact in bfloat16, its area and union are not.
    half = jnp.array([[0.125, 0.25, 0.5, 0.75]] * 4, jnp.bfloat16)
    arguments = (half,) if function in ELEMENTWISE else (half, half)
    got = function(*arguments)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, function(*(x.astype(jnp.float32) for x in arguments)))


@pytest.mark.parametrize(
    ("function", "name"),
    [(box_area, "boxes"), (clip_boxes, "boxes"), (to_center_size, "corners"), (to_corners, "center_size")],
)
def test_a_wrong_last_axis_names_the_argument(function, name):
    with pytest.raises((ValueError, TypeCheckError), match=name):
        function(jnp.zeros((3, 5)))


@pytest.mark.parametrize("function", PAIRWISE)
def test_a_wrong_pair_names_the_argument(function):
    good = jnp.zeros((3, 4))
    for name, arguments in {"a": (jnp.zeros(4), good), "b": (good, jnp.zeros((3, 3)))}.items():
        with pytest.raises((ValueError, TypeCheckError), match=rf"\b{name}\b"):
            function(*arguments)
