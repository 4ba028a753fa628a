"""Bugs planted in `data`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
