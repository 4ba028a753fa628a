"""Checkpoints: the last and the best state of a run, written by orbax in the background, read with digests."""

import contextlib
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxssd.atomic import write_json
from jaxssd.sealed import read_sealed, sealed
from jaxssd.training.distribution import barrier, is_main_process, one_device, replicated, send
from jaxssd.training.orbax_io import DamagedCheckpointError, named, patient_event_loops, plain
from jaxssd.training.step import TrainState, Variables


class Checkpoints:
    """Checkpoints of one training, of any model: the last one, and the one with the highest score. A context manager.

    A checkpoint is written beside its predecessor, which is deleted only when the new one is whole; a run that is
    killed while writing still has the old one.

    Example:
        >>> import optax, tempfile
        >>> from jaxssd.training import init_state
        >>> state = init_state({"w": jax.numpy.ones(2)}, (), optax.sgd(0.1), step=20)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Checkpoints(Path(folder, "checkpoints")) as checkpoints:
        ...         checkpoints.save(20, state, score=0.5)
        ...     with Checkpoints(Path(folder, "checkpoints"), read_only=True) as checkpoints:
        ...         restored = checkpoints.restore(checkpoints.best_step, like=state)
        >>> int(restored.step), restored.params["w"].tolist()
        (20, [1.0, 1.0])
    """

    def __init__(self, folder: Path, *, mesh: Mesh | None = None, read_only: bool = False) -> None:
        """Open a folder.

        Args:
            folder: folder of checkpoints, made by the first `save`.
            mesh: devices that get restored arrays, however many wrote them; default, the first one of this process.
            read_only: if True, nothing is saved: the run may be training, or lie where nobody can write.

        Raises:
            FileNotFoundError: if `read_only` and the folder is not there.
        """
        if read_only and not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there: the run ended before its first checkpoint")
        self.folder = folder
        self.last_step = max(self.steps, default=None)
        """Step of the newest checkpoint, even if it is still being written; None if there is none."""
        self._sharding = replicated(mesh or one_device())
        self._without_digests: set[int] = set()
        self._stack = contextlib.ExitStack()
        # Orbax logs pages about each error, from threads that outlive everything here, and each missing score.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._stack.enter_context(patient_event_loops())
        self._place = self._stack.enter_context(plain(folder))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        with self._stack:
            if "_manager" in self.__dict__:
                with contextlib.suppress(Exception) if kind else named(self.folder, "not saved"):
                    self._manager.close()

    @cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Orbax's manager, made at the first saving: it reads the scores of all steps, and fails if one is damaged."""
        return ocp.CheckpointManager(
            self._place,
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,  # left by killed runs
                best_fn=_score,
                preservation_policy=AnyPreservationPolicy(
                    [LatestN(1), BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)]
                ),
            ),
        )

    @property
    def steps(self) -> list[int]:
        """Steps with a checkpoint, in order."""
        names = (path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the highest score, the newest of several; None if there is none with a score.

        Raises:
            DamagedCheckpointError: if a score cannot be read.
        """
        scores = ((self.score(step), step) for step in self.steps)
        return max(
            ((_score({"score": score}), step) for score, step in scores if score is not None), default=(0, None)
        )[1]

    def folder_of(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.folder / str(step)

    def score(self, step: int) -> float | None:
        """Score of the checkpoint of a step; None if it was saved between validations.

        Raises:
            DamagedCheckpointError: if it is there and cannot be read.
        """
        path = self.folder_of(step) / "metrics" / "metrics"
        if not path.parent.exists():
            return None
        try:
            metrics = json.loads(path.read_bytes())
            score = float(metrics["score"])
            if "negated" in metrics and repr(float(metrics["negated"])) != repr(-score):
                raise ValueError("its two copies differ")
            return score
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DamagedCheckpointError(f"{path} is damaged: {error}") from error

    def is_scored(self, step: int) -> bool:
        """True if the checkpoint of this step was validated; raises like `score`."""
        return self.score(step) is not None

    def save(self, step: int, state: TrainState, *, score: float | None) -> None:
        """Copy the state to the host, and write it in the background. All processes call this; one writes.

        Args:
            step: number of steps taken.
            state: state on any devices, with parameters and model state of any tree.
            score: validation score, higher is better; None between validations: the next checkpoint replaces it.

        Raises:
            OSError: if this or the previous checkpoint cannot be written; the message names the folder.
        """
        trees = {"variables": state.variables._asdict(), "optimizer": state.opt_state}
        if state.average is not None:
            trees["average"] = state.average._asdict()
        trees = {name: _without_keys(tree) for name, tree in trees.items()}
        digests = {name: array_digests(tree) for name, tree in trees.items()}
        items = ocp.args.Composite(
            **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
            digests=ocp.args.JsonSave(sealed(digests)),
        )
        with named(self.folder, "not saved"):
            self._manager.save(step, args=items, metrics=None if score is None else _metrics(score))
        self.last_step = step

    def wait(self) -> None:
        """Wait until everything is on the disk; raises like `save`."""
        if "_manager" in self.__dict__:
            with named(self.folder, "not saved"):
                self._manager.wait_until_finished()

    def add_score(self, step: int, score: float) -> None:
        """Write the missing or lost score of a checkpoint to orbax's file."""
        folder = self.folder_of(step) / "metrics"
        with self._changing():
            if is_main_process():
                folder.mkdir(exist_ok=True)
                write_json(folder / "metrics", _metrics(score))

    def set_aside(self, step: int) -> Path:
        """Rename the checkpoint of a damaged step, so that training can save it again; returns the new folder."""
        names = [f"{step}.damaged", *(f"{step}.damaged-{number}" for number in range(2, 100))]
        aside = self.folder / next(name for name in names if not (self.folder / name).exists())
        with self._changing():
            if is_main_process():
                self.folder_of(step).rename(aside)
        return aside

    def tidy(self) -> None:
        """Delete checkpoints that are neither last nor best: a run was killed while it deleted them."""
        left = set(self.steps) - {self.last_step, self.best_step}
        with self._changing():
            for step in left if is_main_process() else ():
                shutil.rmtree(self.folder_of(step), ignore_errors=True)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Wait for all processes before and after the files change, and read them again."""
        barrier("before checkpoints change")
        yield
        barrier("after checkpoints changed")
        self.last_step = max(self.steps, default=None)
        if "_manager" in self.__dict__:
            self._manager.reload()

    def restore_variables(self, step: int | None, like: Variables) -> Variables:
        """Read the parameters and model state to use: the moving average, where the training kept one.

        Args:
            step: step of a checkpoint, such as `last_step` or `best_step`.
            like: variables of the same model, or their shapes (`jax.eval_shape`).

        Returns:
            The variables, checked against the digests that were saved with them.

        Raises:
            FileNotFoundError: if there is no checkpoint yet.
            DamagedCheckpointError: if it cannot be read, or is not what was saved.
            ValueError: if it holds another network.
        """
        item = "average" if step is not None and self._has_average(step) else "variables"
        return Variables(**self._restore(step, item, like._asdict()))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Read a whole state, to continue the training; raises like `restore_variables`.

        Args:
            step: step of a checkpoint, such as `last_step` or `best_step`.
            like: state of the same model and optimizer, or its shapes; `opt_state` or `average` None is left out.

        Returns:
            The state.
        """
        variables = Variables(**self._restore(step, "variables", like.variables._asdict()))
        opt_state = None if like.opt_state is None else self._restore(step, "optimizer", like.opt_state)
        average = None if like.average is None else Variables(**self._restore(step, "average", like.average._asdict()))
        counted = send(np.int32(step), self._sharding)
        return TrainState(counted, *variables, opt_state, average)

    def _restore(self, step: int | None, item: str, like: Any) -> Any:
        if step is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint: the run ended before its first validation")
        folder, with_keys, like = self.folder_of(step), like, _without_keys(like)
        saved = self._digests(step, item)
        for place, form in array_forms(like).items():
            if saved and not saved.get(place, "nothing").startswith(form):
                raise ValueError(
                    f"{folder} holds another network than config.json describes: {item}{place} is "
                    f"{saved.get(place, 'not there')}, expected {form}"
                )
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._sharding), like)
        handler = ocp.StandardCheckpointHandler()
        with named(folder / item, "not read"), ocp.Checkpointer(handler) as reader:
            found = reader.restore(self._place / str(step) / item, args=ocp.args.StandardRestore(target))
        if saved:
            wrong = [place for place, digest in array_digests(found).items() if saved.get(place) != digest]
            if wrong:
                others = f" and {len(wrong) - 1} more arrays are" if len(wrong) > 1 else " is"
                raise DamagedCheckpointError(f"{folder} is damaged: {item}{wrong[0]}{others} not what was saved")
        return jax.tree.map(_as_key, found, with_keys)

    def _has_average(self, step: int) -> bool:
        """True if the state had a moving average; an older version has none."""
        return "average" in (self._all_digests(step) or {})

    def _digests(self, step: int, item: str) -> dict[str, str] | None:
        """Read the digests of an item; None if an older version wrote the checkpoint."""
        saved = self._all_digests(step)
        try:
            return None if saved is None else dict(saved[item])
        except (KeyError, ValueError, TypeError) as error:
            path = self.folder_of(step) / "digests"
            raise DamagedCheckpointError(f"{path} is damaged: it has no {item!r}") from error

    def _all_digests(self, step: int) -> dict[str, Any] | None:
        """Read the digests of all items; None if an older version wrote the checkpoint, which is said once."""
        path = self.folder_of(step) / "digests"
        if self.folder_of(step).is_dir() and not path.exists():
            if step not in self._without_digests:
                print(f"{self.folder_of(step)} has no digests (an older version wrote it): taken as it is")
            self._without_digests.add(step)
            return None
        try:
            return read_sealed(path / "metadata")
        except FileNotFoundError as error:
            raise DamagedCheckpointError(f"{path} is damaged: it has no file metadata") from error
        except ValueError as error:  # it names the file
            raise DamagedCheckpointError(str(error)) from error


