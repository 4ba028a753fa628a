"""Receptive field: the part of the image that an anchor's predictions depend on, in theory and in effect.

In theory it is a square that follows from kernels and strides alone. In effect most of the influence comes from a much
smaller area near its centre, which training shapes (Luo et al. 2016, arXiv:1701.04128).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxssd.models.detector import Detector
from jaxssd.models.heads import PyramidHead, pyramid_grids
from jaxssd.ops.arrays import ArrayLike, Size, as_pair

Layer = tuple[int, int]
"""Kernel size (odd) and stride of a convolution or pooling that is padded by half its kernel."""


def receptive_field(layers: Sequence[Layer], cells: int) -> Int[np.ndarray, "cells 2"]:
    """Compute the pixels along one axis that each cell of a feature map depends on.

    A cell i of a layer reads the cells from s i - (k - 1) / 2 to s i + (k - 1) / 2 of the one below.

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
    first = last = np.arange(cells)
    for kernel, stride in reversed(layers):
        first, last = first * stride - kernel // 2, last * stride + kernel // 2
    return np.stack([first, last + 1], axis=1)


def anchor_receptive_fields(detector: Detector, image_size: Size) -> Float[np.ndarray, "A 4"]:
    """Compute the theoretical receptive field of every anchor, in the order of `make_anchors`.

    Args:
        detector: network with a `PyramidHead`, and a backbone that has `layers`, such as a `ResNet`.
        image_size: one side of the image in pixels, or height and width.

    Returns:
        Corners `[A, 4]`, in units of the image; not clipped: receptive fields of deep networks extend beyond the image.

    Raises:
        TypeError: if the layers of the backbone or the head are unknown.
    """
    head, backbone = detector.head, detector.backbone
    if not (isinstance(head, PyramidHead) and hasattr(backbone, "layers")):
        raise TypeError(
            f"anchor_receptive_fields: unknown layers of {type(backbone).__name__} and {type(head).__name__}; "
            "expected a backbone with `layers` and a PyramidHead"
        )
    below, shape, wanted = backbone.layers, as_pair(image_size), set(map(as_pair, head.grids))
    finest = tuple(-(-side // backbone.output_stride) for side in shape)
    fields = []
    for level, grid in enumerate(pyramid_grids(finest)):
        below.append((3, 1 if level == 0 else 2))
        if grid in wanted:
            rows, columns = (
                receptive_field([*below, (3, 1)], count) / side for count, side in zip(grid, shape, strict=True)
            )
            y, x = np.indices(grid).reshape(2, -1)
            cells = np.stack([rows[y, 0], columns[x, 0], rows[y, 1], columns[x, 1]], axis=1)
            fields.append(cells.repeat(head.boxes_per_cell, axis=0))
    return np.concatenate(fields)


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
