"""Time of matching, loss and gradients for a batch, by several methods.

    python benchmarks/loss.py                              anchors and batches that suit the device
    python benchmarks/loss.py --anchors 189 --batch 256    one size only
    python benchmarks/loss.py --baseline torch             beside PyTorch, which must be installed

Three losses: the lesson's focal loss with both matching rules, and SSD's loss with box offsets and hard negative
mining. Gradients are those of logits and box activations. The methods are measured in one run. Before the clock starts,
all must have given the same numbers. Ratios are the time of a method divided by that of the first one:

    vmap + jit       ours for the batch
    loop of jit      ours for one image, in a Python loop
    loop of NumPy    the lesson's method, image by image on the host
    torch            PyTorch for the padded batch, without a loop over images, compiled by torch.compile
    loop of torch    the lesson's method in PyTorch, image by image
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
from baselines.torch_process import BaselineName, TorchBaseline, open_baseline
from inputs import ANCHORS, Batch, apart, random_predictions, require_agreement
from timing import Call, Row, measure, ratios, report

from jaxssd import OFFSET_CODER, Anchors, bce_loss, ssd_loss

METHODS = ("vmap + jit", "loop of jit", "loop of NumPy")
TORCH_METHODS = ("torch", "loop of torch")


class Loss(NamedTuple):
    """Keywords of `ssd_loss`, and the equivalent settings of a baseline."""

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
            "box_coder": "offsets",
            "negative_ratio": 3,
            "normalizer": "positives",
            "threshold": 0.5,
        },
    ),
}


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    anchors: tuple[Literal[tuple(ANCHORS)], ...] = tuple(ANCHORS)
    """Numbers of anchors: 189 as in the lesson, 8732 as in SSD300."""
    batch: tuple[int, ...] = ()
    """Batch sizes. Default: 16 on a CPU; 16, 64 and 256 on a GPU or TPU."""
    seconds: float = 0.5
    """Seconds to repeat each measurement; at least five repeats are taken."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/loss.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        title = "matching, loss and gradients: 20 classes, up to 16 objects"
        report("loss", title, measured_rows(command, baseline), baseline.about if baseline else None)


def measured_rows(command: Command, baseline: TorchBaseline | None) -> Iterator[Row]:
    """Yield a row for each number of anchors, loss and batch size, once it is measured."""
    batch_sizes = command.batch or ((16,) if jax.default_backend() == "cpu" else (16, 64, 256))
    for count in command.anchors:
        anchors = apart(ANCHORS[count]())
        for name, loss in LOSSES.items():
            for size in batch_sizes:
                calls = loss_calls(anchors, loss, random_predictions(anchors, size), baseline)
                times = measure(calls, seconds=command.seconds)
                if baseline:
                    baseline.forget()
                columns = dict.fromkeys(METHODS + (TORCH_METHODS if baseline else ())) | times
                yield {"anchors": str(count), "loss": name, "batch": str(size)} | ratios(columns)


def loss_calls(anchors: Anchors, loss: Loss, batch: Batch, baseline: TorchBaseline | None) -> dict[str, Call]:
    """All methods of a loss, after a check that their results agree; NumPy has only the focal loss."""

    def total(*image: jax.Array) -> jax.Array:
        return ssd_loss(*image, anchors, **loss.ours).total

    in_numpy = partial(ssd_loss_and_grads, anchors=anchors, rule=loss.ours.get("rule"))
    calls = methods(jax.value_and_grad(total, argnums=(0, 1)), in_numpy, batch)
    if "class_loss" in loss.ours:
        del calls["loop of NumPy"]
    if baseline:
        prepare = partial(baseline.prepare, "loss", anchors=tuple(anchors), batch=batch, settings=loss.theirs)
        calls |= {"torch": prepare(loop=False), "loop of torch": prepare(loop=True)}
    ours, *others = calls
    expected = jax.tree.leaves(calls[ours]())
    for name in others:
        results = calls[name]() if name in TORCH_METHODS else stacked(calls[name]())
        require_agreement(name, expected, jax.tree.leaves(results))
    return calls


def methods(function: Callable, numpy_function: Callable, batch: Batch) -> dict[str, Call]:
    """Methods that run a function of one image, and its NumPy form, over a batch."""
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
    """Results of single images, stacked along a leading axis."""
    return [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, results), strict=True)]


if __name__ == "__main__":
    main(sys.argv[1:])
