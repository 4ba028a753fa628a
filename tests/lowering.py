"""JAX's lowering, made cheaper when this is imported: programs share a context of MLIR.

JAX makes a context for every program, which takes a fifth of the time of compiling a small one. Constants of a program
live as long as its context, so there is a new one from time to time.
"""

from itertools import count
from typing import Any

from jax._src.interpreters import mlir

PROGRAMS = 500
"""Programs that share a context."""

_make, _made, _uses = getattr(mlir, "make_ir_context", None), [], count()


def shared_context() -> Any:
    """The context of the last programs, or a new one."""
    if next(_uses) % PROGRAMS == 0 or not _made:
        _made[:] = [_make()]
    return _made[0]


if _make is not None:  # where this version of JAX has it
    mlir.make_ir_context = shared_context
