"""Where a run keeps what it makes."""

import contextlib
import json
import math
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxssd.config import Config
from jaxssd.training.devices import leads, meet

Row = dict[str, Any]


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
        """Of the data sets, so that a resumed run is not continued on others."""
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
            config.save(self.config)

    def open(self) -> Config:
        """The settings of the run that is here.

        Raises:
            FileNotFoundError: if there is none.
        """
        if not self.config.is_file():
            raise FileNotFoundError(f"{self.path} is not the folder of a run: it has no config.json")
        return Config.load(self.config)

    def pin_data(self, fingerprints: dict[str, str]) -> None:
        """Remember the data sets of a new run, or refuse those that a run was not started on; see below."""
        if leads() and not self.fingerprints.exists():
            self.fingerprints.write_text(json.dumps(fingerprints, indent=2) + "\n")
        meet("at the fingerprints")
        self.require_same_data(fingerprints)

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

    def drop_rows_after(self, step: int) -> None:
        """Forget what a resumed run will do again: the lines beyond the checkpoint it starts from."""
        if not leads():
            return
        kept = [row for row in self._rows() if row["step"] <= step]
        shorter = self.metrics.with_suffix(".part")
        shorter.write_text("".join(json.dumps(row) + "\n" for row in kept))
        shorter.replace(self.metrics)

    def _rows(self) -> Iterator[Row]:
        """All whole lines: the last one of a killed run may be cut short, and belongs to no checkpoint."""
        if self.metrics.exists():
            for line in self.metrics.read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)

    def __str__(self) -> str:
        """The path as a shell wants it."""
        return shlex.quote(str(self.path))


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
