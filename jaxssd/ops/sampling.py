"""Random parameters of an augmentation: zoom, shift, rotation, flip and lighting of one image."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random
from jaxtyping import Bool, Float, PRNGKeyArray, Real

from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, check_setting, concrete, exportable

if TYPE_CHECKING:
    from jaxssd.ops.color import ColorDistortion


@exportable
class Augmentation(NamedTuple):
    """Parameters of one image's augmentation: `point * scale + translation`, rotation, mirror; and the lighting.

    Attributes:
        flip: True to mirror left and right, last.
        scale: factors of (y, x), positive; above 1 zooms in. Coordinates are continuous, and the image spans `[0, 1]`.
        translation: shift of (y, x) in the same units.
        brightness: value added to the pixels; None changes nothing.
        contrast: change c of the distance of pixels from their mean, by the factor 1 + c, or 1 / (1 - c) below 0; None
            changes nothing.
        angle: angle in radians about the image's centre, counter-clockwise on the screen; pi / 2 is `jnp.rot90`. It
            rotates pixels, not normalised coordinates: squares stay squares in an image that is not square. None means
            no rotation; its resampling is better than that of a rotation by 0.
        vertical_flip: True to mirror top and bottom, last; None never does.
        color: photometric distortion of the picture, but not of the canvas around it; None changes nothing.
    """

    flip: Bool[Array, ""]
    scale: Float[Array, "2"]
    translation: Float[Array, "2"]
    brightness: Float[Array, ""] | None = None
    contrast: Float[Array, ""] | None = None
    angle: Float[Array, ""] | None = None
    vertical_flip: Bool[Array, ""] | None = None
    color: "ColorDistortion | None" = None


def identity_augmentation() -> Augmentation:
    """Augmentation that changes nothing.

    Returns:
        `Augmentation`; `_replace` sets single fields.

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
    vertical_flip: Number = 0.0,
) -> Augmentation:
    """Random parameters of an augmentation; equal keys give equal ones. Settings may be traced.

    The shift has no argument. Along each axis it is uniform over all positions where a zoomed-in view stays inside the
    image, or a zoomed-out image inside the canvas.

    Args:
        key: key of `jax.random`.
        flip: probability of a left-right mirror.
        rotation: largest angle either way in degrees, uniform (3 in the lesson). At 0 `angle` is None; a traced value
            always gives an angle. The other fields do not depend on it.
        rotation_probability: probability of a rotation (0.5 in the lesson).
        scale: range of the zoom factor, log-uniform; below 1 the image shrinks, above 1 it is cropped.
        aspect: range of the factor of height over width at equal area, log-uniform.
        brightness: largest change of brightness up or down, uniform (0.05 in the lesson).
        contrast: largest change of contrast up or down, uniform (0.05 in the lesson).
        vertical_flip: probability of a top-bottom mirror, as in pictures from above; at 0 the field is None.

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
    chances = {"flip": flip, "rotation_probability": rotation_probability, "vertical_flip": vertical_flip}
    for name, probability in chances.items():
        check_setting(function, name, probability, lambda x: 0 <= x <= 1, "a probability in [0, 1]")
    check_setting(function, "rotation", rotation, lambda x: 0 <= x <= 180, "degrees in [0, 180]")
    for name, limit in {"brightness": brightness, "contrast": contrast}.items():
        check_setting(function, name, limit, lambda x: 0 <= x < math.inf, "0 or more")
    zooms, aspects = (checked_range(function, name, limits) for name, limits in (("scale", scale), ("aspect", aspect)))
    known_rotation = concrete(rotation)
    flip_key, scale_key, aspect_key, shift_key, brightness_key, contrast_key = split_key(function, key)
    zoom = _log_uniform(scale_key, zooms)
    stretch = jnp.sqrt(_log_uniform(aspect_key, aspects))
    axis_scale = jnp.stack([zoom * stretch, zoom / stretch])
    return Augmentation(
        flip=happens(flip_key, flip),
        scale=axis_scale,
        translation=random.uniform(shift_key, (2,), jnp.float32) * (1 - axis_scale),
        brightness=up_or_down(brightness_key, brightness),
        contrast=up_or_down(contrast_key, contrast),
        # A key of its own, so that the other draws are the same without rotation.
        angle=None
        if known_rotation is not None and known_rotation == 0
        else _sample_angle(random.fold_in(key, 6), rotation, rotation_probability),
        vertical_flip=None if is_never(vertical_flip) else happens(random.fold_in(key, 7), vertical_flip),
    )


def split_key(function: str, key: Any) -> Array:
    """Six keys of one; TypeError that names the function for anything else."""
    try:
        return random.split(key, 6)
    except (TypeError, ValueError) as error:
        found = f"has shape {key.shape}" if isinstance(key, jax.Array) else f"is a {type(key).__name__}"
        expected = "one key, such as jax.random.key(0); vmap over several"
        raise TypeError(f"{function}: `key` {found}, expected {expected}") from error


def between(limits: Sequence[Number], drawn: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform numbers between two limits, which may be traced, from those drawn in [0, 1)."""
    low, high = (jnp.asarray(limit, jnp.float32) for limit in limits)
    return low + drawn * (high - low)


def _log_uniform(key: PRNGKeyArray, limits: Sequence[Number]) -> Float[Array, ""]:
    low, high = (
        jnp.log(jnp.asarray(limit, jnp.float32)) if (known := concrete(limit)) is None else math.log(known)
        for limit in limits
    )
    return jnp.exp(random.uniform(key, (), jnp.float32, low, high))


def up_or_down(key: PRNGKeyArray, limit: Number) -> Float[Array, ""]:
    """Uniform number from -limit to limit."""
    return random.uniform(key, (), jnp.float32, -limit, limit)


def is_never(probability: Number) -> bool:
    """True if a probability is known to be 0."""
    known = concrete(probability)
    return known is not None and bool(known == 0)


def happens(key: PRNGKeyArray, probability: Number) -> Bool[Array, ""]:
    """True with this probability."""
    return random.bernoulli(key, jnp.asarray(probability, jnp.float32))


def _sample_angle(key: PRNGKeyArray, rotation: Number, probability: Number) -> Float[Array, ""]:
    angle_key, rotated_key = random.split(key)
    return jnp.where(
        happens(rotated_key, probability),
        up_or_down(angle_key, jnp.asarray(rotation, jnp.float32) * (math.pi / 180)),
        0,
    )


def checked_range(function: str, name: str, limits: Any) -> Sequence[Number]:
    """Limits of a range, two numbers or tracers of them."""
    as_arrays(function, **{name: (limits, "2")})
    low, high = limits
    known_low, known_high = concrete(low), concrete(high)
    in_order = known_low is None or known_high is None or known_low <= known_high
    positive = all(known is None or 0 < known < math.inf for known in (known_low, known_high))
    if not (in_order and positive):
        raise ValueError(f"{function}: `{name}` is {(low, high)}, expected 0 < low <= high")
    return low, high
