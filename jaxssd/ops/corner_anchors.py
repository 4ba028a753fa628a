"""RetinaNet's anchors as torchvision's detectors have them: in whole pixels, on the corners of the cells."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxssd.ops.anchors import Anchors, _numpy_of, _pairs, _positive
from jaxssd.ops.arrays import ArrayLike, Number, Size

SCALES = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))
RATIOS = ((0.5**0.5, 2**0.5), (1.0, 1.0), (2**0.5, 0.5**0.5))


def retinanet_anchors(
    image_size: Size = (800, 1344),
    *,
    levels: Sequence[int] = (3, 4, 5, 6, 7),
    zooms: Sequence[Number] | ArrayLike = SCALES,
    ratios: Sequence[Sequence[Number]] | ArrayLike = RATIOS,
) -> Anchors:
    """Anchors of torchvision's RetinaNet: nine in each cell of five levels, of sizes 32 to 812 pixels.

    They differ from those of `make_anchors` in five ways:

    - They are centred on the **top left corner** of their cell, not on its middle.
    - Level l has cells of `image side // cells` pixels, a whole number: 2**l where it divides the side. Otherwise the
      last cells end before the image does: 800 pixels have 13 cells of 61 on level 6.
    - The size, `zoom * 2**l` pixels, is cut to a whole number: 32, 40 and 50 on level 3.
    - Corners are rounded to whole pixels, halves to the even one.
    - The order is level, row, column, **ratio, zoom**, the last one fastest.

    Args:
        image_size: height and width of the network's input in pixels, or one side.
        levels: levels of the pyramid, finest first; level l has `ceil(side / 2**l)` cells along a side.
        zooms: sizes in units of `2**l` pixels; may be traced.
        ratios: `(height, width)` factors of each size. The default is 0.5, 1 and 2 of height over width, with the area
            of the size. May be traced.

    Returns:
        `Anchors`, normalised to the image, with `A = cells of all levels * len(ratios) * len(zooms)`; not clipped to
        the image.

    Raises:
        ValueError: if an argument is empty or not positive, or if `image_size` or `levels` are traced or not whole.

    Source:
        Lin et al. 2017 (arXiv:1708.02002, section 4) for the sizes; `torchvision.models.detection`, `AnchorGenerator`
        and the sizes of its RetinaNet, for the rest.

    Example:
        >>> anchors = retinanet_anchors(128, levels=(5,), zooms=(1.0,))
        >>> anchors.corners[:3] * 128  # of the cell at the top left
        Array([[-11., -23.,  11.,  23.],
               [-16., -16.,  16.,  16.],
               [-23., -11.,  23.,  11.]], dtype=float32)
    """
    name = "retinanet_anchors"
    (shape,) = _pairs(name, "image_size", [image_size])
    depths, _ = _pairs(name, "levels", levels).T
    if (np.concatenate([shape, depths]) % 1).any():
        raise ValueError(f"{name}: `image_size` is {image_size} and `levels` are {levels}, expected whole numbers")
    scales, factors = _positive(name, "zooms", zooms), _positive(name, "ratios", ratios, columns=(2,))
    corners, cells = zip(*(_one_level(shape, 2**depth, scales, factors) for depth in depths), strict=True)
    xp = _numpy_of(corners[0])
    near, far = xp.split(xp.concatenate(corners) / np.tile(shape, 2)[None], 2, axis=1)
    columns = [(near + far) / 2, far - near], [near, far], [np.concatenate(cells) / shape]
    return Anchors(*(jnp.asarray(xp.concatenate(c, axis=1), jnp.float32) for c in columns))


def _one_level(shape: np.ndarray, unit: float, scales: Any, factors: Any) -> tuple[Any, np.ndarray]:
    """Corners, and height and width of the cell, of every anchor of a level, in pixels."""
    sizes = scales[None, :, None] * unit
    xp = _numpy_of(sizes + factors[:, None, :])
    half = xp.round((factors[:, None, :] * xp.floor(sizes)).reshape(-1, 2) / 2)
    count = np.ceil(shape / unit)
    cell = shape // count
    rows, columns = (np.arange(n) * step for n, step in zip(count, cell, strict=True))
    center = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    corners = xp.concatenate([center - half[None], center + half[None]], axis=-1).reshape(-1, 4)
    return corners, np.broadcast_to(cell, (len(corners), 2))
