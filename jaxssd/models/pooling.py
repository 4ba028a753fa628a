"""Max-pooling whose gradient is a gather: every pixel asks the at most four windows that cover it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxssd.ops.arrays import ArrayLike

OFFSETS = tuple((row, column) for row in range(3) for column in range(3))
NOWHERE = 100  # more than any index in `OFFSETS`


def max_pool_3x3(x: Float[ArrayLike, "B H W c"]) -> Float[Array, "B h w c"]:
    """The largest of 3x3 pixels around every second pixel of every second row: stride 2, padding 1.

    The forward pass keeps which of its nine pixels each window took, in a byte. The usual gradient, XLA's
    select-and-scatter, looks for them again, and writes to the input from several windows at once.

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
    """The largest value of each window, and the index in `OFFSETS` of the first pixel that has it."""
    padded = jnp.pad(x, [(0, 0), (1, 0), (1, 0), (0, 0)], constant_values=-jnp.inf)
    pixels = [padded[:, row : row + x.shape[1] : 2, column : column + x.shape[2] : 2] for row, column in OFFSETS]
    largest = pixels[0]
    winner = jnp.zeros(largest.shape, jnp.uint8)
    for index, pixel in enumerate(pixels[1:], start=1):
        wins = ~(pixel <= largest) & ~jnp.isnan(largest)
        largest = jnp.where(wins, pixel, largest)
        winner = jnp.where(wins, jnp.uint8(index), winner)
    return largest, winner


def _forward(x):
    largest, winner = _largest(x)
    # Or the compiler would keep the padded map rather than the bytes, and compare its pixels again for the gradient.
    return largest, jax.lax.optimization_barrier(winner)


def _gather(winner, cotangent):
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
    """`[B, h, 1, w, 1, c]`: of each window the one that many further below and to the right, zero beyond the last."""
    _, rows, columns, _ = x.shape
    shifted = jnp.pad(x, [(0, 0), (0, below), (0, right), (0, 0)])[:, below : below + rows, right : right + columns]
    return shifted[:, :, None, :, None]


_even_max_pool.defvjp(_forward, _gather)
