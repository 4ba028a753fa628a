"""What a run's network starts from: random parameters, or a backbone that was trained before."""

from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxssd.config import Config
from jaxssd.models.pretrained import load_pretrained
from jaxssd.tasks.task import Task
from jaxssd.training.distribution import one_device, replicated, send
from jaxssd.training.restore import restore
from jaxssd.training.run_folder import RunFolder
from jaxssd.training.state import Variables, init_variables, variable_shapes


def first_variables(config: Config, task: Task, mesh: Mesh | None = None) -> Variables:
    """The variables at step 0.

    Args:
        config: seed, size, and what the backbone starts from.
        task: its model.
        mesh: devices that get them; default, the first one of this process.

    Returns:
        Parameters and statistics, all of them on every device; the head is always random.

    Raises:
        ValueError, FileNotFoundError: as `pretrained_backbone` does.
    """
    everywhere = replicated(mesh or one_device())
    # "rbg" compiles three times as quickly as the default, once a layer.
    variables = init_variables(
        task.model, jax.random.key(config.runtime.seed, impl="rbg"), config.dataset.image_size, everywhere
    )
    if config.model.pretrained is not None:
        backbone = send(pretrained_backbone(config, task), everywhere)
        variables = {name: {**variables[name], "backbone": backbone[name]} for name in variables}
    return variables


def pretrained_backbone(config: Config, task: Task) -> Variables:
    """The backbone's variables from a file, or from another run.

    Args:
        config: names the file or folder.
        task: its model.

    Returns:
        Parameters and statistics as NumPy arrays.

    Raises:
        ValueError: if they are of another network, or of images normalised in another way, naming what differs.
        FileNotFoundError: if there is no such file or run.
    """
    path = Path(str(config.model.pretrained))
    if path.is_dir():
        return _of_run(path, config)
    like = variable_shapes(task.model, config.dataset.image_size)
    return load_pretrained(path, {name: like[name]["backbone"] for name in like})


def _of_run(path: Path, config: Config) -> Variables:
    theirs, _, variables = restore(RunFolder(path))
    for name in ("backbone", "mean", "std"):
        if getattr(theirs, name) != getattr(config, name):
            raise ValueError(
                f"--pretrained {path} was trained with --{name} {getattr(theirs, name)}, not {getattr(config, name)}"
            )
    return {name: jax.device_get(variables[name]["backbone"]) for name in variables}
