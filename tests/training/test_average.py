"""The moving average of a model's variables: its formula, in a step, in a run that is stopped, and where it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxssd.config import Config
from jaxssd.training import init_state, loop, make_predict, make_train_step
from jaxssd.training.average import decay_at, update_average
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.run_folder import RunFolder
from jaxssd.training.step import TrainState, Variables
from jaxssd.training.variables import first_variables, variable_shapes
from tests.training.test_toy_runs import PHASED, VAL, checkpointed, train
from tests.training.toy import LEARNS, SIDE, NumpyAdamW, ToyTask, brightness, flat, reference_rates, toy_gradients

DECAY = 0.6
AVERAGED = PHASED.replace(ema_decay=DECAY)


def test_by_hand():
    """From 0 towards 1: the first step keeps a tenth, the second 2/11, and none more than the decay."""
    average = {"w": jnp.zeros(())}
    for step, expected in enumerate([0.9, 0.9 + 0.1 * 9 / 11, 1 - 0.1 * 2 / 11 * 0.2]):
        average = update_average(average, {"w": jnp.ones(())}, step, 0.2)
        assert float(average["w"]) == pytest.approx(expected, rel=1e-6)


def test_the_decay_rises_to_its_highest():
    decays = np.asarray(jax.vmap(lambda step: decay_at(step, 0.998))(jnp.arange(10_000)))
    np.testing.assert_allclose(decays[[0, 1, 90, 9_000]], [0.1, 2 / 11, 0.91, 0.998], rtol=1e-6)
    assert (np.diff(decays) >= 0).all()


def test_what_does_not_change_is_its_own_average_and_what_has_no_mean_is_taken():
    odd = {"w": jnp.float32([0.1, 1e-30, 3e30]), "half": jnp.bfloat16(0.3), "count": jnp.int32(3)}
    state = odd | {"key": jax.random.key(1)}
    average = update_average(state | {"count": jnp.int32(2), "key": jax.random.key(0)}, state, 7, 0.9)
    for name, value in odd.items():
        np.testing.assert_array_equal(average[name], value)
        assert average[name].dtype == value.dtype
    assert jax.random.key_data(average["key"]).tolist() == jax.random.key_data(state["key"]).tolist()


def follow(config, rows):
    """Parameters of a run and their average at each step, in NumPy, from what each step saw."""
    params = flat(first_variables(config, ToyTask()).params)
    average, position = params, 0
    for phase in config.optimizer.phases:
        multipliers = dict(zip(LEARNS["all"], config.optimizer.lr_multipliers, strict=True))
        adam = NumpyAdamW(
            config.optimizer.weight_decay, {group: multipliers[group] for group in LEARNS[phase.trainable]}
        )
        for rate in reference_rates(phase, 3 * phase.epochs):
            params = adam.step(params, toy_gradients(params, rows[position]["brightness"]), rate)
            decay = min(DECAY, (1 + position) / (10 + position))
            average = {path: decay * average[path] + (1 - decay) * params[path] for path in params}
            position += 1
    return params, average


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run of four phases with an average."""
    return train(AVERAGED, tmp_path_factory.mktemp("averaged"))


def state_at_end(run):
    variables = variable_shapes(ToyTask(), SIDE)
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        like = TrainState(0, *variables, None, variables)
        return checkpoints.restore(checkpoints.last_step, like)


def test_a_run_averages_over_all_its_phases(averaged):
    newest, average = follow(AVERAGED, averaged.rows("train"))
    state = state_at_end(averaged)
    for found, expected in ((state.params, newest), (state.average.params, average)):
        for path, value in flat(found).items():
            np.testing.assert_allclose(value, expected[path], atol=5e-5, err_msg=str(path))
    means = (flat(variables.model_state) for variables in (state.variables, state.average))
    for newest, average in zip(*(tree.values() for tree in means), strict=True):
        assert 0 < average < newest  # BatchNorm's statistics, which rise from 0
    jax.tree.map(np.testing.assert_array_equal, checkpointed(averaged), state.average)  # what a run is used with


