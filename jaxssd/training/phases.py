"""Where the phases of a run lie in it."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxssd.config import Config, Phase


@dataclass(frozen=True)
class Place:
    """A phase within the run: its number from 0, and its epochs, counted through all phases."""

    number: int
    phase: Phase
    first_epoch: int

    @property
    def epochs(self) -> range:
        """The epochs of the run that it takes."""
        return range(self.first_epoch, self.first_epoch + self.phase.epochs)


def places(config: Config) -> Iterator[Place]:
    """The phases and the epochs where they begin."""
    first_epoch = 0
    for number, phase in enumerate(config.phases):
        yield Place(number, phase, first_epoch)
        first_epoch += phase.epochs
