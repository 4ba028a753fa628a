"""The files below a folder, listed once: names that a data set gives are looked up here and never opened as a path."""

import errno
import os
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from heapq import heappop, heappush
from pathlib import Path
from urllib.parse import unquote

from jaxssd.data.formats.split_names import split_at_end

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Endings of images, in any case. Of equal names the earlier ending counts. The content decides how one is read."""

MAX_DEPTH = 64
"""Folders that a path in a list or a data.yaml may have; more are in no path that leads to anything."""

_NO_DATA = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "lost+found"}
"""Folders that systems leave in archives and on disks."""

MAX_ANNOTATION_BYTES = 10_000_000
"""Of the file that has one image's boxes, enough for 30,000 of VOC's; parsed, it takes fifty times the memory."""

_USUAL = 1 << 16


def list_files(root: Path, suffixes: tuple[str, ...], *, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Regular files below a folder, at any depth.

    Links to files and folders are followed, each folder once, so that a link to a folder above ends nothing. Hidden
    files and folders are left out, and so are those that systems make, such as `__MACOSX`, and what cannot be listed.
    A folder that is linked to has the path that says most: below one of `first`, then below one called after a split.

    Args:
        root: the folder.
        suffixes: in lower case; files have them in any case.
        first: names of folders in lower case.

    Returns:
        Paths relative to `root` with `/` between folders, in alphabetical order.
    """
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    pending = [(0, 0, "", False)]  # a heap
    while pending:
        _, depth, folder, linked = heappop(pending)
        try:
            status = os.stat(root / folder)
            with os.scandir(root / folder) as entries:
                inside = list(entries)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        for entry in inside:
            if is_hidden(entry.name):
                continue
            if is_folder(entry):
                path, by_link = f"{folder}{entry.name}/", linked or entry.is_symlink()
                heappush(pending, (_turn(path, first, by_link), depth + 1, path, by_link))
            elif entry.name.lower().endswith(suffixes) and is_file(entry):
                found.append(folder + entry.name)
    return tuple(sorted(found))


def _turn(path: str, first: tuple[str, ...], linked: bool) -> int:
    """When a folder is listed, lower numbers before higher ones: it is found under the earliest of its paths."""
    parts = path.split("/")[:-1]
    if any(part.lower() in first for part in parts):
        return 0 if any(map(split_at_end, parts)) else 1
    return 2 if any(map(split_at_end, parts)) else 4 if linked else 3


def identities(root: Path, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """What tells files from each other, by whatever name or link they are reached: device and inode.

    Args:
        root: a folder.
        paths: of files below it, with `/` between folders.

    Returns:
        By path, of all files that are in the folders of these.
    """
    found: dict[str, tuple[int, int]] = {}
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        prefix = folder + "/" * bool(folder)
        try:
            device = os.stat(root / folder).st_dev
            with os.scandir(root / folder) as entries:
                for entry in entries:  # which knows its inode: to ask for each file's status takes much longer
                    if entry.is_symlink():
                        with suppress(OSError):
                            found[prefix + entry.name] = (entry.stat().st_dev, entry.stat().st_ino)
                    else:
                        found[prefix + entry.name] = (device, entry.inode())
        except OSError:
            continue
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: hidden, or made by a system."""
    return name.startswith(".") or name in _NO_DATA


def children(folder: Path) -> dict[str, bool]:
    """What is in a folder, and whether each is a folder; hidden ones left out, nothing if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: is_folder(entry)
                for entry in sorted(entries, key=lambda e: e.name)
                if not is_hidden(entry.name)
            }
    except OSError:
        return {}


def contents(folder: Path) -> str:
    """What is in a folder, in a few words for a message."""
    inside = [name + "/" * is_folder for name, is_folder in children(folder).items()]
    more = f" and {len(inside) - 8} more" if len(inside) > 8 else ""
    return ", ".join(inside[:8]) + more or "nothing"


def split_lines(text: str) -> list[str]:
    """Lines of a file of any system; unlike `str.splitlines` not at the separators of other scripts."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def fold(name: str) -> str:
    """A form in which names are equal that differ in case, in `%20` for a blank, or in how accents are written.

    Example:
        >>> fold("My%20Cat.JPG")
        'my cat.jpg'
    """
    return unicodedata.normalize("NFC", unquote(name)).casefold()


def descend(root: Path, path: str) -> Path | None:
    """A file or folder below another one, by its path or, failing that, in another case; None if there is none.

    Args:
        root: the folder.
        path: parts between `/` or `\\`; `..` leads nowhere.
    """
    found = root
    for part in plain_path(path).split("/"):
        names = [part] if os.path.lexists(found / part) else [n for n in children(found) if fold(n) == fold(part)]
        if not names:
            return None
        found = found / names[0]
    return found


def read_annotation(path: str | Path) -> bytes:
    """The content of one image's annotation.

    Raises:
        OSError: if it cannot be read, or has more than `MAX_ANNOTATION_BYTES`.
    """
    with open(path, "rb") as file:
        content = file.read(_USUAL)  # to make room for the limit takes longer than to read most files
        if len(content) == _USUAL:
            content += file.read(MAX_ANNOTATION_BYTES + 1 - _USUAL)
    if len(content) > MAX_ANNOTATION_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_ANNOTATION_BYTES:,} bytes")
    return content


def without_suffix(path: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> str:
    """The path less its extension, if that is one of these; `v1.2` has none.

    Example:
        >>> without_suffix("train/v1.2.JPG"), without_suffix("train/v1.2")
        ('train/v1.2', 'train/v1.2')
    """
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in suffixes else path


def plain_path(name: str) -> str:
    r"""A file's name as some data set writes it, as a path that leads nowhere but down.

    Example:
        >>> plain_path("..\\images\\a.jpg"), plain_path("/data/./b.jpg")
        ('images/a.jpg', 'data/b.jpg')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is, or is a link to, a regular file."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is, or is a link to, a folder."""
    try:
        return entry.is_dir()
    except OSError:
        return False
