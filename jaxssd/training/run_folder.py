"""Where a run keeps what it makes."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxssd.config import Config

Row = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """`config.json`, `metrics.jsonl`, `loading.json`, `scores.json`, `checkpoints/` and `figures/` of one run."""

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
        """Pictures; made when first asked for."""
        folder = self.path / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def create(self, config: Config) -> None:
        """Make the folder for a new run.

        Raises:
            FileExistsError: if a run is there already; it is never overwritten.
        """
        if self.metrics.exists():
            raise FileExistsError(
                f"{self.path} already holds a run: continue it with --resume {self.path}, or choose another --out"
            )
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

    def append_rows(self, rows: Iterable[Row]) -> None:
        """Add lines to `metrics.jsonl`."""
        with self.metrics.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def rows(self, kind: str) -> list[Row]:
        """The lines of one kind, in the order they were written."""
        if not self.metrics.exists():
            return []
        rows = map(json.loads, self.metrics.read_text().splitlines())
        return [row for row in rows if row["kind"] == kind]

    def drop_rows_after(self, step: int) -> None:
        """Forget what a resumed run will do again: the lines beyond the checkpoint it starts from."""
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text().splitlines() if _step_of(line) <= step]
            self.metrics.write_text("".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """The last line of a killed run may be cut short; it belongs to no checkpoint."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return math.inf
