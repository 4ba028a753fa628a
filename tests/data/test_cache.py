import errno
import json
import os
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from jaxssd.cache_folder import default_cache_dir
from jaxssd.data import cache
from jaxssd.data.cache import cached, fingerprint
from jaxssd.data.dataset import Dataset, Examples, LoadReport, Problem

KEY = "0123abcd"


class Builder:
    """Builds the same small data set each time, and counts; `skipped` rows are allocated but not used."""

    def __init__(self, skipped=0, before_return=lambda: None):
        self.calls, self.skipped, self.before_return = 0, skipped, before_return

    def __call__(self, allocate):
        self.calls += 1
        images = allocate((3 + self.skipped, 4, 4, 3))
        images[:3] = np.arange(3 * 4 * 4 * 3).reshape(3, 4, 4, 3)
        valid = np.array([[True, False], [False, False], [True, True]])
        self.before_return()
        return Dataset(
            examples=Examples(
                images=images[:3],
                boxes=np.where(valid[:, :, None], np.float32([0.1, 0.2, 0.3, 0.4]), np.float32(0)),
                labels=np.where(valid, 1, 0).astype(np.int32),
                valid=valid,
                difficult=valid & [True, False],
            ),
            class_names=("Hündin", "猫"),
            ids=("a", "b c", "d\udcff"),  # the last as Python reads a file name that is not UTF-8
            sizes=np.array([[3, 4], [5, 6], [7, 8]], np.int32),
            placements=np.array([[0.0, 0, 1, 1], [0, 0.25, 1, 0.75], [0, -0.5, 1, 1.5]]),
            report=LoadReport(3, 3, (Problem("JPEGImages/x.jpg", "skipped", "broken", "cut short → here"),)),
        )


def assert_equal(a, b):
    for field in Examples._fields:
        x, y = getattr(a.examples, field), getattr(b.examples, field)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.sizes, b.sizes)
    np.testing.assert_array_equal(a.placements, b.placements)
    assert (a.class_names, a.ids, a.report) == (b.class_names, b.ids, b.report)
    assert a.report.summary() == b.report.summary()


EXPECTED = Builder()(lambda shape: np.empty(shape, np.uint8))


def test_no_cache_builds_every_time_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = Builder()
    for _ in range(2):
        assert_equal(cached(None, KEY, build), EXPECTED)
    assert build.calls == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("skipped", [0, 2])
def test_the_second_time_nothing_is_built(tmp_path, skipped):
    build = Builder(skipped)
    for _ in range(3):
        dataset = cached(tmp_path / "deep" / "cache", KEY, build)
        assert_equal(dataset, EXPECTED)
        assert isinstance(dataset.examples.images, np.memmap)
        assert not dataset.examples.images.flags.writeable
    assert build.calls == 1
    assert [path.name for path in (tmp_path / "deep" / "cache").iterdir()] == [KEY]
    assert sorted(p.name for p in (tmp_path / "deep" / "cache" / KEY).iterdir()) == [
        "arrays.npz",
        "images.npy",
        "meta.json",
    ]
    cached(tmp_path / "deep" / "cache", "another", build)
    assert build.calls == 2


def damage_bit(folder):
    data = bytearray((folder / "arrays.npz").read_bytes())
    data[data.index(np.float32(0.1).tobytes())] ^= 1
    (folder / "arrays.npz").write_bytes(data)


def edit_meta(folder, change, checksum=True):
    meta = json.loads(json.loads((folder / "meta.json").read_text())["meta"])
    change(meta)
    text = json.dumps(meta)
    record = {"checksum": zlib.crc32(text.encode()) if checksum else 0, "meta": text}
    (folder / "meta.json").write_text(json.dumps(record))


def flip(folder, name, position):
    data = bytearray((folder / name).read_bytes())
    data[position] ^= 4
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text("[1]"),
        lambda folder: (folder / "meta.json").write_bytes(b"\xff\x00"),
        lambda folder: edit_meta(folder, lambda meta: meta.pop("ids")),
        lambda folder: edit_meta(folder, lambda meta: None, checksum=False),
        lambda folder: flip(folder, "meta.json", -20),
        lambda folder: flip(folder, "images.npy", -1),
        lambda folder: flip(folder, "images.npy", 128 + 50),
        lambda folder: edit_meta(folder, lambda meta: meta["report"].update(problems=[{"file": "x"}])),
        lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1]),
        lambda folder: (folder / "images.npy").write_bytes(b""),
        lambda folder: np.save(folder / "images.npy", np.zeros((3, 4, 5, 3), np.uint8)),
        lambda folder: np.save(folder / "images.npy", np.zeros((3, 4, 4, 3), np.float32)),
        lambda folder: np.save(folder / "images.npy", np.array([{}]), allow_pickle=True),
        lambda folder: (folder / "arrays.npz").write_bytes(b"PK nothing"),
        lambda folder: np.savez(folder / "arrays.npz", boxes=np.zeros(3)),
        damage_bit,
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
)
def test_a_damaged_cache_is_made_again_with_a_message(tmp_path, damage):
    build = Builder()
    cached(tmp_path, KEY, build)
    damage(tmp_path / KEY)
    with pytest.warns(UserWarning, match=f"the cache .*{KEY} is damaged"):
        assert_equal(cached(tmp_path, KEY, build), EXPECTED)
    assert_equal(cached(tmp_path, KEY, build), EXPECTED)
    assert build.calls == 2


