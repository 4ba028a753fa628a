"""Receptive field: the part of the image that an anchor's predictions depend on, in theory and in effect.

In theory it is a square that follows from kernels and strides alone. In effect most of the influence comes from a much
smaller area near its centre, which training shapes (Luo et al. 2016, arXiv:1701.04128).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from jaxssd.models.detector import Detector
from jaxssd.models.feature_pyramid import Layer
from jaxssd.models.grids import grids_of
from jaxssd.ops.arrays import ArrayLike, Size, as_pair


def receptive_field(layers: Sequence[Layer], cells: int) -> Real[np.ndarray, "cells 2"]:
    """Compute the pixels along one axis that each cell of a feature map depends on.

    A cell i of a layer reads the cells from s i - (k - 1) / 2 to s i + (k - 1) / 2 of the one below. With a stride
    s = 1/2, which repeats each cell, s i is rounded down.

    Args:
        layers: `(kernel size, stride)` from the image up; a layer is padded by half its kernel.
        cells: number of cells of the last layer's output.

    Returns:
        First pixel and the one after the last, `[cells, 2]`; in the padding these lie outside of the image.

    Example:
        >>> receptive_field([(3, 1), (3, 1)], cells=3)
        array([[-2,  3],
               [-1,  4],
               [ 0,  5]])
    """
    first: np.ndarray
    last: np.ndarray
    first = last = np.arange(cells)
    for kernel, stride in reversed(layers):
        first, last = first * stride // 1 - kernel // 2, last * stride // 1 + kernel // 2
    return np.stack([first, last + 1], axis=1)


def anchor_receptive_fields(detector: Detector, image_size: Size) -> Float[np.ndarray, "A 4"]:
    """Compute the theoretical receptive field of every anchor, in the order of `make_anchors`.

    Args:
        detector: network with a `PyramidHead` or a `RetinaNetHead`, and a backbone that has `level_layers`, such as a
            `ResNet`.
        image_size: height and width in pixels, or one number for both.

    Returns:
        Corners `[A, 4]`, in units of the image; not clipped: receptive fields of deep networks extend beyond the image.

    Raises:
        TypeError: if the layers of the backbone or the head are unknown.
    """
    head, backbone = detector.head, detector.backbone
    if not has_paths(detector):
        raise TypeError(
            f"anchor_receptive_fields: unknown layers of {type(backbone).__name__} and {type(head).__name__}; "
            "expected a backbone with `level_layers` and a head with `paths`"
        )
    shape = as_pair(image_size)
    fields = []
    for grid, paths in head.paths(backbone.level_layers, grids_of(backbone.level_strides, shape)):
        axes = []
        for cells, pixels in zip(grid, shape, strict=True):
            each = np.stack([receptive_field(path, cells) for path in paths])
            axes.append(np.stack([each[..., 0].min(axis=0), each[..., 1].max(axis=0)], axis=1) / pixels)
        (rows, columns), (y, x) = axes, np.indices(grid).reshape(2, -1)
        cells = np.stack([rows[y, 0], columns[x, 0], rows[y, 1], columns[x, 1]], axis=1)
        fields.append(cells.repeat(head.boxes_per_cell, axis=0))
    return np.concatenate(fields)


def has_paths(detector: Detector) -> bool:
    """Return True if `anchor_receptive_fields` knows the layers of the network."""
    return hasattr(detector.head, "paths") and hasattr(detector.backbone, "level_layers")


def effective_receptive_field(
    logits_of: Callable[[Array], Array],
    images: Float[ArrayLike, "B H W 3"],
    anchor_index: int | Int[Array, ""],
) -> Float[Array, "H W"]:
    """Influence of each pixel on the class logits of one anchor: the mean over images of |d sum(logits) / d pixel|.

    Args:
        logits_of: function from images to class logits `[B, A, C]`, such as the network in evaluation mode.
        images: floating-point images `[B, H, W, 3]`.
        anchor_index: row of the logits.

    Returns:
        `[H, W]`, summed over the colour channels, not normalised.

    Raises:
        TypeError: if the images are integers, in which there is no gradient.

    Example:
        >>> def logits_of(images):  # an anchor for each of four pixels, a class for each colour
        ...     return images.reshape(-1, 4, 3) ** 2
        >>> effective_receptive_field(logits_of, jnp.ones((5, 2, 2, 3)), 1)
        Array([[0., 6.],
               [0., 0.]], dtype=float32)
    """

    def sum_of_logits(images: Array) -> Array:
        return jnp.sum(logits_of(images)[:, anchor_index])

    return jnp.mean(jnp.sum(jnp.abs(jax.grad(sum_of_logits)(images)), axis=-1), axis=0)
