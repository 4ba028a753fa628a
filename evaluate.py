"""Score a detector, or detect objects on images.

    python evaluate.py RUN                       score the run's validation split
    python evaluate.py RUN --split test          score another split of the same data
    python evaluate.py RUN --data FOLDER         score other data with the run's classes, in any format of train.py
    python evaluate.py RUN --export              also write the detections for COCO's and VOC's own tools
    python evaluate.py RUN --images FILE...      draw detections on photographs, and write them as JSON
    python evaluate.py RUN --explain             draw anchors, matches, receptive fields and NMS on the run's images
    python evaluate.py NAME --images FILE...     detect with published weights, such as ssd300_vgg16_coco
    python evaluate.py NAME --data FOLDER        score published weights on any data that has some of their classes

RUN is a folder written by train.py. Scores and figures are written to it as well; those of NAME to runs/NAME.
"""

import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxssd.config import unset_is

if TYPE_CHECKING:
    from jaxssd.config import Config
    from jaxssd.data.dataset import Dataset
    from jaxssd.tasks.task import Task
    from jaxssd.training import Evaluation, RunFolder

    Results = tuple[Config, Task, str, Dataset, Evaluation]

OWN = unset_is("the detector's own")


@dataclass(frozen=True)
class Limits:
    """Non-maximum suppression (NMS), in place of the detector's own settings."""

    score_threshold: Annotated[float | None, OWN] = None
    """Score threshold: boxes below it are dropped before NMS."""
    nms: Annotated[Literal["hard", "soft"] | None, OWN] = None
    """Kind of NMS: `hard` removes boxes, `soft` lowers their scores (soft-NMS)."""
    iou_threshold: Annotated[float | None, OWN] = None
    """IoU threshold of NMS: above it, the box with the lower score is removed (`--nms hard`)."""
    soft_nms_sigma: Annotated[float | None, OWN] = None
    """Width of soft-NMS: scores fall by exp(-IoU^2 / width) (`--nms soft`)."""
    max_outputs: Annotated[int | None, OWN] = None
    """Maximum number of detections per image."""

    def given(self) -> dict[str, Any]:
        """Settings that were given on the command line."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Command:
    """Options of the command line."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, written by train.py, or name of a published detector."""
    split: Annotated[str | None, unset_is("`val`, or all images of other data without a `val`")] = None
    """Split to score."""
    data: Annotated[str, unset_is("the run's own")] = ""
    """Data set to score instead of the run's own, in any form that train.py takes."""
    data_images: Annotated[str | None, unset_is("found beside the annotations")] = None
    """Image folder of a COCO file given as --data."""
    export: bool = False
    """Write all detections as well: COCO results, and of a data set its ground truth and VOC's files."""
    images: Annotated[tuple[Path, ...], unset_is("score the split")] = ()
    """Images to detect objects on, instead of scoring: files, folders, quoted patterns or videos."""
    every: int = 1
    """Distance of the frames of a video that are used: 2 for every second one."""
    explain: bool = False
    """Draw anchors, matches, receptive fields and NMS instead of scoring the split (detection runs)."""
    out: Annotated[Path | None, unset_is("RUN or runs/NAME, and in it images-DATE-TIME for --images")] = None
    """Output folder."""
    threshold: Annotated[float | None, unset_is("0.3, or 0.4 for multi-label runs")] = None
    """Score threshold of --images, for drawing and JSON."""
    batch_size: Annotated[int | None, unset_is("the run's to score, else 8, but 1 for a RetinaNet on a CPU")] = None
    """Batch size: images that are computed at once."""
    checkpoint: Literal["best", "last"] = "best"
    """Checkpoint to load: the one with the best validation score, or the last one."""
    keep_compiled: bool = True
    """Keep compiled programs for the next run, in `.compiled` beside RUN."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = Limits()

    @property
    def of_run(self) -> bool:
        """True for the folder of a run, False for a published name or a mistake."""
        from jaxssd.models.published import PUBLISHED

        return self.run not in PUBLISHED and Path(self.run).is_dir()

    @property
    def home(self) -> Path:
        """Folder of the run, or the one for what is written about a published detector."""
        return Path(self.run) if self.of_run else Path("runs", self.run)


def main(arguments: list[str]) -> None:
    """Parse, restore, score or draw."""
    command = tyro.cli(Command, prog="evaluate.py", description=__doc__, args=arguments)
    if "--images" in arguments and not command.images:
        sys.exit("evaluate.py: --images names no file")
    if command.threshold is not None and not 0 <= command.threshold <= 1:
        sys.exit(f"evaluate.py: --threshold is {command.threshold}, expected a number between 0 and 1")
    for option, value in (("--batch-size", command.batch_size), ("--every", command.every)):
        if value is not None and value < 1:
            sys.exit(f"evaluate.py: {option} is {value}, expected 1 or more")
    from jaxssd.training import keep_compiled, signals_watched
    from jaxssd.training.distribution import distributed

    with signals_watched(), distributed("evaluate.py"):
        if command.keep_compiled:
            keep_compiled(command.home.resolve().parent)
        work(command)


def work(command: Command) -> None:
    """Score, detect or explain. All processes score a run; only the main process does the rest."""
    from jaxssd.atomic import free_space, is_full
    from jaxssd.training.distribution import is_main_process

    try:
        if not (command.images or command.explain) and (command.of_run or is_main_process()):
            score(command)
        elif is_main_process():
            (detect_images if command.images else explain)(command)
    except (OSError, ValueError) as error:
        path = Path(getattr(error, "filename", None) or command.home)
        sys.exit(f"evaluate.py: {error}" + (f" ({free_space(path)} free)" if is_full(error) else ""))


def score(command: Command) -> None:
    """Print the table of scores; write it as JSON, with figures."""
    from jaxssd.data.placement import in_image
    from jaxssd.metrics import coco_available
    from jaxssd.tools.export import export
    from jaxssd.training import draw_scores, write_scores
    from jaxssd.training.distribution import is_main_process

    config, task, split, dataset, result = (results_of_run if command.of_run else results_of_published)(command)
    print(f"\n{result.scores.table()}\n")
    if task.gives_detections and not coco_available():
        print('COCO\'s average precision as well: pip install -e ".[coco]"\n')

    if not is_main_process():
        return
    folder = command.out or command.home
    of_data = [Path(command.data).resolve().name] if command.data else []
    name = "-".join([*of_data, split, *(["last"] if command.checkpoint == "last" else [])])
    limits = {"nms": command.limits.given()} if command.limits.given() else {}
    about = {"checkpoint": command.checkpoint, "data": config.dataset.data, "split": split, **limits}
    write_scores(folder, result, name, about)
    print(f"numbers  {folder}/scores-{name}.json")
    if command.export:  # before the figures, which take their time
        export(
            folder / f"detections-{name}", config.dataset, dataset, in_image(result.results, dataset.placements), split
        )
    draw_scores(folder, task, dataset, result, name)
    print(f"figures  {folder / 'figures'}/{name}-*.png")


def results_of_run(command: Command) -> "Results":
    """Evaluate a run on its data or on other data."""
    from jaxssd.training import RunFolder, evaluate, make_validate, restore
    from jaxssd.training.distribution import data_mesh, is_main_process

    run = RunFolder(command.home)
    config, task, variables = restore(run, command.checkpoint, data_mesh())
    config, task = with_limits(command, config, task)
    config, split, dataset = load(command, config, run)
    result = evaluate(
        make_validate(task.apply, task.loss, task.postprocess),
        variables,
        dataset,
        partial(task.score, with_coco=True),
        batch_size=command.batch_size or config.optimizer.batch_size,
        progress=is_main_process(),
    )
    return config, task, split, dataset, result


def results_of_published(command: Command) -> "Results":
    """Evaluate published weights on data that has some of their classes, as they resize photographs."""
    import jaxssd
    from jaxssd.inference.loading import published_config
    from jaxssd.inference.scoring import detect_on_dataset, truth_config
    from jaxssd.training import Evaluation

    published_config(command.run)  # mistakes before a download
    if not command.data:
        raise ValueError(f"{command.run} has no data of its own: name a data set, --data DATA, or --images FILE...")
    detector = jaxssd.load(command.run, **command.limits.given())
    config, split, dataset = load(command, truth_config(detector.config), None)
    batch_size = command.batch_size or detector.batch_size
    task, results = detect_on_dataset(detector, config.dataset, dataset, batch_size=batch_size)
    return config, task, split, dataset, Evaluation(results, None, task.score(results, dataset, with_coco=True))


def with_limits(command: Command, config: "Config", task: "Task") -> tuple["Config", "Task"]:
    """Settings and task with the command's limits of NMS."""
    from jaxssd.tasks.task import make_task

    limits = command.limits.given()
    if (command.export or limits) and not task.gives_detections:
        option = "--export" if command.export else f"--{next(iter(limits)).replace('_', '-')}"
        raise ValueError(f"{option} needs a run with detections; the task of {command.run} is {config.task}")
    config = config.replace(**limits)
    return config, make_task(config) if limits else task


