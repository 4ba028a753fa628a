"""Order of the images in an epoch, divided into blocks of steps for the device."""

import math
from functools import partial
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxssd.training.distribution import replicated

CHUNK_STEPS = 50  # long enough to hide the cost of a call, short enough for a progress bar that moves
CPU_CALL_STEPS = 1  # XLA's CPU backend is slow at convolutions in a loop, see `make_train_block`


class Sizes(NamedTuple):
    """Sizes of an epoch in images and steps. An epoch has blocks, a block has calls, a call has steps."""

    num_images: int
    batch_size: int
    epoch_steps: int
    block_steps: int
    call_steps: int

    @property
    def block_rows(self) -> int:
        """Number of images in a block, which are on the device at once when they are streamed."""
        return self.block_steps * self.batch_size


def whole_batch(batch_size: int, grad_accum_steps: int, num_images: int) -> int:
    """Limit the batch size to the number of images, in whole micro-batches.

    Args:
        batch_size: images per step that are wanted.
        grad_accum_steps: number of micro-batches per step.
        num_images: images in the training set.

    Raises:
        ValueError: if there are fewer images than micro-batches.
    """
    whole = min(batch_size, num_images) // grad_accum_steps * grad_accum_steps
    if whole == 0:
        raise ValueError(
            f"--grad-accum-steps is {grad_accum_steps}, but there are only {num_images} images to train on"
        )
    return whole


def cut_epoch(num_images: int, batch_size: int, at_once: int, step: int = 0) -> Sizes:
    """Divide an epoch into equal blocks of whole batches, and blocks into equal calls. The image order is unaffected.

    Args:
        num_images: images in the training set.
        batch_size: result of `whole_batch`.
        at_once: most images on the device at once; a batch always is.
        step: number of steps before the run begins or continues; a call begins there.
    """
    chunks, chunk_steps = epoch_shape(num_images, batch_size, CHUNK_STEPS)
    divisors = [steps for steps in range(1, chunk_steps + 1) if chunk_steps % steps == 0]
    block_steps = max((steps for steps in divisors if steps * batch_size <= at_once), default=1)
    call_steps = min(CPU_CALL_STEPS, block_steps) if jax.default_backend() == "cpu" else block_steps
    epoch_steps = chunks * chunk_steps
    # Blocks are as long as in the run that was stopped, unless there is another memory now: nearly always the same.
    call_steps = math.gcd(call_steps, step % epoch_steps)
    return Sizes(num_images, batch_size, epoch_steps, block_steps, call_steps)


@partial(jax.jit, static_argnames="sizes")
def epoch_order(key: Key[Array, ""], epoch: Int[Array, ""], sizes: Sizes) -> Int[Array, "blocks steps B"]:
    """Draw a new order of the images, in blocks of one shape, so that one compilation serves them all.

    Args:
        key: first key of `run_keys`.
        epoch: number of the epoch, from 0; each has its own order.
        sizes: result of `cut_epoch`.

    Returns:
        Rows of the data set. Each appears at most once; those that do not fill a batch or chunk are left out.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), sizes.num_images)
    return order[: sizes.epoch_steps * sizes.batch_size].reshape(-1, sizes.block_steps, sizes.batch_size)


def epoch_shape(num_images: int, batch_size: int, chunk_steps: int) -> tuple[int, int]:
    """Number of chunks in an epoch, and of steps in each of them, which is at most `chunk_steps`.

    Example:
        >>> epoch_shape(5011, 64, 50)  # 78 whole batches
        (2, 39)
    """
    batches = num_images // batch_size
    chunks = -(-batches // chunk_steps)
    return chunks, batches // chunks


def run_keys(seed: int, mesh: Mesh | None = None) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """Random keys on every device of the mesh: one for the order of the images, one for the steps."""

    def split() -> tuple[Array, Array]:
        order_key, step_key = jax.random.split(jax.random.key(seed))
        return order_key, step_key

    return jax.jit(split, out_shardings=None if mesh is None else replicated(mesh))()
