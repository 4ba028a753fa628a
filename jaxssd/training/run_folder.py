"""Where a run keeps what it makes."""

import contextlib
import dataclasses
import itertools
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxssd.atomic import write_json, write_text
from jaxssd.config import Config
from jaxssd.training.devices import leads, meet

Row = dict[str, Any]

FREE = {"data", "images", "memory", "checkpoint_every"}
"""Settings that may be changed in the config.json of a run, since no number depends on them; data has fingerprints."""


@dataclass(frozen=True)
class RunFolder:
    """`config.json`, `metrics.jsonl`, `loading-*.json`, `scores-*.json`, `checkpoints/` and `figures/` of one run.

    Where several processes train one network, all of them read here and only the one that leads writes.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings, classes included: with the checkpoint, enough to use the network."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: `kind` is `train` for a step, `val` for a validation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints, one folder a step."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def fingerprints(self) -> Path:
        """Of the data sets, and a copy of the settings, so that a resumed run is not continued on others."""
        return self.path / "data.json"

    def require_new(self) -> None:
        """Refuse a folder that holds a run already, before anything is done for a new one.

        Raises:
            FileExistsError: if there is one; a run is never overwritten.
        """
        if self.metrics.exists() or self.checkpoints.exists():
            raise FileExistsError(
                f"{self.path} already holds a run: continue it with --resume {self}, or choose another --out"
            )

    def create(self, config: Config) -> None:
        """Make the folder for a new run, in the process that leads; raises like `require_new`."""
        if leads():
            self.require_new()
            self.path.mkdir(parents=True, exist_ok=True)
            self.fingerprints.unlink(missing_ok=True)  # of a run that was stopped before its first step
            config.save(self.config)

    def open(self) -> Config:
        """The settings of the run that is here.

        Raises:
            FileNotFoundError: if there is none.
        """
        if not self.config.is_file():
            raise FileNotFoundError(f"{self.path} is not the folder of a run: it has no config.json")
        return Config.load(self.config)

    def pin(self, config: Config, fingerprints: dict[str, str]) -> None:
        """Remember settings and data sets of a new run, or refuse those that a run was not started with.

        Args:
            config: as `config.json` has it.
            fingerprints: of the data sets; see `require_same_data`.

        Raises:
            ValueError: naming the setting that was changed, or the split.
        """
        if leads() and not self.fingerprints.exists():
            write_json(self.fingerprints, {**fingerprints, "settings": dataclasses.asdict(config)})
        meet("at the fingerprints")
        self.require_same_settings(config)
        self.require_same_data(fingerprints)

    def require_same_settings(self, config: Config, *, free: Set[str] = FREE) -> None:
        """Refuse settings that are not those the run was started with.

        Args:
            config: as `config.json` has it.
            free: names of those that may differ.

        Raises:
            ValueError: naming the settings, with the values of then and now.
        """
        now = json.loads(json.dumps(dataclasses.asdict(config)))
        then = json.loads(self.fingerprints.read_text()).get("settings", {}) if self.fingerprints.exists() else {}
        changed = [name for name in then if name in now and name not in free and then[name] != now[name]]
        if changed:
            values = ", ".join(f"{name} is {now[name]!r} and was {then[name]!r}" for name in changed)
            raise ValueError(
                f"{self.config} was changed since the run was started: {values}. Set it back, or start a new run with "
                "other settings (--pretrained RUN takes this one's backbone)"
            )

    def require_same_data(self, fingerprints: dict[str, str]) -> None:
        """Refuse data sets that are not those the run was started on.

        Args:
            fingerprints: of splits by name; those that the run did not use are not compared.

        Raises:
            ValueError: naming the split that has changed.
        """
        ours = json.loads(self.fingerprints.read_text())
        for split, fingerprint in fingerprints.items():
            if ours.get(split, fingerprint) != fingerprint:
                raise ValueError(
                    f"the list of images, their sizes or the boxes of `{split}` have changed since {self.path} was "
                    "started, whose scores would mean something else now: start a new run, or score the data with "
                    "evaluate.py --data"
                )

    def append_rows(self, rows: Iterable[Row]) -> None:
        """Add lines to `metrics.jsonl`; numbers that JSON does not have become null."""
        if leads():
            with self.metrics.open("a") as file:
                file.writelines(json.dumps({k: _finite_or_none(v) for k, v in row.items()}) + "\n" for row in rows)

    def rows(self, kind: str) -> list[Row]:
        """The lines of one kind, in the order they were written."""
        return [row for row in self._rows() if row["kind"] == kind]

    def drop_rows_after(self, step: int, *, validated: bool = True) -> None:
        """Forget what a resumed run will do again: the lines beyond the checkpoint it starts from.

        Args:
            step: of the checkpoint.
            validated: whether it has a score; otherwise that validation is done again as well.
        """
        if not leads():
            return
        last = {"train": step, "val": step if validated else step - 1}
        kept = [row for row in self._rows() if row["step"] <= last[row["kind"]]]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))

    def _rows(self) -> Iterator[Row]:
        """All whole lines: the last one of a killed run may be cut short, and belongs to no checkpoint."""
        if self.metrics.exists():
            for line in self.metrics.read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)

    def __str__(self) -> str:
        """The path as a shell wants it."""
        return shlex.quote(str(self.path))


def new_folder(path: Path) -> Path:
    """Make the folder, or PATH-2, PATH-3 and so on: one that no other process has made in the same second."""
    for number in itertools.count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counted to the end")


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
