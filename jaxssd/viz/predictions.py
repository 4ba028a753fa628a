"""Raw predictions, and detections after non-maximum suppression."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from jaxssd.metrics import DetectionArrays
from jaxssd.ops.arrays import Size, as_pair
from jaxssd.viz.boxes import class_color, draw_boxes, outline, rim
from jaxssd.viz.fonts import legible, one_line
from jaxssd.viz.panels import GAP, LEGEND_ROW, grid_lines, heading, image_panels, key, legend_rows, overhang, tint
from jaxssd.viz.style import BOX_COLORS

WIDEST_MARGIN = 0.08  # share of the image; boxes that stick out further are cut
CLASSES_IN_ROW, MOST_CLASSES = 6, 24
MOST_BOXES = 1_000


def raw_predictions_figure(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "A 4"],
    labels: Int[np.ndarray, "A"],
    scores: Float[np.ndarray, "A"],
    class_names: Sequence[str],
    grid: Size,
) -> Figure:
    """Draw every prediction of a grid with one anchor per cell, without threshold or suppression.

    A cell and its box share a colour, and a line joins their centres. The higher a score, the stronger they are drawn.

    Args:
        image: pixels `[H, W, 3]`.
        boxes: decoded corners `[A, 4]`, row by row.
        labels: class with the highest score, `[A]`.
        scores: highest score, `[A]`.
        class_names: name of each label.
        grid: cells along one side, or rows and columns; A of them.

    Returns:
        A figure with two panels: the cells with their class and score, and their boxes.

    Raises:
        ValueError: if there is not one box for each cell.
    """
    rows, columns = as_pair(grid)
    if len(boxes) != rows * columns:
        raise ValueError(
            f"raw_predictions_figure: `boxes` are {len(boxes)}, expected {rows * columns}, one for each cell"
        )
    titles = [f"{rows} x {columns} cells: class and score", "their boxes: no threshold, no suppression"]
    margin = overhang(boxes, at_most=WIDEST_MARGIN) + 0.01
    figure, axes = image_panels(image, titles, side=4.4, footer=GAP, margins=[margin, margin])
    for ax in axes:
        grid_lines(ax, grid)
    cell_ax, box_ax = axes
    strength = scores / max(scores.max(), np.finfo(np.float32).tiny)
    for index in np.argsort(scores, kind="stable").tolist():  # best on top
        row, column = divmod(index, columns)
        color = BOX_COLORS[(index + 2 * (row // 2)) % len(BOX_COLORS)]  # not the same one two rows further down
        weight = float(strength[index])
        center = np.array([row + 0.5, column + 0.5]) / (rows, columns)
        cell = np.array([row, column, row + 1, column + 1]) / (rows, columns, rows, columns)
        tint(cell_ax, cell, color, alpha=0.1 + 0.4 * weight)
        cell_ax.text(
            center[1],
            center[0],
            f"{one_line(class_names[labels[index]])}\n{scores[index]:.2f}",
            color=color,
            fontsize=8,
            weight="bold",
            ha="center",
            va="center",
            path_effects=rim(2.0),
            parse_math=False,
        )
        y, x = np.stack([center, boxes[index].reshape(2, 2).mean(axis=0)], axis=1)
        opacity = 0.5 + 0.5 * weight
        box_ax.plot(x, y, color=color, alpha=opacity, linewidth=1, path_effects=rim(2.0))
        box_ax.plot(x[0], y[0], "o", color=color, alpha=opacity, markersize=4, path_effects=rim(2.0))
        outline(box_ax, boxes[index], color, line_width=0.8 + 1.4 * weight, alpha=opacity)
    return legible(figure)


def nms_figure(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "K 4"],
    scores: Float[np.ndarray, "K"],
    labels: Int[np.ndarray, "K"],
    detections: DetectionArrays,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.3,
) -> Figure:
    """Draw the boxes before non-maximum suppression, and beside them the detections after it.

    Args:
        image: pixels `[H, W, 3]`.
        boxes: decoded corners `[K, 4]` of every anchor, or of every anchor and class.
        scores: scores `[K]`; a NaN is not drawn.
        labels: labels `[K]`.
        detections: detections after suppression, `[D, ...]`.
        class_names: name of each label.
        score_threshold: lowest score that is drawn, on both sides.

    Returns:
        A figure with two panels and their counts. At most 1,000 boxes are drawn, those with the highest scores, and at
        most 24 classes are in the legend.
    """
    before = np.flatnonzero(scores >= score_threshold)
    before = before[np.argsort(-scores[before], kind="stable")]
    after = np.flatnonzero(detections.valid & (detections.scores >= score_threshold))
    titles = [
        f"before: {len(before)} boxes with a score of at least {score_threshold:g}",
        f"after non-maximum suppression: {len(after)}",
    ]
    drawn = before[:MOST_BOXES]
    if len(drawn) < len(before):
        titles = [f"{titles[0]}\nof which the best {len(drawn):,} are drawn", f"{titles[1]}\n"]
    found_first = np.concatenate([detections.labels[after], labels[drawn]])
    classes = list(dict.fromkeys(found_first.tolist()))
    keys = [key(class_color(label), class_names[label]) for label in sorted(classes[:MOST_CLASSES])]
    if len(classes) > MOST_CLASSES:
        keys.append(heading(f"and {len(classes) - MOST_CLASSES} more"))
    legend = [keys[start : start + CLASSES_IN_ROW] for start in range(0, len(keys), CLASSES_IN_ROW)]
    figure, (before_ax, after_ax) = image_panels(image, titles, side=4.4, footer=0.1 + LEGEND_ROW * len(legend))
    for box, label in zip(boxes[drawn[::-1]], labels[drawn[::-1]].tolist(), strict=True):
        outline(before_ax, box, class_color(label), line_width=1.2)
    found = list(zip(detections.labels[after].tolist(), detections.scores[after].tolist(), strict=True))
    captions = [f"{class_names[label]} {score:.2f}" for label, score in found]
    draw_boxes(after_ax, detections.boxes[after], captions, [class_color(label) for label, _ in found], font_size=8.0)
    legend_rows(figure, legend)
    return legible(figure)
