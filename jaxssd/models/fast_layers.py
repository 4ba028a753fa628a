"""Fast layers: other forms of a ResNet's layers, with the same variables and the same result up to rounding.

Imported only where `fast_layers` names one of them; see `FastLayer`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.models.layers import EPSILON, MOMENTUM
from jaxssd.ops.arrays import ArrayLike, as_float

PerChannel = Float[ArrayLike, "c"]
OFFSETS = tuple((row, column) for row in range(3) for column in range(3))
NOWHERE = 100  # more than any index in `OFFSETS`


class MultiplyAddBatchNorm(nn.Module):
    """BatchNorm as `y = x * a + b`, with `a` and `b` computed in float32 and applied in the dtype of the computation.

    Its variables have the names of `BatchNorm`, so that each can load the other's.

    Attributes:
        use_running_average: if True, normalise with the running statistics, and leave them as they are.
        dtype: dtype of the result; parameters and statistics are float32.

    Example:
        >>> x = jnp.array([[1.0], [3.0]])
        >>> norm = MultiplyAddBatchNorm(use_running_average=False)
        >>> variables = norm.init(jax.random.key(0), x)
        >>> y, updates = norm.apply(variables, x, mutable="batch_stats")
        >>> y.round(3), updates["batch_stats"]["mean"]
        (Array([[-1.],
               [ 1.]], dtype=float32), Array([0.2], dtype=float32))
    """

    use_running_average: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch c"]) -> Float[Array, "*batch c"]:
        """Normalise every channel.

        Args:
            x: `[..., c]`.

        Returns:
            `[..., c]` in `dtype`.
        """
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)

        x = jnp.asarray(x, self.dtype)
        if self.use_running_average:
            return _multiply_add(x, scale, bias, running_mean.value, running_var.value)
        y, mean, var = normalize_batch(x, scale, bias)
        if not self.is_initializing():
            running_mean.value = MOMENTUM * running_mean.value + (1 - MOMENTUM) * mean
            running_var.value = MOMENTUM * running_var.value + (1 - MOMENTUM) * var
        return y


@jax.custom_vjp
def normalize_batch(
    x: Float[ArrayLike, "*batch c"], scale: PerChannel, bias: PerChannel
) -> tuple[Float[Array, "*batch c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalise with the batch's statistics, `y = x * a + b` with `a = scale / sqrt(var + eps)`.

    The gradient is written out because autodiff would sum the gradients of `a` and `b` in the dtype of `x`, and take
    the difference of two such sums. Here both sums are float32 and centred, and only `x` is kept for them.

    Args:
        x: `[..., c]`; the multiply-add and the result have its dtype.
        scale: `[c]`, float32.
        bias: `[c]`, float32.

    Returns:
        `y [..., c]`, and the mean and the biased variance of each channel, float32 `[c]`.
    """
    return _norm_forward(x, scale, bias)[0]


def _norm_forward(x, scale, bias):
    wide = as_float(x)
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    var = jnp.maximum(
        jnp.mean(jnp.square(wide), axes) - jnp.square(mean), 0
    )  # in one pass, like Flax; can round below 0
    return (_multiply_add(x, scale, bias, mean, var), mean, var), (x, scale, mean, var)


def _norm_backward(residuals, cotangents):
    x, scale, mean, var = residuals
    of_y, of_mean, of_var = cotangents
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    inverse = lax.rsqrt(var + EPSILON)
    centred = as_float(x) - _channels_last(mean, x)
    of_bias = jnp.sum(as_float(of_y), axes)
    of_scale = inverse * jnp.sum(as_float(of_y) * centred, axes)
    of_mean = of_mean - scale * inverse * of_bias
    of_var = of_var - scale * inverse**2 * of_scale / 2
    through_y, through_mean, through_var = (
        _channels_last(c, x) for c in (scale * inverse, of_mean / count, 2 * of_var / count)
    )
    of_x = as_float(of_y) * through_y + through_mean + centred * through_var
    return of_x.astype(x.dtype), of_scale, of_bias


normalize_batch.defvjp(_norm_forward, _norm_backward)


def _multiply_add(x, scale, bias, mean, var):
    a = scale * lax.rsqrt(var + EPSILON)
    b = bias - mean * a
    return x * _channels_last(a.astype(x.dtype), x) + _channels_last(b.astype(x.dtype), x)


def _channels_last(values: Array, like: ArrayLike) -> Array:
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def max_pool_3x3(x: Float[ArrayLike, "B H W c"]) -> Float[Array, "B h w c"]:
    """Max-pool 3x3 pixels with stride 2 and padding 1; the gradient is a gather.

    The forward pass stores the index of each window's largest pixel, in one byte. XLA's usual gradient,
    select-and-scatter, searches again, and writes to the input from several windows at once. Here each pixel reads the
    at most four windows that cover it.

    Args:
        x: `[B, H, W, c]`.

    Returns:
        `[B, ceil(H / 2), ceil(W / 2), c]`. The gradient of a window goes to the first of its largest pixels, row by
        row, as in `flax.linen.max_pool`. A window with a NaN is NaN, and its gradient goes to its first NaN.

    Example:
        >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
        >>> max_pool_3x3(x)[0, :, :, 0]
        Array([[ 5.,  7.],
               [13., 15.]], dtype=float32)
        >>> jax.grad(lambda x: max_pool_3x3(x).sum())(x)[0, :, :, 0]
        Array([[0., 0., 0., 0.],
               [0., 1., 0., 1.],
               [0., 0., 0., 0.],
               [0., 1., 0., 1.]], dtype=float32)
    """
    x = jnp.asarray(x)
    to_even = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
    return _even_max_pool(jnp.pad(x, to_even, constant_values=-jnp.inf))