def explain(command: Command) -> None:
    """Draw the ideas of the lesson."""
    from jaxssd.tools.explain import idea_figures
    from jaxssd.training import RunFolder, restore
    from jaxssd.viz.style import save

    run = RunFolder(command.home)
    if not command.of_run:
        raise ValueError(f"--explain needs the folder of a run; {command.run} is none")
    config, task, variables = restore(run, command.checkpoint)
    if not task.has_anchors:
        sys.exit(f"evaluate.py: --explain needs a run with anchors; the task of {run} is {config.task}")
    config, task = with_limits(command, config, task)
    config, _, dataset = load(command, config, run)
    folder = (command.out or run.path / "figures") / "ideas"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in idea_figures(config, task, variables, dataset):
        save(figure, folder / f"{name}.png")
        print(folder / f"{name}.png")


def load(command: Command, config: "Config", run: "RunFolder | None") -> tuple["Config", str, "Dataset"]:
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
        config = config.replace(classes=classes_of_data(config, split, all_of_ours=run is not None))
    for line in notes_on_splits(config.dataset, "--split", split=split):
        print(line)
    dataset = load_split(config.dataset, split)
    stored_larger = split == "train" and config.dataset.stored_scale != 1  # the run has pinned the larger images
    if stored_larger and not command.data:
        print("train: the run stored larger images, so these are not compared with those that it trained on")
    elif run is not None and not command.data:
        run.require_same_data({split: dataset.fingerprint})
    print(f"{split}: {dataset.report.summary()}")
    for line in [*notes_on_classes(split, dataset), *notes_on_quality(split, dataset)]:
        print(line)
    return config, split, dataset


