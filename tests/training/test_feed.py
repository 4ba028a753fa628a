"""Resident or streamed, a run is the same run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, feed, loop, phases, train
from jaxssd.training.feed import memory_bytes, open_feed

ORDER = jnp.asarray(np.random.default_rng(0).permutation(20)[:18].reshape(3, 2, 3).astype(np.int32))


def batches_of(dataset, memory):
    """What the steps of an epoch get, and what people are told."""
    told = []
    with open_feed(dataset, memory, 6, told.append) as chunks:
        batches = [jax.tree.map(lambda x, rows=rows: np.asarray(x[rows]), examples) for examples, rows in chunks(ORDER)]
    return batches, told


def test_both_feeds_give_the_same_batches(tiny_sets):
    resident, streamed = (batches_of(tiny_sets[0], memory) for memory in ("device", "stream"))
    assert len(resident[0]) == len(streamed[0]) == 3
    jax.tree.map(np.testing.assert_array_equal, resident[0], streamed[0])
    assert resident[1] == []
    assert len(streamed[1]) == 1
    assert "streaming 0.00 GB" in streamed[1][0]


def test_what_exceeds_the_share_of_the_memory_is_streamed(tiny_sets, monkeypatch):
    size = tiny_sets[0].examples.images.nbytes
    for memory, told in ((2 * size, 0), (2 * size - 1, 1)):
        monkeypatch.setattr(feed, "memory_bytes", lambda memory=memory: memory)
        assert len(batches_of(tiny_sets[0], "auto")[1]) == told


def test_the_memory_is_that_of_the_machine():
    assert 2**28 < memory_bytes() < 2**50


@pytest.mark.parametrize("chunk_steps", [1, 2])
def test_a_streamed_run_is_the_resident_run(tiny_config, tiny_sets, finished_run, tmp_path, monkeypatch, chunk_steps):
    """To the last digit of every step, with chunks of whatever length, and one compilation."""
    monkeypatch.setattr(loop, "CHUNK_STEPS", chunk_steps)
    compiled, make_chunk = [], phases.make_train_chunk
    monkeypatch.setattr(
        phases, "make_train_chunk", lambda *a, **k: compiled.append(make_chunk(*a, **k)) or compiled[-1]
    )
    run, config = RunFolder(tmp_path), replace(tiny_config, memory="stream")
    run.create(config)
    train(config, *tiny_sets, run)
    assert run.metrics.read_text() == finished_run.metrics.read_text()
    assert compiled[0]._cache_size() == 1


def test_a_cached_set_is_streamed_from_its_own_file(tmp_path):
    dataset = make_shapes(20, image_size=8)
    np.save(tmp_path / "images.npy", dataset.examples.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    _, told = batches_of(replace(dataset, examples=dataset.examples._replace(images=mapped)), "stream")
    assert str(tmp_path / "images.npy") in told[0]
