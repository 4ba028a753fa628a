"""Augmentation of an image and its boxes: zoom, shift, rotation, flip and lighting by sampled parameters."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import checkify
from jaxtyping import Bool, Float, Real, Shaped

from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    as_arrays,
    as_floats,
    as_mask,
    check_setting,
    concrete,
    is_traced,
)
from jaxssd.ops.boxes import box_area, clip_boxes, to_center_size
from jaxssd.ops.resampling import as_array, light, scale_and_translate, warp
from jaxssd.ops.rotation import rotate_points, rotated_boxes
from jaxssd.ops.sampling import Augmentation

_FAR_BELOW, _FAR_ABOVE = -0.5, 1.5  # beyond what rounding or sharpening makes of an image in [0, 1]
_ROUNDING = 1e-5  # relative rounding of the area of a rotated box in view


def augment_image(
    image: Shaped[ArrayLike, "H W 3"] | Sequence[Any],
    augmentation: Augmentation,
    *,
    fill: Sequence[Number] | Real[ArrayLike, "3"] = (0.485, 0.456, 0.406),
    size: Sequence[Any] | None = None,
) -> Float[Array, "height width 3"]:
    """Light, zoom, shift, rotate and mirror one image, in a single resampling.

    Lighting is the lesson's: contrast about the mean of all pixels and channels, then brightness. It changes only the
    picture; the canvas around it keeps the colour `fill`. An output pixel is picture if its centre comes from inside
    the image, and fill otherwise; the two are never blended. A photometric distortion comes after the resampling.

    Without an angle the resampling is two small matrix products, with antialiasing. With an angle, even 0, each pixel
    is interpolated between the four nearest to its source. Both agree at angle 0 unless the image shrinks, where only
    the first averages pixels.

    The lesson rotates photographs before they are resized to squares, the trainer rotates the squares. At the lesson's
    3 degrees the difference is at most 1.1 % of a side for a 4:3 photograph.

    Args:
        image: `[H, W, 3]` floats in `[0, 1]`: pixels of a photograph divided by 255, not yet normalised.
        augmentation: parameters for this image, from `sample_augmentation`.
        fill: colour around the image, in `[0, 1]`; the default is ImageNet's mean, which normalises to zero. May be
            traced.
        size: height and width of the result in pixels; default, those of the image. An image with more pixels than
            the result keeps its detail where the augmentation zooms in.

    Returns:
        `[height, width, 3]`, in `[0, 1]` up to rounding.

    Raises:
        TypeError: if an argument is not an array of numbers.
        ValueError: if a shape is wrong, the image holds integers or values far outside `[0, 1]`, a scale is not
            positive, `fill` is not three values in `[0, 1]`, or `size` is not two positive numbers. The values of a
            traced image are checked by `jax.experimental.checkify`, not on a mesh with Explicit axes.

    Example:
        >>> from jaxssd.ops.sampling import identity_augmentation
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
    height, width, _ = image.shape
    shape = (height, width) if size is None else _checked_size("augment_image", "size", size)
    lit = light(image, augmentation)
    if augmentation.angle is None:
        return scale_and_translate(lit, augmentation, colour, shape)
    return warp(lit, augmentation, augmentation.angle, colour, shape)


