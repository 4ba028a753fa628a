"""Bugs planted in `tasks`."""

from tests.mutants.planted import Mutant

PLANTED: tuple[Mutant, ...] = ()
