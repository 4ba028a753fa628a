"""Anchors of highest IoU of each ground truth, below the threshold too: scale compensation in matching."""

import jax
import jax.numpy as jnp
from jax import core, lax
from jaxtyping import Array, Bool, Float, Int

from jaxssd.ops.arrays import take_rows
from jaxssd.ops.boxes import raw_iou

BLOCK = 32  # anchors in a block; anything from 16 to 64 is about as fast


def top_anchors(
    boxes: Float[Array, "G 4"], anchors: Float[Array, "A 4"], count: int
) -> tuple[Float[Array, "G n"], Int[Array, "G n"]]:
    """`count` highest IoUs of each box and the anchors that have them, highest first, lowest anchor first on ties.

    A partial sort of all pairs would cost more than matching itself. The anchors are cut into blocks: the `count` best
    ones lie in the `count` blocks of highest maximum, and only those are sorted. There are fewer columns where there
    are fewer anchors; the padding of the last block overlaps nothing.
    """
    num_boxes, num_anchors = boxes.shape[0], anchors.shape[0]
    num_blocks = (num_anchors + BLOCK - 1) // BLOCK
    blocks = jnp.pad(anchors, ((0, num_blocks * BLOCK - num_anchors), (0, 0))).reshape(num_blocks, BLOCK, 4)
    highest = jnp.max(raw_iou(boxes, blocks.reshape(-1, 4)).reshape(num_boxes, num_blocks, BLOCK), axis=2)
    _, block = lax.top_k(highest, core.min_dim(count, num_blocks))  # ties to the lowest block
    block = jnp.sort(block, axis=1)  # in the order of the anchors, so that ties go to the lowest anchor

    near = take_rows(blocks, block).reshape(num_boxes, -1, 4)
    iou = jax.vmap(lambda box, candidates: raw_iou(box[None], candidates)[0])(boxes, near)
    overlap, place = lax.top_k(iou, core.min_dim(count, iou.shape[1]))
    return overlap, jnp.take_along_axis(block, place // BLOCK, axis=1) * BLOCK + place % BLOCK


def best_candidates(
    boxes: Float[Array, "G 4"], anchors: Float[Array, "A 4"], count: int, min_iou: Float[Array, ""]
) -> tuple[Int[Array, " A"], Float[Array, " A"]]:
    """Ground truth of highest IoU among those that have each anchor in their `count` best, or -1, and the IoU, or 0.

    Only pairs whose IoU exceeds `min_iou`, and 0, count. On ties the first row is taken.
    """
    num_boxes, num_anchors = boxes.shape[0], anchors.shape[0]
    overlap, anchor = top_anchors(boxes, anchors, count)
    anchor = jnp.where((overlap > min_iou) & (overlap > 0), anchor, num_anchors)
    best = jnp.full(num_anchors + 1, 0, overlap.dtype).at[anchor].max(overlap)
    wins: Bool[Array, "G n"] = overlap == best[anchor]
    rows = jnp.broadcast_to(jnp.arange(num_boxes, dtype=jnp.int32)[:, None], anchor.shape)
    row = jnp.full(num_anchors + 1, num_boxes, jnp.int32).at[jnp.where(wins, anchor, num_anchors)].min(rows)
    return jnp.where(row < num_boxes, row, -1)[:-1], best[:-1]
