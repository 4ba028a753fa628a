"""Lighting and resampling of an image by the parameters of its augmentation."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Bool, Float

from jaxssd.ops.rotation import rotate_points
from jaxssd.ops.sampling import Augmentation


def light(image: Float[Array, "H W 3"], augmentation: Augmentation) -> Float[Array, "H W 3"]:
    """Change contrast and brightness as the lesson does."""
    if augmentation.brightness is None and augmentation.contrast is None:
        return image
    brightness, contrast = (0 if x is None else x for x in (augmentation.brightness, augmentation.contrast))
    factor = jnp.where(contrast >= 0, 1 + contrast, 1 / (1 + jnp.abs(contrast)))
    mean = image.mean()
    return jnp.clip((image - mean) * factor + mean + brightness, 0, 1)


def scale_and_translate(
    image: Float[Array, "H W 3"], augmentation: Augmentation, colour: Float[Array, "1 1 3"], shape: tuple[Any, Any]
) -> Float[Array, "height width 3"]:
    """Zoom, shift and mirror, with antialiasing."""
    # Resampling puts zeros around the image, which are the fill colour in a difference from it. Antialiasing costs
    # nothing (the weights are a dense matrix either way), does nothing when zooming in, and when zooming out averages
    # pixels as the resized images of the evaluation do.
    size, scale = as_array(shape, image.dtype), augmentation.scale
    if shape != image.shape[:2]:  # a factor of 1 would change the last bit
        scale = scale * (size / as_array(image.shape[:2], image.dtype))
    moved = jax.image.scale_and_translate(
        image - colour,
        (*shape, 3),
        spatial_dims=(0, 1),
        scale=scale,
        translation=augmentation.translation * size,
        method="linear",
        antialias=True,
    )
    # The mirror comes last: as a negative scale it would have no antialiasing filter. It is exact, and XLA fuses it.
    moved = jnp.where(augmentation.flip, moved[:, ::-1], moved)
    if augmentation.vertical_flip is not None:
        moved = jnp.where(augmentation.vertical_flip, moved[::-1], moved)
    if augmentation.color is None:
        return moved + colour
    # After the mirror, which would compute the colours of both images.
    inside = _inside(augmentation, shape, image.dtype)
    return jnp.where(inside, _distort(moved + colour, image, augmentation), colour)


def warp(
    image: Float[Array, "H W 3"],
    augmentation: Augmentation,
    angle: Float[Array, ""],
    colour: Float[Array, "1 1 3"],
    shape: tuple[Any, Any],
) -> Float[Array, "height width 3"]:
    """Sample each pixel at its source: mirrors, rotation, shift and zoom undone in turn."""
    size, stored = as_array(shape, image.dtype), as_array(image.shape[:2], image.dtype)
    rows, columns = (jnp.arange(side, dtype=image.dtype) + 0.5 for side in shape)  # centres, in pixels
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    x = jnp.where(augmentation.flip, size[1] - x, x)
    if augmentation.vertical_flip is not None:
        y = jnp.where(augmentation.vertical_flip, size[0] - y, y)
    y, x = rotate_points(y, x, -angle, size)
    y = (y - augmentation.translation[0] * size[0]) / augmentation.scale[0] * (stored[0] / size[0])
    x = (x - augmentation.translation[1] * size[1]) / augmentation.scale[1] * (stored[1] / size[1])
    inside = (y >= 0) & (y <= stored[0]) & (x >= 0) & (x <= stored[1])
    look_up = jax.vmap(partial(map_coordinates, order=1, mode="nearest"), in_axes=(-1, None), out_axes=-1)
    picture = look_up(image, [y - 0.5, x - 0.5])
    return jnp.where(inside[..., None], _distort(picture, image, augmentation), colour)


def _distort(
    picture: Float[Array, "height width 3"], image: Float[Array, "H W 3"], augmentation: Augmentation
) -> Float[Array, "height width 3"]:
    """Distort the colours of a resampled picture, with the contrast about the mean of the whole image."""
    if augmentation.color is None:
        return picture
    from jaxssd.ops.color import distort_colors  # few runs distort colours

    return distort_colors(picture, augmentation.color, mean=jnp.clip(image.mean(), 0, 1))


def _inside(augmentation: Augmentation, shape: tuple[Any, Any], dtype: Any) -> Bool[Array, "height width 1"]:
    """True for pixels whose centre comes from inside the image."""
    rows, columns = (
        ((jnp.arange(side, dtype=dtype) + 0.5) / jnp.asarray(side).astype(dtype) - shift) / scale
        for side, shift, scale in zip(shape, augmentation.translation, augmentation.scale, strict=True)
    )
    rows, columns = ((source >= 0) & (source <= 1) for source in (rows, columns))
    columns = jnp.where(augmentation.flip, columns[::-1], columns)
    if augmentation.vertical_flip is not None:
        rows = jnp.where(augmentation.vertical_flip, rows[::-1], rows)
    return (rows[:, None] & columns[None, :])[..., None]


def as_array(size: Sequence[Any], dtype: Any) -> Float[Array, "2"]:
    """Height and width in pixels as an array; symbolic sizes of `jax.export` are allowed."""
    return jnp.stack([jnp.asarray(side).astype(dtype) for side in size])
