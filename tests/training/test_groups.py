"""Layer groups: each at its own rate, and what is frozen does not move by a bit, statistics included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models import BACKBONES
from jaxssd.tasks.task import make_task
from jaxssd.training.backbone import first_variables
from jaxssd.training.groups import TRAINED, frozen_stages, group_labels
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.step import init_state
from tests.training.blocks import block_of

STAGES = 3  # of the tiny run's backbone


def by_path(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def start(tiny_config):
    config = tiny_config.replace(input_dropout=0.0, dropout=0.0)
    task = make_task(config)
    return task, first_variables(config, task)


def one_step(start, examples, trainable, lr_multipliers=(1.0, 1.0, 1.0)):
    """The state after one step of the phase."""
    task, variables = start
    optimizer = make_optimizer(
        lambda step: 1e-2, trainable=trainable, num_stages=STAGES, lr_multipliers=lr_multipliers, weight_decay=0.1
    )
    chunk = block_of(task, optimizer, augment=None, frozen_stages=frozen_stages(trainable, STAGES))
    state = init_state(*jax.tree.map(jnp.copy, variables), optimizer)
    order = jnp.arange(8, dtype=jnp.int32)[None]
    after, _ = chunk(state, jax.device_put(examples), order, jax.random.key(0))
    return after


def group_of(path):
    """Written out for `resnet_small`, which has three stages: the stem and the first of them are the lower half."""
    if "['head']" in path:
        return "head"
    return "upper" if "layer2" in path or "layer3" in path else "lower"


@pytest.mark.parametrize("trainable", ["head", "upper", "all"])
def test_what_is_frozen_stays_to_the_last_bit(start, tiny_sets, trainable):
    _, variables = start
    after = one_step(start, tiny_sets[0].examples, trainable)
    for name, moved in (("params", after.params), ("model_state", after.model_state)):
        before = by_path(getattr(variables, name))
        for path, value in by_path(moved).items():
            if group_of(path) in TRAINED[trainable]:
                assert not np.array_equal(value, before[path]), f"{name} {path} did not move"
            else:
                np.testing.assert_array_equal(value, before[path], err_msg=f"{name} {path} moved")


def test_groups_move_at_their_own_rates(start, tiny_sets):
    """Adam's first step is the rate times the gradient's sign, whatever the gradient."""
    _, variables = start
    params = variables.params
    optimizer = make_optimizer(
        lambda step: 1e-2, trainable="all", num_stages=STAGES, lr_multipliers=(0.01, 0.1, 1.0), weight_decay=0.0
    )
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    expected = {"lower": 1e-4, "upper": 1e-3, "head": 1e-2}
    for path, update in by_path(updates).items():
        np.testing.assert_allclose(update, -expected[group_of(path)], rtol=1e-4, err_msg=path)


def test_frozen_groups_have_no_optimizer_state(start):
    _, variables = start
    sizes = {}
    for trainable in ("head", "upper", "all"):
        optimizer = make_optimizer(
            lambda step: 1e-2, trainable=trainable, num_stages=STAGES, lr_multipliers=(1.0, 1.0, 1.0), weight_decay=0.0
        )
        state = jax.eval_shape(optimizer.init, variables.params)
        sizes[trainable] = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)
    counts = {"lower": 0, "upper": 0, "head": 0}
    for path, value in by_path(variables.params).items():
        counts[group_of(path)] += value.size
    for trainable, groups in TRAINED.items():
        assert sizes[trainable] == 2 * sum(counts[group] for group in groups)  # two moments


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("resnet34", {"conv1", "bn1", "layer1", "layer2"}, {"layer3", "layer4"}),
        ("resnet50", {"conv1", "bn1", "layer1", "layer2"}, {"layer3", "layer4"}),
        ("resnet_small", {"conv1", "bn1", "layer1"}, {"layer2", "layer3"}),
        ("resnet_tiny", {"conv1", "bn1", "layer1"}, {"layer2"}),
    ],
)
def test_the_lessons_groups(name, lower, upper):
    """Of ResNet34 the lesson splits after layer2."""
    backbone = BACKBONES[name]()
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: backbone.init(key, x, train=False), jax.random.key(0), images)
    labels = group_labels({"backbone": shapes["params"], "head": {"conv": 0}}, len(backbone.stage_sizes))
    found = {"lower": set(), "upper": set()}
    for layer, tree in labels["backbone"].items():
        (group,) = set(jax.tree.leaves(tree))
        found[group].add(layer.split("_")[0])
    assert (found["lower"], found["upper"], labels["head"]["conv"]) == (lower, upper, "head")
    assert frozen_stages("upper", len(backbone.stage_sizes)) == len([part for part in lower if "layer" in part])
