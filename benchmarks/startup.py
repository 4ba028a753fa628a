"""Time from the command to the first losses of a run, with an empty and with a filled compilation cache.

    python benchmarks/startup.py                    `train.py quick`
    python benchmarks/startup.py --preset focal     another preset, on generated pictures

Runs of `train.py` share a compilation cache: the first run compiles, the others read its programs. Each run is stopped
after its first line of metrics. The time includes everything: the interpreter, imports, drawing the pictures,
compiling, one call of steps.
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
    """Command-line options."""

    preset: Literal[tuple(PRESETS)] = "quick"
    """Preset to run."""
    repeats: int = 2
    """Number of runs after the first one."""


def main(arguments: list[str]) -> None:
    """Run, stop and time `train.py`, then report."""
    command = tyro.cli(Command, prog="benchmarks/startup.py", description=__doc__, args=arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + command.repeats):
            seconds = seconds_to_first_losses(command.preset, Path(folder) / f"run{number}")
            rows.append({"run": str(number + 1), "cached programs": "yes" if number else "no", "seconds": seconds})
    report("startup", f"from `train.py {command.preset}` to the first losses", rows)


def seconds_to_first_losses(preset: str, run: Path) -> float:
    """Seconds from the command to the first losses of a new run, which is then stopped.

    Raises:
        RuntimeError: if the run ends before; the message has its log.
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
    """True if a file exists and has a complete line."""
    return path.exists() and b"\n" in path.read_bytes()


if __name__ == "__main__":
    main(sys.argv[1:])
