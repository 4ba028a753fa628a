"""How long does inference take, from uint8 images to detections, and who is faster?

    python benchmarks/inference.py                                     presets and batches that suit the device
    python benchmarks/inference.py --preset focal --batch 1 256        these
    python benchmarks/inference.py --peer torch                        beside PyTorch, which has to be installed

    network          images that lie on the device, to logits and box activations
    detections       the same, decoded and suppressed
    host to host     the same from NumPy to NumPy: at batch 1 this is the latency

The network is untrained, so that every anchor is a candidate for suppression. FLOPs and bytes are those that the
compiler counts in its own result, and the ceilings are measured in the same run. A ratio is how many times as long as
ours PyTorch takes: channels last, torch.compile (CUDA graphs), torchvision's `batched_nms` for each image.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import tyro
from baselines.torch_process import PeerName, TorchPeer, open_peer
from ceiling import measure_ceiling, shares
from timing import Row, Timing, measure, ratios, report
from training_step import require_same_size, usable
from workloads import DETECTORS, Precision, Workload, inference_calls, inference_costs, make_workload, peer_inference


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: tuple[Literal[DETECTORS], ...] = ()
    """Networks. Default: quick on a CPU; focal and ssd300 on an accelerator."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 1 and 32 on a CPU; 1, 32 and 256 on an accelerator."""
    precision: tuple[Precision, ...] = ()
    """What the network computes in. Default: float32 on a CPU, and bfloat16 as well on an accelerator."""
    seconds: float = 1.0
    """How long to repeat each measurement; at least five repeats are taken."""
    peer: PeerName | None = None
    """Whom to measure as well."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/inference.py", description=__doc__, args=arguments)
    with open_peer(command.peer) as peer:
        report("inference", "inference, time of a batch", measured_rows(command, peer), peer.about if peer else None)


def measured_rows(command: Command, peer: TorchPeer | None) -> Iterator[Row]:
    """A row for each network, precision, batch size and work, once it is measured."""
    on_cpu = jax.default_backend() == "cpu"
    batch_sizes = command.batch or ((1, 32) if on_cpu else (1, 32, 256))
    for preset in command.preset or (("quick",) if on_cpu else ("focal", "ssd300")):
        for precision in command.precision or (("float32",) if on_cpu else ("bfloat16", "float32")):
            workload = make_workload(preset, precision, max(batch_sizes))
            if peer:
                require_same_size(workload, peer)
            for batch in batch_sizes:
                about: Row = {"preset": preset, "precision": precision, "batch": str(batch)}
                for row in compare(workload, batch, command.seconds, peer):
                    yield about | row


def compare(workload: Workload, batch: int, seconds: float, peer: TorchPeer | None) -> Iterator[Row]:
    """A row for each kind of inference."""
    ceiling, costs = measure_ceiling(workload.config.model.precision), inference_costs(workload, batch)
    for work, call in inference_calls(workload, batch).items():
        calls = {"jaxssd": usable("jaxssd", lambda call=call: call)}
        if peer:
            arguments = peer_inference(workload, batch)[work]
            calls["torch"] = usable("torch", partial(peer.prepare, "inference", **arguments))
        possible = {name: call for name, call in calls.items() if call}
        times: dict[str, Timing | None] = dict.fromkeys(calls) | measure(possible, seconds=seconds)
        ours = times["jaxssd"]
        reached = {"images/s": ours and f"{batch / ours.median:.0f}"} | shares(costs[work], ours, ceiling)
        if peer:
            peer.forget()
        yield {"work": work, "jaxssd": ours} | reached | ratios(times)


if __name__ == "__main__":
    main(sys.argv[1:])
