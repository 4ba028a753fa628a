"""Compile before the run starts, so that it is known what it takes; and keep what was compiled for the next run."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

CACHE_FOLDER = ".compiled"


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
