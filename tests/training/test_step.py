"""The step, the chunk, and the order of an epoch."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.config import AugmentationConfig
from jaxssd.data.augmentation import augment_batch, augment_example, augmentation_steps
from jaxssd.data.dataset import Examples
from jaxssd.ops import sample_augmentation
from jaxssd.tasks.task import make_task
from jaxssd.training.compilation import compile_program
from jaxssd.training.epochs import Sizes, epoch_order, epoch_shape
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.step import init_state
from jaxssd.training.variables import first_variables
from tests.training.blocks import batch_stats, block_of


def optimizer_of(config, trainable="all"):
    """One cycle of forty steps, peak 0.01."""
    schedule = optax.cosine_onecycle_schedule(40, 1e-2)
    return make_optimizer(
        schedule, trainable=trainable, num_stages=3, lr_multipliers=(1.0, 1.0, 1.0), weight_decay=1e-4
    )


def steps_of(name):
    return augmentation_steps(AugmentationConfig(augment=name), (32, 32))


@pytest.fixture(scope="module")
def setup(tiny_config, tiny_sets):
    """A task, its compiled chunk, a function that makes a fresh state, and data on the device."""
    config = tiny_config.replace(input_dropout=0.5, dropout=0.5)
    task, optimizer = make_task(config), optimizer_of(config)
    chunk = block_of(task, optimizer, augment=steps_of("crop"))
    start = init_state(*first_variables(config, task), optimizer)
    return task, chunk, lambda: jax.tree.map(jnp.copy, start), jax.device_put(tiny_sets[0].examples)


def test_a_chunk_is_its_steps(setup):
    """One scan over four steps, and four calls of one step, take the same path, dropout and augmentation included."""
    _, chunk, start, examples = setup
    order, key = jnp.arange(16, dtype=jnp.int32).reshape(4, 4), jax.random.key(1)
    together, losses = chunk(start(), examples, order, key)
    state, single = start(), []
    for rows in order:
        state, loss = chunk(state, examples, rows[None], key)
        single.append(loss.total[0])
    assert int(together.step) == int(state.step) == 4
    np.testing.assert_allclose(losses.total, np.array(single), rtol=1e-4)
    for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_the_state_is_donated_and_everything_in_it_moves(setup):
    _, chunk, start, examples = setup
    given_up, before = start(), start()
    after, _ = chunk(given_up, examples, jnp.arange(4, dtype=jnp.int32)[None], jax.random.key(1))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given_up.params))
    for name in ("params", "model_state"):
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(getattr(before, name)),
            jax.tree.leaves(getattr(after, name)),
            strict=True,
        ):
            assert not np.array_equal(a, b), f"{name} {jax.tree_util.keystr(path)} did not move"


def test_it_learns_what_it_sees(setup, tiny_config):
    """Forty steps on four images without augmentation: the loss falls by more than half."""
    task, _, start, examples = setup
    chunk = block_of(task, optimizer_of(tiny_config), augment=None)
    state, losses = start(), []
    for _ in range(40):
        state, loss = chunk(state, examples, jnp.arange(4, dtype=jnp.int32)[None], jax.random.key(2))
        losses.append(float(loss.total[0]))
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


DESCENT = optax.sgd(1.0)
"""Parameters change by their gradients and nothing else."""


def chunk_in_parts(config, parts, frozen_stages=0):
    """Without anything random, so that equal parts give equal gradients; each made once for each backend."""
    return made_in_parts(config, parts, frozen_stages, jax.default_backend())


@cache
def made_in_parts(config, parts, frozen_stages, backend):
    task = make_task(config.replace(input_dropout=0.0, dropout=0.0))
    return block_of(task, DESCENT, augment=None, grad_accum_steps=parts, frozen_stages=frozen_stages)


@pytest.fixture(scope="module")
def descend(setup, tiny_config):
    """A function that makes a fresh state for that, with the first one's parameters."""
    return lambda: init_state(*setup[2]().variables, DESCENT)


@pytest.mark.parametrize("looped", [False, True], ids=["unrolled", "in a loop"])
def test_a_batch_in_parts_is_the_batch(setup, descend, tiny_config, monkeypatch, looped):
    """Of two equal halves, which BatchNorm cannot tell from the whole: same losses, statistics and gradients."""
    examples, before = setup[3], descend().params
    order, key = jnp.array([[0, 5, 2, 7, 0, 5, 2, 7]], jnp.int32), jax.random.key(3)
    whole, loss = chunk_in_parts(tiny_config, 1)(descend(), examples, order, key)
    if looped:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    halves, loss_of_halves = chunk_in_parts(tiny_config, 2)(descend(), examples, order, key)
    for name, value in loss._asdict().items():
        np.testing.assert_allclose(getattr(loss_of_halves, name), value, rtol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), whole.model_state, halves.model_state
    )
    gradients, of_halves = (jax.tree.map(jnp.subtract, before, state.params) for state in (whole, halves))
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    assert scale > 1e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * scale), gradients, of_halves)
    assert int(halves.step) == 1


def test_each_part_is_a_share_of_the_batch(setup, descend, tiny_config):
    """A batch of eight different images in two parts: its loss is the mean of what each half has for itself."""
    examples = setup[3]
    key, whole = jax.random.key(3), chunk_in_parts(tiny_config, 1)
    _, both = chunk_in_parts(tiny_config, 2)(descend(), examples, jnp.arange(8, dtype=jnp.int32)[None], key)
    halves = jnp.arange(8, dtype=jnp.int32).reshape(2, 1, 4)
    losses = [whole(descend(), examples, half, key)[1].total[0] for half in halves]
    np.testing.assert_allclose(both.total[0], np.mean(losses), rtol=1e-5)


