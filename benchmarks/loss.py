"""How long do matching, loss and gradients take for a batch, and how much longer do others take?

    python benchmarks/loss.py                              anchors and batches that suit the device
    python benchmarks/loss.py --anchors 189 --batch 256    one size only
    python benchmarks/loss.py --peer torch                 beside PyTorch, which has to be installed

Three losses: the lesson's focal loss under both rules of matching, and SSD's with offsets and hard negatives. They come
with the gradients of logits and box activations. Each is measured in these ways in one run, and before the clock starts
all must have given the same numbers; a ratio is how many times as long as the first way another one takes:

    vmap + jit       ours for the batch
    loop of jit      ours for one image, in a Python loop
    loop of NumPy    as the lesson does it, one image after the other on the host
    torch            PyTorch for the padded batch, without a loop over images, by torch.compile
    loop of torch    PyTorch as the lesson has it, one image after the other
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from baselines.numpy_loops import ssd_loss_and_grads
from baselines.torch_process import PeerName, TorchPeer, open_peer
from inputs import ANCHORS, Batch, apart, random_predictions, require_agreement
from timing import Call, Row, measure, ratios, report

from jaxssd import OFFSET_CODER, Anchors, bce_loss, ssd_loss

WAYS = ("vmap + jit", "loop of jit", "loop of NumPy")
WAYS_OF_TORCH = ("torch", "loop of torch")


class Loss(NamedTuple):
    """Keywords of `ssd_loss`, and the settings of a peer that mean the same."""

    ours: dict[str, Any]
    theirs: dict[str, Any]


LOSSES = {
    "focal": Loss({"rule": "best_iou"}, {"rule": "best_iou"}),
    "focal, lesson's matching": Loss({"rule": "lesson"}, {"rule": "lesson"}),
    "ssd": Loss(
        {
            "class_loss": bce_loss,
            "box_coder": OFFSET_CODER,
            "negative_ratio": 3,
            "normalizer": "positives",
            "threshold": 0.5,
        },
        {
            "class_loss": "bce",
            "coding": "offsets",
            "negative_ratio": 3,
            "normalizer": "positives",
            "threshold": 0.5,
        },
    ),
}


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    anchors: tuple[Literal[tuple(ANCHORS)], ...] = tuple(ANCHORS)
    """How many: 189 are the lesson's, 8732 those of SSD300."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 16 on a CPU; 16, 64 and 256 on an accelerator."""
    seconds: float = 0.5
    """How long to repeat each measurement; at least five repeats are taken."""
    peer: PeerName | None = None
    """Whom to measure as well."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/loss.py", description=__doc__, args=arguments)
    with open_peer(command.peer) as peer:
        title = "matching, loss and gradients: 20 classes, up to 16 objects"
        report("loss", title, measured_rows(command, peer), peer.about if peer else None)


def measured_rows(command: Command, peer: TorchPeer | None) -> Iterator[Row]:
    """A row for each number of anchors, loss and batch size, once it is measured."""
    batch_sizes = command.batch or ((16,) if jax.default_backend() == "cpu" else (16, 64, 256))
    for count in command.anchors:
        anchors = apart(ANCHORS[count]())
        for name, loss in LOSSES.items():
            for size in batch_sizes:
                calls = loss_calls(anchors, loss, random_predictions(anchors, size), peer)
                times = measure(calls, seconds=command.seconds)
                if peer:
                    peer.forget()
                columns = dict.fromkeys(WAYS + (WAYS_OF_TORCH if peer else ())) | times
                yield {"anchors": str(count), "loss": name, "batch": str(size)} | ratios(columns)


def loss_calls(anchors: Anchors, loss: Loss, batch: Batch, peer: TorchPeer | None) -> dict[str, Call]:
    """All ways that there are, which have been found to agree; in NumPy there is only the focal loss."""

    def total(*image: jax.Array) -> jax.Array:
        return ssd_loss(*image, anchors, **loss.ours).total

    in_numpy = partial(ssd_loss_and_grads, anchors=anchors, rule=loss.ours.get("rule"))
    calls = ways(jax.value_and_grad(total, argnums=(0, 1)), in_numpy, batch)
    if "class_loss" in loss.ours:
        del calls["loop of NumPy"]
    if peer:
        prepare = partial(peer.prepare, "loss", anchors=tuple(anchors), batch=batch, settings=loss.theirs)
        calls |= {"torch": prepare(loop=False), "loop of torch": prepare(loop=True)}
    ours, *others = calls
    expected = jax.tree.leaves(calls[ours]())
    for name in others:
        results = calls[name]() if name in WAYS_OF_TORCH else stacked(calls[name]())
        require_agreement(name, expected, jax.tree.leaves(results))
    return calls


def ways(function: Callable, numpy_function: Callable, batch: Batch) -> dict[str, Call]:
    """A function of one image, and the same in NumPy, over a batch."""
    at_once, one_by_one = jax.jit(jax.vmap(function)), jax.jit(function)
    on_device = jax.device_put(batch)
    images = list(zip(*batch, strict=True))
    images_on_device = jax.device_put(images)
    return {
        "vmap + jit": lambda: at_once(*on_device),
        "loop of jit": lambda: [one_by_one(*image) for image in images_on_device],
        "loop of NumPy": lambda: [numpy_function(*image) for image in images],
    }


def stacked(results: list) -> list[np.ndarray]:
    """Results image by image, with an axis of images."""
    return [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, results), strict=True)]


if __name__ == "__main__":
    main(sys.argv[1:])
