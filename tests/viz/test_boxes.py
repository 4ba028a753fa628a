"""Boxes land on their pixels, and their captions where there is room."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxssd import viz
from tests.viz.samples import BOX, NAMES, ONE, found, photos, render


def test_a_box_lands_on_its_pixels():
    gray = np.full((200, 300, 3), 128, np.uint8)  # not square, so that swapped axes would show
    picture = render(viz.detection_image(gray, found((BOX, 0.9, 1)), NAMES))
    assert picture.shape == gray.shape
    color = np.array(to_rgb(viz.class_color(1))) * 255
    y1, x1, y2, x2 = 50, 60, 150, 180
    for row, column in [(y1, 150), (y2, 100), (120, x1), (120, x2)]:  # clear of the caption
        np.testing.assert_allclose(picture[row, column], color, atol=40, err_msg=f"no line at {row}, {column}")
    changed = np.argwhere((picture != 128).any(axis=-1))
    assert (changed >= (y1 - 4, x1 - 4)).all()
    assert (changed <= (y2 + 4, x2 + 4)).all()
    assert (picture[120, x1 + 5 : x2 - 5] == 128).all()


@pytest.mark.parametrize("box", [BOX, (0.0, 0.0, 1.0, 1.0), (0.7, 0.9, 0.9, 1.0), (-0.5, -0.5, 0.3, 0.3)])
def test_captions_avoid_each_other_and_stay_inside(box):
    detections = found(*[(box, 0.9 - 0.1 * k, k) for k in range(3)])
    figure = viz.detection_image(photos(1, size=200)[0], detections, NAMES)
    ax = figure.axes[0]
    render(figure)
    frame, extents = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
    assert len(extents) == 3
    for i, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[i + 1 :])
        np.testing.assert_array_less(frame.min - 0.5, extent.min)
        np.testing.assert_array_less(extent.max, frame.max + 0.5)


def test_the_best_detection_lies_on_top():
    figure = viz.detection_image(photos(1)[0], ONE, NAMES)
    assert figure.axes[0].patches[-1].get_edgecolor()[:3] == to_rgb(viz.class_color(1))


def test_neighbouring_classes_differ_in_colour():
    colors = [viz.class_color(label) for label in range(20)]
    assert all(len(set(colors[k : k + 8])) == 8 for k in range(12))
    assert viz.TRUTH_COLOR not in colors
