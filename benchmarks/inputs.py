"""Predictions and objects drawn by lot, for loss and suppression alone; and the check that two results agree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssd import Anchors, box_iou, clip_boxes, decode_tanh, make_anchors, ssd300_anchors, to_corners

Batch = tuple[np.ndarray, ...]
ANCHORS = {189: make_anchors, 8732: ssd300_anchors}
SHIFT = 1e-3
NUM_CLASSES = 20
NUM_OBJECTS = 16
STEPS_OF_COORDINATES = 1024


def apart(anchors: Anchors) -> Anchors:
    """Anchors resized by a thousandth at random: an object inside two that are equal overlaps both alike, but for
    rounding, by which one implementation would take the one and another the other.

    Args:
        anchors: on their grids.

    Returns:
        The same number, in the host's memory.
    """
    factor = np.random.default_rng(1).uniform(1 - SHIFT, 1 + SHIFT, anchors.center_size.shape)
    center_size = np.asarray(anchors.center_size * factor, np.float32)
    return Anchors(center_size, np.asarray(to_corners(center_size)), np.asarray(anchors.cell_size))


def random_predictions(
    anchors: Anchors, size: int, *, num_objects: int = NUM_OBJECTS, num_classes: int = NUM_CLASSES
) -> Batch:
    """Arguments of `ssd_loss` for a batch.

    Args:
        anchors: A of them.
        size: images.
        num_objects: the most an image has; it has 1 to that many, from a tenth of its side to all of it.
        num_classes: C.

    Returns:
        Logits, box activations, boxes, labels, and which are valid.
    """
    rng = np.random.default_rng(0)
    num_anchors = len(anchors.corners)
    sides = rng.uniform(0.1, 1.0, (size, num_objects, 2))
    near = rng.uniform(0, 1 - sides)
    valid = np.arange(num_objects)[None, :] < rng.integers(1, num_objects + 1, size)[:, None]
    return (
        rng.normal(-4, 1, (size, num_anchors, num_classes)).astype(np.float32),
        rng.normal(0, 1, (size, num_anchors, 4)).astype(np.float32),
        np.concatenate([near, near + sides], axis=-1).astype(np.float32),
        rng.integers(0, num_classes, (size, num_objects), np.int32),
        valid,
    )


def boxes_and_scores(anchors: Anchors, *predictions: np.ndarray) -> Batch:
    """Arguments of `multiclass_nms` for a batch, from those of `ssd_loss`.

    A trained network answers with every anchor near an object. Here so do the anchors that overlap one, which leaves
    suppression something to do. Coordinates are multiples of 1/1024: moving boxes by whole numbers, by which others
    keep the classes apart, then changes no overlap in its last bit, and all must keep the same boxes.
    """

    @jax.jit
    @jax.vmap
    def postprocess(logits, activations, gt_boxes, gt_labels, gt_valid):
        boxes = clip_boxes(decode_tanh(activations, anchors))
        overlap = box_iou(boxes, gt_boxes) * gt_valid[None, :]
        evidence = jnp.zeros_like(logits).at[:, gt_labels].max(overlap)
        boxes = jnp.round(boxes * STEPS_OF_COORDINATES) / STEPS_OF_COORDINATES
        return boxes, jax.nn.sigmoid(logits - 3 + 10 * evidence)

    return jax.device_get(postprocess(*predictions))


def require_agreement(name: str, ours: Any, theirs: Any) -> None:
    """Refuse to compare the times of two things that are not the same.

    An overlap that equals a threshold but for its last bit may fall on either side of it, which changes the image's
    other numbers: of a hundred images, and of fewer, one may differ.

    Args:
        name: of the peer, for the message.
        ours: a tree of arrays with a leading axis of images.
        theirs: likewise.

    Raises:
        ValueError: if more images differ.
    """
    same = np.array(True)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise ValueError(f"{name}: has results of shape {b.shape}, not {a.shape}")
        close = np.isclose(a, b, rtol=1e-4, atol=1e-6)
        same = same & close.reshape(len(close), -1).all(axis=1)
    if (different := np.count_nonzero(~same)) > max(1, same.size // 100):
        raise ValueError(f"{name}: other results for {different} of {same.size} images, so its time would mean nothing")
