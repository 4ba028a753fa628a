"""Single-shot object detection in JAX.

What can be imported from here are pure functions: they jit, vmap, differentiate and shard like any other JAX code, but
for `average_precision`, which is for the host. A mesh with Explicit axes has to be entered first, by `jax.set_mesh`.
Importing them loads neither Flax nor matplotlib. The trainer lives in `jaxssd.training`, the networks in
`jaxssd.models`.
"""

from jaxssd import ops
from jaxssd.metrics import average_precision
from jaxssd.ops import *  # noqa: F403

__all__ = ["average_precision"]
__all__ += ops.__all__
