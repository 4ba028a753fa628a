"""The training step, and the scan that runs a chunk of an epoch as one call on the device."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxssd.data.dataset import Examples
from jaxssd.models.detector import normalize_images
from jaxssd.ops import augment_boxes, augment_image, sample_augmentation
from jaxssd.tasks import DetectionTask
from jaxssd.training.state import TrainState

TrainChunk = Callable[[TrainState, Examples, Array, Array], tuple[TrainState, "StepMetrics"]]


class StepMetrics(NamedTuple):
    """Means over the batch of one step; a chunk stacks them to `[steps]`."""

    loss: Float[Array, "*steps"]
    localization: Float[Array, "*steps"]
    classification: Float[Array, "*steps"]


def make_train_chunk(task: DetectionTask, optimizer: optax.GradientTransformation, *, augment: bool) -> TrainChunk:
    """Compile-once training of several steps.

    The data set is an argument, resident on the device, so nothing crosses the bus but the metrics; the state is
    donated, so its buffers are reused.

    Args:
        task: model and loss.
        optimizer: what turns gradients into updates.
        augment: whether images and boxes are changed at random.

    Returns:
        A jitted `(state, examples, order, key) -> (state, metrics)`: `order [steps, B]` are rows of `examples`, `key`
        is the run's, the same for every chunk.
    """

    @partial(jax.jit, donate_argnums=0)
    def train_chunk(
        state: TrainState, examples: Examples, order: Int[Array, "steps B"], key: Key[Array, ""]
    ) -> tuple[TrainState, StepMetrics]:
        def step(state: TrainState, rows: Array) -> tuple[TrainState, StepMetrics]:
            batch = jax.tree.map(lambda array: array[rows], examples)
            augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
            if augment:
                batch = augment_batch(augment_key, batch)
            return _update(state, batch, dropout_key, task, optimizer)

        # XLA's CPU backend is some 17 times slower at convolutions inside a loop (jax#12868): one step is not a loop.
        return jax.lax.scan(step, state, order, unroll=0 if len(order) == 1 else 1)

    return train_chunk


def _update(
    state: TrainState, batch: Examples, key: Array, task: DetectionTask, optimizer: optax.GradientTransformation
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent."""

    def mean_loss(params: dict) -> tuple[Array, tuple[StepMetrics, dict]]:
        predictions, updated = task.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            normalize_images(batch.images),
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        total, localization, classification, _ = jax.tree.map(jnp.mean, task.loss(predictions, batch))
        return total, (StepMetrics(total, localization, classification), updated["batch_stats"])

    grads, (metrics, batch_stats) = jax.grad(mean_loss, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), metrics


def augment_batch(key: Key[Array, ""], batch: Examples) -> Examples:
    """Each image its own random change, boxes moved along.

    Args:
        key: split over the images.
        batch: images uint8 `[B, S, S, 3]` with their boxes.

    Returns:
        The batch with float images in `[0, 1]`; objects of which too little is left are no longer valid.
    """

    def augment_one(key: Array, image: Array, boxes: Array, valid: Array) -> tuple[Array, Array, Array]:
        augmentation = sample_augmentation(key)
        image = augment_image(image.astype(jnp.float32) / 255, augmentation)
        return image, *augment_boxes(boxes, valid, augmentation)

    keys = jax.random.split(key, len(batch.images))
    images, boxes, valid = jax.vmap(augment_one)(keys, batch.images, batch.boxes, batch.valid)
    return batch._replace(images=images, boxes=boxes, valid=valid)


@partial(jax.jit, static_argnames=("num_images", "batch_size", "chunk_steps"))
def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], *, num_images: int, batch_size: int, chunk_steps: int
) -> Int[Array, "chunks steps B"]:
    """A fresh order of the images, cut into equal chunks of whole batches, so that one compilation serves them all.

    Args:
        key: the run's.
        epoch: from 0; each has its own order.
        num_images: N.
        batch_size: B, at most N.
        chunk_steps: the most steps a chunk may have.

    Returns:
        Rows of the data set. Each appears at most once; the few that fill no batch or chunk sit out this epoch.
    """
    chunks, steps = epoch_shape(num_images, batch_size, chunk_steps)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    return order[: chunks * steps * batch_size].reshape(chunks, steps, batch_size)


def epoch_shape(num_images: int, batch_size: int, chunk_steps: int) -> tuple[int, int]:
    """How many chunks an epoch has, and how many steps each of them.

    Args:
        num_images: N.
        batch_size: B, at most N.
        chunk_steps: the most steps a chunk may have.

    Returns:
        `(chunks, steps)`.

    Example:
        >>> epoch_shape(5011, 64, 50)  # 78 whole batches
        (2, 39)
    """
    batches = num_images // batch_size
    chunks = -(-batches // chunk_steps)
    return chunks, batches // chunks
