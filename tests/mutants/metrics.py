"""Bugs planted in `metrics`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
