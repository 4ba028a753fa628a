"""Random zoom, shift, rotation, flip and lighting of an image and its boxes: pure functions of sampled parameters."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from jax.experimental import checkify
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Bool, Float, PRNGKeyArray, Real, Shaped

from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    as_arrays,
    as_floats,
    as_mask,
    check_setting,
    concrete,
    exportable,
    is_traced,
)
from jaxssd.ops.boxes import box_area, clip_boxes, to_center_size
from jaxssd.ops.rotation import rotate_points, rotated_boxes

_FAR_BELOW, _FAR_ABOVE = -0.5, 1.5  # no rounding or sharpening brings an image in [0, 1] there
_ROUNDING = 1e-5  # of the area of a turned box in view


@exportable
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
    flip: Number = 0.5,
    rotation: Number = 0.0,
    rotation_probability: Number = 0.5,
    scale: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (2 / 3, 3 / 2),
    aspect: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (4 / 5, 5 / 4),
    brightness: Number = 0.05,
    contrast: Number = 0.05,
) -> Augmentation:
    """Draw an augmentation; the same key always gives the same one. Settings may be traced.

    The shift has no range of its own. Along each axis it is uniform over all the places where a zoomed-in view stays
    inside the image, or a zoomed-out image inside the canvas: wider would only show more of the fill colour.

    Args:
        key: a key of `jax.random`.
        flip: probability of a left-right mirror.
        rotation: greatest angle either way, in degrees, uniform (the lesson's 3); at 0 `angle` is None, and the other
            fields do not depend on it. A traced one always gives an angle.
        rotation_probability: how often there is a rotation at all (the lesson's 0.5).
        scale: range of the zoom factor, log-uniform; below 1 the image shrinks, above 1 it is cropped.
        aspect: range of the factor by which height grows over width at equal area, log-uniform.
        brightness: greatest change of brightness up or down, uniform (the lesson's 0.05).
        contrast: greatest change of contrast up or down, uniform (the lesson's 0.05).

    Returns:
        `Augmentation` for one image; `vmap` over keys for a batch.

    Raises:
        TypeError: if `key` is not one key.
        ValueError: if a probability lies outside `[0, 1]`, `rotation` outside `[0, 180]`, a range is empty or not
            positive, or a lighting limit is negative, as far as they are known while tracing.

    Example:
        >>> sampled = sample_augmentation(random.key(0), scale=(1.0, 1.0), aspect=(1.0, 1.0))
        >>> sampled.scale, sampled.translation
        (Array([1., 1.], dtype=float32), Array([0., 0.], dtype=float32))
    """
    function = "sample_augmentation"
    for name, probability in {"flip": flip, "rotation_probability": rotation_probability}.items():
        check_setting(function, name, probability, lambda x: 0 <= x <= 1, "a probability in [0, 1]")
    check_setting(function, "rotation", rotation, lambda x: 0 <= x <= 180, "degrees in [0, 180]")
    for name, limit in {"brightness": brightness, "contrast": contrast}.items():
        check_setting(function, name, limit, lambda x: 0 <= x < math.inf, "0 or more")
    zooms, aspects = (_checked_range(function, name, limits) for name, limits in (("scale", scale), ("aspect", aspect)))
    known_rotation = concrete(rotation)
    flip_key, scale_key, aspect_key, shift_key, brightness_key, contrast_key = _split_key(function, key)
    zoom = _log_uniform(scale_key, zooms)
    stretch = jnp.sqrt(_log_uniform(aspect_key, aspects))
    axis_scale = jnp.stack([zoom * stretch, zoom / stretch])
    return Augmentation(
        flip=_happens(flip_key, flip),
        scale=axis_scale,
        translation=random.uniform(shift_key, (2,), jnp.float32) * (1 - axis_scale),
        brightness=_up_or_down(brightness_key, brightness),
        contrast=_up_or_down(contrast_key, contrast),
        # A key of its own, so that the other draws stay what they are without rotation.
        angle=None
        if known_rotation is not None and known_rotation == 0
        else _sample_angle(random.fold_in(key, 6), rotation, rotation_probability),
    )


def augment_image(
    image: Shaped[ArrayLike, "H W 3"] | Sequence[Any],
    augmentation: Augmentation,
    *,
    fill: Sequence[Number] | Real[ArrayLike, "3"] = (0.485, 0.456, 0.406),
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
        image: `[H, W, 3]` in `[0, 1]`, floats: pixels of a photograph divided by 255, not yet normalised.
        augmentation: as sampled, for this image.
        fill: colour around the image, in `[0, 1]`; the default is ImageNet's mean, which normalises to zero. May be
            traced.

    Returns:
        `[H, W, 3]`, in `[0, 1]` up to rounding.

    Raises:
        TypeError: if an argument is no array of numbers.
        ValueError: if a shape is wrong, the image holds integers or values far outside `[0, 1]`, a scale is not
            positive, or `fill` is not three values in `[0, 1]`. Of a traced image `jax.experimental.checkify` finds it,
            but on a mesh with Explicit axes.

    Example:
        >>> image = jnp.array([[[0.0] * 3, [1.0] * 3]])
        >>> mirror = identity_augmentation()._replace(flip=jnp.array(True))
        >>> augment_image(image, mirror)[0, :, 0].round(5)
        Array([1., 0.], dtype=float32)
    """
    (image,) = as_arrays("augment_image", image=(image, "H W 3"))
    _check_levels("augment_image", image)
    (colour,) = as_arrays("augment_image", fill=(fill, "3"))
    levels = concrete(fill)
    if levels is not None and not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"augment_image: `fill` is {fill}, expected three values in [0, 1]")
    image, augmentation = _with_arrays("augment_image", image, augmentation)
    colour = colour.astype(image.dtype)[None, None, :]
    lit = _light(image, augmentation)
    if augmentation.angle is None:
        return _scale_and_translate(lit, augmentation, colour)
    return _warp(lit, augmentation, augmentation.angle, colour)


def augment_boxes(
    boxes: Real[ArrayLike, "G 4"] | Sequence[Any],
    valid: Shaped[ArrayLike, "G"] | Sequence[Any],
    augmentation: Augmentation,
    *,
    min_visible: Number = 0.3,
    image_size: Sequence[Any] | Real[ArrayLike, "2"] | None = None,
) -> tuple[Float[Array, "G 4"], Bool[Array, "G"]]:
    """Move boxes with their image, and drop those of which too little is left in view.

    A box that crosses the edge, before or after, is clipped and kept; only the share of its area in view decides.

    A rotated box is clipped as it is turned, and becomes the upright hull of what is left of it. That holds the object,
    but is larger than the box around it would be, and the more so the larger the angle: at 45 degrees a square's hull
    has twice its area. The lesson warns of it, and rotates by 3 degrees at most.

    Args:
        boxes: corners `[G, 4]`; invalid rows may hold anything, NaN included.
        valid: `[G]`, the rows that hold a box; bool, or not zero for True.
        augmentation: the one given to `augment_image`.
        min_visible: smallest share of the moved box's area that must lie in the image, in `[0, 1]`. May be traced.
        image_size: height and width of the image, `image.shape[:2]`; only a rotation needs it.

    Returns:
        `(boxes[G, 4], valid[G])`: valid boxes lie in `[0, 1]` and have an area; all other rows are zero, those of a
        box with a NaN coordinate among them.

    Raises:
        TypeError: if an argument is no array of numbers.
        ValueError: if shapes disagree, `min_visible` lies outside `[0, 1]`, a scale is not positive, or `image_size` is
            missing or not positive where the augmentation has an angle.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 0.5, 0.5], [0.4, 0.4, 0.8, 0.8]])
        >>> to_the_left = identity_augmentation()._replace(translation=jnp.array([0.0, -0.5]))
        >>> augment_boxes(boxes, jnp.array([True, True]), to_the_left)[0].round(3)
        Array([[0. , 0. , 0. , 0. ],
               [0.4, 0. , 0.8, 0.3]], dtype=float32)
    """
    boxes, valid = as_arrays("augment_boxes", boxes=(boxes, "G 4"), valid=(valid, "G"))
    check_setting("augment_boxes", "min_visible", min_visible, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    valid = as_mask(valid)
    # Masked first: what the other rows hold, NaN for example, reaches no arithmetic.
    boxes, augmentation = _with_arrays("augment_boxes", jnp.where(valid[:, None], boxes, 0), augmentation)
    moved = boxes * jnp.tile(augmentation.scale, 2)[None, :] + jnp.tile(augmentation.translation, 2)[None, :]
    if augmentation.angle is None:
        moved = _mirror(moved, augmentation.flip)
        clipped, area = clip_boxes(moved), box_area(moved)
        visible = box_area(clipped)
    else:
        pixels = _checked_size("augment_boxes", image_size, boxes.dtype)
        scale = jnp.tile(pixels, 2)[None, :]
        hulls, visible = rotated_boxes(to_center_size(moved * scale), augmentation.angle, pixels)
        clipped, area = _mirror(hulls / scale, augmentation.flip), box_area(moved)
        visible = visible * (1 + _ROUNDING) / pixels.prod()
    in_view = (visible > 0) & (box_area(clipped) > 0) & (visible >= jnp.asarray(min_visible, area.dtype) * area)
    kept = valid & (box_area(boxes) > 0) & in_view
    return jnp.where(kept[:, None], clipped, 0), kept


def _split_key(function: str, key: Any) -> Array:
    try:
        return random.split(key, 6)
    except (TypeError, ValueError) as error:
        found = f"has shape {key.shape}" if isinstance(key, jax.Array) else f"is a {type(key).__name__}"
        expected = "one key, such as jax.random.key(0); vmap over several"
        raise TypeError(f"{function}: `key` {found}, expected {expected}") from error


def _mirror(boxes: Float[Array, "G 4"], flip: Bool[Array, ""]) -> Float[Array, "G 4"]:
    y1, x1, y2, x2 = jnp.moveaxis(boxes, -1, 0)
    return jnp.where(flip, jnp.stack([y1, 1 - x2, y2, 1 - x1], axis=-1), boxes)


def _log_uniform(key: PRNGKeyArray, limits: Sequence[Number]) -> Float[Array, ""]:
    low, high = (
        jnp.log(jnp.asarray(limit, jnp.float32)) if (known := concrete(limit)) is None else math.log(known)
        for limit in limits
    )
    return jnp.exp(random.uniform(key, (), jnp.float32, low, high))


def _up_or_down(key: PRNGKeyArray, limit: Number) -> Float[Array, ""]:
    return random.uniform(key, (), jnp.float32, -limit, limit)


def _happens(key: PRNGKeyArray, probability: Number) -> Bool[Array, ""]:
    return random.bernoulli(key, jnp.asarray(probability, jnp.float32))


def _sample_angle(key: PRNGKeyArray, rotation: Number, probability: Number) -> Float[Array, ""]:
    angle_key, rotated_key = random.split(key)
    return jnp.where(
        _happens(rotated_key, probability),
        _up_or_down(angle_key, jnp.asarray(rotation, jnp.float32) * (math.pi / 180)),
        0,
    )


def _checked_range(function: str, name: str, limits: Any) -> Sequence[Number]:
    """Two numbers, or tracers of them."""
    as_arrays(function, **{name: (limits, "2")})
    low, high = limits
    known_low, known_high = concrete(low), concrete(high)
    in_order = known_low is None or known_high is None or known_low <= known_high
    positive = all(known is None or 0 < known < math.inf for known in (known_low, known_high))
    if not (in_order and positive):
        raise ValueError(f"{function}: `{name}` is {(low, high)}, expected 0 < low <= high")
    return low, high


def _checked_size(function: str, image_size: Any, dtype: Any) -> Float[Array, "2"]:
    """Height and width as an array; in `jax.export` they may be symbols."""
    sides = tuple(image_size) if np.ndim(image_size) == 1 else ()  # type: ignore[arg-type]
    if len(sides) != 2 or not all(isinstance(side, jax.core.Tracer) or side > 0 for side in sides):
        raise ValueError(f"{function}: `image_size` is {image_size}, expected (height, width) for the rotation")
    return jnp.stack([jnp.asarray(side).astype(dtype) for side in sides])


def _check_levels(function: str, image: Array) -> None:
    """Pixels from 0 to 255 would all become white, and normalised ones would be cut off at 0 and 1."""
    found = f"{function}: `image` has "
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"{found}dtype {image.dtype}, expected floats in [0, 1]: image.astype(jnp.float32) / 255")
    if image.size == 0:
        return
    least, most = image.min(), image.max()
    expected = "expected values in [0, 1]: divide pixels by 255, and normalise after the augmentation"
    if is_traced(image):  # to look at its values would copy them to the host
        # The check of a batch would sort along the batch, which a mesh with Explicit axes refuses.
        if jax.sharding.AxisType.Explicit not in jax.typeof(most).sharding.mesh.axis_types:
            near = ~((least < _FAR_BELOW) | (most > _FAR_ABOVE))
            checkify.debug_check(near, found + "values from {least} to {most}, " + expected, least=least, most=most)
    elif least < _FAR_BELOW or most > _FAR_ABOVE:
        raise ValueError(f"{found}values from {least:g} to {most:g}, {expected}")


def _with_arrays(function: str, array: Array, augmentation: Augmentation) -> tuple[Array, Augmentation]:
    """An array and the fields in one float dtype, the flip as bool.

    A batched `Augmentation` would broadcast against one image: the shapes of its fields name the missing `vmap`.
    """
    if not isinstance(augmentation, Augmentation):
        found = type(augmentation).__name__
        raise TypeError(f"{function}: `augmentation` is a {found}, expected an `Augmentation`")
    forms = {"flip": "", "scale": "2", "translation": "2", "brightness": "", "contrast": "", "angle": ""}
    fields = {name: value for name, value in augmentation._asdict().items() if value is not None}
    flip, *others = as_arrays(function, **{name: (value, forms[name]) for name, value in fields.items()})
    scale = concrete(others[0])
    if scale is not None and not (scale > 0).all():
        raise ValueError(f"{function}: `scale` is {scale.tolist()}, expected positive factors")
    array, *others = as_floats(array, *others)
    return array, Augmentation(as_mask(flip), *others)


def _light(image: Float[Array, "H W 3"], augmentation: Augmentation) -> Float[Array, "H W 3"]:
    contrast = augmentation.contrast
    factor = jnp.where(contrast >= 0, 1 + contrast, 1 / (1 + jnp.abs(contrast)))
    mean = image.mean()
    return jnp.clip((image - mean) * factor + mean + augmentation.brightness, 0, 1)


def _scale_and_translate(
    image: Float[Array, "H W 3"], augmentation: Augmentation, colour: Float[Array, "1 1 3"]
) -> Float[Array, "H W 3"]:
    # Resampling puts zeros around the image: as a difference from the fill colour, zero is the fill colour.
    # Antialiasing costs nothing here (the weights are a dense matrix either way), does nothing when zooming in, and
    # when zooming out gives the averaged pixels that the resized images of the evaluation have.
    moved = jax.image.scale_and_translate(
        image - colour,
        image.shape,
        spatial_dims=(0, 1),
        scale=augmentation.scale,
        translation=augmentation.translation * _size_of(image),
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
    height, width = _size_of(image)
    rows, columns = (jnp.arange(side, dtype=image.dtype) + 0.5 for side in image.shape[:2])  # centres, in pixels
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    x = jnp.where(augmentation.flip, width - x, x)
    y, x = rotate_points(y, x, -angle, _size_of(image))
    y = (y - augmentation.translation[0] * height) / augmentation.scale[0]
    x = (x - augmentation.translation[1] * width) / augmentation.scale[1]
    inside = (y >= 0) & (y <= height) & (x >= 0) & (x <= width)
    look_up = jax.vmap(partial(map_coordinates, order=1, mode="nearest"), in_axes=(-1, None), out_axes=-1)
    return jnp.where(inside[..., None], look_up(image, [y - 0.5, x - 0.5]), colour)


def _size_of(image: Float[Array, "H W 3"]) -> Float[Array, "2"]:
    """Height and width in pixels, of the image's dtype; in `jax.export` they may be symbols."""
    return jnp.stack([jnp.asarray(side).astype(image.dtype) for side in image.shape[:2]])
