"""The learning rate over a phase, against the formulas."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.config import Phase
from jaxssd.training.schedules import clr_schedule, make_schedule
from tests.training.toy import reference_rates


def numpy_clr(peak, steps, div, cut_div):
    """The library's loop as it was at the time of the lecture: position i of a batch within the cycle."""
    cut = int(steps // cut_div)
    rates = []
    for i in range(steps):
        share = 1 - (i - cut) / (cut * (cut_div - 1)) if i > cut else i / cut
        rates.append(peak * (1 + share * (div - 1)) / div)
    return np.array(rates)


def rates_of(schedule, steps):
    return np.asarray(jax.vmap(schedule)(np.arange(steps)))


@pytest.mark.parametrize(
    ("steps", "div", "cut_div", "peak_step"),
    [
        (96, 32.0, 5.0, 19),
        (160, 32.0, 10.0, 16),
        (320, 32.0, 10.0, 32),
        (160, 20.0, 10.0, 16),
        (128, 20.0, 8.0, 16),
        (320, 20.0, 10.0, 32),
    ],
)
def test_the_lessons_cycles(steps, div, cut_div, peak_step):
    rates = rates_of(clr_schedule(0.01, steps, div=div, cut_div=cut_div), steps)
    np.testing.assert_allclose(rates, numpy_clr(0.01, steps, div, cut_div), rtol=1e-5)
    assert rates.argmax() == peak_step
    assert rates[0] == pytest.approx(0.01 / div)


@settings(max_examples=20)
@given(steps=st.integers(1, 400), div=st.floats(1, 100), cut_div=st.floats(1.5, 20))
def test_a_cycle_of_any_length_stays_between_its_ends(steps, div, cut_div):
    schedule = clr_schedule(1.0, steps, div=div, cut_div=cut_div)
    rates = np.array([schedule(step) for step in {0, steps // 3, steps - 1}])
    assert (rates >= 1 / div * (1 - 1e-5)).all()
    assert (rates <= 1 + 1e-6).all()


@pytest.mark.parametrize("schedule", ["one_cycle", "clr", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_every_schedule_is_positive_and_peaks_at_its_rate(schedule, steps):
    rates = rates_of(make_schedule(Phase(1, 0.03, "all", schedule, (32.0, 10.0)), steps), steps)
    assert np.isfinite(rates).all()
    assert (rates[: max(1, steps - 1)] > 0).all()
    assert rates.max() <= 0.03 * (1 + 1e-6)
    if steps == 200:
        assert rates.max() == pytest.approx(0.03, rel=1e-3)


def test_shapes_of_the_schedules():
    def rates(schedule):
        return rates_of(make_schedule(Phase(1, 1.0, "all", schedule, (32.0, 10.0)), 200), 200)

    assert np.unique(rates("constant")).tolist() == [1.0]
    np.testing.assert_allclose(rates("cosine"), (1 + np.cos(np.pi * np.arange(200) / 200)) / 2, atol=1e-6)
    assert rates("one_cycle").argmax() == pytest.approx(60, abs=1)  # 30 % of the way
    assert rates("one_cycle")[-1] < 1e-3


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 37, 200])
@pytest.mark.parametrize("schedule", ["one_cycle", "clr", "cosine", "constant"])
def test_every_schedule_is_its_formula_at_every_step(schedule, steps):
    """The first and the last step included; the cycle's last step lies one before its end."""
    phase = Phase(1, 0.03, "all", schedule, (32.0, 7.0))
    rates = rates_of(make_schedule(phase, steps), steps)
    np.testing.assert_allclose(rates, reference_rates(phase, steps), rtol=1e-4, atol=1e-7)
