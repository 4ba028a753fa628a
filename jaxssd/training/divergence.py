"""A run that diverges stops at once, and says which checkpoint is still good."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxssd.training.run_folder import Row
from jaxssd.training.state import TrainState


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN; the checkpoints are from before."""


def require_finite_losses(rows: Sequence[Row], last_checkpoint: int | None) -> None:
    """Look at the losses of the last steps, or of a validation.

    Args:
        rows: as they are about to be trusted.
        last_checkpoint: step of the newest one.

    Raises:
        NonFiniteLossError: naming the first that is not finite.
    """
    for row in rows:
        if not math.isfinite(row["loss"]):
            kind = "loss" if row["kind"] == "train" else "validation loss"
            raise _diverged(f"the {kind} is {row['loss']}", row, last_checkpoint)


def require_finite_state(state: TrainState, rows: Sequence[Row], last_checkpoint: int | None) -> None:
    """Look at what is about to be saved: the last step's loss is from before its update.

    Args:
        state: parameters and statistics.
        rows: of the steps that led to it.
        last_checkpoint: step of the newest one.

    Raises:
        NonFiniteLossError: if a number in it is not finite.
    """
    if not _all_finite(state.variables):
        raise _diverged("parameters are no longer finite", rows[-1], last_checkpoint)


@jax.jit
def _all_finite(tree: Any) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _diverged(what: str, row: Row, last_checkpoint: int | None) -> NonFiniteLossError:
    none_yet = last_checkpoint is None
    good = "There is no checkpoint yet" if none_yet else f"The checkpoint of step {last_checkpoint} is good"
    rate = f", learning rate {row['learning_rate']:.2g}" if "learning_rate" in row else ""
    return NonFiniteLossError(
        f"{what} at step {row['step']}{rate}. {good}. Start a new run with a smaller --learning-rate, or with "
        "--precision float32 if this one used bfloat16."
    )
