"""How long does suppression take for a batch, and how much longer do others take?

    python benchmarks/nms.py                              anchors and batches that suit the device
    python benchmarks/nms.py --anchors 8732 --batch 256   one size only
    python benchmarks/nms.py --peer torch                 beside PyTorch, which has to be installed

From boxes and scores to detections: the best 200 pairs of anchor and class of each image, suppressed within each of 20
classes. It is measured in these ways in one run, and before the clock starts all must have kept the same boxes; a ratio
is how many times as long as the first way another one takes:

    vmap + jit       ours for the batch
    loop of jit      ours for one image, in a Python loop
    loop of NumPy    a loop over the classes and the boxes that are left, one image after the other on the host
    torch            PyTorch: candidates of the batch by torch.compile, then torchvision's `batched_nms` image by image
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
import tyro
from baselines import numpy_loops
from baselines.torch_process import PeerName, TorchPeer, open_peer
from inputs import ANCHORS, Batch, boxes_and_scores, random_predictions, require_agreement
from loss import stacked, ways
from timing import Call, Row, measure, ratios, report

from jaxssd import multiclass_nms

MAX_CANDIDATES = 200
MAX_OUTPUTS = 100


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    anchors: tuple[Literal[tuple(ANCHORS)], ...] = tuple(ANCHORS)
    """How many: 189 are the lesson's, 8732 those of SSD300."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 1 and 16 on a CPU; 1, 16, 64 and 256 on an accelerator."""
    seconds: float = 0.5
    """How long to repeat each measurement; at least five repeats are taken."""
    peer: PeerName | None = None
    """Whom to measure as well."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/nms.py", description=__doc__, args=arguments)
    with open_peer(command.peer) as peer:
        title = f"suppression within each of 20 classes, {MAX_CANDIDATES} candidates an image"
        report("nms", title, measured_rows(command, peer), peer.about if peer else None)


def measured_rows(command: Command, peer: TorchPeer | None) -> Iterator[Row]:
    """A row for each number of anchors and batch size, once it is measured."""
    batch_sizes = command.batch or ((1, 16) if jax.default_backend() == "cpu" else (1, 16, 64, 256))
    for count in command.anchors:
        for size in batch_sizes:
            anchors = ANCHORS[count]()
            calls = nms_calls(boxes_and_scores(anchors, *random_predictions(anchors, size)), peer)
            times = measure(calls, seconds=command.seconds)
            if peer:
                peer.forget()
            yield {"anchors": str(count), "batch": str(size)} | ratios(times)


def nms_calls(batch: Batch, peer: TorchPeer | None, max_candidates: int = MAX_CANDIDATES) -> dict[str, Call]:
    """All ways, which have been found to agree."""
    limits = {"max_candidates": max_candidates, "max_outputs": MAX_OUTPUTS}
    calls = ways(partial(multiclass_nms, **limits), partial(numpy_loops.multiclass_nms, **limits), batch)
    if peer:
        calls["torch"] = peer.prepare("nms", batch=batch, max_candidates=max_candidates)
    ours, *others = calls
    expected = in_one_order(*map(np.asarray, calls[ours]()))
    for name in others:
        results: Any = calls[name]()
        columns = padded(results) if name == "torch" else stacked(results)
        require_agreement(name, expected, in_one_order(*columns))
    return calls


def padded(results: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Boxes, scores and labels of each image, however many, as `Detections` has them."""
    columns: list[np.ndarray] = []
    for found in zip(*results, strict=True):
        shape = (len(found), MAX_OUTPUTS, *found[0].shape[1:])
        columns.append(np.zeros(shape, found[0].dtype))
        for row, values in zip(columns[-1], found, strict=True):
            row[: len(values)] = values
    counts = np.array([len(scores) for _, scores, _ in results])
    return [*columns, np.arange(MAX_OUTPUTS)[None, :] < counts[:, None]]


def in_one_order(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> list[np.ndarray]:
    """Detections with equal scores may come in any order: here they are sorted by label and box as well."""
    keys = (*np.moveaxis(boxes, -1, 0)[::-1], labels, -scores)
    order = np.lexsort(keys, axis=-1)
    return [
        np.take_along_axis(column, order.reshape(*order.shape, *(1,) * (column.ndim - 2)), axis=1)
        for column in (boxes, scores, labels, valid)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
