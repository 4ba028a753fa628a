"""Time of a training step, alone and in an epoch with data and augmentation on the device.

    python benchmarks/training_step.py                                    presets and batches that suit the device
    python benchmarks/training_step.py --preset focal --batch 64 256      these
    python benchmarks/training_step.py --baseline torch                   beside PyTorch, which must be installed

The trainer's own calls of several steps are measured: `step` without augmentation, `epoch` with it. Both draw the order
of the images, and gather each batch from the whole data set on the device (uint8). Times are those of one step. The
network is untrained and the pictures are generated Shapes; only the rounds of matching depend on the pictures.

The compiler counts FLOPs and bytes of a step in the compiled program; the peaks are measured in the same run. Ratios
are the time of a baseline divided by ours:

    torch            PyTorch: channels last, torch.compile, fused AdamW, the loss for the whole padded batch
    loop of torch    PyTorch with the lesson's loss, image by image
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import numpy as np
import tyro
from baselines.torch_process import BaselineName, BaselineOutOfMemory, TorchBaseline, open_baseline
from ceiling import measure_ceiling, shares
from timing import Call, Row, Timing, measure, ratios, report
from workloads import (
    DETECTORS,
    Precision,
    Workload,
    baseline_training,
    call_steps,
    is_out_of_memory,
    make_workload,
    training_call,
    training_cost,
)

TORCH_LOOPS = {"torch": False, "loop of torch": True}


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    preset: tuple[Literal[DETECTORS], ...] = ()
    """Networks: presets, or `tiny`. Default: tiny on a CPU; focal and ssd300 on a GPU or TPU."""
    batch: tuple[int, ...] = ()
    """Batch sizes. Default: 32 on a CPU; 64, 256 and 512 on a GPU or TPU."""
    precision: tuple[Precision, ...] = ()
    """Precisions of the network. Default: float32 on a CPU; bfloat16 and float32 on a GPU or TPU."""
    seconds: float = 2.0
    """Seconds to repeat each measurement; at least five repeats are taken."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/training_step.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        title = f"training, time of one step, {call_steps()} steps a call"
        report("training-step", title, measured_rows(command, baseline), baseline.about if baseline else None)


def measured_rows(command: Command, baseline: TorchBaseline | None) -> Iterator[Row]:
    """Yield a row for each network, precision, batch size and workload, once it is measured."""
    on_cpu = jax.default_backend() == "cpu"
    batch_sizes = command.batch or ((32,) if on_cpu else (64, 256, 512))
    for preset in command.preset or (("tiny",) if on_cpu else ("focal", "ssd300")):
        for precision in command.precision or (("float32",) if on_cpu else ("bfloat16", "float32")):
            workload = make_workload(preset, precision, max(batch_sizes))
            if baseline:
                require_same_size(workload, baseline)
            for batch in batch_sizes:
                for name, augment in {"step": "none", "epoch": workload.config.augmentation.augment}.items():
                    about: Row = {"preset": preset, "precision": precision, "batch": str(batch), "workload": name}
                    yield about | compare(workload, batch, augment, command.seconds, baseline)


def require_same_size(workload: Workload, baseline: TorchBaseline) -> None:
    """Check that the baseline's network has as many parameters as ours.

    Raises:
        ValueError: if the numbers differ.
    """
    theirs = baseline.prepare("size", network=workload.baseline_network())()
    if theirs != workload.num_parameters:
        raise ValueError(f"the baseline's network has {theirs} parameters, ours {workload.num_parameters}")


def compare(workload: Workload, batch: int, augment: str, seconds: float, baseline: TorchBaseline | None) -> Row:
    """Row with the times of a step; None where the memory is too small or a baseline lacks the augmentation."""
    steps = call_steps()
    how = {"batch": batch, "steps": steps, "augment": augment}
    calls = {"jaxssd": usable("jaxssd", partial(training_call, workload, **how))}
    if baseline:
        for name, loop in TORCH_LOOPS.items():
            arguments = baseline_training(workload, **how, loop=loop)
            calls[name] = usable(name, partial(baseline.prepare, "training", **arguments)) if arguments else None
    possible = {name: call for name, call in calls.items() if call}
    times: dict[str, Timing | None] = dict.fromkeys(calls) | measure(possible, seconds=seconds, units=steps)
    if baseline:
        baseline.forget()

    ours = times["jaxssd"]
    cost = training_cost(workload, batch=batch, augment=augment)
    ceiling = measure_ceiling(workload.config.model.precision)
    reached = {"images/s": ours and f"{batch / ours.median:.0f}"} | shares(cost, ours, ceiling)
    return {"jaxssd": ours} | reached | ratios(times)


def usable(name: str, make: Callable[[], Call]) -> Call | None:
    """Call that `make` returns, after one run with finite results; None if the memory is too small."""
    try:
        call = make()
        results = jax.tree.leaves(jax.device_get(call()))
    except BaselineOutOfMemory:
        return None
    except jax.errors.JaxRuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
    if not all(np.isfinite(leaf).all() for leaf in results):
        sys.exit(f"{name}: the result is not finite, so its time would mean nothing")
    return call


if __name__ == "__main__":
    main(sys.argv[1:])
