"""An epoch: the order of its images, and how it is cut into what the device takes at once."""

import math
from functools import partial
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxssd.config import Config
from jaxssd.training.distribution import replicated

CHUNK_STEPS = 50  # long enough to hide the cost of a call, short enough for a progress bar that moves
CPU_CALL_STEPS = 1  # XLA's CPU backend is slow at convolutions in a loop, see `make_train_block`


class Sizes(NamedTuple):
    """How an epoch is cut up."""

    num_images: int
    batch_size: int
    epoch_steps: int
    block_steps: int
    call_steps: int

    @property
    def block_rows(self) -> int:
        """Images that the device has at once when they are streamed."""
        return self.block_steps * self.batch_size


def whole_batch(config: Config, num_images: int) -> int:
    """The batch size, if there are fewer images all of them, in as many equal parts as it is computed in.

    Args:
        config: of the run.
        num_images: in the training set.

    Raises:
        ValueError: if there are fewer images than parts.
    """
    parts = config.optimizer.grad_accum_steps
    batch_size = min(config.optimizer.batch_size, num_images) // parts * parts
    if batch_size == 0:
        raise ValueError(f"--grad-accum-steps is {parts}, but there are only {num_images} images to train on")
    return batch_size


def cut_epoch(num_images: int, batch_size: int, at_once: int, step: int = 0) -> Sizes:
    """How the device is going to take an epoch.

    Args:
        num_images: in the training set.
        batch_size: of `whole_batch`.
        at_once: images that may be on the device at once; a batch is in any case.
        step: of the run, where it begins or goes on; a call begins there.

    Returns:
        Equal blocks of whole batches, and in them equal calls; how the epoch is cut decides nothing about its order.
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
    """A fresh order of the images, cut into equal blocks of whole batches, so that one compilation serves them all.

    Args:
        key: the run's.
        epoch: from 0; each has its own order.
        sizes: of `cut_epoch`.

    Returns:
        Rows of the data set. Each appears at most once; the few that fill no batch or chunk sit out this epoch.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), sizes.num_images)
    return order[: sizes.epoch_steps * sizes.batch_size].reshape(-1, sizes.block_steps, sizes.batch_size)


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


def run_keys(seed: int, mesh: Mesh | None = None) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """The key of the order of the images, and that of everything random in a step.

    Args:
        seed: of the run.
        mesh: devices that get both; default, the first one.
    """

    def split() -> tuple[Array, Array]:
        order_key, step_key = jax.random.split(jax.random.key(seed))
        return order_key, step_key

    return jax.jit(split, out_shardings=None if mesh is None else replicated(mesh))()
