"""Everything that changes while training, and nothing else."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Sharding
from jaxtyping import Array, Int, Key

from jaxssd.training.distribution import send

Variables = dict[str, Any]


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
    def variables(self) -> Variables:
        """The collections that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_variables(
    model: nn.Module, key: Key[Array, ""], image_size: int, sharding: Sharding | None = None
) -> Variables:
    """Fresh parameters and statistics, made by one compiled call.

    Args:
        model: takes images `[B, S, S, 3]` and `train`.
        key: decides the parameters.
        image_size: S.
        sharding: where they are made.

    Returns:
        The collections that `model.apply` takes.
    """

    def init(key: Array) -> Variables:
        return dict(model.init(key, jnp.zeros((1, image_size, image_size, 3)), train=False))

    return jax.jit(init, out_shardings=sharding)(key)


def variable_shapes(model: nn.Module, image_size: int) -> Variables:
    """What `init_variables` makes, as shapes and dtypes; nothing is computed."""
    return jax.eval_shape(lambda: init_variables(model, jax.random.key(0), image_size))


def init_state(variables: Variables, optimizer: optax.GradientTransformation, step: int = 0) -> TrainState:
    """The state at the start of a phase: the optimizer is new, whatever was trained before.

    Args:
        variables: parameters and statistics.
        optimizer: whose state goes with the parameters.
        step: how many steps led here.

    Returns:
        The state, all of it placed as the variables are, and as a step returns it: otherwise the second step would be
        compiled anew.
    """
    params = variables["params"]
    sharding = jax.tree.leaves(params)[0].sharding
    opt_state = jax.jit(optimizer.init, out_shardings=sharding)(params)
    return TrainState(send(np.int32(step), sharding), params, variables["batch_stats"], opt_state)
