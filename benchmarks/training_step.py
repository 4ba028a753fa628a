"""How many images a second does the trainer do, and what do augmentation and suppression cost?

    python benchmarks/training_step.py                                   a preset and batches that suit the device
    python benchmarks/training_step.py --preset focal --batch 64 256     these

What is measured is the trainer's own: a chunk of steps with the data on the device as uint8, and one call of its
inference, beside the same without augmentation and without decoding and suppression. A ratio is to that bare form. The
network is untrained and the pictures are generated Shapes, on which only the rounds of matching and suppression depend.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from timing import Call, Row, measure, report

from jaxssd.data.dataset import Examples
from jaxssd.data.shapes import make_shapes
from jaxssd.data.sources import with_classes
from jaxssd.presets import PRESETS
from jaxssd.tasks import Loss, Task, make_task
from jaxssd.training import make_predict
from jaxssd.training.backbone import first_variables
from jaxssd.training.loop import CHUNK_STEPS, CPU_CALL_STEPS
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.schedules import make_schedule
from jaxssd.training.state import TrainState, init_state
from jaxssd.training.step import AUGMENTATIONS, TrainChunk, make_train_chunk

SCHEDULE_STEPS = 10_000  # the optimizer wants to know; the work of a step does not depend on it


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    preset: Literal[tuple(PRESETS)] | None = None
    """Network and settings. Default: quick on a CPU, focal on an accelerator."""
    batch: tuple[int, ...] = ()
    """Images in a batch, one or more sizes. Default: 32 on a CPU; 64, 256 and 512 on an accelerator."""
    steps: int | None = None
    """Steps in a chunk. Default: the trainer's, 1 on a CPU (XLA is slow there at loops) and 50 on an accelerator."""
    precision: Literal["float32", "bfloat16"] | None = None
    """What the network computes in. Default: the preset's."""
    seconds: float = 2.0
    """How long to repeat each measurement; at least five repeats are taken."""


def main(arguments: list[str]) -> None:
    """Parse, measure, report."""
    command = tyro.cli(Command, prog="benchmarks/training_step.py", description=__doc__, args=arguments)
    on_cpu = jax.default_backend() == "cpu"
    preset = command.preset or ("quick" if on_cpu else "focal")
    batch_sizes = command.batch or ((32,) if on_cpu else (64, 256, 512))
    steps = command.steps or (CPU_CALL_STEPS if on_cpu else CHUNK_STEPS)
    config = PRESETS[preset]()
    config = with_classes(replace(config, data="shapes", precision=command.precision or config.precision))
    examples = jax.device_put(make_shapes(max(batch_sizes), image_size=config.image_size).examples)

    task = make_task(config)
    optimizer = make_optimizer(
        make_schedule(config.phases[0], SCHEDULE_STEPS),
        unfrozen="all",
        num_stages=task.num_stages,
        group_rates=config.group_rates,
        weight_decay=config.weight_decay,
    )
    state = init_state(first_variables(config, task), optimizer)

    rows = []
    for size in batch_sizes:
        order = jax.random.randint(jax.random.key(1), (steps, size), 0, len(examples.images))
        bare, full = (
            make_train_chunk(task, optimizer, augment=AUGMENTATIONS[name]) for name in ("none", config.augment)
        )
        training = {
            "train, no augmentation": training_call(bare, state, examples, order),
            "train": training_call(full, state, examples, order),
        }
        rows += compare(training, size, command.seconds, steps)
        rows += compare(inference_calls(task, state, examples.images[:size]), size, command.seconds)
    title = f"{preset} preset: {config.backbone}, {config.image_size} px, {config.precision}, {steps} steps a chunk"
    report(f"training-step-{preset}-{config.precision}", title, rows)


def compare(calls: dict[str, Call], size: int, seconds: float, steps: int = 1) -> list[Row]:
    """A row for each call; the first of them is the bare form."""
    for name, call in calls.items():
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(call()))):
            sys.exit(f"{name}: the result is not finite, so its time would mean nothing")
    times = measure(calls, seconds=seconds, units=steps)
    bare = times[next(iter(calls))].median
    return [
        {"batch": size, "work": name, "time a batch": t, "images/s": round(size / t.median), "ratio": t.median / bare}
        for name, t in times.items()
    ]


def training_call(train_chunk: TrainChunk, state: TrainState, examples: Examples, order: jax.Array) -> Call:
    """Train for one more chunk at each call."""
    state = jax.jit(partial(jax.tree.map, jnp.copy))(state)  # a chunk takes over its state's memory
    key = jax.random.key(2)

    def call() -> Loss:
        nonlocal state
        state, loss = train_chunk(state, examples, order, key)
        return loss

    return call


def inference_calls(task: Task, state: TrainState, images: jax.Array) -> dict[str, Call]:
    """Only run the network on a batch, and detect objects in it."""
    variables = state.variables
    network = jax.jit(task.predict)
    predict = make_predict(task)
    return {
        "predict, no suppression": lambda: network(variables, images),
        "predict": lambda: predict(variables, images),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
