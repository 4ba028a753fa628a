"""Evaluation: run any model over a data set in batches of one shape, and score the results."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from jaxssd.data.augmentation import unit_images
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.ops.arrays import ArrayLike
from jaxssd.training.distribution import batch_sharding, fetch, send, shares
from jaxssd.training.interruption import Interrupted, requested
from jaxssd.training.step import Apply, LossFunction, TrainState, Variables

BATCHES_AHEAD = 3  # enough to keep the device busy, without filling it with batches that wait

Predict = Callable[[Any, ArrayLike], Any]
Validate = Callable[[Any, Examples], tuple[Any, Any]]
Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")


class Evaluation(NamedTuple):
    """Results of a model on a data set, as NumPy arrays `[N, ...]`."""

    results: Any
    loss: Any
    scores: Any


def make_predict(apply: Apply, postprocess: Callable[[Any], Any]) -> Predict:
    """Compile inference for any model.

    Args:
        apply: the model, as in `make_train_step`.
        postprocess: function from its outputs to results, such as decoding with NMS.

    Returns:
        A jitted `(variables, images [B, H, W, 3]) -> results`: `variables` is a `TrainState`, whose average is used if
        it has one, or `Variables`; images are uint8 or float in `[0, 1]`.

    Example:
        >>> def apply(params, model_state, images, *, train, key):  # the brightness
        ...     return images.mean(axis=(1, 2)) @ params, model_state
        >>> predict = make_predict(apply, lambda outputs: outputs > 0.5)
        >>> variables, white = Variables(jax.numpy.ones(3) / 3, ()), np.full((2, 4, 4, 3), 255, np.uint8)
        >>> predict(variables, white).tolist()
        [True, True]
    """

    @jax.jit
    def predict(variables: Variables | TrainState, images: ArrayLike) -> Any:
        outputs, _ = apply(*_used(variables), unit_images(images), train=False, key=None)
        return postprocess(outputs)

    return predict


def make_validate(apply: Apply, loss_fn: LossFunction, postprocess: Callable[[Any], Any]) -> Validate:
    """Compile inference and loss of one forward pass, for any model.

    Args:
        apply: the model, as in `make_train_step`.
        loss_fn: loss of each image, as in `make_train_step`.
        postprocess: function from outputs to results.

    Returns:
        A jitted `(variables, examples [B]) -> (results, losses [B])`; `variables` as in `make_predict`. See `evaluate`.
    """

    @jax.jit
    def validate(variables: Variables | TrainState, examples: Examples) -> tuple[Any, Any]:
        examples = examples._replace(images=unit_images(examples.images))
        outputs, _ = apply(*_used(variables), examples.images, train=False, key=None)
        return postprocess(outputs), loss_fn(outputs, examples)

    return validate


def _used(variables: Variables | TrainState) -> tuple[Any, Any]:
    """Parameters and model state: the average of a state that has one."""
    used = variables.inference if isinstance(variables, TrainState) else variables
    return used.params, used.model_state


def map_batches(
    function: Callable[[Any, Inputs], Outputs],
    variables: Variables | TrainState,
    inputs: Inputs,
    *,
    batch_size: int,
    progress: bool = False,
) -> Outputs:
    """Apply a jitted function to all rows, once each, without compiling for a smaller last batch.

    Args:
        function: function `(variables, batch) -> outputs`, such as that of `make_predict`.
        variables: `TrainState` or `Variables`, on the devices that share each batch.
        inputs: tree of NumPy arrays with the same number of rows; sent one batch at a time.
        batch_size: rows per call, rounded up to a multiple of the devices. The last batch is filled up with copies of
            the last row, which are cut off again.
        progress: if True, show a progress bar in a terminal.

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
    validate: Validate,
    variables: Variables | TrainState,
    dataset: Dataset,
    score: Callable[[Any, Dataset], Any],
    *,
    batch_size: int,
    progress: bool = False,
) -> Evaluation:
    """Run a model on a data set and score the results.

    Args:
        validate: function of `make_validate`.
        variables: `TrainState` or `Variables`.
        dataset: data set with ground truth.
        score: function `(results, dataset) -> scores`.
        batch_size: images per call.
        progress: if True, show a progress bar.

    Returns:
        Results, losses and scores.

    Example:
        >>> from jaxssd.data.shapes import make_shapes
        >>> def apply(params, model_state, images, *, train, key):
        ...     return images.mean(axis=(1, 2)) @ params, model_state
        >>> validate = make_validate(apply, lambda outputs, examples: outputs**2, lambda outputs: outputs > 2)
        >>> def score(results, dataset):
        ...     return {"share": float(results.mean())}
        >>> variables, dataset = Variables(jax.numpy.ones(3), ()), make_shapes(5, image_size=16)
        >>> result = evaluate(validate, variables, dataset, score, batch_size=2)
        >>> result.loss.shape, result.scores
        ((5,), {'share': 0.0})
    """
    results, loss = map_batches(validate, variables, dataset.examples, batch_size=batch_size, progress=progress)
    return Evaluation(results, loss, score(results, dataset))
