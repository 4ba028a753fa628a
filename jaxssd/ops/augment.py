"""Random flip, zoom, shift and lighting of an image and its boxes: pure functions of sampled parameters."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random
from jaxtyping import Bool, Float, PRNGKeyArray

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.boxes import box_area, clip_boxes


class Augmentation(NamedTuple):
    """One sampled change of one image: `point * scale + translation`, then the mirror; and the lighting.

    Coordinates are continuous (y, x), and the image spans `[0, 1]` in both. `scale` is positive: above 1 zooms in.
    """

    flip: Bool[Array, ""]
    scale: Float[Array, "2"]
    translation: Float[Array, "2"]
    brightness: Float[Array, ""]
    contrast: Float[Array, ""]


def identity_augmentation() -> Augmentation:
    """The augmentation that changes nothing.

    Returns:
        An `Augmentation`; replace the fields that are wanted with `_replace`.

    Example:
        >>> identity_augmentation()._replace(flip=jnp.array(True)).scale
        Array([1., 1.], dtype=float32)
    """
    return Augmentation(
        flip=jnp.array(False),
        scale=jnp.ones(2, jnp.float32),
        translation=jnp.zeros(2, jnp.float32),
        brightness=jnp.zeros((), jnp.float32),
        contrast=jnp.zeros((), jnp.float32),
    )


def sample_augmentation(
    key: PRNGKeyArray,
    *,
    flip: float = 0.5,
    scale: tuple[float, float] = (2 / 3, 3 / 2),
    aspect: tuple[float, float] = (4 / 5, 5 / 4),
    brightness: float = 0.05,
    contrast: float = 0.05,
) -> Augmentation:
    """Draw an augmentation; the same key always gives the same one.

    The shift has no range of its own. Along each axis it is uniform over all the places where a zoomed-in view stays
    inside the image, or a zoomed-out image inside the canvas: wider would only show more of the fill colour.

    Args:
        key: a key of `jax.random`.
        flip: probability of a left-right mirror.
        scale: range of the zoom factor, log-uniform; below 1 the image shrinks, above 1 it is cropped.
        aspect: range of the factor by which height grows over width at equal area, log-uniform.
        brightness: greatest change of brightness up or down, uniform (the lesson's 0.05).
        contrast: greatest change of contrast up or down, uniform (the lesson's 0.05).

    Returns:
        `Augmentation` for one image; `vmap` over keys for a batch.

    Raises:
        ValueError: if `flip` is no probability, a range is empty or not positive, or a lighting limit is negative.

    Example:
        >>> sampled = sample_augmentation(random.key(0), scale=(1.0, 1.0), aspect=(1.0, 1.0))
        >>> sampled.scale, sampled.translation
        (Array([1., 1.], dtype=float32), Array([0., 0.], dtype=float32))
    """
    if not 0 <= flip <= 1:
        raise ValueError(f"sample_augmentation: `flip` is {flip}, expected a probability in [0, 1]")
    for name, (low, high) in {"scale": scale, "aspect": aspect}.items():
        if not 0 < low <= high < math.inf:
            raise ValueError(f"sample_augmentation: `{name}` is {(low, high)}, expected 0 < low <= high")
    for name, limit in {"brightness": brightness, "contrast": contrast}.items():
        if not 0 <= limit < math.inf:
            raise ValueError(f"sample_augmentation: `{name}` is {limit}, expected 0 or more")
    flip_key, scale_key, aspect_key, shift_key, brightness_key, contrast_key = random.split(key, 6)
    zoom = _log_uniform(scale_key, *scale)
    stretch = jnp.sqrt(_log_uniform(aspect_key, *aspect))
    axis_scale = jnp.stack([zoom * stretch, zoom / stretch])
    return Augmentation(
        flip=random.bernoulli(flip_key, flip),
        scale=axis_scale,
        translation=random.uniform(shift_key, (2,), jnp.float32) * (1 - axis_scale),
        brightness=random.uniform(brightness_key, (), jnp.float32, -brightness, brightness),
        contrast=random.uniform(contrast_key, (), jnp.float32, -contrast, contrast),
    )


def augment_image(
    image: Float[ArrayLike, "H W 3"],
    augmentation: Augmentation,
    *,
    fill: tuple[float, float, float] = (0.485, 0.456, 0.406),
) -> Float[Array, "H W 3"]:
    """Light, zoom, shift and mirror one image, in a single resampling (two small matrix products).

    Lighting is the lesson's: about the mean of all pixels and channels, and of the picture only, so that the canvas
    around it always has the colour `fill`. An output pixel is picture if its centre comes from inside the image, and
    fill otherwise; the two are never blended.

    Args:
        image: `[H, W, 3]` in `[0, 1]`.
        augmentation: as sampled, for this image.
        fill: colour around the image, in `[0, 1]`; the default is ImageNet's mean, which normalises to zero.

    Returns:
        `[H, W, 3]`, in `[0, 1]` up to rounding.

    Raises:
        ValueError: if a shape is wrong or `fill` is not three values in `[0, 1]`.

    Example:
        >>> image = jnp.array([[[0.0] * 3, [1.0] * 3]])
        >>> mirror = identity_augmentation()._replace(flip=jnp.array(True))
        >>> augment_image(image, mirror)[0, :, 0].round(5)
        Array([1., 0.], dtype=float32)
    """
    check_shapes("augment_image", image=(image, "H W 3"), **_map_shapes(augmentation))
    if len(fill) != 3 or not all(0 <= level <= 1 for level in fill):
        raise ValueError(f"augment_image: `fill` is {fill}, expected three values in [0, 1]")
    height, width, _ = image.shape
    # Resampling puts zeros around the image: as a difference from the fill colour, zero is the fill colour.
    colour = jnp.array(fill, jnp.float32)[None, None, :]
    difference = _light(as_float(image), augmentation) - colour
    # Antialiasing costs nothing here (the weights are a dense matrix either way), does nothing when zooming in, and
    # when zooming out gives the averaged pixels that the resized images of the evaluation have.
    moved = jax.image.scale_and_translate(
        difference,
        difference.shape,
        spatial_dims=(0, 1),
        scale=augmentation.scale,
        translation=augmentation.translation * jnp.array([height, width], jnp.float32),
        method="linear",
        antialias=True,
    )
    # Last rather than as a negative scale, for which the antialiasing filter is not defined; it is exact and XLA fuses
    # it with the sum.
    return jnp.where(augmentation.flip, moved[:, ::-1], moved) + colour


def augment_boxes(
    boxes: Float[ArrayLike, "G 4"],
    valid: Bool[ArrayLike, "G"],
    augmentation: Augmentation,
    *,
    min_visible: float = 0.3,
) -> tuple[Float[Array, "G 4"], Bool[Array, "G"]]:
    """Move boxes with their image, and drop those of which too little is left in view.

    A box that crosses the edge, before or after, is clipped and kept; only the share of its area in view decides.

    Args:
        boxes: corners `[G, 4]`; invalid rows may hold anything, NaN included.
        valid: `[G]`, the rows that hold a box.
        augmentation: the one given to `augment_image`.
        min_visible: smallest share of a moved box's area that must lie in the image, in `[0, 1]`.

    Returns:
        `(boxes[G, 4], valid[G])`: valid boxes lie in `[0, 1]` and have an area; all other rows are zero.

    Raises:
        ValueError: if shapes disagree or `min_visible` lies outside `[0, 1]`.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 0.5, 0.5], [0.4, 0.4, 0.8, 0.8]])
        >>> to_the_left = identity_augmentation()._replace(translation=jnp.array([0.0, -0.5]))
        >>> augment_boxes(boxes, jnp.array([True, True]), to_the_left)[0].round(3)
        Array([[0. , 0. , 0. , 0. ],
               [0.4, 0. , 0.8, 0.3]], dtype=float32)
    """
    check_shapes("augment_boxes", boxes=(boxes, "G 4"), valid=(valid, "G"), **_map_shapes(augmentation))
    if not 0 <= min_visible <= 1:
        raise ValueError(f"augment_boxes: `min_visible` is {min_visible}, expected a value in [0, 1]")
    moved = _move(as_float(boxes), augmentation)
    clipped = clip_boxes(moved)
    visible = box_area(clipped)
    kept = jnp.asarray(valid) & (visible > 0) & (visible >= min_visible * box_area(moved))
    return jnp.where(kept[:, None], clipped, 0), kept


def _log_uniform(key: PRNGKeyArray, low: float, high: float) -> Float[Array, ""]:
    return jnp.exp(random.uniform(key, (), jnp.float32, math.log(low), math.log(high)))


def _map_shapes(augmentation: Augmentation) -> dict[str, tuple[ArrayLike, str]]:
    """A batched `Augmentation` would broadcast against one image: the shapes name the missing `vmap`."""
    return {"scale": (augmentation.scale, "2"), "translation": (augmentation.translation, "2")}


def _light(image: Float[Array, "H W 3"], augmentation: Augmentation) -> Float[Array, "H W 3"]:
    contrast = augmentation.contrast
    factor = jnp.where(contrast >= 0, 1 + contrast, 1 / (1 + jnp.abs(contrast)))
    mean = image.mean()
    return jnp.clip((image - mean) * factor + mean + augmentation.brightness, 0, 1)


def _move(boxes: Float[Array, "G 4"], augmentation: Augmentation) -> Float[Array, "G 4"]:
    scale, translation = jnp.tile(augmentation.scale, 2), jnp.tile(augmentation.translation, 2)
    moved = boxes * scale[None, :] + translation[None, :]
    y1, x1, y2, x2 = jnp.moveaxis(moved, -1, 0)
    return jnp.where(augmentation.flip, jnp.stack([y1, 1 - x2, y2, 1 - x1], axis=-1), moved)
