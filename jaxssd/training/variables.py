"""Variables of a run: random at first, from pretrained weights, or from a checkpoint."""

from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssd.config import Config
from jaxssd.ops.arrays import Size
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.distribution import all_max, one_device, replicated, send
from jaxssd.training.optimizer import make_schedule, phase_optimizer, places
from jaxssd.training.orbax_io import DamagedCheckpointError
from jaxssd.training.run_folder import FREE, RunFolder
from jaxssd.training.step import TrainState, Variables


def variable_shapes(task: Task, image_size: Size) -> Variables:
    """Shapes and dtypes of a task's variables; nothing is computed."""
    return jax.eval_shape(lambda: Variables(*task.init(jax.random.key(0), image_size)))


def first_variables(config: Config, task: Task, mesh: Mesh | None = None) -> Variables:
    """Make the variables at step 0: random, or with what fits of pretrained weights.

    Args:
        config: settings of the run.
        task: task of the run.
        mesh: devices that each get all variables; default, the first one of this process.

    Returns:
        Parameters and model state.

    Raises:
        ValueError, OSError: as `read_pretrained` does.
    """
    everywhere = replicated(mesh or one_device())
    # "rbg" compiles three times as quickly as the default, once a layer.
    key = jax.random.key(config.runtime.seed, impl="rbg")
    init = jax.jit(partial(task.init, image_size=config.dataset.input_shape), out_shardings=everywhere)
    variables = Variables(*init(key))
    if config.model.pretrained is None:
        return variables
    from jaxssd.training.fine_tune import read_pretrained, with_pretrained  # only here are foreign files read

    variables, lines = with_pretrained(variables, read_pretrained(config, task), config)
    print(*lines, sep="\n")
    return jax.tree.map(lambda x: send(x, everywhere) if isinstance(x, np.ndarray) else x, variables)


def as_collections(variables: Variables) -> dict[str, Any]:
    """Flax collections of a model, such as `params` and `batch_stats`."""
    return {"params": variables.params, **variables.model_state}


def backbone_of(variables: Variables) -> dict[str, Any]:
    """Flax collections of the backbone; one without BatchNorm may have no `batch_stats`."""
    return {name: tree["backbone"] for name, tree in as_collections(variables).items() if "backbone" in tree}


def restore(
    run: RunFolder, which: Literal["best", "last"] = "best", mesh: Mesh | None = None
) -> tuple[Config, Task, Variables]:
    """Load a trained network from the folder of a run, trained on any number of devices.

    Args:
        run: folder of the run, which may still be training.
        which: checkpoint with the best validation score, or the last one.
        mesh: devices that each get all variables; default, the first one of this process.

    Returns:
        Settings, task, and variables, for `make_predict(task.apply, task.postprocess)` for example.

    Raises:
        FileNotFoundError: if there is no run, or no checkpoint in it yet.
        ValueError: if the settings are damaged, or were changed since the run was started.
        DamagedCheckpointError: if the checkpoint is damaged; the message names it and gives advice.
    """
    config = run.open()
    run.require_same_settings(config, free=FREE | {"batch_size"})
    task = make_task(config)
    like = variable_shapes(task, config.dataset.input_shape)
    tried = None
    while True:
        with Checkpoints(run.checkpoints, mesh=mesh, read_only=True) as checkpoints:
            step = None
            try:
                step = checkpoints.best_step if which == "best" else None
                step = checkpoints.last_step if step is None else step  # stopped before a validation: the best there is
                return config, task, checkpoints.restore_variables(step, like)
            except Exception as error:  # orbax raises nearly anything for a step that is deleted at this moment
                seen = step, checkpoints.steps
                if seen == tried and isinstance(error, DamagedCheckpointError):
                    raise DamagedCheckpointError(f"{error}. {_way_out(which, step, checkpoints.steps)}") from error
                if seen == tried:
                    raise
                tried = seen  # a training may have replaced it; then there is another one now


