"""Boxes in pixels of the original image, to a thousandth: what scores compare, and what the files of results hold.

Float32 knows little more. Rounded so, the whole pixels and hundredths that were annotated come back exactly: it decides
whether an IoU of exactly the threshold counts, and to which size a box of 32 x 32 or 96 x 96 pixels belongs.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Real

from jaxssd.metrics.arrays import Nested, as_numbers, check_shape

PER_PIXEL = 1000
"""Thousandths."""


def checked_sizes(function: str, sizes: Real[Any, "N 2"] | Nested, num_images: int) -> Int64[np.ndarray, "N 2"]:
    """Height and width of each image as whole numbers.

    Args:
        function: name of the public function, for the message.
        sizes: `[N, 2]`, in pixels.
        num_images: N, as the other arguments have it.

    Returns:
        The same.

    Raises:
        ValueError: naming the argument, if the shape is another, or a size is not a whole number from 1.
    """
    sizes = as_numbers(function, "sizes", sizes)
    check_shape(function, "sizes", sizes, num_images, 2)
    wrong = ~((sizes >= 1) & (sizes == np.floor(sizes)) & np.isfinite(sizes))
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise ValueError(
            f"{function}: `sizes` has {sizes[row].tolist()} for image {row}, expected its height and width in pixels"
        )
    return sizes.astype(np.int64)


def thousandths(
    boxes: Real[Any, "N rows 4"] | Nested, sizes: Real[Any, "N 2"] | Nested
) -> Float64[np.ndarray, "N rows 4"]:
    """Normalised corners to corners in thousandths of a pixel.

    They are whole numbers, so that areas of up to 9,000 megapixels have no rounding at all.

    Args:
        boxes: `[N, rows, 4]`.
        sizes: `[N, 2]` height and width in pixels.

    Returns:
        `[y1, x1, y2, x2]`, continuous: a box that is the whole image ends at its height and width.

    Example:
        >>> thousandths(np.float32([[[0, 0, 1 / 3, 1]]]), np.array([[333, 500]]))
        array([[[     0.,      0., 111000., 500000.]]])
    """
    return np.rint(np.asarray(boxes, np.float64) * np.tile(sizes, 2)[:, None] * PER_PIXEL)


def pixel_corners(
    boxes: Real[Any, "N rows 4"] | Nested, sizes: Real[Any, "N 2"] | Nested
) -> Float64[np.ndarray, "N rows 4"]:
    """Normalised corners to corners in pixels, to a thousandth.

    Args:
        boxes: `[N, rows, 4]`.
        sizes: `[N, 2]` height and width in pixels.

    Returns:
        `[y1, x1, y2, x2]`, continuous: a box that is the whole image ends at its height and width.

    Example:
        >>> pixel_corners(np.float32([[[0, 0, 1 / 3, 1]]]), np.array([[333, 500]]))
        array([[[  0.,   0., 111., 500.]]])
    """
    return thousandths(boxes, sizes) / PER_PIXEL
