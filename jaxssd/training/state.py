"""Everything that changes while training, and nothing else."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key


class TrainState(NamedTuple):
    """The carry of the training loop and the content of a checkpoint.

    Random numbers need no place in it: each step's key is folded from the seed and `step`, so a resumed run goes on
    exactly as the uninterrupted one would.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The collections that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: nn.Module, optimizer: optax.GradientTransformation, key: Key[Array, ""], image_size: int
) -> TrainState:
    """A fresh state, made by one compiled call.

    Args:
        model: takes images `[B, S, S, 3]` and `train`.
        optimizer: whose state goes with the parameters.
        key: decides the initial parameters.
        image_size: S.

    Returns:
        The state at step 0.
    """

    @jax.jit
    def init(key: Array) -> TrainState:
        variables = model.init(key, jnp.zeros((1, image_size, image_size, 3)), train=False)
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimizer.init(params))

    return init(key)
