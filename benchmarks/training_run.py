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

    screen, start = Tee(), time.perf_counter()
    with redirect_stdout(screen):
        train.main(options)
    seconds = time.perf_counter() - start
    title = f"train.py {command.preset} on {Path(command.data).name}, epochs: {command.epochs}, n = 1"
    report("training-run", title, [row_of(run, seconds, screen.kept.getvalue())])


def row_of(run: Path, seconds: float, printed: str) -> Row:
    """Scores of the best checkpoint on the validation set, wall time, and memory predicted and used."""
    scores = json.loads((run / "scores-val.json").read_text())
    predicted = PREDICTED.search(printed)
    used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "val mAP, 11-point": scores["map_voc07"],
        "val mAP, area": scores["map_area"],
        "wall time, s": f"{seconds:.0f}",
        "memory predicted, GB": predicted and predicted[1],
        "memory used, GB": used and used / 1e9,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
