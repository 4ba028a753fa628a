"""The compiled training of a task, for tests that need no run around it."""

from functools import partial

from jaxssd.training.step import Variables, make_train_block, make_train_step


def block_of(task, optimizer, *, frozen_stages=0, donate=True, mesh=None, **settings):
    """Many steps in a call, by `make_train_block`; settings are those of `make_train_step`."""
    apply = partial(task.apply, frozen_stages=frozen_stages)
    return make_train_block(
        make_train_step(apply, task.loss, optimizer, mesh=mesh, **settings), mesh=mesh, donate=donate
    )


def batch_stats(variables):
    """BatchNorm's statistics of a state or of variables."""
    return variables.model_state["batch_stats"]


def collections(variables):
    """As Flax has them."""
    return {"params": variables.params, **variables.model_state}


def init(task, key, image_size):
    return Variables(*task.init(key, image_size))
