"""Training step of any model: gradients of a mean loss, an optax update, and a scan over many steps.

A model is a pure function of its parameters and its model state. The model state holds all other variables, such as
BatchNorm statistics.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxssd.data.augmentation import AugmentStep, augment_batch
from jaxssd.data.dataset import Examples
from jaxssd.training.average import update_average
from jaxssd.training.distribution import divided, replicated, send

Apply = Callable[..., tuple[Any, Any]]
"""A model, `(params, model_state, images, *, train, key) -> (outputs, model_state)`.

`images` are float `[B, H, W, 3]` in `[0, 1]`. `train` switches on batch statistics and dropout, which draws from `key`;
the key is None in evaluation.
"""
LossFunction = Callable[[Any, Examples], Any]
TrainStep = Callable[[Any, Examples, Array], tuple[Any, Any]]
TrainBlock = Callable[[Any, Examples, Array, Array], tuple[Any, Any]]


class Variables(NamedTuple):
    """Arrays of a model: parameters, and model state."""

    params: Any
    model_state: Any


class TrainState(NamedTuple):
    """Carry of the training loop, and content of a checkpoint.

    It holds no random key: each step's key is folded from the run's key and `step`, so a resumed run continues exactly.
    """

    step: Int[Array, ""]
    params: Any
    model_state: Any
    opt_state: Any
    average: Variables | None = None
    """Moving average of parameters and model state; None without `ema_decay`."""

    @property
    def variables(self) -> Variables:
        """Newest parameters and model state."""
        return Variables(self.params, self.model_state)

    @property
    def inference(self) -> Variables:
        """Variables to evaluate and to use: the average, where there is one."""
        return self.variables if self.average is None else self.average


class _Gradients(NamedTuple):
    """Gradients of a batch's mean loss, its new model state, and that loss."""

    grads: Any
    model_state: Any
    loss: Any


def init_state(
    params: Any,
    model_state: Any,
    optimizer: optax.GradientTransformation,
    *,
    step: int = 0,
    average: Variables | bool = False,
) -> TrainState:
    """Make a state with a new optimizer state.

    Args:
        params: parameters, on the devices.
        model_state: everything else that the model carries; `()` or `{}` if nothing.
        optimizer: optax optimizer.
        step: number of steps taken so far.
        average: moving average to continue; True starts one from these variables, as `ema_decay` of `make_train_step`
            needs.

    Returns:
        The state, placed on the devices of the parameters.

    Example:
        >>> state = init_state({"w": jnp.ones(2)}, (), optax.sgd(0.1))
        >>> int(state.step), state.params["w"].shape
        (0, (2,))
    """
    sharding = jax.tree.leaves(params)[0].sharding
    # Placed as a step returns it: otherwise the second step would be compiled anew.
    opt_state = jax.jit(optimizer.init, out_shardings=sharding)(params)
    state = TrainState(send(np.int32(step), sharding), params, model_state, opt_state)
    if isinstance(average, Variables):
        return state._replace(average=average)
    if average:  # a copy: a step that donates its state must not be given an array twice
        copies = jax.jit(partial(jax.tree.map, jnp.copy), out_shardings=sharding)(state.variables)
        return state._replace(average=copies)
    return state


def make_train_step(
    apply: Apply,
    loss_fn: LossFunction,
    optimizer: optax.GradientTransformation,
    *,
    augment: AugmentStep | Sequence[AugmentStep] | None = None,
    grad_accum_steps: int = 1,
    ema_decay: float | None = None,
    mesh: Mesh | None = None,
    donate: bool = True,
) -> TrainStep:
    """Compile one training step for any model.

    Args:
        apply: the model, `(params, model_state, images, *, train, key) -> (outputs, model_state)`.
        loss_fn: `(outputs, examples) -> losses` of each image: an array `[B]`, or a NamedTuple of arrays `[B]` with the
            field `total`. The mean of that is minimised.
        optimizer: optax optimizer.
        augment: function `(key, image, boxes, valid) -> (image, boxes, valid)` of one image, a `BatchAugmentation`, or
            a tuple of them, applied in order.
        grad_accum_steps: number of micro-batches per batch, computed one after another and averaged before one update.
            Saves memory; BatchNorm sees one micro-batch at a time.
        ema_decay: decay of a moving average of the variables, `state.average`, which `make_predict` and `evaluate` use;
            see `update_average`. The state is that of `init_state(..., average=True)`. None: no average.
        mesh: devices that share each batch, evenly or not; all hold the whole state. Default: where the arguments are.
        donate: if True, the memory of the given state is reused; do not use that state again.

    Returns:
        A jitted `(state, examples, key) -> (state, loss)`. Images of `examples [B]` are uint8 or float in `[0, 1]`. The
        key is the same for all steps. The loss is the batch's mean, in the form that `loss_fn` gives.

    Raises:
        TypeError: in the first call, if `loss_fn` returns neither an array nor a NamedTuple with the field `total`, or
            if the state has an average without `ema_decay`, or none with it.

    Example:
        >>> from jaxssd.data.shapes import make_shapes
        >>> def apply(params, model_state, images, *, train, key):
        ...     return images.mean(axis=(1, 2)) @ params["w"], model_state
        >>> def loss_fn(outputs, examples):  # how many objects there are
        ...     return (outputs - examples.valid.sum(axis=1)) ** 2
        >>> optimizer = optax.adam(0.1)
        >>> state = init_state({"w": jnp.zeros(3)}, (), optimizer)
        >>> step = make_train_step(apply, loss_fn, optimizer)
        >>> examples, key = make_shapes(8, image_size=32).examples, jax.random.key(0)
        >>> state, first = step(state, examples, key)
        >>> state, second = step(state, examples, key)
        >>> int(state.step), bool(second < first)
        (2, True)
    """
    augmentations = tuple(augment) if isinstance(augment, Sequence) else (augment,) if augment else ()

    def gradients(state: TrainState, batch: Examples, key: Array) -> _Gradients:
        if mesh is not None:
            batch = jax.lax.with_sharding_constraint(batch, divided(mesh))
        augment_key, model_key = jax.random.split(key)
        batch = augment_batch(augment_key, batch, augmentations)

        def mean_loss(params: Any) -> tuple[Array, tuple[Any, Any]]:
            outputs, model_state = apply(params, state.model_state, batch.images, train=True, key=model_key)
            loss = jax.tree.map(jnp.mean, loss_fn(outputs, batch))
            total = getattr(loss, "total", loss)
            if not isinstance(total, jax.Array):
                found = type(total).__name__
                raise TypeError(
                    f"make_train_step: `loss_fn` returned a {found}, expected an array or a NamedTuple with `total`"
                )
            return total, (model_state, loss)

        grads, (model_state, loss) = jax.grad(mean_loss, has_aux=True)(state.params)
        return _Gradients(grads, model_state, loss)

    @partial(
        jax.jit,
        donate_argnums=(0,) if donate else (),
        out_shardings=None if mesh is None else replicated(mesh),
    )
    def train_step(state: TrainState, examples: Examples, key: Key[Array, ""]) -> tuple[TrainState, Any]:
        if (ema_decay is None) != (state.average is None):
            raise TypeError(
                f"make_train_step: `ema_decay` is {ema_decay}, but the state has "
                f"{'no' if state.average is None else 'an'} average; give both or neither: "
                "init_state(..., average=True) starts one"
            )
        found = _accumulate(gradients, state, examples, jax.random.fold_in(key, state.step), grad_accum_steps)
        updates, opt_state = optimizer.update(found.grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, found.model_state, opt_state)
        if ema_decay is not None:
            new = new._replace(average=update_average(state.average, new.variables, state.step, ema_decay))
        return new, found.loss

    return train_step


