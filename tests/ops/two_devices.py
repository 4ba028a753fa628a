"""The table of public functions in `shard_map` and on both kinds of mesh. `test_transforms.py` runs this file.

Where a function does not fit, JAX says so while tracing, so every case is traced; values are compared for the cases in
which a batch has its own of everything, and for the loss with shared boxes and anchors.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.ops.rows import ROWS

WHOLE = [(name, "1" * len(row.arguments)) for name, row in ROWS.items()]
SHARED = [(name, mapped) for name, row in ROWS.items() for mapped in row.shared]


def of_batch(name, mapped):
    """The row's function of a batch of two, and its arguments; gradients of those that each image has of its own.

    Of what all images share, `shard_map` makes the gradient a sum over devices.
    """
    row, own = ROWS[name], [flag == "1" for flag in mapped]
    function = row._replace(gradients=tuple(place for place in row.gradients if own[place])).value_and_gradients()
    batch = [jax.tree.map(with_another, x) if yes else x for x, yes in zip(row.arguments, own, strict=True)]
    return jax.vmap(function, in_axes=tuple(0 if yes else None for yes in own)), batch


def with_another(x):
    """A second image with the first one's rows in another order; for a key another key."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jnp.stack([x, jax.random.fold_in(x, 1)])
    return np.stack([x, np.roll(x, 1, axis=0)]) if np.ndim(x) else np.stack([x, x])


def on_mesh(kind, mapped, batch):
    """A mesh of two devices, where the arguments are to lie, and the arguments there."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    specs = tuple(P("data") if flag == "1" else P() for flag in mapped)
    return mesh, specs, [jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(batch, specs, strict=True)]


def test_there_are_two_devices():
    assert len(jax.devices()) == 2


@pytest.mark.parametrize(("name", "mapped"), WHOLE + SHARED)
def test_what_is_mapped_and_what_is_shared(name, mapped):
    function, batch = of_batch(name, mapped)
    mesh, specs, placed = on_mesh(AxisType.Explicit, mapped, batch)
    in_parts = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("data"))
    with jax.set_mesh(mesh):
        for found in (jax.eval_shape(function, *placed), jax.eval_shape(in_parts, *placed)):
            assert shapes(found) == shapes(jax.eval_shape(function, *batch))


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize(("name", "mapped"), [*WHOLE, ("ssd_loss, the lesson's rule", "110000")])
def test_values_and_gradients_are_those_of_one_device(name, mapped):
    function, batch = of_batch(name, mapped)
    expected = jax.jit(function)(*batch)
    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh, specs, placed = on_mesh(kind, mapped, batch)
        with jax.set_mesh(mesh):
            whole = jax.jit(function)(*placed)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), whole, expected)
    in_parts = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("data")))(*placed)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), in_parts, expected)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_the_positives_of_a_batch_are_those_of_all_devices(kind):
    name, mapped = "ssd_loss", "111110"
    _, batch = of_batch(name, mapped)
    batch[4] = np.array([[True, True, True, True], [False, False, False, True]])
    loss = partial(ROWS[name].function, normalizer="batch_positives")
    loss = jax.jit(jax.vmap(loss, in_axes=(0, 0, 0, 0, 0, None), axis_name="batch"))
    mesh, _, placed = on_mesh(kind, mapped, batch)
    with jax.set_mesh(mesh):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), loss(*placed), loss(*batch))
