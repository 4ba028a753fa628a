"""Resizing of a photograph to the input of a detector: as a run was trained, or as torchvision's detectors do."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxssd.config import Aspect
from jaxssd.data.images import as_rgb, fit_canvas
from jaxssd.data.placement import place_images
from jaxssd.data.plain_resize import resize_bilinear, shorter_side_size


class Canvas(NamedTuple):
    """Input of the network for one photograph.

    Attributes:
        pixels: `[height, width, 3]`, uint8 or float32 in `[0, 1]`.
        size: (height, width) of the photograph in pixels.
        placement: corners `[y1, x1, y2, x2]` of the photograph in units of the canvas.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    placement: Float[np.ndarray, "4"]


@runtime_checkable
class Resizing(Protocol):
    """Function from a decoded photograph to the input of a network."""

    def __call__(self, photograph: Image.Image) -> Canvas:
        """Resize a photograph."""


@dataclass(frozen=True)
class RunResizing:
    """Resizing of a run: antialiased, to the size that it was trained with.

    Attributes:
        shape: (height, width) of the input in pixels.
        aspect: resizing to that size.
    """

    shape: tuple[int, int]
    aspect: Aspect = "squash"

    def __call__(self, photograph: Image.Image) -> Canvas:
        """Resize a photograph; uint8."""
        size = (photograph.height, photograph.width)
        placement = place_images(np.array(size), self.shape, self.aspect)
        return Canvas(fit_canvas(photograph, self.shape, self.aspect), size, placement)


@dataclass(frozen=True)
class PlainResizing:
    """Resizing of torchvision's SSD: plain bilinear, to an exact size.

    Attributes:
        shape: (height, width) of the input in pixels.
    """

    shape: tuple[int, int]

    def __call__(self, photograph: Image.Image) -> Canvas:
        """Resize a photograph; float32 in `[0, 1]`."""
        pixels = as_rgb(photograph)
        resized = resize_bilinear(pixels, self.shape) / np.float32(255)
        return Canvas(resized, (photograph.height, photograph.width), np.array([0.0, 0, 1, 1]))


@dataclass(frozen=True)
class ShorterSideResizing:
    """Resizing of torchvision's RetinaNet: plain bilinear, keeping the shape, and padded at the bottom and right.

    Attributes:
        padding: red, green and blue of the padding in `[0, 1]`: the mean that is subtracted, so that it becomes zero.
        shorter: shorter side of the resized photograph in pixels.
        longer: largest longer side in pixels.
        multiple: number that both padded sides are multiples of.
    """

    padding: tuple[float, float, float]
    shorter: int = 800
    longer: int = 1333
    multiple: int = 32

    def __call__(self, photograph: Image.Image) -> Canvas:
        """Resize and pad a photograph; float32 in `[0, 1]`. The size of the canvas depends on the photograph's."""
        size = (photograph.height, photograph.width)
        resized, padded = shorter_side_size(size, self.shorter, self.longer, self.multiple)
        canvas = np.full((*padded, 3), self.padding, np.float32)
        canvas[: resized[0], : resized[1]] = resize_bilinear(as_rgb(photograph), resized) / np.float32(255)
        return Canvas(canvas, size, np.array([0, 0, *np.divide(resized, padded)]))