def make_train_block(train_step: TrainStep, *, mesh: Mesh | None = None, donate: bool = True) -> TrainBlock:
    """Compile many training steps into one call.

    The data set is an argument that stays on the device, so only the order and the losses are transferred.

    Args:
        train_step: function of `make_train_step`.
        mesh: devices of the step.
        donate: if True, the memory of the given state is reused; do not use that state again.

    Returns:
        A jitted `(state, examples, order, key) -> (state, losses)`. Each row of `order [steps, B]` names the rows of
        `examples` of one step; `losses [steps]` are means.
    """

    @partial(
        jax.jit,
        donate_argnums=(0,) if donate else (),
        out_shardings=None if mesh is None else replicated(mesh),
    )
    def train_block(
        state: TrainState, examples: Examples, order: Int[Array, "steps B"], key: Key[Array, ""]
    ) -> tuple[TrainState, Any]:
        def step(state: TrainState, rows: Array) -> tuple[TrainState, Any]:
            return train_step(state, jax.tree.map(lambda array: array[rows], examples), key)

        # XLA's CPU backend is some 17 times slower at convolutions inside a loop (jax#12868): one step is not a loop.
        return jax.lax.scan(step, state, order, unroll=0 if len(order) == 1 else 1)

    return train_block


def _accumulate(
    gradients: Callable[[TrainState, Examples, Array], _Gradients],
    state: TrainState,
    batch: Examples,
    key: Array,
    steps: int,
) -> _Gradients:
    """Average `gradients` over equal micro-batches. Each has its own key; all start from one model state."""
    if steps == 1:
        return gradients(state, batch, key)

    def of_micro_batch(batch: Examples, key: Array) -> _Gradients:
        """Gradients and the change of the model state: the mean of no change is no change, to the last bit."""
        found = gradients(state, batch, key)
        return found._replace(model_state=jax.tree.map(_of_floats(_change), state.model_state, found.model_state))

    def add(total: _Gradients, micro_batch: tuple[Examples, Array]) -> tuple[_Gradients, None]:
        return jax.tree.map(_of_floats(jnp.add), total, of_micro_batch(*micro_batch)), None

    batches = jax.tree.map(lambda x: x.reshape(steps, -1, *x.shape[1:]), batch)
    keys = jax.random.split(key, steps)
    shapes = jax.eval_shape(of_micro_batch, jax.tree.map(lambda x: x[0], batches), keys[0])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes._replace(model_state=()))
    zeros = zeros._replace(model_state=jax.tree.map(_of_floats(jnp.zeros_like), state.model_state))
    unroll = steps if jax.default_backend() == "cpu" else 1  # convolutions in a loop are slow there, see above
    total, _ = jax.lax.scan(add, zeros, (batches, keys), unroll=unroll)
    mean = jax.tree.map(_of_floats(lambda x: x / steps), total)
    return mean._replace(model_state=jax.tree.map(_of_floats(jnp.add), state.model_state, mean.model_state))


def _change(old: Array, new: Array) -> Array:
    return new - old


def _of_floats(function: Callable[..., Array]) -> Callable[..., Array]:
    """Apply `function` to float arrays only: counters and keys have no mean, so their newest value is used."""
    return lambda *leaves: function(*leaves) if jnp.issubdtype(leaves[-1].dtype, jnp.inexact) else leaves[-1]
