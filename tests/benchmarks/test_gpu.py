"""The parts of `make gpu`: time limits that hold, rows that are kept, tables as RESULTS.md has them."""

import importlib
import json
import sys
import time
from pathlib import Path

import gpu
import pytest
import timing
import training_run
import tyro
from gpu import Part, gpu_parts, run_parts, small_parts
from markdown import merge_ratios, section

from jaxssd.training import RunFolder

WRITES_A_ROW = """
import json, os, pathlib, sys
time = {"median": 2e-3, "fastest": 1e-3, "slowest": 3e-3, "repeats": 7}
rows = [{"way": " ".join(sys.argv[1:]) or "none", "time": time}]
record = {"title": "a table", "command": "python x.py", "environment": {"device": "card"}, "rows": rows}
(pathlib.Path(os.environ["BENCHMARKS_OUT"]) / "x.json").write_text(json.dumps(record))
"""
STARTS_A_CHILD_AND_HANGS = """
import subprocess
child = subprocess.Popen(["sleep", "600"])
(pathlib.Path(os.environ["BENCHMARKS_OUT"]) / "pid").write_text(str(child.pid))
child.wait()
"""
FAILS_WITH_THE_BASELINE = "import sys\nif '--baseline' in sys.argv: sys.exit(3)\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Scripts by name and parts -> the results."""

    def run_scripts(scripts, parts, seconds=60):
        for name, code in scripts.items():
            (tmp_path / name).write_text(code)
        monkeypatch.setattr(gpu, "FOLDER", tmp_path)
        run_parts(parts, tmp_path / "results", seconds, "Measured")
        return (tmp_path / "results" / "results.md").read_text()

    return run_scripts


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


def test_tables_of_all_parts_are_gathered(run):
    text = run({"x.py": WRITES_A_ROW}, [Part("one", "x.py", ("a",), 30, False), Part("two", "x.py", ("b",), 30, False)])
    assert text.startswith("## Measured\n")
    assert "### a table\n\n`python x.py`: device card." in text
    assert "| a | 2 ms (1..3), n = 7 |" in text
    assert "| b | 2 ms (1..3), n = 7 |" in text
    assert "not measured" not in text


def test_a_part_that_takes_too_long_ends_with_all_it_started_and_leaves_its_rows(run, tmp_path):
    start = time.monotonic()
    text = run({"x.py": WRITES_A_ROW + STARTS_A_CHILD_AND_HANGS}, [Part("slow", "x.py", ("c",), 2, False)])
    assert time.monotonic() - start < 20
    assert "| c |" in text
    assert "`x.py c`: was stopped after 2 s, later rows are **not measured**" in text
    assert not is_running((tmp_path / "results" / "slow" / "pid").read_text())


def test_a_part_for_which_no_time_is_left_is_said(run):
    text = run({"x.py": WRITES_A_ROW}, [Part("late", "x.py", (), 30, False)], seconds=0)
    assert "`x.py`: was **not measured**: no time was left" in text
    assert "a table" not in text


def test_a_part_that_fails_with_the_baseline_runs_without(run):
    text = run({"x.py": FAILS_WITH_THE_BASELINE + WRITES_A_ROW}, [Part("torch", "x.py", (), 30, True)])
    assert "| none |" in text  # no `--baseline` the second time
    assert "`x.py`: with PyTorch it failed with exit status 3; see torch/log.txt." in text
    text = run({"x.py": WRITES_A_ROW}, [Part("torch", "x.py", (), 30, True)])
    assert "| --baseline torch |" in text


@pytest.mark.parametrize("parts", [gpu_parts, small_parts], ids=["gpu", "small"])
def test_parts_are_commands_that_there_are(parts):
    for part in parts("DATA"):
        module = importlib.import_module(part.script.removesuffix(".py"))
        assert tyro.cli(module.Command, args=part.command[3:])
    assert len({part.name for part in parts("DATA")}) == len(parts("DATA"))


def test_the_most_wanted_parts_fit_into_eight_minutes():
    assert sum(part.seconds for part in gpu_parts("DATA")[:4]) < 60 * gpu.Command().minutes < 480


@pytest.mark.parametrize("validated", [True, False])
def test_a_training_that_is_stopped_leaves_a_row_and_names_a_command_that_there_is(tmp_path, monkeypatch, validated):
    named = []

    def stopped(options):
        named.append(Path(sys.argv[0]))
        run = RunFolder(Path(options[options.index("--out") + 1]))
        run.path.mkdir()
        run.append_rows({"kind": "train", "step": step + 1, "epoch": step, "loss": 1.0} for step in range(4))
        if validated:
            run.append_rows([{"kind": "val", "step": 3, "epoch": 2, "loss": 1.0, "map_voc07": 0.5, "map_area": 0.25}])
        sys.exit(143)

    monkeypatch.setattr(timing, "OUTPUT", tmp_path)
    monkeypatch.setattr(training_run.train, "main", stopped)
    before = sys.argv[0]
    with pytest.raises(SystemExit, match="143"):
        training_run.main(["--out", str(tmp_path / "run")])
    assert named[0] == Path(training_run.ROOT, "train.py")
    assert named[0].is_file()
    assert sys.argv[0] == before
    (row,) = json.loads((tmp_path / "training-run.json").read_text())["rows"]
    expected = ("4", "3", 0.5, 0.25) if validated else ("4", None, None, None)
    assert tuple(row.values())[:4] == expected
    assert list(row)[:2] == ["stopped in epoch", "validated after epochs"]
    assert float(row["wall time, s"]) >= 0


def test_ratios_stand_behind_their_times():
    row = {"ours": "1 s", "theirs": "2 s", "theirs, ratio": "2.00", "other": "-", "other, ratio": "-", "ratio": "0.5"}
    assert merge_ratios(row) == {"ours": "1 s", "theirs": "2 s, **2.00**", "other": "-", "ratio": "0.5"}


def test_a_section_reads_what_was_written():
    record = {"title": "t", "command": "c", "environment": {"jax": "1"}, "rows": [{"a": 0.5, "b": None, "c": "x"}]}
    assert section(json.loads(json.dumps(record))) == (
        "### t\n\n`c`: jax 1.\n\n| a | b | c |\n| --- | --- | --- |\n| 0.50 | - | x |\n"
    )
