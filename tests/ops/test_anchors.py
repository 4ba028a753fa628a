"""Anchors against loops, the lesson's printed grid and the SSD paper's count."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jaxssd.ops.anchors import anchors_of, make_anchors, ssd300_anchors
from jaxssd.ops.boxes import to_corners
from jaxssd.ops.corner_anchors import RATIOS, SCALES, retinanet_anchors


def test_worked_example():
    """2 x 2 cells of side 1/2; boxes 1 cell high and half a cell wide. The first cell's centre is (1/4, 1/4)."""
    anchors = make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 0.5),))
    np.testing.assert_array_equal(anchors.center_size[0], [1 / 4, 1 / 4, 1 / 2, 1 / 4])
    np.testing.assert_array_equal(anchors.corners[0], [0, 1 / 8, 1 / 2, 3 / 8])
    np.testing.assert_array_equal(anchors.corners[1], [0, 5 / 8, 1 / 2, 7 / 8])  # the next column
    np.testing.assert_array_equal(anchors.cell_size, [[1 / 2]] * 4)


def test_worked_example_of_a_rectangular_image():
    """An image of 60 x 120 pixels: cells of 30 x 40 hold squares of sqrt(1200) = 34.64 pixels; the whole, 84.85."""
    anchors = jax.device_get(make_anchors(grids=((2, 3), 1), zooms=(1.0,), ratios=((1.0, 1.0),), image_size=(60, 120)))
    pixels = np.array([60, 120])
    np.testing.assert_allclose(anchors.center_size[1, :2] * pixels, [15, 60], rtol=1e-6)
    np.testing.assert_allclose(anchors.center_size[1, 2:] * pixels, [34.641016] * 2, rtol=1e-6)
    np.testing.assert_allclose(anchors.center_size[6] * np.tile(pixels, 2), [30, 60, 84.852814, 84.852814], rtol=1e-6)
    np.testing.assert_allclose(anchors.cell_size * pixels, [[30, 40]] * 6 + [[60, 120]], rtol=1e-6)


def reference_lesson(grids, zooms, ratios, image_size=(1, 1)):
    rows = []
    for grid in grids:
        cells = np.array(grid if isinstance(grid, tuple) else (grid, grid))
        cell = np.array(image_size) / cells  # in pixels
        for row in range(cells[0]):
            for column in range(cells[1]):
                for zoom in zooms:
                    for ratio in ratios:
                        center = (np.array([row, column]) + 0.5) / cells
                        size = zoom * np.array(ratio) * np.sqrt(cell.prod()) / image_size
                        rows.append([*center, *size, *1 / cells])
    rows = np.array(rows)
    return rows if (rows[:, 4] != rows[:, 5]).any() else rows[:, :5]


def reference_ssd300(sizes):
    rows = []
    maps = [(38, 8, [2]), (19, 16, [2, 3]), (10, 32, [2, 3]), (5, 64, [2, 3]), (3, 100, [2]), (1, 300, [2])]
    for k, (cells, step, alphas) in enumerate(maps):
        for row in range(cells):
            for column in range(cells):
                shapes = [(sizes[k], sizes[k]), (math.sqrt(sizes[k] * sizes[k + 1]),) * 2]
                for alpha in alphas:
                    short, long = sizes[k] / math.sqrt(alpha), sizes[k] * math.sqrt(alpha)
                    shapes += [(short, long), (long, short)]
                rows += [[(row + 0.5) * step, (column + 0.5) * step, h, w, step] for h, w in shapes]
    return np.array(rows) / 300


def assert_anchors_equal(anchors, reference, atol=1e-7):
    cy, cx, height, width, *cell = reference.T
    corners = np.stack([cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2], axis=1)
    for got, expected in zip(anchors, (reference[:, :4], corners, np.stack(cell, axis=1)), strict=True):
        assert isinstance(got, jax.Array)
        assert got.dtype == jnp.float32
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("grids", "zooms", "ratios"),
    [
        ((4, 2, 1), (0.75, 1.0, 1.3), ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))),
        ((4,), (1.0,), ((1.0, 1.0),)),
        ((3, 7), (0.7, 1.3), ((0.5, 2.0),)),
    ],
)
def test_lesson_anchors_are_the_five_loops(grids, zooms, ratios):
    assert_anchors_equal(make_anchors(grids, zooms, ratios), reference_lesson(grids, zooms, ratios))


