"""Atomic writing: files are written under a temporary name, synced, and renamed.

If the process is killed or the disk is full, the file stays as it was. A hidden `.HEX.part` file may remain beside it;
nothing reads it, and it can be deleted.
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
"""Files and folders being written, to delete if the process exits without leaving its `with` blocks."""


def remove_unfinished() -> None:
    """Delete the unfinished files and folders of this process, before it exits."""
    for path in list(UNFINISHED):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` if the block ends without an error.

    Args:
        path: path of the file, in an existing folder; an existing file is replaced.

    Yields:
        Temporary path in that folder, with the same suffix.

    Raises:
        OSError: if the file cannot be written; it names `path`.

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
        with suppress(OSError):  # renamed already, or never created
            unfinished.unlink()
        UNFINISHED.discard(unfinished)


def write_text(path: Path, text: str, *, errors: str = "surrogateescape") -> None:
    """Write a text file in UTF-8, atomically.

    Args:
        path: path of the file, in an existing folder; an existing file is replaced.
        text: content.
        errors: error handler of the encoding. The default writes undecodable bytes of file names unchanged.

    Raises:
        OSError: if the file cannot be written; it names the file.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors=errors)


def write_json(path: Path, record: Any, *, indent: int | None = 2) -> None:
    """Write a JSON file in ASCII, atomically; errors are those of `write_text`."""
    write_text(path, json.dumps(record, indent=indent) + "\n")


def is_full(error: BaseException | str) -> bool:
    """True if a write failed because the disk, a quota or a size limit is full."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(os.strerror(number) in str(error) for number in numbers)


def free_space(path: Path) -> str:
    """Free space on the disk of a path, which need not exist yet, as text: `12.3 MB`."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an `OSError` of the block name this path; otherwise it names no file or the temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
