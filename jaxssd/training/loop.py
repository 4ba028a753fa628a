"""A whole training run: from a configuration and data to checkpoints and metrics in a folder."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset
from jaxssd.tasks import Task, make_task
from jaxssd.training.backbone import first_variables
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.divergence import require_finite_losses, require_finite_state
from jaxssd.training.evaluation import Validate, evaluate, make_validate
from jaxssd.training.feed import Feed, images_at_once, is_streamed, open_feed
from jaxssd.training.phases import Place, make_phase, places
from jaxssd.training.rows import train_rows, val_row
from jaxssd.training.run_folder import Row, RunFolder
from jaxssd.training.schedules import make_schedule
from jaxssd.training.state import TrainState, Variables, init_state, variable_shapes
from jaxssd.training.step import epoch_order, epoch_shape

CHUNK_STEPS = 50  # long enough to hide the cost of a call, short enough for a progress bar that moves
CPU_CALL_STEPS = 1  # a CPU takes a chunk a step at a time, see `make_train_chunk`


class Sizes(NamedTuple):
    """How an epoch is cut up."""

    num_images: int
    batch_size: int
    epoch_steps: int
    piece_steps: int
    call_steps: int

    @property
    def piece_rows(self) -> int:
        """Images that the device has at once when they are streamed."""
        return self.piece_steps * self.batch_size


def train(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder) -> Validate:
    """Train phase by phase, validate and checkpoint, until the last epoch.

    A run that was stopped goes on from its last checkpoint, and ends as it would have without the stop.

    Args:
        config: settings, classes filled in.
        train_set: goes to the device whole, as uint8, or is streamed to it; see `feed`.
        val_set: goes to the device a batch at a time.
        run: the run's folder, made by `RunFolder.create`.

    Returns:
        The compiled validation, for more of it.

    Raises:
        NonFiniteLossError: at the first step whose loss is not finite.
        WorkersKeepDying: if the data is streamed and the processes that read it keep dying.
        ValueError: if the settings make no network, the pretrained weights do not fit it, or the run was started on
            other data.
    """
    run.pin_data({"train": train_set.fingerprint, "val": val_set.fingerprint})
    task = make_task(config)
    validate = make_validate(task)
    streamed = is_streamed(train_set, config.memory)
    sizes = cut_epoch(
        len(train_set.ids), config.batch_size, images_at_once(train_set) if streamed else len(train_set.ids)
    )
    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(run.checkpoints))
        step = checkpoints.last_step or 0
        if step % sizes.epoch_steps:
            raise ValueError(f"{run.path}: step {step} ends no epoch of {sizes.epoch_steps} steps")
        run.drop_rows_after(step)
        if step:
            variables = checkpoints.restore_variables(step, variable_shapes(task.model, config.image_size))
        else:
            variables = first_variables(config, task)
        total_steps = sum(phase.epochs for phase in config.phases) * sizes.epoch_steps
        if step:
            done, epochs = step // sizes.epoch_steps, total_steps // sizes.epoch_steps
            print(f"going on after epoch {done} of {epochs}" if done < epochs else f"all {epochs} epochs are done")
        bar = stack.enter_context(_progress(total_steps, step, sizes.batch_size))
        feed = stack.enter_context(open_feed(train_set, sizes.piece_rows if streamed else None, bar.write))
        trainer = _Trainer(config, task, validate, feed, val_set, run, checkpoints, sizes, bar)
        for place in places(config):
            if step < place.epochs.stop * sizes.epoch_steps:
                variables = trainer.train_phase(place, variables, step)
                step = place.epochs.stop * sizes.epoch_steps
    return validate


def cut_epoch(num_images: int, batch_size: int, at_once: int) -> Sizes:
    """How the device is going to take an epoch.

    Args:
        num_images: in the training set.
        batch_size: as the user wants it.
        at_once: images that may be on the device at once; a batch is in any case.

    Returns:
        Equal pieces of whole batches, and in them equal calls; how the epoch is cut decides nothing about its order.
    """
    batch_size = min(batch_size, num_images)
    chunks, chunk_steps = epoch_shape(num_images, batch_size, CHUNK_STEPS)
    divisors = [steps for steps in range(1, chunk_steps + 1) if chunk_steps % steps == 0]
    piece_steps = max((steps for steps in divisors if steps * batch_size <= at_once), default=1)
    call_steps = min(CPU_CALL_STEPS, piece_steps) if jax.default_backend() == "cpu" else piece_steps
    return Sizes(num_images, batch_size, chunks * chunk_steps, piece_steps, call_steps)


def run_keys(seed: int) -> tuple[Array, Array]:
    """The key of the order of the images, and that of everything random in a step."""
    order_key, step_key = jax.random.split(jax.random.key(seed))
    return order_key, step_key


@dataclass(frozen=True)
class _Trainer:
    """What stays the same through all phases."""

    config: Config
    task: Task
    validate: Validate
    feed: Feed
    val_set: Dataset
    run: RunFolder
    checkpoints: Checkpoints
    sizes: Sizes
    bar: tqdm

    def train_phase(self, place: Place, variables: Variables, step: int) -> Variables:
        """From the variables at `step`, which lies before the phase's end, to those at its end."""
        config, phase, sizes = self.config, place.phase, self.sizes
        first_step, phase_steps = place.first_epoch * sizes.epoch_steps, phase.epochs * sizes.epoch_steps
        schedule = make_schedule(phase, phase_steps)
        optimizer, train_chunk = make_phase(config, self.task, phase, schedule)
        state = init_state(variables, optimizer, step)
        if step > first_step:
            state = self.checkpoints.restore(step, state)
        rates = jax.device_get(jax.vmap(schedule)(np.arange(phase_steps)))
        order_key, step_key = run_keys(config.seed)
        for epoch in range(step // sizes.epoch_steps, place.epochs.stop):
            order = epoch_order(
                order_key,
                np.int32(epoch),
                num_images=sizes.num_images,
                batch_size=sizes.batch_size,
                chunk_steps=CHUNK_STEPS,
            )
            for examples, rows_of_piece in self.feed(order.reshape(-1, sizes.piece_steps, sizes.batch_size)):
                for rows_of_call in rows_of_piece.reshape(-1, sizes.call_steps, sizes.batch_size):
                    with jax.transfer_guard("disallow"):
                        state, loss = train_chunk(state, examples, rows_of_call, step_key)
                    in_phase = slice(step - first_step, step - first_step + sizes.call_steps)
                    where = {"first_step": step, "epoch": epoch, "phase": place.number}
                    rows = list(train_rows(jax.device_get(loss), rates[in_phase], **where))
                    self.run.append_rows(rows)
                    require_finite_losses(rows, self.checkpoints.last_step)
                    step += sizes.call_steps
                    self._advance(rows)
            if (epoch + 1) % config.eval_every == 0 or epoch + 1 == place.epochs.stop:
                require_finite_state(state, rows, self.checkpoints.last_step)
                self._validate_and_save(state, step, epoch, place.number)
        return state.variables

    def _validate_and_save(self, state: TrainState, step: int, epoch: int, phase: int) -> None:
        batch_size = self.sizes.batch_size
        result = evaluate(self.task, self.validate, state.variables, self.val_set, batch_size=batch_size)
        row = val_row(result, step=step, epoch=epoch, phase=phase)
        require_finite_losses([row], self.checkpoints.last_step)
        self.run.append_rows([row])
        self.checkpoints.save(step, state, score=row["objective"])
        self.bar.write(f"epoch {epoch + 1:3d}: validation loss {row['loss']:.3f}, {result.scores.headline()}")

    def _advance(self, rows: list[Row]) -> None:
        of_phases = f"phase {rows[-1]['phase'] + 1}/{len(self.config.phases)}, " if len(self.config.phases) > 1 else ""
        epochs = sum(phase.epochs for phase in self.config.phases)
        text = f"{of_phases}epoch {rows[-1]['epoch'] + 1}/{epochs}, loss {rows[-1]['loss']:.3f}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(len(rows) * self.sizes.batch_size)


def _progress(total_steps: int, step: int, batch_size: int) -> tqdm:
    total, initial = total_steps * batch_size, step * batch_size
    return tqdm(desc="training", disable=None, total=total, initial=initial, unit=" images")
