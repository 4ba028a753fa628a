import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxssd.ops import make_anchors
from jaxssd.viz.anchors import anchor_figure
from jaxssd.viz.style import BOX_COLORS
from tests.viz.drawn import assert_readable, assert_same_boxes, corners, outlines, photo, words

LESSON = ((4, 2, 1), (0.75, 1.0, 1.3), ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0)))
SQUARES = ((8, 4), (1.0, 1.4, 2.0), ((1.0, 1.0),))
SIXTEEN = ((4,), (1.0,), ((1.0, 1.0),))
SETTINGS = pytest.mark.parametrize("settings", [LESSON, SQUARES, SIXTEEN], ids=["189", "240", "16"])


@SETTINGS
def test_each_panel_shows_the_anchors_of_one_cell_and_the_centres_of_all(settings):
    grids, zooms, ratios = settings
    anchors = make_anchors(*settings)
    figure = anchor_figure(photo(), anchors, *settings)
    per_cell, start = len(zooms) * len(ratios), 0
    assert len(figure.axes) == len(grids)
    for ax, grid in zip(figure.axes, grids, strict=True):
        of_grid = slice(start, start + grid * grid * per_cell)
        boxes, centers = np.asarray(anchors.corners)[of_grid], np.asarray(anchors.center_size)[of_grid, :2]
        middle = (grid - 1) // 2 * (grid + 1) * per_cell  # row and column (grid - 1) // 2
        assert_same_boxes(corners(outlines(ax)), boxes[middle : middle + per_cell])
        (dots,) = ax.lines
        np.testing.assert_allclose(dots.get_xydata()[:, ::-1], centers[::per_cell], atol=1e-6)
        assert [len(lines.get_segments()) for lines in ax.collections] == [grid + 1] * 2
        drawn = corners(outlines(ax))
        assert (drawn[:, [1, 0]] >= [ax.get_xlim()[0], ax.get_ylim()[1]]).all()  # what sticks out is seen
        assert (drawn[:, [3, 2]] <= [ax.get_xlim()[1], ax.get_ylim()[0]]).all()
        start = of_grid.stop
    assert start == len(anchors.corners)


@SETTINGS
@pytest.mark.parametrize("size", [(50, 80), (80, 50)])
def test_it_is_readable(settings, size):
    assert_readable(anchor_figure(photo(*size), make_anchors(*settings), *settings))


def test_colour_is_the_zoom_and_line_style_the_ratio():
    figure = anchor_figure(photo(), make_anchors(*LESSON), *LESSON)
    for ax, grid in zip(figure.axes, (4, 2, 1), strict=True):
        for patch in outlines(ax):
            height, width = grid * patch.get_height(), grid * patch.get_width()
            zoom = np.abs(np.subtract((0.75, 1.0, 1.3), max(height, width))).argmin()
            ratio = 0 if np.isclose(height, width) else 1 if height > width else 2
            assert patch.get_edgecolor()[:3] == to_rgb(BOX_COLORS[zoom])
            assert patch.get_linestyle() == ("-", "--", ":")[ratio]
    zooms, ratios = sorted(figure.legends, key=lambda legend: legend.texts[0].get_text(), reverse=True)
    assert words(zooms.texts) == ["zoom", "0.75", "1", "1.3"]
    assert words(ratios.texts) == ["height x width", "1 x 1", "1 x 0.5", "0.5 x 1"]
    assert [line.get_color() for line in zooms.get_lines()[1:]] == list(BOX_COLORS[:3])
    assert [line.get_linestyle() for line in ratios.get_lines()[1:]] == ["-", "--", ":"]


def test_the_sum_is_written_above():
    assert words(anchor_figure(photo(), make_anchors(*LESSON), *LESSON).texts) == ["144 + 36 + 9 = 189 anchors"]
    figure = anchor_figure(photo(), make_anchors(*SIXTEEN), *SIXTEEN)
    assert words(figure.texts) == ["16 anchors"]
    assert figure.axes[0].get_title() == "4 x 4 cells, 1 box each: 16"


def test_anchors_of_other_settings_are_refused():
    with pytest.raises(ValueError, match="`anchors` are 16, expected 189"):
        anchor_figure(photo(), make_anchors(*SIXTEEN), *LESSON)
