"""Many devices, and how several processes find one another; what they do then is in `test_commands.py`."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxssd.training import distribution
from jaxssd.training.distribution import (
    all_max,
    barrier,
    batch_sharding,
    broadcast,
    data_mesh,
    distributed,
    fetch,
    has_accelerator,
    is_main_process,
    join_processes,
    send,
    shares,
)

ROOT = Path(__file__).parents[2]
COORDINATOR = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def test_eight_devices():
    """All of `eight_devices.py`, in a process that has so many."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/training/eight_devices.py"]
    flags = f"--xla_force_host_platform_device_count=8 {os.environ.get('XLA_FLAGS', '')}"
    environment = os.environ | {"XLA_FLAGS": flags}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({}, None),
        (COORDINATOR, ("host:1", 2, 1)),
        ({"SLURM_STEP_NUM_TASKS": "4"}, ()),
        ({"SLURM_STEP_NUM_TASKS": "4", "JAX_COORDINATOR_ADDRESS": "host:1"}, ()),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ()),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
    ],
)
def test_the_environment_says_whether_there_are_others(monkeypatch, environment, arguments):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: calls.append(args))
    join_processes(environment)
    assert calls == ([] if arguments is None else [arguments])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_PROCESS_ID": ""}, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES is set, but not JAX_PROCESS_ID"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is '2'"),
        ({"JAX_NUM_PROCESSES": "many"}, "JAX_NUM_PROCESSES is 'many'"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS is 'host', expected HOST:PORT"),
    ],
)
def test_an_environment_that_makes_no_sense_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        join_processes(COORDINATOR | change)


@pytest.mark.parametrize(
    ("platforms", "plugins", "files", "expected"),
    [
        *((platforms, ["cuda"], True, True) for platforms in (None, "", "cuda", "tpu,cpu")),
        *((platforms, ["cuda"], True, False) for platforms in ("cpu", "cpu,cuda")),
        *((None, plugins, files, False) for plugins, files in (([], True), (["cuda"], False))),
    ],
)
def test_an_accelerator_needs_a_plugin_and_a_driver_unless_platforms_are_named(
    monkeypatch, platforms, plugins, files, expected
):
    monkeypatch.setattr("jaxssd.training.distribution.entry_points", lambda group: plugins)
    monkeypatch.setattr("jaxssd.training.distribution.find_spec", lambda name: None)
    monkeypatch.setattr("os.path.exists", lambda path: files)
    environment = {} if platforms is None else {"JAX_PLATFORMS": platforms}
    assert has_accelerator(environment) is expected


@pytest.mark.parametrize(("visible", "expected"), [("", False), ("-1", False), ("0", True), ("1,0", True)])
def test_gpus_that_are_hidden_are_no_accelerator(monkeypatch, visible, expected):
    monkeypatch.setattr("jaxssd.training.distribution.entry_points", lambda group: ["cuda"])
    monkeypatch.setattr("jaxssd.training.distribution.find_spec", lambda name: None)
    monkeypatch.setattr("os.path.exists", lambda path: path == "/dev/nvidiactl")
    assert has_accelerator({"CUDA_VISIBLE_DEVICES": visible}) is expected


def test_alone_there_is_nobody_to_wait_for():
    barrier("anywhere")
    assert is_main_process()
    assert broadcast("20200101") == "20200101"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(SystemExit(143), 143, ""), (SystemExit("why"), 1, "why\n"), (ValueError("which"), 1, "ValueError: which\n")],
)
def test_one_of_several_processes_goes_at_once_with_its_status(monkeypatch, capsys, error, status, said):
    exits = []
    monkeypatch.setattr(distribution, "join_processes", lambda: None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distribution.os, "_exit", exits.append)
    with distributed("train.py"):
        raise error
    assert exits == [status]
    assert capsys.readouterr().err.endswith(said)


def test_a_signal_of_one_process_is_everyones(monkeypatch):
    """As that one may get it alone, and clocks differ."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        distribution.multihost_utils, "process_allgather", lambda ours: np.stack([ours, np.array([15, 0], np.int32)])
    )
    assert all_max([0, True]) == (15, 1)


def test_a_batch_goes_where_the_variables_are():
    array = np.arange(4.0, dtype=np.float32)
    mesh = data_mesh(jax.devices()[:1])
    for variables in (array, jax.device_put(array), send(array, batch_sharding(send(array, None)))):
        sharding = batch_sharding({"params": variables})
        assert shares(sharding) == 1
        np.testing.assert_array_equal(fetch(send(array, sharding)), array)
    assert mesh.size == 1
