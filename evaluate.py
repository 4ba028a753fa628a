"""Score a run, or detect objects on images.

    python evaluate.py RUN                       score the run's validation split
    python evaluate.py RUN --split test          score another split of the same data
    python evaluate.py RUN --data FOLDER         score other data with the run's classes, in any format of train.py
    python evaluate.py RUN --export              also write the detections for COCO's and VOC's own tools
    python evaluate.py RUN --images FILE...      draw detections on photographs, and write them as JSON
    python evaluate.py RUN --explain             draw anchors, matches, receptive fields and NMS on the run's images

RUN is a folder written by train.py. Scores and figures are written to it as well.
"""

import sys
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxssd.config import unset_is

if TYPE_CHECKING:
    from jaxssd.config import Config
    from jaxssd.data.dataset import Dataset
    from jaxssd.training import RunFolder


@dataclass(frozen=True)
class Command:
    """Options of the command line."""

    run: tyro.conf.Positional[Path]
    """Folder of a run, written by train.py."""
    split: Annotated[str | None, unset_is("`val`, or all images of other data without a `val`")] = None
    """Split to score."""
    data: Annotated[str, unset_is("the run's own")] = ""
    """Data set to score instead of the run's own, in any form that train.py takes."""
    data_images: Annotated[str | None, unset_is("found beside the annotations")] = None
    """Image folder of a COCO file given as --data."""
    export: bool = False
    """Write all detections as well: COCO results with their ground truth, and VOC's comp4 files."""
    images: Annotated[tuple[Path, ...], unset_is("score the split")] = ()
    """Images to detect objects on, instead of scoring: files, folders or quoted patterns."""
    explain: bool = False
    """Draw anchors, matches, receptive fields and NMS instead of scoring the split (detection runs)."""
    out: Annotated[Path | None, unset_is("RUN, or a new RUN/images-DATE-TIME for --images")] = None
    """Output folder."""
    threshold: Annotated[float | None, unset_is("0.3, or 0.4 for multi-label runs")] = None
    """Score threshold of --images, for drawing and JSON."""
    checkpoint: Literal["best", "last"] = "best"
    """Checkpoint to load: the one with the best validation score, or the last one."""
    keep_compiled: bool = True
    """Keep compiled programs for the next run, in `.compiled` beside RUN."""


def main(arguments: list[str]) -> None:
    """Parse, restore, score or draw."""
    command = tyro.cli(Command, prog="evaluate.py", description=__doc__, args=arguments)
    if "--images" in arguments and not command.images:
        sys.exit("evaluate.py: --images names no file")
    if command.threshold is not None and not 0 <= command.threshold <= 1:
        sys.exit(f"evaluate.py: --threshold is {command.threshold}, expected a number between 0 and 1")
    from jaxssd.training import keep_compiled, signals_watched
    from jaxssd.training.distribution import distributed

    with signals_watched(), distributed("evaluate.py"):
        if command.keep_compiled:
            keep_compiled(command.run.resolve().parent)
        work(command)


def work(command: Command) -> None:
    """Score, detect or explain. All processes score; only the main process draws."""
    from jaxssd.atomic import free_space, is_full
    from jaxssd.training.distribution import is_main_process

    try:
        if not (command.images or command.explain):
            score(command)
        elif is_main_process():
            (detect_images if command.images else explain)(command)
    except (OSError, ValueError) as error:
        path = Path(getattr(error, "filename", None) or command.run)
        sys.exit(f"evaluate.py: {error}" + (f" ({free_space(path)} free)" if is_full(error) else ""))


def score(command: Command) -> None:
    """Print the table of scores; write it as JSON, with figures."""
    from jaxssd.data.placement import in_image
    from jaxssd.metrics import coco_available
    from jaxssd.tools.export import export
    from jaxssd.training import RunFolder, draw_scores, evaluate, make_validate, restore, write_scores
    from jaxssd.training.distribution import data_mesh, is_main_process

    run = RunFolder(command.run)
    config, task, variables = restore(run, command.checkpoint, data_mesh())
    if command.export and not task.gives_detections:
        sys.exit(f"evaluate.py: --export needs a run with detections; the task of {run} is {config.task}")
    config, split, dataset = load(command, config, run)
    result = evaluate(
        make_validate(task.apply, task.loss, task.postprocess),
        variables,
        dataset,
        partial(task.score, with_coco=True),
        batch_size=config.optimizer.batch_size,
        progress=is_main_process(),
    )
    print(f"\n{result.scores.table()}\n")
    if task.gives_detections and not coco_available():
        print('COCO\'s average precision as well: pip install -e ".[coco]"\n')

    if not is_main_process():
        return
    folder = command.out or run.path
    of_data = [Path(command.data).resolve().name] if command.data else []
    name = "-".join([*of_data, split, *(["last"] if command.checkpoint == "last" else [])])
    about = {"checkpoint": command.checkpoint, "data": config.dataset.data, "split": split}
    write_scores(folder, result, name, about)
    print(f"numbers  {folder}/scores-{name}.json")
    if command.export:  # before the figures, which take their time
        export(
            folder / f"detections-{name}", config.dataset, dataset, in_image(result.results, dataset.placements), split
        )
    draw_scores(folder, task, dataset, result, name)
    print(f"figures  {folder / 'figures'}/{name}-*.png")


