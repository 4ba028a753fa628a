"""What is left of a run for people: a table, its numbers as JSON, and figures."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from jaxssd.atomic import write_json, write_text
from jaxssd.data.dataset import Dataset
from jaxssd.tasks.task import Task
from jaxssd.training.evaluation import Evaluation
from jaxssd.training.run_folder import RunFolder


def report_scores(
    folder: Path, task: Task, dataset: Dataset, result: Evaluation, name: str, about: dict[str, Any]
) -> None:
    """Write what `write_scores` writes, and draw what `draw_scores` draws.

    Args:
        folder: where they go, the figures into its folder `figures`.
        task: the run's.
        dataset: what was scored.
        result: its evaluation.
        name: of the split; part of the files' names.
        about: what else belongs to the scores: the checkpoint, the data.
    """
    write_scores(folder, result, name, about)
    draw_scores(folder, task, dataset, result, name)


def write_scores(folder: Path, result: Evaluation, name: str, about: dict[str, Any]) -> None:
    """Write `scores-NAME.json`, and, where classes have scores of their own, `scores-NAME.csv` with a line for each.

    Args:
        folder: where they go.
        result: the evaluation.
        name: of the split; part of the files' names.
        about: what else belongs to the scores: the checkpoint, the data.
    """
    scores = result.scores.as_dict()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"scores-{name}.json", about | scores)
    if "classes" in scores:
        write_text(folder / f"scores-{name}.csv", _table_of_classes(scores))


def draw_scores(folder: Path, task: Task, dataset: Dataset, result: Evaluation, name: str) -> None:
    """Draw the task's figures into the folder `figures`.

    Args:
        folder: of the scores.
        task: the run's.
        dataset: what was scored.
        result: its evaluation.
        name: of the split; part of the files' names.
    """
    from jaxssd.viz.style import save  # matplotlib is imported with the first figure
    from jaxssd.viz.tasks import drawing_of

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for kind, figure in drawing_of(task).figures(task, result.results, result.scores, dataset).items():
        save(figure, figures / f"{name}-{kind}.png")


def _table_of_classes(scores: dict[str, Any]) -> str:
    """A line for each class, COCO's columns behind VOC's; an empty cell where a score is undefined."""
    coco = scores.get("coco", {}).get("classes", {})
    rows = [
        {"class": name} | row | {f"coco_{column}": value for column, value in coco.get(name, {}).items()}
        for name, row in scores["classes"].items()
    ]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]) if rows else ["class"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def report_training(run: RunFolder, task: Task) -> None:
    """Draw the curves of losses, learning rate and validation scores so far."""
    from jaxssd.viz.curves import training_curves  # matplotlib is imported with the first figure
    from jaxssd.viz.style import save
    from jaxssd.viz.tasks import drawing_of

    run.figures.mkdir(parents=True, exist_ok=True)
    figure = training_curves(run.rows("train"), run.rows("val"), drawing_of(task).curves)
    save(figure, run.figures / "training.png")


def report_photograph(
    picture: Path, file: Path, photograph: np.ndarray, task: Task, result: Any, threshold: float
) -> dict[str, Any]:
    """Draw the result on a photograph at its own size.

    Args:
        picture: file to draw.
        file: the photograph's file.
        photograph: its pixels, uint8 `[H, W, 3]`.
        task: the run's.
        result: the task's, NumPy, of this image.
        threshold: the lowest score that counts.

    Returns:
        What was found, for JSON: boxes `[y1, x1, y2, x2]` in the photograph's pixels.
    """
    from jaxssd.viz.style import save  # matplotlib is imported with the first figure
    from jaxssd.viz.tasks import drawing_of

    save(drawing_of(task).draw(task, photograph, result, threshold), picture)
    height, width, _ = photograph.shape
    found = task.to_json(result, (height, width), threshold)
    return {"file": str(file), "picture": picture.name, "height": height, "width": width, "detections": found}
