"""AdamW with a learning rate for each layer group."""

from functools import partial

import jax
import optax

from jaxssd.config import Trainable
from jaxssd.training.groups import TRAINED, group_labels


def make_optimizer(
    schedule: optax.Schedule,
    *,
    trainable: Trainable,
    num_stages: int,
    lr_multipliers: tuple[float, float, float],
    weight_decay: float,
) -> optax.GradientTransformation:
    """AdamW for the groups that train, and nothing for those that are frozen.

    Biases and BatchNorm's scales are not decayed: shrinking them regularises nothing.

    Args:
        schedule: from the step to the learning rate.
        trainable: which groups train.
        num_stages: of the backbone.
        lr_multipliers: learning rates of the lower, upper and head group, as multiples of the schedule's.
        weight_decay: of the kernels, per step and unit of learning rate.

    Returns:
        The optimizer, for the parameters of a backbone and a head.
    """
    kernels_only = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
    groups: dict[str, optax.GradientTransformation] = {}
    for group, rate in zip(TRAINED["all"], lr_multipliers, strict=True):
        scaled = partial(lambda step, rate: rate * schedule(step), rate=rate)
        adam = optax.adamw(scaled, weight_decay=weight_decay, mask=kernels_only)
        groups[group] = adam if group in TRAINED[trainable] else optax.set_to_zero()
    return optax.partition(groups, partial(group_labels, num_stages=num_stages))
