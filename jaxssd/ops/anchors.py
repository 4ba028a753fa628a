"""Anchors (default or prior boxes): boxes in every cell of a few grids, in the order of the head's outputs."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxssd.ops.arrays import (
    ArrayLike,
    Number,
    Size,
    as_arrays,
    as_floats,
    check_setting,
    concrete,
    exportable,
    is_traced,
)

SSD300_CELLS = (38, 19, 10, 5, 3, 1)
SSD300_STEPS = (8, 16, 32, 64, 100, 300)
SSD300_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


@exportable
class Anchors(NamedTuple):
    """Anchors of one image in two forms, and the size of their cells.

    Attributes:
        center_size: `[A, 4]`, `[cy, cx, height, width]`.
        corners: `[A, 4]`, `[y1, x1, y2, x2]`; not clipped to the image.
        cell_size: `[A, 1]`, distance between the centres of neighbouring cells; `[A, 2]`, vertical and horizontal, if
            some grid does not have as many rows as columns.
    """

    center_size: Float[Array, "A 4"]
    corners: Float[Array, "A 4"]
    cell_size: Float[Array, "A _"]


def with_anchors(function: str, anchors: Any, **arguments: tuple[Any, str]) -> tuple[Anchors, list[Array]]:
    """Check anchors, and arrays that belong to them, by `as_arrays`; return all in one float dtype."""
    if not all(hasattr(anchors, field) for field in Anchors._fields):
        found = type(anchors).__name__
        raise TypeError(f"{function}: `anchors` is a {found}, expected `Anchors` as `make_anchors` returns them")
    cell_sides = 2 if np.shape(anchors.cell_size)[1:] == (2,) else 1
    fields = as_arrays(
        function,
        **{
            "anchors.center_size": (anchors.center_size, "A 4"),
            "anchors.corners": (anchors.corners, "A 4"),
            "anchors.cell_size": (anchors.cell_size, f"A {cell_sides}"),
        },
    )
    _, *arrays = as_arrays(function, **arguments, anchors=(fields[1], "A 4"))[::-1]
    floats = as_floats(*fields, *arrays[::-1])
    return Anchors(*floats[:3]), floats[3:]


def make_anchors(
    grids: Sequence[Size] = (4, 2, 1),
    zooms: Sequence[Number] | ArrayLike = (0.75, 1.0, 1.3),
    ratios: Sequence[Sequence[Number]] | ArrayLike = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0)),
    *,
    image_size: Size | None = None,
) -> Anchors:
    """Anchors of the lesson: every zoom of every ratio, in each cell of each grid.

    The order is grid, row, column, zoom, ratio, the last one fastest: the order of a head's output `[rows, columns, k]`
    reshaped to `[rows * columns * k]`.

    Args:
        grids: number of cells along one side of each grid, or `(rows, columns)`; cannot be traced, since it decides the
            shape.
        zooms: sizes in units of a cell: a square in pixels that has the cell's area; may be traced.
        ratios: `(height, width)` factors of each size, in pixels; may be traced.
        image_size: height and width of the image, in any unit; one number or None for a square image. It decides which
            boxes are squares in pixels. Cannot be traced.

    Returns:
        `Anchors` with `A = sum(rows * columns of each grid) * len(zooms) * len(ratios)`; the defaults give the lesson's
        189.

    Raises:
        ValueError: if an argument is empty or not positive, `grids` or `image_size` are traced, `grids` are not whole
            numbers, or `ratios` are not pairs.

    Example:
        >>> make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 0.5),)).corners
        Array([[0.   , 0.125, 0.5  , 0.375],
               [0.   , 0.625, 0.5  , 0.875],
               [0.5  , 0.125, 1.   , 0.375],
               [0.5  , 0.625, 1.   , 0.875]], dtype=float32)
        >>> anchors = make_anchors(grids=((1, 2),), zooms=(1.0,), ratios=((1.0, 1.0),), image_size=(100, 200))
        >>> anchors.corners  # squares of 100 pixels
        Array([[0. , 0. , 1. , 0.5],
               [0. , 0.5, 1. , 1. ]], dtype=float32)
    """
    cells = _pairs("make_anchors", "grids", grids)
    if (cells % 1).any():
        raise ValueError(f"make_anchors: `grids` must be whole numbers, got {grids!r}")
    (shape,) = _pairs("make_anchors", "image_size", [1 if image_size is None else image_size]).tolist()
    zoom = _positive("make_anchors", "zooms", zooms)
    ratio = _positive("make_anchors", "ratios", ratios, columns=(2,))
    sizes_in_cells = (zoom[:, None, None] * ratio[None, :, :]).reshape(-1, 2)
    grids_of_boxes = []
    for rows, columns in cells.tolist():
        units = np.array([units_per_side((rows, columns), shape)])
        sizes = sizes_in_cells / _numpy_of(sizes_in_cells).asarray(units, sizes_in_cells.dtype)
        grids_of_boxes.append(_one_grid((int(rows), int(columns)), (1 / rows, 1 / columns), sizes))
    return _anchors(grids_of_boxes, square_cells=bool((cells[:, 0] == cells[:, 1]).all()))


def units_per_side(grid: Sequence[Number], image_size: Sequence[Number]) -> tuple[float, float]:
    """Count the anchors' units along the height and along the width of an image.

    The unit is the side of a square in pixels with the area of a cell: a cell itself, where it is a square.

    Args:
        grid: rows and columns.
        image_size: height and width in any unit.

    Returns:
        Two numbers; a zoom divided by them is a share of the height and of the width.

    Example:
        >>> units_per_side((2, 2), (100, 100)), units_per_side((1, 1), (100, 400))
        ((2.0, 2.0), (0.5, 2.0))
    """
    (rows, columns), (height, width) = grid, image_size
    elongation = math.sqrt((width / columns) / (height / rows))
    return rows / elongation, columns * elongation


def anchors_of(
    corners: Float[ArrayLike, "A 4"], *, cell_size: Number | Float[ArrayLike, "A _"] | None = None
) -> Anchors:
    """Anchors from any boxes, such as those of another detector or of k-means.

    Args:
        corners: corners `[A, 4]`, `[y1, x1, y2, x2]`, in the order of the head's outputs.
        cell_size: distance between the centres of neighbouring cells, which only `decode_tanh` reads: one number,
            `[A, 1]`, or `[A, 2]` with the vertical and the horizontal one. None takes the side of a square with the
            anchor's area.

    Returns:
        `Anchors` with these `corners`.

    Raises:
        ValueError: if a shape does not fit, or a box that is not traced has no height or no width.

    Example:
        >>> anchors = anchors_of(jnp.array([[0.0, 0.0, 0.5, 0.5]]))
        >>> anchors.center_size, anchors.cell_size
        (Array([[0.25, 0.25, 0.5 , 0.5 ]], dtype=float32), Array([[0.5]], dtype=float32))
    """
    (corners,) = as_floats(*as_arrays("anchors_of", corners=(corners, "A 4")))
    known = concrete(corners)
    if known is not None and not (known[:, 2:] > known[:, :2]).all():
        row = int(np.argmin((known[:, 2:] > known[:, :2]).all(axis=1)))
        raise ValueError(
            f"anchors_of: `corners` has {known[row].tolist()} in row {row}, expected [y1, x1, y2, x2] with y1 < y2 and "
            "x1 < x2"
        )
    near, far = corners[:, :2], corners[:, 2:]
    size = far - near
    if cell_size is None:
        cells = jnp.sqrt(size[:, :1] * size[:, 1:])
    elif np.ndim(cell_size) == 0:
        check_setting("anchors_of", "cell_size", cell_size, lambda x: 0 < x < float("inf"), "a number above 0")
        cells = 0 * size[:, :1] + jnp.asarray(cell_size, corners.dtype)
    else:
        form = f"A {2 if np.shape(cell_size)[1:] == (2,) else 1}"
        _, cells = as_floats(*as_arrays("anchors_of", corners=(corners, "A 4"), cell_size=(cell_size, form)))
    return Anchors(jnp.concatenate([(near + far) / 2, size], axis=1), corners, cells)


def ssd300_anchors(
    sizes: Sequence[Number] | ArrayLike = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    *,
    largest: Number | None = None,
) -> Anchors:
    """Default boxes of SSD300, 8,732 of them (Liu et al. 2016, arXiv:1512.02325, section 2.2).

    Six feature maps have 38, 19, 10, 5, 3 and 1 cells per side, 8, 16, 32, 64, 100 and 300 pixels apart in a 300-pixel
    image. In each cell, map k has a square of size s_k, one of size sqrt(s_k s_k+1), and for each aspect ratio alpha
    (2, on maps 2 to 4 also 3) a wide box, `(height, width) = (s_k / sqrt(alpha), s_k sqrt(alpha))`, and the tall one.
    The order is map, row, column, box. Boxes are not clipped to the image, unlike in some implementations.

    Args:
        sizes: s_1 .. s_7 in pixels of a 300-pixel image; may be traced. The default is the paper's for VOC;
            MLPerf's for COCO is `(21, 45, 99, 153, 207, 261, 315)`.
        largest: greatest height and width in pixels of a 300-pixel image; torchvision's is 300, the image. None has no
            limit.

    Returns:
        `Anchors` with `A = 8732`.

    Raises:
        ValueError: if `sizes` are not seven positive numbers, or `largest` is not above 0.

    Example:
        >>> ssd300_anchors().corners.shape
        (8732, 4)
    """
    s = _positive("ssd300_anchors", "sizes", sizes) / 300
    if largest is not None:
        check_setting("ssd300_anchors", "largest", largest, lambda x: x > 0, "a number of pixels above 0")
    xp = jnp if is_traced(largest) else _numpy_of(s)
    if len(s) != len(SSD300_CELLS) + 1:
        raise ValueError(f"ssd300_anchors: `sizes` must be {len(SSD300_CELLS) + 1} numbers, got {sizes!r}")
    grids = []
    for k, (cells, step, alphas) in enumerate(zip(SSD300_CELLS, SSD300_STEPS, SSD300_RATIOS, strict=True)):
        boxes = [(s[k], s[k]), (xp.sqrt(s[k] * s[k + 1]),) * 2]
        for root in np.sqrt(alphas).tolist():
            boxes += [(s[k] / root, s[k] * root), (s[k] * root, s[k] / root)]
        shapes = xp.array(boxes) if largest is None else xp.minimum(xp.array(boxes), largest / 300)
        grids.append(_one_grid((cells, cells), (step / 300, step / 300), shapes))
    return _anchors(grids)


def _one_grid(cells: tuple[int, int], steps: tuple[float, float], sizes: Any) -> Any:
    """Centre, size and cell's sides `[rows * columns * k, 6]` of sizes `[k, 2]` in every cell, row by row."""
    xp = _numpy_of(sizes)
    y, x = ((np.arange(count) + 0.5) * step for count, step in zip(cells, steps, strict=True))
    cy, cx, _ = np.meshgrid(y, x, np.arange(len(sizes)), indexing="ij")
    nothing = np.zeros_like(cy)
    columns = [cy, cx, nothing, nothing, *(np.full_like(cy, step) for step in steps)]
    fixed = np.stack(columns, axis=-1).reshape(-1, 6)
    # A sum, since a mesh with Explicit axes cannot stack fixed columns with mapped ones.
    return xp.asarray(fixed, sizes.dtype) + xp.pad(xp.tile(sizes, (math.prod(cells), 1)), ((0, 0), (2, 2)))


