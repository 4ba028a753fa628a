"""Results of a network, drawn: the right texts and boxes on the right images, and nothing that is not there."""

import numpy as np
import pytest
from matplotlib.backends import backend_agg
from matplotlib.colors import to_rgb

from jaxssd import viz
from tests.viz.drawn import assert_readable, assert_same_boxes, corners, outlines, words
from tests.viz.samples import BOX, NAMES, ONE, OTHER, TRUTHS, batch, captions, found, photos, render

# Detections


def test_a_grid_shows_what_is_valid_and_above_the_threshold_and_no_padding():
    detections = batch(ONE, found((BOX, 0.2, 1), (BOX, 0.1, 1), (BOX, 0.05, 1)))
    figure = viz.detection_grid(photos(2), detections, TRUTHS, NAMES, score_threshold=0.3, ids=["first", "second"])
    first, second = figure.axes
    assert captions(first) == ["cat 0.30", "dog", "dog 0.90", "horse"]
    assert captions(second) == ["cat"]
    assert [len(first.patches), len(second.patches)] == [2 + 2, 0 + 1]
    assert [ax.get_title() for ax in (first, second)] == ["first", "second"]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "detection: class and score (at least 0.3)",
        "ground truth",
    ]
    styles = {(patch.get_linestyle(), patch.get_edgecolor()[:3]) for patch in first.patches}
    assert styles == {("-", to_rgb(viz.class_color(1))), ("-", to_rgb(viz.class_color(0))), ("--", (1.0, 1.0, 1.0))}
    render(figure)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_grid_without_ground_truth_or_detections_is_only_the_images(count):
    figure = viz.detection_grid(photos(count), batch(*[found()] * count), None, NAMES)
    assert len(figure.axes) == count
    assert not any(ax.patches or ax.texts for ax in figure.axes)
    assert len(figure.legends[0].texts) == 1
    picture = render(figure)
    assert picture.shape[1] > picture.shape[0] * count / 5 - 1


def test_the_cells_of_a_grid_do_not_touch():
    figure = viz.detection_grid(photos(6), batch(*[found()] * 6), None, NAMES, columns=3, ids=list("abcdef"))
    render(figure)
    areas = [ax.get_tightbbox() for ax in figure.axes] + [figure.legends[0].get_window_extent()]
    for i, one in enumerate(areas):
        assert not any(one.overlaps(other) for other in areas[i + 1 :])
        assert figure.bbox.x0 <= one.x0 < one.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= one.y0 < one.y1 <= figure.bbox.y1


def test_a_grid_puts_a_box_on_the_right_part_of_its_image():
    gray = np.full((2, 50, 50, 3), 128, np.uint8)
    figure = viz.detection_grid(gray, batch(found(padding=3), found((BOX, 0.9, 1))), None, NAMES)
    picture = render(figure)
    frame = figure.axes[1].get_window_extent()
    color = np.array(to_rgb(viz.class_color(1))) * 255
    row = round(picture.shape[0] - frame.y1 + 0.5 * frame.height)
    for edge in (0.2, 0.6):
        line = picture[row, int(frame.x0 + edge * frame.width) - 2 :][:4]
        assert np.abs(line - color).max(axis=-1).min() < 40


def test_a_photograph_keeps_every_pixel():
    photograph = photos(1)[0, :40]
    figure = viz.detection_image(photograph, found(), NAMES)
    np.testing.assert_array_equal(render(figure), photograph)


# One object


def test_each_image_has_its_box_and_its_truth():
    boxes = np.array([BOX, OTHER], np.float32)
    truths = np.array([OTHER, (0, 0, 0, 0)], np.float32)  # the second image has no object
    figure = viz.object_grid(photos(2), boxes, ["cat 0.50", "dog 0.75"], truths, ["horse", "cat"], ids=["a", "b"])
    first, second = figure.axes
    assert captions(first) == ["cat 0.50", "horse"]
    assert captions(second) == ["dog 0.75"]
    assert [(patch.get_linestyle(), patch.get_edgecolor()[:3] == (1, 1, 1)) for patch in first.patches] == [
        ("-", False),
        ("--", True),
    ]
    assert_same_boxes(corners(outlines(first)), np.array([BOX, OTHER], np.float32))
    assert_same_boxes(corners(outlines(second)), np.array([OTHER], np.float32))
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert words(figure.legends[0].texts) == ["predicted", "ground truth"]
    render(figure)


@pytest.mark.parametrize(
    "truth", [(0.2, 0.2, 0.2, 0.8), (0.2, 0.2, 0.8, 0.2), (0, 0, 0, 0)], ids=["flat", "narrow", "none"]
)
def test_a_truth_without_an_area_is_not_drawn(truth):
    box = np.array([BOX], np.float32)
    figure = viz.object_grid(photos(1), box, ["cat"], np.array([truth], np.float32), ["dog"])
    assert captions(figure.axes[0]) == ["cat"]


def test_a_photograph_with_one_box_and_with_none():
    photograph = photos(1)[0, :40]
    figure = viz.object_image(photograph, np.array([BOX], np.float32), ["cat 0.90"])
    assert_same_boxes(corners(outlines(figure.axes[0])), np.array([BOX], np.float32))
    assert captions(figure.axes[0]) == ["cat 0.90"]
    assert render(figure).shape == photograph.shape
    without = viz.object_image(photograph, np.zeros((0, 4), np.float32), [])
    np.testing.assert_array_equal(render(without), photograph)


