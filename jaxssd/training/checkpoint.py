"""The last and the best state of a run, written by orbax in the background."""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxssd.data.results import write_json
from jaxssd.training.devices import leads, meet, one_device, replicated, send
from jaxssd.training.state import TrainState, Variables


class Checkpoints:
    """The checkpoints of one run: the last one, and the one with the highest score. A context manager.

    A checkpoint is written beside its predecessor, which goes only when the new one is whole; a run that is killed
    while writing still has the old one.
    """

    def __init__(self, folder: Path, *, mesh: Mesh | None = None, read_only: bool = False) -> None:
        """Open a folder.

        Args:
            folder: made if it is not there.
            mesh: devices that get what is restored, however many wrote it; default, the first one of this process.
            read_only: change nothing: the run may be training, or lie where nobody can write.

        Raises:
            FileNotFoundError: if it is to be read only and is not there.
        """
        if read_only and not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there: the run ended before its first checkpoint")
        self.folder = folder
        self._sharding = replicated(mesh or one_device())
        with _orbax_remarks_silenced():
            self._manager = ocp.CheckpointManager(
                folder.resolve(),
                options=ocp.CheckpointManagerOptions(
                    create=not read_only,
                    read_only=read_only,
                    best_fn=_score,
                    preservation_policy=AnyPreservationPolicy(
                        [LatestN(1), BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)]
                    ),
                ),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    @property
    def last_step(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the highest score; None if there is none."""
        return self._manager.best_step()

    def folder_of(self, step: int) -> Path:
        """Where orbax keeps the checkpoint of a step."""
        return self.folder.resolve() / str(step)

    def is_scored(self, step: int) -> bool:
        """Whether the checkpoint of this step was validated, or only saved on the way."""
        return self._manager.metrics(step) is not None

    def save(self, step: int, state: TrainState, *, score: float | None) -> None:
        """Copy the state to the host, and write it while training goes on; all processes call this, one writes.

        Args:
            step: how many steps led to it.
            state: on any devices.
            score: higher is better; None of one that is only there to go on from, and that its successor replaces.
        """
        items = ocp.args.Composite(
            variables=ocp.args.StandardSave(state.variables), optimizer=ocp.args.StandardSave(state.opt_state)
        )
        with _orbax_remarks_silenced():
            self._manager.save(step, args=items, metrics=None if score is None else {"score": score})

    def wait(self) -> None:
        """Until what was saved is on the disk."""
        self._manager.wait_until_finished()

    def add_score(self, step: int, score: float) -> None:
        """Give the checkpoint of a step the score that it was saved without, where orbax keeps it."""
        if leads():
            write_json(self.folder_of(step) / "metrics" / "metrics", {"score": score})
        meet("at a score")
        self._manager.reload()

    def restore_variables(self, step: int | None, like: Variables) -> Variables:
        """Read parameters and statistics, whatever devices they were written from.

        Args:
            step: `last_step` or `best_step`.
            like: variables of the same model, or their shapes (`jax.eval_shape`).

        Returns:
            The variables.

        Raises:
            FileNotFoundError: if the run has no checkpoint yet.
        """
        return self._restore(step, "variables", like)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Read a whole state, to go on in the phase in which it was written.

        Args:
            step: `last_step` or `best_step`.
            like: a state, or its shapes, of the same model and that phase's optimizer.

        Returns:
            The state.
        """
        variables = self.restore_variables(step, like.variables)
        opt_state = self._restore(step, "optimizer", like.opt_state)
        counted = send(np.int32(step), self._sharding)
        return TrainState(counted, variables["params"], variables["batch_stats"], opt_state)

    def _restore(self, step: int | None, item: str, like: Any) -> Any:
        if step is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint: the run ended before its first validation")
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._sharding), like)
        return self._manager.restore(step, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(target)}))[item]


@contextlib.contextmanager
def _orbax_remarks_silenced() -> Iterator[None]:
    """It warns that what is opened read only is read only, and that what has no score has none."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _score(metrics: dict[str, float]) -> float:
    """A score that is not a number is no best one; to orbax it would be the highest."""
    return -math.inf if math.isnan(metrics["score"]) else metrics["score"]
