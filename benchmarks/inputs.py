"""Random predictions and objects for loss and NMS, and the check that two results agree."""

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
    """Anchors resized by up to a thousandth at random, so that no two have equal overlaps with an object.

    Equal overlaps differ by rounding only, and implementations would then match different anchors.

    Args:
        anchors: anchors on their grids.

    Returns:
        Resized anchors, in the host's memory.
    """
    factor = np.random.default_rng(1).uniform(1 - SHIFT, 1 + SHIFT, anchors.center_size.shape)
    center_size = np.asarray(anchors.center_size * factor, np.float32)
    return Anchors(center_size, np.asarray(to_corners(center_size)), np.asarray(anchors.cell_size))


def random_predictions(
    anchors: Anchors, size: int, *, num_objects: int = NUM_OBJECTS, num_classes: int = NUM_CLASSES
) -> Batch:
    """Random arguments of `ssd_loss` for a batch.

    Args:
        anchors: anchors, A.
        size: number of images.
        num_objects: maximum number of objects; an image has at least one. Their sides are 0.1 to 1 of the image's.
        num_classes: number of classes, C.

    Returns:
        Logits, box activations, boxes, labels, mask of valid objects.
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
    """Arguments of `multiclass_nms` for a batch, made from those of `ssd_loss`.

    Anchors that overlap an object have high scores, like those of a trained network, so boxes are suppressed.
    Coordinates are multiples of 1/1024. Some implementations move boxes by whole numbers to separate the classes; with
    such coordinates this changes no overlap in its last bit, so all must keep the same boxes.
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
    """Check that two methods have the same results, since times of different results cannot be compared.

    One image in a hundred may differ, and one of fewer: an overlap within rounding of a threshold may fall on either
    side of it, which changes the numbers of its image.

    Args:
        name: name of the other method, for the message.
        ours: tree of arrays with a leading axis of images.
        theirs: tree of the other method, with the same structure.

    Raises:
        ValueError: if more images differ, or a shape does.
    """
    same = np.array(True)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise ValueError(f"{name}: has results of shape {b.shape}, not {a.shape}")
        close = np.isclose(a, b, rtol=1e-4, atol=1e-6)
        same = same & close.reshape(len(close), -1).all(axis=1)
    if (different := np.count_nonzero(~same)) > max(1, same.size // 100):
        raise ValueError(f"{name}: other results for {different} of {same.size} images, so times cannot be compared")
