"""A file is whole, old or not there, whatever happens to the process that writes it."""

import errno
import json
import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.atomic import is_full, replacing, write_json, write_text
from jaxssd.config import Config
from jaxssd.data.report import LoadReport
from jaxssd.tools.export import write_json as write_results
from jaxssd.training import RunFolder


class Killed(BaseException):
    pass


WRITERS = {
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, {"new": 1}),
    "config": lambda path: Config().save(path),
    "loading": lambda path: LoadReport(1, 2).write(path),
    "results": lambda path: write_results(path, [1]),
    "figure": lambda path: viz.save(Figure((1, 1)), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_kill_before_the_renaming_leaves_the_old_file(tmp_path, monkeypatch, name):
    """And a part file that the next writing does not care about."""
    path = tmp_path / "file.png"
    path.write_text("old")

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        patch.setattr(Path, "unlink", die)  # nothing is tidied up by a killed process
        with pytest.raises(Killed):
            WRITERS[name](path)
    assert path.read_text() == "old"
    (part,) = set(tmp_path.iterdir()) - {path}
    assert part.name.startswith(".")
    assert part.name.endswith(".part.png")
    WRITERS[name](path)
    assert path.read_bytes() != b"old"
    assert set(tmp_path.iterdir()) == {path, part}


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "data.json"

    def fill_the_disk():
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` raises it, with no name

    with pytest.raises(OSError, match=r"No space left.*data\.json"):
        fill_the_disk()
    assert not list(tmp_path.iterdir())
    path.mkdir()
    for place in (path, tmp_path / "missing" / "data.json"):
        with pytest.raises(OSError, match=r"data\.json'$"):
            write_json(place, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["data.json"]


def test_content_is_utf8_and_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append((tmp_path / "a.txt").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "a.txt", "größer\udcff")
    assert synced == [False]
    assert (tmp_path / "a.txt").read_bytes() == "größer".encode() + b"\xff"
    write_json(tmp_path / "a.json", {"ü": [1]})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"ü": [1]}
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~umask()  # as any other file


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_fingerprints_and_rows_of_a_run_are_whole(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.append_rows([{"kind": "train", "step": step, "loss": 0.5} for step in (1, 2)])
    before = run.metrics.read_text()

    def die(*_):
        raise Killed

    monkeypatch.setattr(os, "fsync", die)
    for write in (lambda: run.pin(Config(), {"train": "a"}), lambda: run.drop_rows_after(1)):
        with pytest.raises(Killed):
            write()
    assert not run.fingerprints.exists()
    assert run.metrics.read_text() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_quota_and_a_limit_are_lack_of_room_as_well(number):
    assert is_full(OSError(number, "any"))
    assert is_full(f"writing failed: {os.strerror(number)}")
    assert not is_full(OSError(errno.EIO, "any"))
