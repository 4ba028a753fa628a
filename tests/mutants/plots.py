"""Bugs planted in `plots`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
