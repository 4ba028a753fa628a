"""The whole job of `train.py`: read the data, train, score the best checkpoint, draw."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import jax

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset
from jaxssd.data.sources import load_split, with_classes
from jaxssd.metrics import format_scores
from jaxssd.tasks import make_task
from jaxssd.training.evaluation import evaluate
from jaxssd.training.loop import train
from jaxssd.training.report import report_scores, report_training
from jaxssd.training.restore import restore
from jaxssd.training.run_folder import RunFolder


def start(config: Config, run: RunFolder) -> None:
    """Do a new run, from its data to its scores and figures.

    Args:
        config: as the user gave it.
        run: a folder that holds no run yet; made if need be.

    Raises:
        FileExistsError: if there is a run already.
        ValueError, FileNotFoundError: for data or settings that do not work, naming them.
        NonFiniteLossError: if the training diverges.
    """
    run.require_new()
    if config.data != "shapes":
        config = replace(config, data=str(Path(config.data).resolve()))  # the run may be resumed from anywhere
    config = with_classes(config)
    make_task(config)  # settings that make no network are told before the data is read
    train_set, val_set = _load(config)
    run.create(config)
    run.fingerprints.write_text(json.dumps(_fingerprints(train_set, val_set), indent=2) + "\n")
    _finish(config, train_set, val_set, run)


def resume(run: RunFolder) -> None:
    """Go on with a run from its last checkpoint; raises like `start`, and if the data is no longer what it was."""
    config = run.open()
    train_set, val_set = _load(config)
    run.require_same_data(_fingerprints(train_set, val_set))
    _finish(config, train_set, val_set, run)


def _load(config: Config) -> tuple[Dataset, Dataset]:
    train_set, val_set = (load_split(config, split) for split in ("train", "val"))
    print(f"train: {train_set.report.summary()}\nval: {val_set.report.summary()}")
    return train_set, val_set


def _fingerprints(train_set: Dataset, val_set: Dataset) -> dict[str, str]:
    return {"train": train_set.fingerprint, "val": val_set.fingerprint}


def _finish(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder) -> None:
    train_set.report.write(run.path / "loading-train.json")
    val_set.report.write(run.path / "loading-val.json")
    device = jax.devices()[0]
    print(f"{config.backbone} in {config.precision} on {device.device_kind} ({device.platform}), run folder {run}")
    try:
        validate = train(config, train_set, val_set, run)
    finally:  # also of a run that was stopped
        if run.rows("train"):
            report_training(run)
    _, _, variables = restore(run)
    result = evaluate(validate, variables, val_set, batch_size=min(config.batch_size, len(train_set.ids)))
    print(f"\nbest checkpoint on the validation set\n{format_scores(result.scores, val_set.class_names)}\n")
    report_scores(run.path, val_set, result, "val", {"checkpoint": "best", "data": config.data, "split": "val"})
    print(f"figures   {run.figures}")
    python = shlex.quote(sys.executable)
    print(f"score it  {python} evaluate.py {run}")
    print(f"use it    {python} evaluate.py {run} --images FILE...")
