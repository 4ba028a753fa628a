"""While loop of a whole batch, for functions under `vmap`."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

State = TypeVar("State")


def repeat_until_settled(
    unsettled: Callable[[State], Array], step: Callable[..., State], state: State, *inputs: Any
) -> State:
    """Loop `while unsettled(state): state = step(state, *inputs)`, under `vmap` for a whole batch at once.

    `vmap` of `lax.while_loop` copies all states in each turn, to keep finished ones, and `checkify` refuses it.
    Here the loop runs while any image is unsettled, so a step must leave a settled state unchanged.

    Args:
        unsettled: function of the state, True while the loop goes on.
        step: function of state and inputs that returns the next state; it changes no settled state.
        state: initial state, a pytree of arrays.
        inputs: pytrees of arrays that `step` needs; it must not close over an array that `vmap` maps.

    Returns:
        Settled state.

    Example:
        >>> halve = lambda x: jnp.where(x >= 1, x / 2, x)
        >>> jax.vmap(lambda x: repeat_until_settled(lambda x: x >= 1, halve, x))(jnp.array([6.0, 1.0]))
        Array([0.75, 0.5 ], dtype=float32)
    """

    @custom_vmap
    def repeat(state: State, inputs: tuple) -> State:
        return lax.while_loop(unsettled, lambda state: step(state, *inputs), state)

    @repeat.def_vmap
    def repeat_together(size: Any, mapped: Any, state: State, inputs: tuple) -> tuple[State, Any]:
        state_is_mapped, inputs_are_mapped = mapped
        states = jax.tree.map(
            lambda x, yes: x if yes else jnp.broadcast_to(x, (size, *x.shape)), state, state_is_mapped
        )
        axes = jax.tree.map(lambda yes: 0 if yes else None, inputs_are_mapped)
        end = repeat_until_settled(
            lambda states: jnp.any(jax.vmap(unsettled)(states)),
            lambda states, *inputs: jax.vmap(step, in_axes=(0, *axes))(states, *inputs),
            states,
            *inputs,
        )
        return end, jax.tree.map(lambda _: True, state)

    return repeat(state, inputs)
