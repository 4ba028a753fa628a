"""Many devices, and several processes that share a run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxssd.training import RunFolder
from jaxssd.training.devices import agree, batch_sharding, data_mesh, fetch, join_processes, leads, meet, send, shares

ROOT = Path(__file__).parents[2]
COORDINATOR = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def command(*arguments, **variables):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_eight_devices():
    """All of `eight_devices.py`, in a process that has so many."""
    flags = "--xla_force_host_platform_device_count=8"
    process = command(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/training/eight_devices.py"), XLA_FLAGS=flags
    )
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert " passed" in output


def test_two_processes_share_a_run(finished_run, tiny_config, tmp_path):
    """They print what one process gets, and leave one folder as one process does."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    script = str(ROOT / "tests" / "training" / "one_of_several.py")
    processes = [
        command(
            script, str(tmp_path), JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(number)
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    last = [output.splitlines()[-1] for output in outputs]
    assert last[0] == last[1]
    assert last[0].startswith("2 x cpu (cpu) of 2 processes: 12 images, loss ")
    run = RunFolder(tmp_path)
    assert run.open() == tiny_config
    for kind in ("train", "val"):
        ours, theirs = ([row["loss"] for row in folder.rows(kind)] for folder in (run, finished_run))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)


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
    ],
)
def test_an_environment_that_makes_no_sense_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        join_processes(COORDINATOR | change)


def test_alone_there_is_nobody_to_wait_for():
    meet("anywhere")
    assert leads()
    assert agree("20200101") == "20200101"


def test_a_batch_goes_where_the_variables_are():
    array = np.arange(4.0, dtype=np.float32)
    mesh = data_mesh(jax.devices()[:1])
    for variables in (array, jax.device_put(array), send(array, batch_sharding(send(array, None)))):
        sharding = batch_sharding({"params": variables})
        assert shares(sharding) == 1
        np.testing.assert_array_equal(fetch(send(array, sharding)), array)
    assert mesh.size == 1
