"""Zoom-out and crop of SSD's augmentation: the first of many random crops that has a minimum IoU with an object."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, random
from jaxtyping import Float, Int, PRNGKeyArray, Real, Shaped

from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_mask, check_count, check_setting, concrete, take_rows
from jaxssd.ops.boxes import box_area, clip_boxes, to_center_size
from jaxssd.ops.sampling import Augmentation, between, checked_range, is_never, split_key

_MARGIN = 1e-4  # distance of a centre from the edge of a crop, so that rounding drops no object that a crop is to keep


def sample_ssd_augmentation(
    key: PRNGKeyArray,
    boxes: Real[ArrayLike, "G 4"] | Sequence[Any],
    valid: Shaped[ArrayLike, "G"] | Sequence[Any],
    *,
    flip: Number = 0.5,
    vertical_flip: Number = 0.0,
    zoom_out: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (1.0, 4.0),
    zoom_out_probability: Number = 0.5,
    crop: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (0.3, 1.0),
    aspect: tuple[Number, Number] | Sequence[Number] | Real[ArrayLike, "2"] = (0.5, 2.0),
    min_ious: Sequence[Number] | Real[ArrayLike, "K"] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    candidates: int = 50,
) -> Augmentation:
    """Random zoom-out, crop and flip of SSD, as one augmentation for one resampling. Settings may be traced.

    The image is placed at random on a canvas that may be larger, and a crop is cut out of the canvas. One of `min_ious`
    is drawn, or the whole canvas, at equal odds. A crop of many candidates holds if it contains the centre of an
    object, and has at least that IoU with one whose centre it contains. The first one that holds is taken. If none
    does, another of `min_ious` is drawn. So a crop never loses all objects of an image. Where an image has none, any
    crop holds.

    Use it with `augment_boxes(..., center_in_view=True, min_visible=0)`.

    Args:
        key: key of `jax.random`.
        boxes: corners `[G, 4]`; invalid rows may hold anything, NaN included.
        valid: `[G]` mask of the rows that hold a box, bool or nonzero for True.
        flip: probability of a left-right mirror.
        vertical_flip: probability of a top-bottom mirror; at 0 the field is None.
        zoom_out: range of the canvas's side relative to the image's, uniform; 1 or more.
        zoom_out_probability: probability of a zoom-out.
        crop: range of the crop's height and width relative to the canvas, uniform, each drawn separately; at most 1.
        aspect: range of the crop's height over its width, both relative to the canvas.
        min_ious: minimum IoUs; at 0 the centre of an object is enough.
        candidates: number of crops that are tried.

    Returns:
        `Augmentation` for one image, without lighting; `vmap` for a batch.

    Raises:
        TypeError: if `key` is not one key or an argument is not an array of numbers.
        ValueError: if shapes disagree, a probability lies outside `[0, 1]`, a range is empty or not positive, or
            `candidates` is not a positive number, as far as they are known while tracing.

    Source:
        arXiv:1512.02325, sections 2.2 and 3.6. Sides of crops are drawn as in torchvision's `RandomIoUCrop`.

    Example:
        >>> from jaxssd.ops import augment_boxes
        >>> boxes, valid = jnp.array([[0.4, 0.4, 0.6, 0.6]]), jnp.array([True])
        >>> augmentation = sample_ssd_augmentation(random.key(1), boxes, valid)
        >>> moved, kept = augment_boxes(boxes, valid, augmentation, min_visible=0, center_in_view=True)
        >>> kept
        Array([ True], dtype=bool)
    """
    function = "sample_ssd_augmentation"
    key, *_ = split_key(function, key)
    boxes, valid = as_arrays(function, boxes=(boxes, "G 4"), valid=(valid, "G"))
    (thresholds,) = as_arrays(function, min_ious=(min_ious, "K"))
    chances = {"flip": flip, "vertical_flip": vertical_flip, "zoom_out_probability": zoom_out_probability}
    for name, probability in chances.items():
        check_setting(function, name, probability, lambda x: 0 <= x <= 1, "a probability in [0, 1]")
    zooms, sides, aspects = (
        checked_range(function, *one) for one in (("zoom_out", zoom_out), ("crop", crop), ("aspect", aspect))
    )
    _check_bounds(function, zooms[0], sides[1])
    check_count(function, "candidates", candidates)
    options = len(thresholds) + 1
    # All random numbers at once: each call would be compiled by itself.
    drawn = random.uniform(key, (6 + options + 4 * candidates,), jnp.float32)
    of_image, turns, of_crops = drawn[:6], drawn[6 : 6 + options], drawn[6 + options :].reshape(2, candidates, 2)
    valid = as_mask(valid)
    boxes = jnp.where(valid[:, None], boxes, 0).astype(jnp.float32)

    # Scale and shift of the image on the canvas, and of the canvas in the view of each crop; the last is the whole.
    zoomed = of_image[0] < jnp.asarray(zoom_out_probability, jnp.float32)
    shrink = jnp.where(zoomed, 1 / between(zooms, of_image[1]), 1)
    place = of_image[2:4] * (1 - shrink)
    size = between(sides, of_crops[0])
    corner = of_crops[1] * (1 - size)
    size = jnp.concatenate([size, jnp.ones((1, 2), jnp.float32)])
    corner = jnp.concatenate([corner, jnp.zeros((1, 2), jnp.float32)])
    scale, translation = shrink / size, (place[None, :] - corner) / size
    ratio = size[:, 0] / size[:, 1]
    low, high = (jnp.asarray(limit, jnp.float32) for limit in aspects)

    moved = boxes[None] * jnp.tile(scale, 2)[:, None, :] + jnp.tile(translation, 2)[:, None, :]
    iou = _best_iou(moved, valid)
    whole = jnp.arange(candidates + 1) == candidates
    shaped = (ratio >= low) & (ratio <= high) & ~whole
    holds = (iou[None, :] >= thresholds[:, None].astype(jnp.float32)) & shaped[None, :]
    holds = jnp.concatenate([holds, whole[None, :]])
    chosen = _first_that_holds(turns, holds)
    return Augmentation(
        flip=of_image[4] < jnp.asarray(flip, jnp.float32),
        scale=take_rows(scale, chosen),
        translation=take_rows(translation, chosen),
        vertical_flip=None if is_never(vertical_flip) else of_image[5] < jnp.asarray(vertical_flip, jnp.float32),
    )


def _check_bounds(function: str, zoom: Number, side: Number) -> None:
    known_zoom, known_side = concrete(zoom), concrete(side)
    if known_zoom is not None and known_zoom < 1:
        raise ValueError(f"{function}: `zoom_out` starts at {zoom}, expected 1 or more")
    if known_side is not None and known_side > 1:
        raise ValueError(f"{function}: `crop` ends at {side}, expected 1 or less")


def _best_iou(moved: Float[Array, "N G 4"], valid: Shaped[Array, "G"]) -> Float[Array, "N"]:
    """Largest IoU of each view, the unit square, with an object whose centre it contains.

    It is -1 without such an object, and 1 where there is no object at all.
    """
    visible = box_area(clip_boxes(moved))
    iou = visible / (1 + box_area(moved) - visible)
    centers = to_center_size(moved)[..., :2]
    inside = ((centers >= _MARGIN) & (centers <= 1 - _MARGIN)).all(axis=-1)
    best = jnp.where(inside & valid[None, :], iou, -1).max(axis=1, initial=-1)
    return jnp.where(valid.any(), best, 1)


def _first_that_holds(turns: Float[Array, "K"], holds: Shaped[Array, "K N"]) -> Int[Array, ""]:
    """First column that holds in the row of the largest random number, of the rows that have one."""
    rows = jnp.arange(len(holds)) == jnp.where(holds.any(axis=1), turns, -1).argmax()
    return (holds & rows[:, None]).any(axis=0).argmax()
