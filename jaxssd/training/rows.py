"""The lines of `metrics.jsonl`: one a step, one a validation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxssd.tasks.task import Loss
from jaxssd.training.evaluation import Evaluation
from jaxssd.training.run_folder import Row


def train_rows(
    loss: Loss, learning_rates: Float[np.ndarray, " steps"], *, first_step: int, epoch: int, phase: int
) -> Iterator[Row]:
    """A row a step, numbered from 1: `step` is how many steps have been taken.

    Args:
        loss: NumPy arrays `[steps]`.
        learning_rates: of the same steps.
        first_step: how many steps were taken before them.
        epoch: from 0.
        phase: from 0.

    Returns:
        Rows with `loss` and its parts.
    """
    for offset, rate in enumerate(learning_rates):
        losses = {name: float(values[offset]) for name, values in _losses(loss).items()}
        where = {"kind": "train", "step": first_step + offset + 1, "epoch": epoch, "phase": phase}
        yield {**where, **losses, "learning_rate": float(rate)}


def val_row(result: Evaluation, *, step: int, epoch: int, phase: int) -> Row:
    """Means of the losses over the images, and the scores.

    Args:
        result: of the validation set.
        step: how many steps have been taken.
        epoch: from 0.
        phase: from 0.

    Returns:
        A row with `loss` and its parts, the scores, and the `objective` by which checkpoints are compared.
    """
    losses = {name: float(np.mean(values)) for name, values in _losses(result.loss).items()}
    scores = {**result.scores.summary(), "objective": result.scores.objective}
    return {"kind": "val", "step": step, "epoch": epoch, "phase": phase, **losses, **scores}


def _losses(loss: Loss) -> dict[str, Any]:
    return {"loss" if name == "total" else name: values for name, values in loss._asdict().items()}
