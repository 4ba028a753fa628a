"""Resident or streamed, a run is the same run."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data.dataset import Examples
from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, epochs, loader, train
from jaxssd.training.loader import images_at_once, is_streamed, memory_bytes, open_feed

ORDER = jnp.asarray(np.random.default_rng(0).permutation(20)[:18].reshape(3, 2, 3).astype(np.int32))


def batches_of(dataset, piece_rows):
    """What the steps of an epoch get, and what people are told."""
    told = []
    with open_feed(dataset, piece_rows, told.append) as source:
        batches = []
        for examples, rows in source.pieces(ORDER):
            batches.append(jax.tree.map(lambda x, rows=rows: np.asarray(x[rows]), examples))
            shapes, expected = (jax.tree.map(lambda x: (x.shape, x.sharding), t) for t in (examples, source.shapes))
            assert shapes == expected
    return batches, told


def test_both_feeds_give_the_same_batches(tiny_sets):
    resident, streamed = (batches_of(tiny_sets[0], piece_rows) for piece_rows in (None, 6))
    assert len(resident[0]) == len(streamed[0]) == 3
    jax.tree.map(np.testing.assert_array_equal, resident[0], streamed[0])
    assert resident[1] == []
    assert len(streamed[1]) == 1
    assert "streaming 0.00 GB" in streamed[1][0]


def test_what_exceeds_the_share_of_the_memory_is_streamed(tiny_sets, monkeypatch):
    size = tiny_sets[0].examples.images.nbytes
    for memory, streamed in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(loader, "memory_bytes", lambda memory=memory: memory)
        assert is_streamed(tiny_sets[0], "auto") == streamed
        assert not is_streamed(tiny_sets[0], "device")
        assert is_streamed(tiny_sets[0], "stream")


def test_pieces_are_as_small_as_the_memory_asks_for(tiny_sets, monkeypatch):
    """Four of them in the share of the device, two in what processes share, with as much left."""
    image = tiny_sets[0].examples.images[0].nbytes
    monkeypatch.setattr(loader, "memory_bytes", lambda: 2 * 4 * 10 * image)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    assert images_at_once(tiny_sets[0]) == 10
    if loader.SHARED_MEMORY.is_dir():
        monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=4 * 3 * image))
        assert images_at_once(tiny_sets[0]) == 3


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(0, 20000))
def test_pieces_and_calls_divide_an_epoch(num_images, batch_size, at_once):
    sizes, whole = (epochs.cut_epoch(num_images, min(batch_size, num_images), most) for most in (at_once, num_images))
    assert sizes.epoch_steps == whole.epoch_steps  # whatever the memory, an epoch is the same
    assert whole.piece_steps % sizes.piece_steps == sizes.piece_steps % sizes.call_steps == 0
    assert sizes.piece_rows <= max(at_once, sizes.batch_size)


def test_few_pieces_are_on_the_device_at_once(tiny_sets):
    """The one in use, the one before, and the next: never the whole set."""
    images = tiny_sets[0].examples.images
    order = jnp.asarray(np.arange(20, dtype=np.int32).reshape(10, 1, 2))
    shape = (2, *images.shape[1:])
    with open_feed(tiny_sets[0], 2, str) as source:
        for _ in source.pieces(order):
            assert sum(array.shape == shape for array in jax.live_arrays()) <= 3


def test_the_memory_is_that_of_the_machine():
    assert 2**28 < memory_bytes() < 2**50


@pytest.mark.parametrize("chunk_steps", [1, 2])
def test_a_streamed_run_is_the_resident_run(tiny_config, tiny_sets, finished_run, tmp_path, monkeypatch, chunk_steps):
    """To the last digit of every step, with chunks of whatever length."""
    monkeypatch.setattr(epochs, "CHUNK_STEPS", chunk_steps)
    run, config = RunFolder(tmp_path), tiny_config.replace(memory="stream")
    run.create(config)
    train(config, *tiny_sets, run)
    assert run.metrics.read_text() == finished_run.metrics.read_text()


def test_a_cached_set_is_streamed_from_its_own_file(tmp_path):
    dataset = make_shapes(20, image_size=8)
    np.save(tmp_path / "images.npy", dataset.examples.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    cached = replace(dataset, examples=dataset.examples._replace(images=mapped))
    _, told = batches_of(cached, 6)
    assert str(tmp_path / "images.npy") in told[0]
    for part in (slice(5, None), slice(None, None, -1)):  # such a view is not what the file has
        view = replace(cached, examples=Examples(*(array[part] for array in cached.examples)))
        order = jnp.arange(6, dtype=jnp.int32).reshape(1, 1, 6)
        with open_feed(view, 6, str) as source:
            ((examples, _),) = source.pieces(order)
        np.testing.assert_array_equal(examples.images, dataset.examples.images[part][:6])
