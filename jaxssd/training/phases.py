"""The phases of a run: where they lie in it, and how each trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import optax
from jax.sharding import Mesh

from jaxssd.config import Config, Phase
from jaxssd.tasks.task import Task
from jaxssd.training.augmentation import AUGMENTATIONS
from jaxssd.training.groups import frozen_stages
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.step import TrainBlock, make_train_block, make_train_step


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
    for number, phase in enumerate(config.optimizer.phases):
        yield Place(number, phase, first_epoch)
        first_epoch += phase.epochs


def phase_optimizer(config: Config, task: Task, phase: Phase, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer of a phase; see `make_phase`."""
    return make_optimizer(
        schedule,
        trainable=phase.trainable,
        num_stages=task.num_stages,
        lr_multipliers=config.optimizer.lr_multipliers,
        weight_decay=config.optimizer.weight_decay,
        optimizer=config.optimizer.optimizer,
        momentum=config.optimizer.momentum,
        clip_norm=config.optimizer.clip_norm,
    )


def make_phase(
    config: Config,
    task: Task,
    phase: Phase,
    schedule: optax.Schedule,
    *,
    mesh: Mesh | None = None,
    donate: bool = True,
) -> tuple[optax.GradientTransformation, TrainBlock]:
    """Build the optimizer of a phase and its compiled training.

    Args:
        config: of the run.
        task: likewise.
        phase: says what is trained.
        schedule: from the phase's step to the learning rate.
        mesh: devices that share the work.
        donate: whether a state that is trained is used up.

    Returns:
        The optimizer, for `init_state`, and what `make_train_block` makes with it.
    """
    optimizer = phase_optimizer(config, task, phase, schedule)
    frozen = frozen_stages(phase.trainable, task.num_stages)
    train_step = make_train_step(
        partial(task.apply, frozen_stages=frozen),
        task.loss,
        optimizer,
        augment=AUGMENTATIONS[config.augmentation.augment],
        grad_accum_steps=config.optimizer.grad_accum_steps,
        mesh=mesh,
    )
    return optimizer, make_train_block(train_step, mesh=mesh, donate=donate)
