"""Peak speed of the device: TFLOP/s of a large matrix product, GB/s of a copy.

    python benchmarks/ceiling.py

The other benchmarks measure these peaks in their own run, and print the share of them that they achieve.
"""

import sys
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from timing import Row, Timing, measure, report

SECONDS = 1.0


class Ceiling(NamedTuple):
    """Peak number of operations and of bytes a second."""

    flops: float
    bytes: float


class Cost(NamedTuple):
    """Operations and bytes of one unit of work, counted by the compiler in the compiled program."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Command:
    """Command-line options."""


def main(arguments: list[str]) -> None:
    """Measure both peaks for each precision, and report them."""
    tyro.cli(Command, prog="benchmarks/ceiling.py", description=__doc__, args=arguments)
    rows: list[Row] = []
    for precision in ("float32", "bfloat16"):
        ceiling = measure_ceiling(precision)
        rows.append({"precision": precision, "TFLOP/s": ceiling.flops / 1e12, "copy, GB/s": ceiling.bytes / 1e9})
    report("ceiling", f"a product of two matrices of {_side()} rows, and a copy of {_copied() >> 20} MiB", rows)


@cache
def measure_ceiling(precision: str) -> Ceiling:
    """Measure both peaks, once in a process.

    Args:
        precision: dtype of the matrices. A product in float32 has JAX's default precision, like everything else in
            these benchmarks: TF32 on a recent GPU.

    Returns:
        The peaks, from the fastest repeat.
    """
    side, copied = _side(), _copied()
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(precision))
    block = jnp.zeros(copied // 4, jnp.float32)
    add_one = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: on a CPU new pages would take most of the time

    def read_and_write() -> jax.Array:
        nonlocal block
        block = add_one(block)
        return block[:1]  # a slice, since the next call takes over the memory of the whole block

    calls = {"product": partial(jax.jit(jnp.matmul), a, a), "copy": read_and_write}
    times = measure(calls, seconds=SECONDS)
    return Ceiling(2 * side**3 / times["product"].fastest, 2 * copied / times["copy"].fastest)


def cost(compiled: Any) -> Cost:
    """Operations and bytes that the compiler counts; the body of a loop counts once.

    Args:
        compiled: result of `jax.jit(...).lower(...).compile()`.
    """
    counted = compiled.cost_analysis() or {}
    return Cost(*(float(counted.get(name, float("nan"))) for name in ("flops", "bytes accessed")))


def shares(cost: Cost, timing: Timing | None, ceiling: Ceiling) -> Row:
    """Columns of a table: operations and bytes a second, and their shares of the measured peaks.

    Args:
        cost: operations and bytes of a unit of work.
        timing: time of the unit; None if it could not be measured.
        ceiling: peaks for the same precision.
    """
    flops, moved = (count / timing.median if timing else None for count in cost)
    return {
        "GFLOP": cost.flops / 1e9,
        "GB": cost.bytes / 1e9,
        "TFLOP/s": flops and flops / 1e12,
        "of peak FLOP/s": flops and f"{flops / ceiling.flops:.0%}",
        "GB/s": moved and moved / 1e9,
        "of peak GB/s": moved and f"{moved / ceiling.bytes:.0%}",
    }


def _side() -> int:
    return 1024 if jax.default_backend() == "cpu" else 8192


def _copied() -> int:
    return (1 << 28) if jax.default_backend() == "cpu" else (1 << 30)


if __name__ == "__main__":
    main(sys.argv[1:])
