"""Time of non-maximum suppression (NMS) for a batch, by several methods.

    python benchmarks/nms.py                              anchors and batches that suit the device
    python benchmarks/nms.py --anchors 8732 --batch 256   one size only
    python benchmarks/nms.py --baseline torch             beside PyTorch, which must be installed

Boxes and scores in, detections out: the 200 best pairs of anchor and class of each image, with NMS within each of 20
classes. The methods are measured in one run. Before the clock starts, all must have kept the same boxes. Ratios are the
time of a method divided by that of the first one:

    vmap + jit       ours for the batch
    loop of jit      ours for one image, in a Python loop
    loop of NumPy    a loop over classes and remaining boxes, image by image on the host
    torch            PyTorch: top-k of the batch by torch.compile, then torchvision's `batched_nms` image by image
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
from baselines.torch_process import BaselineName, TorchBaseline, open_baseline
from inputs import ANCHORS, Batch, boxes_and_scores, random_predictions, require_agreement
from loss import methods, stacked
from timing import Call, Row, measure, ratios, report

from jaxssd import multiclass_nms

MAX_CANDIDATES = 200
MAX_OUTPUTS = 100


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    anchors: tuple[Literal[tuple(ANCHORS)], ...] = tuple(ANCHORS)
    """Numbers of anchors: 189 as in the lesson, 8732 as in SSD300."""
    batch: tuple[int, ...] = ()
    """Batch sizes. Default: 1 and 16 on a CPU; 1, 16, 64 and 256 on a GPU or TPU."""
    seconds: float = 0.5
    """Seconds to repeat each measurement; at least five repeats are taken."""
    baseline: BaselineName | None = None
    """Baseline to measure in the same run: `torch` is PyTorch."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/nms.py", description=__doc__, args=arguments)
    with open_baseline(command.baseline) as baseline:
        title = f"NMS within each of 20 classes, {MAX_CANDIDATES} candidates an image"
        report("nms", title, measured_rows(command, baseline), baseline.about if baseline else None)


def measured_rows(command: Command, baseline: TorchBaseline | None) -> Iterator[Row]:
    """Yield a row for each number of anchors and batch size, once it is measured."""
    batch_sizes = command.batch or ((1, 16) if jax.default_backend() == "cpu" else (1, 16, 64, 256))
    for count in command.anchors:
        for size in batch_sizes:
            anchors = ANCHORS[count]()
            calls = nms_calls(boxes_and_scores(anchors, *random_predictions(anchors, size)), baseline)
            times = measure(calls, seconds=command.seconds)
            if baseline:
                baseline.forget()
            yield {"anchors": str(count), "batch": str(size)} | ratios(times)


def nms_calls(batch: Batch, baseline: TorchBaseline | None, max_candidates: int = MAX_CANDIDATES) -> dict[str, Call]:
    """All methods, after a check that their results agree."""
    limits = {"max_candidates": max_candidates, "max_outputs": MAX_OUTPUTS}
    calls = methods(partial(multiclass_nms, **limits), partial(numpy_loops.multiclass_nms, **limits), batch)
    if baseline:
        calls["torch"] = baseline.prepare("nms", batch=batch, max_candidates=max_candidates)
    ours, *others = calls
    expected = in_one_order(*map(np.asarray, calls[ours]()))
    for name in others:
        results: Any = calls[name]()
        columns = padded(results) if name == "torch" else stacked(results)
        require_agreement(name, expected, in_one_order(*columns))
    return calls


def padded(results: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Boxes, scores and labels of each image, padded like `Detections`, and the mask of valid rows."""
    columns: list[np.ndarray] = []
    for found in zip(*results, strict=True):
        shape = (len(found), MAX_OUTPUTS, *found[0].shape[1:])
        columns.append(np.zeros(shape, found[0].dtype))
        for row, values in zip(columns[-1], found, strict=True):
            row[: len(values)] = values
    counts = np.array([len(scores) for _, scores, _ in results])
    return [*columns, np.arange(MAX_OUTPUTS)[None, :] < counts[:, None]]


def in_one_order(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> list[np.ndarray]:
    """Detections sorted by score, label and box, since those with equal scores may come in any order."""
    keys = (*np.moveaxis(boxes, -1, 0)[::-1], labels, -scores)
    order = np.lexsort(keys, axis=-1)
    return [
        np.take_along_axis(column, order.reshape(*order.shape, *(1,) * (column.ndim - 2)), axis=1)
        for column in (boxes, scores, labels, valid)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
