"""Drawing of each task: figures of a data set, a picture of one photograph, and the curves of a run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxssd.data.dataset import Dataset
from jaxssd.ops import Detections
from jaxssd.tasks.task import Task
from jaxssd.viz import results as grids
from jaxssd.viz.curves import precision_recall

Figures = dict[str, Figure]


def draw_text(task: Task, photograph: np.ndarray, result: Any, threshold: float) -> Figure:
    """Write the records of `to_json` on a photograph."""
    rows = task.to_json(result, photograph.shape[:2], threshold)
    return grids.labelled_image(photograph, [f"{row.get('class', '')} {row.get('score', '')}" for row in rows])


class Drawing(NamedTuple):
    """Functions that draw one task. The defaults are for a task that has registered nothing.

    Attributes:
        curves: scores drawn over the run, `{panel: {key of the scores' summary: label}}`.
        figures: `(task, results, scores, dataset) -> {name: figure}`, results beside the ground truth.
        draw: `(task, photograph, result, threshold) -> figure`, one photograph at its own size with its result.
    """

    curves: Mapping[str, Mapping[str, str]] = {}
    figures: Callable[[Any, Any, Any, Dataset], Figures] = lambda *_: {}
    draw: Callable[[Any, np.ndarray, Any, float], Figure] = draw_text


def drawing_of(task: Task) -> Drawing:
    """Drawing registered for a task; the default one if there is none."""
    return DRAWINGS.get(task.name, Drawing())


def _detection_figures(task: Task, results: Detections, scores: Any, dataset: Dataset) -> Figures:
    """Detections beside the ground truth, and precision over recall."""
    truths, first = dataset.examples, slice(grids.GRID_IMAGES)
    return {
        "detections": grids.detection_grid(
            truths.images[first],
            Detections(*(array[first] for array in results)),
            (truths.boxes[first], truths.labels[first], truths.valid[first]),
            task.class_names,
            ids=dataset.ids[first],
        ),
        "precision-recall": precision_recall(scores.voc, task.class_names),
    }


def _draw_detections(task: Task, photograph: np.ndarray, result: Detections, threshold: float) -> Figure:
    """Boxes with class and score."""
    return grids.detection_image(photograph, result, task.class_names, score_threshold=threshold)


def _largest_figures(task: Task, results: Any, scores: Any, dataset: Dataset) -> Figures:
    """Box of the largest object beside the true one."""
    from jaxssd.tasks.largest import true_largest  # runs of other tasks do not need it

    truths, first = true_largest(dataset), slice(grids.GRID_IMAGES)
    shown = type(results)(*(array[first] for array in results))
    grid = grids.object_grid(
        dataset.examples.images[first],
        np.clip(shown.boxes, 0, 1),
        _captions(task, shown),
        np.asarray(truths.boxes[first]),
        [task.class_names[label] for label in truths.labels[first]],
        ids=dataset.ids[first],
    )
    return {"detections": grid}


def _draw_largest(task: Task, photograph: np.ndarray, result: Any, threshold: float) -> Figure:
    """The box with its caption, if `to_json` has it."""
    batch = type(result)(*(array[None] for array in result))
    shown = slice(len(task.to_json(result, (1, 1), threshold)))
    return grids.object_image(photograph, np.clip(batch.boxes[shown], 0, 1), _captions(task, batch)[shown])


def _captions(task: Task, results: Any) -> list[str]:
    """Most probable class of each box and its probability, where the results have probabilities."""
    if "probabilities" not in results._fields:
        return ["largest object"] * len(results.boxes)
    rows = zip(results.probabilities.argmax(axis=1), results.probabilities.max(axis=1), strict=True)
    return [f"{task.class_names[label]} {score:.2f}" for label, score in rows]


def _label_figures(task: Any, results: Any, scores: Any, dataset: Dataset) -> Figures:
    """Classes found in each image, and those missed."""
    first = slice(grids.GRID_IMAGES)
    grid = grids.label_grid(
        dataset.examples.images[first],
        results.probabilities[first],
        task.true_labels(dataset)[first],
        task.class_names,
        threshold=task.shown_from,
        ids=dataset.ids[first],
    )
    return {"labels": grid}


def _draw_labels(task: Task, photograph: np.ndarray, result: Any, threshold: float) -> Figure:
    """Class names written on the photograph."""
    rows = task.to_json(result, (1, 1), threshold)
    return grids.labelled_image(photograph, [f"{row['class']} {row['score']:.2f}" for row in rows])


_BOX_ERROR, _AREA = {"box error": {"box_error": "pixels"}}, {"map_area": "area", "map_voc07": "11-point"}

DRAWINGS: dict[str, Drawing] = {
    "detection": Drawing({"mAP": _AREA}, _detection_figures, _draw_detections),
    "largest_box": Drawing({**_BOX_ERROR, "IoU": {"iou": "IoU"}}, _largest_figures, _draw_largest),
    "largest_object": Drawing(
        {**_BOX_ERROR, "scores": {"iou": "IoU", "accuracy": "accuracy"}}, _largest_figures, _draw_largest
    ),
    "multilabel": Drawing(
        {"scores": {"accuracy": "accuracy", "map_area": "classification mAP"}}, _label_figures, _draw_labels
    ),
}
"""Drawing of each task by its name. Add yours: `DRAWINGS["mine"] = Drawing(...)`."""
