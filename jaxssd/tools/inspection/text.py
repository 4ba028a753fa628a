"""Inspection as text for a terminal."""

import io
import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxssd.data.anchor_fit import Advice, AnchorSettings, Candidate
from jaxssd.ops.arrays import as_pair
from jaxssd.tools.inspection.coverage import Coverage, count_matches
from jaxssd.tools.inspection.inspection import QUANTILES, SUSPICIOUS, Inspection, count_classes, distributions

FIRST = 3
"""Number of cases of a kind that are named; `inspection.json` has all."""

FEWER = 0.75
"""Share of unmatched objects that may be left at twice the image size for a hint at a larger input."""


def report_text(inspection: Inspection, coverage: Coverage, advice: Advice, threshold: float) -> str:
    """Write an inspection as text, in sections.

    Args:
        inspection: inspection of a data set.
        coverage: coverage of its objects by the given anchors.
        advice: comparison with other anchors.
        threshold: IoU above which an anchor matches an object.

    Returns:
        Several lines, without a line end at the end.
    """
    sections = [
        _loading(inspection),
        _classes(inspection),
        _distributions(inspection),
        _matches(inspection, coverage, advice.given.settings, threshold),
        _suspicious(inspection),
        _same(inspection),
        _anchors(inspection, advice, threshold),
    ]
    return "\n\n".join(sections)


def name_candidates(inspection: Inspection, advice: Advice) -> list[tuple[str, Candidate]]:
    """All anchors that were compared, with a short name for each."""
    named = [("as they are", advice.given)]
    for candidate in advice.fitted:
        same = candidate.settings.grids == advice.given.settings.grids
        named.append(("fitted" if same else f"fitted, grids {_grids(candidate.settings)}", candidate))
    if advice.finer is not None:
        size = " x ".join(_twice(inspection).split())
        named.append((f"as they are, at {size} px", advice.finer))
    return named


def _loading(inspection: Inspection) -> str:
    lines = [_table([[name, inspection.loading[name].summary()] for name in inspection.splits], "ll")]
    for name in inspection.splits:
        problems = [problem for problem in inspection.loading[name].problems if problem.action != "noted"]
        cases = [f"{problem.file} ({problem.kind})" for problem in problems]
        if cases:
            lines.append(f"  in {name}: {_some(cases, FIRST)}")
    lines += [f"  {line}" for line in inspection.warnings]
    return "\n".join(lines)


def _classes(inspection: Inspection) -> str:
    counts, num_splits = count_classes(inspection), len(inspection.splits)
    header = ["class"]
    for split in inspection.splits:
        header += [f"{split}: objects", "difficult", "images with it"]
    rows = [
        [name, *(f"{array[index, label]:,}" for index in range(num_splits) for array in counts)]
        for label, name in enumerate(inspection.class_names)
    ]
    total = ["all"]
    for index in range(num_splits):
        of_split = inspection.images.objects[inspection.images.split == index]
        total += [f"{n:,}" for n in (counts.objects[index].sum(), counts.difficult[index].sum(), (of_split > 0).sum())]
    absent = [
        f"no {name} in {split}"
        for split, row in zip(inspection.splits, counts.objects, strict=True)
        for name, n in zip(inspection.class_names, row, strict=True)
        if n == 0
    ]
    return "\n".join([_table([header, *rows, total]), *(["  " + _some(absent, 8)] if absent else [])])


def _distributions(inspection: Inspection) -> str:
    rows = [["", *QUANTILES]]
    for name, values in distributions(inspection).items():
        rows.append([name, *(map(_short, values.values()) if values else ["-"] * len(QUANTILES))])
    return _table(rows)


def _matches(inspection: Inspection, coverage: Coverage, anchors: AnchorSettings, threshold: float) -> str:
    counts = count_matches(inspection, coverage, threshold)
    title = (
        f"best possible recall with {anchors.num_anchors:,} anchors ({anchors.options()}), all splits, without "
        "difficult objects\n"
        f"  unmatched: no anchor has an IoU above {threshold:g}, so the object gets only what fits badly\n"
        "  shared: the best anchor overlaps another object of the image more, so the object gets the next one"
    )
    rows = [["class", "objects", "best recall", "unmatched", "", "shared", "", "mean best IoU"]]
    for name, line in zip((*inspection.class_names, "all"), counts, strict=True):
        parts = [word for number in line[1:3] for word in (f"{number:,}", _percent(number, line.objects))]
        recall = _percent(line.objects - line.unmatched, line.objects)
        rows.append([name, f"{line.objects:,}", recall, *parts, _iou(line.mean_iou)])
    return f"{title}\n{_table(rows)}"


