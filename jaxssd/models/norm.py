"""BatchNorm (Ioffe and Szegedy 2015, arXiv:1502.03167): Flax's, and the same applied as one multiply-add."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.models.fast_layers import FastLayer
from jaxssd.ops.arrays import ArrayLike, as_float

MOMENTUM = 0.9
EPSILON = 1e-5

BatchNorm = partial(nn.BatchNorm, momentum=MOMENTUM, epsilon=EPSILON)
"""With PyTorch's constants (its momentum of 0.1 is the share of the new statistics). Statistics are always float32."""

PerChannel = Float[ArrayLike, "c"]


def batch_norm(fast_layers: tuple[FastLayer, ...]) -> Callable[..., nn.Module]:
    """The kind of BatchNorm that a network uses.

    Args:
        fast_layers: the network's attribute.

    Returns:
        A constructor with the keywords `use_running_average`, `dtype` and `name`.
    """
    return MultiplyAddBatchNorm if "norm" in fast_layers else BatchNorm


class MultiplyAddBatchNorm(nn.Module):
    """`BatchNorm` as `y = x * a + b`, with `a` and `b` computed in float32 and applied in the dtype of the computation.

    It has the variables of `BatchNorm` under the same names, so that each can load the other's.

    Attributes:
        use_running_average: normalise with the running statistics, and leave them as they are.
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
    """Normalise with the statistics of the batch, `y = x * a + b` with `a = scale / sqrt(var + eps)`.

    The gradient is written out because autodiff would sum the gradients of `a` and `b` in the dtype of `x`, and take
    the difference of two such sums. Here both sums are float32 and centred, and only `x` is kept for them.

    Args:
        x: `[..., c]`; its dtype is that of the multiply-add and of the result.
        scale: `[c]`, float32.
        bias: `[c]`, float32.

    Returns:
        `y [..., c]`, and the mean and the biased variance of each channel, float32 `[c]`.
    """
    return _forward(x, scale, bias)[0]


def _forward(x, scale, bias):
    wide = as_float(x)
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    var = jnp.maximum(
        jnp.mean(jnp.square(wide), axes) - jnp.square(mean), 0
    )  # in one pass, like Flax; can round below 0
    return (_multiply_add(x, scale, bias, mean, var), mean, var), (x, scale, mean, var)


def _backward(residuals, cotangents):
    x, scale, mean, var = residuals
    of_y, of_mean, of_var = cotangents
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    inverse = jax.lax.rsqrt(var + EPSILON)
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


normalize_batch.defvjp(_forward, _backward)


def _multiply_add(x, scale, bias, mean, var):
    a = scale * jax.lax.rsqrt(var + EPSILON)
    b = bias - mean * a
    return x * _channels_last(a.astype(x.dtype), x) + _channels_last(b.astype(x.dtype), x)


def _channels_last(values: Array, like: ArrayLike) -> Array:
    return values.reshape((1,) * (like.ndim - 1) + values.shape)
