"""Loading of a detector by the folder of a run or by a published name."""

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import jax

from jaxssd.config import Config, PostprocessConfig
from jaxssd.inference.detector import LoadedDetector
from jaxssd.inference.resizing import PlainResizing, Resizing, RunResizing, ShorterSideResizing
from jaxssd.models.published import PUBLISHED
from jaxssd.tasks.task import make_task
from jaxssd.training.run_folder import RunFolder
from jaxssd.training.step import Variables
from jaxssd.training.variables import restore, variable_shapes

LIMITS = {field.name for field in dataclasses.fields(PostprocessConfig)}


def load(name_or_run: str | Path, *, checkpoint: Literal["best", "last"] = "best", **limits: Any) -> LoadedDetector:
    """Load a detector for photographs.

    Args:
        name_or_run: folder of a run, written by train.py; or name of a published detector, such as
            `ssd300_vgg16_coco`, whose weights are taken from a cache or downloaded. A folder of such a name is
            `./ssd300_vgg16_coco`.
        checkpoint: checkpoint of a run: the one with the best validation score, or the last one.
        limits: settings of NMS in place of the run's, such as `iou_threshold=0.6`; see `PostprocessConfig`.

    Returns:
        The detector: `detector(images)` yields a `Found` for each photograph.

    Raises:
        FileNotFoundError: if there is neither such a run nor such a name, or the run has no checkpoint yet.
        ValueError: if the settings are damaged or out of range, the weights are those of another network, or the last
            checkpoint of published weights is asked for.
        TypeError: for an unknown setting.
        ConnectionError: if weights cannot be downloaded; the message has the file and the folder to put it into.

    Example:
        >>> load("no-such-run")
        Traceback (most recent call last):
        FileNotFoundError: 'no-such-run' is neither the folder of a run nor the name of a published detector; ...
    """
    if unknown := sorted(set(limits) - LIMITS):
        raise TypeError(f"load: unknown settings: {', '.join(unknown)}; expected some of {', '.join(sorted(LIMITS))}")
    if str(name_or_run) not in PUBLISHED and Path(name_or_run).is_dir():
        config, task, variables = restore(RunFolder(Path(name_or_run)), checkpoint)
        if limits:
            config = config.replace(**limits)
            task = make_task(config)
        resize: Resizing = RunResizing(config.dataset.input_shape, config.dataset.aspect)
        return LoadedDetector(str(name_or_run), config, task, variables, resize)
    if checkpoint == "last" and str(name_or_run) in PUBLISHED:
        raise ValueError(f"{name_or_run} has one set of weights; a last checkpoint needs the folder of a run")
    return _published(str(name_or_run), limits)


def _published(name: str, limits: dict[str, Any]) -> LoadedDetector:
    """Published detector: its preset with COCO's classes, and its weights."""
    from jaxssd.models.download import find_weights

    published_config(name, **limits)  # a mistake before a download
    return published_detector(name, find_weights(name), **limits)


def published_config(name: str, **limits: Any) -> Config:
    """Settings of a published detector, with its own classes; `limits` as in `load`.

    Raises:
        FileNotFoundError: if there is no such detector.
        ValueError: if a limit is out of range.
    """
    from jaxssd.presets import of_published

    detectors = [known for known, published in PUBLISHED.items() if published.preset]
    if name not in detectors:
        if name in PUBLISHED:
            words = "the name of a backbone, which detects nothing: train.py --pretrained takes it"
        else:
            near = get_close_matches(name, detectors, n=1)
            words = "neither the folder of a run nor the name of a published detector"
            words += f" (near: {near[0]})" if near else ""
        raise FileNotFoundError(f"{name!r} is {words}; published detectors: {', '.join(detectors)}")
    return of_published(PUBLISHED[name]).replace(**limits)


def published_detector(name: str, weights: Path | dict[str, Any], **limits: Any) -> LoadedDetector:
    """Make a published detector from weights at hand.

    Args:
        name: name in `jaxssd.models.published.PUBLISHED`.
        weights: file with torchvision's names, or variables `{"params": ..., "batch_stats": ...}`.
        limits: settings of NMS, as in `load`.

    Raises:
        ValueError: if the weights are those of another network.
        OSError: if the file cannot be read.
    """
    from jaxssd.models.torchvision_names import load_detector

    config = published_config(name, **limits)
    task = make_task(config)
    if isinstance(weights, Path):
        shapes = variable_shapes(task, config.dataset.input_shape)
        like = {"params": shapes.params, **shapes.model_state}
        weights = load_detector(weights, like, background=config.loss.background)
    state = dict(weights)
    variables = Variables(*jax.device_put((state.pop("params"), state)))
    return LoadedDetector(name, config, task, variables, _published_resizing(name, config))


def _published_resizing(name: str, config: Config) -> Resizing:
    """Resizing of torchvision: to an exact size, or by the shorter side."""
    if PUBLISHED[name].by_shorter_side:
        return ShorterSideResizing(config.model.mean)
    return PlainResizing(config.dataset.input_shape)
