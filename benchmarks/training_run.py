"""What does a whole training run reach: its score, its wall time, its memory predicted and used?

    python benchmarks/training_run.py                                     the preset `focal` on generated Shapes
    python benchmarks/training_run.py --data FOLDER --epochs 100          on your own boxes

The run is `train.py`'s, in this process, so that the device can be asked for the most memory that was in use.
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

import train  # noqa: E402  # the command, which lies beside the package and not in it
from jaxssd.presets import PRESETS  # noqa: E402
from jaxssd.training import RunFolder  # noqa: E402

PREDICTED = re.compile(r"memory: ([\d.]+) GB")


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: Literal[tuple(PRESETS)] = "focal"
    """Network and settings."""
    data: str = "shapes"
    """Data set, as `train.py --data`."""
    epochs: int = 100
    """Epochs to train for."""
    batch_size: int | None = None
    """Images in a batch. Default: the preset's."""
    validations: int = 10
    """Number of validations in the run."""
    out: Path | None = None
    """Folder of the run. Default: a new one beside the results."""


class Tee(io.TextIOBase):
    """Text that goes to the screen and is kept."""

    def __init__(self) -> None:
        self.kept, self.screen = io.StringIO(), sys.stdout

    def write(self, text: str) -> int:
        """To both."""
        self.screen.write(text)
        return self.kept.write(text)

    def flush(self) -> None:
        """The screen."""
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
            sys.argv[0] = str(ROOT / "train.py")  # which the commands that a run prints name
            train.main(options)
    finally:  # a run that is stopped at its time limit has come some way
        sys.argv[0] = ours
        seconds = time.perf_counter() - start
        title = f"train.py {command.preset} on {Path(command.data).name}, epochs: {command.epochs}, n = 1"
        if row := row_of(run, seconds, screen.kept.getvalue()):
            report("training-run", title, [row])


def row_of(run: Path, seconds: float, printed: str) -> Row | None:
    """Scores on the validation set, wall time, and memory predicted and used.

    They are those of the best checkpoint; of a run that was stopped, those of its last validation, None before that.
    Before its first step there is no row.
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
