"""Photometric distortion of an image as SSD's authors do it: brightness, contrast, saturation, hue, channel order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, random
from jaxtyping import Bool, Float, Int, PRNGKeyArray, Real, Shaped

from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_floats, as_mask, check_setting, exportable
from jaxssd.ops.sampling import between, checked_range, is_never, split_key


@exportable
class ColorDistortion(NamedTuple):
    """Parameters of one image's photometric distortion, in their order.

    Attributes:
        brightness: value added to all pixels.
        contrast: factor of the distance of pixels from the image's mean.
        saturation: factor of the saturation (HSV); a colour is saturated at most.
        hue: rotation of the hue in degrees (HSV).
        contrast_last: True to change the contrast after saturation and hue, False to change it before.
        order: channels in their new order, such as (2, 1, 0); None leaves them.
    """

    brightness: Float[Array, ""]
    contrast: Float[Array, ""]
    saturation: Float[Array, ""]
    hue: Float[Array, ""]
    contrast_last: Bool[Array, ""]
    order: Int[Array, "3"] | None = None


def sample_color_distortion(
    key: PRNGKeyArray,
    *,
    probability: Number = 0.5,
    brightness: Number = 32 / 255,
    contrast: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (0.5, 1.5),
    saturation: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (0.5, 1.5),
    hue: Number = 18.0,
    channel_order: Number = 0.0,
) -> ColorDistortion:
    """Random parameters of SSD's photometric distortion. Settings may be traced.

    Args:
        key: key of `jax.random`.
        probability: probability of each change: brightness, contrast, saturation and hue, drawn separately.
        brightness: largest change of brightness up or down, uniform.
        contrast: range of the contrast factor, uniform.
        saturation: range of the saturation factor, uniform.
        hue: largest rotation of the hue either way in degrees, uniform.
        channel_order: probability of a random order of the channels; at 0 `order` is None.

    Returns:
        `ColorDistortion` for one image; `vmap` over keys for a batch.

    Raises:
        TypeError: if `key` is not one key.
        ValueError: if a probability lies outside `[0, 1]`, `hue` outside `[0, 180]`, a range is empty or not positive,
            or `brightness` is negative, as far as they are known while tracing.

    Source:
        arXiv:1512.02325, section 2.2, and the distortion of the authors' Caffe code: each change with probability 0.5,
        the contrast before or after the colours at even odds, no change of the channel order for SSD300. That code
        turns the hue by 18 units of OpenCV's 8-bit hue, which are 36 degrees; 18 degrees is torchvision's limit. As in
        torchvision, the contrast is about the mean: Caffe's factor of the pixels turns bright pictures white.

    Example:
        >>> distortion = sample_color_distortion(random.key(0), probability=0.0)
        >>> distortion.contrast, distortion.hue
        (Array(1., dtype=float32), Array(0., dtype=float32))
    """
    function = "sample_color_distortion"
    for name, value in {"probability": probability, "channel_order": channel_order}.items():
        check_setting(function, name, value, lambda x: 0 <= x <= 1, "a probability in [0, 1]")
    check_setting(function, "brightness", brightness, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    check_setting(function, "hue", hue, lambda x: 0 <= x <= 180, "degrees in [0, 180]")
    factors = [checked_range(function, *one) for one in (("contrast", contrast), ("saturation", saturation))]
    key, *_ = split_key(function, key)
    drawn = random.uniform(key, (13,), jnp.float32)  # at once: each call is compiled by itself
    shuffled = jnp.argsort(drawn[10:])
    changed = drawn[:4] < jnp.asarray(probability, jnp.float32)
    return ColorDistortion(
        brightness=jnp.where(changed[0], between((-brightness, brightness), drawn[4]), 0),
        contrast=jnp.where(changed[1], between(factors[0], drawn[5]), 1),
        saturation=jnp.where(changed[2], between(factors[1], drawn[6]), 1),
        hue=jnp.where(changed[3], between((-hue, hue), drawn[7]), 0),
        contrast_last=drawn[8] < 0.5,
        order=None
        if is_never(channel_order)
        else jnp.where(drawn[9] < jnp.asarray(channel_order, jnp.float32), shuffled, jnp.arange(3)).astype(jnp.int32),
    )


def distort_colors(
    image: Shaped[ArrayLike, "H W 3"] | Sequence[Any], distortion: ColorDistortion, *, mean: Number | None = None
) -> Float[Array, "H W 3"]:
    """Change brightness, contrast, saturation, hue and the order of the channels; cut off at 0 and 1 after each.

    Args:
        image: `[H, W, 3]`, red, green and blue in `[0, 1]`.
        distortion: parameters for this image, from `sample_color_distortion`.
        mean: mean of the pixels, about which the contrast changes; default, the mean of this image, which may be a part
            of a photograph. May be traced.

    Returns:
        `[H, W, 3]` in `[0, 1]`.

    Raises:
        TypeError: if an argument is not an array of numbers.
        ValueError: if a shape is wrong or `mean` lies outside `[0, 1]`.

    Example:
        >>> pale = ColorDistortion(*map(jnp.float32, (0.0, 1.0, 0.5, 0.0)), contrast_last=jnp.array(False))
        >>> distort_colors(jnp.array([[[1.0, 0.0, 0.0]]]), pale)[0, 0]
        Array([1. , 0.5, 0.5], dtype=float32)
    """
    function = "distort_colors"
    (image,) = as_arrays(function, image=(image, "H W 3"))
    if not isinstance(distortion, ColorDistortion):
        raise TypeError(f"{function}: `distortion` is a {type(distortion).__name__}, expected a `ColorDistortion`")
    fields = {name: (value, "") for name, value in distortion._asdict().items() if name != "order"}
    *numbers, last = as_arrays(function, **fields)
    image, brightness, contrast, saturation, hue = as_floats(image, *numbers)
    last = as_mask(last)
    check_setting(function, "mean", 0 if mean is None else mean, lambda x: 0 <= x <= 1, "a value in [0, 1]")
    center = brightness + (image.mean() if mean is None else jnp.asarray(mean, image.dtype))

    def change_contrast(planes: Float[Array, "3 H W"], factor: Float[Array, ""]) -> Float[Array, "3 H W"]:
        return jnp.clip((planes - center) * factor + center, 0, 1)

    planes = jnp.clip(jnp.moveaxis(image, -1, 0) + brightness, 0, 1)
    planes = change_contrast(planes, jnp.where(last, 1, contrast))
    planes = _change_colors(planes, saturation, hue)
    planes = change_contrast(planes, jnp.where(last, contrast, 1))
    if distortion.order is not None:
        (order,) = as_arrays(function, order=(distortion.order, "3"))
        chosen = (order[:, None] == jnp.arange(3, dtype=order.dtype)[None, :]).astype(planes.dtype)
        planes = jnp.einsum("kc,chw->khw", chosen, planes, precision="highest")
    return jnp.moveaxis(planes, 0, -1)


def _change_colors(
    planes: Float[Array, "3 H W"], saturation: Float[Array, ""], hue: Float[Array, ""]
) -> Float[Array, "3 H W"]:
    """Multiply the saturation and rotate the hue of HSV, without leaving RGB where neither changes.

    With value V and chroma C = V - min, a channel is V - C * clip(min(k, 4 - k), 0, 1) for k = (n + hue / 60) modulo 6
    and n = 5, 3, 1. A saturation C / V of at most 1 bounds the new chroma by V.
    """
    red, green, blue = planes
    value = planes.max(axis=0)
    chroma = value - planes.min(axis=0)
    per_chroma = 1 / jnp.where(chroma > 1e-6, chroma, 1)
    of_green, of_blue = 2 + (blue - red) * per_chroma, 4 + (red - green) * per_chroma
    sixths = jnp.where(value == red, (green - blue) * per_chroma, jnp.where(value == green, of_green, of_blue))
    chroma = jnp.minimum(chroma * saturation, value)

    def channel(n: int) -> Array:
        k = n + sixths + hue / 60
        k = k - 6 * jnp.floor(k / 6)
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)])
