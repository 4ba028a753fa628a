"""The same run on one, two and eight devices. `test_distribution.py` runs this file in a process that has eight."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxssd
from jaxssd.tasks.task import make_task
from jaxssd.training import RunFolder, evaluate, loop, make_predict, make_validate, map_batches, restore, train
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.distribution import data_mesh, describe, divided, replicated, send
from jaxssd.training.epochs import run_keys
from jaxssd.training.loop import make_phase
from jaxssd.training.optimizer import make_schedule
from jaxssd.training.step import init_state
from jaxssd.training.variables import first_variables

EPOCH_STEPS = 3  # of twenty images
COUNTS = (1, 2, 8)
"""Devices for a batch of six: two divide it evenly, and two of eight have no image of it."""


def mesh_of(count):
    return data_mesh(jax.devices()[:count])


def rows(run, kind):
    return [[value for value in row.values() if isinstance(value, float)] for row in run.rows(kind)]


@pytest.fixture(scope="module")
def short_config(tiny_config):
    """Two epochs with dropout, augmentation and averages."""
    return tiny_config.replace(batch_size=6, epochs=(2,), ema_decay=0.9)


@pytest.fixture(scope="module")
def runs(short_config, tiny_sets, tmp_path_factory):
    """The same run by number of devices."""
    made = {}
    for count in COUNTS:
        made[count] = RunFolder(tmp_path_factory.mktemp(f"on{count}"))
        made[count].create(short_config)
        train(short_config, *tiny_sets, made[count], mesh_of(count))
    return made


def test_there_are_eight_devices():
    assert len(jax.devices()) == 8
    assert describe(data_mesh()).startswith("8 x cpu")


@pytest.mark.parametrize("count", COUNTS[1:])
def test_losses_and_scores_are_those_of_one_device(runs, count):
    """The first loss to float tolerance; later ones as rounding, which training amplifies, lets them."""
    one, many = runs[1], runs[count]
    np.testing.assert_allclose(rows(many, "train")[0], rows(one, "train")[0], rtol=1e-5)
    np.testing.assert_allclose(rows(many, "train"), rows(one, "train"), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(rows(many, "val"), rows(one, "val"), rtol=2e-2, atol=2e-3)


@pytest.fixture(scope="module")
def step(short_config, tiny_sets):
    """A state and the losses after one step on so many devices, and the compiled step: by default that of the runs."""

    @cache
    def of(count, **settings):
        config = short_config.replace(**settings)
        mesh, task = mesh_of(count), make_task(config)
        phase = config.optimizer.phases[0]
        optimizer, chunk = make_phase(config, task, phase, make_schedule(phase, EPOCH_STEPS * 2), mesh=mesh)
        state = init_state(*first_variables(config, task, mesh), optimizer, average=True)
        examples = send(tiny_sets[0].examples, replicated(mesh))
        order = send(np.arange(config.optimizer.batch_size, dtype=np.int32)[None], replicated(mesh))
        arguments = state, examples, order, run_keys(0, mesh)[1]
        program = chunk.lower(*arguments).compile()
        with jax.transfer_guard("disallow"):
            state, loss = program(*arguments)
        return state, loss, program

    return of


def test_batchnorm_sees_the_whole_batch(step):
    """Its statistics after one step are those of one device, where six images lie in shares of one, and two of none."""
    one, eight = step(1)[0], step(8)[0]
    for a, b in zip(jax.tree.leaves(one.model_state), jax.tree.leaves(eight.model_state), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    for leaf in jax.tree.leaves(eight):
        assert leaf.sharding.is_equivalent_to(replicated(mesh_of(8)), leaf.ndim)


def test_parts_of_a_batch_lie_on_all_devices_too(step):
    one, eight = step(1, batch_size=10, grad_accum_steps=2), step(8, batch_size=10, grad_accum_steps=2)
    np.testing.assert_allclose(eight[1].total, one[1].total, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one[0].model_state), jax.tree.leaves(eight[0].model_state), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def exchanges_images(program):
    collectives = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
    lines = [line for line in program.as_text().splitlines() if any(f" {name}(" in line for name in collectives)]
    return any(",32,32,3]" in line for line in lines)


def test_devices_exchange_sums_and_no_images(step, tiny_sets):
    """What goes from one device to another is of the size of parameters, statistics and losses."""
    assert "all-reduce" in step(8)[2].as_text()
    assert not exchanges_images(step(8)[2])
    assert not exchanges_images(step(8, batch_size=10, grad_accum_steps=2)[2])

    @partial(jax.jit, out_shardings=replicated(mesh_of(8)))
    def gather(x):
        return jax.lax.with_sharding_constraint(x, divided(mesh_of(8)))

    # As a control, ten images that are divided and put together again; uneven shares are padded.
    assert exchanges_images(gather.lower(send(tiny_sets[0].examples.images[:10], replicated(mesh_of(8)))).compile())


def test_evaluation_divides_each_batch_and_counts_every_image_once(runs, tiny_sets):
    images = tiny_sets[1].examples.images
    _, task, variables = restore(runs[8], "last", mesh_of(1))
    expected = map_batches(make_predict(task.apply, task.postprocess), variables, images, batch_size=12)
    for batch_size in (5, 100):
        _, task, variables = restore(runs[8], "last", mesh_of(8))
        seen, predict = [], make_predict(task.apply, task.postprocess)

        def look_and_predict(variables, batch, seen=seen, predict=predict):
            seen.append((len(batch), batch.sharding))
            return predict(variables, batch)

        found = map_batches(look_and_predict, variables, images, batch_size=batch_size)
        assert all(size % 8 == 0 and where == divided(mesh_of(8)) for size, where in seen)
        np.testing.assert_array_equal(found.valid, expected.valid)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_run_goes_on_with_fewer_devices(runs, tiny_sets, tmp_path, monkeypatch):
    """Stopped after an epoch on eight, resumed on one: it ends like the run that was not."""
    config, evaluate_once = runs[1].open(), loop.evaluate
    run = RunFolder(tmp_path)
    run.create(config)

    def stop_at_second_validation(*args, **kwargs):
        if run.rows("val"):
            raise KeyboardInterrupt
        return evaluate_once(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", stop_at_second_validation)
    with pytest.raises(KeyboardInterrupt):
        train(config, *tiny_sets, run, mesh_of(8))
    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    train(config, *tiny_sets, run, mesh_of(1))
    assert len(run.rows("train")) == len(runs[1].rows("train"))
    np.testing.assert_allclose(rows(run, "train"), rows(runs[1], "train"), rtol=2e-3, atol=2e-3)


def test_a_checkpoint_of_eight_devices_is_read_by_one(runs):
    _, _, on_one = restore(runs[8], "last", mesh_of(1))
    _, _, on_eight = restore(runs[8], "last", mesh_of(8))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(on_one), jax.device_get(on_eight))
    assert all(leaf.devices() == set(jax.devices()[:1]) for leaf in jax.tree.leaves(on_one))
    with Checkpoints(runs[8].checkpoints, read_only=True) as checkpoints:
        assert checkpoints.last_step


def test_scores_of_a_restored_network(runs, tiny_sets):
    """On eight devices what they were in the run on eight."""
    config, task, variables = restore(runs[8], "last", mesh_of(8))
    validate = make_validate(task.apply, task.loss, task.postprocess)
    result = evaluate(validate, variables, tiny_sets[1], task.score, batch_size=config.optimizer.batch_size)
    row = runs[8].rows("val")[-1]
    assert result.loss.total.mean() == pytest.approx(row["loss"], rel=1e-5)
    assert result.scores.voc.mean_area == pytest.approx(row["map_area"], abs=1e-6)


def test_streamed_blocks_reach_all_devices(runs, tiny_sets, tmp_path):
    run, config = RunFolder(tmp_path), runs[8].open().replace(memory="stream")
    run.create(config)
    train(config, *tiny_sets, run, mesh_of(8))
    assert run.metrics.read_text() == runs[8].metrics.read_text()


def test_a_sum_of_uneven_shares():
    """What the above stands on: jit pads a share that is too short, and the padding counts nowhere."""
    mesh = mesh_of(8)

    @jax.jit
    def mean(x):
        return jnp.mean(jax.lax.with_sharding_constraint(x, divided(mesh)))

    assert float(mean(send(np.arange(10, dtype=np.float32), replicated(mesh)))) == 4.5


def test_public_functions_are_fixed_to_no_device():
    """Sharded over a mesh they give what one device gives."""
    rng, anchors = np.random.default_rng(0), jaxssd.make_anchors()
    logits, activations = (rng.normal(size=(4, 189, size)).astype(np.float32) for size in (5, 4))
    boxes = np.sort(rng.random((4, 3, 2, 2), np.float32), axis=2).reshape(4, 3, 4)
    arguments = logits, activations, boxes, np.ones((4, 3), np.int32), np.ones((4, 3), bool)
    loss = jax.jit(jax.vmap(lambda *image: jaxssd.ssd_loss(*image, anchors)))
    one, two = loss(*arguments), loss(*jax.device_put(arguments, divided(mesh_of(2))))
    assert len(two.total.sharding.device_set) == 2
    np.testing.assert_allclose(two.total, one.total, atol=1e-5)
