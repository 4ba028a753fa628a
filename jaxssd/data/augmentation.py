"""Augmentation of a training batch: functions of one image and its boxes, or of the whole batch, in a tuple."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxssd.config import AugmentationConfig
from jaxssd.data import AUGMENTATIONS
from jaxssd.data.dataset import Examples
from jaxssd.ops import (
    Augmentation,
    augment_boxes,
    augment_image,
    identity_augmentation,
    sample_augmentation,
)
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
AugmentSteps = tuple[AugmentStep, ...]


def augmentation_steps(settings: AugmentationConfig, size: tuple[int, int]) -> AugmentSteps:
    """Augmentation of a run.

    Args:
        settings: name and options.
        size: height and width of the network's input in pixels; the stored images may be larger.

    Returns:
        Steps for `augment_batch`, which give images of that size.
    """
    chosen = AUGMENTATIONS[settings.augment]
    steps = (*chosen, partial(resize, size=size)) if isinstance(chosen, tuple) else tuple(chosen(settings, size))
    return (*steps, *_of_batches(settings)) if settings.mosaic or settings.mixup else steps


def _of_batches(settings: AugmentationConfig) -> AugmentSteps:
    """Mosaic and mixup, of those that have a probability."""
    from jaxssd.data.mosaic import mixup, mosaic

    chances = ((mosaic, settings.mosaic), (mixup, settings.mixup))
    return tuple(BatchAugmentation(partial(function, probability=chance)) for function, chance in chances if chance)


def augment_example(
    key: Key[Array, ""],
    image: Float[Array, "H W 3"],
    boxes: Float[Array, "G 4"],
    valid: Bool[Array, " G"],
    *,
    sample: Callable[[Array], Augmentation] = sample_augmentation,
    size: tuple[int, int] | None = None,
) -> tuple[Float[Array, "height width 3"], Float[Array, "G 4"], Bool[Array, " G"]]:
    """Apply one sampled `Augmentation` to an image and its boxes.

    Args:
        key: key of `jax.random`.
        image: pixels in `[0, 1]`.
        boxes: corners, normalised.
        valid: which rows of `boxes` hold an object.
        sample: function from a key to an `Augmentation`.
        size: height and width of the result in pixels; default, those of the image.

    Returns:
        Image, boxes and `valid`; objects that have mostly left the image are no longer valid.
    """
    augmentation, shape = sample(key), image.shape[:2] if size is None else size
    return augment_image(image, augmentation, size=size), *augment_boxes(boxes, valid, augmentation, image_size=shape)


def resize(
    key: Key[Array, ""],
    image: Float[Array, "H W 3"],
    boxes: Float[Array, "G 4"],
    valid: Bool[Array, " G"],
    *,
    size: tuple[int, int],
) -> tuple[Float[Array, "height width 3"], Float[Array, "G 4"], Bool[Array, " G"]]:
    """Resize an image to a height and width, with antialiasing; one of that size stays as it is, and so do boxes."""
    del key
    if image.shape[:2] != tuple(size):
        image = augment_image(image, identity_augmentation()._replace(brightness=None, contrast=None), size=size)
    return image, boxes, valid


def crop(settings: AugmentationConfig, size: tuple[int, int]) -> AugmentSteps:
    """Random zoom, shift, flip and lighting."""
    sample = partial(sample_augmentation, scale=settings.scale_jitter, vertical_flip=settings.vertical_flip)
    return (partial(augment_example, sample=sample, size=size),)


def lesson(settings: AugmentationConfig, size: tuple[int, int]) -> AugmentSteps:
    """Augmentation of the lesson: random rotation by 3 degrees at most, flip and lighting."""
    sample = partial(
        sample_augmentation,
        rotation=3.0,
        scale=(1.0, 1.0),
        aspect=(1.0, 1.0),
        vertical_flip=settings.vertical_flip,
    )
    return (partial(augment_example, sample=sample, size=size),)


def none(settings: AugmentationConfig, size: tuple[int, int]) -> AugmentSteps:
    """No augmentation."""
    del settings
    return (partial(resize, size=size),)


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
