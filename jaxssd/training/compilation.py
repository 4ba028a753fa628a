"""Compile before the run starts, so that it is known what it takes; and keep what was compiled for the next run."""

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
        call: takes arrays of exactly the shapes and devices that it was compiled for, and never compiles.
        seconds: that tracing and compiling took.
        temporary: bytes on each device that it needs while it runs, besides arguments and results; 0 if unknown.
    """

    call: Callable[..., Any]
    seconds: float
    temporary: int


def compile_program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Compile a jitted function without calling it.

    Args:
        function: what `jax.jit` made.
        arguments: arrays, or `jax.ShapeDtypeStruct`s with a sharding.

    Returns:
        The program for such arguments.
    """
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()  # type: ignore[attr-defined]
    plan = compiled.memory_analysis()
    return Program(compiled, time.perf_counter() - start, getattr(plan, "temp_size_in_bytes", 0))


def keep_compiled(folder: Path) -> None:
    """Let JAX keep what takes it more than a second to compile, and read it from there in later processes.

    If the environment names a folder (`JAX_COMPILATION_CACHE_DIR`) it stays that one. What was compiled before this is
    called is not kept.

    Args:
        folder: that runs share; the programs go into its folder `.compiled`, which can be deleted at any time.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder.resolve() / CACHE_FOLDER))
    if not isinstance(warnings.showwarning, _Mender):
        warnings.showwarning = _Mender(warnings.showwarning)


class _Mender:
    """Shows warnings, but for those of JAX about what it keeps: a line, and the program is written anew.

    JAX writes in place, compiles anew what it cannot read, and never overwrites it; what a killed process has left of a
    program would stay for ever. It looks for the file again when it has compiled.
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
