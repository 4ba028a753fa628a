"""Detections of a published detector on a data set, whose classes are called by its own names."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxssd.config import Config, DatasetConfig
from jaxssd.data.dataset import Dataset
from jaxssd.inference.detector import LoadedDetector
from jaxssd.inference.inputs import Input
from jaxssd.models.coco_classes import common_name
from jaxssd.tasks.task import Task

TRUTH_SIDE = 300
"""Side of the images that a data set is loaded with: for figures alone, the detector reads the files."""


def match_classes(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Match the classes of a detector with those of a data set.

    Equal names match first, then names of equal meaning: in any case, with dashes or underscores for spaces, and VOC's
    words for COCO's.

    Args:
        ours: class names of the detector.
        theirs: class names of the data set.

    Returns:
        Name in the data set of each class that both have, by our name, in our order.

    Example:
        >>> match_classes(["person", "couch", "N/A 12"], ["sofa", "person", "boat"])
        {'person': 'person', 'couch': 'sofa'}
    """
    left = {common_name(name): name for name in reversed(theirs) if name not in ours}
    matched = {name: name if name in theirs else left.pop(common_name(name), None) for name in ours}
    return {name: other for name, other in matched.items() if other is not None}


def truth_config(config: Config) -> Config:
    """Settings to load the ground truth with: whole images of a small size."""
    return config.replace(image_size=TRUTH_SIDE, aspect="squash", stored_scale=1.0)


def dataset_inputs(config: DatasetConfig, dataset: Dataset) -> list[Input]:
    """Image files of a data set, turned as they were for its boxes.

    Args:
        config: settings that the data set was loaded with.
        dataset: the data set.
    """
    if config.data == "shapes":
        return [Input(image, name) for image, name in zip(dataset.examples.images, dataset.ids, strict=True)]
    from jaxssd.data.build import TURNED
    from jaxssd.data.formats.registry import open_source

    records, _ = open_source(config.data, config.images).records(dataset.ids, dataset.class_names)
    turned = {problem.file for problem in dataset.report.problems if problem.kind == TURNED}
    by_id = {record.id: record for record in records}
    if missing := [name for name in dataset.ids if name not in by_id]:
        raise ValueError(f"{config.data}: the annotation of {missing[0]} changed while it was read: start again")
    return [
        Input(record.image, record.image_name, upright=_is_upright(config, record, turned))
        for record in map(by_id.__getitem__, dataset.ids)
    ]


def _is_upright(config: DatasetConfig, record: Any, turned: set[str]) -> bool:
    return config.exif == "apply" or (config.exif == "auto" and (record.upright or record.image_name in turned))


def detect_on_dataset(
    detector: LoadedDetector, config: DatasetConfig, dataset: Dataset, *, batch_size: int, progress: bool = True
) -> tuple[Task, Any]:
    """Detect on all images of a data set, in their own sizes.

    Args:
        detector: detector with the classes of the data set under these names or matching ones.
        config: settings that the data set was loaded with.
        dataset: data set whose `placements` are whole images, see `truth_config`.
        batch_size: photographs that are computed at once.
        progress: if True, show a progress bar in a terminal.

    Returns:
        The detector's task with the data set's class names, and its detections as NumPy arrays `[N, D]`, without those
        of classes that the data set lacks.

    Raises:
        ValueError: if a file cannot be read any more, or has another size.
    """
    places = {name: place for place, name in enumerate(dataset.class_names)}
    matched = match_classes(detector.class_names, dataset.class_names)
    label_of = np.array([places.get(matched.get(name, ""), -1) for name in detector.class_names])
    results = []
    inputs = dataset_inputs(config, dataset)
    placed_images = detector.detect(inputs, batch_size=batch_size)
    bar = tqdm(placed_images, "detecting", len(inputs), unit=" images", disable=None if progress else True)
    for placed, size in zip(bar, dataset.sizes.tolist(), strict=True):
        found = detector.found(placed, 0.0)
        if list(found.size) != size:
            raise ValueError(f"{placed.photograph.name}: {found.size} pixels, and {size} when it was loaded")
        labels = label_of[found.result.labels]
        valid = found.result.valid & (labels >= 0)
        results.append(found.result._replace(labels=np.maximum(labels, 0).astype(np.int32), valid=valid))
    task = replace(detector.task, class_names=dataset.class_names)
    return task, jax.tree.map(lambda *rows: np.stack(rows), *results)
