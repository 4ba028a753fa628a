"""Data parallelism: every device has the whole state, and computes its share of each batch.

The code has no collectives. It places the arrays, and the compiler adds the all-reduce of the gradients and of
BatchNorm's statistics, which are therefore those of the whole batch.
"""

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from jaxssd.training.interruption import say

Tree = TypeVar("Tree")

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Address and port of the first process, number of processes, and index of this one."""

CLUSTER_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Number of processes, as `srun` and `mpirun` set it; JAX finds out the rest by itself."""

DEVICE_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0", "/dev/vfio/0")
"""Files of the drivers of NVIDIA's and AMD's GPUs, and of TPUs."""


def join_processes(environment: dict[str, str] | None = None) -> None:
    """Initialise JAX's distributed processes from the environment, on one host or many; nothing for a single process.

    Call it before anything touches a device.

    Args:
        environment: either all of `VARIABLES`, or those of `srun` and `mpirun`. Default: `os.environ`.

    Raises:
        ValueError: if only some of the variables are set, or if they are not numbers.
    """
    environment = dict(os.environ) if environment is None else environment
    jax.config.update("jax_enable_preemption_service", False)  # it would catch the signals that `interruption` catches
    given = [name for name in VARIABLES if environment.get(name)]
    if given == list(VARIABLES):
        address, count, number = (environment[name] for name in VARIABLES)
        if not address.rpartition(":")[2].isdecimal() or ":" not in address:
            raise ValueError(f"{VARIABLES[0]} is {address!r}, expected HOST:PORT")
        if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
            raise ValueError(
                f"{VARIABLES[1]} is {count!r} and {VARIABLES[2]} is {number!r}, expected a count, and a number below it"
            )
        jax.distributed.initialize(address, int(count), int(number))
    elif any(int(environment.get(name, "1")) > 1 for name in CLUSTER_SIZES):
        jax.distributed.initialize()
    elif given:
        raise ValueError(f"{', '.join(given)} is set, but not {', '.join(x for x in VARIABLES if x not in given)}")


def has_accelerator(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether JAX has a GPU or TPU to run on. No device is touched, so processes can still be joined.

    Args:
        environment: `JAX_PLATFORMS` decides if it is set. Otherwise JAX needs a plugin, and the machine a device file;
            an empty `CUDA_VISIBLE_DEVICES`, or -1, hides NVIDIA's.
    """
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] != "cpu"
    has_plugin = bool(entry_points(group="jax_plugins")) or find_spec("libtpu") is not None
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return has_plugin and any(os.path.exists(path) for path in DEVICE_FILES if not (hidden and "nvidia" in path))


def is_main_process() -> bool:
    """True for the process that writes files and prints."""
    return jax.process_index() == 0


@contextmanager
def distributed(program: str) -> Iterator[None]:
    """Run a command in all distributed processes; only the main process prints.

    A process that fails ends at once with its message: a normal exit would wait for the others, while they wait for
    it. The others detect this, and end as well.

    Args:
        program: name of the command, for the message if the processes cannot be joined.
    """
    try:
        join_processes()
    except (ValueError, RuntimeError) as error:
        sys.exit(f"{program}: {error}")
    if not is_main_process():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        code = error.code if isinstance(error, SystemExit) else traceback.format_exc()
        say("" if isinstance(code, int) else str(code).rstrip())
        os._exit(code if isinstance(code, int) else 1)


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make a mesh of devices along the axis `data`.

    Args:
        devices: devices of the mesh. Default: all devices of all processes.
    """
    row = np.array(jax.devices() if devices is None else devices)
    return Mesh(row, ("data",), axis_types=(AxisType.Auto,))


def one_device() -> Mesh:
    """Mesh of the first device of this process, for small work."""
    return data_mesh(jax.local_devices()[:1])


def describe(mesh: Mesh) -> str:
    """Devices in a few words, such as `8 x NVIDIA H100 (gpu) of 2 processes`."""
    device, count, processes = mesh.devices[0], mesh.size, jax.process_count()
    times = f"{count} x " if count > 1 else ""
    return f"{times}{device.device_kind} ({device.platform})" + (f" of {processes} processes" if processes > 1 else "")


def barrier(place: str) -> None:
    """Wait until all processes reach this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def all_min(number: int) -> int:
    """Smallest of the processes' numbers, which are below 2 ** 31."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).min())


def all_max(numbers: Sequence[int]) -> tuple[int, ...]:
    """Largest of the processes' numbers at each position; they are below 2 ** 31."""
    if jax.process_count() == 1:
        return tuple(map(int, numbers))
    return tuple(multihost_utils.process_allgather(np.array(numbers, np.int32)).max(axis=0).tolist())


def broadcast(text: str) -> str:
    """Broadcast the text of the main process to all processes."""
    if jax.process_count() == 1:
        return text
    ours = text.encode()
    (size,) = all_max([len(ours) if is_main_process() else 0])
    theirs = np.frombuffer(ours.ljust(size)[:size], np.uint8)
    return multihost_utils.broadcast_one_to_all(theirs).tobytes().decode()


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Sharding that gives every device its share of the rows."""
    return NamedSharding(mesh, PartitionSpec("data"))


def batch_sharding(variables: Any) -> Sharding | None:
    """Sharding of a batch for a network with these variables: divided among their devices."""
    sharding = getattr(jax.tree.leaves(variables)[0], "sharding", None)
    return divided(sharding.mesh) if isinstance(sharding, NamedSharding) else sharding


def shares(sharding: Sharding | None) -> int:
    """Number of devices among which a batch is divided."""
    return sharding.mesh.size if isinstance(sharding, NamedSharding) else 1


def send(tree: Any, sharding: Sharding | None) -> Any:
    """Copy host arrays to the devices, each process to its own; all processes have equal arrays.

    Args:
        tree: tree of NumPy arrays.
        sharding: devices and parts; rows must be divisible.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, x.__getitem__), tree)  # type: ignore[arg-type]


def fetch(tree: Tree) -> Tree:
    """Copy arrays to the host: all rows, also those on the devices of other processes."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
