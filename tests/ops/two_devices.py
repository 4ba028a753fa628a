"""The table of public functions in `shard_map` and on both kinds of mesh. `test_transforms.py` runs this file.

Where a function does not fit, JAX says so while tracing, so every case is traced; values are compared for the cases in
which a batch has its own of everything, all functions in one program, and for the loss with shared boxes and anchors.
"""

import gc
import os
import pickle
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import lowering  # noqa: F401
from tests.ops.rows import ROWS, with_another

gc.set_threshold(50_000)  # as in `conftest.py`

EXPECTED = pickle.loads(Path(os.environ["EXPECTED_OF_TWO_IMAGES"]).read_bytes())
"""Name -> what one device gives of a batch: the value, and the gradients where the row has some."""

SHARED = [(name, mapped) for name, row in ROWS.items() for mapped in row.shared]
ARRAYS, TREE = jax.tree.flatten({name: row.arguments for name, row in ROWS.items()})
PLACES = [str(id(x)) for x in ARRAYS]  # what several functions take is one argument of the program
DISTINCT = {place: with_another(x) for place, x in zip(PLACES, ARRAYS, strict=True)}


@cache
def jitted(name):
    """The row with its function under `jit`, which JAX traces once for all that is mapped or shared."""
    return ROWS[name]._replace(function=jax.jit(ROWS[name].with_settings()), settings={}, keywords={})


def of_batch(name, mapped, row=None):
    """The row's function of a batch of two, its arguments, and what is expected of it.

    Of what all images share, `shard_map` makes the gradient a sum over devices, so it is left out.
    """
    row, own = row or ROWS[name], [flag == "1" for flag in mapped]
    gradients = tuple(place for place in row.gradients if own[place])
    function = jax.vmap(
        row._replace(gradients=gradients).value_and_gradients(), in_axes=tuple(0 if yes else None for yes in own)
    )
    expected = EXPECTED[name]
    if row.gradients:
        expected = (expected[0], {place: expected[1][place] for place in gradients}) if gradients else expected[0]
    return function, row.batch(own), expected


def on_mesh(kind, mapped, batch):
    """A mesh of two devices, where the arguments are to lie, and the arguments there."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    specs = tuple(P("data") if flag == "1" else P() for flag in mapped)
    return mesh, specs, [jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(batch, specs, strict=True)]


def assert_same(found, expected):
    assert shapes(found) == shapes(expected)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), found, expected)


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_there_are_two_devices():
    assert len(jax.devices()) == 2


@pytest.mark.parametrize(("name", "mapped"), SHARED)
def test_what_is_mapped_and_what_is_shared(name, mapped):
    function, batch, expected = of_batch(name, mapped, jitted(name))
    mesh, specs, placed = on_mesh(AxisType.Explicit, mapped, batch)
    in_parts = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("data"))
    with jax.set_mesh(mesh):
        for found in (jax.eval_shape(function, *placed), jax.eval_shape(in_parts, *placed)):
            assert shapes(found) == shapes(expected)


def everything(distinct):
    """Every row's value and gradients, in one program."""
    batches = jax.tree.unflatten(TREE, [distinct[place] for place in PLACES])
    return {name: of_batch(name, "1" * len(row.arguments))[0](*batches[name]) for name, row in ROWS.items()}


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_values_and_gradients_on_a_mesh_are_those_of_one_device(kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        found = jax.jit(everything)(jax.device_put(DISTINCT, NamedSharding(mesh, P("data"))))
    for name in ROWS:
        assert_same(found[name], EXPECTED[name])


def test_values_and_gradients_in_parts_are_those_of_one_device():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        in_parts = jax.shard_map(everything, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
        found = jax.jit(in_parts)(jax.device_put(DISTINCT, NamedSharding(mesh, P("data"))))
    for name in ROWS:
        assert_same(found[name], EXPECTED[name])


def test_values_and_gradients_with_shared_boxes_and_anchors():
    mapped = "110000"
    function, batch, _ = of_batch("ssd_loss, the lesson's rule", mapped)
    expected = jax.jit(function)(*batch)
    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh, specs, placed = on_mesh(kind, mapped, batch)
        with jax.set_mesh(mesh):
            assert_same(jax.jit(function)(*placed), expected)
    in_parts = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("data")))(*placed)
    assert_same(in_parts, expected)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_the_positives_of_a_batch_are_those_of_all_devices(kind):
    name, mapped = "ssd_loss", "111110"
    _, batch, _ = of_batch(name, mapped)
    batch[4] = np.array([[True, True, True, True], [False, False, False, True]])
    loss = partial(ROWS[name].function, normalizer="batch_positives")
    loss = jax.jit(jax.vmap(loss, in_axes=(0, 0, 0, 0, 0, None), axis_name="batch"))
    mesh, _, placed = on_mesh(kind, mapped, batch)
    with jax.set_mesh(mesh):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), loss(*placed), loss(*batch))
