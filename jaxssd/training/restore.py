"""From a run's folder back to a network."""

from typing import Literal

from jax.sharding import Mesh

from jaxssd.config import Config
from jaxssd.tasks import Task, make_task
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.run_folder import FREE, RunFolder
from jaxssd.training.state import Variables, variable_shapes


def restore(
    run: RunFolder, which: Literal["best", "last"] = "best", mesh: Mesh | None = None
) -> tuple[Config, Task, Variables]:
    """Load a checkpoint of a run, whatever devices it was trained on.

    Args:
        run: its folder.
        which: the checkpoint with the best validation score, or the last one. A run in training may be read as well.
        mesh: devices that get the variables, each all of them; default, the first one of this process.

    Returns:
        The run's settings, its task, and the variables to call the task's model with.

    Raises:
        FileNotFoundError: if there is no run, or no checkpoint in it yet.
        ValueError: if `config.json` was changed by hand.
    """
    config = run.open()
    run.require_same_settings(config, free=FREE | {"batch_size"})
    task = make_task(config)
    like = variable_shapes(task.model, config.image_size)
    tried = None
    while True:
        with Checkpoints(run.checkpoints, mesh=mesh, read_only=True) as checkpoints:
            step = checkpoints.best_step if which == "best" else None
            step = checkpoints.last_step if step is None else step  # stopped before a validation: the best there is
            try:
                return config, task, checkpoints.restore_variables(step, like)
            except Exception:  # of what is deleted at this moment, orbax raises nearly anything
                if step == tried:
                    raise
                tried = step  # a training may have replaced it; then there is another one now
