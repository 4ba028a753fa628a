"""Clock, peaks, tables, curves, and a baseline that is not installed."""

import importlib.util
import json
import sys

import growth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timing
from baselines.torch_process import open_baseline
from ceiling import Ceiling, Cost, cost, shares
from startup import has_line
from timing import Timing, measure, ratios, report


class Remote:
    """Says that each of its calls takes two seconds."""

    def __init__(self):
        self.clocked = []

    def __call__(self):
        raise AssertionError("it is not to be run here")

    def clock(self, queued):
        self.clocked.append(queued)
        return 2.0


def test_what_runs_elsewhere_is_timed_there():
    remote, turns = Remote(), []
    times = measure({"here": lambda: turns.append(len(remote.clocked)), "there": remote}, seconds=0, units=4)
    assert times["there"] == Timing(0.5, 0.5, 0.5, timing.FEWEST_REPEATS)
    assert times["here"].median < 0.5
    assert turns == [0, 0, 2, 3, 4, 5, 6]  # two of each to warm up, then they take turns


def test_ratios_are_to_the_first():
    one, two = (Timing(x, x, x, 5) for x in (1.0, 2.0))
    assert ratios({"a": one, "b": two, "c": None}) == {
        "a": one,
        "b": two,
        "b, ratio": 2.0,
        "c": None,
        "c, ratio": None,
    }
    assert ratios({"a": None, "b": two})["b, ratio"] is None


def test_a_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "OUTPUT", tmp_path / "out")
    rows = [{"name": "x", "time": Timing(0.002, 0.001, 0.003, 5), "share": 0.5, "small": 0.0123, "none": None}]
    report("table", "a title", rows, {"torch": "9.9"})
    printed = capsys.readouterr().out
    assert "2 ms (1..3)" in printed
    assert "torch 9.9" in printed
    assert printed.splitlines()[-1].split()[-3:] == ["0.50", "0.012", "-"]
    record = json.loads((tmp_path / "out" / "table.json").read_text())
    assert record["rows"][0]["time"]["median"] == 0.002
    assert record["environment"]["torch"] == "9.9"


def test_the_cost_of_a_product_is_counted():
    a = jax.ShapeDtypeStruct((32, 64), jnp.float32)
    b = jax.ShapeDtypeStruct((64, 16), jnp.float32)
    counted = cost(jax.jit(jnp.matmul).lower(a, b).compile())
    assert counted.flops == pytest.approx(2 * 32 * 64 * 16, rel=0.01)
    assert counted.bytes == pytest.approx(4 * (32 * 64 + 64 * 16 + 32 * 16), rel=0.01)


def test_shares_of_the_ceiling():
    row = shares(Cost(2e12, 1e9), Timing(2.0, 1.0, 3.0, 5), Ceiling(4e12, 1e9))
    assert row["TFLOP/s"] == 1.0
    assert (row["of peak FLOP/s"], row["of peak GB/s"]) == ("25%", "50%")
    assert shares(Cost(1.0, 1.0), None, Ceiling(1.0, 1.0))["of peak FLOP/s"] is None


def test_grids_have_the_anchors_asked_for():
    assert growth.grids_with(189) == [4, 2, 1]
    for count in growth.VALUES["anchors"] + growth.LARGER["anchors"]:
        assert 9 * sum(grid**2 for grid in growth.grids_with(count)) == count
    with pytest.raises(ValueError, match="no such grids have 190 anchors"):
        growth.grids_with(190)


def test_curves_show_every_way_that_was_measured():
    rows = [
        {"function": function, "varied": name, "value": str(value), "vmap + jit": Timing(1, 1, 2, 5), "torch": None}
        for function, names in growth.VARIED.items()
        for name in names
        for value in growth.VALUES[name]
    ]
    figure = growth.growth_figure(rows, "title")
    for ax in figure.axes:
        (line,) = ax.lines
        assert line.get_label() == "vmap + jit"
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        np.testing.assert_allclose(line.get_ydata(), 1e3)
        assert list(line.get_xdata()) == list(growth.VALUES[ax.get_xlabel()])


def test_without_pytorch_it_is_said_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as error, open_baseline("torch"):
        pass
    assert error.value.code == 2
    assert capsys.readouterr().err == f"PyTorch is not installed: {sys.executable} -m pip install torch torchvision\n"


def test_no_baseline_is_none():
    with open_baseline(None) as baseline:
        assert baseline is None


def test_a_line_is_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert not has_line(path)
    path.write_text('{"step": ')
    assert not has_line(path)
    path.write_text('{"step": 0}\n')
    assert has_line(path)


def test_a_time_has_a_fitting_unit():
    assert str(Timing(1.5, 1, 2, 5)) == "1.5 s (1..2)"
    assert str(Timing(1.5e-5, 1e-5, 2e-5, 5)) == "15 us (10..20)"
