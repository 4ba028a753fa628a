"""Time of a training step with fast layers, each alone and all together.

    python benchmarks/layers.py                                 preset and batch that suit the device
    python benchmarks/layers.py --preset ssd300 --batch 256     these
    python benchmarks/layers.py --baseline torch                beside PyTorch, which must be installed

All forms give the same result; see `jaxssd.models.fast_layers`. Images are not augmented. Ratios are the time of a row
divided by that of the plain layers.
"""

import sys
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import tyro
from baselines.torch_process import BaselineName, open_baseline
from ceiling import measure_ceiling, shares
from timing import Row, measure, report
from training_step import require_same_size
from workloads import DETECTORS, Precision, baseline_training, call_steps, make_workload, training_call, training_cost

from jaxssd.config import FastLayer

EACH = get_args(FastLayer)
FORMS: dict[str, tuple[str, ...]] = {"plain": ()} | {name: (name,) for name in EACH} | {"all": EACH}


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    preset: Literal[DETECTORS] | None = None
    """Preset of the network. Default: tiny on a CPU, focal on a GPU or TPU."""
    batch: int | None = None
    """Batch size. Default: 32 on a CPU, 256 on a GPU or TPU."""
    precision: Precision | None = None
    """Precision of the network. Default: the preset's."""
    seconds: float = 2.0
    """Seconds to repeat each measurement; at least five repeats are taken."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/layers.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        on_cpu = jax.default_backend() == "cpu"
        preset, batch = command.preset or ("tiny" if on_cpu else "focal"), command.batch or (32 if on_cpu else 256)
        same = {"batch": batch, "augment": "none"}
        workloads = {
            name: make_workload(preset, command.precision, batch, fast_layers=form) for name, form in FORMS.items()
        }
        calls = {name: training_call(workload, steps=call_steps(), **same) for name, workload in workloads.items()}
        if baseline:
            require_same_size(workloads["plain"], baseline)
            arguments_of_baseline = baseline_training(workloads["plain"], steps=call_steps(), loop=False, **same)
            calls["torch"] = baseline.prepare("training", **arguments_of_baseline)
        times = measure(calls, seconds=command.seconds, units=call_steps())

        config = workloads["plain"].config
        rows: list[Row] = []
        for name, timing in times.items():
            row: Row = {"layers": name, "time of a step": timing, "ratio": timing.median / times["plain"].median}
            # Operations of the baseline are not counted: its row has those of the plain layers.
            cost = training_cost(workloads.get(name, workloads["plain"]), **same)
            rows.append(row | shares(cost, timing, measure_ceiling(config.model.precision)))
        size = " x ".join(map(str, config.dataset.image_size)) + " px"
        title = f"{preset}: {config.model.backbone}, {size}, {config.model.precision}, batch {batch}"
        report("layers", title, rows, baseline.about if baseline else None)


if __name__ == "__main__":
    main(sys.argv[1:])
