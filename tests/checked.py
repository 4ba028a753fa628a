"""The type checker of the tests: beartype, set up once for each function that is called.

Decorating costs a millisecond, and functions inside functions are decorated again whenever JAX traces the outer one.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype

CHECKERS: dict[tuple[str, str, str], Callable[..., Any]] = {}


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that checks its arguments against the annotations of `function`, which jaxtyping makes for that."""
    key = function.__module__, function.__qualname__, repr(function.__annotations__)

    def checker(*args: Any, **kwargs: Any) -> Any:
        if key not in CHECKERS:
            CHECKERS[key] = beartype(function)
        return CHECKERS[key](*args, **kwargs)

    return checker
