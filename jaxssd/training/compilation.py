"""Compilation before a run starts, the memory that it will need, and the cache of compiled programs."""

import contextlib
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

CACHE_FOLDER = ".compiled"

_ABOUT_KEPT = re.compile(r"Error (read|writ)ing persistent compilation cache entry for '(.+?)': (.*)")


class Program(NamedTuple):
    """A compiled function.

    Attributes:
        call: function of arrays of exactly the shapes and devices that it was compiled for; it never compiles.
        seconds: time of tracing and compiling.
        temporary: bytes on each device that it needs while it runs, besides arguments and results; 0 if unknown.
    """

    call: Callable[..., Any]
    seconds: float
    temporary: int


def compile_program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Compile a jitted function without calling it.

    Args:
        function: function of `jax.jit`.
        arguments: arrays, or `jax.ShapeDtypeStruct`s with a sharding.

    Returns:
        The program for such arguments.
    """
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()  # type: ignore[attr-defined]
    plan = compiled.memory_analysis()
    return Program(compiled, time.perf_counter() - start, getattr(plan, "temp_size_in_bytes", 0))


class MemoryNeed(NamedTuple):
    """Bytes on each device.

    Attributes:
        images: the training images, or as many blocks of a stream as are there at once.
        state: parameters, BatchNorm's statistics, and the optimizer's.
        step: temporary arrays of a step, activations above all, as the compiler has planned them.
    """

    images: int
    state: int
    step: int

    @property
    def total(self) -> int:
        """Sum of the three."""
        return sum(self)

    def describe(self, available: int) -> str:
        """Describe the memory need in one line, with advice if it exceeds the available bytes.

        Example:
            >>> MemoryNeed(750_000_000, 262_000_000, 9_900_000_000).describe(80_000_000_000)
            "memory: 10.91 GB of the device's 80.00 GB (images 0.75, state 0.26, step 9.90)"
        """
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self._asdict().items())
        text = f"memory: {self.total / 1e9:.2f} GB of the device's {available / 1e9:.2f} GB ({parts})"
        return text if self.total <= available else f"{text}: more than there is;\n{out_of_memory_hint()}"


def out_of_memory_hint() -> str:
    """Out-of-memory hint: options that need less memory. On a CPU, micro-batches and --remat do not help."""
    ways = "--memory stream or a smaller --batch-size"
    return (
        f"{ways} takes less" if jax.default_backend() == "cpu" else f"--grad-accum-steps 2, --remat, {ways} takes less"
    )


def nbytes(tree: Any) -> int:
    """Count the bytes of all arrays of a tree, or of `ShapeDtypeStruct`s.

    Example:
        >>> import jax.numpy as jnp
        >>> nbytes({"a": jnp.zeros((2, 3)), "b": jax.ShapeDtypeStruct((5,), jnp.uint8)})
        29
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def memory_bytes() -> int:
    """Memory of the first local device; for a CPU the host's, or the limit of the container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if not hasattr(os, "sysconf"):  # Windows
        return sys.maxsize
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(host, int(allowed)) if allowed.isdecimal() else host


def keep_compiled(folder: Path) -> None:
    """Turn on JAX's cache of compiled programs, for those that take more than a second.

    A folder named by the environment (`JAX_COMPILATION_CACHE_DIR`) stays. Programs compiled before the call are not
    kept.

    Args:
        folder: folder of runs; the programs go into its folder `.compiled`, which can be deleted at any time.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder.resolve() / CACHE_FOLDER))
    if not isinstance(warnings.showwarning, _Mender):
        warnings.showwarning = _Mender(warnings.showwarning)


class _Mender:
    """Show warnings; for JAX's about its cache, print a line, and delete a damaged program so that it is written again.

    JAX writes in place. It compiles again if it cannot read a file, and never overwrites that file; an incomplete
    program of a killed process would stay for ever. JAX looks for the file again when it has compiled.
    """

    def __init__(self, show: Callable[..., None]) -> None:
        self.show = show
        self.said = False

    def __call__(self, message: Warning | str, *place: Any, **more: Any) -> None:
        found = _ABOUT_KEPT.match(str(message))
        folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        if not found or not folder:
            self.show(message, *place, **more)
            return
        verb, name, error = found.groups()
        files = [file for file in _entries(Path(folder)) if file.name.startswith(f"{name}-")] if verb == "read" else []
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink()
        if files:
            print(f"{folder}: what was kept of {name} is damaged ({error}) and is written again", file=sys.stderr)
        elif not self.said:
            print(f"{folder}: compiled programs are not kept ({error})", file=sys.stderr)
            self.said = True


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
