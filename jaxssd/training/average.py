"""Exponential moving average (EMA) of a model's variables, which scores higher than the newest ones."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxssd.ops.arrays import Number


def decay_at(step: Number, decay: Number) -> Float[Array, ""]:
    """Decay of the average at a step, with warm-up: `min(decay, (1 + step) / (10 + step))`.

    During the warm-up the average covers about the last ninth of the steps, so that it forgets the random start, and no
    time constant has to fit the length of the run. Ultralytics' warm-up, `decay * (1 - exp(-step / 2000))`, averages
    next to nothing in a run of a few hundred steps, as small data sets have.

    Args:
        step: number of steps taken before this one.
        decay: highest decay, reached after about `9 / (1 - decay)` steps.

    Returns:
        Weight of the old average; the newest variables have the rest.

    Source:
        `num_updates` of TensorFlow's `tf.train.ExponentialMovingAverage`; the average of Polyak and Juditsky 1992.

    Example:
        >>> [round(float(decay_at(step, 0.99)), 3) for step in (0, 80, 5000)]
        [0.1, 0.9, 0.99]
    """
    return jnp.minimum(jnp.asarray(decay, jnp.float32), (1 + step) / (10 + jnp.asarray(step)))


def update_average(average: Any, newest: Any, step: Number, decay: Number) -> Any:
    """Move an average towards the newest variables of a training step.

    BatchNorm statistics are averaged like the parameters: those of the newest parameters fit the average worse.
    Variables that stay the same are the same in the average, to the last bit. Keep them in float32: a step moves the
    average by less than half precision shows.

    Args:
        average: tree of arrays.
        newest: tree of the same arrays after the step. Integers and keys have no mean, so they are taken as they are.
        step: number of steps taken before this one.
        decay: highest decay, see `decay_at`.

    Returns:
        The new average.

    Example:
        >>> update_average({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, 0, 0.99)["w"].tolist()
        [0.8999999761581421, 0.8999999761581421]
    """
    share = 1 - decay_at(step, decay)

    def move(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return new
        return old + share.astype(new.dtype) * (new - old)

    return jax.tree.map(move, average, newest)
