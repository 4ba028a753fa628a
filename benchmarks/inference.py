"""Time of inference, from uint8 images to detections.

    python benchmarks/inference.py                                     presets and batches that suit the device
    python benchmarks/inference.py --preset focal --batch 1 256        these
    python benchmarks/inference.py --baseline torch                    beside PyTorch, which must be installed

    network          from images on the device to logits and box activations
    detections       from images on the device to detections, after decoding and NMS
    host to host     from NumPy images to NumPy detections: at batch 1 this is the latency

The network is untrained, so every anchor is a candidate for NMS. The compiler counts FLOPs and bytes in the compiled
program; the peaks are measured in the same run. Ratios are PyTorch's time divided by ours. PyTorch has channels last,
torch.compile (CUDA graphs), and torchvision's `batched_nms` image by image.

Presets of published detectors are measured from photographs of their own sizes to boxes in their pixels, against
torchvision's own detector with the same random weights, after a check that both find the same boxes:

    taskset -c 0 python benchmarks/inference.py --preset ssd300_vgg16 --batch 8 --baseline torch      on one core
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import tyro
from baselines.torch_process import BaselineName, TorchBaseline, open_baseline
from ceiling import measure_ceiling, shares
from published import PUBLISHED_PRESETS, compare_published
from timing import Row, Timing, measure, ratios, report
from training_step import require_same_size, usable
from workloads import (
    DETECTORS,
    Precision,
    Workload,
    baseline_inference,
    inference_calls,
    inference_costs,
    make_workload,
)

CHOICES = (*DETECTORS, *PUBLISHED_PRESETS)


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    preset: tuple[Literal[CHOICES], ...] = ()
    """Networks: presets, or `tiny`. Default: tiny on a CPU; focal and ssd300 on a GPU or TPU."""
    batch: tuple[int, ...] = ()
    """Batch sizes. Default: 1 and 32 on a CPU; 1, 32 and 256 on a GPU or TPU."""
    precision: tuple[Precision, ...] = ()
    """Precisions of the network. Default: float32 on a CPU; bfloat16 and float32 on a GPU or TPU."""
    seconds: float = 1.0
    """Seconds to repeat each measurement; at least five repeats are taken."""
    photographs: Path | None = None
    """Folder of photographs for published detectors. Default: generated ones of 500x375 and 334x500."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/inference.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        report(
            "inference",
            "inference, time of a batch",
            measured_rows(command, baseline),
            baseline.about if baseline else None,
        )


def measured_rows(command: Command, baseline: TorchBaseline | None) -> Iterator[Row]:
    """Yield a row for each network, precision, batch size and workload, once it is measured."""
    on_cpu = jax.default_backend() == "cpu"
    batch_sizes = command.batch or ((1, 32) if on_cpu else (1, 32, 256))
    for preset in command.preset or (("tiny",) if on_cpu else ("focal", "ssd300")):
        if preset in PUBLISHED_PRESETS:
            for batch in batch_sizes:
                about = {"preset": preset, "precision": "float32", "batch": str(batch)}
                for row in compare_published(preset, batch, command.seconds, baseline, command.photographs):
                    yield about | row
            continue
        for precision in command.precision or (("float32",) if on_cpu else ("bfloat16", "float32")):
            workload = make_workload(preset, precision, max(batch_sizes))
            if baseline:
                require_same_size(workload, baseline)
            for batch in batch_sizes:
                about = {"preset": preset, "precision": precision, "batch": str(batch)}
                for row in compare(workload, batch, command.seconds, baseline):
                    yield about | row


def compare(workload: Workload, batch: int, seconds: float, baseline: TorchBaseline | None) -> Iterator[Row]:
    """Yield a row for each workload of inference."""
    ceiling, costs = measure_ceiling(workload.config.model.precision), inference_costs(workload, batch)
    for name, call in inference_calls(workload, batch).items():
        calls = {"jaxssd": usable("jaxssd", lambda call=call: call)}
        if baseline:
            arguments = baseline_inference(workload, batch)[name]
            calls["torch"] = usable("torch", partial(baseline.prepare, "inference", **arguments))
        possible = {name: call for name, call in calls.items() if call}
        times: dict[str, Timing | None] = dict.fromkeys(calls) | measure(possible, seconds=seconds)
        ours = times["jaxssd"]
        reached = {"images/s": ours and f"{batch / ours.median:.0f}"} | shares(costs[name], ours, ceiling)
        if baseline:
            baseline.forget()
        yield {"workload": name, "jaxssd": ours} | reached | ratios(times)


if __name__ == "__main__":
    main(sys.argv[1:])
