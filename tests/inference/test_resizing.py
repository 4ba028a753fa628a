"""Canvases: a run's are those of its training, the others are torchvision's."""

import numpy as np
import pytest
from PIL import Image

from jaxssd.data.images import decode_photograph
from jaxssd.data.plain_resize import resize_bilinear
from jaxssd.inference.resizing import PlainResizing, RunResizing, ShorterSideResizing

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


@pytest.mark.parametrize("aspect", ["squash", "letterbox", "crop"])
def test_a_runs_canvas_is_that_of_its_training(tmp_path, aspect):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    canvas = RunResizing((8, 12), aspect)(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(canvas.pixels, decode_photograph(tmp_path / "a.png", (8, 12), aspect)[0])
    assert canvas.size == (30, 50)


def test_a_plain_canvas_has_an_exact_size():
    canvas = PlainResizing((8, 12))(Image.fromarray(PIXELS))
    np.testing.assert_allclose(canvas.pixels, resize_bilinear(PIXELS, (8, 12)) / 255, rtol=1e-6)
    assert (canvas.pixels.dtype, canvas.placement.tolist()) == (np.float32, [0, 0, 1, 1])


def test_padding_lies_below_and_to_the_right():
    """30 x 50 becomes 12 x 20 and is padded to 16 x 32."""
    canvas = ShorterSideResizing((0.1, 0.2, 0.3), shorter=12, longer=99, multiple=16)(Image.fromarray(PIXELS))
    assert canvas.pixels.shape == (16, 32, 3)
    np.testing.assert_allclose(canvas.pixels[:12, :20], resize_bilinear(PIXELS, (12, 20)) / 255, rtol=1e-6)
    for padding in (canvas.pixels[12:], canvas.pixels[:, 20:]):
        assert (padding == np.float32([0.1, 0.2, 0.3])).all()
    assert canvas.placement.tolist() == [0, 0, 12 / 16, 20 / 32]
