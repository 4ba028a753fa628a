"""Job of `train.py`: read the data, train, score the best checkpoint, draw."""

import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from jaxssd.config import Config, DatasetConfig
from jaxssd.data.class_filter import notes_on_classes
from jaxssd.data.dataset import Dataset
from jaxssd.data.load import NAMES, count_images, load_split, notes_on_splits, with_classes
from jaxssd.data.quality import notes_on_quality, why_untrainable
from jaxssd.models import HEADS
from jaxssd.tasks import TASKS
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.distribution import all_min, barrier, broadcast, data_mesh, describe, is_main_process
from jaxssd.training.epochs import whole_batch
from jaxssd.training.evaluation import evaluate
from jaxssd.training.loader import has_room
from jaxssd.training.loop import train
from jaxssd.training.report import report_scores, report_training
from jaxssd.training.rows import DivergedError, compare_ends
from jaxssd.training.run_folder import RunFolder, locked
from jaxssd.training.variables import restore


def start(config: Config, run: RunFolder) -> None:
    """Start a new run: read the data, train, write scores and figures.

    Args:
        config: settings, as the user gave them.
        run: folder that holds no run yet; made if it is missing.

    Raises:
        FileExistsError: if there is a run already.
        RunInUseError: if another process trains in the folder.
        ValueError, FileNotFoundError: for data or settings that do not work; the message names them.
        NonFiniteLossError, DivergedError: if the training diverges; DivergedError comes after all files are written.
    """
    run.require_new()
    barrier("before a run")  # or a process that is late would find the run that another has just made
    config = settle(config)
    train_set, val_set = _load(config.dataset)
    config = with_anchors(config, train_set)
    with locked(run.path):
        run.create(config)
        barrier("at the run's folder")
        if run.open() != config:
            raise ValueError(f"this process was started with other settings than the one that made {run}")
        _finish(config, train_set, val_set, run)


def resume(run: RunFolder) -> None:
    """Continue a run from its last checkpoint; raises like `start`, and if the data has changed."""
    config = run.open()
    with locked(run.path):
        train_set, val_set = _load(config.dataset)
        _finish(config, train_set, val_set, run)


def settle(config: Config) -> Config:
    """Fill in classes and absolute paths, and check the settings before the data is read."""
    if config.dataset.data not in NAMES:
        config = config.replace(data=_absolute(config.dataset.data))
    if config.dataset.images is not None:
        config = config.replace(images=_absolute(config.dataset.images))
    if config.model.pretrained is not None:
        from jaxssd.training.fine_tune import locate, read_pretrained  # which reads and downloads foreign files

        config = config.replace(pretrained=locate(config))
    config = replace(config, dataset=with_classes(config.dataset))
    config = _with_room(config)
    if _fits_anchors(config) and HEADS[config.model.head].fixed_anchors:
        raise ValueError(
            f"--anchors is fit, but the anchors of --head {config.model.head} have no zooms and ratios: expected "
            "--anchors fixed"
        )
    task = make_task(config)
    if config.model.pretrained is not None:
        read_pretrained(config, task)
    return config


def _with_room(config: Config) -> Config:
    """Store the training images at the input size if the larger ones would not fit the device's memory."""
    if config.dataset.stored_scale == 1 or config.runtime.memory != "auto":
        return config
    count, (height, width) = count_images(config.dataset, "train"), config.dataset.stored().input_shape
    if all_min(has_room(count * height * width * 3)):
        return config
    scale, size = config.dataset.stored_scale, f"{height}x{width}"
    print(
        f"--stored-scale is {scale:g}, but {count:,} images of {size} pixels are more than half the memory: they are "
        "stored at the input size; --memory stream keeps the larger ones, and streams them"
    )
    return config.replace(stored_scale=1.0)


def with_anchors(config: Config, train_set: Dataset) -> Config:
    """Settings with anchors fitted to the training boxes, if they ask for that."""
    if not _fits_anchors(config):
        return config
    from jaxssd.training.run_anchors import fit_run

    return fit_run(config, train_set)


