"""What do the reformulations of the backbone's layers save in a training step, each alone and all together?

    python benchmarks/layers.py                                 a preset and a batch that suit the device
    python benchmarks/layers.py --preset ssd300 --batch 256     these
    python benchmarks/layers.py --peer torch                    beside PyTorch, which has to be installed

All compute the same; see `jaxssd.models.fast_layers`. Steps take images as they are. A ratio is how many times as
long as the plain layers a row takes.
"""

import sys
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import tyro
from baselines.torch_process import PeerName, open_peer
from ceiling import measure_ceiling, shares
from timing import Row, measure, report
from training_step import require_same_size
from workloads import DETECTORS, Precision, call_steps, make_workload, peer_training, training_call, training_cost

from jaxssd.models.layers import FastLayer

EACH = get_args(FastLayer)
FORMS: dict[str, tuple[str, ...]] = {"plain": ()} | {name: (name,) for name in EACH} | {"all": EACH}


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: Literal[DETECTORS] | None = None
    """Network and settings. Default: quick on a CPU, focal on an accelerator."""
    batch: int | None = None
    """Images in a batch. Default: 32 on a CPU, 256 on an accelerator."""
    precision: Precision | None = None
    """What the network computes in. Default: the preset's."""
    seconds: float = 2.0
    """How long to repeat each measurement; at least five repeats are taken."""
    peer: PeerName | None = None
    """Whom to measure as well."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/layers.py", description=__doc__, args=arguments)
    with open_peer(command.peer) as peer:
        on_cpu = jax.default_backend() == "cpu"
        preset, batch = command.preset or ("quick" if on_cpu else "focal"), command.batch or (32 if on_cpu else 256)
        same = {"batch": batch, "augment": "none"}
        workloads = {
            name: make_workload(preset, command.precision, batch, fast_layers=form) for name, form in FORMS.items()
        }
        calls = {name: training_call(workload, steps=call_steps(), **same) for name, workload in workloads.items()}
        if peer:
            require_same_size(workloads["plain"], peer)
            arguments_of_peer = peer_training(workloads["plain"], steps=call_steps(), loop=False, **same)
            calls["torch"] = peer.prepare("training", **arguments_of_peer)
        times = measure(calls, seconds=command.seconds, units=call_steps())

        config = workloads["plain"].config
        rows: list[Row] = []
        for name, timing in times.items():
            row: Row = {"layers": name, "time of a step": timing, "ratio": timing.median / times["plain"].median}
            # Of the peer nothing is counted: its row says at what rate it does what our plain layers do.
            cost = training_cost(workloads.get(name, workloads["plain"]), **same)
            rows.append(row | shares(cost, timing, measure_ceiling(config.model.precision)))
        size = f"{config.dataset.image_size} px"
        title = f"{preset}: {config.model.backbone}, {size}, {config.model.precision}, batch {batch}"
        report("layers", title, rows, peer.about if peer else None)


if __name__ == "__main__":
    main(sys.argv[1:])
