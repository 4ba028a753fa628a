"""How many images a second does the trainer do, and what do augmentation and suppression cost?

    python benchmarks/training_step.py                                   a preset and batches that suit the device
    python benchmarks/training_step.py --preset lesson --batch 64 256    these

What is measured is the trainer's own: a chunk of steps with the data on the device as uint8, and one call of its
inference, beside the same without augmentation and without decoding and suppression. A ratio is to that bare form. The
pictures are generated Shapes, which lie on the device before the clock starts; images of other data take the same time.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
import optax
import tyro
from timing import Row, Timing, measure, report

from jaxssd.config import Config
from jaxssd.data.dataset import Examples
from jaxssd.data.shapes import make_shapes
from jaxssd.data.sources import with_classes
from jaxssd.models.detector import normalize_images
from jaxssd.presets import PRESETS
from jaxssd.tasks import DetectionTask, make_task
from jaxssd.training import make_predict
from jaxssd.training.loop import CHUNK_STEPS, CPU_CHUNK_STEPS
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.state import init_state
from jaxssd.training.step import StepMetrics, make_train_chunk

SCHEDULE_STEPS = 10_000  # the optimizer wants to know; the work of a step does not depend on it
Call = Callable[[], object]


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: Literal[tuple(PRESETS)] | None = None
    """Network and settings. Default: quick on a CPU, lesson on an accelerator."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 32 on a CPU; 64, 256 and 512 on an accelerator."""
    steps: int | None = None
    """Steps in a chunk. Default: the trainer's, 1 on a CPU (XLA is slow there at loops) and 50 on an accelerator."""
    precision: Literal["float32", "bfloat16"] | None = None
    """What the network computes in. Default: the preset's."""
    seconds: float = 3.0
    """How long to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/training_step.py", description=__doc__, args=arguments)
    on_cpu = jax.default_backend() == "cpu"
    preset = command.preset or ("quick" if on_cpu else "lesson")
    batch_sizes = command.batch or ((32,) if on_cpu else (64, 256, 512))
    steps = command.steps or (CPU_CHUNK_STEPS if on_cpu else CHUNK_STEPS)
    config = PRESETS[preset]()
    config = with_classes(replace(config, data="shapes", precision=command.precision or config.precision))
    examples = jax.device_put(make_shapes(max(batch_sizes), image_size=config.image_size).examples)

    task = make_task(config)

    rows = []
    for size in batch_sizes:
        training = {
            "train, no augmentation": training_call(task, config, examples, size, steps, augment=False),
            "train": training_call(task, config, examples, size, steps, augment=True),
        }
        rows += compare(training, size, command.seconds, steps)
        rows += compare(inference_calls(task, config, examples.images[:size]), size, command.seconds)
    title = f"{preset} preset: {config.backbone}, {config.image_size} px, {config.precision}, {steps} steps a chunk"
    report(f"training-step-{preset}-{config.precision}", title, rows)


def compare(calls: dict[str, Call], size: int, seconds: float, steps: int = 1) -> list[Row]:
    """A row for each call; the first of them is the bare form."""
    times: dict[str, Timing] = {}
    for name, call in calls.items():
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(call()))):
            sys.exit(f"{name}: the result is not finite, so its time would mean nothing")
        times[name] = measure(call, seconds=seconds, units=steps)
    bare = times[next(iter(calls))].median
    return [
        {"batch": size, "work": name, "time a batch": t, "images/s": round(size / t.median), "ratio": t.median / bare}
        for name, t in times.items()
    ]


def training_call(
    task: DetectionTask, config: Config, examples: Examples, size: int, steps: int, *, augment: bool
) -> Call:
    """Train for one more chunk at each call."""
    init_key, order_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    optimizer, _ = make_optimizer(config.learning_rate, config.weight_decay, SCHEDULE_STEPS)
    train_chunk = make_train_chunk(task, optimizer, augment=augment)
    order = jax.random.randint(order_key, (steps, size), 0, len(examples.images))
    state = init_state(task.model, optimizer, init_key, config.image_size)

    def call() -> StepMetrics:
        nonlocal state  # the old one is donated
        state, metrics = train_chunk(state, examples, order, step_key)
        return metrics

    return call


def inference_calls(task: DetectionTask, config: Config, images: jax.Array) -> dict[str, Call]:
    """Detect objects in one batch, and only run the network on it."""
    variables = init_state(task.model, optax.identity(), jax.random.key(config.seed), config.image_size).variables
    network = jax.jit(lambda variables, images: task.model.apply(variables, normalize_images(images), train=False))
    predict = make_predict(task)
    return {
        "predict, no suppression": lambda: network(variables, images),
        "predict": lambda: predict(variables, images),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
