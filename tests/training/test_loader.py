"""Resident or streamed, a run is the same run."""

import errno
import io
import os
import threading
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, epochs, loader, loop, train
from jaxssd.training.loader import images_at_once, is_streamed, memory_bytes, open_loader, row_reader

ORDER = jnp.asarray(np.random.default_rng(0).permutation(20)[:18].reshape(3, 2, 3).astype(np.int32))


def batches_of(dataset, block_rows):
    """The batches of an epoch, and the lines of the log."""
    log = []
    with open_loader(dataset, block_rows, log.append) as source:
        batches = []
        for examples, rows in source.blocks(ORDER):
            batches.append(jax.tree.map(lambda x, rows=rows: np.asarray(x[rows]), examples))
            shapes, expected = (jax.tree.map(lambda x: (x.shape, x.sharding), t) for t in (examples, source.shapes))
            assert shapes == expected
    return batches, log


def test_resident_and_streamed_images_give_the_same_batches(tiny_sets):
    resident, streamed = (batches_of(tiny_sets[0], block_rows) for block_rows in (None, 6))
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


def test_blocks_are_as_small_as_the_memory_asks_for(tiny_sets, monkeypatch):
    """Four of them fit in the share of the device."""
    image = tiny_sets[0].examples.images[0].nbytes
    monkeypatch.setattr(loader, "memory_bytes", lambda: 2 * 4 * 10 * image)
    assert images_at_once(tiny_sets[0]) == 10


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(0, 20000))
def test_blocks_and_calls_divide_an_epoch(num_images, batch_size, at_once):
    sizes, whole = (epochs.cut_epoch(num_images, min(batch_size, num_images), most) for most in (at_once, num_images))
    assert sizes.epoch_steps == whole.epoch_steps  # whatever the memory, an epoch is the same
    assert whole.block_steps % sizes.block_steps == sizes.block_steps % sizes.call_steps == 0
    assert sizes.block_rows <= max(at_once, sizes.batch_size)


def test_few_blocks_are_on_the_device_at_once(tiny_sets):
    """The one in use, the one before, and the next: never the whole set."""
    images = tiny_sets[0].examples.images
    order = jnp.asarray(np.arange(20, dtype=np.int32).reshape(10, 1, 2))
    shape = (2, *images.shape[1:])
    with open_loader(tiny_sets[0], 2, str) as source:
        for _ in source.blocks(order):
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


@pytest.fixture
def mapped(tmp_path):
    """Images in memory, and the memory map of a file that holds them."""
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    return images, np.load(tmp_path / "images.npy", mmap_mode="r")


def test_a_cached_set_is_streamed_from_its_own_file(tmp_path):
    dataset = make_shapes(20, image_size=8)
    np.save(tmp_path / "images.npy", dataset.examples.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    cached = replace(dataset, examples=dataset.examples._replace(images=mapped))
    batches, log = batches_of(cached, 6)
    assert str(tmp_path / "images.npy") in log[0]
    jax.tree.map(np.testing.assert_array_equal, batches, batches_of(dataset, None)[0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 30])
def test_rows_are_read_in_the_order_asked_for(mapped, tmp_path, count):
    """By several threads, each its share, rows repeated or not."""
    images, memory_map = mapped
    path, read = row_reader(memory_map)
    rows = np.random.default_rng(count).integers(0, 20, count)
    np.testing.assert_array_equal(read(rows), images[rows])
    assert path == tmp_path / "images.npy"


def test_a_disk_may_return_parts_of_a_row(mapped, monkeypatch):
    class Slow(io.FileIO):
        def readinto(self, place):
            return super().readinto(place[: min(7, len(place))])

    images, memory_map = mapped
    _, read = row_reader(memory_map)
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Slow(path))
    np.testing.assert_array_equal(read(np.array([3, 19, 0])), images[[3, 19, 0]])


@pytest.mark.parametrize("part", [slice(5, None), slice(None, None, -1), slice(None)])
def test_a_view_of_a_memory_map_is_read_as_what_it_is(mapped, part):
    """Its rows are not those of the file."""
    path, read = row_reader(mapped[1][part])
    assert path is None
    np.testing.assert_array_equal(read(np.array([3, 0, 7])), mapped[0][part][[3, 0, 7]])


@pytest.mark.parametrize("damage", ["gone", "short", "failing"])
def test_a_file_that_cannot_be_read_is_named(mapped, tmp_path, monkeypatch, damage):
    """Read through its memory map, a file that ends early is a fatal signal, and so is a failing disk."""
    path, read = row_reader(mapped[1])
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        os.truncate(path, path.stat().st_size - 1)
    else:

        def fail(*_, **__):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(Path, "open", fail)
    message = rf"images cannot be read: .*resumed from its last checkpoint.*{path}"
    with pytest.raises(FileNotFoundError if damage == "gone" else OSError, match=message):
        read(np.arange(20))


def test_a_run_ends_with_the_error_of_its_disk_and_can_be_resumed(tiny_config, tiny_sets, finished_run, tmp_path):
    """An error of a thread that reads ahead is raised between two blocks, and nothing is left running."""
    train_set, val_set = tiny_sets
    file = tmp_path / "images.npy"
    np.save(file, train_set.examples.images)
    images = np.load(file, mmap_mode="r")
    streamed = replace(train_set, examples=train_set.examples._replace(images=images))
    run, config = RunFolder(tmp_path / "run"), tiny_config.replace(memory="stream")
    run.create(config)
    threads = threading.active_count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "CHUNK_STEPS", 1)
        patch.setattr(loop._Trainer, "validate_at", after_first(loop._Trainer.validate_at, file.unlink))
        with pytest.raises(FileNotFoundError, match=str(file)):
            train(config, streamed, val_set, run)
    assert threading.active_count() <= threads
    np.save(file, train_set.examples.images)
    train(config, streamed, val_set, run)
    assert run.metrics.read_text() == finished_run.metrics.read_text()


def after_first(function, then):
    """The function, and something that happens after its first call."""
    calls = []

    def wrapped(*arguments):
        result = function(*arguments)
        if not calls:
            then()
        calls.append(arguments)
        return result

    return wrapped
