"""Bugs planted in `training`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
