"""A whole training run: from a configuration and data to checkpoints and metrics in a folder."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset
from jaxssd.tasks import make_task
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.evaluation import Evaluation, Validate, evaluate, make_validate
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.run_folder import Row, RunFolder
from jaxssd.training.state import TrainState, init_state
from jaxssd.training.step import StepMetrics, epoch_order, epoch_shape, make_train_chunk

CHUNK_STEPS = 50  # long enough to hide the cost of a call, short enough for a progress bar that moves
CPU_CALL_STEPS = 1  # a CPU takes a chunk a step at a time, see `make_train_chunk`


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN; the checkpoints are from before."""


def train(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder) -> Validate:
    """Train, validate and checkpoint until the last epoch.

    A run that was stopped goes on from its last checkpoint, and ends as it would have without the stop.

    Args:
        config: settings, classes filled in.
        train_set: goes to the device whole, as uint8.
        val_set: goes to the device a batch at a time.
        run: the run's folder, made by `RunFolder.create`.

    Returns:
        The compiled validation, for more of it.

    Raises:
        NonFiniteLossError: at the first step whose loss is not finite.
        ValueError: if the settings make no network, or the last checkpoint is of another training set.
    """
    num_images = len(train_set.examples.images)
    batch_size = min(config.batch_size, num_images)
    chunks, chunk_steps = epoch_shape(num_images, batch_size, CHUNK_STEPS)
    call_steps = CPU_CALL_STEPS if jax.default_backend() == "cpu" else chunk_steps
    epoch_steps = chunks * chunk_steps
    total_steps = config.epochs * epoch_steps
    order_key, step_key = jax.random.split(jax.random.key(config.seed))
    init_key = jax.random.key(config.seed, impl="rbg")  # three times as quick to compile as the default, once a layer

    task = make_task(config)
    optimizer, schedule = make_optimizer(config.learning_rate, config.weight_decay, total_steps)
    train_chunk = make_train_chunk(task, optimizer, augment=config.augment)
    validate = make_validate(task)
    state = init_state(task.model, optimizer, init_key, config.image_size)
    learning_rates = jax.device_get(jax.vmap(schedule)(np.arange(total_steps)))
    examples = jax.device_put(train_set.examples)

    with Checkpoints(run.checkpoints) as checkpoints:
        step = checkpoints.last_step or 0
        if step % epoch_steps:
            raise ValueError(f"{run.path} was trained on other data: step {step} ends no epoch of {epoch_steps} steps")
        if step:
            state = checkpoints.restore(step, state)
        run.drop_rows_after(step)

        images = {"total": total_steps * batch_size, "initial": step * batch_size, "unit": " images"}
        with tqdm(desc="training", disable=None, **images) as bar:
            for epoch in range(step // epoch_steps, config.epochs):
                order = epoch_order(
                    order_key, np.int32(epoch), num_images=num_images, batch_size=batch_size, chunk_steps=CHUNK_STEPS
                )
                for rows_of_call in order.reshape(-1, call_steps, batch_size):
                    with jax.transfer_guard("disallow"):
                        state, metrics = train_chunk(state, examples, rows_of_call, step_key)
                    rows = list(_train_rows(jax.device_get(metrics), step, epoch, learning_rates))
                    run.append_rows(rows)
                    _require_finite(rows, checkpoints.last_step)
                    step += call_steps
                    bar.set_postfix_str(
                        f"epoch {epoch + 1}/{config.epochs}, loss {rows[-1]['loss']:.3f}", refresh=False
                    )
                    bar.update(call_steps * batch_size)

                if (epoch + 1) % config.eval_every == 0 or epoch + 1 == config.epochs:
                    _require_finite_state(state, rows, checkpoints.last_step)
                    row = _val_row(evaluate(validate, state.variables, val_set, batch_size=batch_size), step, epoch)
                    if not math.isfinite(row["loss"]):
                        raise _diverged(f"the validation loss is {row['loss']}", rows[-1], checkpoints.last_step)
                    run.append_rows([row])
                    checkpoints.save(step, state, score=row["map_area"] or 0.0)
                    bar.write(_val_line(row))
    return validate


def _train_rows(metrics: StepMetrics, first_step: int, epoch: int, learning_rates: np.ndarray) -> Iterator[Row]:
    """A row a step, numbered from 1: `step` is how many steps have been taken."""
    for offset, values in enumerate(zip(*metrics, strict=True)):
        losses = {name: float(value) for name, value in zip(StepMetrics._fields, values, strict=True)}
        rate = float(learning_rates[first_step + offset])
        yield {"kind": "train", "step": first_step + offset + 1, "epoch": epoch, **losses, "learning_rate": rate}


def _val_row(result: Evaluation, step: int, epoch: int) -> Row:
    """Means over the images; a score is None where no class has ground truth."""
    losses = {name: float(getattr(result.loss, name).mean()) for name in StepMetrics._fields if name != "loss"}
    scores = {"map_area": result.scores.mean_area, "map_voc07": result.scores.mean_voc07}
    return {
        "kind": "val",
        "step": step,
        "epoch": epoch,
        "loss": float(result.loss.total.mean()),
        **losses,
        **{name: None if math.isnan(score) else float(score) for name, score in scores.items()},
    }


def _val_line(row: Row) -> str:
    score = (
        "no ground truth" if row["map_area"] is None else f"mAP {row['map_area']:.3f} ({row['map_voc07']:.3f} 11-point)"
    )
    return f"epoch {row['epoch'] + 1:3d}: validation loss {row['loss']:.3f}, {score}"


def _require_finite(rows: list[Row], last_step: int | None) -> None:
    for row in rows:
        if not math.isfinite(row["loss"]):
            losses = f"localization {row['localization']}, classification {row['classification']}"
            raise _diverged(f"the loss is {row['loss']} ({losses})", row, last_step)


def _require_finite_state(state: TrainState, rows: list[Row], last_step: int | None) -> None:
    """The last step's loss is from before its update: what is about to be saved must be looked at itself."""
    if not _all_finite(state.variables):
        raise _diverged("parameters are no longer finite", rows[-1], last_step)


@jax.jit
def _all_finite(tree: Any) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _diverged(what: str, row: Row, last_step: int | None) -> NonFiniteLossError:
    good = "There is no checkpoint yet" if last_step is None else f"The checkpoint of step {last_step} is good"
    return NonFiniteLossError(
        f"{what} at step {row['step']}, learning rate {row['learning_rate']:.2g}. {good}. Start a new run with a "
        "smaller --learning-rate, or with --precision float32 if this one used bfloat16."
    )
