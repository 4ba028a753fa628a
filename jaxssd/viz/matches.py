"""Matching: the anchors of each object, under both matching rules."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxssd.ops import Anchors, Match, box_iou, match_anchors
from jaxssd.ops.matching import RULES
from jaxssd.viz.boxes import draw_boxes, outline, rim
from jaxssd.viz.fonts import legible
from jaxssd.viz.panels import LEGEND_ROW, heading, image_panels, key, legend_rows, overhang, tint, write_labels
from jaxssd.viz.style import BOX_COLORS, VERMILION

WIDEST_MARGIN = 0.25  # share of the image; boxes that stick out further are cut
MOST_LINES = 40  # lines of the list below; an image may have hundreds of objects


class Share(NamedTuple):
    """Positive anchors of one object, in falling IoU.

    Attributes:
        boxes: corners of the anchors.
        iou: IoU with the object.
        forced: True if positive only by force, as one of the object's best anchors: the IoU is not above the threshold,
            or another object's is greater.
    """

    boxes: Float[np.ndarray, "P 4"]
    iou: Float[np.ndarray, "P"]
    forced: Bool[np.ndarray, "P"]


def match_figure(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "G 4"],
    labels: Int[np.ndarray, "G"],
    valid: Bool[np.ndarray, "G"],
    anchors: Anchors,
    class_names: Sequence[str],
    *,
    threshold: float = 0.4,
    anchors_per_object: int = 1,
    ignore_threshold: float | None = None,
) -> Figure:
    """Draw every object with its positive anchors in one colour, in one panel for each matching rule.

    An anchor that is positive only because the rule forces it is dashed and shows its IoU; an ignored one is dotted. An
    object that has no anchor is crossed out.

    Args:
        image: pixels `[H, W, 3]`.
        boxes: ground truth, padded `[G, 4]`.
        labels: labels of the ground truth, `[G]`.
        valid: True for real rows, `[G]`.
        anchors: `A` anchors.
        class_names: name of each label.
        threshold: IoU threshold of `match_anchors`.
        anchors_per_object: number of best anchors of each object; the lesson's rule has 1.
        ignore_threshold: IoU from which an anchor that is not positive is ignored; None ignores none.

    Returns:
        A figure with two panels, and a list of the objects and their anchors below, 40 lines at most.
    """
    corners = np.asarray(anchors.corners)
    shares, ignored = [], []
    for rule in RULES:
        count = anchors_per_object if rule == "best_iou" else 1
        match, iou = jax.device_get(_match(corners, boxes, valid, threshold, rule, count))
        shares.append(_shares(corners, valid, match, iou, threshold))
        lowest = np.inf if ignore_threshold is None else ignore_threshold
        ignored.append(corners[~match.positive & (match.overlap >= lowest)])
    drawn = np.concatenate([share.boxes for of_rule in shares for share in of_rule] + ignored)
    margin = overhang(drawn, at_most=WIDEST_MARGIN) + 0.01
    names = [f"{number} {class_names[label]}" for number, label in enumerate(labels[valid].tolist(), start=1)]
    titles = [
        f'rule="{rule}": {sum(len(share.iou) for share in of_rule)} of {len(corners)} anchors positive'
        f"{f', {len(without_loss)} ignored' * (ignore_threshold is not None)}"
        for rule, of_rule, without_loss in zip(RULES, shares, ignored, strict=True)
    ]
    footer = 0.1 + 1.5 * LEGEND_ROW + 0.19 * min(max(len(names), 1), MOST_LINES + 1)
    figure, axes = image_panels(image, titles, side=4.4, footer=footer, margins=[margin] * len(RULES))
    for ax, of_rule, without_loss in zip(axes, shares, ignored, strict=True):
        for anchor in without_loss:
            outline(ax, anchor, "white", line_width=1.0, linestyle=":")
        _draw_shares(ax, boxes[valid], names, of_rule)
    keys = [
        key("white", "object", line_width=1.8),
        key("white", f"its anchor, IoU > {threshold:g}", line_width=1.2),
        key("white", "its anchor by force, with its IoU", line_width=1.4, linestyle="--"),
    ]
    if ignore_threshold is not None:
        keys.append(key("white", "ignored anchor", line_width=1.0, linestyle=":"))
    legend_rows(figure, [keys])
    return legible(figure)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _match(
    corners: Array, boxes: Array, valid: Array, threshold: float, rule: str, count: int
) -> tuple[Match, Float[Array, "G A"]]:
    match = match_anchors(corners, boxes, valid, threshold=threshold, rule=rule, anchors_per_object=count)
    return match, box_iou(boxes, corners)


def _shares(
    corners: Float[np.ndarray, "A 4"],
    valid: Bool[np.ndarray, "G"],
    match: Any,
    iou: Float[np.ndarray, "G A"],
    threshold: float,
) -> list[Share]:
    iou = np.where(valid[:, None], iou, 0)
    by_overlap = (iou > threshold) & (iou == iou.max(axis=0, initial=0))
    shares = []
    for index in np.flatnonzero(valid):
        rows = np.flatnonzero(match.positive & (match.gt_index == index))
        rows = rows[np.argsort(-iou[index, rows], kind="stable")]
        shares.append(Share(corners[rows], iou[index, rows], ~by_overlap[index, rows]))
    return shares


def _draw_shares(ax: Axes, boxes: Float[np.ndarray, "G 4"], names: Sequence[str], shares: Sequence[Share]) -> None:
    colors = [BOX_COLORS[index % len(BOX_COLORS)] for index in range(len(names))]
    lost = [len(share.iou) == 0 for share in shares]
    for share, color in zip(shares, colors, strict=True):
        for anchor, forced in zip(share.boxes, share.forced, strict=True):
            if forced:
                tint(ax, anchor, color, alpha=0.3)
            else:
                outline(ax, anchor, color, line_width=1.2)
    for (y1, x1, y2, x2), color in zip(boxes[lost].tolist(), np.array(colors)[lost].tolist(), strict=True):
        for ends in ((y1, y2), (y2, y1)):
            ax.plot((x1, x2), ends, color=color, linewidth=1.6, path_effects=rim(3.2))
    captions = [f"{name}: no anchor" if is_lost else name for name, is_lost in zip(names, lost, strict=True)]
    draw_boxes(ax, boxes, captions, colors, font_size=9.0)
    for share, color in zip(shares, colors, strict=True):
        forced, iou = share.boxes[share.forced], share.iou[share.forced].tolist()
        draw_boxes(ax, forced, [f"{x:.2f}" for x in iou], [color] * len(iou), linestyle="--", font_size=7.0)

    rows = list(zip(colors, names, shares, strict=True))[:MOST_LINES]
    keys = [key(color, f"{name}: {_summary(share)}", line_width=1.8) for color, name, share in rows]
    if len(names) > MOST_LINES:
        keys.append(heading(f"and {len(names) - MOST_LINES} more, {sum(lost[MOST_LINES:])} of them without an anchor"))
    legend = ax.legend(
        keys,
        [""] * len(keys),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        frameon=False,
        fontsize=9,
        labelspacing=0.25,
        borderaxespad=0.3,
        borderpad=0,
    )
    write_labels(legend, [str(line.get_label()) for line in keys])
    for text, is_lost in zip(legend.texts, lost[:MOST_LINES], strict=False):
        if is_lost:
            text.set(color=VERMILION, weight="bold")


def _summary(share: Share) -> str:
    count, forced = len(share.iou), int(share.forced.sum())
    if count == 0:
        return "no anchor"
    if count == 1:
        return f"1 anchor{', forced' * forced}, IoU {share.iou[0]:.2f}"
    return f"{count} anchors{f', {forced} forced' * bool(forced)}, IoU {share.iou[-1]:.2f} to {share.iou[0]:.2f}"