def array_digests(tree: Any) -> dict[str, str]:
    """Compute a digest of each array of a tree.

    Args:
        tree: tree of arrays, NumPy's or replicated ones.

    Returns:
        Place in the tree -> dtype, shape and 64 bits of SHA-256 of the content.

    Example:
        >>> array_digests({"bias": np.zeros(3, np.float32)})
        {"['bias']": 'float32[3] 15ec7bf0b50732b4'}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{_form(leaf)} {_digest(leaf)}" for path, leaf in leaves}


def array_forms(tree: Any) -> dict[str, str]:
    """Place in the tree -> dtype and shape, of arrays or of `ShapeDtypeStruct`s."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _form(leaf) for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Tree with the integers of random keys, such as NNX's model state has; also of `ShapeDtypeStruct`s."""

    def data(leaf: Any) -> Any:
        shape_alone = isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.eval_shape(jax.random.key_data, leaf) if shape_alone else jax.random.key_data(leaf)

    return jax.tree.map(lambda leaf: data(leaf) if _is_key(leaf) else leaf, tree)


def _as_key(leaf: Any, like: Any) -> Any:
    """Array, or a key of its integers where `like` is a key."""
    if not _is_key(like):
        return leaf
    kinds: list[Any] = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), like)
    return jax.random.wrap_key_data(leaf, impl=kinds[0])


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")


def _digest(leaf: Any) -> str:
    here = leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf
    content = np.ascontiguousarray(here).reshape(-1).view(np.uint8)
    return hashlib.sha256(content.data).hexdigest()[:16]


def _metrics(score: float) -> dict[str, float]:
    """Score, stored twice to detect a flipped bit."""
    return {"score": score, "negated": -score}


def _score(metrics: dict[str, float]) -> float:
    """Score for comparisons: NaN is the lowest; to orbax it would be the highest."""
    return -math.inf if math.isnan(metrics["score"]) else metrics["score"]
