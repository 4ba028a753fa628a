"""A whole training run: from a configuration and data to checkpoints and metrics in a folder."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from tqdm import tqdm

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.backbone import first_variables
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.compilation import Program, compile_program
from jaxssd.training.distribution import all_max, all_min, data_mesh, fetch, is_main_process, replicated
from jaxssd.training.divergence import require_finite_losses, require_finite_state
from jaxssd.training.epochs import Sizes, cut_epoch, epoch_order, run_keys, whole_batch
from jaxssd.training.evaluation import Validate, evaluate, make_validate
from jaxssd.training.interruption import Interrupted, deferred, requested
from jaxssd.training.loader import Loader, images_at_once, is_streamed, open_loader
from jaxssd.training.memory import MemoryNeed, memory_bytes, nbytes
from jaxssd.training.phases import Place, make_phase, places
from jaxssd.training.restore import newest_sound
from jaxssd.training.rows import train_rows, val_row
from jaxssd.training.run_folder import Row, RunFolder
from jaxssd.training.schedules import make_schedule
from jaxssd.training.step import TrainBlock, TrainState, Variables, init_state


def train(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder, mesh: Mesh | None = None) -> Validate:
    """Train phase by phase, validate and checkpoint, until the last epoch.

    A run that was stopped goes on from its last checkpoint, and ends as it would have without the stop. Under
    `signals_watched`, a signal that asks for the end is answered between two calls, with a checkpoint of there.

    Args:
        config: settings, classes filled in.
        train_set: goes to the device whole, as uint8, or is streamed to it; see `loader`.
        val_set: goes to the device a batch at a time.
        run: the run's folder, made by `RunFolder.create`.
        mesh: devices that share the work; default, all there are. How many there are changes nothing but the speed, and
            rounding.

    Returns:
        The compiled validation, for more of it.

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
    batch_size = whole_batch(config, num_images)
    resident = all_min(not is_streamed(train_set, config.runtime.memory))  # hosts may differ, what they compile may not
    at_once = num_images if resident else all_min(images_at_once(train_set))
    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(run.checkpoints, mesh=mesh))
        resumed = newest_sound(config, task, run, checkpoints, cut_epoch(num_images, batch_size, at_once).epoch_steps)
        step, opt_state = (int(resumed.step), resumed.opt_state) if resumed else (0, None)
        sizes = cut_epoch(num_images, batch_size, at_once, step)
        validated = step == 0 or checkpoints.is_scored(step) or not _is_validated(config, sizes, step)
        run.drop_rows_after(step, validated=validated)
        if resumed:
            variables = resumed.variables
            print(_going_on(config, sizes, step))
        else:
            variables = first_variables(config, task, mesh)
        bar = stack.enter_context(_progress(_total_steps(config, sizes), step, sizes.batch_size))
        loader = stack.enter_context(open_loader(train_set, None if resident else sizes.block_rows, bar.write, mesh))
        clock = _Clock(config.runtime.checkpoint_every)
        trainer = _Trainer(
            config, task, validate, loader, val_set, run, checkpoints, sizes, mesh, bar, begin, step, clock
        )
        if not validated:
            checkpoints.add_score(step, trainer.validate_at(step, variables)["objective"])
        for place in places(config):
            if step < place.epochs.stop * sizes.epoch_steps:
                variables = trainer.train_phase(place, variables, step, opt_state)
                step = place.epochs.stop * sizes.epoch_steps
    return validate


def _total_steps(config: Config, sizes: Sizes) -> int:
    return sum(phase.epochs for phase in config.optimizer.phases) * sizes.epoch_steps


def _is_validated(config: Config, sizes: Sizes, step: int) -> bool:
    """Whether the run is validated after this many steps: every so many epochs, and at the end of each phase."""
    epoch, rest = divmod(step, sizes.epoch_steps)
    return rest == 0 and (
        epoch % config.runtime.eval_every == 0 or any(epoch == place.epochs.stop for place in places(config))
    )


def _going_on(config: Config, sizes: Sizes, step: int) -> str:
    (done, rest), epochs = divmod(step, sizes.epoch_steps), sum(phase.epochs for phase in config.optimizer.phases)
    if step == _total_steps(config, sizes):
        return f"all {epochs} epochs are done"
    within = f" and {rest} of {sizes.epoch_steps} steps" if rest else ""
    return f"going on after epoch {done} of {epochs}{within}"


def _stop_together(signal: int) -> None:
    """Stop if there was a signal, on which the processes have agreed."""
    if signal:
        raise Interrupted(signal)


class _Clock:
    """When the next checkpoint is due that no validation asks for."""

    def __init__(self, minutes: float) -> None:
        self._seconds, self._since = 60 * minutes, time.monotonic()

    def restart(self) -> None:
        self._since = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._since >= self._seconds