@pytest.mark.parametrize("kind", ["file", "dead link"])
def test_what_is_no_folder_makes_room(tmp_path, kind):
    if kind == "file":
        (tmp_path / KEY).write_text("something else")
    else:
        (tmp_path / KEY).symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning, match=f"the cache .*{KEY} is damaged"):
        assert_equal(cached(tmp_path, KEY, Builder()), EXPECTED)
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_a_damaged_cache_whose_files_stay_is_not_read(tmp_path, monkeypatch):
    """As in a folder of somebody else's: its files cannot be removed, but it can be renamed."""
    build = Builder()
    cached(tmp_path, KEY, build)
    flip(tmp_path / KEY, "images.npy", -1)
    monkeypatch.setattr(cache.shutil, "rmtree", lambda folder, ignore_errors: None)
    with pytest.warns(UserWarning, match="is damaged"):
        assert_equal(cached(tmp_path, KEY, build), EXPECTED)


def test_a_failed_build_leaves_nothing(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, KEY, Builder(before_return=interrupt))
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_is_removed_after_a_day(tmp_path):
    for name, age in (("old", 25), ("young", 1)):
        (tmp_path / f"{name}.unfinished").mkdir()
        (tmp_path / f"{name}.unfinished" / "images.npy").write_bytes(b"half")
        os.utime(tmp_path / f"{name}.unfinished", (time.time() - age * 3600,) * 2)
    cached(tmp_path, KEY, Builder())
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY, "young.unfinished"]


def test_two_at_once(tmp_path):
    both_built = threading.Barrier(2, timeout=20)
    build = Builder(before_return=both_built.wait)  # neither may publish before both have found no cache
    results = []
    threads = [threading.Thread(target=lambda: results.append(cached(tmp_path, KEY, build))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == len(results) == 2
    for dataset in results:
        assert_equal(dataset, EXPECTED)
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_a_full_disk_says_how_much_is_needed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: the cache needs 0\.00 GB.*" + tmp_path.name):
        cached(tmp_path, KEY, Builder())
    assert not list(tmp_path.iterdir())


def test_fingerprint_sees_settings_and_files(tmp_path):
    a, b = tmp_path / "a.jpg", tmp_path / "b.jpg"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    settings = {"image_size": 224, "class_names": ("cat", "dog"), "ids": ["ä"]}

    def seen(**changes):
        return fingerprint({**settings, **changes}, [a, b])

    first = seen()
    assert seen() == first
    assert len(first) == 64
    different = [
        first,
        seen(image_size=300),
        seen(class_names=("dog", "cat")),
        fingerprint(settings, [b, a]),
        fingerprint(settings, [a, None]),
        fingerprint(settings, [None, b]),
    ]
    os.utime(a, ns=(0, 123_456_789))
    different.append(seen())
    a.write_bytes(b"longer")
    os.utime(a, ns=(0, 123_456_789))
    different.append(seen())
    a.rename(tmp_path / "c.jpg")
    a = tmp_path / "c.jpg"
    different.append(seen())
    assert len(set(different)) == len(different)


def test_two_versions_that_one_archive_unpacks_are_two(tmp_path):
    """Names, sizes and times of the files are equal: the place, the labels and the pixels' bytes tell them apart."""

    def version(folder, label=b"<name>cat</name>", picture=bytes(20_000)):
        (tmp_path / folder).mkdir(exist_ok=True)
        files = [tmp_path / folder / "a.xml", tmp_path / folder / "a.jpg"]
        for file, content in zip(files, (label, picture), strict=True):
            file.write_bytes(content)
            os.utime(file, ns=(0, 123_456_789))
        return fingerprint({}, files)

    first = version("one")
    assert version("one") == first
    start, middle, end = bytearray(20_000), bytearray(20_000), bytearray(20_000)
    start[30], middle[10_100], end[-2] = 1, 1, 1  # the first as a tool that edits EXIF in place
    others = [
        version("one", label=b"<name>dog</name>"),
        version("one", picture=bytes(start)),
        version("one", picture=bytes(middle)),
        version("one", picture=bytes(end)),
        version("two"),
    ]
    assert len({first, *others}) == 6
    (tmp_path / "link").symlink_to(tmp_path / "two")
    assert version("link") == others[-1]  # another way to the same place


def test_all_of_a_small_picture_counts(tmp_path):
    file, seen = tmp_path / "a.png", set()
    for at in (0, 5_000, 7_999, 11_999):
        content = bytearray(12_000)
        content[at] = 1
        file.write_bytes(content)
        os.utime(file, ns=(0, 1))
        seen.add(fingerprint({}, [file]))
    assert len(seen) == 4


def test_all_of_a_large_annotation_counts(tmp_path):
    file, seen = tmp_path / "instances.json", set()
    for at in (0, 30_000, 99_999):
        content = bytearray(100_000)
        content[at] = 1
        file.write_bytes(content)
        os.utime(file, ns=(0, 1))
        seen.add(fingerprint({}, [file]))
    assert len(seen) == 3


def test_every_block_has_a_checksum(monkeypatch):
    monkeypatch.setattr(cache, "BLOCK_BYTES", 100)
    images = np.arange(240, dtype=np.uint8).reshape(4, 4, 5, 3)
    before = cache.checksums(images)
    assert len(before) == 3
    for block in range(3):
        changed = images.copy()
        changed.reshape(-1)[100 * block + 7] ^= 1
        differs = [a != b for a, b in zip(before, cache.checksums(changed), strict=True)]
        assert differs == [number == block for number in range(3)]


def test_default_cache_dir(monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/chosen")
    monkeypatch.setenv("JAXSSD_CACHE", "")
    assert default_cache_dir() == Path("/xdg/jaxssd")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "jaxssd"

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(OSError, match=r"no home folder.*JAXSSD_CACHE"):
        default_cache_dir()


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"decoded images cannot be kept in .*file.*: Not a directory; .*JAXSSD_CACHE"):
        cached(tmp_path / "file" / "cache", KEY, Builder())
