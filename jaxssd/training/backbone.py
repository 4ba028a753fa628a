"""What a run's network starts from: random parameters, or a backbone that was trained before."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxssd.config import Config
from jaxssd.tasks.task import Task
from jaxssd.training.distribution import one_device, replicated, send
from jaxssd.training.restore import restore, variable_shapes
from jaxssd.training.run_folder import RunFolder
from jaxssd.training.step import Variables


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
    key = jax.random.key(config.runtime.seed, impl="rbg")
    init = jax.jit(partial(task.init, image_size=config.dataset.image_size), out_shardings=everywhere)
    variables = Variables(*init(key))
    if config.model.pretrained is not None:
        backbone = send(pretrained_backbone(config, task), everywhere)
        params, statistics = variables.params, variables.model_state["batch_stats"]
        variables = Variables(
            {**params, "backbone": backbone["params"]},
            {"batch_stats": {**statistics, "backbone": backbone["batch_stats"]}},
        )
    return variables


def pretrained_backbone(config: Config, task: Task) -> dict[str, Any]:
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
    from jaxssd.models.pretrained import load_pretrained  # only runs with pretrained weights read foreign files

    path = Path(str(config.model.pretrained))
    if path.is_dir():
        return _of_run(path, config)
    return load_pretrained(path, _backbone(variable_shapes(task, config.dataset.image_size)))


def _of_run(path: Path, config: Config) -> dict[str, Any]:
    other, _, variables = restore(RunFolder(path))
    theirs, ours = other.settings(), config.settings()
    for name in ("backbone", "mean", "std"):
        if theirs[name] != ours[name]:
            raise ValueError(f"--pretrained {path} was trained with --{name} {theirs[name]}, not {ours[name]}")
    return jax.device_get(_backbone(variables))


def _backbone(variables: Variables) -> dict[str, Any]:
    """Flax collections of the backbone."""
    return {"params": variables.params["backbone"], "batch_stats": variables.model_state["batch_stats"]["backbone"]}
