"""Rows of metrics, one for each step and validation, and the divergence that they show."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxssd.training.evaluation import Evaluation
from jaxssd.training.run_folder import Row
from jaxssd.training.step import TrainState


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN; the checkpoints are from before."""


class DivergedError(RuntimeError):
    """The run has ended with finite losses far above those of its start."""


HOPELESS = 10.0
"""Ratio of the last loss to the first one from which on the run counts as failed."""


def train_rows(
    loss: Any, learning_rates: Float[np.ndarray, " steps"], *, first_step: int, epoch: int, phase: int
) -> Iterator[Row]:
    """Make a row for each step, numbered from 1, with `loss` and its parts.

    Args:
        loss: losses `[steps]` as NumPy arrays, in the form that the step gives.
        learning_rates: learning rate of each step.
        first_step: number of steps before them.
        epoch: number of the epoch, from 0.
        phase: number of the phase, from 0.
    """
    for offset, rate in enumerate(learning_rates):
        losses = {name: float(values[offset]) for name, values in _losses(loss).items()}
        where = {"kind": "train", "step": first_step + offset + 1, "epoch": epoch, "phase": phase}
        yield {**where, **losses, "learning_rate": float(rate)}


def val_row(result: Evaluation, *, step: int, epoch: int, phase: int) -> Row:
    """Make the row of a validation: mean losses, scores, and the `objective` by which checkpoints are compared."""
    losses = {name: float(np.mean(values)) for name, values in _losses(result.loss).items()}
    scores = {**result.scores.summary(), "objective": result.scores.objective}
    return {"kind": "val", "step": step, "epoch": epoch, "phase": phase, **losses, **scores}


def _losses(loss: Any) -> dict[str, Any]:
    parts = loss._asdict() if hasattr(loss, "_asdict") else {"total": loss}
    return {"loss" if name == "total" else name: values for name, values in parts.items()}


def compare_ends(rows: Sequence[Row]) -> str | None:
    """Compare the losses at the two ends of a run: medians of a quarter of the steps, of 50 at most.

    With a far too high learning rate, the loss diverges within a few steps, so the start has diverged as well. The end
    is therefore also compared with the first loss, which is from before any update.

    Args:
        rows: rows of all steps, in order.

    Returns:
        A warning with advice if the losses rose by more than chance (a tenth for 10 steps, twice for one); otherwise
        None, also without rows.

    Raises:
        DivergedError: with that warning, if the end is 10 times the first loss.

    Example:
        >>> print(compare_ends([{"loss": loss} for loss in (8.0, 9.0, 3.0, 2.0)]))
        None
        >>> compare_ends([{"loss": loss} for loss in (8.0, 5.0, 30.0, 32.0)]).partition(":")[0]
        'the loss was 8 at the start and is 32 at the end'
    """
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    if not losses:
        return None
    window = max(1, min(50, len(losses) // 4))
    start, end = statistics.median(losses[:window]), statistics.median(losses[-window:])
    first = min(losses[0], statistics.median(losses[:3]))
    if end > first + abs(first):  # a loss of one's own may be negative
        start = first
    elif end <= start + abs(start) / window:
        return None
    warning = (
        f"the loss was {start:.3g} at the start and is {end:.3g} at the end: the training has diverged. Start a new "
        "run with a smaller --learning-rate; --find-lr suggests one"
    )
    if end > first + (HOPELESS - 1) * abs(first):
        raise DivergedError(warning)
    return warning


def require_finite_losses(rows: Sequence[Row], last_checkpoint: int | None) -> None:
    """Raise NonFiniteLossError at the first row whose loss is not finite, with the step of the last checkpoint."""
    for row in rows:
        if not math.isfinite(row["loss"]):
            kind = "loss" if row["kind"] == "train" else "validation loss"
            raise _diverged(f"the {kind} is {row['loss']}", row, last_checkpoint)


def require_finite_state(state: TrainState, rows: Sequence[Row], last_checkpoint: int | None) -> None:
    """Raise NonFiniteLossError if a parameter or statistic is not finite: the last loss is from before its update."""
    if not _all_finite(state.variables):
        raise _diverged("parameters are no longer finite", rows[-1], last_checkpoint)


@jax.jit
def _all_finite(tree: Any) -> Array:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def _diverged(what: str, row: Row, last_checkpoint: int | None) -> NonFiniteLossError:
    none_yet = last_checkpoint is None
    before = "There is no checkpoint yet" if none_yet else f"The checkpoint of step {last_checkpoint} is from before"
    rate = f", learning rate {row['learning_rate']:.2g}" if "learning_rate" in row else ""
    return NonFiniteLossError(
        f"{what} at step {row['step']}{rate}. {before}. Start a new run with a smaller --learning-rate, or with "
        "--precision float32 if this one used bfloat16."
    )
