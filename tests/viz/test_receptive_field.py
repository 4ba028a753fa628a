import numpy as np
import pytest

from jaxssd.ops import make_anchors
from jaxssd.viz.receptive_field import receptive_field_figure
from tests.viz.drawn import assert_readable, assert_same_boxes, corners, outlines, photo, words

ANCHORS = make_anchors((4, 2), (1.0,), ((1.0, 0.5),))
CHOSEN = (5, 19)  # row 1, column 1 of four by four, and the last of two by two
WITHIN = np.array([[0.05, 0.05, 0.7, 0.7], [0.5, 0.5, 1.0, 1.0]])
BEYOND = np.array([[-0.5, -0.5, 1.2, 1.2], [-0.5, -0.5, 2.0, 2.0]])


def uniform_square(center, side):
    """An effect of 1 in a square of pixels around the centre, in 80 x 80 pixels."""
    field = np.zeros((80, 80), np.float32)
    y, x = (round(80 * c) for c in center)
    field[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 1
    return field


FIELDS = np.stack([uniform_square((0.375, 0.375), 40), uniform_square((0.75, 0.75), 20)])


def test_field_cell_anchor_and_half_of_the_effect_are_outlined():
    figure = receptive_field_figure(photo(), FIELDS, WITHIN, ANCHORS, CHOSEN)
    for ax, theory, cell, anchor, half in zip(
        figure.axes,
        WITHIN,
        [[0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]],
        [[0.25, 0.3125, 0.5, 0.4375], [0.5, 0.625, 1.0, 0.875]],
        [[0.1875, 0.1875, 0.5625, 0.5625], [0.65, 0.65, 0.85, 0.85]],  # 30 and 16 pixels; 28 and 14 have less
        strict=True,
    ):
        assert_same_boxes(corners(outlines(ax)), np.array([theory, half, cell, anchor], np.float32))
        dashed = [patch for patch in outlines(ax) if patch.get_linestyle() == "--"]
        np.testing.assert_allclose(corners(dashed)[0], theory, atol=1e-6)
    assert words(figure.legends[0].texts) == ["cell", "anchor", "half of the effect", "field in theory"]
    assert_readable(figure)


def test_titles_give_the_sides_in_pixels():
    titles = [ax.get_title() for ax in receptive_field_figure(photo(), FIELDS, WITHIN, ANCHORS, CHOSEN).axes]
    assert titles[0] == "4 x 4 cells: in theory 52 px\nhalf of the effect within 30 px"
    assert titles[1] == "2 x 2 cells: in theory 40 px\nhalf of the effect within 16 px"


def test_a_field_larger_than_the_image_has_no_outline_in_it_and_the_title_says_so():
    figure = receptive_field_figure(photo(), FIELDS, BEYOND, ANCHORS, CHOSEN)
    assert figure.axes[0].get_title().startswith("4 x 4 cells: in theory 136 px, the whole image\n")
    assert "field in theory" not in words(figure.legends[0].texts)
    assert_readable(figure)


def test_the_image_keeps_its_place_and_the_heat_lies_on_it():
    figure = receptive_field_figure(photo(), FIELDS, BEYOND, ANCHORS, CHOSEN)
    for ax, field in zip(figure.axes, FIELDS, strict=True):
        picture, heat = ax.images
        assert picture.get_extent() == heat.get_extent() == [0, 1, 1, 0]
        assert ax.axis() == (0, 1, 1, 0)
        assert ax.get_aspect() == pytest.approx(60 / 90)
        np.testing.assert_array_equal(heat.get_array(), field)  # of one strength, which becomes 1
        assert (heat.get_alpha()[field == 0] == 0).all()
        assert np.ptp(picture.get_array(), axis=-1).max() == 0  # grey


def test_no_effect_at_all_is_drawn_without_a_warning():
    assert_readable(receptive_field_figure(photo(), 0 * FIELDS, BEYOND, ANCHORS, CHOSEN))
