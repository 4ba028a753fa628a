"""Inspection as JSON."""

import math
from typing import Any

from jaxssd.data.anchor_fit import Advice, Candidate
from jaxssd.tools.inspection.coverage import Coverage, MatchCounts, count_matches
from jaxssd.tools.inspection.inspection import SUSPICIOUS, Inspection, count_classes, distributions

Record = dict[str, Any]


def inspection_record(inspection: Inspection, coverage: Coverage, advice: Advice, threshold: float) -> Record:
    """Convert an inspection to JSON values, with every case. Numbers that JSON lacks become None.

    Args:
        inspection: inspection of a data set.
        coverage: coverage of its objects by the given anchors.
        advice: comparison with other anchors.
        threshold: IoU above which an anchor matches an object.
    """
    images = inspection.images
    counts = count_classes(inspection)
    matches = [_matches(line) for line in count_matches(inspection, coverage, threshold)]
    splits = {
        name: {
            "loading": inspection.loading[name].as_dict(),
            "images": int((images.split == index).sum()),
            "images_without_objects": int((images.objects[images.split == index] == 0).sum()),
            "objects": int(counts.objects[index].sum()),
            "difficult": int(counts.difficult[index].sum()),
        }
        for index, name in enumerate(inspection.splits)
    }
    classes = [
        {
            "name": name,
            **{
                split: {field: int(array[index, label]) for field, array in counts._asdict().items()}
                for index, split in enumerate(inspection.splits)
            },
            "matches": matches[label],
        }
        for label, name in enumerate(inspection.class_names)
    ]
    return {
        "image_size": list(inspection.input_shape),
        "match_threshold": threshold,
        "warnings": list(inspection.warnings),
        "splits": splits,
        "classes": classes,
        "matches": matches[-1],
        "distributions": distributions(inspection),
        "suspicious": {
            kind: {"meaning": SUSPICIOUS[kind], "boxes": [_box(inspection, row) for row in rows.tolist()]}
            for kind, rows in inspection.suspicious.items()
        },
        "same_ids": list(inspection.same_ids),
        "same_pixels": [[_place(inspection, row) for row in rows] for rows in inspection.same_pixels],
        "anchors": {
            "given": _candidate(advice.given),
            "given_at_twice_the_size": advice.finer and _candidate(advice.finer),
            "fitted": [_candidate(candidate) for candidate in advice.fitted],
            "suggestion": advice.suggestion and advice.suggestion.settings.options(),
        },
    }


def _matches(counts: MatchCounts) -> Record:
    return {**counts._asdict(), "mean_iou": _number(counts.mean_iou), "best_recall": _number(counts.best_recall)}


def _candidate(candidate: Candidate) -> Record:
    return {
        **dict(zip(("grids", "zooms", "ratios"), candidate.settings, strict=False)),
        "anchors": candidate.settings.num_anchors,
        "mean_iou": _number(candidate.mean_iou),
        "mean_shape_iou": _number(candidate.shape_iou),
        "unmatched": candidate.unmatched,
    }


def _place(inspection: Inspection, image: int) -> Record:
    return {"split": inspection.splits[inspection.images.split[image]], "id": inspection.images.ids[image]}


def _box(inspection: Inspection, row: int) -> Record:
    objects = inspection.objects
    return {
        **_place(inspection, int(objects.image[row])),
        "class": inspection.class_names[objects.labels[row]],
        "box": objects.boxes[row].tolist(),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
