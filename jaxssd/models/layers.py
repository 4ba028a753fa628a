"""Layers that backbones and heads share: BatchNorm, and convolutions with float32 sums."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxssd.config import FastLayer
from jaxssd.ops.arrays import ArrayLike

MOMENTUM = 0.9
EPSILON = 1e-5

BatchNorm = partial(nn.BatchNorm, momentum=MOMENTUM, epsilon=EPSILON)
"""BatchNorm (Ioffe and Szegedy 2015, arXiv:1502.03167) with PyTorch's constants; its momentum of 0.1 is 1 - 0.9 here.

Statistics are always float32.
"""


def batch_norm(fast_layers: tuple[FastLayer, ...]) -> Callable[..., nn.Module]:
    """Choose between BatchNorm and its fast form.

    Args:
        fast_layers: the network's attribute.

    Returns:
        A constructor with the keywords `use_running_average`, `dtype` and `name`.
    """
    if "norm" not in fast_layers:
        return BatchNorm
    from jaxssd.models.fast_layers import MultiplyAddBatchNorm  # imported only where it is used

    return MultiplyAddBatchNorm


def conv_to_float32(
    lhs: Float[ArrayLike, "..."], rhs: Float[ArrayLike, "..."], *args: Any, **kwargs: Any
) -> Float[Array, "..."]:
    """Convolve half-precision numbers with float32 sums, so that scores do not tie.

    It is `lax.conv_general_dilated` with a float32 result, whose gradients are computed in the dtype of the operands.

    `preferred_element_type` alone would turn the operands of both gradients into float32 too.

    Args:
        lhs: input of any floating dtype up to float32.
        rhs: kernel of the same dtype.
        args: positional arguments of `lax.conv_general_dilated`.
        kwargs: keyword arguments of it.

    Returns:
        The convolution in float32.

    Example:
        >>> ones = jnp.ones((1, 1, 1, 257), jnp.bfloat16)  # bfloat16 has no 257
        >>> layout = ("NHWC", "HWIO", "NHWC")
        >>> conv_to_float32(ones, ones.reshape(1, 1, 257, 1), (1, 1), "SAME", dimension_numbers=layout)
        Array([[[[257.]]]], dtype=float32)
    """

    @jax.custom_vjp
    def convolve(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, *args, **kwargs, preferred_element_type=jnp.float32)

    def forward(lhs, rhs):
        return convolve(lhs, rhs), (lhs, rhs)

    def backward(operands, cotangent):
        _, pull_back = jax.vjp(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, *args, **kwargs), *operands)
        return pull_back(cotangent.astype(operands[0].dtype))

    convolve.defvjp(forward, backward)
    return convolve(lhs, rhs)
