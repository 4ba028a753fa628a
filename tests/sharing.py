"""Programs that whole runs share in tests: most of their time would go into tracing equal networks again."""

import sys
from dataclasses import replace
from functools import partial

import jax

from jaxssd.config import Config, DatasetConfig, RuntimeConfig
from jaxssd.models import BACKBONES, HEADS
from jaxssd.models.resnet import ResNet
from jaxssd.tasks import task as tasks
from jaxssd.tools import lr_finder  # noqa: F401  # imported before it is patched
from jaxssd.tools.inspection import command  # noqa: F401
from jaxssd.training import distribution, evaluation, job, loop, variables  # noqa: F401

SMALL_BACKBONES = {
    "resnet_micro": partial(ResNet, stage_sizes=(1,), width=8),
    "resnet_narrow": partial(ResNet, stage_sizes=(1, 1), width=8),
}
"""Narrow layers in one stage, and in two, for runs whose network does not matter."""

MADE = {}
"""What was made, by everything that it depends on."""


def register_small_backbones():
    """Not when this is imported: other tests look at every backbone of the package."""
    for name, backbone in SMALL_BACKBONES.items():
        BACKBONES[name] = backbone


def once(make, *key):
    """What was made for an equal key before."""
    if key not in MADE:
        MADE[key] = make()
    return MADE[key]


def program_settings(config: Config) -> str:
    """The settings without those that no program depends on: where the data lies, and when a run is saved."""
    plain = DatasetConfig()
    places = {name: getattr(plain, name) for name in ("data", "images", "train_split", "val_split", "val_fraction")}
    config = replace(config, dataset=replace(config.dataset, **places), runtime=RuntimeConfig())
    return str(config.replace(pretrained=None))


class Itself:
    """A task of the package as a key, which keeps it; a task of a test is known by its type."""

    def __init__(self, task):
        self.task = task if type(task).__module__.startswith("jaxssd") else type(task)

    def __eq__(self, other):
        return self.task is other.task

    def __hash__(self):
        return id(self.task)


def make_task(config, make=tasks.make_task):
    return once(
        partial(make, config),
        *("task", tasks.TASKS[config.task], BACKBONES[config.model.backbone], HEADS[config.model.head]),
        program_settings(config),
    )


def make_phase(config, task, phase, schedule, make=loop.make_phase, **settings):
    """By the settings, the type of the task, and the first rates."""
    rates = tuple(float(schedule(step)) for step in range(8))
    key = "phase", type(task), program_settings(config), phase, rates, str(sorted(settings.items()))
    return once(partial(make, config, task, phase, schedule, **settings), *key)


def make_validate(apply, loss_fn, postprocess, make=evaluation.make_validate):
    methods = apply, loss_fn, postprocess
    if all(hasattr(method, "__self__") for method in methods):
        key = [(Itself(method.__self__), method.__func__) for method in methods]
        return once(partial(make, *methods), "validate", *key)
    return make(*methods)


def first_variables(config, task, mesh=None, make=variables.first_variables):
    """Kept on the host: a step that donates its state deletes the arrays that it was given."""
    if config.model.pretrained is not None:
        return make(config, task, mesh)
    key = "variables", type(task), program_settings(config), config.runtime.seed, mesh
    host = once(lambda: jax.device_get(make(config, task, mesh)), *key)
    return distribution.send(host, distribution.replicated(mesh or distribution.one_device()))


def variable_shapes(task, image_size, make=variables.variable_shapes):
    return once(partial(make, task, image_size), "shapes", Itself(task), image_size)


SHARED = {
    tasks.make_task: make_task,
    loop.make_phase: make_phase,
    evaluation.make_validate: make_validate,
    variables.first_variables: first_variables,
    variables.variable_shapes: variable_shapes,
}


def share(patch, *more):
    """Put them wherever the package, and more modules, have imported what they stand for; register the backbones."""
    register_small_backbones()
    for module in [*(module for name, module in sys.modules.items() if name.partition(".")[0] == "jaxssd"), *more]:
        if module is not None:
            for attribute, value in list(vars(module).items()):
                if getattr(value, "__hash__", None) and callable(value) and value in SHARED:
                    patch.setattr(module, attribute, SHARED[value])
