import jax
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from jaxssd.ops import augment_boxes, augment_image, sample_augmentation
from jaxssd.viz.augmentation import augmentation_pair, augmented_grid
from jaxssd.viz.boxes import class_color

NAMES = ("cat", "dog", "horse")
LABELS = np.array([2, 0, 1, 1], np.int32)
BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.5, 0.9, 0.8], [0.1, 0.1, 0.9, 0.9], [0, 0, 0.2, 0.1]], np.float32)
VALID = np.array([True, True, False, True])


@pytest.fixture(scope="module")
def nine():
    image = np.random.default_rng(0).random((40, 60, 3), np.float32)

    @jax.jit
    @jax.vmap
    def augment(key):
        augmentation = sample_augmentation(key, rotation=10.0)
        moved = augment_boxes(BOXES, VALID, augmentation, image_size=(40, 60))
        return augment_image(image, augmentation), moved

    return jax.tree.map(np.asarray, augment(jax.random.split(jax.random.key(1), 9)))


def drawn(ax):
    """The corners of what is outlined, the last drawn first: the order in which it was given."""
    rectangles = list(ax.patches)[::-1]
    return np.array([[r.get_y(), r.get_x(), r.get_y() + r.get_height(), r.get_x() + r.get_width()] for r in rectangles])


def test_nine_images_twice_with_the_boxes_where_they_were_and_where_they_went(nine):
    images, moved = nine
    figure = augmentation_pair(images, (BOXES, VALID), moved, LABELS, NAMES)
    assert [text.get_text() for text in figure.texts] == ["boxes left behind", "boxes moved along"]
    assert len(figure.axes) == 18
    left, right = figure.axes[:9], figure.axes[9:]
    colors = [class_color(label) for label in LABELS.tolist()]
    for index, (before, after) in enumerate(zip(left, right, strict=True)):
        for ax, boxes, valid in [(before, BOXES, VALID), (after, moved[0][index], moved[1][index])]:
            np.testing.assert_allclose(drawn(ax).reshape(-1, 4), boxes[valid], atol=1e-6)
            assert [text.get_text() for text in ax.texts] == [NAMES[label] for label in LABELS[valid]]
            outlines = [patch.get_edgecolor()[:3] for patch in list(ax.patches)[::-1]]
            assert outlines == [to_rgb(color) for color, is_valid in zip(colors, valid, strict=True) if is_valid]
            np.testing.assert_array_equal(ax.images[0].get_array(), np.round(255 * images[index].clip(0, 1)))
    assert not moved[1][:, VALID].all()  # some box left its image: the loop has looked at a dropped one


def test_every_left_image_faces_its_counterpart_and_pixels_are_square(nine):
    images, moved = nine
    figure = augmentation_pair(images, (BOXES, VALID), moved, LABELS, NAMES)
    FigureCanvasAgg(figure).draw()
    places = np.array([ax.get_window_extent().extents for ax in figure.axes])
    sides = places[:, 2:] - places[:, :2]
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], 60 / 40, rtol=1e-3)
    step = places[9:] - places[:9]
    np.testing.assert_allclose(step, np.broadcast_to(step[0], (9, 4)), atol=1e-6)
    assert step[0, 0] > places[:9, 2].max() - places[:9, 0].min()
    assert step[0, 1] == pytest.approx(0)
    grid = places[:9].reshape(3, 3, 4)
    assert (grid[:, 1:, 0] > grid[:, :-1, 2]).all()
    assert (grid[1:, :, 3] < grid[:-1, :, 1]).all()
    assert places.min() >= 0
    assert (places[:, 2:].max(0) <= figure.bbox.size).all()


def test_a_grid_of_augmented_images_has_their_own_boxes(nine):
    images, (boxes, valid) = nine
    labels = np.stack([LABELS, LABELS[::-1]] * 5)[:9]
    figure = augmented_grid(images, boxes, labels, valid, NAMES)
    assert len(figure.axes) == 9
    for index, ax in enumerate(figure.axes):
        np.testing.assert_allclose(drawn(ax).reshape(-1, 4), boxes[index][valid[index]], atol=1e-6)
        assert [text.get_text() for text in ax.texts] == [NAMES[label] for label in labels[index][valid[index]]]
        np.testing.assert_array_equal(ax.images[0].get_array(), np.round(255 * images[index].clip(0, 1)))
    places = np.array([ax.get_window_extent().extents for ax in figure.axes])
    assert places.min() >= 0
    assert (places[:, 2:].max(0) <= figure.bbox.size).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_images_and_none_with_a_box(count):
    images = np.zeros((count, 8, 8, 3), np.float32)
    nothing = np.zeros((count, 1, 4), np.float32), np.zeros((count, 1), bool)
    figure = augmentation_pair(images, (nothing[0][0], nothing[1][0]), nothing, np.zeros(1, np.int32), NAMES)
    assert len(figure.axes) == 2 * count
    assert not any(ax.patches or ax.texts for ax in figure.axes)
    FigureCanvasAgg(figure).draw()