def augment_boxes(
    boxes: Real[ArrayLike, "G 4"] | Sequence[Any],
    valid: Shaped[ArrayLike, "G"] | Sequence[Any],
    augmentation: Augmentation,
    *,
    min_visible: Number = 0.3,
    center_in_view: bool = False,
    image_size: Sequence[Any] | Real[ArrayLike, "2"] | None = None,
) -> tuple[Float[Array, "G 4"], Bool[Array, "G"]]:
    """Move boxes with their image, and drop those with too little of their area left in view.

    A box that crosses the edge, before or after, is clipped, and kept if enough of its area is in view.

    A rotated box is clipped to the image and becomes the bounding box of the rest. That contains the object, but is
    larger than a box drawn around it. The difference grows with the angle: at 45 degrees the box of a square has twice
    its area. For that reason the lesson rotates by at most 3 degrees.

    Args:
        boxes: corners `[G, 4]`; invalid rows may hold anything, NaN included.
        valid: `[G]` mask of the rows that hold a box, bool or nonzero for True.
        augmentation: parameters given to `augment_image`.
        min_visible: smallest share of a moved box's area that must lie in the image, in `[0, 1]`; may be traced.
        center_in_view: if True, the centre of a moved box must lie in the image as well, as in SSD.
        image_size: height and width of the image, `image.shape[:2]`; needed for a rotation.

    Returns:
        `(boxes[G, 4], valid[G])`: valid boxes lie in `[0, 1]` and have an area; all other rows are zero. A box with a
        NaN coordinate becomes invalid.

    Raises:
        TypeError: if an argument is not an array of numbers.
        ValueError: if shapes disagree, `min_visible` lies outside `[0, 1]`, a scale is not positive, or `image_size` is
            missing or not positive where the augmentation has an angle.

    Example:
        >>> from jaxssd.ops.sampling import identity_augmentation
        >>> boxes = jnp.array([[0.0, 0.0, 0.5, 0.5], [0.4, 0.4, 0.8, 0.8]])
        >>> to_the_left = identity_augmentation()._replace(translation=jnp.array([0.0, -0.5]))
        >>> augment_boxes(boxes, jnp.array([True, True]), to_the_left)[0].round(3)
        Array([[0. , 0. , 0. , 0. ],
               [0.4, 0. , 0.8, 0.3]], dtype=float32)
    """
    boxes, valid = as_arrays("augment_boxes", boxes=(boxes, "G 4"), valid=(valid, "G"))
    check_setting("augment_boxes", "min_visible", min_visible, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    valid = as_mask(valid)
    # Masked first: other rows, NaN for example, reach no arithmetic.
    boxes, augmentation = _with_arrays("augment_boxes", jnp.where(valid[:, None], boxes, 0), augmentation)
    moved = boxes * jnp.tile(augmentation.scale, 2)[None, :] + jnp.tile(augmentation.translation, 2)[None, :]
    if augmentation.angle is None:
        moved = _mirror(moved, augmentation)
        clipped, area = clip_boxes(moved), box_area(moved)
        visible = box_area(clipped)
    else:
        pixels = as_array(_checked_size("augment_boxes", "image_size", image_size), boxes.dtype)
        scale = jnp.tile(pixels, 2)[None, :]
        hulls, visible = rotated_boxes(to_center_size(moved * scale), augmentation.angle, pixels)
        clipped, area = _mirror(hulls / scale, augmentation), box_area(moved)
        visible = visible * (1 + _ROUNDING) / pixels.prod()
    in_view = (visible > 0) & (box_area(clipped) > 0) & (visible >= jnp.asarray(min_visible, area.dtype) * area)
    kept = valid & (box_area(boxes) > 0) & in_view
    if center_in_view:
        kept &= _center_in_view(moved, augmentation.angle, image_size)
    return jnp.where(kept[:, None], clipped, 0), kept


def _mirror(boxes: Float[Array, "G 4"], augmentation: Augmentation) -> Float[Array, "G 4"]:
    y1, x1, y2, x2 = jnp.moveaxis(boxes, -1, 0)
    boxes = jnp.where(augmentation.flip, jnp.stack([y1, 1 - x2, y2, 1 - x1], axis=-1), boxes)
    if augmentation.vertical_flip is None:
        return boxes
    y1, x1, y2, x2 = jnp.moveaxis(boxes, -1, 0)
    return jnp.where(augmentation.vertical_flip, jnp.stack([1 - y2, x1, 1 - y1, x2], axis=-1), boxes)


def _center_in_view(
    moved: Float[Array, "G 4"], angle: Float[Array, ""] | None, image_size: Sequence[Any] | None
) -> Bool[Array, "G"]:
    """True for boxes whose centre lies in the image after the rotation; a mirror does not change that."""
    y, x, _, _ = jnp.moveaxis(to_center_size(moved), -1, 0)
    if angle is not None:
        pixels = as_array(_checked_size("augment_boxes", "image_size", image_size), moved.dtype)
        y, x = rotate_points(y * pixels[0], x * pixels[1], angle, pixels)
        y, x = y / pixels[0], x / pixels[1]
    return (y >= 0) & (y <= 1) & (x >= 0) & (x <= 1)


def _checked_size(function: str, name: str, size: Any) -> tuple[Any, Any]:
    """Height and width; symbolic sizes of `jax.export` are allowed."""
    sides = tuple(size) if np.ndim(size) == 1 else ()
    if len(sides) != 2 or not all(isinstance(side, jax.core.Tracer) or side > 0 for side in sides):
        raise ValueError(f"{function}: `{name}` is {size}, expected (height, width) in pixels")
    return sides[0], sides[1]


def _check_levels(function: str, image: Array) -> None:
    """Check that pixels lie in [0, 1]: those up to 255 would become white, and normalised ones would be cut off."""
    found = f"{function}: `image` has "
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"{found}dtype {image.dtype}, expected floats in [0, 1]: image.astype(jnp.float32) / 255")
    if image.size == 0:
        return
    lowest, highest = image.min(), image.max()
    expected = "expected values in [0, 1]: divide pixels by 255, and normalise after the augmentation"
    if is_traced(image):  # a look at its values would copy them to the host
        # `checkify` of a batch would sort along the batch, which a mesh with Explicit axes refuses.
        if jax.sharding.AxisType.Explicit not in jax.typeof(highest).sharding.mesh.axis_types:
            near = ~((lowest < _FAR_BELOW) | (highest > _FAR_ABOVE))
            message = found + "values from {lowest} to {highest}, " + expected
            checkify.debug_check(near, message, lowest=lowest, highest=highest)
    elif lowest < _FAR_BELOW or highest > _FAR_ABOVE:
        raise ValueError(f"{found}values from {lowest:g} to {highest:g}, {expected}")


def _with_arrays(function: str, array: Array, augmentation: Augmentation) -> tuple[Array, Augmentation]:
    """Array and fields in one float dtype, flips as bool; a batched field, which would broadcast, is an error."""
    if not isinstance(augmentation, Augmentation):
        found = type(augmentation).__name__
        raise TypeError(f"{function}: `augmentation` is a {found}, expected an `Augmentation`")
    fields = {name: value for name, value in augmentation._asdict().items() if value is not None and name != "color"}
    forms = {name: (value, "2" if name in ("scale", "translation") else "") for name, value in fields.items()}
    arrays = dict(zip(fields, as_arrays(function, **forms), strict=True))
    flips = {name: as_mask(arrays.pop(name)) for name in ("flip", "vertical_flip") if name in arrays}
    scale = concrete(arrays["scale"])
    if scale is not None and not (scale > 0).all():
        raise ValueError(f"{function}: `scale` is {scale.tolist()}, expected positive factors")
    array, *floats = as_floats(array, *arrays.values())
    fields |= flips | dict(zip(arrays, floats, strict=True))
    return array, Augmentation(**fields, color=augmentation.color)