def _anchors(grids: list, *, square_cells: bool = True) -> Anchors:
    """Anchors in float32, rounded here once from float64 unless a size is traced."""
    xp = _numpy_of(grids[0])
    center, size, cell = xp.split(xp.concatenate(grids), [2, 4], axis=1)
    cell = cell[:, :1] if square_cells else cell
    columns = [center, size], [center - size / 2, center + size / 2], [cell]
    return Anchors(*(jnp.asarray(xp.concatenate(c, axis=1), jnp.float32) for c in columns))


def _pairs(function: str, name: str, values: Any) -> np.ndarray:
    """Positive pairs `[n, 2]` from a sequence of numbers, which stand for both, and of pairs."""
    if is_traced(values):
        raise ValueError(f"{function}: `{name}` are traced, expected numbers: the number of anchors depends on them")
    listed = values.tolist() if hasattr(values, "tolist") else values
    each = listed if isinstance(listed, (list, tuple)) else ()
    try:
        return _positive(function, name, [x if isinstance(x, (list, tuple)) else (x, x) for x in each], columns=(2,))
    except ValueError:
        kinds = "positive numbers, or pairs of them"
        raise ValueError(f"{function}: `{name}` must be {kinds}, at least one, got {values!r}") from None


def _positive(function: str, name: str, values: Any, columns: tuple[int, ...] = ()) -> Any:
    """Positive values as a NumPy array in float64; as JAX's in float32 where one is traced."""
    if is_traced(values):
        return as_floats(*as_arrays(function, **{name: (values, " ".join(["n", *map(str, columns)]))}))[0]
    try:
        array = np.empty(0) if np.iscomplexobj(values) else np.array(values, np.float64)
    except (TypeError, ValueError):  # ragged, or not numbers at all
        array = np.empty(0)
    form = array.size > 0 and array.ndim > 0 and array.shape[1:] == columns
    if not (form and np.isfinite(array).all() and (array > 0).all()):
        kind = "pairs of positive numbers" if columns else "positive numbers"
        raise ValueError(f"{function}: `{name}` must be {kind}, at least one, got {values!r}")
    return array


def _numpy_of(array: Any) -> ModuleType:
    return jnp if isinstance(array, jax.Array) else np
