"""Resizing of torchvision's detectors, against values of PyTorch and against PyTorch itself."""

import numpy as np
import pytest

from jaxssd.data.plain_resize import resize_bilinear, shorter_side_size

IMAGE = ((np.arange(5 * 7 * 3) * 37 % 101) / 50 - 1).astype(np.float32).reshape(5, 7, 3)

OF_TORCH = [
    [-0.391667, -0.041667, 0.308333, 0.658333],
    [0.595, 0.6925, -0.725, -0.375],
    [-0.438333, -0.088333, 0.261667, 0.190833],
]
"""Green of `IMAGE` at 3 x 4 pixels, by `torch.nn.functional.interpolate` (torch 2.14)."""


def test_by_hand():
    """Four pixels between two: the outer ones are beyond the centres, and repeat them."""
    row = np.float32([[[0, 8], [4, 0]]])
    assert resize_bilinear(row, (1, 4))[0].T.tolist() == [[0, 1, 3, 4], [8, 6, 2, 0]]
    assert resize_bilinear(row.swapaxes(0, 1), (4, 1))[:, 0].T.tolist() == [[0, 1, 3, 4], [8, 6, 2, 0]]


def test_values_of_torch():
    small = resize_bilinear(IMAGE, (3, 4))
    assert small.dtype == np.float32
    np.testing.assert_allclose(small[..., 1], OF_TORCH, atol=1e-6)


def test_its_own_size_changes_nothing():
    np.testing.assert_array_equal(resize_bilinear(IMAGE, (5, 7)), IMAGE)


def test_a_single_pixel_fills_the_result():
    filled = np.broadcast_to(IMAGE[0, 0], (3, 3, 3))
    np.testing.assert_allclose(resize_bilinear(IMAGE[:1, :1], 3), filled, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "words"),
    [((0, 4, 3), 2, r"\[0, 4, 3\], expected"), ((4, 4, 3), 0, "0 x 0, expected")],
)
def test_what_has_no_pixels_is_refused(shape, size, words):
    with pytest.raises(ValueError, match=words):
        resize_bilinear(np.zeros(shape), size)


@pytest.mark.parametrize(
    ("shape", "resized", "padded"),
    [
        ((480, 640), (800, 1066), (800, 1088)),
        ((640, 480), (1066, 800), (1088, 800)),
        ((333, 500), (800, 1201), (800, 1216)),
        ((1080, 1920), (749, 1333), (768, 1344)),
        ((99, 301), (438, 1333), (448, 1344)),
        ((612, 612), (800, 800), (800, 800)),
        ((1, 9999), (1, 1333), (32, 1344)),
    ],
)
def test_sizes_of_torchvision(shape, resized, padded):
    """Of `GeneralizedRCNNTransform(800, 1333, ...)`; the last one it refuses."""
    assert shorter_side_size(shape) == (resized, padded)


def test_sizes_need_pixels():
    with pytest.raises(ValueError, match="0 x 5, expected"):
        shorter_side_size((0, 5))


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(480, 640), (1234, 777), (3024, 4032), (37, 53), (1, 1)])
def test_torch_itself(shape):
    import torch
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    image = np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)
    channels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    whole = torch.nn.functional.interpolate(channels[None], size=(300, 300), mode="bilinear")[0]
    np.testing.assert_allclose(resize_bilinear(image, 300), whole.permute(1, 2, 0), atol=2e-6)
    batch, _ = GeneralizedRCNNTransform(800, 1333, [0, 0, 0], [1, 1, 1])([channels])
    (height, width), padded = shorter_side_size(shape)
    assert ((height, width), padded) == (tuple(batch.image_sizes[0]), tuple(batch.tensors.shape[-2:]))
    theirs = batch.tensors[0, :, :height, :width].permute(1, 2, 0)
    np.testing.assert_allclose(resize_bilinear(image, (height, width)), theirs, atol=2e-6)
