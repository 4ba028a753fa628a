"""Courses of the learning rate over a phase."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxssd.config import Phase

MakeSchedule = Callable[[Phase, int], optax.Schedule]


def make_schedule(phase: Phase, steps: int) -> optax.Schedule:
    """Learning rate of a phase as a function of its steps.

    Args:
        phase: names the schedule, its peak, and the steps of its linear warm-up.
        steps: length of the phase.

    Returns:
        A function from the step, counted from 0, to the rate.
    """
    schedule = _SCHEDULES[phase.schedule](phase, steps)
    if not phase.warmup_steps:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / (phase.warmup_steps + 1))


def clr_schedule(peak: float, steps: int, *, div: float, cut_div: float) -> optax.Schedule:
    """fast.ai's `use_clr=(div, cut_div)`: a straight rise to the peak, and a longer straight fall.

    With `c = steps // cut_div` the rate is `peak / div` at step 0, the peak at step c, and falls from there over
    `c * (cut_div - 1)` steps to `peak / div`, where it stays. The second number is a divisor, not a percentage.

    Args:
        peak: the highest rate.
        steps: length of the cycle.
        div: the highest rate over the lowest.
        cut_div: the cycle's length over the rise's.

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


_SCHEDULES: dict[str, MakeSchedule] = {
    # Smith and Topin 2017, arXiv:1708.07120: up for 30 % of the phase, then down to almost nothing.
    "one_cycle": lambda phase, steps: optax.cosine_onecycle_schedule(steps, phase.learning_rate),
    "clr": lambda phase, steps: clr_schedule(phase.learning_rate, steps, div=phase.clr[0], cut_div=phase.clr[1]),
    # Loshchilov and Hutter 2017, arXiv:1608.03983; the lesson's `cycle_len` without `use_clr`.
    "cosine": lambda phase, steps: optax.cosine_decay_schedule(phase.learning_rate, steps),
    "constant": lambda phase, steps: optax.constant_schedule(phase.learning_rate),
}
