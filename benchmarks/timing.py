"""Clock, description of the environment, and table for the benchmarks; the table is also written as JSON."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import flax
import jax
import numpy as np

from jaxssd.atomic import write_text

OUTPUT = Path(os.environ.get("BENCHMARKS_OUT", Path(__file__).parent / "out"))
FEWEST_REPEATS = 5
QUEUE_SECONDS = 0.01  # work queued on a GPU or TPU, which hides the dispatch of short calls as in a real loop


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work: median, minimum and maximum over `repeats`."""

    median: float
    fastest: float
    slowest: float
    repeats: int

    def __str__(self) -> str:
        factor, unit = (1, "s") if self.median >= 1 else (1e3, "ms") if self.median >= 1e-3 else (1e6, "us")
        return f"{self.median * factor:.3g} {unit} ({self.fastest * factor:.3g}..{self.slowest * factor:.3g})"


@runtime_checkable
class Elsewhere(Protocol):
    """Call that runs, and is timed, in another process."""

    def clock(self, queued: int) -> float:
        """Seconds per call, for `queued` calls that are dispatched before the first is awaited."""


Call = Callable[[], Any]
Row = dict[str, str | float | Timing | None]


def measure(calls: Mapping[str, Call], *, seconds: float, units: int = 1) -> dict[str, Timing]:
    """Time calls until their results are ready, repeatedly, after two warm-up calls each that include compilation.

    The calls take turns, so other work on the machine slows all of them alike.

    Args:
        calls: functions to time; each returns the arrays that it leaves on a device, if any. An `Elsewhere` is timed
            by its own clock.
        seconds: time limit, per call on average; at least five repeats are taken.
        units: units of work per call, such as training steps.

    Returns:
        Time per unit of each call.
    """
    queued = {name: _queue_length(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    repeats = 0
    while repeats < FEWEST_REPEATS or time.perf_counter() < end:
        for name, call in calls.items():
            times[name].append(_clock(call, queued[name]) / units)
        repeats += 1
    return {name: Timing(float(np.median(t)), min(t), max(t), repeats) for name, t in times.items()}


def _queue_length(call: Call) -> int:
    """Number of calls to dispatch before waiting: one on a CPU, where queued calls might run in parallel."""
    _clock(call, queued=1)
    once = _clock(call, queued=1)
    return 1 if jax.default_backend() == "cpu" else max(1, round(QUEUE_SECONDS / once))


def _clock(call: Call, queued: int) -> float:
    if isinstance(call, Elsewhere):
        return call.clock(queued)
    start = time.perf_counter()
    jax.block_until_ready([call() for _ in range(queued)])
    return (time.perf_counter() - start) / queued


def ratios(times: Mapping[str, Timing | None]) -> Row:
    """Columns with the times, and after each but the first its ratio to the first; None where there is no time."""
    (our_name, ours), *others = times.items()
    row: Row = {our_name: ours}
    for name, theirs in others:
        row |= {name: theirs, f"{name}, ratio": theirs.median / ours.median if ours and theirs else None}
    return row


def environment() -> dict[str, str]:
    """Device, host and versions that a benchmark runs with."""
    device = jax.devices()[0]
    versions = {library.__name__: library.__version__ for library in (jax, flax, np)}
    cores = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "host": cores,
        "python": platform.python_version(),
    } | versions


def report(name: str, title: str, rows: Iterable[Row], baseline: Mapping[str, str] | None = None) -> None:
    """Write rows to `NAME.json` in `OUTPUT`, and print them as a table.

    The file is rewritten after each row, so a benchmark that is stopped leaves the rows measured so far.

    Args:
        name: name of the file, without its ending.
        title: title of the table.
        rows: rows with the same keys, the column names; None is a missing number. They may be measured while they
            are iterated over.
        baseline: versions and device of the baseline, if there is one.
    """
    where = environment() | dict(baseline or {})
    script = Path(sys.argv[0]).resolve()
    command = shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])
    record: dict[str, Any] = {"title": title, "command": command, "environment": where, "rows": []}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for row in rows:
        record["rows"].append(row)
        write_text(OUTPUT / f"{name}.json", json.dumps(record, indent=2, default=asdict) + "\n")
    if not record["rows"]:
        raise ValueError(f"{name}: nothing was measured")

    cells = [list(record["rows"][0]), *([cell_text(value) for value in row.values()] for row in record["rows"])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n{', '.join(f'{key} {value}' for key, value in where.items())}\n")
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def cell_text(value: str | float | Timing | None) -> str:
    """Text of a cell."""
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
    return "-" if value is None else str(value)
