"""Files that are whole or not there: written under another name, and renamed when they are on the disk.

A process that is killed, or a disk that is full, leaves the file as it was before. What may be left is a hidden
`.HEX.part` file beside it, which nothing reads and which can be deleted.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

UNFINISHED: set[Path] = set()
"""Files and folders that this process is writing, for a process that ends without unwinding what it is in."""


def remove_unfinished() -> None:
    """Delete what this process has begun to write; it ends now."""
    for path in list(UNFINISHED):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give another name to write to, and rename that to `path` once the block has ended without an error.

    Args:
        path: its folder exists; a file there is replaced.

    Yields:
        A path in the same folder, with the same ending.

    Raises:
        OSError: naming `path`, if the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "scores.csv")) as unfinished:
        ...         _ = unfinished.write_text("dog,0.5")
        ...     [file.name for file in Path(folder).iterdir()]
        ['scores.csv']
    """
    unfinished = path.with_name(f".{uuid.uuid4().hex[:12]}.part{path.suffix}")
    UNFINISHED.add(unfinished)
    try:
        with naming(path):
            yield unfinished
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
    finally:
        with suppress(OSError):  # not there, or nowhere to be
            unfinished.unlink()
        UNFINISHED.discard(unfinished)


def write_text(path: Path, text: str, *, errors: str = "surrogateescape") -> None:
    """Write UTF-8.

    Args:
        path: its folder exists; a file there is replaced.
        text: the content.
        errors: for what UTF-8 does not have. File names may hold bytes of no encoding: by default they come out as
            they went in.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors=errors)


def write_json(path: Path, record: Any, *, indent: int | None = 2) -> None:
    """Write JSON of ASCII; raises as `write_text`."""
    write_text(path, json.dumps(record, indent=indent) + "\n")


def is_full(error: BaseException | str) -> bool:
    """Whether a write failed for want of room: on the disk, or in a quota or a limit."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(os.strerror(number) in str(error) for number in numbers)


def free_space(path: Path) -> str:
    """The room on the disk of a path, or of the folder that it will be in: `12.3 MB`."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` of the block name the path: a full disk names none, others name the part."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