@settings(max_examples=20)
@given(st.lists(st.tuples(*[st.integers(1, 6)] * 2), min_size=1, max_size=3), st.tuples(*[st.integers(1, 500)] * 2))
def test_anchors_of_rows_and_columns_are_the_loops_in_pixels(grids, image_size):
    zooms, ratios = (0.7, 1.3), ((1.0, 1.0), (0.5, 2.0))
    got, expected = (make(grids, zooms, ratios, image_size=image_size) for make in (make_anchors, reference_lesson))
    assert_anchors_equal(got, expected, atol=1e-6)  # their sides are up to ten times the image's
    squares = np.asarray(got.center_size)[::2, 2:] * image_size
    np.testing.assert_allclose(squares[:, 0], squares[:, 1], rtol=1e-5)


@pytest.mark.parametrize("grids", [(3, 2), [[3, 3], 2], ((3, 3), (2, 2))])
@pytest.mark.parametrize("image_size", [None, 300, (64, 64)])
def test_a_pair_of_equal_numbers_is_a_square(grids, image_size):
    same = make_anchors(grids=grids, image_size=image_size)
    jax.tree.map(np.testing.assert_array_equal, same, make_anchors(grids=(3, 2)))


def test_the_defaults_are_the_lesson_s_189():
    lesson = make_anchors((4, 2, 1), (0.75, 1.0, 1.3), ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0)))
    jax.tree.map(np.testing.assert_array_equal, make_anchors(), lesson)
    assert len(lesson.corners) == 189


def test_the_order_is_that_of_a_head_reshaped_from_rows_columns_and_boxes():
    anchors = make_anchors(grids=(3,), zooms=(0.5, 1.0), ratios=((1.0, 1.0), (1.0, 0.5)))
    by_cell = anchors.center_size.reshape(3, 3, 4, 4)
    np.testing.assert_allclose(by_cell[2, 0, :, :2], [[5 / 6, 1 / 6]] * 4, atol=1e-7)
    np.testing.assert_allclose(by_cell[2, 0, :, 2:] * 3, [[0.5, 0.5], [0.5, 0.25], [1, 1], [1, 0.5]], atol=1e-6)


@pytest.mark.parametrize("sizes", [(30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0), (21, 45, 99, 153, 207, 261, 315)])
def test_ssd300_is_the_paper_s_loops(sizes):
    anchors = ssd300_anchors(tuple(map(float, sizes)))
    assert_anchors_equal(anchors, reference_ssd300(sizes))
    assert len(anchors.corners) == 8732


def test_ssd300_defaults_to_the_paper_s_voc_sizes_and_is_not_clipped():
    anchors = ssd300_anchors()
    squares = anchors.center_size[jnp.cumsum(jnp.array([0, 38**2 * 4, 19**2 * 6, 10**2 * 6, 5**2 * 6, 3**2 * 4])), 2]
    np.testing.assert_allclose(squares * 300, [30, 60, 111, 162, 213, 264], rtol=1e-6)
    assert anchors.corners.min() < 0
    assert anchors.corners.max() > 1


def test_ssd300_can_be_limited_to_the_image():
    reference = reference_ssd300((21, 45, 99, 153, 207, 261, 315))
    assert (reference[:, 2:4] > 1).sum() == 2
    reference[:, 2:4] = np.minimum(reference[:, 2:4], 1)
    assert_anchors_equal(ssd300_anchors((21, 45, 99, 153, 207, 261, 315), largest=300), reference)
    for largest in (0, -1, math.nan):
        with pytest.raises(ValueError, match="ssd300_anchors: `largest`"):
            ssd300_anchors(largest=largest)


@pytest.mark.parametrize("anchors", [make_anchors(), ssd300_anchors()])
def test_the_two_forms_agree(anchors):
    np.testing.assert_allclose(to_corners(anchors.center_size), anchors.corners, atol=2e-7)


