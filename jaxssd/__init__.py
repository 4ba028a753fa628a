"""Single-shot object detection in JAX.

This package exports pure functions: they jit, vmap, differentiate and shard like any other JAX code. The exception is
`average_precision`, which runs on the host. A mesh with Explicit axes must be entered first, by `jax.set_mesh`.
Importing the functions loads neither Flax nor matplotlib. The trainer is in `jaxssd.training`, the networks in
`jaxssd.models`.
"""

from jaxssd import ops
from jaxssd.metrics import average_precision
from jaxssd.ops import *  # noqa: F403

__all__ = ["average_precision"]
__all__ += ops.__all__
