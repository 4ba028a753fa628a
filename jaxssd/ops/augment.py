"""Random zoom, shift, rotation, flip and lighting of an image and its boxes: pure functions of sampled parameters."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Bool, Float, PRNGKeyArray

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes
from jaxssd.ops.boxes import box_area, clip_boxes, to_center_size, to_corners


class Augmentation(NamedTuple):
    """One sampled change of one image: `point * scale + translation`, the rotation, then the mirror; and the lighting.

    Coordinates are continuous (y, x), and the image spans `[0, 1]` in both. `scale` is positive: above 1 zooms in.

    `angle` turns the image about its centre, counter-clockwise as one sees it, in radians: by pi / 2 as `jnp.rot90`
    does. It turns pixels, not normalised coordinates: what is square in the image stays square whatever the image's
    proportions. None is no rotation, for which there is a better resampling than for one by 0.
    """

    flip: Bool[Array, ""]
    scale: Float[Array, "2"]
    translation: Float[Array, "2"]
    brightness: Float[Array, ""]
    contrast: Float[Array, ""]
    angle: Float[Array, ""] | None = None


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
    rotation: float = 0.0,
    rotation_probability: float = 0.5,
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
        rotation: greatest angle either way, in degrees, uniform (the lesson's 3); at 0 `angle` is None, and the other
            fields do not depend on it.
        rotation_probability: how often there is a rotation at all (the lesson's 0.5).
        scale: range of the zoom factor, log-uniform; below 1 the image shrinks, above 1 it is cropped.
        aspect: range of the factor by which height grows over width at equal area, log-uniform.
        brightness: greatest change of brightness up or down, uniform (the lesson's 0.05).
        contrast: greatest change of contrast up or down, uniform (the lesson's 0.05).

    Returns:
        `Augmentation` for one image; `vmap` over keys for a batch.

    Raises:
        ValueError: if a probability lies outside `[0, 1]`, `rotation` outside `[0, 180]`, a range is empty or not
            positive, or a lighting limit is negative.

    Example:
        >>> sampled = sample_augmentation(random.key(0), scale=(1.0, 1.0), aspect=(1.0, 1.0))
        >>> sampled.scale, sampled.translation
        (Array([1., 1.], dtype=float32), Array([0., 0.], dtype=float32))
    """
    for name, probability in {"flip": flip, "rotation_probability": rotation_probability}.items():
        if not 0 <= probability <= 1:
            raise ValueError(f"sample_augmentation: `{name}` is {probability}, expected a probability in [0, 1]")
    if not 0 <= rotation <= 180:
        raise ValueError(f"sample_augmentation: `rotation` is {rotation}, expected degrees in [0, 180]")
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
        # A key of its own, so that the other draws stay what they are without rotation.
        angle=_sample_angle(random.fold_in(key, 6), rotation, rotation_probability) if rotation else None,
    )


def augment_image(
    image: Float[ArrayLike, "H W 3"],
    augmentation: Augmentation,
    *,
    fill: tuple[float, float, float] = (0.485, 0.456, 0.406),
) -> Float[Array, "H W 3"]:
    """Light, zoom, shift, rotate and mirror one image, in a single resampling.

    Lighting is the lesson's: about the mean of all pixels and channels, and of the picture only, so that the canvas
    around it always has the colour `fill`. An output pixel is picture if its centre comes from inside the image, and
    fill otherwise; the two are never blended.

    Without rotation that is two small matrix products, with antialiasing. With an angle, be it 0, each pixel is
    interpolated between the four nearest to the place it comes from. The two agree at angle 0, except that only the
    first averages pixels where the image shrinks.

    The lesson rotates photographs before they are squashed to squares; this function rotates what it is given, in the
    trainer the squares. At the lesson's 3 degrees that moves no point of a 4:3 photograph by more than 1.1 % of a side.

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
    colour = jnp.array(fill, jnp.float32)[None, None, :]
    lit = _light(as_float(image), augmentation)
    if augmentation.angle is None:
        return _scale_and_translate(lit, augmentation, colour)
    return _warp(lit, augmentation, as_float(augmentation.angle), colour)


def augment_boxes(
    boxes: Float[ArrayLike, "G 4"],
    valid: Bool[ArrayLike, "G"],
    augmentation: Augmentation,
    *,
    min_visible: float = 0.3,
    image_size: tuple[int, int] | None = None,
) -> tuple[Float[Array, "G 4"], Bool[Array, "G"]]:
    """Move boxes with their image, and drop those of which too little is left in view.

    A box that crosses the edge, before or after, is clipped and kept; only the share of its area in view decides.

    A rotated box becomes the hull of its corners, upright again. That holds the object, but is larger than the box
    around it would be, and the more so the larger the angle: at 45 degrees a square's hull has twice its area. The
    lesson warns of it, and rotates by 3 degrees at most.

    Args:
        boxes: corners `[G, 4]`; invalid rows may hold anything, NaN included.
        valid: `[G]`, the rows that hold a box.
        augmentation: the one given to `augment_image`.
        min_visible: smallest share of a moved box's area that must lie in the image, in `[0, 1]`.
        image_size: height and width of the image, `image.shape[:2]`; only a rotation needs it.

    Returns:
        `(boxes[G, 4], valid[G])`: valid boxes lie in `[0, 1]` and have an area; all other rows are zero.

    Raises:
        ValueError: if shapes disagree, `min_visible` lies outside `[0, 1]`, or `image_size` is missing or not
            positive where the augmentation has an angle.

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
    boxes = as_float(boxes)
    moved = boxes * jnp.tile(augmentation.scale, 2)[None, :] + jnp.tile(augmentation.translation, 2)[None, :]
    if augmentation.angle is not None:
        if image_size is None or not all(side > 0 for side in image_size):
            raise ValueError(f"augment_boxes: `image_size` is {image_size}, expected (height, width) for the rotation")
        moved = _rotated_hulls(moved, as_float(augmentation.angle), image_size)
    y1, x1, y2, x2 = jnp.moveaxis(moved, -1, 0)
    moved = jnp.where(augmentation.flip, jnp.stack([y1, 1 - x2, y2, 1 - x1], axis=-1), moved)
    clipped = clip_boxes(moved)
    visible = box_area(clipped)
    has_area = box_area(boxes) > 0  # asked first: the hull of a rotated line has an area
    kept = jnp.asarray(valid) & has_area & (visible > 0) & (visible >= min_visible * box_area(moved))
    return jnp.where(kept[:, None], clipped, 0), kept


