"""Best anchor of each object of a data set: the one that overlaps it most."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jaxssd.ops import box_iou

PAIRS_AT_ONCE = 2**22
"""Number of IoUs that are in memory at a time: 16 MB."""


class BestAnchors(NamedTuple):
    """Anchor that overlaps each object most.

    Attributes:
        iou: `[n]`, their IoU.
        anchor: `[n]`, its index; the first one of several with equal IoU.
    """

    iou: Float32[np.ndarray, " n"]
    anchor: Int32[np.ndarray, " n"]


def best_anchors(boxes: Float32[np.ndarray, "n 4"], anchor_corners: Float[np.ndarray, "A 4"]) -> BestAnchors:
    """Find the best anchor of each box.

    Args:
        boxes: corners of objects, of one image or of many.
        anchor_corners: corners of the anchors, which every image has.

    Returns:
        `BestAnchors(iou[n], anchor[n])`. An object whose IoU is not above the matching threshold is unmatched: it is
        learned only by the few anchors that the matching forces on it.

    Example:
        >>> anchors = np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 1]], np.float32)
        >>> best_anchors(np.array([[0, 0.5, 0.5, 1]], np.float32), anchors)
        BestAnchors(iou=array([0.5], dtype=float32), anchor=array([1], dtype=int32))
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
    return BestAnchors(iou, anchor)


def loses_anchor(image: Int[np.ndarray, " n"], best: BestAnchors) -> Bool[np.ndarray, " n"]:
    """Find the objects that lose their best anchor to an object that it overlaps more.

    Args:
        image: `[n]`, image of each object.
        best: best anchors. An object that no anchor touches has none to lose.

    Returns:
        `[n]`. If several objects of an image share a best anchor, the one with the highest IoU keeps it, the first one
        of several with equal IoU.

    Example:
        >>> best = BestAnchors(np.array([0.5, 0.6, 0.4], np.float32), np.array([7, 7, 7], np.int32))
        >>> loses_anchor(np.array([0, 0, 1]), best)
        array([ True, False, False])
    """
    order = np.lexsort((-best.iou, best.anchor, image))  # a stable sort: equal ones keep their order
    key = np.stack([image, best.anchor])[:, order]
    loses = np.zeros(len(image), bool)
    loses[order[1:]] = (key[:, 1:] == key[:, :-1]).all(axis=0)
    return loses & (best.iou > 0)


@jax.jit
def _best(boxes: Float[Array, "n 4"], anchors: Float[Array, "A 4"]) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    iou = box_iou(boxes, anchors)
    return jnp.max(iou, axis=1), jnp.argmax(iou, axis=1).astype(jnp.int32)
