"""One training a folder."""

import errno
import os
import socket

import pytest

from jaxssd.training import RunInUseError, run_folder
from jaxssd.training.run_folder import LOCK, locked


def test_a_folder_in_use_is_refused_and_its_holder_named(tmp_path):
    twice = pytest.raises(RunInUseError, match=rf"run is in use: process {os.getpid()} on ")
    with locked(tmp_path / "run"), twice, locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):  # free again
        pass


def test_only_the_present_holder_is_named(tmp_path):
    (tmp_path / LOCK).write_text("process 1234567890 on a computer with a long name " * 9)
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(run_folder.fcntl, "flock", refuse)
    with locked(tmp_path):
        assert "without locks" in capsys.readouterr().out


def test_another_failure_is_no_lack_of_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(run_folder.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), locked(tmp_path):
        pass
