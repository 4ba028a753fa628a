"""Every figure. Functions return a matplotlib `Figure` and never touch pyplot, so nothing piles up in a long run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from jaxssd.metrics import DetectionArrays, VOCScores, monotone_envelope

# Colours that stay distinct under the common colour vision deficiencies. For boxes Paul Tol's "light" scheme, less its
# grey: light enough to be read on a black rim. For curves on white paper, Okabe and Ito's.
BOX_COLORS = ("#EE8866", "#77AADD", "#EEDD88", "#44BB99", "#FFAABB", "#BBCC33", "#99DDFF", "#AAAA00")
TRUTH_COLOR = "white"
BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
DPI = 100

Rows = Sequence[Mapping[str, Any]]
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


def training_curves(train_rows: Rows, val_rows: Rows) -> Figure:
    """Loss, learning rate and validation mAP against the step.

    Args:
        train_rows: one a step: `{"step", "loss", "learning_rate", ...}`.
        val_rows: one an evaluation: `{"step", "loss", "map_area", "map_voc07", ...}`; may be empty. A value that is
            missing, None or NaN leaves a gap.

    Returns:
        A figure of three panels; the best mAP of each kind is marked.
    """
    figure = Figure(figsize=(8, 8), dpi=DPI, layout="constrained")
    loss_ax, rate_ax, map_ax = figure.subplots(3, sharex=True, height_ratios=(3, 1.5, 2.5))
    step, loss = _column(train_rows, "step"), _column(train_rows, "loss")
    window = max(5, len(step) // 50)
    marker = "o" if len(step) == 1 else None  # a line of one point is invisible
    loss_ax.plot(step, loss, color=BLUE, linewidth=0.5, alpha=0.5, label="training, each step")
    loss_ax.plot(step, _moving_mean(loss, window), color=BLUE, marker=marker, label=f"training, mean of {window} steps")
    loss_ax.set(ylabel="loss")
    rate_ax.plot(step, _column(train_rows, "learning_rate"), color=BLUE, marker=marker)
    rate_ax.set(ylabel="learning rate")
    map_ax.set(ylabel="validation mAP", xlabel="step")

    if val_rows:
        val_step = _column(val_rows, "step")
        loss_ax.plot(val_step, _column(val_rows, "loss"), "o-", color=VERMILION, markersize=4, label="validation")
        for key, name, color in (("map_area", "area", GREEN), ("map_voc07", "11-point", ORANGE)):
            values = _column(val_rows, key)
            label = name
            if np.isfinite(values).any():
                best = np.nanargmax(values)
                label = f"{name}: best {values[best]:.3f} at step {val_step[best]:.0f}"
                map_ax.plot(val_step[best], values[best], "*", color=color, markersize=14, clip_on=False)
            map_ax.plot(val_step, values, "o-", color=color, markersize=4, label=label)
        map_ax.set_ylim(bottom=0)
        _legend_above(map_ax)
    else:
        map_ax.text(0.5, 0.5, "no validation yet", ha="center", transform=map_ax.transAxes)
    _legend_above(loss_ax)
    for ax in (loss_ax, rate_ax, map_ax):
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def precision_recall(scores: VOCScores, class_names: Sequence[str]) -> Figure:
    """For each class its precision against recall, the monotone envelope shaded, and both average precisions.

    Args:
        scores: from `jaxssd.metrics.voc_scores`.
        class_names: C names.

    Returns:
        A figure of C small panels, five in a row at most.
    """
    count = len(class_names)
    columns = min(5, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4, 0.6 + 2.2 * columns), 1.2 + 2.2 * rows), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[count:]:
        ax.set_axis_off()
    panels = zip(grid.flat[:count], class_names, scores.curves, scores.ap_area, scores.ap_voc07, strict=True)
    for ax, name, curve, area, voc07 in panels:
        envelope = monotone_envelope(np.insert(curve.precision, 0, 0))
        ax.fill_between(np.insert(curve.recall, 0, 0), envelope, step="pre", color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(curve.recall, curve.precision, color=BLUE, linewidth=1)
        ax.set_title(name, fontsize=10, parse_math=False)
        text = "no ground truth" if np.isnan(area) else f"area {area:.3f}\n11-point {voc07:.3f}"
        ax.text(0.04, 0.05, text, fontsize=8, transform=ax.transAxes)
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"), yticks=(0, 0.5, 1))
        ax.grid(alpha=0.3)
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    figure.suptitle(
        f"mAP {scores.mean_area:.3f} (area), {scores.mean_voc07:.3f} (11-point)\n"
        f"IoU $\\geq$ {scores.iou_threshold:g}, {scores.num_images} images",
        fontsize=11,
    )
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure at its own dpi, in the format of the path's suffix; a reader never sees half a file.

    Args:
        figure: emptied afterwards, so that its images are freed at once.
        path: its folder exists; a file there is replaced.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        figure.savefig(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        figure.clear()


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


def _legend_above(ax: Axes) -> None:
    """Where it covers no curve."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0)


def _column(rows: Rows, key: str) -> Float[np.ndarray, "rows"]:
    return np.array([row.get(key) for row in rows], dtype=np.float64)


def _moving_mean(values: Float[np.ndarray, "rows"], window: int) -> Float[np.ndarray, "rows"]:
    """Mean of the finite values in a window around each; NaN where there is none."""
    finite = np.isfinite(values)
    total = np.cumsum(np.insert(np.where(finite, values, 0), 0, 0))
    count = np.cumsum(np.insert(finite, 0, 0))
    row = np.arange(len(values))
    start, stop = np.maximum(row - window // 2, 0), np.minimum(row - window // 2 + window, len(values))
    mean = np.full(len(values), np.nan)
    np.divide(total[stop] - total[start], count[stop] - count[start], out=mean, where=count[stop] > count[start])
    return mean