# Labels

PROBABILITIES = np.array([[0.9, 0.4, 0.1], [0.3, 0.5, 0.39], [0.1, 0.2, 0.3]], np.float32)
HELD = np.array([[True, False, False], [False, True, True], [False, False, False]])


def lines_of(ax):
    (text,) = ax.texts
    return text.get_text().split("\n")


def test_labels_are_right_wrong_or_missed():
    figure = viz.label_grid(photos(3), PROBABILITIES, HELD, NAMES, threshold=0.4, ids=["a", "b", "c"])
    assert [lines_of(ax) for ax in figure.axes] == [
        ["cat 0.90", "[dog 0.40]"],  # what just reaches the threshold is named
        ["dog 0.50", "missed horse"],
        [""],
    ]
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c"]
    assert words(figure.texts) == ["classes with a probability of at least 0.4; [those that are wrong]"]
    render(figure)


def test_labels_are_listed_by_falling_probability():
    probabilities = np.array([[0.5, 0.7, 0.6]], np.float32)
    figure = viz.label_grid(photos(1), probabilities, np.ones((1, 3), bool), NAMES, threshold=0.1)
    assert lines_of(figure.axes[0]) == ["dog 0.70", "horse 0.60", "cat 0.50"]


def test_twenty_labels_stay_on_their_image():
    names = [f"pottedplant {k}" for k in range(20)]
    probabilities = np.full((5, 20), 0.9, np.float32)
    figure = viz.label_grid(photos(5), probabilities, np.zeros((5, 20), bool), names, threshold=0.4)
    render(figure)
    for ax in figure.axes:
        frame, text = ax.get_window_extent(), ax.texts[0].get_window_extent()
        assert frame.x0 <= text.x0 < text.x1 <= frame.x1
        assert frame.y0 <= text.y0 < text.y1 <= frame.y1


def test_of_very_many_labels_the_most_probable_are_written():
    names = [f"class {k}" for k in range(1203)]
    probabilities = np.linspace(0.5, 0.9, 1203, dtype=np.float32)[None]
    figure = viz.label_grid(photos(1), probabilities, np.ones((1, 1203), bool), names, threshold=0.4)
    lines = lines_of(figure.axes[0])
    assert lines[0] == "class 1202 0.90"
    assert lines[18:] == [f"class 1184 {probabilities[0, 1184]:.2f}", "and 1,184 more"]
    just_fitting = viz.label_grid(photos(1), probabilities[:, -20:], np.ones((1, 20), bool), names, threshold=0.4)
    assert lines_of(just_fitting.axes[0])[-1].startswith("class 0 ")


def test_many_boxes_are_measured_with_one_renderer(monkeypatch):
    """Matplotlib would make one of the size of the figure for each text: 3,000 captions took 38 seconds."""
    made = []
    of_size = backend_agg.RendererAgg
    monkeypatch.setattr(backend_agg, "RendererAgg", lambda *size: made.append(size) or of_size(*size))
    viz.detection_grid(photos(3), batch(ONE, ONE, ONE), tuple(array[[0, 1, 0]] for array in TRUTHS), NAMES)
    assert len(made) == 1


def test_a_photograph_with_lines_in_its_corner():
    photograph = np.full((120, 200, 3), 128, np.uint8)
    figure = viz.labelled_image(photograph, ["cat 0.90", "dog 0.40"])
    assert lines_of(figure.axes[0]) == ["cat 0.90", "dog 0.40"]
    picture = render(figure)
    assert picture.shape == photograph.shape
    changed = np.argwhere((picture != 128).any(axis=-1))
    assert (changed.max(axis=0) < (60, 150)).all()
    assert (changed.min(axis=0) < (10, 10)).all()
    np.testing.assert_array_equal(render(viz.labelled_image(photograph, [])), photograph)


# Names


def test_names_with_dollar_signs_are_only_names():
    """Matplotlib would take what stands between two of them for a formula."""
    names = [r"c$\frac$", "$5", "p$1$q"]
    boxes = np.array([BOX, OTHER], np.float32)
    grid = viz.detection_grid(photos(2), batch(ONE, ONE), TRUTHS, names, ids=names[:2])
    assert names[1] in captions(grid.axes[0])[0]
    for figure in (
        grid,
        viz.detection_image(photos(1)[0], ONE, names),
        viz.object_grid(photos(2), boxes, names[:2], boxes, names[1:], ids=names[:2]),
        viz.label_grid(photos(3), PROBABILITIES, HELD, names, threshold=0.1, ids=names),
        viz.labelled_image(photos(1)[0], names),
    ):
        render(figure)


def test_titles_and_legends_of_every_grid_can_be_read():
    boxes = np.array([BOX] * 3, np.float32)
    for figure in (
        viz.detection_grid(photos(3), batch(ONE, ONE, ONE), None, NAMES, ids=["2007_000001"] * 3, columns=2),
        viz.object_grid(photos(3), boxes, NAMES, boxes, NAMES, ids=["2007_000001"] * 3, columns=2),
        viz.label_grid(photos(3), PROBABILITIES, HELD, NAMES, threshold=0.4, ids=["2007_000001"] * 3, columns=2),
    ):
        assert_readable(figure)
