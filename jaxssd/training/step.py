"""The training step, and the scan that runs a chunk of an epoch as one call on the device."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxssd.data.dataset import Examples
from jaxssd.ops import Augmentation, augment_boxes, augment_image, sample_augmentation
from jaxssd.tasks.task import Loss, Task
from jaxssd.training.distribution import divided, replicated
from jaxssd.training.state import TrainState


class Gradients(NamedTuple):
    """What a step learns from a batch: gradients of its mean loss, new BatchNorm statistics, and that loss."""

    grads: Any
    batch_stats: Any
    loss: Loss


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
    grad_accum_steps: int = 1,
    mesh: Mesh | None = None,
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
        grad_accum_steps: micro-batches into which each batch is cut. They are computed one after the other and share
            one update: less memory for the same step, but that BatchNorm sees a micro-batch at a time.
        mesh: devices among which each batch is divided, in shares that may be uneven; each has all of what goes in and
            of what comes out. Default: the one where the arguments are.
        donate: whether the state that goes in is used up, which spares its memory.

    Returns:
        A jitted `(state, examples, order, key) -> (state, loss)`: `order [steps, B]` are rows of `examples`, `key` is
        the run's, the same for every chunk, and `loss [steps]` holds the means over each batch.
    """
    everywhere = None if mesh is None else replicated(mesh)

    @partial(jax.jit, donate_argnums=(0,) if donate else (), out_shardings=everywhere)
    def train_chunk(
        state: TrainState, examples: Examples, order: Int[Array, "steps B"], key: Key[Array, ""]
    ) -> tuple[TrainState, Loss]:
        def gradients(state: TrainState, rows: Array, key: Array) -> Gradients:
            batch = jax.tree.map(lambda array: array[rows], examples)
            if mesh is not None:
                batch = jax.lax.with_sharding_constraint(batch, divided(mesh))
            augment_key, dropout_key = jax.random.split(key)
            if augment:
                batch = augment_batch(augment_key, batch, augment)
            return _gradients(state, batch, dropout_key, task, frozen_stages)

        def step(state: TrainState, rows: Array) -> tuple[TrainState, Loss]:
            of_batch = _in_parts(partial(gradients, state), grad_accum_steps, state.batch_stats)
            grads, batch_stats, loss = of_batch(rows, jax.random.fold_in(key, state.step))
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            return TrainState(state.step + 1, params, batch_stats, opt_state), loss

        # XLA's CPU backend is some 17 times slower at convolutions inside a loop (jax#12868): one step is not a loop.
        return jax.lax.scan(step, state, order, unroll=0 if len(order) == 1 else 1)

    return train_chunk


def _gradients(state: TrainState, batch: Examples, key: Array, task: Task, frozen_stages: int) -> Gradients:
    """Of the mean loss, for one forward and backward pass."""

    def mean_loss(params: dict) -> tuple[Array, tuple[Any, Loss]]:
        predictions, updated = task.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            task.normalize(batch.images),
            train=True,
            frozen_stages=frozen_stages,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        loss = jax.tree.map(jnp.mean, task.loss(predictions, batch))
        return loss.total, (updated["batch_stats"], loss)

    grads, (batch_stats, loss) = jax.grad(mean_loss, has_aux=True)(state.params)
    return Gradients(grads, batch_stats, loss)


def _in_parts(
    gradients: Callable[[Array, Array], Gradients], parts: int, batch_stats: Any
) -> Callable[[Array, Array], Gradients]:
    """The same of a batch in equal parts, one after the other, each with a key of its own: means of what they give."""
    if parts == 1:
        return gradients

    def of_part(rows: Array, key: Array) -> Gradients:
        """With the change of the statistics: the mean of no change at all is none, to the last bit."""
        found = gradients(rows, key)
        return found._replace(batch_stats=jax.tree.map(jnp.subtract, found.batch_stats, batch_stats))

    def of_batch(rows: Array, key: Array) -> Gradients:
        def add(total: Gradients, part: tuple[Array, Array]) -> tuple[Gradients, None]:
            return jax.tree.map(jnp.add, total, of_part(*part)), None

        rows_of_parts, keys = rows.reshape(parts, -1), jax.random.split(key, parts)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_part, rows_of_parts[0], keys[0]))
        in_a_loop = jax.default_backend() != "cpu"  # slow there, see above
        total, _ = jax.lax.scan(add, zeros, (rows_of_parts, keys), unroll=1 if in_a_loop else parts)
        mean = jax.tree.map(lambda x: x / parts, total)
        return mean._replace(batch_stats=jax.tree.map(jnp.add, batch_stats, mean.batch_stats))

    return of_batch


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
