"""PyTorch in a process of its own, which takes turns with ours: two libraries in one would fight over the GPU's memory.

Works are prepared in that process, and run there when they are asked for. Requests and answers are pickled, one after
the other, on its standard input and output.
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

PeerName = Literal["torch"]


class PeerError(Exception):
    """What went wrong there, with its traceback."""


class PeerOutOfMemory(PeerError):
    """Its device has too little memory for what it was asked."""


@dataclass(frozen=True)
class RemoteCall:
    """A work that is prepared there. A call does it once, and brings its results here as NumPy arrays."""

    peer: "TorchPeer"
    number: int

    def __call__(self) -> Any:
        """The results."""
        return self.peer.ask("results", number=self.number)

    def clock(self, queued: int) -> float:
        """Seconds a call, measured there: what goes through the pipe is not in it."""
        return self.peer.ask("clock", number=self.number, queued=queued)


class TorchPeer:
    """The other process. `about` has its versions and its device."""

    def __init__(self, device: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "baselines.torch_child"],
            cwd=Path(__file__).parents[1],
            env={"OMP_WAIT_POLICY": "passive"} | os.environ,  # threads that wait by spinning would slow our turns down
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._requests, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self.about: dict[str, str] = self.ask("open", device=device)

    def prepare(self, work: str, **arguments: Any) -> RemoteCall:
        """Get something ready to be run.

        Args:
            work: its name in `torch_child.WORKS`.
            arguments: what its function takes; arrays are NumPy's.
        """
        return RemoteCall(self, self.ask("prepare", work=work, arguments=arguments))

    def forget(self) -> None:
        """Free the memory of all that was prepared."""
        self.ask("forget")

    def ask(self, request: str, **arguments: Any) -> Any:
        """Send a request, and wait for what comes back.

        Raises:
            PeerOutOfMemory, PeerError: if it failed.
        """
        try:
            pickle.dump((request, arguments), self._requests, pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
            outcome, value = pickle.load(self._answers)
        except (BrokenPipeError, EOFError) as error:
            raise PeerError(f"the process of PyTorch has ended, by {self._process.wait()}") from error
        if outcome == "done":
            return value
        raise PeerOutOfMemory(value) if outcome == "out of memory" else PeerError(value)

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.wait()
        self._answers.close()


@contextmanager
def open_peer(name: PeerName | None) -> Iterator[TorchPeer | None]:
    """The peer that the command line names, None for none. To be called before JAX takes the GPU's memory.

    Raises:
        SystemExit: with 2 if PyTorch is not there, or does not see the GPU that JAX sees.
    """
    if name is None:
        yield None
        return
    if not all(map(importlib.util.find_spec, ("torch", "torchvision"))):
        print(f"PyTorch is not installed: {sys.executable} -m pip install torch torchvision", file=sys.stderr)
        sys.exit(2)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax  # the variable is read when the first device is asked for, in the next line

    peer = TorchPeer({"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend()))
    try:
        yield peer
    finally:
        peer.close()
