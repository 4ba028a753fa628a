"""Curves of a run over its steps, of a learning-rate sweep, and of precision over recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxssd.metrics import VOCScores, monotone_envelope, most_frequent
from jaxssd.viz.fonts import legible, one_line
from jaxssd.viz.style import BLUE, DPI, GREEN, ORANGE, VERMILION

MOST_PANELS, MOST_LETTERS = 20, 20
"""Most classes that have a panel, those with the most objects; and most letters of a name."""

Rows = Sequence[Mapping[str, Any]]


def training_curves(train_rows: Rows, val_rows: Rows, score_panels: Mapping[str, Mapping[str, str]]) -> Figure:
    """Draw loss, learning rate and validation scores over the steps.

    Args:
        train_rows: a row for each step: `{"step", "loss", "learning_rate", "phase", ...}`.
        val_rows: a row for each validation: `{"step", "loss", "objective", ...}` and the scores; may be empty. A value
            that is missing, None or NaN leaves a gap.
        score_panels: scores to draw, `{panel: {key of a row: label}}`.

    Returns:
        A figure with a panel for the loss, one for the learning rate, and the score panels. Dotted lines mark starts
        of phases; stars mark the best checkpoint, which has the highest objective, of equal ones the last.
    """
    heights = (3, 1.5, *[2.5] * len(score_panels))
    figure = Figure(figsize=(8, 1 + sum(heights)), dpi=DPI, layout="constrained")
    loss_ax, rate_ax, *score_axes = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    step, loss = _column(train_rows, "step"), _column(train_rows, "loss")
    window = max(5, len(step) // 50)
    marker = "o" if len(step) == 1 else None  # a line of one point would be invisible
    loss_ax.plot(step, loss, color=BLUE, linewidth=0.5, alpha=0.5, label="training, each step")
    loss_ax.plot(step, _moving_mean(loss, window), color=BLUE, marker=marker, label=f"training, mean of {window} steps")
    loss_ax.set(ylabel="loss")
    rate_ax.plot(step, _column(train_rows, "learning_rate"), color=BLUE, marker=marker)
    rate_ax.set(ylabel="learning rate")
    if val_rows:
        val_step, val_loss = _column(val_rows, "step"), _column(val_rows, "loss")
        loss_ax.plot(val_step, val_loss, "o-", color=VERMILION, markersize=4, label="validation")
    _legend_above(loss_ax)
    for ax, (panel, names) in zip(score_axes, score_panels.items(), strict=True):
        _plot_scores(ax, val_rows, names)
        ax.set(ylabel=f"validation {panel}")
    figure.axes[-1].set(xlabel="step")
    starts = step[1:][np.diff(_column(train_rows, "phase")) > 0]
    for ax in figure.axes:
        for start in starts:
            ax.axvline(start, color="black", linewidth=0.8, linestyle=":")
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def learning_rate_sweep(
    learning_rate: Float[np.ndarray, "n"],
    loss: Float[np.ndarray, "n"],
    smoothed: Float[np.ndarray, "n"],
    suggestion: float,
) -> Figure:
    """Draw the loss over a learning rate that grew every step.

    Args:
        learning_rate: learning rate of each step, `[n]`.
        loss: loss of each batch, `[n]`.
        smoothed: running mean of the loss, `[n]`.
        suggestion: learning rate to mark.

    Returns:
        A figure with logarithmic axes.
    """
    figure = Figure(figsize=(8, 4.5), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    ax.plot(learning_rate, loss, color=BLUE, linewidth=0.5, alpha=0.5, label="each batch")
    ax.plot(learning_rate, smoothed, color=BLUE, label="running mean")
    low = int(np.nanargmin(smoothed))
    ax.plot(learning_rate[low], smoothed[low], "o", color=VERMILION, label=f"least at {learning_rate[low]:.1e}")
    ax.axvline(suggestion, color=GREEN, label=f"suggested {suggestion:.1e}")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss")
    ax.grid(alpha=0.3, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    _legend_above(ax)
    return figure


def precision_recall(scores: VOCScores, class_names: Sequence[str]) -> Figure:
    """Draw precision over recall of each class, the monotone envelope shaded, and both average precisions.

    Args:
        scores: scores from `jaxssd.metrics.voc_scores`.
        class_names: name of each of C labels.

    Returns:
        A figure with C small panels, five in a row at most. For more than 20 classes it shows those with the most
        objects, the most frequent first, with a note.

    Raises:
        ValueError: if there are not C `class_names`.
    """
    if len(class_names) != len(scores.curves):
        raise ValueError(
            f"precision_recall: `class_names` has {len(class_names)} names for {len(scores.curves)} classes"
        )
    shown = most_frequent(scores.num_truths, MOST_PANELS)
    count = len(shown)
    columns = min(5, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4, 0.6 + 2.2 * columns), 1.2 + 2.2 * rows), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[count:]:
        ax.set_axis_off()
    for ax, label in zip(grid.flat, shown, strict=False):
        curve, area, voc07 = scores.curves[label], scores.ap_area[label], scores.ap_voc07[label]
        envelope = monotone_envelope(np.insert(curve.precision, 0, 0))
        ax.fill_between(np.insert(curve.recall, 0, 0), envelope, step="pre", color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(curve.recall, curve.precision, color=BLUE, linewidth=1)
        ax.set_title(one_line(class_names[label], most=MOST_LETTERS), fontsize=10, parse_math=False)
        text = "no ground truth" if np.isnan(area) else f"area {area:.3f}\n11-point {voc07:.3f}"
        ax.text(0.04, 0.05, text, fontsize=8, transform=ax.transAxes)
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"), yticks=(0, 0.5, 1))
        ax.grid(alpha=0.3)
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    some = f"\nthe {count} of {len(class_names):,} classes with the most objects" * (count < len(class_names))
    figure.suptitle(
        f"mAP {scores.mean_area:.3f} (area), {scores.mean_voc07:.3f} (11-point)\n"
        f"IoU \u2265 {scores.iou_threshold:g}, {scores.num_images} images{some}",
        fontsize=11,
    )
    return legible(figure)


def _plot_scores(ax: Axes, val_rows: Rows, names: Mapping[str, str]) -> None:
    objective = _column(val_rows, "objective")
    if not np.isfinite(objective).any():
        why = "no ground truth" if val_rows else "no validation yet"
        ax.text(0.5, 0.5, why, ha="center", transform=ax.transAxes)
        return
    step = _column(val_rows, "step")
    best = len(objective) - 1 - np.nanargmax(objective[::-1])  # the last of equal ones, which is the one that is kept
    for (key, name), color in zip(names.items(), (GREEN, ORANGE, BLUE), strict=False):
        values = _column(val_rows, key)
        label = f"{name}: best {values[best]:.3f} at step {step[best]:.0f}"
        ax.plot(step, values, "o-", color=color, markersize=4, label=label)
        ax.plot(step[best], values[best], "*", color=color, markersize=14, clip_on=False)
    highest = ax.dataLim.y1
    ax.set_ylim(0, 1.05 * highest if 0 < highest < np.inf else 1)
    _legend_above(ax)


def _legend_above(ax: Axes) -> None:
    """Legend above the panel, where it covers no curve."""
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
