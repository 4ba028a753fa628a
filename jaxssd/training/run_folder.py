"""Folder of a run: its files, what they must not lose, and the lock on it."""

import contextlib
import errno
import itertools
import json
import math
import os
import shlex
import socket
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxssd.atomic import naming, write_json, write_text
from jaxssd.config import Config
from jaxssd.sealed import read_sealed, sealed
from jaxssd.training.distribution import barrier, is_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Row = dict[str, Any]

FREE = {"data", "images", "memory", "checkpoint_every"}
"""Settings that may be changed in the config.json of a run, since no number depends on them; data has fingerprints."""

LOCK = ".lock"

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class RunInUseError(RuntimeError):
    """Another process trains in the folder."""


@dataclass(frozen=True)
class RunFolder:
    """Files of one run: `config.json`, `metrics.jsonl`, `loading-*.json`, `scores-*.json`, `checkpoints/`, `figures/`.

    If several processes train one network, all of them read here and only the main process writes.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings, classes included: with the checkpoint, enough to use the network."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """Rows, one JSON object per line: `kind` is `train` for a step, `val` for a validation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints, one folder per step."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.path / "figures"

    @property
    def fingerprints(self) -> Path:
        """Fingerprints of the data sets and a copy of the settings, to detect changes before a run continues."""
        return self.path / "data.json"

    def require_new(self) -> None:
        """Refuse a folder that holds a run already, before anything is done for a new one.

        Raises:
            FileExistsError: if there is one; a run is never overwritten.
            NotADirectoryError, PermissionError: if nothing can be written there.
        """
        nearest = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(f"--out {self} cannot be made: {nearest} is a file; name a folder")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(f"--out {self} cannot be made: {nearest} is not writable; choose another folder")
        if self.metrics.exists() or self.checkpoints.exists():
            raise FileExistsError(
                f"{self.path} already holds a run: continue it with --resume {self}, or choose another --out"
            )

    def create(self, config: Config) -> None:
        """Make the folder for a new run, in the main process; raises like `require_new`."""
        if is_main_process():
            self.require_new()
            self.path.mkdir(parents=True, exist_ok=True)
            self.fingerprints.unlink(missing_ok=True)  # from a run that was stopped before its first step
            config.save(self.config)

    def open(self) -> Config:
        """Read the settings of the run; if they are damaged, the copy in `data.json`.

        Raises:
            FileNotFoundError: if there is no run.
            ValueError: if the settings are damaged, and the copy as well.
        """
        try:
            if not self.config.exists():
                raise FileNotFoundError(f"{self.path} is not the folder of a run: it has no config.json")
            if not self.config.is_file():
                raise ValueError(f"{self.config} is not a file")
            return Config.load(self.config)
        except (FileNotFoundError, ValueError) as error:
            try:
                config = Config.from_json(read_sealed(self.fingerprints)["settings"])
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                if isinstance(error, FileNotFoundError) or self.checkpoints.exists():
                    raise error from None
                raise ValueError(f"{error}. It has no checkpoint yet: start it again with --out {self}") from error
            print(f"{error}; its copy in {self.fingerprints} is used instead")
            return config

    def pin(self, config: Config, fingerprints: dict[str, str]) -> None:
        """Record settings and data sets of a new run; in an old run, refuse to continue with other ones.

        Args:
            config: settings, as in `config.json`.
            fingerprints: fingerprint of each split; see `require_same_data`.

        Raises:
            ValueError: if a setting or a data set has changed; the message names the setting or the split.
        """
        if is_main_process() and not self._is_pinned():
            write_json(self.fingerprints, sealed({**fingerprints, "settings": config.as_json()}))
        barrier("at the fingerprints")
        self.require_same_settings(config)
        self.require_same_data(fingerprints)

    def _is_pinned(self) -> bool:
        """True if a valid record exists. A damaged one is written again, unless there is a checkpoint to protect."""
        has_checkpoint = self.checkpoints.is_dir() and any(p.name.isdecimal() for p in self.checkpoints.iterdir())
        try:
            self._pinned()
        except FileNotFoundError:
            if has_checkpoint:
                print(f"{self.fingerprints} was lost and is written again: settings and data are assumed unchanged")
            return False
        except ValueError as error:
            if has_checkpoint:
                raise
            print(f"{error}; written again, since there is no checkpoint yet")
            return False
        return True

    def _pinned(self) -> dict[str, Any]:
        """Read the record of the start; raises FileNotFoundError, and ValueError with advice."""
        try:
            return read_sealed(self.fingerprints)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.fingerprints} is not there: train.py --resume {self} writes it") from error
        except ValueError as error:
            raise ValueError(
                f"{error}, so that settings and data cannot be compared with those of the start. If they are the same, "
                "delete this file: --resume writes it again"
            ) from error

    def require_same_settings(self, config: Config, *, free: Set[str] = FREE) -> None:
        """Raise an error if settings have changed since the start of the run.

        Args:
            config: settings, as in `config.json`.
            free: names of settings that may differ.

        Raises:
            ValueError: if settings have changed; the message has their old and new values.
        """
        try:
            then = Config.from_json(self._pinned()["settings"]).settings()
        except (FileNotFoundError, KeyError):
            return
        now = config.settings()
        changed = [name for name in then if name not in free and then[name] != now[name]]
        if changed:
            values = ", ".join(f"{name} is {now[name]!r} and was {then[name]!r}" for name in changed)
            raise ValueError(
                f"{self.config} was changed since the run was started: {values}. Set it back, or start a new run with "
                "other settings (--pretrained RUN takes this one's weights)"
            )

    def require_same_data(self, fingerprints: dict[str, str]) -> None:
        """Raise an error if data sets have changed since the start of the run.

        Args:
            fingerprints: fingerprint of each split; splits that the run did not use are not compared.

        Raises:
            ValueError: if a data set has changed; the message names the split.
        """
        ours = self._pinned()
        for split, fingerprint in fingerprints.items():
            if ours.get(split, fingerprint) != fingerprint:
                raise ValueError(
                    f"the list of images, their sizes or the boxes of `{split}` have changed since {self.path} was "
                    "started, so new scores could not be compared with old ones: start a new run, or score the data "
                    "with evaluate.py --data"
                )

    def append_rows(self, rows: Iterable[Row]) -> None:
        """Add lines to `metrics.jsonl`; numbers that JSON does not have become null."""
        if is_main_process():
            lines = "".join(json.dumps({k: _finite_or_none(v) for k, v in row.items()}) + "\n" for row in rows)
            with naming(self.metrics), self.metrics.open("a") as file:
                file.write(lines)

    def rows(self, kind: str) -> list[Row]:
        """Read the rows of one kind, `train` or `val`, in order."""
        return [row for row in self._read_rows()[0] if row["kind"] == kind]

    def drop_rows_after(self, step: int, *, validated: bool = True) -> None:
        """Delete the rows beyond the checkpoint that a run continues from, which will be written again.

        Args:
            step: step of the checkpoint.
            validated: if False, that checkpoint has no score, and its validation is done again as well.
        """
        if not is_main_process():
            return
        last = {"train": step, "val": step if validated else step - 1}
        rows, damaged = self._read_rows()
        if damaged:
            print(f"{self.metrics}: left out invalid rows: line {', '.join(map(str, damaged))}")
        in_time = [row for row in rows if row["step"] <= last[row["kind"]]]
        kept = list({(row["kind"], row["step"]): row for row in in_time}.values())
        if repeated := len(in_time) - len(kept):
            print(f"{self.metrics}: left out {repeated} rows of steps that have another")
        if missing := step - sum(row["kind"] == "train" for row in kept):
            print(f"{self.metrics}: the rows of {missing} of {step} steps are missing; figures are drawn without them")
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))

    def _read_rows(self) -> tuple[list[Row], list[int]]:
        """Read all rows, and the numbers of the lines that are not rows.

        The last line of a killed run may be cut short; it belongs to no checkpoint, and is not counted.
        """
        rows, damaged = [], []
        lines = self.metrics.read_bytes().split(b"\n") if self.metrics.is_file() else [b""]
        for number, line in enumerate(lines, 1):
            try:
                rows.append(_checked_row(json.loads(line)))
            except (ValueError, TypeError, KeyError, RecursionError):
                if number < len(lines):
                    damaged.append(number)
        return rows, damaged

    def __str__(self) -> str:
        """Path, quoted for a shell."""
        return shlex.quote(str(self.path))


def new_folder(path: Path) -> Path:
    """Make the folder, or PATH-2, PATH-3 and so on: one that no other process has made in the same second."""
    for number in itertools.count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counted to the end")


def _checked_row(row: Row) -> Row:
    """Require what every row has; losses that JSON does not have are None."""
    if row["kind"] not in ("train", "val") or type(row["step"]) is not int or not isinstance(row["loss"], float | None):
        raise ValueError("not a row")
    return row


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder until the end of the block; only the main process does.

    The lock is the operating system's, on a file that is not deleted. Any end of the process frees it, SIGKILL too.
    Reading is always possible.

    Args:
        folder: folder of the run; made if it is not there.

    Raises:
        RunInUseError: if another process holds the lock; the message names it.
    """
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        _take(folder, file.fileno())
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _take(folder: Path, descriptor: int) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no fcntl")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = (folder / LOCK).read_text() or "another process"
        raise RunInUseError(
            f"{folder} is in use: {holder} trains there. Wait, or stop it (it saves first) or choose another --out"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(f"{folder} lies on a file system without locks: take care not to start a second training there")
