"""The training step, and the scan that runs a chunk of an epoch as one call on the device."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from jaxssd.data.dataset import Examples
from jaxssd.ops import Augmentation, augment_boxes, augment_image, sample_augmentation
from jaxssd.tasks import Loss, Task
from jaxssd.training.state import TrainState

SampleAugmentation = Callable[[Array], Augmentation]
TrainChunk = Callable[[TrainState, Examples, Array, Array], tuple[TrainState, Loss]]

AUGMENTATIONS: dict[str, SampleAugmentation | None] = {
    "crop": sample_augmentation,
    "lesson": partial(sample_augmentation, rotation=3.0, scale=(1.0, 1.0), aspect=(1.0, 1.0)),
    "none": None,
}


def make_train_chunk(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    augment: SampleAugmentation | None,
    frozen_stages: int = 0,
    donate: bool = True,
) -> TrainChunk:
    """Compile-once training of several steps.

    The data set is an argument, resident on the device, so nothing crosses the bus but the metrics; the state is
    donated, so its buffers are reused.

    Args:
        task: model and loss.
        optimizer: what turns gradients into updates.
        augment: how images and boxes are changed at random; None leaves them.
        frozen_stages: leading stages of the backbone that stay as they are.
        donate: whether the state that goes in is used up, which spares its memory.

    Returns:
        A jitted `(state, examples, order, key) -> (state, loss)`: `order [steps, B]` are rows of `examples`, `key` is
        the run's, the same for every chunk, and `loss [steps]` holds the means over each batch.
    """

    @partial(jax.jit, donate_argnums=(0,) if donate else ())
    def train_chunk(
        state: TrainState, examples: Examples, order: Int[Array, "steps B"], key: Key[Array, ""]
    ) -> tuple[TrainState, Loss]:
        def step(state: TrainState, rows: Array) -> tuple[TrainState, Loss]:
            batch = jax.tree.map(lambda array: array[rows], examples)
            augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
            if augment:
                batch = augment_batch(augment_key, batch, augment)
            return _update(state, batch, dropout_key, task, optimizer, frozen_stages)

        # XLA's CPU backend is some 17 times slower at convolutions inside a loop (jax#12868): one step is not a loop.
        return jax.lax.scan(step, state, order, unroll=0 if len(order) == 1 else 1)

    return train_chunk


def _update(
    state: TrainState,
    batch: Examples,
    key: Array,
    task: Task,
    optimizer: optax.GradientTransformation,
    frozen_stages: int,
) -> tuple[TrainState, Loss]:
    """One step of gradient descent."""

    def mean_loss(params: dict) -> tuple[Array, tuple[Loss, dict]]:
        predictions, updated = task.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            task.normalize(batch.images),
            train=True,
            frozen_stages=frozen_stages,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        loss = jax.tree.map(jnp.mean, task.loss(predictions, batch))
        return loss.total, (loss, updated["batch_stats"])

    grads, (loss, batch_stats) = jax.grad(mean_loss, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), loss


def augment_batch(key: Key[Array, ""], batch: Examples, sample: SampleAugmentation) -> Examples:
    """Each image its own random change, boxes moved along.

    Args:
        key: split over the images.
        batch: images uint8 `[B, S, S, 3]` with their boxes.
        sample: from a key to a change.

    Returns:
        The batch with float images in `[0, 1]`; objects of which too little is left are no longer valid.
    """

    def augment_one(key: Array, image: Array, boxes: Array, valid: Array) -> tuple[Array, Array, Array]:
        augmentation, (height, width, _) = sample(key), image.shape
        image = augment_image(image.astype(jnp.float32) / 255, augmentation)
        return image, *augment_boxes(boxes, valid, augmentation, image_size=(height, width))

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
