"""What a device has of memory, and what a run is going to take of it."""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax


class MemoryNeed(NamedTuple):
    """Bytes on each device.

    Attributes:
        images: the training images, or as many blocks of a stream as are there at once.
        state: parameters, BatchNorm's statistics, and the optimizer's.
        step: what a step computes and throws away, activations above all; as the compiler has planned it.
    """

    images: int
    state: int
    step: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)

    def describe(self, available: int) -> str:
        """One line for people, with a way out if the memory is too small.

        Args:
            available: bytes of the device.

        Example:
            >>> MemoryNeed(750_000_000, 262_000_000, 9_900_000_000).describe(80_000_000_000)
            "memory: 10.91 GB of the device's 80.00 GB (images 0.75, state 0.26, step 9.90)"
        """
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self._asdict().items())
        text = f"memory: {self.total / 1e9:.2f} GB of the device's {available / 1e9:.2f} GB ({parts})"
        return text if self.total <= available else f"{text}: more than there is;\n{out_of_memory_hint()}"


def out_of_memory_hint() -> str:
    """What takes less memory; on a processor the parts of a batch do not, nor does --remat."""
    ways = "--memory stream or a smaller --batch-size"
    return (
        f"{ways} takes less" if jax.default_backend() == "cpu" else f"--grad-accum-steps 2, --remat, {ways} takes less"
    )


def nbytes(tree: Any) -> int:
    """Of all arrays of a tree, or of the shapes of such.

    Example:
        >>> import jax.numpy as jnp
        >>> nbytes({"a": jnp.zeros((2, 3)), "b": jax.ShapeDtypeStruct((5,), jnp.uint8)})
        29
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def memory_bytes() -> int:
    """What the first local device has; a CPU's is the host's, or what a container is allowed of it."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if not hasattr(os, "sysconf"):  # Windows does not tell
        return sys.maxsize
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(host, int(allowed)) if allowed.isdecimal() else host
