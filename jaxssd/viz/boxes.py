"""Boxes and captions drawn on images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from jaxssd.viz.fonts import draw_with_installed_fonts, one_line
from jaxssd.viz.style import BOX_COLORS

Linestyle = Literal["-", "--", ":", "-."]


def class_color(label: int) -> str:
    """Colour of a class, the same in every figure; it repeats after eight classes."""
    return BOX_COLORS[label % len(BOX_COLORS)]


def show_image(ax: Axes, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Show an image on the unit square, in its own proportions, so that normalised boxes are data coordinates."""
    height, width, _ = image.shape
    ax.imshow(image, extent=(0, 1, 1, 0), aspect=height / width)
    ax.set_axis_off()


def outline(
    ax: Axes,
    box: Float[np.ndarray, "4"],
    color: str,
    *,
    line_width: float,
    linestyle: Linestyle = "-",
    alpha: float = 1.0,
) -> None:
    """Draw one box without a caption, with a black rim so that it shows on any background."""
    y1, x1, y2, x2 = box.tolist()
    ax.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=color,
            linewidth=line_width,
            linestyle=linestyle,
            alpha=alpha,
            path_effects=rim(2 * line_width),
        )
    )


def draw_boxes(
    ax: Axes,
    boxes: Float[np.ndarray, "D 4"],
    captions: Sequence[str],
    colors: Sequence[str],
    *,
    linestyle: Linestyle = "-",
    font_size: float,
) -> None:
    """Draw boxes, each with its caption at the first corner where nothing is written yet.

    Lines and letters have a black rim, so that they show on any background (as in the lesson).

    Args:
        ax: axes from `show_image`, at their final place in the figure.
        boxes: normalised corners `[D, 4]`, the most important first: it lies on top and takes its corner first.
        captions: D texts.
        colors: D colours.
        linestyle: line style of the boxes. The rim stays solid, so that a dashed line alternates with black.
        font_size: font size in points; lines scale with it.
    """
    line_width = font_size / 5
    for box, color in zip(boxes[::-1], colors[::-1], strict=True):
        outline(ax, box, color, line_width=line_width, linestyle=linestyle)
    ax.apply_aspect()  # places the axes now, not at the first drawing
    renderer = _renderer_of(ax)
    before = np.reshape([text.get_window_extent(renderer).extents for text in ax.texts], (-1, 4))
    taken = np.vstack([before, np.empty((len(boxes), 4))])
    for row, (box, caption, color) in enumerate(zip(boxes, captions, colors, strict=True), start=len(before)):
        taken[row] = _write_caption(ax, renderer, box, caption, color, font_size, taken[:row])


def _renderer_of(ax: Axes) -> RendererAgg:
    """Renderer for all measurements; each text would make its own, with a canvas of the whole figure."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    return canvas.get_renderer()


def _write_caption(
    ax: Axes, renderer: RendererAgg, box: np.ndarray, caption: str, color: str, font_size: float, taken: np.ndarray
) -> np.ndarray:
    """Write at the corner of `box`, inside or beside it, that overlaps the `taken` rectangles least; return its own.

    Rectangles are `[left, bottom, right, top]` in pixels of the display.
    """
    text = ax.text(
        0,
        0,
        one_line(caption),
        color=color,
        fontsize=font_size,
        weight="bold",
        path_effects=rim(font_size / 4),
        parse_math=False,  # a name may hold a dollar sign
    )
    text.set_verticalalignment("bottom")
    draw_with_installed_fonts([text])
    width, height = size = text.get_window_extent(renderer).size
    (left, top), (right, bottom) = ax.transData.transform(box.reshape(2, 2)[:, ::-1])
    pad = font_size / 3
    columns = (left + pad, right - pad - width, right + pad, left - pad - width)
    rows = (top - pad - height, top + pad, bottom + pad, bottom - pad - height)
    frame = ax.get_window_extent()
    near = np.clip([(x, y) for x in columns for y in rows], frame.min, np.subtract(frame.max, size))
    spots = np.hstack([near, near + size])
    shared = np.minimum(spots[:, None, 2:], taken[:, 2:]) - np.maximum(spots[:, None, :2], taken[:, :2])
    best = np.maximum(shared, 0).prod(axis=-1).sum(axis=-1).argmin()
    x, y = ax.transData.inverted().transform(near[best])
    text.set_position((x, y))
    return spots[best]


def rim(width: float) -> list[Stroke | Normal]:
    """Black outline of a line or a text, `width` points across."""
    return [Stroke(linewidth=width, foreground="black", dashes={"dash_offset": 0, "dash_list": None}), Normal()]