def _way_out(which: str, step: int | None, steps: list[int]) -> str:
    others = [other for other in steps if other != step]
    if not others:
        return (
            "No other checkpoint exists: restore a copy; or delete it, and train.py --resume starts the training again"
        )
    if which == "best":
        return f"To use the last checkpoint, of step {others[-1]}: evaluate.py --checkpoint last"
    return (
        f"To use the one of step {others[-1]}: evaluate.py --checkpoint best, or train.py --resume to continue from it"
    )


def newest_sound(
    config: Config, task: Task, run: RunFolder, checkpoints: Checkpoints, epoch_steps: int
) -> TrainState | None:
    """Read the state from which a run continues. Damaged checkpoints are reported and renamed.

    Args:
        config: settings of the run.
        task: task of the run.
        run: folder of the run; lost scores are taken from its rows.
        checkpoints: checkpoints of the run; those that training no longer needs are deleted.
        epoch_steps: number of steps per epoch.

    Returns:
        The state of the newest valid checkpoint; None if there is none. Between phases the optimizer's state is left
        out: the next phase begins with its own.

    Raises:
        ValueError: if a checkpoint holds another network.
    """
    _mend_scores(run, checkpoints)
    variables = variable_shapes(task, config.dataset.input_shape)
    like = TrainState(
        jax.ShapeDtypeStruct((), np.int32),  # type: ignore[arg-type]
        *variables,
        opt_state=None,
        average=None if config.optimizer.ema_decay is None else variables,
    )
    state = None
    while (step := checkpoints.last_step) is not None and state is None:
        opt_state = _optimizer_shapes(config, task, variables, step, epoch_steps)
        state = _read(checkpoints, step, like._replace(opt_state=opt_state))
    while (best := checkpoints.best_step) not in (None, step):
        if _read(checkpoints, best, like):
            break
    checkpoints.tidy()
    return state


def _read(checkpoints: Checkpoints, step: int, like: TrainState) -> TrainState | None:
    """Read a state; None if it is damaged for any of the processes."""
    state, words = None, "another process cannot read it"
    try:
        state = checkpoints.restore(step, like)
    except DamagedCheckpointError as error:
        words = str(error)
    if not all_max([state is None])[0]:
        return state
    if checkpoints.steps == [step]:  # to start again would lose the rows of the run as well
        raise DamagedCheckpointError(
            f"{words}. No other checkpoint exists: restore a copy; or delete {checkpoints.folder_of(step)}, and "
            "--resume trains again from step 0"
        )
    aside = checkpoints.set_aside(step)
    print(f"{words}. It is now {aside.name}; going on without it, from step {checkpoints.last_step}")
    return None


def _optimizer_shapes(config: Config, task: Task, variables: Variables, step: int, epoch_steps: int) -> Any:
    """Shapes of the optimizer's state in a checkpoint at this step; None between phases."""
    for place in places(config.optimizer):
        if place.epochs.start * epoch_steps < step < place.epochs.stop * epoch_steps:
            schedule = make_schedule(place.phase, place.phase.epochs * epoch_steps)
            optimizer = phase_optimizer(config.optimizer, place.phase, schedule, task.num_stages)
            return jax.eval_shape(optimizer.init, variables.params)
    return None


def _mend_scores(run: RunFolder, checkpoints: Checkpoints) -> None:
    """Take scores that are lost or cannot be read from the run's rows."""
    objectives = {row["step"]: row["objective"] for row in run.rows("val")}
    for step in checkpoints.steps:
        objective = objectives.get(step)
        try:
            if checkpoints.is_scored(step) or objective is None:
                continue
            words = f"{checkpoints.folder_of(step)} has lost its score"
        except DamagedCheckpointError as error:
            words = str(error)
        if objective is not None:
            checkpoints.add_score(step, objective)
            print(f"{words}; written again, from {run.metrics}")
        else:
            print(f"{words}; the checkpoint is now {checkpoints.set_aside(step).name}")
