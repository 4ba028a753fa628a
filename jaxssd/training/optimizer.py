"""AdamW, or SGD with momentum, with a learning rate for each layer group."""

from functools import partial
from typing import Literal

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
    optimizer: Literal["adamw", "sgd"] = "adamw",
    momentum: float = 0.9,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """AdamW or SGD for the layer groups that train; frozen groups have no update.

    Biases and BatchNorm's scales are not decayed: shrinking them regularises nothing.

    Args:
        schedule: from the step to the learning rate.
        trainable: which groups train.
        num_stages: of the backbone.
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
