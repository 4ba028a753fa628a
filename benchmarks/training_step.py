"""How long does a training step take, alone and in an epoch whose data lies on the device, and who is faster?

    python benchmarks/training_step.py                                    presets and batches that suit the device
    python benchmarks/training_step.py --preset focal --batch 64 256      these
    python benchmarks/training_step.py --peer torch                       beside PyTorch, which has to be installed

What is measured is the trainer's own, in calls of so many steps: `step` takes images as they are, `epoch` changes them
at random as well; both draw the order of the images and gather each batch from the whole set, which lies on the device
as uint8. Time is that of one step. The network is untrained and the pictures are generated Shapes, on which only the
rounds of matching depend.

FLOPs and bytes of a step are those that the compiler counts in its own result, and the ceilings are measured in the
same run. A ratio is how many times as long as ours another takes:

    torch            PyTorch: channels last, torch.compile, fused AdamW, the loss for the whole padded batch
    loop of torch    the same with the lesson's loss, one image after the other
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import numpy as np
import tyro
from baselines.torch_process import PeerName, PeerOutOfMemory, TorchPeer, open_peer
from ceiling import measure_ceiling, shares
from timing import Call, Row, Timing, measure, ratios, report
from workloads import (
    DETECTORS,
    Precision,
    Workload,
    call_steps,
    is_out_of_memory,
    make_workload,
    peer_training,
    training_call,
    training_cost,
)

PEERS = {"torch": False, "loop of torch": True}


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: tuple[Literal[DETECTORS], ...] = ()
    """Networks and settings. Default: quick on a CPU; focal and ssd300 on an accelerator."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 32 on a CPU; 64, 256 and 512 on an accelerator."""
    precision: tuple[Precision, ...] = ()
    """What the network computes in. Default: float32 on a CPU, and bfloat16 as well on an accelerator."""
    seconds: float = 2.0
    """How long to repeat each measurement; at least five repeats are taken."""
    peer: PeerName | None = None
    """Whom to measure as well."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/training_step.py", description=__doc__, args=arguments)
    with open_peer(command.peer) as peer:
        title = f"training, time of one step, {call_steps()} steps a call"
        report("training-step", title, measured_rows(command, peer), peer.about if peer else None)


def measured_rows(command: Command, peer: TorchPeer | None) -> Iterator[Row]:
    """A row for each network, precision, batch size and work, once it is measured."""
    on_cpu = jax.default_backend() == "cpu"
    batch_sizes = command.batch or ((32,) if on_cpu else (64, 256, 512))
    for preset in command.preset or (("quick",) if on_cpu else ("focal", "ssd300")):
        for precision in command.precision or (("float32",) if on_cpu else ("bfloat16", "float32")):
            workload = make_workload(preset, precision, max(batch_sizes))
            if peer:
                require_same_size(workload, peer)
            for batch in batch_sizes:
                for work, augment in {"step": "none", "epoch": workload.config.augmentation.augment}.items():
                    about: Row = {"preset": preset, "precision": precision, "batch": str(batch), "work": work}
                    yield about | compare(workload, batch, augment, command.seconds, peer)


def require_same_size(workload: Workload, peer: TorchPeer) -> None:
    """The peer's network must be the same, as far as the number of its parameters tells.

    Raises:
        ValueError: if it has another one.
    """
    theirs = peer.prepare("size", network=workload.peer_network())()
    if theirs != workload.num_parameters:
        raise ValueError(f"the peer's network has {theirs} parameters, ours {workload.num_parameters}")


def compare(workload: Workload, batch: int, augment: str, seconds: float, peer: TorchPeer | None) -> Row:
    """Time of a step of each, None where its memory does not suffice or it has no such augmentation."""
    steps = call_steps()
    how = {"batch": batch, "steps": steps, "augment": augment}
    calls = {"jaxssd": usable("jaxssd", partial(training_call, workload, **how))}
    if peer:
        for name, loop in PEERS.items():
            arguments = peer_training(workload, **how, loop=loop)
            calls[name] = usable(name, partial(peer.prepare, "training", **arguments)) if arguments else None
    possible = {name: call for name, call in calls.items() if call}
    times: dict[str, Timing | None] = dict.fromkeys(calls) | measure(possible, seconds=seconds, units=steps)
    if peer:
        peer.forget()

    ours = times["jaxssd"]
    cost = training_cost(workload, batch=batch, augment=augment)
    ceiling = measure_ceiling(workload.config.model.precision)
    reached = {"images/s": ours and f"{batch / ours.median:.0f}"} | shares(cost, ours, ceiling)
    return {"jaxssd": ours} | reached | ratios(times)


def usable(name: str, make: Callable[[], Call]) -> Call | None:
    """What `make` returns, once it has been called and has given numbers; None if there is too little memory for it."""
    try:
        call = make()
        results = jax.tree.leaves(jax.device_get(call()))
    except PeerOutOfMemory:
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
