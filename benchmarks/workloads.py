"""Workloads: the trainer's step, epoch and inference as calls, and the arguments that make a baseline do the same.

Other benchmarks use `jaxssd.training` only through this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ceiling import Cost, cost
from timing import Call

from jaxssd.config import Config
from jaxssd.data.dataset import Examples
from jaxssd.data.load import with_classes
from jaxssd.data.shapes import make_shapes
from jaxssd.presets import PRESETS
from jaxssd.tasks.task import Task, make_task
from jaxssd.training import make_predict
from jaxssd.training.epochs import CHUNK_STEPS, CPU_CALL_STEPS
from jaxssd.training.loop import make_phase
from jaxssd.training.optimizer import make_schedule
from jaxssd.training.step import TrainBlock, TrainState, Variables, init_state
from jaxssd.training.variables import first_variables

SCHEDULE_STEPS = 10_000  # length of the schedule; it does not change the time of a step
BASELINE_AUGMENTS = ("crop", "none")
BASELINE_HEADS = ("pyramid", "ssd300")

Precision = Literal["float32", "bfloat16"]


def tiny() -> Config:
    """The lesson's head on a very small network, for a CPU: 64 px, 240 anchors."""
    return Config.of(
        image_size=64,
        backbone="resnet_tiny",
        grids=(8, 4),
        zooms=(1.0, 1.4, 2.0),
        ratios=((1.0, 1.0),),
        head_width=96,
        input_dropout=0.05,
        dropout=0.05,
        batch_size=16,
        learning_rate=(3e-3,),
        fast_layers=("auto",),
    )


NETWORKS = {"tiny": tiny} | {
    name: preset
    for name, preset in PRESETS.items()
    if preset().task == "detection" and preset().model.head in BASELINE_HEADS
}
"""Networks that the baselines have as well: `tiny`, and presets."""
DETECTORS = tuple(NETWORKS)


@dataclass(frozen=True)
class Workload:
    """Network with random weights, and generated pictures on the device."""

    config: Config
    task: Task
    variables: Variables
    examples: Examples

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the network."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables.params))

    def baseline_network(self) -> dict[str, Any]:
        """Settings of the network for a baseline."""
        c = SimpleNamespace(**self.config.settings())
        fields = (
            "backbone",
            "head",
            "grids",
            "head_width",
            "prior_probability",
            "input_dropout",
            "dropout",
        )
        counts = {"boxes_per_cell": len(c.zooms) * len(c.ratios), "num_classes": len(c.classes)}
        (side,) = c.image_size  # the baseline has square inputs only
        return {name: getattr(c, name) for name in fields} | counts | {"image_size": side}

    def baseline_settings(self) -> dict[str, Any]:
        """Settings of the loss for a baseline."""
        c = SimpleNamespace(**self.config.settings())
        fields = ("class_loss", "alpha", "gamma", "box_coder", "negative_ratio", "normalizer")
        settings = {name: getattr(c, name) for name in fields}
        return settings | {"rule": c.match_rule, "threshold": c.match_threshold}

    def baseline_common(self) -> dict[str, Any]:
        """Arguments of a baseline's training and inference."""
        c = SimpleNamespace(**self.config.settings())
        about = {"mean": c.mean, "std": c.std, "bfloat16": c.precision == "bfloat16"}
        return about | {"network": self.baseline_network(), "anchors": tuple(map(np.asarray, self.task.anchors))}


def make_workload(preset: str, precision: Precision | None, num_images: int, **changes: Any) -> Workload:
    """Workload of a network, with generated pictures.

    Args:
        preset: name in `NETWORKS`.
        precision: precision of the network. None: the preset's.
        num_images: number of pictures.
        changes: settings to change, by option name.
    """
    config = NETWORKS[preset]()
    config = config.replace(data="shapes", precision=precision or config.model.precision, **changes)
    config = replace(config, dataset=with_classes(config.dataset))
    task = make_task(config)
    examples = jax.device_put(shapes(num_images, config.dataset.input_shape))
    return Workload(config, task, first_variables(config, task), examples)


@cache
def shapes(num_images: int, image_size: tuple[int, int]) -> Examples:
    """Generated pictures, drawn once per process."""
    return make_shapes(num_images, image_size=image_size).examples


def call_steps() -> int:
    """Number of steps per call in the trainer: one on a CPU, where XLA is slow at loops."""
    return CPU_CALL_STEPS if jax.default_backend() == "cpu" else CHUNK_STEPS