def explain(command: Command) -> None:
    """Draw the ideas of the lesson."""
    from jaxssd.tools.explain import idea_figures
    from jaxssd.training import RunFolder, restore
    from jaxssd.viz.style import save

    run = RunFolder(command.run)
    config, task, variables = restore(run, command.checkpoint)
    if not task.has_anchors:
        sys.exit(f"evaluate.py: --explain needs a run with anchors; the task of {run} is {config.task}")
    config, _, dataset = load(command, config, run)
    folder = (command.out or run.path / "figures") / "ideas"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in idea_figures(config, task, variables, dataset):
        save(figure, folder / f"{name}.png")
        print(folder / f"{name}.png")


def load(command: Command, config: "Config", run: "RunFolder") -> tuple["Config", str, "Dataset"]:
    """Return the settings with the data to score, the name of the split, and the split."""
    from jaxssd.data.class_filter import notes_on_classes
    from jaxssd.data.load import default_split, load_split, notes_on_splits
    from jaxssd.data.quality import notes_on_quality

    if command.data_images is not None and not command.data:
        raise ValueError("--data-images goes with --data: name the data set as well")
    split = command.split or "val"
    if command.data:
        config = config.replace(data=command.data, images=command.data_images, train_split=None, val_split=None)
        split = command.split or default_split(config.dataset)
    for line in notes_on_splits(config.dataset, "--split", split=split):
        print(line)
    dataset = load_split(config.dataset, split)
    stored_larger = split == "train" and config.dataset.stored_scale != 1  # the run has pinned the larger images
    if stored_larger and not command.data:
        print("train: the run stored larger images, so these are not compared with those that it trained on")
    elif not command.data:
        run.require_same_data({split: dataset.fingerprint})
    print(f"{split}: {dataset.report.summary()}")
    for line in [*notes_on_classes(split, dataset), *notes_on_quality(split, dataset)]:
        print(line)
    return config, split, dataset


def detect_images(command: Command) -> None:
    """Detect objects on images; draw them and write them as JSON."""
    import jax
    import numpy as np
    from tqdm import tqdm

    from jaxssd.atomic import write_json
    from jaxssd.data.image_limits import UnreadableImage
    from jaxssd.data.images import decode_photograph
    from jaxssd.data.photographs import find_photographs
    from jaxssd.data.placement import in_image, place_images
    from jaxssd.training import RunFolder, make_predict, map_batches, report_photograph, restore
    from jaxssd.training.run_folder import new_folder

    run = RunFolder(command.run)
    config, task, variables = restore(run, command.checkpoint)
    folder = command.out
    predict = make_predict(task.apply, task.postprocess)
    rows: list[dict] = []
    failures: list[str] = []
    for file in tqdm(find_photographs(command.images), "detecting", unit=" images", disable=None):
        try:
            image, photograph = decode_photograph(file, config.dataset.input_shape, config.dataset.aspect)
        except UnreadableImage as error:
            failures.append(f"{file}: {error}")
            continue
        results = map_batches(predict, variables, image[None], batch_size=1)
        placement = place_images(np.array(photograph.shape[:2]), config.dataset.input_shape, config.dataset.aspect)
        result = in_image(jax.tree.map(lambda array: array[0], results), placement)
        if folder is None:
            folder = new_folder(run.path / f"images-{datetime.now():%Y%m%d-%H%M%S}")
        picture = folder / f"{len(rows):04d}-{file.stem}.png"  # numbered: files of two folders may share a name
        threshold = task.shown_from if command.threshold is None else command.threshold
        folder.mkdir(parents=True, exist_ok=True)
        rows.append(report_photograph(picture, file, photograph, task, result, threshold))
    if folder is not None and rows:
        write_json(folder / "detections.json", rows)
        print(
            f"{sum(len(row['detections']) for row in rows)} found in {len(rows)} images; pictures and JSON in {folder}"
        )
    if failures:
        sys.exit("evaluate.py: could not read\n  " + "\n  ".join(failures))


if __name__ == "__main__":
    main(sys.argv[1:])
