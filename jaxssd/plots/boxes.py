"""Boxes drawn on images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from jaxssd.metrics import DetectionArrays
from jaxssd.plots.style import BOX_COLORS, DPI, TRUTH_COLOR

Linestyle = Literal["-", "--"]
Truths = tuple[Float[np.ndarray, "n G 4"], Int[np.ndarray, "n G"], Bool[np.ndarray, "n G"]]


def class_color(label: int) -> str:
    """The colour of a class, the same in every figure. It repeats after eight classes; the names tell those apart."""
    return BOX_COLORS[label % len(BOX_COLORS)]


def show_image(ax: Axes, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Show an image on the unit square, in its own proportions, so that normalised boxes are data coordinates."""
    height, width, _ = image.shape
    ax.imshow(image, extent=(0, 1, 1, 0), aspect=height / width)
    ax.set_axis_off()


def draw_boxes(
    ax: Axes,
    boxes: Float[np.ndarray, "D 4"],
    captions: Sequence[str],
    colors: Sequence[str],
    *,
    linestyle: Linestyle = "-",
    font_size: float,
) -> None:
    """Outline boxes, and caption each at the first of its corners where nothing is written yet.

    Lines and letters have a black rim, so that they show on any background (as in the lesson).

    Args:
        ax: axes prepared by `show_image`, at their final place in the figure.
        boxes: normalised corners `[D, 4]`, the most important first: it lies on top and takes its corner first.
        captions: D texts.
        colors: D colours.
        linestyle: solid or dashed. The rim stays solid, so that a dashed line alternates with black.
        font_size: in points; lines scale with it.
    """
    line_width = font_size / 5
    for (y1, x1, y2, x2), color in zip(boxes[::-1].tolist(), colors[::-1], strict=True):
        ax.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=color,
                linewidth=line_width,
                linestyle=linestyle,
                path_effects=_rim(2 * line_width),
            )
        )
    ax.apply_aspect()  # settles where the axes lie, which is otherwise left to the first drawing
    taken = np.reshape([text.get_window_extent().extents for text in ax.texts], (-1, 4))
    for box, caption, color in zip(boxes, captions, colors, strict=True):
        taken = np.vstack([taken, _write_caption(ax, box, caption, color, font_size, taken)])


def detection_grid(
    images: UInt8[np.ndarray, "n S S 3"],
    detections: DetectionArrays,
    truths: Truths | None,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.3,
    columns: int = 4,
    ids: Sequence[str] | None = None,
) -> Figure:
    """Images with their detections (solid, in the class's colour) and ground truth (dashed white and black).

    Args:
        images: `[n, S, S, 3]`, one at least.
        detections: of these images, `[n, D, ...]`.
        truths: `(boxes[n, G, 4], labels[n, G], valid[n, G])`, or None to draw none.
        class_names: C names.
        score_threshold: the least score that is drawn.
        columns: images in a row.
        ids: n titles.

    Returns:
        A figure three inches wide for each column.
    """
    count = len(images)
    columns = min(columns, count)
    rows = -(-count // columns)
    side, title, legend, gap = 3.0, 0.0 if ids is None else 0.25, 0.4, 0.08
    width, height = columns * (side + gap) + gap, rows * (side + title + gap) + legend
    figure = Figure(figsize=(width, height), dpi=DPI)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left, bottom = gap + column * (side + gap), height - (row + 1) * (side + title + gap)
        ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
        show_image(ax, image)
        if ids is not None:
            ax.set_title(ids[index], fontsize=8, pad=3, parse_math=False)
        _draw_detections(
            ax,
            detections.boxes[index],
            detections.scores[index],
            detections.labels[index],
            detections.valid[index],
            class_names,
            score_threshold,
            font_size=7.0,
        )
        if truths is not None:
            boxes, labels, valid = (array[index] for array in truths)
            names = [class_names[label] for label in labels[valid]]
            draw_boxes(ax, boxes[valid], names, [TRUTH_COLOR] * len(names), linestyle="--", font_size=7.0)
    figure.legend(
        handles=_legend(score_threshold, truths is not None), loc="lower center", ncols=2, frameon=False, fontsize=9
    )
    return figure


def detection_image(
    image: UInt8[np.ndarray, "H W 3"],
    detections: DetectionArrays,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.3,
) -> Figure:
    """One photograph with its detections, at its own size: saved at the figure's own dpi, a pixel stays a pixel.

    Args:
        image: `[H, W, 3]`.
        detections: of this image, unbatched: `[D, ...]`.
        class_names: C names.
        score_threshold: the least score that is drawn.

    Returns:
        A figure of H x W pixels.
    """
    height, width, _ = image.shape
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    show_image(ax, image)
    _draw_detections(
        ax,
        detections.boxes,
        detections.scores,
        detections.labels,
        detections.valid,
        class_names,
        score_threshold,
        font_size=max(7.0, min(height, width) / 50),
    )
    return figure


def _draw_detections(
    ax: Axes,
    boxes: Float[np.ndarray, "D 4"],
    scores: Float[np.ndarray, "D"],
    labels: Int[np.ndarray, "D"],
    valid: Bool[np.ndarray, "D"],
    class_names: Sequence[str],
    score_threshold: float,
    *,
    font_size: float,
) -> None:
    shown = valid & (scores >= score_threshold)
    rows = list(zip(labels[shown].tolist(), scores[shown].tolist(), strict=True))
    captions = [f"{class_names[label]} {score:.2f}" for label, score in rows]
    draw_boxes(ax, boxes[shown], captions, [class_color(label) for label, _ in rows], font_size=font_size)


def _write_caption(
    ax: Axes, box: np.ndarray, caption: str, color: str, font_size: float, taken: np.ndarray
) -> np.ndarray:
    """Write at the corner of `box`, inside or beside it, that overlaps the `taken` rectangles least; returns its own.

    Rectangles are `[left, bottom, right, top]` in pixels of the display.
    """
    text = ax.text(
        0,
        0,
        caption,
        color=color,
        fontsize=font_size,
        weight="bold",
        path_effects=_rim(font_size / 4),
        parse_math=False,  # a name may hold a dollar sign
    )
    text.set_verticalalignment("bottom")
    width, height = size = text.get_window_extent().size
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


def _rim(width: float) -> list[Stroke | Normal]:
    return [Stroke(linewidth=width, foreground="black", dashes={"dash_offset": 0, "dash_list": None}), Normal()]


def _legend(score_threshold: float, with_truths: bool) -> list[Line2D]:
    styles: list[tuple[str, Linestyle, str]] = [
        (BOX_COLORS[0], "-", f"detection: class and score (at least {score_threshold:g})")
    ]
    if with_truths:
        styles.append((TRUTH_COLOR, "--", "ground truth"))
    return [
        Line2D([], [], color=color, linestyle=linestyle, path_effects=_rim(3.0), label=label)
        for color, linestyle, label in styles
    ]
