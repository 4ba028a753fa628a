"""Run a trained network over a whole data set in batches of one fixed shape, and score it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.metrics import VOCScores, voc_scores
from jaxssd.ops import Detections, SSDLoss
from jaxssd.ops._arrays import ArrayLike
from jaxssd.tasks import DetectionTask

BATCHES_AHEAD = 3  # enough to keep the device busy, without filling it with batches that wait

Variables = dict[str, Any]
Predict = Callable[[Variables, ArrayLike], Detections]
Validate = Callable[[Variables, Examples], tuple[Detections, SSDLoss]]
Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")


class Evaluation(NamedTuple):
    """What a network makes of a data set; arrays are NumPy's."""

    detections: Detections  # [N, D]
    loss: SSDLoss  # [N]
    scores: VOCScores


def make_predict(task: DetectionTask) -> Predict:
    """Compile-once inference, NMS included.

    Args:
        task: the model, and how its outputs become detections.

    Returns:
        A jitted `(variables, images uint8 [B, S, S, 3]) -> Detections [B, D]`.
    """

    @jax.jit
    def predict(variables: Variables, images: ArrayLike) -> Detections:
        return task.detect(task.predict(variables, images))

    return predict


def make_validate(task: DetectionTask) -> Validate:
    """Compile-once inference with the loss, from one forward pass.

    Args:
        task: the model, its loss, and how its outputs become detections.

    Returns:
        A jitted `(variables, examples [B]) -> (Detections [B, D], SSDLoss [B])`.
    """

    @jax.jit
    def validate(variables: Variables, examples: Examples) -> tuple[Detections, SSDLoss]:
        predictions = task.predict(variables, examples.images)
        return task.detect(predictions), task.loss(predictions, examples)

    return validate


def map_batches(
    function: Callable[[Variables, Inputs], Outputs],
    variables: Variables,
    inputs: Inputs,
    *,
    batch_size: int,
    progress: bool = False,
) -> Outputs:
    """Apply a jitted function to all rows, once each, without compiling for a smaller last batch.

    Args:
        function: `(variables, batch) -> outputs`, any tree of arrays with a leading batch axis.
        variables: its first argument, on the device.
        inputs: a tree of NumPy arrays with the same number of rows; sent a batch at a time.
        batch_size: rows a call. The last batch is filled up with the last row, whose copies are cut off again.
        progress: whether to show a bar.

    Returns:
        The outputs of all rows as NumPy arrays.
    """
    num_rows = len(jax.tree.leaves(inputs)[0])
    batch_size = min(batch_size, num_rows)
    outputs = []
    for start in tqdm(range(0, num_rows, batch_size), "predicting", unit=" batches", disable=not progress, leave=False):
        rows = np.minimum(np.arange(start, start + batch_size), num_rows - 1)
        batch = jax.device_put(jax.tree.map(lambda array, rows=rows: array[rows], inputs))
        outputs.append(function(variables, batch))  # dispatched; the next batch is prepared meanwhile
        jax.block_until_ready(outputs[-BATCHES_AHEAD:][0])
    host = jax.device_get(outputs)
    return jax.tree.map(lambda *batches: np.concatenate(batches)[:num_rows], *host)


def evaluate(
    validate: Validate,
    variables: Variables,
    dataset: Dataset,
    *,
    batch_size: int,
    progress: bool = False,
) -> Evaluation:
    """Predict a data set and score the detections by the VOC protocol.

    Args:
        validate: from `make_validate`.
        variables: parameters and BatchNorm statistics.
        dataset: with ground truth.
        batch_size: rows a call.
        progress: whether to show a bar.

    Returns:
        Detections, losses and scores.
    """
    truths = dataset.examples
    detections, loss = map_batches(validate, variables, truths, batch_size=batch_size, progress=progress)
    scores = voc_scores(
        detections,
        truths.boxes,
        truths.labels,
        truths.valid,
        truths.difficult,
        num_classes=len(dataset.class_names),
    )
    return Evaluation(detections, loss, scores)
