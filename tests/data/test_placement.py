"""Images of any shape on a canvas of any shape, and boxes there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxssd.data.images import MARGIN, decode, decode_photograph
from jaxssd.data.placement import from_canvas, in_image, place_images, to_canvas
from jaxssd.ops import Detections
from jaxssd.ops.arrays import as_pair
from jaxssd.tasks.multilabel import LabelResults

ASPECTS = ["squash", "letterbox", "crop"]
sides = st.integers(1, 4000)
canvases = st.integers(1, 640) | st.tuples(*[st.integers(1, 640)] * 2)


def test_worked_example_of_a_rectangular_canvas():
    """100 x 100 pixels on 60 x 120: 60 x 60 in the middle, or 120 x 120 of which the upper and lower 30 are cut off."""
    square = np.array([100, 100])
    np.testing.assert_allclose(place_images(square, (60, 120), "letterbox") * 120, [0, 30, 120, 90])
    np.testing.assert_allclose(place_images(square, (60, 120), "crop") * 60, [-30, 0, 90, 60])
    assert place_images(square, (60, 120), "squash").tolist() == [0, 0, 1, 1]


@given(height=sides, width=sides, image_size=canvases, aspect=st.sampled_from(ASPECTS))
def test_there_and_back(height, width, image_size, aspect):
    placement = place_images(np.array([height, width]), image_size, aspect)
    boxes = np.array([[0.0, 0, 1, 1], [0.2, 0.1, 0.5, 0.9]])
    np.testing.assert_allclose(from_canvas(to_canvas(boxes, placement), placement), boxes, atol=1e-9)
    np.testing.assert_allclose(to_canvas(boxes[0], placement), placement)


@given(height=sides, width=sides, image_size=canvases)
def test_shapes_are_kept_or_not(height, width, image_size):
    """In canvas pixels: a letterbox is as large as fits, to the pixel; a crop as small as covers, exactly."""
    size, canvas = np.array([height, width]), np.array(as_pair(image_size))
    assert place_images(size, image_size, "squash").tolist() == [0, 0, 1, 1]
    inside, outside = (place_images(size, image_size, aspect) for aspect in ("letterbox", "crop"))
    extent = (inside[2:] - inside[:2]) * canvas
    assert np.isclose(extent, canvas).any()
    assert np.abs(extent - np.maximum(size * (canvas / size).min(), 1)).max() <= 0.5 + 1e-9
    in_pixels = inside * np.tile(canvas, 2)
    np.testing.assert_allclose(in_pixels, np.round(in_pixels), atol=1e-9)
    assert inside.min() >= 0
    assert inside.max() <= 1 + 1e-12
    np.testing.assert_allclose((outside[2:] - outside[:2]) * canvas / size, (canvas / size).max())
    np.testing.assert_allclose(outside[:2] + outside[2:], 1)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize(
    ("size", "canvas_size"),
    [((120, 200), 40), ((201, 119), 40), ((64, 64), 40), ((120, 200), (36, 48)), ((64, 64), (60, 40))],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_painted_box_lies_where_the_placed_box_is(tmp_path, aspect, size, canvas_size, suffix):
    """Whatever decodes the picture and whatever moves the box, they agree to a pixel; a large JPEG is drafted."""
    height, width = (8 * side for side in size) if suffix == "jpg" else size
    box = np.array([0.4, 0.45, 0.6, 0.7])
    pixels = np.zeros((height, width, 3), np.uint8)
    y1, x1, y2, x2 = np.round(box * np.tile([height, width], 2)).astype(int)
    pixels[y1:y2, x1:x2] = 255
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    canvas, decoded = decode(tmp_path / f"a.{suffix}", canvas_size, aspect)
    assert canvas.shape == (*as_pair(canvas_size), 3)
    original = decoded.size
    assert original == (height, width)
    placement = place_images(np.array(original), canvas_size, aspect)
    placed = to_canvas(box, placement) * np.tile(as_pair(canvas_size), 2)
    rows, columns = np.nonzero((canvas > 127).all(axis=-1) & (np.abs(canvas.astype(int) - MARGIN).max(axis=-1) > 8))
    found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    np.testing.assert_allclose(found, placed, atol=1)
    back = from_canvas(np.array(found) / np.tile(as_pair(canvas_size), 2), placement)
    np.testing.assert_allclose(back, box, atol=1.1 * max(1 / ((placement[2:] - placement[:2]) * as_pair(canvas_size))))
    copy, photograph = decode_photograph(tmp_path / f"a.{suffix}", canvas_size, aspect)
    assert photograph.shape == (height, width, 3)
    assert np.abs(copy.astype(int) - canvas).max() <= 90  # but for the draft's edges they are the same
    assert np.abs(copy.astype(int) - canvas).mean() < 2


def test_boxes_on_the_square_become_boxes_in_the_image():
    """Of two images, one wide and one high, both in a letterbox: the whole image, and a box into the margin."""
    placements = place_images(np.array([[100, 200], [200, 100]]), 8, "letterbox")
    boxes = np.float32([[[0.25, 0, 0.75, 1], [0, 0, 0.5, 0.5]], [[0, 0.25, 1, 0.75], [0, 0, 0.5, 0.5]]])
    rest = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int32), np.ones((2, 2), bool)
    detections = in_image(Detections(boxes, *rest), placements)
    np.testing.assert_allclose(detections.boxes, [[[0, 0, 1, 1], [0, 0, 0.5, 0.5]]] * 2)
    one = in_image(Detections(boxes[0], *(array[0] for array in rest)), placements[0])
    np.testing.assert_array_equal(one.boxes, detections.boxes[0])
    without_boxes = LabelResults(np.zeros((2, 3), np.float32))
    assert in_image(without_boxes, placements) is without_boxes
