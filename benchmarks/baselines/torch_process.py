"""PyTorch in its own process, which takes turns with ours.

Two libraries in one process would compete for the GPU's memory. Workloads are prepared and run in that process, on
request. Requests and replies are pickled on its standard input and output.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

BaselineName = Literal["torch"]


class BaselineError(Exception):
    """Error in PyTorch's process, with its traceback."""


class BaselineOutOfMemory(BaselineError):
    """Too little memory on PyTorch's device."""


@dataclass(frozen=True)
class RemoteCall:
    """Workload prepared in PyTorch's process. A call runs it once and returns its results as NumPy arrays."""

    baseline: "TorchBaseline"
    number: int

    def __call__(self) -> Any:
        """Run once and return the results."""
        return self.baseline.ask("results", number=self.number)

    def clock(self, queued: int) -> float:
        """Seconds per call, measured in PyTorch's process, without the transfer of results."""
        return self.baseline.ask("clock", number=self.number, queued=queued)

    def both_clocks(self) -> tuple[float, float]:
        """Seconds of a call, and its CPU seconds, measured in PyTorch's process."""
        return self.baseline.ask("both_clocks", number=self.number)


class TorchBaseline:
    """PyTorch's process. `about` has its versions and its device."""

    def __init__(self, device: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "baselines.torch_child"],
            cwd=Path(__file__).parents[1],
            env={"OMP_WAIT_POLICY": "passive"} | os.environ,  # threads that wait actively would slow our turns
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._requests, self._replies = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self.about: dict[str, str] = self.ask("open", device=device)

    def prepare(self, workload: str, **arguments: Any) -> RemoteCall:
        """Prepare a workload.

        Args:
            workload: name in `torch_child.WORKLOADS`.
            arguments: keyword arguments of its function; arrays are NumPy arrays.
        """
        return RemoteCall(self, self.ask("prepare", workload=workload, arguments=arguments))

    def forget(self) -> None:
        """Free the memory of all workloads."""
        self.ask("forget")

    def ask(self, request: str, **arguments: Any) -> Any:
        """Send a request and wait for the reply.

        Raises:
            BaselineOutOfMemory, BaselineError: if the request failed.
        """
        try:
            pickle.dump((request, arguments), self._requests, pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
            outcome, value = pickle.load(self._replies)
        except (BrokenPipeError, EOFError) as error:
            raise BaselineError(f"PyTorch's process has ended with status {self._process.wait()}") from error
        if outcome == "done":
            return value
        raise BaselineOutOfMemory(value) if outcome == "out of memory" else BaselineError(value)

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.wait()
        self._replies.close()


@contextmanager
def open_baseline(name: BaselineName | None) -> Iterator[TorchBaseline | None]:
    """Start the baseline named on the command line; None for none. Call this before JAX takes the GPU's memory.

    Raises:
        SystemExit: with status 2 if PyTorch is not installed.
        BaselineError: if PyTorch does not find the GPU that JAX finds.
    """
    if name is None:
        yield None
        return
    if not all(map(importlib.util.find_spec, ("torch", "torchvision"))):
        print(f"PyTorch is not installed: {sys.executable} -m pip install torch torchvision", file=sys.stderr)
        sys.exit(2)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax  # here, since JAX reads the variable when it starts its backend, in the next line

    baseline = TorchBaseline({"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend()))
    try:
        yield baseline
    finally:
        baseline.close()