def test_frozen_statistics_stay_to_the_last_bit_in_three_parts(setup, descend, tiny_config):
    examples, before = setup[3], batch_stats(descend())
    order = jnp.array([[0, 1, 2, 3, 4, 5]], jnp.int32)
    after, _ = chunk_in_parts(tiny_config, 3, frozen_stages=3)(descend(), examples, order, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, before["backbone"], batch_stats(after)["backbone"])
    assert not np.array_equal(
        before["head"]["std_conv0"]["bn"]["mean"], batch_stats(after)["head"]["std_conv0"]["bn"]["mean"]
    )


def test_parts_take_less_memory(setup, descend, tiny_config, monkeypatch):
    """Where parts are computed in a loop, as on an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    arguments = descend(), setup[3], jnp.zeros((1, 16), jnp.int32), jax.random.key(0)
    whole, parts = (compile_program(chunk_in_parts(tiny_config, n), *arguments).temporary for n in (1, 4))
    assert parts < 0.5 * whole


def test_difficult_objects_are_no_targets(setup, tiny_config):
    task, _, start, examples = setup
    predictions = jax.jit(task.predict)(start().variables, np.zeros((20, 32, 32, 3), np.float32))
    loss = jax.jit(task.loss)
    hidden = examples._replace(difficult=examples.valid)
    removed = examples._replace(valid=jnp.zeros_like(examples.valid))
    with_objects, difficult, without = (loss(predictions, e).total for e in (examples, hidden, removed))
    np.testing.assert_array_equal(difficult, without)
    assert not np.allclose(with_objects, without)


def test_augmentation_moves_each_image_its_own_way(tiny_sets):
    examples = jax.tree.map(lambda x: np.repeat(x[3:4], 4, axis=0), tiny_sets[0].examples)
    batch = jax.jit(partial(augment_batch, steps=steps_of("crop")))(jax.random.key(0), examples)
    assert batch.images.shape == examples.images.shape
    assert batch.images.dtype == jnp.float32
    assert len(np.unique(np.asarray(batch.images).reshape(4, -1), axis=0)) == 4
    assert len(np.unique(np.asarray(batch.boxes[:, 0]), axis=0)) == 4
    assert not (batch.valid & ~examples.valid).any()
    np.testing.assert_array_equal(batch.labels, examples.labels)


def test_the_lessons_augmentation_turns_by_three_degrees_and_never_zooms():
    """Half of the images flipped and half turned; nothing scaled or shifted; brightness and contrast by 5 %."""
    augmentations = jax.vmap(steps_of("lesson")[0].keywords["sample"])(jax.random.split(jax.random.key(0), 2000))
    degrees = np.rad2deg(np.asarray(augmentations.angle))
    assert 2.9 < degrees.max() <= 3.0
    assert -3.0 <= degrees.min() < -2.9
    assert np.mean(degrees == 0) == pytest.approx(0.5, abs=0.05)
    assert np.mean(augmentations.flip) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(augmentations.scale, np.ones((2000, 2)))
    np.testing.assert_array_equal(augmentations.translation, np.zeros((2000, 2)))
    assert 0.045 < np.abs(augmentations.brightness).max() <= 0.05


def test_boxes_turn_with_their_image():
    """A white square turned by 20 degrees or not, in a batch: its box is the hull of what is white."""
    images, box = np.zeros((8, 64, 64, 3), np.uint8), np.float32([24, 16, 40, 48]) / 64
    images[:, 24:40, 16:48] = 255
    boxes, ones = np.tile(box, (8, 1, 1)), np.ones((8, 1), bool)
    examples = Examples(images, boxes, np.zeros((8, 1), np.int32), ones, ~ones)
    turn = partial(
        sample_augmentation, rotation=20.0, scale=(1.0, 1.0), aspect=(1.0, 1.0), brightness=0.0, contrast=0.0
    )
    steps = (partial(augment_example, sample=turn),)
    batch = jax.jit(partial(augment_batch, steps=steps))(jax.random.key(0), examples)
    heights = []
    for image, (moved,) in zip(np.asarray(batch.images), np.asarray(batch.boxes), strict=True):
        rows, columns = np.nonzero(image[..., 0] > 0.75)
        hull = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
        np.testing.assert_allclose(moved * 64, hull, atol=1.5)
        heights.append(moved[2] - moved[0])
    assert max(heights) > 1.3 * min(heights)


@given(num_images=st.sampled_from([8, 21, 50]), batch_size=st.sampled_from([4, 8]), chunk_steps=st.sampled_from([1, 3]))
def test_an_epoch_uses_every_image_at_most_once(num_images, batch_size, chunk_steps):
    chunks, steps = epoch_shape(num_images, batch_size, chunk_steps)
    sizes = Sizes(num_images, batch_size, chunks * steps, steps, steps)
    orders = [np.asarray(epoch_order(jax.random.key(0), jnp.int32(epoch), sizes)) for epoch in (0, 0, 1)]
    assert orders[0].shape == (chunks, steps, batch_size)
    assert 1 <= steps <= chunk_steps
    assert num_images - orders[0].size < batch_size * (1 + chunks)
    assert len(np.unique(orders[0])) == orders[0].size
    assert set(orders[0].ravel()) <= set(range(num_images))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_images_without_objects_train(setup):
    _, chunk, start, examples = setup
    empty = examples._replace(valid=jnp.zeros_like(examples.valid), boxes=jnp.full_like(examples.boxes, jnp.nan))
    state, loss = chunk(start(), Examples(*empty), jnp.arange(4, dtype=jnp.int32)[None], jax.random.key(0))
    assert np.isfinite(loss.total).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