def _suspicious(inspection: Inspection) -> str:
    rows = []
    for kind, meaning in SUSPICIOUS.items():
        found = inspection.suspicious[kind]
        rows.append([f"{len(found):,}", kind, meaning])
        rows += [["", "", "  " + _describe(inspection, row)] for row in found[:FIRST].tolist()]
        if len(found) > FIRST:
            rows.append(["", "", f"  and {len(found) - FIRST:,} more"])
    return f"boxes to look at\n{_table(rows, 'rll')}"


def _same(inspection: Inspection) -> str:
    names, splits = inspection.images.ids, inspection.images.split
    within: list[str] = []
    across: list[str] = []
    for rows in inspection.same_pixels:
        group = " = ".join(f"{inspection.splits[splits[row]]} {names[row]}" for row in rows)
        (across if len({splits[row] for row in rows}) > 1 else within).append(group)
    kinds = {
        "names that are in more than one split": list(inspection.same_ids),
        "pictures that are in more than one split": across,
        "pictures that are in one split more than once": within,
    }
    lines = []
    for meaning, found in kinds.items():
        lines.append([f"{len(found):,}", meaning])
        lines += [["", "  " + words] for words in found[:FIRST]]
        if len(found) > FIRST:
            lines.append(["", f"  and {len(found) - FIRST:,} more"])
    height, width = inspection.input_shape
    return f"duplicates (pixels are compared at {height} x {width})\n{_table(lines, 'rl')}"


def _anchors(inspection: Inspection, advice: Advice, threshold: float) -> str:
    if not advice.fitted:
        return "anchors: there is no object to fit any to"
    total = int(inspection.trained_on.sum())
    rows = [["anchors", "number", "mean best IoU", "shape alone", "unmatched", ""]]
    for name, candidate in name_candidates(inspection, advice):
        cells = [f"{candidate.settings.num_anchors:,}", _iou(candidate.mean_iou), _iou(candidate.shape_iou)]
        rows.append([name, *cells, f"{candidate.unmatched:,}", _percent(candidate.unmatched, total)])
    lines = [
        "anchors on all splits, given and fitted to train; `shape alone`: IoU with centers aligned",
        _table(rows),
        *_larger_input(inspection, advice),
        "",
    ]
    return "\n".join([*lines, _verdict(advice, threshold)])


def _larger_input(inspection: Inspection, advice: Advice) -> list[str]:
    """Hint at a larger input size, if it leaves clearly fewer objects unmatched."""
    if advice.finer is None or advice.finer.unmatched >= FEWER * advice.given.unmatched:
        return []
    grids = "" if advice.finer.settings.levels_decide else f" --grids {_grids(advice.finer.settings)}"
    return [f"  small objects? inspect again with --image-size {_twice(inspection)}{grids}, at four times the cost"]


def _twice(inspection: Inspection) -> str:
    """Input size of twice the height and width, as on the command line."""
    height, width = inspection.input_shape
    return f"{2 * height}" if height == width else f"{2 * height} {2 * width}"


def _grids(settings: AnchorSettings) -> str:
    """Grids as on the command line: the longer side of each."""
    return " ".join(str(max(as_pair(grid))) for grid in settings.grids)


def _verdict(advice: Advice, threshold: float) -> str:
    chosen = advice.suggestion
    if chosen is None:
        return "the anchors suit these objects: no fitted anchors are clearly better"
    gain = f"mean best IoU {_iou(advice.given.mean_iou)} -> {_iou(chosen.mean_iou)}"
    lost = f"unmatched {advice.given.unmatched:,} -> {chosen.unmatched:,}"
    return (
        f"suggested: {gain}, {lost}, at {threshold:g}\n"
        "  (a better overlap helps at the start of training; compare the mAP of a run with each)\n"
        f"  {chosen.settings.options()}"
    )


def _describe(inspection: Inspection, row: int) -> str:
    """Place and size of an object."""
    objects, images = inspection.objects, inspection.images
    image = objects.image[row]
    height, width = (objects.sides[row] * np.array(inspection.input_shape, np.float32)).tolist()
    where = f"{inspection.splits[images.split[image]]} {images.ids[image]}"
    return f"{where}: {inspection.class_names[objects.labels[row]]}, {height:.1f} x {width:.1f} px (height x width)"


def _table(rows: Sequence[Sequence[str]], justify: str = "l") -> str:
    """Rows in columns, indented by two. `justify` has l or r for each column; further columns are right-justified."""
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    for side in justify.ljust(len(rows[0]), "r"):
        table.add_column(justify="left" if side == "l" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # names are not markup
    out = io.StringIO()
    Console(file=out, width=100_000, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _some(words: Sequence[str], count: int) -> str:
    rest = [f"and {len(words) - count:,} more"] if len(words) > count else []
    return ", ".join([*words[:count], *rest])


def _short(value: float) -> str:
    """Whole numbers in full, others with three digits."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _iou(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
