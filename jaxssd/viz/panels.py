"""Panels of the figures that explain an idea: one image several times, and shapes drawn on it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from jaxssd.ops.arrays import Size, as_pair
from jaxssd.viz.boxes import Linestyle, rim, show_image
from jaxssd.viz.fonts import one_line
from jaxssd.viz.style import DPI

GAP, LEGEND_ROW = 0.12, 0.22  # inches


def image_panels(
    image: UInt8[np.ndarray, "H W 3"],
    titles: Sequence[str],
    *,
    side: float,
    footer: float,
    header: float = 0.0,
    margins: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Draw one image several times side by side, each under its title.

    Panels are at their final place, as `draw_boxes` needs.

    Args:
        image: pixels `[H, W, 3]`.
        titles: title of each panel, all with the same number of lines.
        side: width of a panel in inches; its height follows from the image's proportions.
        footer: inches left free below the panels.
        header: inches left free above the titles.
        margins: white margin around the image of each panel, as a share of it, for boxes that stick out.

    Returns:
        Figure, and its axes from left to right.
    """
    height, width, _ = image.shape
    panel_height = side * height / width
    title_height = 0.08 + 0.19 * (1 + titles[0].count("\n"))
    figure_width = len(titles) * (side + GAP) + GAP
    figure_height = header + title_height + panel_height + footer
    figure = Figure(figsize=(figure_width, figure_height), dpi=DPI)
    axes = []
    for index, (title, margin) in enumerate(zip(titles, margins or [0.0] * len(titles), strict=True)):
        left = (GAP + index * (side + GAP)) / figure_width
        ax = figure.add_axes(
            (left, footer / figure_height, side / figure_width, panel_height / figure_height), frame_on=False
        )
        show_image(ax, image)
        ax.set(xlim=(-margin, 1 + margin), ylim=(1 + margin, -margin))
        ax.set_title(title, fontsize=10, pad=4, parse_math=False)
        axes.append(ax)
    return figure, axes


def overhang(boxes: Float[np.ndarray, "n 4"], *, at_most: float = np.inf) -> float:
    """Margin that shows boxes whole: the largest distance that they stick out, as a share of the image."""
    return float(min(np.max([-boxes, boxes - 1], initial=0), at_most))


def tint(ax: Axes, box: Float[np.ndarray, "4"], color: str, *, alpha: float) -> None:
    """Fill a box with a transparent colour."""
    y1, x1, y2, x2 = box.tolist()
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, facecolor=color, alpha=alpha, linewidth=0))


def grid_lines(ax: Axes, cells: Size) -> None:
    """Draw the borders of a grid's cells, faint, below everything else."""
    rows, columns = as_pair(cells)
    for lines, count in ((ax.vlines, columns), (ax.hlines, rows)):
        borders = np.linspace(0, 1, count + 1)
        lines(borders, 0, 1, colors="white", linewidth=1.0, alpha=0.45, path_effects=rim(2.0), zorder=0.5)


def key(color: str, label: str, *, linestyle: Linestyle = "-", line_width: float = 1.6) -> Line2D:
    """Legend line on white paper, drawn as `outline` draws it."""
    return Line2D(
        [], [], color=color, linestyle=linestyle, linewidth=line_width, path_effects=rim(2 * line_width), label=label
    )


def heading(label: str) -> Line2D:
    """Legend text without a line, for the start of a row."""
    return Line2D([], [], linestyle="none", label=label)


def legend_rows(figure: Figure, rows: Sequence[Sequence[Line2D]]) -> None:
    """Draw legends below one another at the foot of a figure, `LEGEND_ROW` inches each."""
    for place, handles in enumerate(reversed(rows)):
        bottom = (0.06 + place * LEGEND_ROW) / figure.get_figheight()
        legend = figure.legend(
            handles,
            [""] * len(handles),
            loc="lower center",
            bbox_to_anchor=(0.5, bottom),
            ncols=len(handles),
            frameon=False,
            fontsize=9,
            borderaxespad=0,
            borderpad=0,
        )
        write_labels(legend, [str(handle.get_label()) for handle in handles])


def write_labels(legend: Legend, labels: Sequence[str]) -> None:
    """Write labels literally. Matplotlib reads dollar signs as a formula, and a leading _ as no label."""
    for text, label in zip(legend.texts, labels, strict=True):
        text.set_parse_math(False)
        text.set_text(one_line(label))
