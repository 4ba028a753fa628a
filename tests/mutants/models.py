"""Bugs planted in `models`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