def _fits_anchors(config: Config) -> bool:
    return config.anchors.anchors == "fit" and TASKS[config.task].has_anchors


def _absolute(path: str) -> str:
    """Resolve a path, so that the run can be resumed from anywhere."""
    return str(Path(path).resolve())


def _load(config: DatasetConfig) -> tuple[Dataset, Dataset]:
    for line in notes_on_splits(config, "--val-split"):
        print(line)
    train_set, val_set = load_split(config.stored(), "train"), load_split(config, "val")
    print(f"train: {train_set.report.summary()}\nval: {val_set.report.summary()}")
    lines = [*notes_on_classes("train", train_set, trained_on=True), *notes_on_classes("val", val_set)]
    for line in [*lines, *notes_on_quality("train", train_set), *notes_on_quality("val", val_set)]:
        print(line)
    require_objects(config, train_set)
    return train_set, val_set


def require_objects(config: DatasetConfig, train_set: Dataset) -> None:
    """Raise ValueError if no image has an object to train on, with the reason."""
    if why := why_untrainable(train_set):
        raise ValueError(f"{config.data}: no training image has an object that is trained on: {why}")


def _finish(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder) -> None:
    if is_main_process():
        train_set.report.write(run.path / "loading-train.json")
        val_set.report.write(run.path / "loading-val.json")
    mesh = data_mesh()
    start_from = config.model.pretrained or "random weights"
    print(f"{config.task}: {config.model.backbone} from {start_from}, {config.model.precision}")
    print(f"on {describe(mesh)}, run folder {run}")
    batch_size = whole_batch(config.optimizer.batch_size, config.optimizer.grad_accum_steps, len(train_set.ids))
    if batch_size < config.optimizer.batch_size:
        wanted, images = config.optimizer.batch_size, len(train_set.ids)
        print(f"--batch-size is {wanted}, but with {images} images a batch has {batch_size}")
    print(f"{_length(config)}; compiling the training step")
    task = make_task(config)
    try:
        validate = train(config, train_set, val_set, run, mesh)
    except BaseException:  # a run that was stopped, too
        with suppress(OSError):  # the disk may be full; what was stopped by it says so
            _draw_training(run, task)
        raise
    _draw_training(run, task)
    _, _, variables = restore(run, mesh=mesh)
    result = evaluate(validate, variables, val_set, partial(task.score, with_coco=True), batch_size=batch_size)
    print(f"\nbest checkpoint on the validation set\n{result.scores.table()}\n")
    if is_main_process():
        about = {"checkpoint": "best", "data": config.dataset.data, "split": "val"}
        report_scores(run.path, task, val_set, result, "val", about)
    print(f"figures   {run.figures}")
    command = _evaluate_command(run)
    print(f"score it  {command}")
    print(f"use it    {command} --images FILE...")
    if warning := _compare_ends(run):
        print(f"warning   {warning}")


def _length(config: Config) -> str:
    """Epochs of the run, by phase if there are several."""
    epochs = [phase.epochs for phase in config.optimizer.phases]
    phases = f"{len(epochs)} phases of {', '.join(map(str, epochs))}: " if len(epochs) > 1 else ""
    return f"{phases}{sum(epochs)} epoch{'s' * (sum(epochs) > 1)}"


def _compare_ends(run: RunFolder) -> str | None:
    """Compare first and last losses in the main process, for all processes, and return the warning."""
    warning, hopeless = None, ""
    if is_main_process():
        try:
            warning = compare_ends(run.rows("train"))
        except DivergedError as error:
            hopeless = str(error)
    if hopeless := broadcast(hopeless):
        raise DivergedError(hopeless)
    return warning


def _evaluate_command(run: RunFolder) -> str:
    """Command that scores a run, ready to be pasted into a shell."""
    return shlex.join([sys.executable, str(Path(sys.argv[0]).with_name("evaluate.py")), str(run.path)])


def _draw_training(run: RunFolder, task: Task) -> None:
    if is_main_process() and run.rows("train"):
        try:
            report_training(run, task)
        except (KeyError, TypeError) as error:
            print(f"{run.metrics} is damaged: a row has no {error}; curves are not drawn")
