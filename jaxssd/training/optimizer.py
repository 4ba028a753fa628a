"""Optimizer of a phase: learning-rate schedules, and the lesson's three layer groups with a learning rate for each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxssd.config import OptimizerConfig, OptimizerName, Phase, Trainable

Group = Literal["lower", "upper", "head"]
"""Layer group: the backbone's lower half, its upper half, and the head."""

TRAINED: dict[Trainable, tuple[Group, ...]] = {
    "head": ("head",),  # the lesson's freeze()
    "upper": ("upper", "head"),  # freeze_to(-2)
    "all": ("lower", "upper", "head"),  # unfreeze()
}


@dataclass(frozen=True)
class Place:
    """Phase within a run: its number from 0, and its first epoch counted through all phases."""

    number: int
    phase: Phase
    first_epoch: int

    @property
    def epochs(self) -> range:
        """Epochs of the run that belong to the phase."""
        return range(self.first_epoch, self.first_epoch + self.phase.epochs)


def places(config: OptimizerConfig) -> Iterator[Place]:
    """Phases in order, with their epochs."""
    first_epoch = 0
    for number, phase in enumerate(config.phases):
        yield Place(number, phase, first_epoch)
        first_epoch += phase.epochs


def phase_optimizer(
    config: OptimizerConfig, phase: Phase, schedule: optax.Schedule, num_stages: int
) -> optax.GradientTransformation:
    """Build the optimizer of a phase; see `make_optimizer`."""
    return make_optimizer(
        schedule,
        trainable=phase.trainable,
        num_stages=num_stages,
        lr_multipliers=config.lr_multipliers,
        weight_decay=config.weight_decay,
        optimizer=config.optimizer,
        momentum=config.momentum,
        clip_norm=config.clip_norm,
    )


def make_optimizer(
    schedule: optax.Schedule,
    *,
    trainable: Trainable,
    num_stages: int,
    lr_multipliers: tuple[float, float, float],
    weight_decay: float,
    optimizer: OptimizerName = "adamw",
    momentum: float = 0.9,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Build AdamW or SGD for the layer groups that train; frozen groups have no update.

    Biases and BatchNorm's scales are not decayed: decay of these does not regularise.

    Args:
        schedule: function from the step to the learning rate.
        trainable: groups that train.
        num_stages: number of the backbone's stages.
        lr_multipliers: learning rates of the lower, upper and head group, as multiples of the schedule's.
        weight_decay: weight decay of the kernels: decoupled in AdamW, added to the gradient in SGD.
        optimizer: `"adamw"`, or `"sgd"` with momentum.
        momentum: momentum of SGD.
        clip_norm: largest global norm of the gradients; larger ones are scaled down. None does not clip.

    Returns:
        The optimizer, for the parameters of a backbone and a head.
    """
    kernels_only = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
    groups: dict[str, optax.GradientTransformation] = {}
    for group, rate in zip(TRAINED["all"], lr_multipliers, strict=True):
        scaled = partial(lambda step, rate: rate * schedule(step), rate=rate)
        if optimizer == "adamw":
            update = optax.adamw(scaled, weight_decay=weight_decay, mask=kernels_only)
        else:
            update = optax.chain(
                optax.add_decayed_weights(weight_decay, mask=kernels_only), optax.sgd(scaled, momentum=momentum)
            )
        groups[group] = update if group in TRAINED[trainable] else optax.set_to_zero()
    by_group = optax.partition(groups, partial(group_labels, num_stages=num_stages))
    return by_group if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), by_group)


def group_labels(params: dict[str, Any], num_stages: int) -> dict[str, Any]:
    """Name the layer group of each parameter.

    Args:
        params: parameters under the names `backbone` and `head`.
        num_stages: number of the backbone's stages. The stem and the first half of them are the lower group.

    Returns:
        A tree like `params` of `"lower"`, `"upper"` and `"head"`.
    """

    def label(path: tuple[Any, ...], _: Any) -> Group:
        part, *rest = (entry.key for entry in path)
        if part == "head":
            return "head"
        layer = rest[0]  # such as `layer3_0`, or a layer of the stem
        in_stem = not layer.startswith("layer")
        stage = 0 if in_stem else int(layer.removeprefix("layer").split("_")[0])
        return "lower" if stage <= lower_stages(num_stages) else "upper"

    return jax.tree_util.tree_map_with_path(label, params)


def frozen_stages(trainable: Trainable, num_stages: int) -> int:
    """Number of first stages that are frozen, with their statistics; the stem is frozen with the first one.

    Example:
        >>> [frozen_stages(trainable, 4) for trainable in ("head", "upper", "all")]
        [4, 2, 0]
    """
    return {"head": num_stages, "upper": lower_stages(num_stages), "all": 0}[trainable]


def lower_stages(num_stages: int) -> int:
    """Number of stages in the lower half: two of ResNet34's four, as in the lesson."""
    return num_stages // 2


def make_schedule(phase: Phase, steps: int) -> optax.Schedule:
    """Learning rate of a phase as a function of its steps.

    Args:
        phase: schedule, peak, and steps of the linear warm-up.
        steps: length of the phase.

    Returns:
        A function from the step, counted from 0, to the rate.
    """
    schedule = _SCHEDULES[phase.schedule](phase, steps)
    if not phase.warmup_steps:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / (phase.warmup_steps + 1))


def clr_schedule(peak: float, steps: int, *, div: float, cut_div: float) -> optax.Schedule:
    """Cyclical learning rate, fast.ai's `use_clr=(div, cut_div)`: a straight rise, and a longer straight fall.

    With `c = steps // cut_div` the rate is `peak / div` at step 0, the peak at step c, and falls from there over
    `c * (cut_div - 1)` steps to `peak / div`, where it stays. The second number is a divisor, not a percentage.

    Args:
        peak: highest rate.
        steps: length of the cycle.
        div: highest rate over the lowest.
        cut_div: length of the cycle over that of the rise.

    Returns:
        A function from the step, counted from 0, to the rate.

    Source:
        fastai 0.7 in March 2018, `sgdr.py`. From April 2018 on it fell over `steps - c`, the same where `cut_div`
        divides `steps`.

    Example:
        >>> rate = clr_schedule(1.0, 96, div=32.0, cut_div=5.0)
        >>> [round(float(rate(step)), 5) for step in (0, 19, 95)]
        [0.03125, 1.0, 0.03125]
    """
    cut = max(int(steps // cut_div), 1)
    fall = max(cut * (cut_div - 1), 1)

    def schedule(step: ArrayLike) -> Array:
        step = jnp.asarray(step)
        share = jnp.where(step <= cut, step / cut, 1 - (step - cut) / fall)
        return peak * (1 + jnp.maximum(share, 0) * (div - 1)) / div

    return schedule


_SCHEDULES: dict[str, Callable[[Phase, int], optax.Schedule]] = {
    # Smith and Topin 2017, arXiv:1708.07120: up for 30 % of the phase, then down to almost nothing.
    "one_cycle": lambda phase, steps: optax.cosine_onecycle_schedule(steps, phase.learning_rate),
    "clr": lambda phase, steps: clr_schedule(phase.learning_rate, steps, div=phase.clr[0], cut_div=phase.clr[1]),
    # Loshchilov and Hutter 2017, arXiv:1608.03983; the lesson's `cycle_len` without `use_clr`.
    "cosine": lambda phase, steps: optax.cosine_decay_schedule(phase.learning_rate, steps),
    "constant": lambda phase, steps: optax.constant_schedule(phase.learning_rate),
}
