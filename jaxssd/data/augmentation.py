"""Augmentation of a training batch: functions of one image and its boxes, or of the whole batch, in a tuple."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxssd.data.dataset import Examples
from jaxssd.ops import Augmentation, augment_boxes, augment_image, sample_augmentation
from jaxssd.ops.arrays import ArrayLike

AugmentImage = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class BatchAugmentation:
    """Augmentation of a whole batch, such as mosaic.

    Attributes:
        function: pure function `(key, examples) -> examples`; images are float `[B, H, W, 3]` in `[0, 1]`.
    """

    function: Callable[[Array, Examples], Examples]


AugmentStep = AugmentImage | BatchAugmentation


def augment_example(
    key: Key[Array, ""],
    image: Float[Array, "H W 3"],
    boxes: Float[Array, "G 4"],
    valid: Bool[Array, " G"],
    *,
    sample: Callable[[Array], Augmentation] = sample_augmentation,
) -> tuple[Float[Array, "H W 3"], Float[Array, "G 4"], Bool[Array, " G"]]:
    """Apply one sampled `Augmentation` to an image and its boxes.

    Args:
        key: key of `jax.random`.
        image: pixels in `[0, 1]`.
        boxes: corners, normalised.
        valid: which rows of `boxes` hold an object.
        sample: function from a key to an `Augmentation`.

    Returns:
        Image, boxes and `valid`; objects that have mostly left the image are no longer valid.
    """
    augmentation, (height, width, _) = sample(key), image.shape
    return augment_image(image, augmentation), *augment_boxes(boxes, valid, augmentation, image_size=(height, width))


CROP = (augment_example,)
"""Random zoom, shift, flip and lighting."""

LESSON = (
    partial(augment_example, sample=partial(sample_augmentation, rotation=3.0, scale=(1.0, 1.0), aspect=(1.0, 1.0))),
)
"""The lesson's random rotation by 3 degrees at most, flip and lighting."""

NONE: tuple[AugmentStep, ...] = ()
"""No augmentation."""


def augment_batch(key: Key[Array, ""], batch: Examples, steps: tuple[AugmentStep, ...]) -> Examples:
    """Apply augmentations in their order, with separate random numbers for each image.

    Args:
        key: key of `jax.random`.
        batch: images uint8, or float in `[0, 1]`, `[B, H, W, 3]`, with their boxes.
        steps: functions `(key, image, boxes, valid) -> (image, boxes, valid)`, which are vmapped, and
            `BatchAugmentation`s.

    Returns:
        The batch with float images in `[0, 1]`.

    Raises:
        TypeError: if a function returns anything else than three values.
    """
    batch = batch._replace(images=unit_images(batch.images))
    keys = jax.random.split(key, len(steps)) if len(steps) > 1 else [key] * len(steps)
    for step, step_key in zip(steps, keys, strict=True):
        if isinstance(step, BatchAugmentation):
            batch = step.function(step_key, batch)
        else:
            image_keys = jax.random.split(step_key, len(batch.images))
            moved = jax.vmap(step)(image_keys, batch.images, batch.boxes, batch.valid)
            if not (isinstance(moved, tuple) and len(moved) == 3):
                found = f"{len(moved)} values" if isinstance(moved, tuple) else f"a {type(moved).__name__}"
                raise TypeError(f"augmentation {step!r} returned {found}, expected (image, boxes, valid)")
            batch = batch._replace(images=moved[0], boxes=moved[1], valid=moved[2])
    return batch


def unit_images(images: ArrayLike) -> Float[Array, "*batch H W 3"]:
    """Convert uint8 pixels to float32 in `[0, 1]`; float images stay as they are."""
    images = jnp.asarray(images)
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
