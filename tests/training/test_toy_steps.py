"""What is random in a step, gradients in parts, and the optimizer's formula: on a network of a few numbers."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxssd.data.augmentation import BatchAugmentation, augment_batch, augment_example
from jaxssd.data.dataset import Examples
from jaxssd.ops import identity_augmentation
from jaxssd.training.epochs import cut_epoch, epoch_order, run_keys
from jaxssd.training.optimizer import make_optimizer
from jaxssd.training.step import init_state, make_train_step
from tests.training.blocks import batch_stats, block_of, init
from tests.training.toy import (
    LEARNS,
    SIDE,
    STAGES,
    NumpyAdamW,
    ToyTask,
    brightness,
    flat,
    group_of,
    toy_gradients,
    toy_set,
)

TASK, DATA = ToyTask(), toy_set(12)
EXAMPLES = DATA.examples
ORDER = np.arange(12, dtype=np.int32).reshape(6, 2)
KEY = jax.random.key(5)
ADAM = {"trainable": "all", "num_stages": STAGES, "lr_multipliers": (1.0, 1.0, 1.0), "weight_decay": 0.0}


def brighten(key):
    """An augmentation that adds a random amount and changes nothing else."""
    return identity_augmentation()._replace(brightness=jax.random.uniform(key, (), jnp.float32, -0.03, 0.03))


def by_sample(sample):
    return partial(augment_example, sample=sample)


BRIGHTEN = by_sample(brighten)


@pytest.fixture(scope="module")
def variables():
    return init(TASK, jax.random.key(0), SIDE)


@pytest.fixture(scope="module")
def descent(variables):
    """Gradient descent with augmentation: the chunk, and a function from a step to the state there."""
    optimizer = optax.sgd(0.0)
    chunk = block_of(TASK, optimizer, augment=BRIGHTEN, donate=False)
    return chunk, lambda step=0: init_state(*variables, optimizer, step=step)


def recorded(result):
    return SimpleNamespace(**{name: np.asarray(values) for name, values in result[1]._asdict().items()})


# Randomness of a step


def test_every_step_drops_and_augments_in_its_own_way(descent):
    """One scan, all of its steps on the same two images."""
    chunk, start = descent
    steps = recorded(chunk(start(), EXAMPLES, np.zeros_like(ORDER), KEY))
    for values in (steps.noise, steps.first):
        assert len(np.unique(values.round(6))) == 6


def test_images_of_a_batch_are_augmented_each_in_its_own_way(descent):
    chunk, start = descent
    steps = recorded(chunk(start(), EXAMPLES, np.zeros_like(ORDER), KEY))
    assert (np.abs(steps.first - steps.second) > 1e-4).all()


def test_a_run_that_goes_on_draws_what_it_would_have_drawn(descent):
    """The key of a step follows from the run's and the step's number, and from nothing else."""
    chunk, start = descent
    whole = recorded(chunk(start(), EXAMPLES, ORDER, KEY))
    rest = recorded(chunk(start(4), EXAMPLES, ORDER[4:], KEY))
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(rest, name), values[4:], rtol=1e-6, err_msg=name)
    epoch_later = recorded(chunk(start(6), EXAMPLES, ORDER, KEY))
    assert not np.isclose(whole.noise, epoch_later.noise).any()
    assert not np.isclose(whole.first, epoch_later.first, atol=1e-5).any()


def test_another_seed_is_another_run(descent):
    chunk, start = descent
    keys = [run_keys(seed) for seed in (0, 0, 1)]
    draws = [recorded(chunk(start(), EXAMPLES, ORDER, step_key)) for _, step_key in keys]
    np.testing.assert_array_equal(draws[0].noise, draws[1].noise)
    assert not np.isclose(draws[0].noise, draws[2].noise).any()
    sizes = cut_epoch(12, 2, 12)
    orders = [np.asarray(epoch_order(order_key, np.int32(0), sizes)).ravel() for order_key, _ in keys]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_the_order_and_the_steps_have_keys_of_their_own():
    """Otherwise the permutation of epoch n and the dropout of step n come from the same numbers."""
    order_key, step_key = (jax.random.key_data(key).tolist() for key in run_keys(3))
    assert order_key != step_key
    assert jax.random.key_data(jax.random.key(3)).tolist() not in (order_key, step_key)


def test_an_augmentation_that_does_nothing_leaves_the_pixels(variables):
    optimizer = optax.sgd(0.0)
    chunk = block_of(TASK, optimizer, augment=by_sample(lambda key: identity_augmentation()), donate=False)
    steps = recorded(chunk(init_state(*variables, optimizer), EXAMPLES, ORDER, KEY))
    np.testing.assert_allclose(steps.brightness, brightness(DATA)[ORDER].mean(axis=1), atol=1e-6)


def test_objects_that_leave_the_image_are_no_targets():
    """Half of the width to the left: of two boxes one is left, at its new place, and its label with it."""
    boxes = np.float32([[[0.1, 0.1, 0.4, 0.4], [0.1, 0.6, 0.4, 0.9]]])
    yes, labels = np.ones((1, 2), bool), np.int32([[3, 4]])
    batch = Examples(EXAMPLES.images[:1], boxes, labels, yes, ~yes)
    shift = identity_augmentation()._replace(translation=jnp.array([0.0, -0.5]))
    moved = jax.jit(partial(augment_batch, steps=(by_sample(lambda key: shift),)))(KEY, batch)
    assert np.asarray(moved.valid).tolist() == [[False, True]]
    np.testing.assert_allclose(moved.boxes[0, 1], [0.1, 0.1, 0.4, 0.4], atol=1e-6)
    np.testing.assert_array_equal(moved.labels, labels)


@pytest.mark.parametrize("num_images", [12, 13])
def test_an_epoch_visits_every_image_once_in_an_order_of_its_own(num_images):
    sizes = cut_epoch(num_images, 2, num_images)
    order_key, _ = run_keys(0)
    orders = [np.asarray(epoch_order(order_key, np.int32(epoch), sizes)).ravel() for epoch in range(8)]
    for order in orders:
        assert len(order) == len(set(order)) == 12
        assert set(order) <= set(range(num_images))
    assert len({tuple(order) for order in orders}) == 8
    if num_images == 13:  # nobody sits out for ever
        assert len({(set(range(13)) - set(order)).pop() for order in orders}) > 2


# Gradients


@pytest.fixture(scope="module")
def plain(variables):
    """Steps of rate 1 along the gradient, in so many parts."""
    optimizer = optax.sgd(1.0)

    def descend(parts, rows, augment=None):
        chunk = block_of(TASK, optimizer, augment=augment, grad_accum_steps=parts, donate=False)
        return chunk(init_state(*variables, optimizer), EXAMPLES, rows, KEY)

    return descend


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_a_step_follows_the_mean_gradient_whatever_the_parts(plain, variables, parts):
    rows = np.arange(12, dtype=np.int32)[None]
    state, loss = plain(parts, rows)
    before, after = flat(variables.params), flat(state.params)
    mean = brightness(DATA).mean()
    expected = toy_gradients(before, mean)
    for path, value in before.items():
        np.testing.assert_allclose(value - after[path], expected[path], atol=2e-6, err_msg=str(path))
    assert float(loss.brightness[0]) == pytest.approx(mean, rel=1e-5)
    # BatchNorm sees a part at a time, all of them from the statistics at the start
    assert float(batch_stats(state)["head"]["mean"]) == pytest.approx(0.1 * mean, rel=1e-5)


def test_parts_drop_and_augment_each_in_its_own_way(plain):
    """Two parts of one image each: equal draws would have no variance."""
    loss = plain(2, np.zeros((1, 2), np.int32), augment=BRIGHTEN)[1]
    assert float(loss.noise_squared[0] - loss.noise[0] ** 2) > 1e-4
    assert abs(float(loss.brightness[0] - loss.first[0])) < 0.03
    one = plain(1, np.zeros((1, 1), np.int32), augment=BRIGHTEN)[1]
    assert float(loss.first[0]) != pytest.approx(float(one.first[0]), abs=1e-6)


# Any model, any loss, any tuple of augmentations


def plain_apply(params, model_state, images, *, train, key):
    """A model without layers, whose state has a mean, a counter and a key."""
    state = {"mean": images.mean(), "count": model_state["count"] + 1, "key": jax.random.split(model_state["key"])[0]}
    return images.mean(axis=(1, 2)) @ params, state


def plain_loss(outputs, examples):
    """An array, and no NamedTuple."""
    return outputs * examples.labels[:, 0]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_model_may_carry_counters_and_keys_and_its_loss_be_an_array(parts):
    """Floats of its state are averaged over the micro-batches, the newest of the others is kept."""
    optimizer = optax.sgd(1.0)
    carried = {"mean": jnp.zeros(()), "count": jnp.zeros((), jnp.int32), "key": jax.random.key(3)}
    examples = EXAMPLES._replace(labels=np.arange(12, dtype=np.int32)[:, None])
    step = make_train_step(plain_apply, plain_loss, optimizer, grad_accum_steps=parts, donate=False)
    state, loss = step(init_state(jnp.ones(3), carried, optimizer), examples, KEY)
    bright, labels = brightness(DATA), np.arange(12)
    assert float(loss) == pytest.approx((3 * bright * labels).mean(), rel=1e-5)
    np.testing.assert_allclose(state.params, 1 - (bright * labels).mean(), rtol=1e-5)
    assert float(state.model_state["mean"]) == pytest.approx(bright.mean(), rel=1e-5)
    assert (int(state.model_state["count"]), int(state.step)) == (1, 1)
    assert jax.random.key_data(state.model_state["key"]).tolist() != jax.random.key_data(carried["key"]).tolist()


def test_augmentations_are_applied_in_order_to_images_and_to_batches():
    """Each with numbers of its own; a batch's may bring an image another one's pixels and labels."""

    def draw(key, image, boxes, valid):
        return image + jax.random.uniform(key), boxes, valid

    def swap(key, examples):
        return jax.tree.map(lambda x: x[::-1], examples)._replace(images=2 * examples.images[::-1])

    batch = EXAMPLES._replace(labels=np.arange(12, dtype=np.int32)[:, None])
    both = augment_batch(KEY, batch, (draw, BatchAugmentation(swap), draw))
    np.testing.assert_array_equal(both.labels, batch.labels[::-1])
    first, second = (
        jax.vmap(lambda key: jax.random.uniform(key))(jax.random.split(k, 12))
        for k in jax.random.split(KEY, 3)[jnp.array([0, 2])]
    )
    expected = 2 * (brightness(DATA) + np.asarray(first))[::-1] + np.asarray(second)
    np.testing.assert_allclose(both.images[:, 0, 0, 0], expected, rtol=1e-5)
    alone = augment_batch(KEY, EXAMPLES, (draw,))  # draws as it would without a tuple
    np.testing.assert_allclose(
        alone.images[:, 0, 0, 0] - brightness(DATA),
        [jax.random.uniform(key) for key in jax.random.split(KEY, 12)],
        rtol=1e-4,
    )


# The optimizer


@pytest.mark.parametrize("trainable", ["head", "upper", "all"])
def test_the_optimizer_is_adamw_with_a_rate_for_each_group(variables, trainable):
    """Ten steps of changing gradients: kernels decay, scales and biases do not, frozen groups stay to the last bit."""
    rates, decay = 0.1 / (1 + np.arange(10.0)), 0.3
    multipliers = dict(zip(("lower", "upper", "head"), (0.01, 0.1, 1.0), strict=True))
    optimizer = make_optimizer(
        lambda step: jnp.asarray(rates)[step],
        trainable=trainable,
        num_stages=STAGES,
        lr_multipliers=tuple(multipliers.values()),
        weight_decay=decay,
    )
    params = variables.params
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    reference = NumpyAdamW(decay, {group: multipliers[group] for group in LEARNS[trainable]})
    expected = flat(params)
    for step, bright in enumerate(np.random.default_rng(0).normal(size=10)):
        grads = toy_gradients(expected, bright)
        expected = reference.step(expected, grads, rates[step])
        tree = jax.tree_util.tree_map_with_path(
            lambda path, _, grads=grads: jnp.float32(grads[tuple(entry.key for entry in path)]), params
        )
        updates, state = update(tree, state, params)
        params = optax.apply_updates(params, updates)
    start, after = flat(variables.params), flat(params)
    for path, value in expected.items():
        np.testing.assert_allclose(after[path], value, atol=2e-5, err_msg=str(path))
        assert np.array_equal(after[path], start[path]) == (group_of(path) not in LEARNS[trainable])


def test_a_new_phase_has_a_new_optimizer(variables):
    optimizer = make_optimizer(lambda step: 0.1, **ADAM)
    state = init_state(*variables, optimizer, step=7)
    assert int(state.step) == 7
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state.opt_state))


@pytest.mark.parametrize("wrapped", [lambda loss: {"total": loss}, lambda loss: (loss, loss)])
def test_a_loss_of_another_form_is_named(wrapped):
    optimizer = optax.sgd(0.1)
    step = make_train_step(TASK.apply, lambda outputs, examples: wrapped(TASK.loss(outputs, examples).total), optimizer)
    with pytest.raises(TypeError, match=r"`loss_fn` returned a (dict|tuple), expected an array or a NamedTuple"):
        step(init_state(*init(TASK, KEY, SIDE), optimizer), EXAMPLES, KEY)


@pytest.mark.parametrize(
    ("augment", "found"), [(lambda key, image, *_: image, "a .*"), (lambda key, *rest: rest[:2], "2 values")]
)
def test_an_augmentation_that_returns_something_else_is_named(augment, found):
    with pytest.raises(TypeError, match=rf"returned {found}, expected \(image, boxes, valid\)"):
        augment_batch(KEY, EXAMPLES, (augment,))
