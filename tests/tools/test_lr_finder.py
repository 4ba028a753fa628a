"""The learning-rate sweep: it leaves its state alone, ends at the explosion, and suggests what a reader would."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.tasks.task import make_task
from jaxssd.tools import lr_finder
from jaxssd.tools.lr_finder import (
    explosion,
    find_learning_rate,
    read_sweep,
    smooth,
    sweep_losses,
    sweep_schedule,
)
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.step import init_state
from jaxssd.training.variables import first_variables
from tests.training.blocks import block_of


def numpy_smooth(losses, share=lr_finder.SMOOTHING):
    """Weighted mean of all losses so far, a loss of k steps ago weighing share ** k."""
    smoothed = []
    for last in range(len(losses)):
        weights = share ** np.arange(last, -1, -1.0)
        smoothed.append((weights * losses[: last + 1]).sum() / weights.sum())
    return np.array(smoothed)


def test_smoothing_is_a_weighted_mean():
    losses = np.random.default_rng(0).normal(3, 1, 40)
    np.testing.assert_allclose(smooth(losses), numpy_smooth(losses))


def test_rates_grow_geometrically():
    rates = np.asarray(sweep_schedule(100)(np.arange(100)), np.float64)
    assert rates[[0, -1]] == pytest.approx([lr_finder.FIRST_RATE, lr_finder.LAST_RATE], rel=1e-4)
    np.testing.assert_allclose(rates[1:] / rates[:-1], rates[1] / rates[0], rtol=1e-3)


def test_the_sweep_ends_where_the_loss_explodes():
    falling = np.linspace(1.0, 0.5, 60)
    assert explosion(falling) == 60
    assert explosion(np.append(falling, [1.9, 2.1, 0.5])) == 61
    assert explosion(np.append(falling, [np.nan, 0.5])) == 60
    assert explosion(np.append(falling, [np.inf])) == 60
    early = np.array([1.0, 0.1] + [1.0] * 30)  # a low loss among the first ten is chance
    assert explosion(early) == 32


def test_a_valley_is_found_and_the_suggestion_lies_below_it():
    rates = np.geomspace(1e-6, 10, 100)
    noise = np.random.default_rng(0).normal(0, 0.05, 100)
    for valley in (1e-3, 1e-1):
        loss = 2 + np.where(rates < valley, np.log10(valley / rates) / 7, 40 * np.log10(rates / valley) ** 2) + noise
        sweep = read_sweep(rates, loss)
        assert valley / 30 < sweep.suggestion < valley / 2
        assert len(sweep.loss) < 100
        assert len(sweep.learning_rate) == len(sweep.smoothed) == len(sweep.loss)


def test_a_lucky_first_batch_is_no_valley():
    """The running mean begins as the first loss, which is far below all others here."""
    rates = np.geomspace(1e-6, 10, 100)
    loss = 2 - 0.3 * np.clip(np.log10(rates / 1e-4) / 3, 0, 1) + np.where(rates > 0.1, 40 * np.log10(rates / 0.1), 0)
    loss[0] = 0.1
    assert 1e-3 < read_sweep(rates, loss).suggestion < 1e-1
    assert read_sweep(rates[:3], loss[:3]).suggestion == pytest.approx(rates[2] / lr_finder.SAFETY)


def test_a_loss_that_is_never_finite_is_told():
    with pytest.raises(ValueError, match="not finite"):
        read_sweep(np.geomspace(1e-6, 10, 20), np.full(20, np.nan))


@pytest.fixture(scope="module")
def sweepable(tiny_config, tiny_sets):
    task = make_task(tiny_config)
    optimizer = make_optimizer(
        sweep_schedule(12), trainable="all", num_stages=3, lr_multipliers=(1.0, 1.0, 1.0), weight_decay=0.0
    )
    chunk = block_of(task, optimizer, augment=None, donate=False)
    state = init_state(*first_variables(tiny_config, task), optimizer)
    order = jnp.asarray(np.resize(np.arange(20, dtype=np.int32), (12, 8)))
    return chunk, state, jax.device_put(tiny_sets[0].examples), order


def test_the_state_stays_as_it_is_and_one_scan_is_its_steps(sweepable, monkeypatch):
    chunk, state, examples, order = sweepable
    before = jax.device_get(state)
    by_step = sweep_losses(chunk, state, examples, order, seed=0)
    monkeypatch.setattr(jax, "default_backend", lambda: "accelerator")
    in_one_scan = sweep_losses(chunk, state, examples, order, seed=0)
    assert in_one_scan.shape == (12,)
    np.testing.assert_allclose(by_step, in_one_scan[: len(by_step)], rtol=0.02)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_real_sweep(tiny_config, tiny_sets, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    sweep = find_learning_rate(tiny_config, tiny_sets[0])
    assert lr_finder.FIRST_RATE / 10 <= sweep.suggestion <= lr_finder.LAST_RATE / 10
    assert np.isfinite(sweep.smoothed).all()
    assert sweep.smoothed.min() < sweep.smoothed[0]
