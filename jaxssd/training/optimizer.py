"""AdamW under a one-cycle learning rate."""

import jax
import optax


def make_optimizer(
    learning_rate: float, weight_decay: float, total_steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW whose rate rises for 30 % of the run and falls to almost nothing (Smith and Topin 2017, arXiv:1708.07120).

    Biases and BatchNorm's scales are not decayed: shrinking them regularises nothing.

    Args:
        learning_rate: at the peak.
        weight_decay: of the kernels, per step and unit of learning rate.
        total_steps: length of the whole run.

    Returns:
        The optimizer, and the schedule alone, for reports.
    """
    schedule = optax.cosine_onecycle_schedule(total_steps, learning_rate)
    kernels_only = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
    return optax.adamw(schedule, weight_decay=weight_decay, mask=kernels_only), schedule
