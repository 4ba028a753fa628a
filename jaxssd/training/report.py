"""Report of a run: scores as JSON and CSV, and figures."""

import csv
import io
from pathlib import Path
from typing import Any

from jaxssd.atomic import write_json, write_text
from jaxssd.data.dataset import Dataset
from jaxssd.tasks.task import Task
from jaxssd.training.evaluation import Evaluation
from jaxssd.training.run_folder import RunFolder


def report_scores(
    folder: Path, task: Task, dataset: Dataset, result: Evaluation, name: str, about: dict[str, Any]
) -> None:
    """Write scores and draw figures: first `write_scores`, then `draw_scores`."""
    write_scores(folder, result, name, about)
    draw_scores(folder, task, dataset, result, name)


def write_scores(folder: Path, result: Evaluation, name: str, about: dict[str, Any]) -> None:
    """Write `scores-NAME.json`, and, if there are scores of each class, `scores-NAME.csv` with a line for each.

    Args:
        folder: folder for the files; made if it is missing.
        result: evaluation of a split.
        name: name of the split, for the names of the files.
        about: further entries of the JSON, such as the checkpoint and the data.
    """
    scores = result.scores.as_dict()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"scores-{name}.json", about | scores)
    if "classes" in scores:
        write_text(folder / f"scores-{name}.csv", _table_of_classes(scores))


def draw_scores(folder: Path, task: Task, dataset: Dataset, result: Evaluation, name: str) -> None:
    """Draw the task's figures into the folder `figures`.

    Args:
        folder: folder of the scores.
        task: task of the run.
        dataset: data set that was scored.
        result: its evaluation.
        name: name of the split, for the names of the files.
    """
    from jaxssd.viz.style import save  # matplotlib is imported with the first figure
    from jaxssd.viz.tasks import drawing_of

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for kind, figure in drawing_of(task).figures(task, result.results, result.scores, dataset).items():
        save(figure, figures / f"{name}-{kind}.png")


def _table_of_classes(scores: dict[str, Any]) -> str:
    """CSV with one line per class, COCO's columns after VOC's; cells of undefined scores are empty."""
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
    """Draw the curves of losses, learning rate and validation scores."""
    from jaxssd.viz.curves import training_curves  # matplotlib is imported with the first figure
    from jaxssd.viz.style import save
    from jaxssd.viz.tasks import drawing_of

    run.figures.mkdir(parents=True, exist_ok=True)
    figure = training_curves(run.rows("train"), run.rows("val"), drawing_of(task).curves)
    save(figure, run.figures / "training.png")