@dataclass(frozen=True)
class _Trainer:
    """What stays the same through all phases."""

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
    clock: "_Clock"

    def train_phase(self, place: Place, variables: Variables, step: int, opt_state: Any = None) -> Variables:
        """From the variables at `step`, which lies before the phase's end, to those at its end.

        The optimizer's state is that of `step`; at the phase's start it is made anew.
        """
        config, phase, sizes = self.config, place.phase, self.sizes
        first_step, phase_steps = place.first_epoch * sizes.epoch_steps, phase.epochs * sizes.epoch_steps
        schedule = make_schedule(phase, phase_steps)
        optimizer, train_block = make_phase(config, self.task, phase, schedule, mesh=self.mesh)
        state = init_state(*variables, optimizer, step=step)
        if step > first_step:
            state = state._replace(opt_state=opt_state)
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
            _stop_together(all_max([requested()])[0])
        return state.variables

    def _calls(self, order: Array, done: int) -> Iterator[tuple[Examples, Array]]:
        """Images and rows of each call of an epoch of which some steps are done."""
        sizes = self.sizes
        blocks_done, steps_done = divmod(done, sizes.block_steps)
        for examples, rows_of_block in self.loader.blocks(order[blocks_done:] if blocks_done else order):
            calls = rows_of_block.reshape(-1, sizes.call_steps, sizes.batch_size)
            for rows_of_call in calls[steps_done // sizes.call_steps :] if steps_done else calls:
                yield examples, rows_of_call
            steps_done = 0

    def _save_or_stop(self, state: TrainState, step: int, rows: list[Row]) -> None:
        """Between two calls: validate and save if it is time, and stop if a signal has come, all processes together."""
        validated = _is_validated(self.config, self.sizes, step)
        signal, late = all_max([requested(), self.clock.is_due()])
        if not (signal or late or validated):
            return
        require_finite_state(state, rows, self.checkpoints.last_step)
        stop, score = Interrupted(signal) if signal else None, None
        if validated and not stop:
            try:
                score = self.validate_at(step, state.variables)["objective"]
            except Interrupted as interrupted:  # the run validates here when it goes on
                stop = interrupted
        self.checkpoints.save(step, state, score=score)
        self.clock.restart()
        if not stop and (signal := all_max([requested()])[0]):  # one may have come while scores were computed
            stop = Interrupted(signal)
        if stop:
            self.checkpoints.wait()  # what cannot be saved is an error, and no stop
            raise stop

    def _compile(self, train_block: TrainBlock, state: TrainState, step_key: Array) -> Program:
        """Nothing is compiled after this but the first validation; says what it took, and what the run will take."""
        shape = self.sizes.call_steps, self.sizes.batch_size
        rows = jax.ShapeDtypeStruct(shape, np.int32, sharding=replicated(self.mesh))
        program = compile_program(train_block, state, self.loader.shapes, rows, step_key)
        need = MemoryNeed(self.loader.nbytes, nbytes(state), program.temporary)
        self.bar.write(f"compiled in {program.seconds:.1f} s; {need.describe(memory_bytes())}")
        return program

    def validate_at(self, step: int, variables: Variables) -> Row:
        """Score the variables at the end of an epoch, which a row says."""
        epoch = step // self.sizes.epoch_steps - 1
        (phase,) = (place.number for place in places(self.config) if epoch in place.epochs)
        batch_size = self.sizes.batch_size
        result = evaluate(self.validate, variables, self.val_set, self.task.score, batch_size=batch_size)
        row = val_row(result, step=step, epoch=epoch, phase=phase)
        require_finite_losses([row], self.checkpoints.last_step)
        self.run.append_rows([row])
        self.bar.write(f"epoch {epoch + 1:3d}: validation loss {row['loss']:.3f}, {result.scores.headline()}")
        return row

    def _advance(self, rows: list[Row]) -> None:
        of_phases = (
            f"phase {rows[-1]['phase'] + 1}/{len(self.config.optimizer.phases)}, "
            if len(self.config.optimizer.phases) > 1
            else ""
        )
        epochs = sum(phase.epochs for phase in self.config.optimizer.phases)
        text = f"{of_phases}epoch {rows[-1]['epoch'] + 1}/{epochs}, loss {rows[-1]['loss']:.3f}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(len(rows) * self.sizes.batch_size)


def _progress(total_steps: int, step: int, batch_size: int) -> tqdm:
    total, initial = total_steps * batch_size, step * batch_size
    return tqdm(
        desc="training", disable=None if is_main_process() else True, total=total, initial=initial, unit=" images"
    )
