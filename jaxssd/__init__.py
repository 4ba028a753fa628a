"""Single-shot object detection in JAX.

This package exports pure functions: they jit, vmap, differentiate and shard like any other JAX code. The exception is
`average_precision`, which runs on the host. A mesh with Explicit axes must be entered first, by `jax.set_mesh`.
Importing the functions loads neither Flax nor matplotlib. `jaxssd.load` loads a trained run or a published detector,
and imports what it needs when it is used. The trainer is in `jaxssd.training`, the networks in `jaxssd.models`.
"""

from typing import TYPE_CHECKING, Any

from jaxssd import metrics, ops

if TYPE_CHECKING:
    from jaxssd.inference import load as load
    from jaxssd.metrics import average_precision
    from jaxssd.ops import *  # noqa: F403

__all__ = ["average_precision"]
__all__ += ops.__all__


def __getattr__(name: str) -> Any:
    """Take a function from its room, which imports some of them on first use."""
    if name == "load":
        from jaxssd.inference import load  # with Flax: neither here at once nor by `from jaxssd import *`

        return load
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(metrics if name == "average_precision" else ops, name)


def __dir__() -> list[str]:
    """Public names, for completion."""
    return [*__all__, "load"]