def training_call(workload: Workload, *, batch: int, steps: int, augment: str) -> Call:
    """Call that trains for some more steps, on images in a new order.

    Args:
        workload: network and pictures; pictures are repeated as often as needed.
        batch: images per step.
        steps: steps per call.
        augment: option `augment` of `jaxssd.config.Config`.
    """
    optimizer, train_block = _phase(workload, augment)
    state = _fresh(workload, optimizer)
    step_key, order_key = jax.random.split(jax.random.key(2))
    num_images = len(workload.examples.images)

    @jax.jit
    def draw_order(step: jax.Array) -> jax.Array:
        order = jax.random.permutation(jax.random.fold_in(order_key, step), steps * batch)
        return order.reshape(steps, batch) % num_images

    def call() -> Any:
        nonlocal state
        state, loss = train_block(state, workload.examples, draw_order(state.step), step_key)
        return loss

    return call


def training_cost(workload: Workload, *, batch: int, augment: str) -> Cost:
    """Cost of one step, compiled without a loop."""
    optimizer, train_block = _phase(workload, augment)
    order = jax.ShapeDtypeStruct((1, batch), jnp.int32)
    arguments = _fresh(workload, optimizer), workload.examples, order, jax.random.key(2)
    return cost(train_block.lower(*arguments).compile())


def inference_calls(workload: Workload, batch: int) -> dict[str, Call]:
    """Calls of the network alone, of detection on the device, and of detection from host memory to host memory."""
    images, variables = workload.examples.images[:batch], workload.variables
    on_host = np.asarray(images)
    network, predict = jax.jit(workload.task.predict), make_predict(workload.task.apply, workload.task.postprocess)
    return {
        "network": partial(network, variables, images),
        "detections": partial(predict, variables, images),
        "host to host": lambda: jax.device_get(predict(variables, on_host)),
    }


def inference_costs(workload: Workload, batch: int) -> dict[str, Cost]:
    """Costs of the calls of `inference_calls`."""
    arguments = workload.variables, workload.examples.images[:batch]
    network = cost(jax.jit(workload.task.predict).lower(*arguments).compile())
    detections = cost(make_predict(workload.task.apply, workload.task.postprocess).lower(*arguments).compile())  # type: ignore[attr-defined]
    return {"network": network, "detections": detections, "host to host": detections}


def baseline_training(workload: Workload, *, batch: int, steps: int, augment: str, loop: bool) -> dict[str, Any] | None:
    """Arguments of a baseline's workload `training`; None if it lacks the augmentation."""
    if augment not in BASELINE_AUGMENTS:
        return None
    images, boxes, labels, valid, difficult = map(np.asarray, workload.examples)
    return workload.baseline_common() | {
        "settings": workload.baseline_settings(),
        "examples": (images, boxes, labels, valid & ~difficult),
        "weight_decay": workload.config.optimizer.weight_decay,
        "steps": steps,
        "batch": batch,
        "augmented": augment != "none",
        "loop": loop,
    }


def baseline_inference(workload: Workload, batch: int) -> Mapping[str, dict[str, Any]]:
    """Arguments of a baseline's workload `inference`, for each of `inference_calls`."""
    images = np.asarray(workload.examples.images[:batch])
    common = workload.baseline_common() | {"images": images, "box_coder": workload.config.loss.box_coder}
    return {
        "network": common | {"suppressed": False, "from_host": False},
        "detections": common | {"suppressed": True, "from_host": False},
        "host to host": common | {"suppressed": True, "from_host": True},
    }


def is_out_of_memory(error: BaseException) -> bool:
    """True if JAX ran out of memory."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def _phase(workload: Workload, augment: str) -> tuple[optax.GradientTransformation, TrainBlock]:
    config = workload.config.replace(augment=augment)
    phase = config.optimizer.phases[0]._replace(trainable="all")
    return make_phase(config, workload.task, phase, make_schedule(phase, SCHEDULE_STEPS))


def _fresh(workload: Workload, optimizer: optax.GradientTransformation) -> TrainState:
    """Initial state with copies of the variables, since a call takes over the memory of its state."""
    variables = jax.jit(partial(jax.tree.map, jnp.copy))(workload.variables)
    return init_state(*variables, optimizer, average=workload.config.optimizer.ema_decay is not None)
