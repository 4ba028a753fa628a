"""One training a run's folder at a time."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from jaxssd.training.distribution import is_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class RunInUseError(RuntimeError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for the life of this process, or until the end of the block; the process that leads does.

    The lock is the operating system's, on a file that stays: whatever ends the process, and be it SIGKILL, frees it.
    Reading is never locked out.

    Args:
        folder: made if it is not there.

    Raises:
        RunInUseError: naming the process that holds it.
    """
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a+") as file:
        _take(folder, file.fileno())
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _take(folder: Path, descriptor: int) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no fcntl")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = (folder / NAME).read_text() or "another process"
        raise RunInUseError(
            f"{folder} is in use: {holder} trains there. Wait, or stop it (it saves first) or choose another --out"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(f"{folder} lies on a file system without locks: take care not to start a second training there")