@jax.custom_vjp
def _even_max_pool(x: Float[Array, "B H W c"]) -> Float[Array, "B h w c"]:
    return _largest(x)[0]


def _largest(x):
    """Largest value of each window, and the index in `OFFSETS` of the first pixel that has it."""
    padded = jnp.pad(x, [(0, 0), (1, 0), (1, 0), (0, 0)], constant_values=-jnp.inf)
    pixels = [padded[:, row : row + x.shape[1] : 2, column : column + x.shape[2] : 2] for row, column in OFFSETS]
    largest = pixels[0]
    winner = jnp.zeros(largest.shape, jnp.uint8)
    for index, pixel in enumerate(pixels[1:], start=1):
        wins = ~(pixel <= largest) & ~jnp.isnan(largest)
        largest = jnp.where(wins, pixel, largest)
        winner = jnp.where(wins, jnp.uint8(index), winner)
    return largest, winner


def _pool_forward(x):
    largest, winner = _largest(x)
    # Without the barrier XLA keeps the padded map rather than the bytes, and compares again for the gradient.
    return largest, lax.optimization_barrier(winner)


def _pool_backward(winner, cotangent):
    """Pixel 2i + p of an axis, p = 0 or 1, is at offset 1 + p of window i, and at offset p - 1 of window i + 1."""
    batch, rows, columns, channels = winner.shape
    gradient = jnp.zeros((batch, rows, 2, columns, 2, channels), cotangent.dtype)
    for below, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = 1 + np.arange(2) - 2 * below, 1 + np.arange(2) - 2 * right
        offset = np.where(row < 0, NOWHERE, 3 * row)[:, None] + np.where(column < 0, NOWHERE, column)[None, :]
        taken = _window(winner, below, right) == offset.astype(np.uint8).reshape(1, 1, 2, 1, 2, 1)
        gradient += jnp.where(taken, _window(cotangent, below, right), 0)
    return (gradient.reshape(batch, 2 * rows, 2 * columns, channels),)


def _window(x, below, right):
    """Shift windows up and left by 0 or 1: `[B, h, 1, w, 1, c]`, zero beyond the last."""
    _, rows, columns, _ = x.shape
    shifted = jnp.pad(x, [(0, 0), (0, below), (0, right), (0, 0)])[:, below : below + rows, right : right + columns]
    return shifted[:, :, None, :, None]


_even_max_pool.defvjp(_pool_forward, _pool_backward)


class SpaceToDepthConv(nn.Module):
    """7x7 convolution with stride 2, padding 3 and no bias, as `space_to_depth_conv` with the kernel of an `nn.Conv`.

    Attributes:
        channels: output channels.
        kernel_init: initializer of the kernel `[7, 7, c, channels]`.
        dtype: dtype of the computation; the kernel is float32.
    """

    channels: int
    kernel_init: nn.initializers.Initializer
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W c"]) -> Float[Array, "B h w c2"]:
        """Convolve a batch of images.

        Args:
            images: `[B, H, W, c]`.

        Returns:
            `[B, ceil(H / 2), ceil(W / 2), channels]` in `dtype`.
        """
        kernel = self.param("kernel", self.kernel_init, (7, 7, images.shape[-1], self.channels), jnp.float32)
        return space_to_depth_conv(jnp.asarray(images, self.dtype), jnp.asarray(kernel, self.dtype))


def space_to_depth_conv(
    images: Float[ArrayLike, "B H W c"], kernel: Float[ArrayLike, "7 7 c c2"]
) -> Float[Array, "B h w c2"]:
    """Convolve 7x7 with stride 2 and padding 3, as a 4x4 convolution with stride 1 of 2x2 blocks of pixels.

    12 channels fill a matrix unit better than three do.

    Output i reads the pixels 2i - 3 to 2i + 3. With a zero in front of the kernel these are 2i - 4 to 2i + 3, the
    blocks i - 2 to i + 1.

    Args:
        images: `[B, H, W, c]`; odd sides get a row or column of the padding's zeros.
        kernel: `[7, 7, c, c2]`, of the images' dtype.

    Returns:
        `[B, ceil(H / 2), ceil(W / 2), c2]`.

    Example:
        >>> space_to_depth_conv(jnp.ones((1, 9, 8, 3)), jnp.ones((7, 7, 3, 1)))[0, :, 2, 0] / (3 * 7)
        Array([4., 6., 7., 6., 4.], dtype=float32)
    """
    blocks = _blocks(images, [(0, 0), (0, images.shape[1] % 2), (0, images.shape[2] % 2), (0, 0)])
    block_kernel = _blocks(jnp.moveaxis(kernel, 3, 0), [(0, 0), (1, 0), (1, 0), (0, 0)])
    return lax.conv_general_dilated(
        blocks,
        block_kernel,
        window_strides=(1, 1),
        padding=((2, 1), (2, 1)),
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
    )


def _blocks(x: ArrayLike, padding: list[tuple[int, int]]) -> Float[Array, "n h w c4"]:
    """Space to depth: 2x2 pixels of c channels become one of 4c."""
    x = jnp.pad(x, padding)
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)
