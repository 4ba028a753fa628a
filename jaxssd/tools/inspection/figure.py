"""Inspection of a data set in one figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from jaxssd.data.anchor_fit import Advice
from jaxssd.tools.inspection.coverage import Coverage, MatchCounts, count_matches
from jaxssd.tools.inspection.inspection import ELONGATED, Inspection, count_classes, smallest_sides
from jaxssd.tools.inspection.text import name_candidates
from jaxssd.viz.fonts import drawable, legible, one_line
from jaxssd.viz.panels import write_labels
from jaxssd.viz.style import BLUE, DPI, GREEN, ORANGE, VERMILION

SPLIT_COLORS = (BLUE, ORANGE, GREEN, VERMILION)
MOST_CLASSES, MOST_LETTERS = 24, 18
"""Largest number of classes with a bar, the most frequent ones; and letters of a name."""
MOST_POINTS = 5_000
"""Largest number of points in a cloud, evenly spread over all objects."""

PANEL, LEFT, RIGHT, COLUMN_GAP = 3.6, 1.5, 0.35, 1.5  # inches
TOP, BOTTOM, ROW_GAP, CLASS_BAR = 1.2, 0.55, 1.4, 0.2
FONT_SIZE, TITLE_PAD = 8.5, 36.0  # points


def dataset_figure(
    inspection: Inspection, coverage: Coverage, advice: Advice, threshold: float, *, title: str = ""
) -> Figure:
    """Counts, sizes, coverage by the anchors, and suspicious boxes and images of a data set.

    Args:
        inspection: inspection of a data set.
        coverage: coverage of its objects by the given anchors.
        advice: comparison with other anchors.
        threshold: IoU above which an anchor matches an object.
        title: title above all panels.

    Returns:
        A figure of nine panels. A panel without data has a note.
    """
    totals = count_classes(inspection).objects.sum(axis=0)
    shown = np.argsort(-totals, kind="stable")[:MOST_CLASSES].tolist()
    counts = count_matches(inspection, coverage, threshold)
    figure, panels = _panels(max(2.8, CLASS_BAR * len(shown)))
    _draw_classes(panels[0, 0], inspection, shown)
    _draw_objects_an_image(panels[0, 1], inspection)
    _draw_image_sizes(panels[0, 2], inspection)
    _draw_box_sizes(panels[1, 0], inspection, advice)
    _draw_box_shapes(panels[1, 1], inspection, advice)
    _draw_best_anchors(panels[1, 2], coverage, counts[-1], threshold)
    _draw_unmatched(panels[2, 0], inspection, counts, shown, threshold)
    _draw_candidates(panels[2, 1], inspection, advice, counts[-1].objects, threshold)
    _draw_findings(panels[2, 2], inspection)
    figure.suptitle(title, fontsize=12, y=1 - 0.12 / figure.get_figheight(), va="top", parse_math=False)
    return legible(figure)


def _panels(tall: float) -> tuple[Figure, np.ndarray]:
    """Three rows of three, each panel with room for its title and legend above; `tall` rows have one bar per class."""
    heights = np.array([tall, PANEL, tall])
    width = LEFT + 3 * PANEL + 2 * COLUMN_GAP + RIGHT
    height = TOP + heights.sum() + 2 * ROW_GAP + BOTTOM
    figure = Figure(figsize=(width, height), dpi=DPI)
    panels = np.empty((3, 3), object)
    for row, column in np.ndindex(3, 3):
        left = LEFT + column * (PANEL + COLUMN_GAP)
        bottom = height - TOP - heights[: row + 1].sum() - row * ROW_GAP
        ax = figure.add_axes((left / width, bottom / height, PANEL / width, heights[row] / height), axisbelow=True)
        ax.spines[["top", "right"]].set_visible(False)
        panels[row, column] = ax
    return figure, panels


def _draw_classes(ax: Axes, inspection: Inspection, shown: Sequence[int]) -> None:
    counts, splits = count_classes(inspection), inspection.splits
    thickness = 0.8 / len(splits)
    for index, split in enumerate(splits):
        place = np.arange(len(shown)) + (index - (len(splits) - 1) / 2) * thickness
        color = _split_color(index)
        objects, images = counts.objects[index][shown], counts.images[index][shown]
        ax.barh(place, objects, thickness, color=color, alpha=0.4, label=f"{split}: objects")
        ax.barh(place, images, thickness, color=color, label=f"{split}: images with one")
    _class_axis(ax, inspection, shown)
    _whole_numbers(ax.xaxis)
    _caption(ax, _with_rest("objects of each class", inspection, shown), legend_columns=2)


def _draw_objects_an_image(ax: Axes, inspection: Inspection) -> None:
    images = inspection.images
    most = int(images.objects.max(initial=0))
    step = max(1, -(-most // 30))
    edges = np.arange(0, most + step + 1, step) - 0.5
    for index, split in enumerate(inspection.splits):
        objects = images.objects[images.split == index]
        _steps(ax, objects, edges, index, f"{split}: {objects.mean():.1f} on average")
    ax.set(xlabel="objects", ylabel="images, %", xlim=(edges[0], edges[-1]), ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _caption(ax, "objects in an image", legend_columns=2)


def _draw_image_sizes(ax: Axes, inspection: Inspection) -> None:
    sizes, number = np.unique(inspection.images.sizes, axis=0, return_counts=True)
    largest = 1.1 * float(sizes.max())
    for wide, high in ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16)):
        end = largest * np.array([wide, high]) / max(wide, high)
        ax.plot(*np.stack([0 * end, end]).T, color="0.85", linewidth=0.8, zorder=0)
        label = ax.text(0.5 * end[0], 0.5 * end[1], f"{wide}:{high}", fontsize=7, color="0.5", ha="center", va="center")
        label.set(zorder=0.5, bbox={"facecolor": "white", "linewidth": 0, "pad": 1})
    ax.scatter(sizes[:, 1], sizes[:, 0], 12 + 400 * number / number.sum(), color=BLUE, alpha=0.45, edgecolors="none")
    ax.set(xlabel="width, px", ylabel="height, px", xlim=(0, largest), ylim=(0, largest))
    height, width = sizes[number.argmax()]
    which = f"{len(sizes):,} sizes, most often" if len(sizes) > 1 else "all"
    _caption(ax, f"image sizes: {which} {width} x {height}")


def _draw_box_sizes(ax: Axes, inspection: Inspection, advice: Advice) -> None:
    sides, (height, width) = inspection.objects.sides, inspection.input_shape
    title = "box sizes, as the network sees them"
    if not len(sides):
        return _say(ax, title, "no object")
    tiny_height, tiny_width = smallest_sides((height, width)).tolist()
    anchors = advice.given.settings.shapes
    cloud = sides[np.linspace(0, len(sides) - 1, min(len(sides), MOST_POINTS)).astype(int)]
    alpha = float(np.clip(120 / len(cloud) ** 0.75, 0.15, 0.6))  # many points are seen by their density
    ax.plot(*cloud.T[::-1], ".", color="0.3", markersize=3, markeredgewidth=0, alpha=alpha)
    ax.plot(*anchors.T[::-1], "x", color=VERMILION, markersize=6, label=f"{len(anchors)} shapes of the anchors")
    smallest = 0.8 * min(float(sides.min()), float(anchors.min()), tiny_height, tiny_width)
    most = 1.15 * max(1.0, float(anchors.max()))
    pixels = dict.fromkeys(f"{share * side:.3g}" for share, side in ((tiny_height, height), (tiny_width, width)))
    label = f"tiny: below {' x '.join(pixels)} px"
    ax.axhspan(smallest, tiny_height, color=ORANGE, alpha=0.15, linewidth=0)
    ax.axvspan(smallest, tiny_width, color=ORANGE, alpha=0.15, linewidth=0, label=label)
    ax.set(xscale="log", yscale="log", xlim=(smallest, most), ylim=(smallest, most))
    for axis, side in ((ax.xaxis, width), (ax.yaxis, height)):
        axis.set_minor_locator(NullLocator())
        axis.set_major_locator(FixedLocator((2.0 ** np.arange(13) / side).tolist()))
        axis.set_major_formatter(FuncFormatter(lambda share, _, side=side: f"{share * side:.0f}"))
    ax.set(xlabel=f"width, px of {width}", ylabel=f"height, px of {height}")
    ax.grid(alpha=0.25)
    _caption(ax, title, legend_columns=2)


def _draw_box_shapes(ax: Axes, inspection: Inspection, advice: Advice) -> None:
    sides, title = inspection.objects.sides.astype(np.float64), "box shapes, as the network sees them"
    if not len(sides):
        return _say(ax, title, "no object")
    input_height, input_width = inspection.input_shape
    octaves = np.log2(sides[:, 0] / sides[:, 1] * (input_height / input_width))
    limit = max(3.3, float(np.abs(octaves).max()) + 0.1)
    edges = np.linspace(-limit, limit, 61)
    for index, split in enumerate(inspection.splits):
        _steps(ax, octaves[inspection.in_split(split)], edges, index, split)
    for height, width in sorted(set(advice.given.settings.ratios)):
        line = ax.axvline(np.log2(height / width), color=VERMILION, linewidth=1.0, linestyle="--")
    line.set_label("anchors")
    for side in (-1, 1):
        span = ax.axvspan(side * np.log2(ELONGATED), side * limit, color=ORANGE, alpha=0.15, linewidth=0)
    span.set_label("elongated")
    ticks = np.arange(-int(limit), int(limit) + 1)
    ax.set_xticks(ticks, [f"{2**t}" if t >= 0 else f"1/{2**-t}" for t in ticks.tolist()])
    ax.set(xlim=(-limit, limit), ylim=(0, None), xlabel="height / width", ylabel="objects, %")
    _caption(ax, title, legend_columns=2)


def _draw_best_anchors(ax: Axes, coverage: Coverage, total: MatchCounts, threshold: float) -> None:
    iou, title = coverage.iou[np.isfinite(coverage.iou)], "the best anchor of each object"
    if not len(iou):
        return _say(ax, title, "no object")
    number, edges = np.histogram(iou, np.linspace(0, 1, 51))
    ax.stairs(number, edges, fill=True, color=BLUE, alpha=0.65, label=f"IoU {total.mean_iou:.2f} on average")
    share = total.unmatched / total.objects
    words = f"unmatched: {total.unmatched:,} objects ({share:.1%})"
    ax.axvspan(0, threshold, color=VERMILION, alpha=0.15, linewidth=0, label=words)
    ax.axvline(threshold, color=VERMILION, linewidth=1.2)
    ax.set(xlim=(0, 1), ylim=(0, None), xlabel="IoU", ylabel="objects")
    _whole_numbers(ax.yaxis)
    _caption(ax, title, legend_columns=1)


def _draw_unmatched(
    ax: Axes, inspection: Inspection, counts: Sequence[MatchCounts], shown: Sequence[int], threshold: float
) -> None:
    lost, shared = (
        np.array([100 * getattr(counts[label], field) / max(1, counts[label].objects) for label in shown])
        for field in ("unmatched", "lose_anchor")
    )
    place = np.arange(len(shown))
    bars = (
        (-0.2, lost, VERMILION, f"no anchor has an IoU above {threshold:g}"),
        (0.2, shared, "0.5", "best anchor goes to another object"),
    )
    for offset, share, color, label in bars:
        ax.barh(place + offset, share, 0.38, color=color, alpha=0.8, label=label)
        _numbers(ax, place + offset, share, [f"{value:.1f} %" for value in share], color)
    _class_axis(ax, inspection, shown)
    ax.set(xlabel="objects, %", xlim=(0, 1.18 * max(5.0, lost.max(initial=0), shared.max(initial=0))))
    _caption(ax, _with_rest("objects that anchors miss", inspection, shown), legend_columns=1)


def _draw_candidates(ax: Axes, inspection: Inspection, advice: Advice, objects: int, threshold: float) -> None:
    if not advice.fitted:
        return _say(ax, "anchors compared", "no object to fit any to")
    rows = name_candidates(inspection, advice)
    place = np.arange(len(rows))
    iou = np.array([candidate.mean_iou for _, candidate in rows])
    recall = np.array([1 - candidate.unmatched / objects for _, candidate in rows])
    bars = (
        (-0.2, iou, BLUE, "mean IoU of the best anchor"),
        (0.2, recall, GREEN, f"best recall at IoU {threshold:g}"),
    )
    for offset, values, color, label in bars:
        ax.barh(place + offset, values, 0.38, color=color, alpha=0.8, label=label)
        _numbers(ax, place + offset, values, [f"{value:.3f}" for value in values], color)
    names = [name.replace(", ", ",\n") + "\n(suggested)" * (candidate is advice.suggestion) for name, candidate in rows]
    ax.set_yticks(place, names, fontsize=FONT_SIZE)
    ax.set(xlim=(0, 1.18), ylim=(len(rows) - 0.4, -0.6), xticks=(0, 0.25, 0.5, 0.75, 1))
    ax.grid(axis="x", alpha=0.25)
    _caption(ax, "anchors compared", legend_columns=1)


def _draw_findings(ax: Axes, inspection: Inspection) -> None:
    split, found = inspection.images.split, inspection.suspicious
    across = sum(len(set(split[list(rows)].tolist())) > 1 for rows in inspection.same_pixels)
    numbers = {
        "tiny boxes": len(found["tiny"]),
        "elongated boxes": len(found["elongated"]),
        "whole-image boxes": len(found["whole image"]),
        "repeated boxes": len(found["repeated"]),
        "empty images": int((inspection.images.objects == 0).sum()),
        "same picture twice": len(inspection.same_pixels) - across,
        "same in two splits": across,
        "id in two splits": len(inspection.same_ids),
    }
    place, values = np.arange(len(numbers)), np.array(list(numbers.values()))
    colors = [VERMILION if "two splits" in name else ORANGE for name in numbers]
    ax.barh(place, values, 0.6, color=colors, alpha=0.8)
    _numbers(ax, place, values, [f"{value:,}" if value else "none" for value in values], "0.3")
    ax.set_yticks(place, list(numbers), fontsize=FONT_SIZE)
    ax.set(xlim=(0, 1.18 * max(1, values.max())), ylim=(len(numbers) - 0.4, -0.6), xticks=())
    ax.spines["bottom"].set_visible(False)
    _caption(ax, "to look at: inspection.json says where")


def _steps(ax: Axes, values: np.ndarray, edges: np.ndarray, split: int, label: str) -> None:
    """A histogram in per cent of the split."""
    share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
    color = _split_color(split)
    ax.stairs(share, edges, fill=True, color=color, alpha=0.2)
    ax.stairs(share, edges, color=color, linewidth=1.4, label=label)


def _numbers(ax: Axes, place: np.ndarray, ends: np.ndarray, words: Sequence[str], color: str) -> None:
    """Beside the ends of bars."""
    for y, end, word in zip(place.tolist(), ends.tolist(), words, strict=True):
        ax.annotate(word, (end, y), (3, 0), textcoords="offset points", va="center", fontsize=8, color=color)


def _caption(ax: Axes, title: str, *, legend_columns: int = 0) -> None:
    """Title and legend above the panel, where they cover nothing; a legend has two lines at most."""
    if legend_columns:
        handles, labels = ax.get_legend_handles_labels()
        legend = ax.legend(
            handles,
            [""] * len(handles),
            loc="lower left",
            bbox_to_anchor=(0, 1.01),
            ncols=legend_columns,
            frameon=False,
            fontsize=FONT_SIZE,
            borderaxespad=0,
            borderpad=0.3,
            columnspacing=1.2,
            labelspacing=0.3,
            handlelength=1.5,
        )
        write_labels(legend, labels)
    ax.set_title(title, fontsize=11, loc="left", pad=TITLE_PAD, parse_math=False)


def _class_axis(ax: Axes, inspection: Inspection, shown: Sequence[int]) -> None:
    """Names from top to bottom."""
    names = [drawable(one_line(inspection.class_names[label], most=MOST_LETTERS)) for label in shown]
    ax.set_yticks(np.arange(len(shown)), names, fontsize=FONT_SIZE, parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.25)


def _whole_numbers(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _split_color(index: int) -> str:
    return SPLIT_COLORS[index % len(SPLIT_COLORS)]


def _with_rest(title: str, inspection: Inspection, shown: Sequence[int]) -> str:
    count = len(inspection.class_names)
    return title if count <= len(shown) else f"{title} ({len(shown)} of {count})"


def _say(ax: Axes, title: str, words: str) -> None:
    ax.text(0.5, 0.5, words, ha="center", va="center", color="0.4", transform=ax.transAxes)
    ax.set(xticks=(), yticks=())
    _caption(ax, title)
