"""Bilinear resizing without antialiasing, and the sizes of torchvision's detectors.

Pillow widens its filter when it shrinks an image, and so averages all of its pixels. torchvision's detectors were
trained and published with the plain filter, which reads four pixels for each result, on normalised floats.
"""

import math

import numpy as np
from jaxtyping import Float, Real

from jaxssd.ops.arrays import Size, as_pair


def resize_bilinear(image: Real[np.ndarray, "H W channels"], size: Size) -> Float[np.ndarray, "height width channels"]:
    """Resize an image bilinearly, without antialiasing.

    Pixel i of a result of n pixels lies at `(i + 0.5) * m / n - 0.5` of the m pixels of the image, clipped to them.
    Positions are rounded as PyTorch's `interpolate(mode="bilinear", align_corners=False)` rounds them, so that large
    images agree as well.

    Args:
        image: `[H, W, channels]`; computed in float32.
        size: one side of the result in pixels, or its height and width.

    Returns:
        Float32 `[height, width, channels]`.

    Raises:
        ValueError: if the image is empty, or a side of the result is less than 1.

    Example:
        >>> image = np.float32([[[0], [10]]])
        >>> resize_bilinear(image, (1, 4))[0, :, 0].tolist()
        [0.0, 2.5, 7.5, 10.0]
    """
    height, width = as_pair(size)
    if not image.size:
        raise ValueError(f"resize_bilinear: `image` is {list(image.shape)}, expected one with pixels")
    if height < 1 or width < 1:
        raise ValueError(f"resize_bilinear: `size` is {height} x {width}, expected sides of 1 or more pixels")
    above, below, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    # The columns first, on the rows that are read at all: a photograph has many more.
    used, rows = np.unique(np.concatenate([above, below]), return_inverse=True)
    read = image[used].astype(np.float32)
    across, down = across[:, None], down[:, None, None]
    read = read[:, left] * (1 - across) + read[:, right] * across
    return read[rows[:height]] * (1 - down) + read[rows[height:]] * down


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the two pixels that each result lies between, and the weight of the second one."""
    # One rounding for the product and the difference, as a fused multiply-add has.
    step = np.float64(np.float32(old) / np.float32(new))
    places = np.maximum((step * (np.arange(new) + 0.5) - 0.5).astype(np.float32), 0)
    first = np.minimum(places.astype(np.int64), old - 1)
    weight = np.clip(places - first.astype(np.float32), 0, 1)
    return first, np.minimum(first + 1, old - 1), weight


def shorter_side_size(
    shape: tuple[int, int], shorter: int = 800, longer: int = 1333, multiple: int = 32
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of an image whose shorter side is fixed, unless the longer one would be too long; and its padded size.

    Sides are rounded down, as torchvision's detectors do. The padding lies at the bottom and at the right.

    Args:
        shape: (height, width) of the image in pixels.
        shorter: shorter side of the result in pixels.
        longer: largest longer side in pixels.
        multiple: number that both padded sides are multiples of.

    Returns:
        (height, width) of the resized image, and (height, width) of the padded one.

    Raises:
        ValueError: if a side is less than 1.

    Example:
        >>> shorter_side_size((480, 640))
        ((800, 1066), (800, 1088))
    """
    if min(shape) < 1:
        raise ValueError(f"shorter_side_size: `shape` is {shape[0]} x {shape[1]}, expected sides of 1 or more pixels")
    scale = min(shorter / min(shape), longer / max(shape))
    height, width = (max(math.floor(side * scale), 1) for side in shape)
    return (height, width), (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
