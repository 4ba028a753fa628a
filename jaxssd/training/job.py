"""The whole job of `train.py`: read the data, train, score the best checkpoint, draw."""

import jax

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset
from jaxssd.data.sources import load_split, with_classes
from jaxssd.training.evaluation import evaluate, make_validate
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
    config = with_classes(config)
    train_set, val_set = _load(config)
    run.create(config)
    _finish(config, train_set, val_set, run)


def resume(run: RunFolder) -> None:
    """Go on with a run from its last checkpoint; raises like `start`."""
    config = run.open()
    _finish(config, *_load(config), run)


def _load(config: Config) -> tuple[Dataset, Dataset]:
    sets = []
    for split in ("train", "val"):
        sets.append(load_split(config, split))
        print(f"{split}: {sets[-1].report.summary()}")
    train_set, val_set = sets
    if shared := sorted(set(train_set.ids) & set(val_set.ids)):
        raise ValueError(f"{len(shared)} images are in both the training and the validation set, such as {shared[0]}")
    return train_set, val_set


def _finish(config: Config, train_set: Dataset, val_set: Dataset, run: RunFolder) -> None:
    train_set.report.write(run.path / "loading-train.json")
    val_set.report.write(run.path / "loading-val.json")
    device = jax.devices()[0]
    print(f"{config.backbone} in {config.precision} on {device.device_kind} ({device.platform}), run folder {run.path}")
    try:
        train(config, train_set, val_set, run)
    finally:  # also of a run that was stopped
        if run.rows("train"):
            report_training(run)
    config, task, variables = restore(run)
    result = evaluate(make_validate(task), variables, val_set, batch_size=config.batch_size)
    print(f"\nbest checkpoint on the validation set\n{report_scores(run, val_set, result, 'val')}\n")
    print(f"figures   {run.figures}")
    print(f"score it  python evaluate.py {run.path}")
    print(f"use it    python evaluate.py {run.path} --images FILE...")