def classes_of_data(config: "Config", split: str, *, all_of_ours: bool) -> tuple[str, ...]:
    """Names of the detector's classes in other data; with `all_of_ours`, also of those that it lacks."""
    from jaxssd.data.class_filter import listing
    from jaxssd.data.load import known_classes
    from jaxssd.inference.scoring import match_classes

    ours, theirs = config.dataset.classes, known_classes(config.dataset, split)
    matched = match_classes(ours, theirs)
    if not matched:
        raise ValueError(
            f"{config.dataset.data} has none of the detector's classes: it has {listing(theirs)}, and the detector has "
            f"{listing(ours)}"
        )
    for name, other in matched.items():
        if name != other:
            print(f"class {name!r} is {other!r} in the data")
    return tuple(matched.get(name, name) for name in ours if all_of_ours or name in matched)


def detect_images(command: Command) -> None:
    """Detect objects on photographs; draw them and write them as JSON."""
    import jaxssd
    from jaxssd.data.photographs import find_photographs
    from jaxssd.tools import detect_images as tool
    from jaxssd.training.run_folder import new_folder

    files = find_photographs(command.images)  # a mistake before a download
    detector = jaxssd.load(command.run, checkpoint=command.checkpoint, **command.limits.given())
    with_limits(command, detector.config, detector.task)

    def make_folder() -> Path:
        if command.out is None:
            return new_folder(command.home / f"images-{datetime.now():%Y%m%d-%H%M%S}")
        command.out.mkdir(parents=True, exist_ok=True)
        return command.out

    failures = tool.detect_images(
        detector,
        files,
        make_folder,
        detector.task.shown_from if command.threshold is None else command.threshold,
        with_coco=command.export,
        batch_size=command.batch_size,
        every=command.every,
    )
    if failures:
        sys.exit("evaluate.py: could not read\n  " + "\n  ".join(failures))


if __name__ == "__main__":
    main(sys.argv[1:])
