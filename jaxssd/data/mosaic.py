"""Mosaic and mixup: augmentations that combine images of a batch, with the boxes of all of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxssd.data.dataset import Examples
from jaxssd.ops import augment_boxes, box_area, identity_augmentation

CENTER = (0.25, 0.75)
"""Range of the corner that the four images of a mosaic share, relative to height and width."""

SHARES = (0.4, 0.6)
"""Range of the first image's share in a mixup: the spread of YOLO's Beta(32, 32)."""

ROWS = 64
"""Number of rows up to which a mosaic keeps the objects of all four images; above it, twice those of one image."""


def mosaic(key: Key[Array, ""], batch: Examples, *, probability: float) -> Examples:
    """Combine each image with its three neighbours in the batch, which is in random order, around a random point.

    The four images meet at that point, each with one of its corners. They keep their scale: what would lie outside is
    cut off, and nothing is resampled. An object is kept if at least 30 % of its box is in view.

    Args:
        key: key of `jax.random`.
        batch: images `[B, H, W, 3]` and their objects.
        probability: probability of a mosaic; other images stay as they are.

    Returns:
        The batch with more rows for objects: those of four images, or if that is more than 64, twice those of one
        image, the largest of them.

    Source:
        YOLOv4, arXiv:2004.10934; without its resizing, which belongs to the augmentation before it.
    """
    count, height, width, _ = batch.images.shape
    drawn = jax.random.uniform(key, (count, 3))
    chosen = drawn[:, :1] < probability
    low, high = CENTER
    size = jnp.array([height, width], jnp.float32)[None, :]
    # A point in the lower right corner leaves the first image whole, and the others out of view.
    center = jnp.where(chosen, jnp.round((low + drawn[:, 1:] * (high - low)) * size), size).astype(jnp.int32)
    neighbours = [_neighbours(batch, step) for step in range(4)]
    images = jax.vmap(_tile)([each.images for each in neighbours], center)
    moved = [
        jax.vmap(_shift)(each.boxes, each.valid, center / size - jnp.array([[row < 1, column < 1]], jnp.float32))
        for each, (row, column) in zip(neighbours, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    ]
    boxes, valid = (jnp.concatenate(parts, axis=1) for parts in zip(*moved, strict=True))
    labels, difficult = (
        jnp.concatenate([getattr(each, name) for each in neighbours], axis=1) for name in ("labels", "difficult")
    )
    rows = batch.valid.shape[1]
    return _largest(Examples(images, boxes, labels, valid, difficult), max(2 * rows, min(4 * rows, ROWS)))


def mixup(key: Key[Array, ""], batch: Examples, *, probability: float) -> Examples:
    """Blend each image with its neighbour in the batch, which is in random order; the objects are those of both.

    Args:
        key: key of `jax.random`.
        batch: images `[B, H, W, 3]` and their objects.
        probability: probability of a mixup; other images stay as they are.

    Returns:
        The batch with twice as many rows for objects.

    Source:
        arXiv:1710.09412, and for detection arXiv:1902.04103. As in YOLO, objects of both images count in full.
    """
    count = len(batch.images)
    drawn = jax.random.uniform(key, (count, 2))
    chosen = drawn[:, 0] < probability
    low, high = SHARES
    share = jnp.where(chosen, low + drawn[:, 1] * (high - low), 1)[:, None, None, None]
    other = _neighbours(batch, 1)
    other = other._replace(valid=other.valid & chosen[:, None])
    images = share * batch.images + (1 - share) * other.images
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), batch[1:], other[1:])
    return Examples(images, *joined)


def _neighbours(batch: Examples, step: int) -> Examples:
    """Batch in which each image is replaced by the one so many places after it; a gather, which copies whole rows."""
    places = (np.arange(len(batch.images)) + step) % len(batch.images)
    return jax.tree.map(lambda x: x[places], batch)


def _tile(images: list[Float[Array, "H W 3"]], center: Int[Array, "2"]) -> Float[Array, "H W 3"]:
    """Window of four images, two above two, such that they meet at `center`."""
    height, width, _ = images[0].shape
    left, right = (
        jax.lax.dynamic_slice_in_dim(jnp.concatenate(column), height - center[0], height)
        for column in (images[0::2], images[1::2])
    )
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([left, right], axis=1), width - center[1], width, axis=1)


def _shift(
    boxes: Float[Array, "G 4"], valid: Array, translation: Float[Array, "2"]
) -> tuple[Float[Array, "G 4"], Array]:
    return augment_boxes(boxes, valid, identity_augmentation()._replace(translation=translation))


def _largest(batch: Examples, rows: int) -> Examples:
    """Batch with so many rows for objects, the largest ones first, unless it has no more rows."""
    if batch.valid.shape[1] <= rows:
        return batch
    area = jnp.where(batch.valid, box_area(batch.boxes), -1)
    order = jnp.argsort(-area, axis=1, stable=True)[:, :rows]

    def take(x: Array) -> Array:
        return jax.vmap(lambda values, index: values[index])(x, order)

    return Examples(batch.images, *map(take, batch[1:]))
