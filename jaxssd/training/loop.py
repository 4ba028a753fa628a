"""Training loop: phases of epochs of compiled steps, with validations and checkpoints between them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh
from tqdm import tqdm

from jaxssd.config import Config, Phase
from jaxssd.data.augmentation import augmentation_steps
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.compilation import MemoryNeed, Program, compile_program, memory_bytes, nbytes
from jaxssd.training.distribution import all_max, all_min, data_mesh, fetch, is_main_process, replicated
from jaxssd.training.epochs import Sizes, cut_epoch, epoch_order, run_keys, whole_batch
from jaxssd.training.evaluation import Validate, evaluate, make_validate
from jaxssd.training.interruption import Interrupted, deferred, requested
from jaxssd.training.loader import Loader, images_at_once, is_streamed, open_loader
from jaxssd.training.optimizer import Place, frozen_stages, make_schedule, phase_optimizer, places
from jaxssd.training.rows import require_finite_losses, require_finite_state, train_rows, val_row
from jaxssd.training.run_folder import Row, RunFolder
from jaxssd.training.step import TrainBlock, TrainState, Variables, init_state, make_train_block, make_train_step
from jaxssd.training.variables import first_variables, newest_sound


def train(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder, mesh: Mesh | None = None) -> Validate:
    """Train phase by phase, validate and checkpoint, until the last epoch.

    A run that was stopped continues from its last checkpoint, and ends as it would have without the stop. Under
    `signals_watched`, a signal stops it between two calls, with a checkpoint of that step.

    Args:
        config: settings, with the classes filled in.
        train_set: training set. It goes to the devices whole, or is streamed; see `loader`.
        val_set: validation set. It goes to the devices one batch at a time.
        run: folder of the run, made by `RunFolder.create`.
        mesh: devices that share the work; default, all. Their number changes only speed and rounding.

    Returns:
        The compiled validation, to be used again.

    Raises:
        Interrupted: after a signal.
        NonFiniteLossError: at the first step whose loss is not finite.
        OSError: if the data is streamed and its file cannot be read.
        ValueError: if the settings make no network, the pretrained weights do not fit it, or the run was started on
            other data or with other settings.
    """
    begin = time.perf_counter()
    mesh = mesh or data_mesh()
    run.pin(config, {"train": train_set.fingerprint, "val": val_set.fingerprint})
    task = make_task(config)
    validate = make_validate(task.apply, task.loss, task.postprocess)
    num_images = len(train_set.ids)
    batch_size = whole_batch(config.optimizer.batch_size, config.optimizer.grad_accum_steps, num_images)
    resident = all_min(not is_streamed(train_set, config.runtime.memory))  # hosts may differ, what they compile may not
    at_once = num_images if resident else all_min(images_at_once(train_set))
    with ExitStack() as stack:
        # Find where the run continues.
        checkpoints = stack.enter_context(Checkpoints(run.checkpoints, mesh=mesh))
        resumed = newest_sound(config, task, run, checkpoints, cut_epoch(num_images, batch_size, at_once).epoch_steps)
        step = int(resumed.step) if resumed else 0
        sizes = cut_epoch(num_images, batch_size, at_once, step)
        validated = step == 0 or checkpoints.is_scored(step) or not _is_validated(config, sizes, step)
        run.drop_rows_after(step, validated=validated)
        if resumed:
            print(_going_on(config, sizes, step))
        state = resumed or TrainState(0, *first_variables(config, task, mesh), None)  # type: ignore[arg-type]
        # Train its phases.
        bar = stack.enter_context(_progress(_total_epochs(config) * sizes.epoch_steps, step, sizes.batch_size))
        loader = stack.enter_context(open_loader(train_set, None if resident else sizes.block_rows, bar.write, mesh))
        clock = _Clock(config.runtime.checkpoint_every)
        trainer = _Trainer(
            config, task, validate, loader, val_set, run, checkpoints, sizes, mesh, bar, begin, step, clock
        )
        if not validated:
            checkpoints.add_score(step, trainer.validate_at(step, state.inference)["objective"])
        for place in places(config.optimizer):
            if step < place.epochs.stop * sizes.epoch_steps:
                state = trainer.train_phase(place, state, step)
                step = place.epochs.stop * sizes.epoch_steps
    return validate


def make_phase(
    config: Config, task: Task, phase: Phase, schedule: optax.Schedule, *, mesh: Mesh | None = None, donate: bool = True
) -> tuple[optax.GradientTransformation, TrainBlock]:
    """Build the optimizer of a phase and its compiled training.

    Args:
        config: settings of the run.
        task: task of the run.
        phase: phase, with the layers to train.
        schedule: function from the phase's step to the learning rate.
        mesh: devices that share the work.
        donate: if True, the memory of the given state is reused; do not use that state again.

    Returns:
        The optimizer, for `init_state`, and the function of `make_train_block`.
    """
    optimizer = phase_optimizer(config.optimizer, phase, schedule, task.num_stages)
    train_step = make_train_step(
        partial(task.apply, frozen_stages=frozen_stages(phase.trainable, task.num_stages)),
        task.loss,
        optimizer,
        augment=augmentation_steps(config.augmentation, config.dataset.input_shape),
        grad_accum_steps=config.optimizer.grad_accum_steps,
        ema_decay=config.optimizer.ema_decay,
        mesh=mesh,
    )
    return optimizer, make_train_block(train_step, mesh=mesh, donate=donate)


def _total_epochs(config: Config) -> int:
    return sum(phase.epochs for phase in config.optimizer.phases)


def _is_validated(config: Config, sizes: Sizes, step: int) -> bool:
    """Decide whether to validate after this many steps: every `eval_every` epochs, and at the end of each phase."""
    epoch, rest = divmod(step, sizes.epoch_steps)
    ends = [place.epochs.stop for place in places(config.optimizer)]
    return rest == 0 and (epoch % config.runtime.eval_every == 0 or epoch in ends)


def _going_on(config: Config, sizes: Sizes, step: int) -> str:
    (done, rest), epochs = divmod(step, sizes.epoch_steps), _total_epochs(config)
    if done == epochs:
        return f"all {epochs} epochs are done"
    within = f" and {rest} of {sizes.epoch_steps} steps" if rest else ""
    return f"continuing after epoch {done} of {epochs}{within}"


def _progress(total_steps: int, step: int, batch_size: int) -> tqdm:
    total, initial = total_steps * batch_size, step * batch_size
    return tqdm(
        desc="training", disable=None if is_main_process() else True, total=total, initial=initial, unit=" images"
    )


class _Clock:
    """Time of the next checkpoint between validations."""

    def __init__(self, minutes: float) -> None:
        self._seconds, self._since = 60 * minutes, time.monotonic()

    def restart(self) -> None:
        self._since = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._since >= self._seconds


@dataclass(frozen=True)
class _Trainer:
    """Constants of the training loop, equal in all phases."""

    config: Config
    task: Task
    validate: Validate
    loader: Loader
    val_set: Dataset
    run: RunFolder
    checkpoints: Checkpoints
    sizes: Sizes
    mesh: Mesh
    bar: tqdm
    begin: float
    first_step: int
    clock: _Clock

    def train_phase(self, place: Place, before: TrainState, step: int) -> TrainState:
        """Train from `step` to the end of the phase; each phase has a new optimizer, and continues the average."""
        config, phase, sizes = self.config, place.phase, self.sizes
        first_step, phase_steps = place.first_epoch * sizes.epoch_steps, phase.epochs * sizes.epoch_steps
        schedule = make_schedule(phase, phase_steps)
        optimizer, train_block = make_phase(config, self.task, phase, schedule, mesh=self.mesh)
        average = before.average or config.optimizer.ema_decay is not None
        state = init_state(*before.variables, optimizer, step=step, average=average)
        if step > first_step:
            state = state._replace(opt_state=before.opt_state)
        rates = jax.device_get(jax.vmap(schedule)(np.arange(phase_steps)))
        order_key, step_key = run_keys(config.runtime.seed, self.mesh)
        program = self._compile(train_block, state, step_key)
        with deferred():  # from here on there is something to save
            for epoch in range(step // sizes.epoch_steps, place.epochs.stop):
                order = epoch_order(order_key, np.int32(epoch), sizes)
                for examples, rows_of_call in self._calls(order, step % sizes.epoch_steps):
                    with jax.transfer_guard("disallow"):
                        state, loss = program.call(state, examples, rows_of_call, step_key)
                    in_phase = slice(step - first_step, step - first_step + sizes.call_steps)
                    where = {"first_step": step, "epoch": epoch, "phase": place.number}
                    rows = list(train_rows(fetch(loss), rates[in_phase], **where))
                    self.run.append_rows(rows)
                    if step == self.first_step:
                        self.bar.write(f"first losses {time.perf_counter() - self.begin:.1f} s after the data was read")
                    require_finite_losses(rows, self.checkpoints.last_step)
                    step += sizes.call_steps
                    self._advance(rows)
                    self._save_or_stop(state, step, rows)
            self.checkpoints.wait()
            if signal := all_max([requested()])[0]:
                raise Interrupted(signal)
        return state._replace(opt_state=None)  # its memory is free for the next phase

    def _compile(self, train_block: TrainBlock, state: TrainState, step_key: Array) -> Program:
        """Compile the training step; only the validation is compiled later."""
        shape = self.sizes.call_steps, self.sizes.batch_size
        rows = jax.ShapeDtypeStruct(shape, np.int32, sharding=replicated(self.mesh))
        program = compile_program(train_block, state, self.loader.shapes, rows, step_key)
        need = MemoryNeed(self.loader.nbytes, nbytes(state), program.temporary)
        self.bar.write(f"compiled in {program.seconds:.1f} s; {need.describe(memory_bytes())}")
        return program

    def _calls(self, order: Array, done: int) -> Iterator[tuple[Examples, Array]]:
        """Images and rows of each remaining call of an epoch."""
        sizes = self.sizes
        blocks_done, steps_done = divmod(done, sizes.block_steps)
        for examples, rows_of_block in self.loader.blocks(order[blocks_done:] if blocks_done else order):
            calls = rows_of_block.reshape(-1, sizes.call_steps, sizes.batch_size)
            for rows_of_call in calls[steps_done // sizes.call_steps :] if steps_done else calls:
                yield examples, rows_of_call
            steps_done = 0

    def _save_or_stop(self, state: TrainState, step: int, rows: list[Row]) -> None:
        """Validate and save if it is time, and stop after a signal; all processes together."""
        validated = _is_validated(self.config, self.sizes, step)
        signal, late = all_max([requested(), self.clock.is_due()])
        if not (signal or late or validated):
            return
        require_finite_state(state, rows, self.checkpoints.last_step)
        stop, score = Interrupted(signal) if signal else None, None
        if validated and not stop:
            try:
                score = self.validate_at(step, state.inference)["objective"]
            except Interrupted as interrupted:  # the run validates here when it continues
                stop = interrupted
        self.checkpoints.save(step, state, score=score)
        self.clock.restart()
        if not stop and (signal := all_max([requested()])[0]):  # one may have come while scores were computed
            stop = Interrupted(signal)
        if stop:
            self.checkpoints.wait()  # if it cannot be saved that is an error, and no stop
            raise stop

    def validate_at(self, step: int, variables: Variables) -> Row:
        """Score the variables at the end of an epoch, and append the row."""
        epoch = step // self.sizes.epoch_steps - 1
        (phase,) = (place.number for place in places(self.config.optimizer) if epoch in place.epochs)
        batch_size = self.sizes.batch_size
        result = evaluate(self.validate, variables, self.val_set, self.task.score, batch_size=batch_size)
        row = val_row(result, step=step, epoch=epoch, phase=phase)
        require_finite_losses([row], self.checkpoints.last_step)
        self.run.append_rows([row])
        self.bar.write(f"epoch {epoch + 1:3d}: validation loss {row['loss']:.3f}, {result.scores.headline()}")
        return row

    def _advance(self, rows: list[Row]) -> None:
        """Move the progress bar."""
        last, phases = rows[-1], len(self.config.optimizer.phases)
        in_phase = f"phase {last['phase'] + 1}/{phases}, " if phases > 1 else ""
        text = f"{in_phase}epoch {last['epoch'] + 1}/{_total_epochs(self.config)}, loss {last['loss']:.3f}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(len(rows) * self.sizes.batch_size)
