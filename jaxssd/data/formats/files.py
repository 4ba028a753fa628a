"""Listing of the files below a folder, and of names in other spellings.

Paths that a data set states are only ever looked up in such a listing. They are never opened as they are written.
"""

import errno
import os
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

from jaxssd.data.formats.split_names import split_at_end

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Image file extensions, in any case. If several images share a stem, the first extension wins."""

MAX_DEPTH = 64
"""Largest number of folders in a path stated by a list or a data.yaml. Longer paths are treated as missing."""

MAX_ANNOTATION_BYTES = 10_000_000
"""Largest annotation file of one image: about 30,000 VOC boxes. Parsed XML takes fifty times the memory."""

_IGNORED_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "lost+found"}
"""Folders that operating systems leave in archives and on disks."""

_FIRST_READ = 1 << 16


def list_files(root: Path, suffixes: tuple[str, ...], *, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """List the regular files below a folder, at any depth.

    Symbolic links are followed; each folder is listed once, so a cycle of links ends. Hidden files, system folders
    such as `__MACOSX` and unreadable folders are left out. A folder with several paths gets the most informative one:
    below a folder of `first`, then below a folder named after a split.

    Args:
        root: folder to search.
        suffixes: extensions in lower case; files match in any case.
        first: folder names in lower case.

    Returns:
        Paths relative to `root` with `/` between folders, in alphabetical order.
    """
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    pending = [(0, 0, "", False)]  # a heap of (priority, depth, folder, reached by a link)
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
                heappush(pending, (_priority(path, first, by_link), depth + 1, path, by_link))
            elif entry.name.lower().endswith(suffixes) and is_file(entry):
                found.append(folder + entry.name)
    return tuple(sorted(found))


def _priority(path: str, first: tuple[str, ...], linked: bool) -> int:
    """Order in which folders are listed, low numbers first: a folder keeps the first path it is found under."""
    parts = path.split("/")[:-1]
    if any(part.lower() in first for part in parts):
        return 0 if any(map(split_at_end, parts)) else 1
    return 2 if any(map(split_at_end, parts)) else 4 if linked else 3


def identities(root: Path, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Device and inode of files, which are equal for two paths or links to one file.

    Args:
        root: folder that the paths are relative to.
        paths: file paths with `/` between folders.

    Returns:
        Device and inode by path, for every file in the folders of `paths`.
    """
    found: dict[str, tuple[int, int]] = {}
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        prefix = folder + "/" * bool(folder)
        try:
            device = os.stat(root / folder).st_dev
            with os.scandir(root / folder) as entries:
                for entry in entries:  # scandir already has the inode; a stat of each file is much slower
                    if entry.is_symlink():
                        with suppress(OSError):
                            found[prefix + entry.name] = (entry.stat().st_dev, entry.stat().st_ino)
                    else:
                        found[prefix + entry.name] = (device, entry.inode())
        except OSError:
            continue
    return found


def is_hidden(name: str) -> bool:
    """True for hidden names and for folders that operating systems make."""
    return name.startswith(".") or name in _IGNORED_FOLDERS


def children(folder: Path) -> dict[str, bool]:
    """Names in a folder, each with True if it is a folder. Hidden names are left out; unreadable folders are empty."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: is_folder(entry)
                for entry in sorted(entries, key=lambda e: e.name)
                if not is_hidden(entry.name)
            }
    except OSError:
        return {}


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder."""
    return [folder / name for name, is_folder in children(folder).items() if is_folder]


def file_names(folder: Path) -> list[str]:
    """Names of the files directly in a folder."""
    return [name for name, is_folder in children(folder).items() if not is_folder]


def contents(folder: Path) -> str:
    """Short list of a folder's contents, for error messages."""
    inside = [name + "/" * is_folder for name, is_folder in children(folder).items()]
    more = f" and {len(inside) - 8} more" if len(inside) > 8 else ""
    return ", ".join(inside[:8]) + more or "nothing"


def split_lines(text: str) -> list[str]:
    """Lines with any system's line ends. Unlike `str.splitlines`, other Unicode separators do not end a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def fold(name: str) -> str:
    """Form of a name that ignores case, `%20` for a blank, and the encoding of accents.

    Example:
        >>> fold("My%20Cat.JPG")
        'my cat.jpg'
    """
    return unicodedata.normalize("NFC", unquote(name)).casefold()


def descend(root: Path, path: str) -> Path | None:
    """Find a file or folder by its path below a folder, in any case.

    Args:
        root: folder that the path starts from.
        path: parts separated by `/` or `\\`; `..` is ignored.

    Returns:
        The path as it is on disk, or None.
    """
    found = root
    for part in plain_path(path).split("/"):
        names = [part] if os.path.lexists(found / part) else [n for n in children(found) if fold(n) == fold(part)]
        if not names:
            return None
        found = found / names[0]
    return found


def read_annotation(path: str | Path) -> bytes:
    """Read one image's annotation file.

    Raises:
        OSError: if it cannot be read, or has more than `MAX_ANNOTATION_BYTES`.
    """
    with open(path, "rb") as file:
        content = file.read(_FIRST_READ)  # a buffer of the full limit takes longer than reading most files
        if len(content) == _FIRST_READ:
            content += file.read(MAX_ANNOTATION_BYTES + 1 - _FIRST_READ)
    if len(content) > MAX_ANNOTATION_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_ANNOTATION_BYTES:,} bytes")
    return content


def without_suffix(path: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> str:
    """Path without its extension, if that is one of `suffixes`; `v1.2` has none.

    Example:
        >>> without_suffix("train/v1.2.JPG"), without_suffix("train/v1.2")
        ('train/v1.2', 'train/v1.2')
    """
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in suffixes else path


def suffix_order(path: str) -> tuple[int, str]:
    """Sort key of images with one stem: the order of `IMAGE_SUFFIXES`."""
    return IMAGE_SUFFIXES.index(os.path.splitext(path)[1].lower()), path


def plain_path(name: str) -> str:
    r"""Relative path without leading slashes, `.` and `..`, so that it only leads down.

    Example:
        >>> plain_path("..\\images\\a.jpg"), plain_path("/data/./b.jpg")
        ('images/a.jpg', 'data/b.jpg')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def common_tail(one: str, other: str) -> int:
    """Number of last parts that two paths have in common.

    Example:
        >>> common_tail("set/train/a", "train/a")
        2
    """
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def is_file(entry: os.DirEntry[str]) -> bool:
    """True for a regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True for a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False
