"""BatchNorm as one multiply-add: the variables, numbers, gradients and statistics of Flax's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.models.fast_layers import MultiplyAddBatchNorm, normalize_batch
from jaxssd.models.layers import BatchNorm, batch_norm

CHANNELS = 5
MULTIPLY_ADD, PLAIN = MultiplyAddBatchNorm, BatchNorm


def random_variables(seed=0):
    rng = np.random.default_rng(seed)
    scale, bias, mean = rng.normal(1, 1, size=(3, CHANNELS)).astype(np.float32)
    var = rng.uniform(0.1, 2, CHANNELS).astype(np.float32)
    return {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": var}}


def random_batch(seed, *shape, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, size=(*shape, CHANNELS)).astype(np.float32)


@partial(jax.jit, static_argnames=("norm", "dtype", "train"))
def run(norm, variables, x, cotangents, *, train, dtype=jnp.float32):
    """What comes out, the statistics afterwards, and the gradients of input and parameters through both."""

    def apply(x, params):
        module = norm(use_running_average=not train, dtype=dtype)
        y, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return y, updates["batch_stats"]

    outputs, pull_back = jax.vjp(apply, x, variables["params"])
    return outputs, pull_back((cotangents[0].astype(outputs[0].dtype), cotangents[1]))


def run_both(x, *, train, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    through_stats = {name: rng.normal(size=CHANNELS).astype(np.float32) for name in ("mean", "var")}
    cotangents = rng.normal(size=x.shape).astype(np.float32), through_stats
    variables = random_variables(seed)
    return [run(norm, variables, x, cotangents, train=train, dtype=dtype) for norm in (MULTIPLY_ADD, PLAIN)]


def assert_close(one, other, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), one, other)


def error_of(y, x):
    """The largest, against float64."""
    wide = np.float64(x)
    expected = (wide - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-5)
    return np.abs(y - expected).max()


@settings(max_examples=10)
@given(st.sampled_from([(2,), (7,), (2, 3, 4)]), st.booleans(), st.integers(0, 999))
def test_numbers_gradients_and_statistics_are_flaxs(shape, train, seed):
    one, other = run_both(random_batch(seed, *shape, mean=0.5), train=train, seed=seed)
    assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [True, False])
def test_statistics_are_flaxs_to_the_last_bits(train):
    x = random_batch(0, 4, 3, 3, mean=3.0)
    (_, one), _ = run(MULTIPLY_ADD, random_variables(), x, (x, random_variables()["batch_stats"]), train=train)
    (_, other), _ = run(PLAIN, random_variables(), x, (x, random_variables()["batch_stats"]), train=train)
    assert_close(one, other, rtol=1e-6)
    if train:
        old, wide = random_variables()["batch_stats"], np.float64(x)
        assert_close(one["mean"], 0.9 * old["mean"] + 0.1 * wide.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
        assert_close(one["var"], 0.9 * old["var"] + 0.1 * wide.var((0, 1, 2)), rtol=1e-4)
    else:
        assert_close(one, random_variables()["batch_stats"], rtol=0)


@pytest.mark.parametrize("kind", ["plain", "norm"])
def test_variables_are_flaxs(kind):
    norm = batch_norm((kind,) if kind == "norm" else ())
    variables = norm(use_running_average=False).init(jax.random.key(0), np.full((2, 3), 7, np.float32))
    expected = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), np.zeros((2, 3), np.float32))
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    assert_close(variables, expected, rtol=0)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_the_attribute_chooses():
    assert batch_norm(()) is PLAIN
    assert batch_norm(("pool", "stem")) is PLAIN
    assert batch_norm(("pool", "norm")) is MULTIPLY_ADD


@pytest.mark.parametrize("mean", [10.0, 100.0, 1000.0, -3000.0])
def test_a_mean_far_from_zero_costs_no_more_than_flaxs_variance_in_one_pass(mean):
    """Both are wrong then: by the square of mean / deviation in the variance, ours also by that ratio in y."""
    x = random_batch(1, 4096, mean=mean)
    variables = {
        "params": {"scale": np.ones(CHANNELS, np.float32), "bias": np.zeros(CHANNELS, np.float32)},
        "batch_stats": random_variables()["batch_stats"],
    }
    cotangents = x, variables["batch_stats"]
    ours, flaxs = (error_of(run(norm, variables, x, cotangents, train=True)[0][0], x) for norm in (MULTIPLY_ADD, PLAIN))
    rounding = np.finfo(np.float32).eps * abs(mean)
    assert ours <= flaxs + 4 * rounding


def test_gradients_are_finite_at_extremes():
    for x in (
        np.zeros((4, CHANNELS)),
        np.full((4, CHANNELS), 1e4),
        1e6 * random_batch(0, 4),
        1e-20 * random_batch(0, 4),
    ):
        one, other = run_both(np.float32(x), train=True)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))
        assert_close(one[0][1], other[0][1], rtol=1e-5, atol=1e-6)


def test_a_nan_stays_in_its_channel():
    x = random_batch(0, 4)
    x[1, 2] = np.nan
    ((y, stats), _), _ = run_both(x, train=True)
    assert np.isnan(y).any(axis=0).tolist() == np.isnan(stats["var"]).tolist() == [False, False, True, False, False]


def test_jit_is_eager_and_vmap_is_a_loop():
    x = random_batch(3, 2, 6)
    variables = random_variables()
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    loop = [normalize_batch(part, scale, bias) for part in x]
    together = jax.jit(jax.vmap(normalize_batch, in_axes=(0, None, None)))(x, scale, bias)
    for i, one in enumerate(loop):
        assert_close(one, jax.tree.map(lambda leaf, i=i: leaf[i], together), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("train", [True, False])
def test_bfloat16_multiplies_and_adds_in_it_and_sums_in_float32(train):
    x = jnp.asarray(random_batch(2, 8, 8, 8, mean=1.0), jnp.bfloat16)
    one, other = run_both(x, train=train, dtype=jnp.bfloat16)
    ((y, stats), (of_x, of_params)), ((flaxs, _), _) = one, other
    assert y.dtype == of_x.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((stats, of_params)))
    assert_close(stats, other[0][1], rtol=1e-6)
    np.testing.assert_allclose(np.float32(y), np.float32(flaxs), rtol=0.02, atol=0.05)
    if train:  # sums of 512 gradients, which bfloat16 could not tell from their neighbours
        assert_close(of_params, other[1][1], rtol=1e-3, atol=1e-3)


def test_only_the_input_is_kept_for_the_backward_pass():
    """Not a second map of its size, such as the centred one."""
    x = jnp.asarray(random_batch(0, 8, 8), jnp.bfloat16)
    scale, bias = jnp.ones(CHANNELS), jnp.zeros(CHANNELS)
    _, pull_back = jax.vjp(normalize_batch, x, scale, bias)
    kept = [leaf for leaf in jax.tree.leaves(pull_back) if leaf.size >= x.size]
    assert [leaf.dtype for leaf in kept] == [jnp.bfloat16]
