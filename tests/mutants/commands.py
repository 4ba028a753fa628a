"""Bugs planted in `commands`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
