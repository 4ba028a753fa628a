"""Time of scoring, compared with the prediction of the same images and with pycocotools.

    python benchmarks/scoring.py                       5,000 images, 20 classes and 80
    python benchmarks/scoring.py --images 200          a quick look

Scenes are random: every image has as many detections as the trainer keeps at most, and up to 40 ground truths, 5 on
average. Before the clock starts, pycocotools must have given the same twelve numbers.

Prediction is the trainer's, with an untrained network for as many classes and images on the device; reading and
transfer are excluded. It is measured on one batch, pycocotools on at most 500 images, and both are scaled to all
images.
"""

import contextlib
import importlib.util
import io
import sys
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import numpy as np
import tyro
from timing import Call, Row, measure, report

from jaxssd import Detections
from jaxssd.metrics import coco_scores, voc_scores
from jaxssd.metrics.coco_records import coco_instances, coco_results
from jaxssd.presets import PRESETS
from jaxssd.tasks.task import make_task
from jaxssd.training import make_predict
from jaxssd.training.variables import first_variables

MAX_OBJECTS, MEAN_OBJECTS = 40, 5
BASELINE_IMAGES = 500  # pycocotools takes seconds for these; its time is proportional to their number
Truths = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Scene = tuple[Detections, Truths, np.ndarray]


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    images: int = 5000
    """Number of images to score."""
    classes: tuple[int, ...] = (20, 80)
    """Numbers of classes."""
    detections: int = 100
    """Detections per image."""
    preset: Literal[tuple(PRESETS)] | None = None
    """Preset of the network that predicts. Default: quick on a CPU, focal on a GPU or TPU."""
    batch: int | None = None
    """Batch size of the prediction. Default: 32 on a CPU, 256 on a GPU or TPU."""
    seconds: float = 2.0
    """Seconds to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Parse the options, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/scoring.py", description=__doc__, args=arguments)
    on_cpu = jax.default_backend() == "cpu"
    preset = command.preset or ("quick" if on_cpu else "focal")
    batch_size = command.batch or (32 if on_cpu else 256)

    rows = [row for classes in command.classes for row in compare(command, classes, preset, batch_size)]
    title = f"scoring {command.images} images of {command.detections} detections, and predicting them by {preset}"
    report("scoring", title, rows)


def compare(command: Command, num_classes: int, preset: str, batch_size: int) -> list[Row]:
    """Rows of all workloads, with their times scaled to all images."""
    scene = random_scene(command.images, command.detections, num_classes)
    calls: dict[str, tuple[int, Call]] = {
        "predict": (batch_size, prediction(preset, num_classes, batch_size)),
        "voc_scores": (command.images, partial(by_voc, scene, num_classes)),
        "coco_scores": (command.images, partial(by_coco, scene, num_classes)),
    }
    if importlib.util.find_spec("pycocotools"):
        part = random_scene(min(command.images, BASELINE_IMAGES), command.detections, num_classes)
        expected = by_pycocotools(part, num_classes)
        np.testing.assert_allclose(by_coco(part, num_classes), expected, rtol=0, atol=1e-12)
        calls["pycocotools"] = (len(part[2]), partial(by_pycocotools, part, num_classes))

    times = measure({name: call for name, (_, call) in calls.items()}, seconds=command.seconds)
    total = {name: times[name].median * command.images / images for name, (images, _) in calls.items()}
    return [
        {
            "classes": num_classes,
            "workload": name,
            "measured on": images,
            "time": times[name],
            f"s for {command.images}": total[name],
            "ratio to predict": total[name] / total["predict"],
            "ratio to coco_scores": total[name] / total["coco_scores"],
        }
        for name, (images, _) in calls.items()
    ]


def prediction(preset: str, num_classes: int, batch_size: int) -> Call:
    """Prediction of a batch of noise by an untrained network."""
    config = PRESETS[preset]().replace(classes=tuple(map(str, range(num_classes))))
    task = make_task(config)
    variables, predict = first_variables(config, task), make_predict(task.apply, task.postprocess)
    shape = (batch_size, *config.dataset.input_shape, 3)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return partial(predict, variables, images)


def by_voc(scene: Scene, num_classes: int) -> float:
    """VOC mean average precision by our own code."""
    detections, truths, _ = scene
    return voc_scores(detections, *truths, num_classes=num_classes).mean_area


def by_coco(scene: Scene, num_classes: int) -> list[float]:
    """COCO's twelve numbers as the trainer computes them."""
    detections, truths, sizes = scene
    return [*coco_scores(detections, *truths, sizes, num_classes=num_classes).summary().values()]


def by_pycocotools(scene: Scene, num_classes: int) -> np.ndarray:
    """COCO's twelve numbers by the official scorer; its -1 for no ground truth becomes NaN."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    detections, truths, sizes = scene
    images, categories = range(1, len(sizes) + 1), range(1, num_classes + 1)
    instances = coco_instances(
        *truths, sizes, image_ids=images, category_ids=categories, class_names=[*map(str, categories)]
    )
    results = coco_results(detections, sizes, image_ids=images, category_ids=categories)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = instances
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


def random_scene(num_images: int, num_detections: int, num_classes: int) -> Scene:
    """Random detections, sorted by score, ground truths as `voc_scores` takes them, and image sizes in pixels.

    Each detection is near a ground truth; half of them have its class. A tenth of the ground truths is difficult.
    """
    rng = np.random.default_rng(0)
    truths_shape, detections_shape = (num_images, MAX_OBJECTS), (num_images, num_detections)
    count = np.minimum(rng.geometric(1 / MEAN_OBJECTS, num_images), MAX_OBJECTS)[:, None]
    gt_valid = np.arange(MAX_OBJECTS) < count
    sides = rng.uniform(0.05, 0.6, (*truths_shape, 2))
    near = rng.uniform(0, 1 - sides)
    gt_boxes = np.concatenate([near, near + sides], axis=-1).astype(np.float32)
    gt_labels = rng.integers(0, num_classes, truths_shape, np.int32)

    of = rng.integers(0, count, detections_shape)
    shift = rng.normal(0, 0.15, (*detections_shape, 4)) * np.tile(np.take_along_axis(sides, of[..., None], axis=1), 2)
    boxes = np.take_along_axis(gt_boxes, of[..., None], axis=1) + shift
    guess = rng.integers(0, num_classes, detections_shape, np.int32)
    labels = np.where(rng.random(detections_shape) < 0.5, np.take_along_axis(gt_labels, of, axis=1), guess)
    detections = Detections(
        boxes=np.clip(boxes, 0, 1).astype(np.float32),
        scores=-np.sort(-rng.random(detections_shape, np.float32), axis=1),
        labels=labels,
        valid=np.ones(detections_shape, bool),
    )
    difficult = gt_valid & (rng.random(truths_shape) < 0.1)
    return detections, (gt_boxes, gt_labels, gt_valid, difficult), np.tile([375, 500], (num_images, 1))


if __name__ == "__main__":
    main(sys.argv[1:])
