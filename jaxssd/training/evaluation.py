"""Run a trained network over a whole data set in batches of one fixed shape, and score it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.ops.arrays import ArrayLike
from jaxssd.tasks.task import Loss, Scores, Task
from jaxssd.training.distribution import batch_sharding, fetch, send, shares
from jaxssd.training.interruption import Interrupted, requested
from jaxssd.training.state import Variables

BATCHES_AHEAD = 3  # enough to keep the device busy, without filling it with batches that wait

Predict = Callable[[Variables, ArrayLike], Any]
Validate = Callable[[Variables, Examples], tuple[Any, Loss]]
Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")


class Evaluation(NamedTuple):
    """What a network makes of a data set; arrays are NumPy's, `[N, ...]`."""

    results: Any
    loss: Loss
    scores: Scores


def make_predict(task: Task) -> Predict:
    """Compile-once inference, NMS included.

    Args:
        task: the model, and how its outputs become an answer.

    Returns:
        A jitted `(variables, images uint8 [B, S, S, 3]) -> answer`; of a detection task, `Detections [B, D]`.
    """

    @jax.jit
    def predict(variables: Variables, images: ArrayLike) -> Any:
        return task.postprocess(task.predict(variables, images))

    return predict


def make_validate(task: Task) -> Validate:
    """Compile-once inference with the loss, from one forward pass.

    Args:
        task: the model, its loss, and how its outputs become an answer.

    Returns:
        A jitted `(variables, examples [B]) -> (answer, loss)`; of a detection task, `Detections [B, D]` and
        `SSDLoss [B]`.
    """

    @jax.jit
    def validate(variables: Variables, examples: Examples) -> tuple[Any, Loss]:
        predictions = task.predict(variables, examples.images)
        return task.postprocess(predictions), task.loss(predictions, examples)

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
        variables: its first argument, on the devices: each batch is divided among those.
        inputs: a tree of NumPy arrays with the same number of rows; sent a batch at a time.
        batch_size: rows a call, rounded up to a multiple of the devices. The last batch is filled up with the last row,
            whose copies are cut off again.
        progress: whether to show a bar, if there is a terminal.

    Returns:
        The outputs of all rows as NumPy arrays.

    Raises:
        Interrupted: between two batches, if a signal has come and this process is alone; several finish.
    """
    num_rows = len(jax.tree.leaves(inputs)[0])
    sharding = batch_sharding(variables)
    batch_size = -(-min(batch_size, num_rows) // shares(sharding)) * shares(sharding)
    outputs = []
    starts, shown = range(0, num_rows, batch_size), None if progress else True
    for start in tqdm(starts, "predicting", unit=" batches", disable=shown, leave=False):
        if requested() and jax.process_count() == 1:
            raise Interrupted(requested())
        rows = np.minimum(np.arange(start, start + batch_size), num_rows - 1)
        batch = send(jax.tree.map(lambda array, rows=rows: array[rows], inputs), sharding)
        outputs.append(function(variables, batch))  # dispatched; the next batch is prepared meanwhile
        jax.block_until_ready(outputs[-BATCHES_AHEAD:][0])
    host = fetch(outputs)
    return jax.tree.map(lambda *batches: np.concatenate(batches)[:num_rows], *host)


def evaluate(
    task: Task,
    validate: Validate,
    variables: Variables,
    dataset: Dataset,
    *,
    batch_size: int,
    with_coco: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Predict on a data set, and score the results.

    Args:
        task: its model, loss and scores.
        validate: from `make_validate`.
        variables: parameters and BatchNorm statistics.
        dataset: with ground truth.
        batch_size: rows a call.
        with_coco: whether to take every score there is, and not only those that are worth their time in each epoch.
        progress: whether to show a bar.

    Returns:
        Results, losses and scores.
    """
    results, loss = map_batches(validate, variables, dataset.examples, batch_size=batch_size, progress=progress)
    return Evaluation(results, loss, task.score(results, dataset, with_coco=with_coco))
