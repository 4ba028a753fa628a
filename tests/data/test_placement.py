"""Images of any shape on a square, and boxes there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxssd.data.images import MARGIN, decode, decode_photograph
from jaxssd.data.placement import from_canvas, in_image, place_images, to_canvas
from jaxssd.ops import Detections
from jaxssd.tasks.multilabel import LabelResults

ASPECTS = ["squash", "letterbox", "crop"]
sides = st.integers(1, 4000)


@given(height=sides, width=sides, image_size=st.integers(1, 640), aspect=st.sampled_from(ASPECTS))
def test_there_and_back(height, width, image_size, aspect):
    placement = place_images(np.array([height, width]), image_size, aspect)
    boxes = np.array([[0.0, 0, 1, 1], [0.2, 0.1, 0.5, 0.9]])
    np.testing.assert_allclose(from_canvas(to_canvas(boxes, placement), placement), boxes, atol=1e-9)
    np.testing.assert_allclose(to_canvas(boxes[0], placement), placement)


@given(height=sides, width=sides, image_size=st.integers(1, 640))
def test_shapes_are_kept_or_not(height, width, image_size):
    """In canvas pixels: a letterbox is as large as fits, to the pixel; a crop as small as covers, exactly."""
    size = np.array([height, width])
    assert place_images(size, image_size, "squash").tolist() == [0, 0, 1, 1]
    inside, outside = (place_images(size, image_size, aspect) for aspect in ("letterbox", "crop"))
    extent = (inside[2:] - inside[:2]) * image_size
    assert extent.max() == pytest.approx(image_size)
    assert np.abs(extent - np.maximum(size / size.max() * image_size, 1)).max() <= 0.5 + 1e-9
    np.testing.assert_allclose(inside * image_size, np.round(inside * image_size), atol=1e-9)
    assert inside.min() >= 0
    assert inside.max() <= 1 + 1e-12
    np.testing.assert_allclose((outside[2:] - outside[:2]) / size, 1 / size.min())
    np.testing.assert_allclose(outside[:2] + outside[2:], 1)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("size", [(120, 200), (201, 119), (64, 64)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_painted_box_lies_where_the_placed_box_is(tmp_path, aspect, size, suffix):
    """Whatever decodes the picture and whatever moves the box, they agree to a pixel; a large JPEG is drafted."""
    height, width = (8 * side for side in size) if suffix == "jpg" else size
    box = np.array([0.4, 0.45, 0.6, 0.7])
    pixels = np.zeros((height, width, 3), np.uint8)
    y1, x1, y2, x2 = np.round(box * np.tile([height, width], 2)).astype(int)
    pixels[y1:y2, x1:x2] = 255
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    canvas, decoded = decode(tmp_path / f"a.{suffix}", 40, aspect)
    original = decoded.size
    assert original == (height, width)
    placed = to_canvas(box, place_images(np.array(original), 40, aspect)) * 40
    rows, columns = np.nonzero((canvas > 127).all(axis=-1) & (np.abs(canvas.astype(int) - MARGIN).max(axis=-1) > 8))
    found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    np.testing.assert_allclose(found, placed, atol=1)
    square, photograph = decode_photograph(tmp_path / f"a.{suffix}", 40, aspect)
    assert photograph.shape == (height, width, 3)
    assert np.abs(square.astype(int) - canvas).max() <= 90  # but for the draft's edges they are the same
    assert np.abs(square.astype(int) - canvas).mean() < 2


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
