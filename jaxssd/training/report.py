"""What is left of a run for people: a table, its numbers as JSON, and figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxssd import plots
from jaxssd.data.dataset import Dataset
from jaxssd.ops import Detections
from jaxssd.training.evaluation import Evaluation
from jaxssd.training.run_folder import RunFolder

GRID_IMAGES = 16


def report_scores(folder: Path, dataset: Dataset, result: Evaluation, name: str, about: dict[str, Any]) -> None:
    """Write `scores-NAME.json`, and figures of detections and of precision and recall.

    Args:
        folder: where they go, the figures into its folder `figures`.
        dataset: what was scored.
        result: its evaluation.
        name: of the split; part of the files' names.
        about: what else belongs to the scores: the checkpoint, the data.
    """
    truths, names = dataset.examples, dataset.class_names
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    scores = about | result.scores.as_dict(names)
    (folder / f"scores-{name}.json").write_text(json.dumps(scores, indent=2) + "\n")
    first = slice(GRID_IMAGES)
    grid = plots.detection_grid(
        truths.images[first],
        Detections(*(array[first] for array in result.detections)),
        (truths.boxes[first], truths.labels[first], truths.valid[first]),
        names,
        ids=dataset.ids[first],
    )
    plots.save(grid, figures / f"{name}-detections.png")
    plots.save(plots.precision_recall(result.scores, names), figures / f"{name}-precision-recall.png")


def report_training(run: RunFolder) -> None:
    """Draw the curves of losses, learning rate and validation mAP so far."""
    run.figures.mkdir(parents=True, exist_ok=True)
    plots.save(plots.training_curves(run.rows("train"), run.rows("val")), run.figures / "training.png")


def report_photograph(
    picture: Path, file: Path, photograph: np.ndarray, found: Detections, class_names: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Draw the detections on a photograph at its own size.

    Args:
        picture: file to draw.
        file: the photograph's file.
        photograph: its pixels, uint8 `[H, W, 3]`.
        found: its detections, NumPy `[D]`.
        class_names: name of each label.
        threshold: the lowest score that counts.

    Returns:
        What was found, for JSON: boxes `[y1, x1, y2, x2]` in the photograph's pixels.
    """
    figure = plots.detection_image(photograph, found, class_names, score_threshold=threshold)
    plots.save(figure, picture)
    height, width, _ = photograph.shape
    shown = found.valid & (found.scores >= threshold)
    return {
        "file": str(file),
        "picture": picture.name,
        "height": height,
        "width": width,
        "detections": [
            {"class": class_names[label], "score": round(float(score), 4), "box": [round(float(x), 1) for x in box]}
            for label, score, box in zip(
                found.labels[shown],
                found.scores[shown],
                found.boxes[shown] * np.array([height, width, height, width]),
                strict=True,
            )
        ],
    }
