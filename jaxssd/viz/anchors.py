"""Anchors of a cell: every zoom of every ratio, on every grid."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from jaxssd.ops import Anchors
from jaxssd.ops.arrays import Size, as_pair
from jaxssd.viz.boxes import outline
from jaxssd.viz.panels import (
    LEGEND_ROW,
    Linestyle,
    grid_lines,
    heading,
    image_panels,
    key,
    legend_rows,
    overhang,
    tint,
)
from jaxssd.viz.style import BOX_COLORS

LINESTYLES: tuple[Linestyle, ...] = ("-", "--", ":", "-.")


def anchor_figure(
    image: UInt8[np.ndarray, "H W 3"],
    anchors: Anchors,
    grids: Sequence[Size],
    zooms: Sequence[float],
    ratios: Sequence[Sequence[float]],
) -> Figure:
    """Draw each grid with its cells, their centres, and the anchors of one cell in the middle.

    Args:
        image: pixels `[H, W, 3]`.
        anchors: result of `make_anchors(grids, zooms, ratios)`.
        grids: cells along one side of each grid, or rows and columns.
        zooms: zooms of the anchors; each has a colour.
        ratios: ratios of the anchors; each has a line style.

    Returns:
        A figure with a panel for each grid.

    Raises:
        ValueError: if the number of anchors is not that of the grids, zooms and ratios.
    """
    boxes_per_cell = len(zooms) * len(ratios)
    shapes = [as_pair(grid) for grid in grids]
    counts = [rows * columns * boxes_per_cell for rows, columns in shapes]
    corners, ends = np.asarray(anchors.corners), np.cumsum(counts)
    if len(corners) != ends[-1]:
        raise ValueError(f"anchor_figure: `anchors` are {len(corners)}, expected {ends[-1]} on grids {tuple(grids)}")

    by_cell = [
        part.reshape(*shape, boxes_per_cell, 4)
        for part, shape in zip(np.split(corners, ends[:-1]), shapes, strict=True)
    ]
    middles = [((rows - 1) // 2, (columns - 1) // 2) for rows, columns in shapes]
    shown = [cells[middle] for cells, middle in zip(by_cell, middles, strict=True)]
    per_cell = f"{boxes_per_cell} box{'es' * (boxes_per_cell > 1)}"
    titles = [
        f"{rows} x {columns} cells, {per_cell} each: {count}"
        for (rows, columns), count in zip(shapes, counts, strict=True)
    ]
    margins = [overhang(boxes) + 0.02 for boxes in shown]
    figure, axes = image_panels(image, titles, side=3.2, header=0.3, footer=2 * LEGEND_ROW + 0.1, margins=margins)
    for ax, shape, middle, cells, boxes in zip(axes, shapes, middles, by_cell, shown, strict=True):
        grid_lines(ax, shape)
        row, column = middle
        tint(ax, np.array([row, column, row + 1, column + 1]) / np.tile(shape, 2), "white", alpha=0.35)
        for index in reversed(range(boxes_per_cell)):  # smallest on top
            zoom, ratio = divmod(index, len(ratios))
            outline(ax, boxes[index], _color(zoom), line_width=1.2, linestyle=_linestyle(ratio))
        y, x = cells[:, :, 0].reshape(-1, 2, 2).mean(axis=1).T
        ax.plot(x, y, "o", color="white", markersize=3, markeredgecolor="black", markeredgewidth=0.7)

    sum_of = f"{' + '.join(map(str, counts))} = " if len(counts) > 1 else ""
    figure.suptitle(f"{sum_of}{len(corners)} anchors", fontsize=11, y=1 - 0.08 / figure.get_figheight(), va="top")
    zoom_keys = [key(_color(index), f"{zoom:g}") for index, zoom in enumerate(zooms)]
    ratio_keys = [
        key("white", f"{height:g} x {width:g}", linestyle=_linestyle(index))
        for index, (height, width) in enumerate(ratios)
    ]
    legend_rows(figure, [[heading("zoom"), *zoom_keys], [heading("height x width"), *ratio_keys]])
    return figure


def _color(zoom: int) -> str:
    return BOX_COLORS[zoom % len(BOX_COLORS)]


def _linestyle(ratio: int) -> Linestyle:
    return LINESTYLES[ratio % len(LINESTYLES)]
