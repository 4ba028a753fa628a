from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxssd.ops import make_anchors
from jaxssd.viz.boxes import class_color
from jaxssd.viz.predictions import nms_figure, raw_predictions_figure
from tests.viz.drawn import assert_readable, assert_same_boxes, corners, outlines, photo, words

NAMES = ("cat", "dog", "pottedplant")
RNG = np.random.default_rng(0)
BOXES = np.asarray(make_anchors((4,), (1.0,), ((1.0, 1.0),)).corners) + RNG.uniform(-0.1, 0.1, (16, 4)).astype(
    np.float32
)
LABELS, SCORES = RNG.integers(0, 3, 16).astype(np.int32), RNG.uniform(0, 1, 16).astype(np.float32)


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


KEPT = Found(BOXES[:4], np.array([0.9, 0.6, 0.2, 0.95], np.float32), LABELS[:4], np.array([True, True, True, False]))


# Raw predictions


def test_every_cell_says_what_it_predicts_and_every_box_is_drawn():
    figure = raw_predictions_figure(photo(), BOXES, LABELS, SCORES, NAMES, 4)
    cell_ax, box_ax = figure.axes
    said = {tuple(np.round(text.get_position(), 4)): text for text in cell_ax.texts}
    assert len(said) == 16
    assert_same_boxes(corners(outlines(box_ax)), BOXES)
    for index in range(16):
        text = said[(index % 4 + 0.5) / 4, (index // 4 + 0.5) / 4]
        assert text.get_text() == f"{NAMES[LABELS[index]]}\n{SCORES[index]:.2f}"
        (box,) = [patch for patch in outlines(box_ax) if np.allclose(corners([patch]), BOXES[index], atol=1e-5)]
        assert box.get_edgecolor()[:3] == to_rgb(text.get_color())  # the cell's colour
    assert_readable(figure)


def test_a_line_leads_from_the_cell_to_its_box():
    box_ax = raw_predictions_figure(photo(), BOXES, LABELS, SCORES, NAMES, 4).axes[1]
    lines = [line.get_xydata() for line in box_ax.lines if line.get_marker() == "None"]
    centers = BOXES.reshape(16, 2, 2).mean(axis=1)[:, ::-1]
    cells = [[(index % 4 + 0.5) / 4, (index // 4 + 0.5) / 4] for index in range(16)]
    expected = np.concatenate([cells, centers], axis=1)
    assert_same_boxes(np.reshape(lines, (16, 4)), expected)


def test_a_higher_score_is_drawn_stronger_and_on_top():
    box_ax = raw_predictions_figure(photo(), BOXES, LABELS, SCORES, NAMES, 4).axes[1]
    for value in ("get_alpha", "get_linewidth"):
        assert (np.diff([getattr(patch, value)() for patch in outlines(box_ax)]) >= 0).all()
    np.testing.assert_allclose(corners(outlines(box_ax)[-1:])[0], BOXES[SCORES.argmax()], atol=1e-5)


@pytest.mark.parametrize("grid", [1, 2, 8])
def test_neighbouring_cells_differ_in_colour(grid):
    boxes = np.tile(np.array([0.1, 0.1, 0.6, 0.6], np.float32), (grid * grid, 1))
    labels, scores = np.zeros(grid * grid, np.int32), np.zeros(grid * grid, np.float32)
    cell_ax = raw_predictions_figure(photo(), boxes, labels, scores, NAMES, grid).axes[0]
    colors = np.reshape([text.get_color() for text in cell_ax.texts], (grid, grid))
    assert (colors[:, 1:] != colors[:, :-1]).all()
    assert grid == 8 or (colors[1:] != colors[:-1]).all()


def test_one_box_a_cell_is_required():
    with pytest.raises(ValueError, match="`boxes` are 16, expected 4"):
        raw_predictions_figure(photo(), BOXES, LABELS, SCORES, NAMES, 2)


# Suppression


def test_left_all_boxes_above_the_threshold_right_what_remains():
    scores = np.where(np.arange(16) == 7, np.nan, SCORES).astype(np.float32)
    figure = nms_figure(photo(), BOXES, scores, LABELS, KEPT, NAMES, score_threshold=0.5)
    before_ax, after_ax = figure.axes
    above = scores >= 0.5
    assert_same_boxes(corners(outlines(before_ax)), BOXES[above])
    assert before_ax.get_title() == f"before: {above.sum()} boxes with a score of at least 0.5"
    assert_same_boxes(corners(outlines(after_ax)), BOXES[:2])
    assert after_ax.get_title() == "after non-maximum suppression: 2"
    assert words(after_ax.texts) == [f"{NAMES[LABELS[0]]} 0.90", f"{NAMES[LABELS[1]]} 0.60"]
    best = np.nanargmax(scores)
    top = outlines(before_ax)[-1]
    np.testing.assert_allclose(corners([top])[0], BOXES[best], atol=1e-5)
    assert top.get_edgecolor()[:3] == to_rgb(class_color(int(LABELS[best])))
    assert_readable(figure)


def test_the_legend_has_the_classes_that_are_seen():
    figure = nms_figure(photo(), BOXES, SCORES, np.full(16, 2, np.int32), KEPT._replace(valid=np.zeros(4, bool)), NAMES)
    (legend,) = figure.legends
    assert words(legend.texts) == ["pottedplant"]
    assert legend.get_lines()[0].get_color() == class_color(2)


def test_many_classes_fit_below():
    names = [f"pottedplant {k}" for k in range(16)]
    figure = nms_figure(photo(), BOXES, SCORES, np.arange(16, dtype=np.int32), KEPT, names, score_threshold=0.0)
    assert sum(len(legend.texts) for legend in figure.legends) == 16
    assert_readable(figure)


def test_of_very_many_boxes_and_classes_the_best_are_shown():
    count = 1_500
    boxes = np.tile(BOXES, (-(-count // 16), 1))[:count] + np.linspace(0, 0.01, count, dtype=np.float32)[:, None]
    scores = np.random.default_rng(0).permutation(np.linspace(0.4, 1, count, dtype=np.float32))
    names = [f"class {k}" for k in range(1203)]
    labels = np.arange(count, dtype=np.int32) % 1203
    kept = KEPT._replace(labels=np.full(4, 1202, np.int32))
    figure = nms_figure(photo(), boxes, scores, labels, kept, names)
    assert figure.axes[0].get_title() == (
        "before: 1500 boxes with a score of at least 0.3\nof which the best 1,000 are drawn"
    )
    best = np.argsort(-scores)[:1_000]
    assert_same_boxes(corners(outlines(figure.axes[0])), boxes[best])
    shown = [word for legend in figure.legends for word in words(legend.texts)]
    seen = len(set(labels[best].tolist()) | {1202})
    assert f"and {seen - 24} more" in shown
    assert "class 1202" in shown  # of what is kept
    assert f"class {labels[best[0]]}" in shown
    assert len(shown) == 25
    assert_readable(figure)


def test_nothing_above_the_threshold_is_only_the_image():
    figure = nms_figure(photo(), BOXES, SCORES, LABELS, KEPT, NAMES, score_threshold=1.5)
    assert not any(ax.patches or ax.texts for ax in figure.axes)
    assert_readable(figure)


def test_names_with_dollar_signs_are_only_names():
    names = (r"c$\frac$", "p$1$q", "$5")
    assert_readable(nms_figure(photo(), BOXES, SCORES, LABELS, KEPT, names))
    assert_readable(raw_predictions_figure(photo(), BOXES, LABELS, SCORES, names, 4))
