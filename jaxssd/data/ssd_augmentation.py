"""Augmentation of SSD: colours, zoom-out, crop under a minimum IoU and flip, in one resampling."""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Key

from jaxssd.config import AugmentationConfig
from jaxssd.data.augmentation import AugmentSteps
from jaxssd.ops import augment_boxes, augment_image, sample_color_distortion, sample_ssd_augmentation


def augment_as_ssd(
    key: Key[Array, ""],
    image: Float[Array, "H W 3"],
    boxes: Float[Array, "G 4"],
    valid: Bool[Array, " G"],
    *,
    size: tuple[int, int] | None = None,
    **settings: Any,
) -> tuple[Float[Array, "height width 3"], Float[Array, "G 4"], Bool[Array, " G"]]:
    """Apply SSD's augmentation: photometric distortion, zoom-out, crop under a minimum IoU, flip.

    An object is kept if its centre is in view, as in SSD, however little of it is: a crop is chosen by the centres that
    it contains, so it never loses all objects.

    Args:
        key: key of `jax.random`.
        image: pixels in `[0, 1]`.
        boxes: corners, normalised.
        valid: which rows of `boxes` hold an object.
        size: height and width of the result in pixels; default, those of the image.
        settings: keywords of `sample_ssd_augmentation`.

    Returns:
        Image, boxes and `valid`.
    """
    color_key, view_key = jax.random.split(key)
    augmentation = sample_ssd_augmentation(view_key, boxes, valid, **settings)
    moved = augment_boxes(boxes, valid, augmentation, min_visible=0, center_in_view=True)
    return augment_image(image, augmentation._replace(color=sample_color_distortion(color_key)), size=size), *moved


def ssd(settings: AugmentationConfig, size: tuple[int, int]) -> AugmentSteps:
    """Augmentation of SSD: photometric distortion, zoom-out, crop under a minimum IoU and flip."""
    zoom_out = (1.0, settings.zoom_out)
    return (partial(augment_as_ssd, size=size, zoom_out=zoom_out, vertical_flip=settings.vertical_flip),)