def test_validations_see_the_average(averaged):
    """The toy's loss of an image is its brightness times the sum of all parameters times constants."""
    total = float(ToyTask().predict(checkpointed(averaged), jnp.ones((1, SIDE, SIDE, 3)))[1][0])
    assert averaged.rows("val")[-1]["loss"] == pytest.approx(total * brightness(VAL).mean(), rel=1e-5)


def test_an_average_changes_nothing_else_and_is_resumed_exactly(averaged, tmp_path, monkeypatch):
    """Stopped within a phase and between two."""
    evaluate_once = loop.evaluate
    for validations in (2, 4):

        def stop(*args, limit=validations, **kwargs):
            if len(RunFolder(tmp_path / "stopped").rows("val")) == limit:
                raise KeyboardInterrupt
            return evaluate_once(*args, **kwargs)

        monkeypatch.setattr(loop, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(AVERAGED, tmp_path / "stopped")
    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    stopped = train(AVERAGED, tmp_path / "stopped")
    assert stopped.metrics.read_text() == averaged.metrics.read_text()
    jax.tree.map(np.testing.assert_array_equal, state_at_end(stopped), state_at_end(averaged))
    plain = train(PHASED, tmp_path / "plain")
    assert plain.rows("train") == averaged.rows("train")
    jax.tree.map(np.testing.assert_array_equal, checkpointed(plain), state_at_end(averaged).variables)
    assert not (plain.checkpoints / "18" / "average").exists()


def apply(params, model_state, images, *, train, key):
    """Brightness times a number; the state counts."""
    return images.mean(axis=(1, 2, 3)) * params, {"count": model_state["count"] + 1, "key": model_state["key"]}


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_of_any_model_keeps_an_average_that_predictions_use(parts, tiny_sets):
    """With a counter and a key in the model's state, and gradients of micro-batches: one average per update."""
    optimizer, examples = optax.sgd(1.0), jax.tree.map(lambda x: x[:4], tiny_sets[0].examples)
    step = make_train_step(apply, lambda outputs, _: outputs, optimizer, grad_accum_steps=parts, ema_decay=0.15)
    carried = {"count": jnp.int32(0), "key": jax.random.key(0)}
    state = init_state(jnp.ones(()), carried, optimizer, average=True)
    expected, newest, bright = 1.0, 1.0, float(np.mean(examples.images) / 255)
    for decay in (0.1, 0.15):
        state, _ = step(state, examples, jax.random.key(0))
        newest -= bright
        expected = decay * expected + (1 - decay) * newest
        assert float(state.average.params) == pytest.approx(expected, rel=1e-5)
    assert int(state.average.model_state["count"]) == 2
    predict = make_predict(apply, lambda outputs: outputs)
    white = np.ones((1, 2, 2, 3), np.float32)
    assert float(predict(state, white)[0]) == float(predict(state.average, white)[0]) == float(state.average.params)
    assert float(predict(state.variables, white)[0]) == float(state.params)


@pytest.mark.parametrize(("decay", "average"), [(0.9, False), (None, True)])
def test_a_state_without_its_average_is_an_error(decay, average, tiny_sets):
    optimizer = optax.sgd(1.0)
    step = make_train_step(apply, lambda outputs, _: outputs, optimizer, ema_decay=decay)
    state = init_state(jnp.ones(()), {"count": jnp.int32(0), "key": jax.random.key(0)}, optimizer, average=average)
    with pytest.raises(TypeError, match=r"`ema_decay` is .* average=True\) starts one"):
        step(state, tiny_sets[0].examples, jax.random.key(0))


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="--ema-decay"):
        Config.of(ema_decay=decay)


def test_an_average_may_be_continued():
    average = Variables(jnp.zeros(()), ())
    assert init_state(jnp.ones(()), (), optax.sgd(0.1), average=average).average is average
