"""How well a set of anchors covers the objects of a data set, before any network has seen them."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jaxssd.ops import box_iou

PAIRS_AT_ONCE = 2**22
"""IoUs of boxes and anchors that are in memory at a time: 16 MB."""


class Reach(NamedTuple):
    """The anchor that overlaps each object most.

    Attributes:
        iou: `[n]`, their IoU.
        anchor: `[n]`, its row; of equal ones the first.
    """

    iou: Float32[np.ndarray, " n"]
    anchor: Int32[np.ndarray, " n"]


def reach(boxes: Float32[np.ndarray, "n 4"], anchor_corners: Float[np.ndarray, "A 4"]) -> Reach:
    """The best anchor of each box, wherever in its image the box lies.

    Args:
        boxes: corners of objects, of one image or of many.
        anchor_corners: corners of the anchors, which every image has.

    Returns:
        `Reach(iou[n], anchor[n])`. An object whose IoU is not above the matching threshold is out of reach: it learns
        from the one anchor that is forced upon it.

    Example:
        >>> anchors = np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 1]], np.float32)
        >>> reach(np.array([[0, 0.5, 0.5, 1]], np.float32), anchors)
        Reach(iou=array([0.5], dtype=float32), anchor=array([1], dtype=int32))
    """
    few = 1 << (len(boxes) - 1).bit_length()  # a power of two, so that sets of similar size share a compilation
    rows = min(max(1, PAIRS_AT_ONCE // len(anchor_corners)), few)
    iou, anchor = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.int32)
    corners = jnp.asarray(anchor_corners, jnp.float32)
    for start in range(0, len(boxes), rows):
        part = boxes[start : start + rows]
        padded = np.zeros((rows, 4), np.float32)  # all parts have one shape, and so one compilation
        padded[: len(part)] = part
        best = jax.device_get(_best(padded, corners))
        iou[start : start + rows], anchor[start : start + rows] = (array[: len(part)] for array in best)
    return Reach(iou, anchor)


def loses_anchor(image: Int[np.ndarray, " n"], best: Reach) -> Bool[np.ndarray, " n"]:
    """Which objects do not get the anchor that overlaps them most, because it overlaps another object more.

    Args:
        image: `[n]`, the image that each object is in.
        best: their anchors; objects that no anchor touches have none to lose.

    Returns:
        `[n]`. Of the objects of an image that share a best anchor all but one lose it: the one with the highest IoU
        keeps it, of equal ones the first.

    Example:
        >>> best = Reach(np.array([0.5, 0.6, 0.4], np.float32), np.array([7, 7, 7], np.int32))
        >>> loses_anchor(np.array([0, 0, 1]), best)
        array([ True, False, False])
    """
    order = np.lexsort((-best.iou, best.anchor, image))  # stable, so that of equal ones the first comes first
    key = np.stack([image, best.anchor])[:, order]
    loses = np.zeros(len(image), bool)
    loses[order[1:]] = (key[:, 1:] == key[:, :-1]).all(axis=0)
    return loses & (best.iou > 0)


def repeated_boxes(
    boxes: Float32[np.ndarray, "N G 4"],
    labels: Int32[np.ndarray, "N G"],
    valid: Bool[np.ndarray, "N G"],
    *,
    threshold: float,
) -> Bool[np.ndarray, "N G"]:
    """Which objects an earlier one of the same image and class covers almost exactly.

    Args:
        boxes: corners, padded as in `Examples`.
        labels: classes.
        valid: which places hold an object.
        threshold: IoU above which two boxes are the same.

    Returns:
        `[N, G]`; the first of several equal boxes is not repeated.
    """
    images = max(1, PAIRS_AT_ONCE // boxes.shape[1] ** 2)
    return np.asarray(_repeated(boxes, labels, valid, threshold, images))


@jax.jit
def _best(boxes: Float[Array, "n 4"], anchors: Float[Array, "A 4"]) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    iou = box_iou(boxes, anchors)
    return jnp.max(iou, axis=1), jnp.argmax(iou, axis=1).astype(jnp.int32)


@partial(jax.jit, static_argnums=(3, 4))
def _repeated(boxes: Array, labels: Array, valid: Array, threshold: float, batch_size: int) -> Bool[Array, "N G"]:
    def of_image(image: tuple[Array, Array, Array]) -> Bool[Array, " G"]:
        boxes, labels, valid = image
        rows = jnp.arange(len(valid))
        alike = (box_iou(boxes, boxes) > threshold) & (labels[:, None] == labels[None, :])
        earlier = (rows[None, :] < rows[:, None]) & valid[None, :]
        return valid & jnp.any(alike & earlier, axis=1)

    return jax.lax.map(of_image, (boxes, labels, valid), batch_size=min(batch_size, max(1, len(boxes))))
