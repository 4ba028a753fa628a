"""An inspection in words, for a screen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxssd.tools.inspection.anchor_fit import Advice, AnchorSettings, Candidate
from jaxssd.tools.inspection.inspection import QUANTILES, SUSPICIOUS, Coverage, Inspection, count_classes, distributions

FIRST = 3
"""Cases of a kind that are named; `inspection.json` has all."""

FEWER = 0.75
"""Share of the objects out of reach that must be left at twice the size, for that to be worth a line."""


class ReachCounts(NamedTuple):
    """What anchors do for a number of objects, of which difficult ones are left out.

    Attributes:
        objects: how many there are.
        out_of_reach: those whose best IoU is not above the matching threshold.
        lose_anchor: those whose best anchor goes to another object.
        mean_iou: mean of the best IoU; NaN without objects.
    """

    objects: int
    out_of_reach: int
    lose_anchor: int
    mean_iou: float


def count_reached(inspection: Inspection, coverage: Coverage, threshold: float) -> tuple[ReachCounts, ...]:
    """Sum coverage up.

    Args:
        inspection: of a data set.
        coverage: of its objects.
        threshold: IoU above which an anchor reaches an object.

    Returns:
        For each class, in the order of the labels, and last for all objects.
    """
    labels, asked = inspection.objects.labels, inspection.trained_on

    def count(mask: Bool[np.ndarray, " n"]) -> ReachCounts:
        iou = coverage.iou[mask]
        mean = float(iou.mean()) if len(iou) else math.nan
        return ReachCounts(len(iou), int((iou <= threshold).sum()), int(coverage.loses[mask].sum()), mean)

    return (*(count(asked & (labels == label)) for label in range(len(inspection.class_names))), count(asked))


def report_text(inspection: Inspection, coverage: Coverage, advice: Advice, threshold: float) -> str:
    """All that an inspection found, in sections.

    Args:
        inspection: of a data set.
        coverage: of its objects by the given anchors.
        advice: about other anchors.
        threshold: IoU above which an anchor reaches an object.

    Returns:
        Several lines, without an end of line at the end.
    """
    sections = [
        _loading(inspection),
        _classes(inspection),
        _distributions(inspection),
        _reach(inspection, coverage, advice.given.settings, threshold),
        _suspicious(inspection),
        _same(inspection),
        _anchors(inspection, advice, threshold),
    ]
    return "\n\n".join(sections)


def _loading(inspection: Inspection) -> str:
    lines = [_columns([[name, inspection.loading[name].summary()] for name in inspection.splits], left=2)]
    for name in inspection.splits:
        problems = [problem for problem in inspection.loading[name].problems if problem.action != "noted"]
        cases = [f"{problem.file} ({problem.kind})" for problem in problems]
        if cases:
            lines.append(f"  in {name}: {_some(cases, FIRST)}")
    lines += [f"  {line}" for line in inspection.doubts]
    return "\n".join(lines)


def _classes(inspection: Inspection) -> str:
    counts = count_classes(inspection)
    header = ["class"]
    for split in inspection.splits:
        header += [f"{split}: objects", "difficult", "images with it"]
    rows = [
        [
            name,
            *(
                f"{n:,}"
                for split in zip(*counts, strict=True)
                for n in (split[0][label], split[1][label], split[2][label])
            ),
        ]
        for label, name in enumerate(inspection.class_names)
    ]
    total = ["all"]
    for index in range(len(inspection.splits)):
        of_split = inspection.images.objects[inspection.images.split == index]
        total += [f"{n:,}" for n in (counts.objects[index].sum(), counts.difficult[index].sum(), (of_split > 0).sum())]
    absent = [
        f"no {name} in {split}"
        for split, row in zip(inspection.splits, counts.objects, strict=True)
        for name, n in zip(inspection.class_names, row, strict=True)
        if n == 0
    ]
    return "\n".join([_columns([header, *rows, total]), *(["  " + _some(absent, 8)] if absent else [])])


def _distributions(inspection: Inspection) -> str:
    rows = [["", *QUANTILES]]
    for name, values in distributions(inspection).items():
        rows.append(
            [name, *(_short(value) for value in values.values())] if values else [name, *["-"] * len(QUANTILES)]
        )
    return _columns(rows)


def _reach(inspection: Inspection, coverage: Coverage, anchors: AnchorSettings, threshold: float) -> str:
    counts = count_reached(inspection, coverage, threshold)
    title = (
        f"reach of {anchors.num_anchors:,} anchors ({anchors.options()}), all splits, without difficult objects\n"
        f"  out of reach: no anchor has an IoU above {threshold:g}, and one that fits badly is forced upon it\n"
        "  shared: its best anchor fits another object of the image better, and it must take the next one"
    )
    rows = [["class", "objects", "out of reach", "", "shared", "", "mean best IoU"]]
    for name, line in zip((*inspection.class_names, "all"), counts, strict=True):
        parts = [word for number in line[1:3] for word in (f"{number:,}", _percent(number, line.objects))]
        rows.append([name, f"{line.objects:,}", *parts, _iou(line.mean_iou)])
    return f"{title}\n{_columns(rows)}"


def _suspicious(inspection: Inspection) -> str:
    rows = []
    for kind, meaning in SUSPICIOUS.items():
        found = inspection.suspicious[kind]
        rows.append([f"{len(found):,}", kind, meaning])
        rows += [["", "", "  " + _describe(inspection, row)] for row in found[:FIRST].tolist()]
        if len(found) > FIRST:
            rows.append(["", "", f"  and {len(found) - FIRST:,} more"])
    return f"boxes to look at\n{_columns(rows, left=3, first_right=True)}"


def _same(inspection: Inspection) -> str:
    names, splits = inspection.images.ids, inspection.images.split
    groups = [[f"{inspection.splits[splits[row]]} {names[row]}" for row in rows] for rows in inspection.same_pixels]
    across = [len({splits[row] for row in rows}) > 1 for rows in inspection.same_pixels]
    kinds = {
        "names that are in more than one split": list(inspection.same_ids),
        "pictures that are in more than one split": [
            " = ".join(g) for g, wide in zip(groups, across, strict=True) if wide
        ],
        "pictures that are in one split more than once": [
            " = ".join(g) for g, wide in zip(groups, across, strict=True) if not wide
        ],
    }
    rows = []
    for meaning, found in kinds.items():
        rows.append([f"{len(found):,}", meaning])
        rows += [["", "  " + words] for words in found[:FIRST]]
        if len(found) > FIRST:
            rows.append(["", f"  and {len(found) - FIRST:,} more"])
    size = inspection.image_size
    return f"the same twice (pixels are compared at {size} x {size})\n{_columns(rows, left=2, first_right=True)}"


def _anchors(inspection: Inspection, advice: Advice, threshold: float) -> str:
    clusters, size, total = advice.clusters, inspection.image_size, int(inspection.trained_on.sum())
    if not advice.fitted:
        return "anchors: no object to fit any to"
    rows = [["height", "width", f"px of {size}", "objects"]]
    counts = np.bincount(clusters.label, minlength=len(clusters.sizes))
    for (height, width), count in zip(clusters.sizes.tolist(), counts.tolist(), strict=True):
        rows.append([f"{height:.3f}", f"{width:.3f}", f"{height * size:.1f} x {width * size:.1f}", f"{count:,}"])
    table = [["anchors", "number", "mean best IoU", "shape alone", "out of reach", ""]]
    for name, candidate in name_candidates(inspection, advice):
        cells = [f"{candidate.settings.num_anchors:,}", _iou(candidate.mean_iou), _iou(candidate.shape_iou)]
        table.append([name, *cells, f"{candidate.out_of_reach:,}", _percent(candidate.out_of_reach, total)])
    table.append([f"{len(clusters.sizes)} free shapes", "", "", _iou(clusters.mean_iou), "", ""])
    lines = [
        f"shapes of the objects in {inspection.splits[0]}: k-means by IoU with a common centre",
        _columns(rows, first_right=True),
        "",
        "anchors judged on all splits, some with zooms and ratios fitted to train; `shape alone`: with centres aligned",
        _columns(table),
        *_larger_input(inspection, advice),
        "",
    ]
    return "\n".join([*lines, _verdict(advice, threshold)])


def name_candidates(inspection: Inspection, advice: Advice) -> list[tuple[str, Candidate]]:
    """All anchors that were judged, with a few words for each."""
    named = [("as they are", advice.given)]
    for candidate in advice.fitted:
        grids = candidate.settings.grids
        same = grids == advice.given.settings.grids
        named.append(("fitted" if same else f"fitted, grids {' '.join(map(str, grids))}", candidate))
    if advice.finer is not None:
        named.append((f"as they are, at {2 * inspection.image_size} px", advice.finer))
    return named


def _larger_input(inspection: Inspection, advice: Advice) -> list[str]:
    """Where the objects are small, no anchors do what more pixels would."""
    if advice.finer is None or advice.finer.out_of_reach >= FEWER * advice.given.out_of_reach:
        return []
    size, grids = 2 * inspection.image_size, " ".join(map(str, advice.finer.settings.grids))
    return [f"  small objects? look at the same with --image-size {size} --grids {grids}, at four times the cost"]


def _verdict(advice: Advice, threshold: float) -> str:
    chosen = advice.suggestion
    if chosen is None:
        return "the anchors suit these objects: nothing that was fitted is clearly better"
    gain = f"mean best IoU {_iou(advice.given.mean_iou)} -> {_iou(chosen.mean_iou)}"
    lost = f"out of reach {advice.given.out_of_reach:,} -> {chosen.out_of_reach:,}"
    return (
        f"suggested: {gain}, {lost}, at {threshold:g}\n"
        "  (overlap is where learning starts; which anchors detect better, only a training run with each can tell)\n"
        f"  {chosen.settings.options()}"
    )


def _describe(inspection: Inspection, row: int) -> str:
    """Where an object is, and how large."""
    objects, images = inspection.objects, inspection.images
    image = objects.image[row]
    height, width = (objects.sides[row] * inspection.image_size).tolist()
    where = f"{inspection.splits[images.split[image]]} {images.ids[image]}"
    return f"{where}: {inspection.class_names[objects.labels[row]]}, {height:.1f} x {width:.1f} px (height x width)"


def _columns(rows: Sequence[Sequence[str]], *, left: int = 1, first_right: bool = False) -> str:
    """Cells in columns two spaces apart, the first `left` of them flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def align(cell: str, width: int, place: int) -> str:
        flush_left = place < left and not (first_right and place == 0)
        return cell.ljust(width) if flush_left else cell.rjust(width)

    lines = ["  ".join(align(*cell, place) for place, cell in enumerate(zip(row, widths, strict=True))) for row in rows]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _some(words: Sequence[str], count: int) -> str:
    rest = [f"and {len(words) - count:,} more"] if len(words) > count else []
    return ", ".join([*words[:count], *rest])


def _short(value: float) -> str:
    """Whole numbers as they are, others to three digits."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _iou(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
