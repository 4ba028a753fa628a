"""Optimizer: schedules against their formulas; layer groups, each at its own rate; frozen ones do not move by a bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.config import Phase
from jaxssd.models import BACKBONES
from jaxssd.tasks.task import make_task
from jaxssd.training.optimizer import TRAINED, clr_schedule, frozen_stages, group_labels, make_optimizer, make_schedule
from jaxssd.training.step import init_state
from jaxssd.training.variables import first_variables
from tests.training.blocks import block_of
from tests.training.toy import reference_rates

MOST_STEPS = 400


def numpy_clr(peak, steps, div, cut_div):
    """The library's loop as it was at the time of the lecture: position i of a batch within the cycle."""
    cut = int(steps // cut_div)
    rates = []
    for i in range(steps):
        share = 1 - (i - cut) / (cut * (cut_div - 1)) if i > cut else i / cut
        rates.append(peak * (1 + share * (div - 1)) / div)
    return np.array(rates)


def rates_of(schedule, steps):
    """Computed for as many steps in every test, which compiles each operation once."""
    return np.asarray(jax.vmap(schedule)(np.arange(MOST_STEPS)))[:steps]


@pytest.mark.parametrize(
    ("steps", "div", "cut_div", "peak_step"),
    [
        (96, 32.0, 5.0, 19),
        (160, 32.0, 10.0, 16),
        (320, 32.0, 10.0, 32),
        (160, 20.0, 10.0, 16),
        (128, 20.0, 8.0, 16),
        (320, 20.0, 10.0, 32),
    ],
)
def test_the_lessons_cycles(steps, div, cut_div, peak_step):
    rates = rates_of(clr_schedule(0.01, steps, div=div, cut_div=cut_div), steps)
    np.testing.assert_allclose(rates, numpy_clr(0.01, steps, div, cut_div), rtol=1e-5)
    assert rates.argmax() == peak_step
    assert rates[0] == pytest.approx(0.01 / div)


@settings(max_examples=20)
@given(steps=st.integers(1, 400), div=st.floats(1, 100), cut_div=st.floats(1.5, 20))
def test_a_cycle_of_any_length_stays_between_its_ends(steps, div, cut_div):
    schedule = clr_schedule(1.0, steps, div=div, cut_div=cut_div)
    rates = np.array([schedule(step) for step in {0, steps // 3, steps - 1}])
    assert (rates >= 1 / div * (1 - 1e-5)).all()
    assert (rates <= 1 + 1e-6).all()


@pytest.mark.parametrize("schedule", ["one_cycle", "clr", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_every_schedule_is_positive_and_peaks_at_its_rate(schedule, steps):
    rates = rates_of(make_schedule(Phase(1, 0.03, "all", schedule, (32.0, 10.0)), steps), steps)
    assert np.isfinite(rates).all()
    assert (rates[: max(1, steps - 1)] > 0).all()
    assert rates.max() <= 0.03 * (1 + 1e-6)
    if steps == 200:
        assert rates.max() == pytest.approx(0.03, rel=1e-3)


def test_shapes_of_the_schedules():
    def rates(schedule):
        return rates_of(make_schedule(Phase(1, 1.0, "all", schedule, (32.0, 10.0)), 200), 200)

    assert np.unique(rates("constant")).tolist() == [1.0]
    np.testing.assert_allclose(rates("cosine"), (1 + np.cos(np.pi * np.arange(200) / 200)) / 2, atol=1e-6)
    assert rates("one_cycle").argmax() == pytest.approx(60, abs=1)  # 30 % of the way
    assert rates("one_cycle")[-1] < 1e-3


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 37, 200])
@pytest.mark.parametrize("schedule", ["one_cycle", "clr", "cosine", "constant"])
def test_every_schedule_is_its_formula_at_every_step(schedule, steps):
    """The first and the last step included; the cycle's last step lies one before its end."""
    phase = Phase(1, 0.03, "all", schedule, (32.0, 7.0))
    rates = rates_of(make_schedule(phase, steps), steps)
    np.testing.assert_allclose(rates, reference_rates(phase, steps), rtol=1e-4, atol=1e-7)


# Layer groups


STAGES = 2


def by_path(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def start(tiny_config):
    config = tiny_config.replace(backbone="resnet_tiny", input_dropout=0.0, dropout=0.0)
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
    """Written out for `resnet_tiny`, which has two stages: the stem and the first of them are the lower half."""
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
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), params)
    updates, _ = jax.jit(lambda ones, params: optimizer.update(ones, optimizer.init(params), params))(ones, params)
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
        ("resnet10_light", {"conv1", "bn1", "layer1", "layer2"}, {"layer3", "layer4"}),
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
