"""How long do loss and suppression take for a batch, and how much longer would a Python loop over the images?

    python benchmarks/ops.py                      batches that suit the device
    python benchmarks/ops.py --batch 256          one size only

Each function is measured three ways in one run: jitted and vmapped over the batch; jitted for one image, in a Python
loop; and in NumPy for one image, in a Python loop, as the lesson does it and always on the host. Before the clock
starts, all three must have given the same numbers. A ratio is how many times as long as the first way a loop takes.

The loss comes with the gradients of logits and box activations. Suppression takes the best 200 pairs of anchor and
class of each image.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_peers
import tyro
from timing import Row, measure, report

from jaxssd import Anchors, box_iou, clip_boxes, decode_tanh, make_anchors, multiclass_nms, ssd300_anchors, ssd_loss

NUM_CLASSES = 20
MAX_OBJECTS = 16
Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 16 and 64, and 256 on an accelerator."""
    seconds: float = 0.5
    """How long to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/ops.py", description=__doc__, args=arguments)
    batch_sizes = command.batch or ((16, 64) if jax.default_backend() == "cpu" else (16, 64, 256))

    anchors = make_anchors()
    rows = []
    for rule in ("best_iou", "lesson"):
        for size in batch_sizes:
            times = compare(*loss_and_grads(anchors, rule), random_predictions(anchors, size), command.seconds)
            rows.append({"matching": rule, "batch": size} | times)
    report("ops-loss", "matching, focal loss and gradients: 189 anchors, 20 classes, up to 16 objects", rows)

    rows = []
    for anchors in (make_anchors(), ssd300_anchors()):
        for size in batch_sizes:
            batch = boxes_and_scores(anchors, *random_predictions(anchors, size))
            times = compare(multiclass_nms, numpy_peers.multiclass_nms, batch, command.seconds)
            rows.append({"anchors": len(anchors.corners), "batch": size} | times)
    report("ops-nms", "suppression within each of 20 classes, 200 candidates an image", rows)


def compare(function: Callable, peer: Callable, batch: Batch, seconds: float) -> Row:
    """Time a function of one image over a batch, in all three ways, after checking that they agree."""
    at_once, one_by_one = jax.jit(jax.vmap(function)), jax.jit(function)
    on_device = jax.device_put(batch)
    images = list(zip(*batch, strict=True))
    images_on_device = jax.device_put(images)
    ways = {
        "vmap + jit": lambda: at_once(*on_device),
        "loop of jit": lambda: [one_by_one(*image) for image in images_on_device],
        "loop of NumPy": lambda: [peer(*image) for image in images],
    }
    expected = jax.tree.leaves(ways["vmap + jit"]())
    for loop in ("loop of jit", "loop of NumPy"):
        found = [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, ways[loop]()), strict=True)]
        for i, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=f"{loop}, output {i}")

    times = measure(ways, seconds=seconds)
    ours = times["vmap + jit"].median
    ratios = {f"{name}, ratio": times[name].median / ours for name in ("loop of jit", "loop of NumPy")}
    return times | ratios


def loss_and_grads(anchors: Anchors, rule: str) -> tuple[Callable, Callable]:
    """Our function of one image and its peer: the loss, and the gradients of logits and box activations."""

    def total(*image: jax.Array) -> jax.Array:
        return ssd_loss(*image, anchors, rule=rule).total

    peer = partial(numpy_peers.ssd_loss_and_grads, anchors=jax.device_get(anchors), rule=rule)
    return jax.value_and_grad(total, argnums=(0, 1)), peer


def random_predictions(anchors: Anchors, size: int) -> Batch:
    """Arguments of `ssd_loss` for a batch: 1 to 16 objects an image, from a tenth of its side to all of it."""
    rng = np.random.default_rng(0)
    num_anchors = len(anchors.corners)
    sides = rng.uniform(0.1, 1.0, (size, MAX_OBJECTS, 2))
    near = rng.uniform(0, 1 - sides)
    valid = np.arange(MAX_OBJECTS)[None, :] < rng.integers(1, MAX_OBJECTS + 1, size)[:, None]
    return (
        rng.normal(-4, 1, (size, num_anchors, NUM_CLASSES)).astype(np.float32),
        rng.normal(0, 1, (size, num_anchors, 4)).astype(np.float32),
        np.concatenate([near, near + sides], axis=-1).astype(np.float32),
        rng.integers(0, NUM_CLASSES, (size, MAX_OBJECTS), np.int32),
        valid,
    )


def boxes_and_scores(anchors: Anchors, *predictions: np.ndarray) -> Batch:
    """Arguments of `multiclass_nms` for a batch, from those of `ssd_loss`.

    A trained network answers with every anchor near an object. Here so do the anchors that overlap one, which leaves
    suppression something to do.
    """

    @jax.jit
    @jax.vmap
    def answer(logits, activations, gt_boxes, gt_labels, gt_valid):
        boxes = clip_boxes(decode_tanh(activations, anchors))
        overlap = box_iou(boxes, gt_boxes) * gt_valid[None, :]
        evidence = jnp.zeros_like(logits).at[:, gt_labels].max(overlap)
        return boxes, jax.nn.sigmoid(logits - 3 + 10 * evidence)

    return jax.device_get(answer(*predictions))


if __name__ == "__main__":
    main(sys.argv[1:])
