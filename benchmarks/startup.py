"""How long from the command to the first losses of a run, with nothing compiled yet, and once that is kept?

    python benchmarks/startup.py                    `train.py quick`
    python benchmarks/startup.py --preset focal     another preset, on generated pictures

Runs of `train.py` in folders beside each other, of which the first one compiles and the others find what it has kept.
Each is stopped when it has written its first line of metrics. What counts is everything: the interpreter, imports,
drawing the pictures, compiling, one call of steps.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from timing import Row, report

from jaxssd.presets import PRESETS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: Literal[tuple(PRESETS)] = "quick"
    """Network and settings."""
    repeats: int = 2
    """Runs that find what the first one has kept."""


def main(arguments: list[str]) -> None:
    """Run, stop, report."""
    command = tyro.cli(Command, prog="benchmarks/startup.py", description=__doc__, args=arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + command.repeats):
            seconds = seconds_to_first_losses(command.preset, Path(folder) / f"run{number}")
            rows.append({"run": str(number + 1), "compiled before": "yes" if number else "no", "seconds": seconds})
    report("startup", f"from `train.py {command.preset}` to the first losses", rows)


def seconds_to_first_losses(preset: str, run: Path) -> float:
    """Of a new run in this folder, which is stopped then.

    Raises:
        RuntimeError: if it ends before, with what it has written.
    """
    arguments = [sys.executable, "train.py", preset, "--data", "shapes", "--epochs", "1", "--out", str(run)]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    log = run.with_suffix(".log")
    start = time.perf_counter()
    with (
        log.open("w") as file,
        subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=file, stderr=file) as process,
    ):
        try:
            while not has_line(run / "metrics.jsonl"):
                if process.poll() is not None:
                    raise RuntimeError(f"train.py ended before its first losses\n{log.read_text()}")
                time.sleep(0.01)
            return time.perf_counter() - start
        finally:
            process.kill()


def has_line(path: Path) -> bool:
    """Whether a file is there and has a whole line."""
    return path.exists() and b"\n" in path.read_bytes()


if __name__ == "__main__":
    main(sys.argv[1:])
