"""Published detectors beside torchvision's own: the same photographs and random weights, and the same boxes."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from baselines.torch_process import TorchBaseline
from ceiling import cost, measure_ceiling, shares
from PIL import Image
from safetensors.numpy import save_file
from timing import FEWEST_REPEATS, Row, Timing, ratios
from workloads import shapes

from jaxssd.inference import Found, LoadedDetector
from jaxssd.inference.loading import published_config, published_detector
from jaxssd.models.coco_classes import is_gap
from jaxssd.models.published import PUBLISHED
from jaxssd.tasks.task import make_task

PUBLISHED_PRESETS = {published.preset: name for name, published in PUBLISHED.items() if published.preset}
"""Name in `jaxssd.models.published` of the weights of each preset."""

Clock = Callable[[], tuple[float, float]]
SIDES = ((375, 500), (500, 334))


def compare_published(
    preset: str, batch: int, seconds: float, baseline: TorchBaseline | None, folder: Path | None
) -> Iterator[Row]:
    """Yield a row for the way from photographs to boxes in their pixels, with resizing, and one for its CPU time.

    CPU time is the sounder one where other work shares the cores.

    Args:
        preset: preset of a published detector, which is also the name of torchvision's function.
        batch: photographs at once.
        seconds: time limit of a measurement.
        baseline: PyTorch's process.
        folder: folder of photographs; None draws some.

    Raises:
        ValueError: if the boxes are not torchvision's.
    """
    photographs = read_photographs(folder, batch)
    detector = random_detector(preset, baseline)
    ours = partial(detect, detector, photographs, batch)
    clocks: dict[str, Clock] = {"jaxssd": partial(both_clocks, ours)}
    if baseline:
        theirs = baseline.prepare("detector", name=preset, photographs=photographs)
        clocks["torch"] = theirs.both_clocks
        require_same_boxes(ours(), theirs(), detector.class_names)
    wall, cpu = measure_both(clocks, seconds=seconds)
    shape = detector.resize(Image.fromarray(photographs[0])).pixels.shape  # operations are those of this one
    images, variables = jax.ShapeDtypeStruct((batch, *shape), np.float32), detector.variables
    task = make_task(detector.config.replace(image_size=shape[:2]))
    program = jax.jit(lambda variables, images: task.postprocess(task.predict(variables, images)))
    counted, ceiling = cost(program.lower(variables, images).compile()), measure_ceiling("float32")
    if baseline:
        baseline.forget()
    for workload, times in (("photographs to boxes", wall), ("photographs to boxes, CPU time", cpu)):
        timing = times["jaxssd"]
        row: Row = {"workload": workload, "jaxssd": timing, "images/s": f"{batch / timing.median:.2f}"}
        yield row | shares(counted, timing, ceiling) | ratios(dict(times))


def both_clocks(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a call whose results lie in host memory, and its CPU seconds in all threads."""
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu_start


def measure_both(clocks: Mapping[str, Clock], *, seconds: float) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """Measure calls in turns, as `timing.measure` does, by the clock and by their CPU time.

    Args:
        clocks: functions that run a call and return its seconds and CPU seconds.
        seconds: time limit, per call on average; at least five repeats are taken.
    """
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in clocks}
    for clock in clocks.values():
        clock()  # compiles
    end = time.perf_counter() + seconds * len(clocks)
    while len(rows["jaxssd"]) < FEWEST_REPEATS or time.perf_counter() < end:
        for name, clock in clocks.items():
            rows[name].append(clock())

    def column(index: int) -> dict[str, Timing]:
        columns = {name: [row[index] for row in taken] for name, taken in rows.items()}
        return {name: Timing(float(np.median(t)), min(t), max(t), len(t)) for name, t in columns.items()}

    return column(0), column(1)


def read_photographs(folder: Path | None, count: int) -> list[np.ndarray]:
    """Read the first photographs of a folder, or enlarge generated pictures to VOC's usual sizes."""
    if folder is None:
        pictures = [Image.fromarray(picture) for picture in np.asarray(shapes(count, (64, 64)).images)]
        return [
            np.array(picture.resize(SIDES[place % 2][::-1], Image.Resampling.BICUBIC))
            for place, picture in enumerate(pictures)
        ]
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(files) < count:
        raise ValueError(f"{folder} has {len(files)} photographs, expected {count} or more")
    return [np.array(Image.open(file).convert("RGB")) for file in files[:count]]


def random_detector(preset: str, baseline: TorchBaseline | None) -> LoadedDetector:
    """Make a detector with torchvision's random weights, or our own where there is no baseline."""
    name = PUBLISHED_PRESETS[preset]
    if baseline is None:
        from jaxssd.training.variables import first_variables

        config = published_config(name)
        variables = first_variables(config, make_task(config))
        return published_detector(name, {"params": variables.params, **variables.model_state})
    weights = {key: np.asarray(tensor) for key, tensor in baseline.prepare("detector weights", name=preset)()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        save_file(weights, path)
        return published_detector(name, path)


def detect(detector: LoadedDetector, photographs: Sequence[np.ndarray], batch: int) -> list[Found]:
    """Detect on photographs in host memory."""
    return list(detector(list(photographs), threshold=0.0, batch_size=batch))


def require_same_boxes(
    ours: Sequence[Found], theirs: Sequence[Sequence[np.ndarray]], class_names: Sequence[str]
) -> None:
    """Check that both detectors find the same: classes, scores to 1e-4, boxes to 0.01 pixels.

    With random weights torchvision also finds objects of the numbers that COCO left out, which ours never shows.

    Raises:
        ValueError: with the number of detections that differ.
    """
    differ = total = 0
    real = np.array([not is_gap(name) for name in class_names])
    for found, image in zip(ours, theirs, strict=True):
        boxes, scores, labels = (column[real[image[2] - 1]] for column in image)
        total += len(scores)
        left = np.ones(len(found), bool)  # nearly equal scores change places
        for box, score, label in zip(boxes, scores, labels, strict=True):
            fits = left & (found.class_ids + 1 == label) & (np.abs(found.scores - score) < 1e-4)
            fits &= (np.abs(found.boxes[:, [1, 0, 3, 2]] - box) < 0.01).all(axis=1)
            differ += int(not fits.any())
            left[int(np.argmax(fits)) if fits.any() else []] = False
        differ += max(len(found) - len(scores), 0)
    if differ:
        raise ValueError(f"{differ} of {total} detections differ from torchvision's")
    print(f"{total} detections, all of them torchvision's: classes, scores to 1e-4, boxes to 0.01 pixels")