def test_anchors_are_constants_under_jit():
    jax.tree.map(np.testing.assert_array_equal, jax.jit(make_anchors, static_argnums=0)((2,)), make_anchors((2,)))
    jax.tree.map(np.testing.assert_array_equal, jax.jit(ssd300_anchors)(), ssd300_anchors())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grids", ()),
        ("grids", (4, 0)),
        ("grids", (4, -2)),
        ("grids", ((4, 2, 1), 2)),
        ("grids", ((4, 0), 2)),
        ("image_size", (0, 2)),
        ("image_size", (100, 200, 3)),
        ("zooms", ()),
        ("zooms", (1.0, 0.0)),
        ("zooms", (float("nan"),)),
        ("zooms", (float("inf"),)),
        ("ratios", ()),
        ("ratios", ((1.0, -1.0),)),
        ("ratios", ((1.0,),)),
        ("ratios", ((1.0, 1.0), (1.0, 1.0, 1.0))),
    ],
)
def test_a_bad_argument_is_named_with_its_value(name, value):
    with pytest.raises(ValueError, match=f"make_anchors: `{name}`") as error:
        make_anchors(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", ["grids", "image_size"])
def test_shapes_cannot_be_traced(name):
    with pytest.raises(ValueError, match=f"`{name}` are traced"):
        jax.jit(lambda value: inspect.unwrap(make_anchors)(**{name: [value, value]}))(2)


@pytest.mark.parametrize("grids", [(2.5,), 4])
def test_grids_must_be_whole_numbers_in_a_sequence(grids):
    with pytest.raises((ValueError, TypeCheckError), match="grids"):
        make_anchors(grids=grids)


@pytest.mark.parametrize("sizes", [(), (30.0, 60.0), (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, -1.0)])
def test_ssd300_wants_seven_positive_sizes(sizes):
    with pytest.raises(ValueError, match="ssd300_anchors: `sizes`") as error:
        ssd300_anchors(sizes)
    assert repr(sizes) in str(error.value)


def test_anchors_of_any_boxes():
    """Those of `make_anchors` come back; the size of a cell is given, or that of a square with the anchor's area."""
    made = make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 0.25),))
    for size in (0.5, made.cell_size, np.full((4, 1), 0.5)):
        again = anchors_of(made.corners, cell_size=size)
        for field, expected in zip(again, made, strict=True):
            np.testing.assert_allclose(field, expected, atol=1e-7)
    np.testing.assert_allclose(anchors_of(made.corners).cell_size, [[0.25]] * 4)
    assert anchors_of(made.corners, cell_size=np.ones((4, 2))).cell_size.shape == (4, 2)


@pytest.mark.parametrize(
    ("corners", "cell_size", "message"),
    [
        ([[0, 0, 1, 1], [0.5, 0, 0.5, 1]], None, r"`corners` has \[0.5, 0.0, 0.5, 1.0\] in row 1, expected"),
        ([[0, 0, 1, 1]], -1.0, "`cell_size` is -1.0, expected a number above 0"),
        ([[0, 0, 1, 1]], np.ones((2, 1)), "`cell_size` has shape"),
        ([[0, 0, 1]], None, "corners"),
    ],
)
def test_anchors_of_no_boxes_are_refused(corners, cell_size, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):
        anchors_of(np.float32(corners), cell_size=cell_size)


# RetinaNet's


def reference_retinanet(height, width, levels, zooms, ratios):
    """Loops over cells, in whole pixels."""
    boxes = []
    for level in levels:
        rows, columns = math.ceil(height / 2**level), math.ceil(width / 2**level)
        for row in range(rows):
            for column in range(columns):
                for tall, wide in ratios:
                    for zoom in zooms:
                        size = int(zoom * 2**level)
                        y, x = row * (height // rows), column * (width // columns)
                        down, right = round(tall * size / 2), round(wide * size / 2)
                        boxes.append([y - down, x - right, y + down, x + right])
    return np.array(boxes)


def test_the_first_cell_of_retinanet_has_torchvisions_boxes():
    """Printed by its `AnchorGenerator`: x1 y1 x2 y2 of sizes 32, 40 and 50 in three shapes."""
    wide = [[-23, -11, 23, 11], [-28, -14, 28, 14], [-35, -18, 35, 18]]
    square = [[-16, -16, 16, 16], [-20, -20, 20, 20], [-25, -25, 25, 25]]
    tall = [[-11, -23, 11, 23], [-14, -28, 14, 28], [-18, -35, 18, 35]]
    boxes = np.asarray(retinanet_anchors().corners)[:9] * [800, 1344, 800, 1344]
    np.testing.assert_allclose(boxes[:, [1, 0, 3, 2]], wide + square + tall, atol=1e-4)


@pytest.mark.parametrize("size", [(800, 1344), (96, 64), (50, 70)])
def test_retinanet_is_loops_over_whole_pixels(size):
    anchors = jax.device_get(retinanet_anchors(size))
    expected = reference_retinanet(*size, range(3, 8), SCALES, RATIOS)
    np.testing.assert_allclose(anchors.corners * np.tile(size, 2), expected, atol=1e-3)
    np.testing.assert_allclose(to_corners(anchors.center_size), anchors.corners, atol=1e-6)
    last = (114 / 800, 122 / 1344) if size == (800, 1344) else (1, 1)  # level 7 has 7 x 11 cells, or one
    np.testing.assert_allclose(anchors.cell_size[-1], last, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"image_size": (0.5, 8)}, {"levels": (2.5,)}, {"levels": ()}, {"zooms": (0.0,)}])
def test_retinanet_wants_whole_sizes_and_levels(wrong):
    with pytest.raises(ValueError, match=r"retinanet_anchors: .*(expected|must be)"):
        inspect.unwrap(retinanet_anchors)(**wrong)
