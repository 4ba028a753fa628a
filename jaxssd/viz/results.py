"""Results of a network, drawn on its images: a grid beside the ground truth, or one photograph."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxssd.metrics import DetectionArrays
from jaxssd.viz.boxes import Linestyle, class_color, draw_boxes, rim, show_image
from jaxssd.viz.fonts import legible, one_line
from jaxssd.viz.style import BOX_COLORS, DPI, TRUTH_COLOR

GRID_IMAGES = 16
MOST_LINES = 20
FONT_SIZE = 7.0

Truths = tuple[Float[np.ndarray, "n G 4"], Int[np.ndarray, "n G"], Bool[np.ndarray, "n G"]]


def detection_grid(
    images: UInt8[np.ndarray, "n H W 3"],
    detections: DetectionArrays,
    truths: Truths | None,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.3,
    columns: int = 4,
    ids: Sequence[str] | None = None,
) -> Figure:
    """Draw images with their detections (solid, in the class's colour) and ground truth (dashed white and black).

    Args:
        images: n images `[n, H, W, 3]`, at least one.
        detections: detections of the images, `[n, D, ...]`.
        truths: ground truth `(boxes[n, G, 4], labels[n, G], valid[n, G])`, or None to draw none.
        class_names: name of each label.
        score_threshold: lowest score that is drawn.
        columns: number of images in a row.
        ids: title of each image.

    Returns:
        A figure three inches wide for each column.
    """
    figure, panels = _image_grid(images, columns, ids)
    for index, ax in enumerate(panels):
        _draw_detections(
            ax,
            detections.boxes[index],
            detections.scores[index],
            detections.labels[index],
            detections.valid[index],
            class_names,
            score_threshold,
            font_size=FONT_SIZE,
        )
        if truths is not None:
            boxes, labels, valid = (array[index] for array in truths)
            names = [class_names[label] for label in labels[valid]]
            draw_boxes(ax, boxes[valid], names, [TRUTH_COLOR] * len(names), linestyle="--", font_size=FONT_SIZE)
    _add_legend(figure, f"detection: class and score (at least {score_threshold:g})", truths is not None)
    return legible(figure)


def object_grid(
    images: UInt8[np.ndarray, "n H W 3"],
    boxes: Float[np.ndarray, "n 4"],
    captions: Sequence[str],
    true_boxes: Float[np.ndarray, "n 4"],
    true_names: Sequence[str],
    *,
    columns: int = 4,
    ids: Sequence[str] | None = None,
) -> Figure:
    """Draw images with one predicted box each (solid) and the true one (dashed).

    Args:
        images: n images `[n, H, W, 3]`, at least one.
        boxes: corners of the predicted boxes, `[n, 4]`.
        captions: caption of each predicted box.
        true_boxes: corners of the true boxes, `[n, 4]`; a box without an area is not drawn.
        true_names: caption of each true box.
        columns: number of images in a row.
        ids: title of each image.

    Returns:
        A figure three inches wide for each column.
    """
    figure, panels = _image_grid(images, columns, ids)
    for ax, box, caption, true_box, name in zip(panels, boxes, captions, true_boxes, true_names, strict=True):
        draw_boxes(ax, box[None], [caption], [BOX_COLORS[0]], font_size=FONT_SIZE)
        if (true_box[2:] > true_box[:2]).all():
            draw_boxes(ax, true_box[None], [name], [TRUTH_COLOR], linestyle="--", font_size=FONT_SIZE)
    _add_legend(figure, "predicted", True)
    return legible(figure)


def label_grid(
    images: UInt8[np.ndarray, "n H W 3"],
    probabilities: Float[np.ndarray, "n C"],
    held: Bool[np.ndarray, "n C"],
    class_names: Sequence[str],
    *,
    threshold: float,
    columns: int = 4,
    ids: Sequence[str] | None = None,
) -> Figure:
    """Draw images with their classes above a threshold; wrong ones are in brackets, missed ones are marked.

    Args:
        images: n images `[n, H, W, 3]`, at least one.
        probabilities: probability of each class, `[n, C]`.
        held: True for the classes that each image holds, `[n, C]`.
        class_names: name of each label.
        threshold: lowest probability that is named.
        columns: number of images in a row.
        ids: title of each image.

    Returns:
        A figure three inches wide for each column.
    """
    figure, panels = _image_grid(images, columns, ids)
    for ax, row, truth in zip(panels, probabilities, held, strict=True):
        order = np.argsort(-row, kind="stable")
        named = [label for label in order if row[label] >= threshold]
        found = [f"{class_names[i]} {row[i]:.2f}" if truth[i] else f"[{class_names[i]} {row[i]:.2f}]" for i in named]
        missed = [f"missed {class_names[label]}" for label in order if truth[label] and row[label] < threshold]
        _write_lines(ax, [*found, *missed], FONT_SIZE)
    legend = f"classes with a probability of at least {threshold:g}; [those that are wrong]"
    figure.text(0.5, 0.12 / figure.get_figheight(), legend, ha="center", va="bottom", fontsize=9)
    return legible(figure)


def detection_image(
    image: UInt8[np.ndarray, "H W 3"],
    detections: DetectionArrays,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.3,
) -> Figure:
    """Draw one photograph with its detections, at its own size: saved at the figure's own dpi, a pixel stays a pixel.

    Args:
        image: pixels `[H, W, 3]`.
        detections: detections of this image, unbatched: `[D, ...]`.
        class_names: name of each label.
        score_threshold: lowest score that is drawn.

    Returns:
        A figure of H x W pixels.
    """
    figure, ax, font_size = _photograph(image)
    _draw_detections(
        ax,
        detections.boxes,
        detections.scores,
        detections.labels,
        detections.valid,
        class_names,
        score_threshold,
        font_size=font_size,
    )
    return figure


def object_image(image: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "n 4"], captions: Sequence[str]) -> Figure:
    """Draw one photograph with captioned boxes, at its own size.

    Args:
        image: pixels `[H, W, 3]`.
        boxes: corners `[n, 4]`.
        captions: caption of each box.

    Returns:
        A figure of H x W pixels.
    """
    figure, ax, font_size = _photograph(image)
    draw_boxes(ax, boxes, captions, [BOX_COLORS[0]] * len(boxes), font_size=font_size)
    return figure


def labelled_image(image: UInt8[np.ndarray, "H W 3"], lines: Sequence[str]) -> Figure:
    """Draw one photograph with lines of text in its corner, at its own size.

    Args:
        image: pixels `[H, W, 3]`.
        lines: lines of text from top to bottom.

    Returns:
        A figure of H x W pixels.
    """
    figure, ax, font_size = _photograph(image)
    _write_lines(ax, lines, 1.5 * font_size)
    return legible(figure)


def _image_grid(
    images: UInt8[np.ndarray, "n H W 3"], columns: int, titles: Sequence[str] | None
) -> tuple[Figure, list[Axes]]:
    """Figure and axes with an image each, row by row, and room for a legend below."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    side, title, legend, gap = 3.0, 0.0 if titles is None else 0.25, 0.4, 0.08
    tall = side * images.shape[1] / images.shape[2]
    width, height = columns * (side + gap) + gap, rows * (tall + title + gap) + legend
    figure = Figure(figsize=(width, height), dpi=DPI)
    panels = []
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left, bottom = gap + column * (side + gap), height - (row + 1) * (tall + title + gap)
        ax = figure.add_axes((left / width, bottom / height, side / width, tall / height))
        show_image(ax, image)
        if titles is not None:
            ax.set_title(one_line(titles[index]), fontsize=8, pad=3, parse_math=False)
        panels.append(ax)
    return figure, panels


def _photograph(image: UInt8[np.ndarray, "H W 3"]) -> tuple[Figure, Axes, float]:
    """Figure of the image's own size, its axes, and a suitable font size."""
    height, width, _ = image.shape
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    show_image(ax, image)
    return figure, ax, max(FONT_SIZE, min(height, width) / 50)


def _write_lines(ax: Axes, lines: Sequence[str], font_size: float) -> None:
    """Write lines in the image's corner, from top to bottom; the first ones of very many."""
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1:,} more"]
    ax.text(
        0.01,
        0.99,
        "\n".join(map(one_line, lines)),
        transform=ax.transAxes,
        va="top",
        color=TRUTH_COLOR,
        fontsize=font_size,
        weight="bold",
        path_effects=rim(font_size / 4),
        parse_math=False,
    )


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


def _add_legend(figure: Figure, solid: str, with_truths: bool) -> None:
    styles: list[tuple[str, Linestyle, str]] = [(BOX_COLORS[0], "-", solid)]
    if with_truths:
        styles.append((TRUTH_COLOR, "--", "ground truth"))
    handles = [
        Line2D([], [], color=color, linestyle=linestyle, path_effects=rim(3.0), label=label)
        for color, linestyle, label in styles
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=9)
