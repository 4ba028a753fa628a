"""An inspection as a record for JSON."""

import math
from typing import Any

import numpy as np

from jaxssd.tools.inspection.anchor_fit import Advice, Candidate
from jaxssd.tools.inspection.inspection import SUSPICIOUS, Coverage, Inspection, count_classes, distributions
from jaxssd.tools.inspection.text import count_reached

Record = dict[str, Any]


def inspection_record(inspection: Inspection, coverage: Coverage, advice: Advice, threshold: float) -> Record:
    """All that an inspection found, every case of it; numbers that JSON does not have become None.

    Args:
        inspection: of a data set.
        coverage: of its objects by the given anchors.
        advice: about other anchors.
        threshold: IoU above which an anchor reaches an object.

    Returns:
        Strings, numbers, lists and dictionaries only.
    """
    images, size = inspection.images, inspection.image_size
    counts = count_classes(inspection)
    reached = [
        {**line._asdict(), "mean_iou": _number(line.mean_iou)}
        for line in count_reached(inspection, coverage, threshold)
    ]
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
            "reach": reached[label],
        }
        for label, name in enumerate(inspection.class_names)
    ]
    clusters = advice.clusters
    members = np.bincount(clusters.label, minlength=len(clusters.sizes)).tolist()
    return {
        "image_size": size,
        "match_threshold": threshold,
        "doubts": list(inspection.doubts),
        "splits": splits,
        "classes": classes,
        "reach": reached[-1],
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
            "clusters": {
                "sizes": clusters.sizes.tolist(),
                "objects": members,
                "mean_shape_iou": _number(clusters.mean_iou),
            },
        },
    }


def _candidate(candidate: Candidate) -> Record:
    return {
        **candidate.settings._asdict(),
        "anchors": candidate.settings.num_anchors,
        "mean_iou": _number(candidate.mean_iou),
        "mean_shape_iou": _number(candidate.shape_iou),
        "out_of_reach": candidate.out_of_reach,
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