def _log_uniform(key: PRNGKeyArray, low: float, high: float) -> Float[Array, ""]:
    return jnp.exp(random.uniform(key, (), jnp.float32, math.log(low), math.log(high)))


def _sample_angle(key: PRNGKeyArray, rotation: float, probability: float) -> Float[Array, ""]:
    angle_key, rotated_key = random.split(key)
    limit = math.radians(rotation)
    angle = random.uniform(angle_key, (), jnp.float32, -limit, limit)
    return jnp.where(random.bernoulli(rotated_key, probability), angle, 0)


def _map_shapes(augmentation: Augmentation) -> dict[str, tuple[ArrayLike, str]]:
    """A batched `Augmentation` would broadcast against one image: the shapes name the missing `vmap`."""
    return {"scale": (augmentation.scale, "2"), "translation": (augmentation.translation, "2")}


def _light(image: Float[Array, "H W 3"], augmentation: Augmentation) -> Float[Array, "H W 3"]:
    contrast = augmentation.contrast
    factor = jnp.where(contrast >= 0, 1 + contrast, 1 / (1 + jnp.abs(contrast)))
    mean = image.mean()
    return jnp.clip((image - mean) * factor + mean + augmentation.brightness, 0, 1)


def _scale_and_translate(
    image: Float[Array, "H W 3"], augmentation: Augmentation, colour: Float[Array, "1 1 3"]
) -> Float[Array, "H W 3"]:
    height, width, _ = image.shape
    # Resampling puts zeros around the image: as a difference from the fill colour, zero is the fill colour.
    # Antialiasing costs nothing here (the weights are a dense matrix either way), does nothing when zooming in, and
    # when zooming out gives the averaged pixels that the resized images of the evaluation have.
    moved = jax.image.scale_and_translate(
        image - colour,
        image.shape,
        spatial_dims=(0, 1),
        scale=augmentation.scale,
        translation=augmentation.translation * jnp.array([height, width], jnp.float32),
        method="linear",
        antialias=True,
    )
    # Last rather than as a negative scale, for which the antialiasing filter is not defined; it is exact and XLA fuses
    # it with the sum.
    return jnp.where(augmentation.flip, moved[:, ::-1], moved) + colour


def _warp(
    image: Float[Array, "H W 3"], augmentation: Augmentation, angle: Float[Array, ""], colour: Float[Array, "1 1 3"]
) -> Float[Array, "H W 3"]:
    """Look up where each pixel comes from: the mirror, the rotation, the shift and the zoom, each undone in turn."""
    height, width, _ = image.shape
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")  # centres, in pixels
    x = jnp.where(augmentation.flip, width - x, x)
    y, x = _rotate(y, x, -angle, (height, width))
    y = (y - augmentation.translation[0] * height) / augmentation.scale[0]
    x = (x - augmentation.translation[1] * width) / augmentation.scale[1]
    inside = (y >= 0) & (y <= height) & (x >= 0) & (x <= width)
    look_up = jax.vmap(partial(map_coordinates, order=1, mode="nearest"), in_axes=(-1, None), out_axes=-1)
    return jnp.where(inside[..., None], look_up(image, [y - 0.5, x - 0.5]), colour)


def _rotated_hulls(
    boxes: Float[Array, "G 4"], angle: Float[Array, ""], image_size: tuple[int, int]
) -> Float[Array, "G 4"]:
    """The centre turns; what a turned height and width span along each axis adds up to the size of the hull."""
    pixels = jnp.tile(jnp.array(image_size, jnp.float32), 2)
    y, x, height, width = jnp.moveaxis(to_center_size(boxes * pixels[None, :]), -1, 0)
    y, x = _rotate(y, x, angle, image_size)
    cos, sin = jnp.abs(jnp.cos(angle)), jnp.abs(jnp.sin(angle))
    hulls = jnp.stack([y, x, cos * height + sin * width, sin * height + cos * width], axis=-1)
    return to_corners(hulls) / pixels[None, :]


def _rotate(
    y: Float[Array, "*points"], x: Float[Array, "*points"], angle: Float[Array, ""], image_size: tuple[int, int]
) -> tuple[Float[Array, "*points"], Float[Array, "*points"]]:
    """Points in pixels, about the image's centre, counter-clockwise: y points down."""
    height, width = image_size
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = y - height / 2, x - width / 2
    return cos * y - sin * x + height / 2, sin * y + cos * x + width / 2
