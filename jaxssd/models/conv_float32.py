"""Convolutions of half-precision numbers whose sums stay in float32, so that scores do not tie."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxssd.ops.arrays import ArrayLike


def conv_to_float32(
    lhs: Float[ArrayLike, "..."], rhs: Float[ArrayLike, "..."], *args: Any, **kwargs: Any
) -> Float[Array, "..."]:
    """`lax.conv_general_dilated` with a float32 result, whose gradients are computed in the dtype of the operands.

    Its `preferred_element_type` alone would turn the operands of both gradients into float32 too.

    Args:
        lhs: of any floating dtype up to float32.
        rhs: of the same dtype.
        args: as `lax.conv_general_dilated` takes them.
        kwargs: likewise.

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
