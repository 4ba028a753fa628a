"""Bugs planted in `ops`."""

from tests.mutants.planted import Mutant

PLANTED = (
    Mutant("jaxssd/ops/boxes.py", "near = jnp.minimum(", "near = jnp.maximum(", "the hull is the overlap"),
    Mutant("jaxssd/ops/boxes.py", "positive = denominator > 0", "positive = denominator >= 0", "0 / 0 is NaN"),
)
