"""Score, wall time, and predicted and used memory of a whole training run.

    python benchmarks/training_run.py                                     the preset `focal` on generated Shapes
    python benchmarks/training_run.py --data FOLDER --epochs 100          on your own boxes

`train.py` runs in this process, which can then read the device's peak memory.
"""

import io
import json
import re
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import timing
import tyro
from timing import Row, report

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import train  # noqa: E402  # a script beside the package, not a module of it
from jaxssd.presets import PRESETS  # noqa: E402
from jaxssd.training import RunFolder  # noqa: E402

PREDICTED = re.compile(r"memory: ([\d.]+) GB")


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    preset: Literal[tuple(PRESETS)] = "focal"
    """Preset to train."""
    data: str = "shapes"
    """Data set: a value of `train.py --data`."""
    epochs: int = 100
    """Number of epochs."""
    batch_size: int | None = None
    """Batch size. Default: the preset's."""
    validations: int = 10
    """Number of validations in the run."""
    out: Path | None = None
    """Folder for the run. Default: a new folder beside the results."""


class Tee(io.TextIOBase):
    """Standard output that is printed and also kept."""

    def __init__(self) -> None:
        self.kept, self.screen = io.StringIO(), sys.stdout

    def write(self, text: str) -> int:
        """Print the text and keep it."""
        self.screen.write(text)
        return self.kept.write(text)

    def flush(self) -> None:
        """Flush the printed text."""
        self.screen.flush()


def main(arguments: list[str]) -> None:
    """Train, then report one row."""
    command = tyro.cli(Command, prog="benchmarks/training_run.py", description=__doc__, args=arguments)
    run = command.out or timing.OUTPUT / f"run-{time.strftime('%Y%m%d-%H%M%S')}"
    options = [command.preset, "--out", str(run), "--epochs", str(command.epochs)]
    options += ["--eval-every", str(max(1, command.epochs // command.validations))]
    options += ["--data", command.data] if command.data != "shapes" else []
    options += ["--batch-size", str(command.batch_size)] if command.batch_size else []

    RunFolder(run).require_new()
    screen, start, ours = Tee(), time.perf_counter(), sys.argv[0]
    try:
        with redirect_stdout(screen):
            sys.argv[0] = str(ROOT / "train.py")  # the name in the commands that a run prints
            train.main(options)
    finally:  # a run that was stopped at its time limit has some results
        sys.argv[0] = ours
        seconds = time.perf_counter() - start
        title = f"train.py {command.preset} on {Path(command.data).name}, epochs: {command.epochs}, n = 1"
        if row := row_of(run, seconds, screen.kept.getvalue()):
            report("training-run", title, [row])


def row_of(run: Path, seconds: float, printed: str) -> Row | None:
    """Row with validation scores, wall time, and predicted and used memory.

    Scores are those of the best checkpoint. For a stopped run they are those of its last validation, or None. A run
    that was stopped before its first step has no row.
    """
    final, (steps, validations) = run / "scores-val.json", map(RunFolder(run).rows, ("train", "val"))
    if final.exists():
        stopped, scores = {}, json.loads(final.read_text())
    elif steps:
        stopped = {"stopped in epoch": str(steps[-1]["epoch"] + 1)}
        stopped |= {"validated after epochs": str(validations[-1]["epoch"] + 1) if validations else None}
        scores = validations[-1] if validations else {}
    else:
        return None
    predicted = PREDICTED.search(printed)
    used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return stopped | {
        "val mAP, 11-point": scores.get("map_voc07"),
        "val mAP, area": scores.get("map_area"),
        "wall time, s": f"{seconds:.0f}",
        "memory predicted, GB": predicted and predicted[1],
        "memory used, GB": used and used / 1e9,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
