"""The files below a folder, listed once: names that a data set gives are looked up here and never opened as a path."""

import errno
import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

MAX_ANNOTATION_BYTES = 10_000_000
"""Of the file that has one image's boxes, enough for 30,000 of VOC's; parsed, it takes fifty times the memory."""


def list_files(root: Path, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Regular files below a folder, at any depth.

    Links to files and folders are followed, each folder once, so that a link to a folder above ends nothing. Hidden
    files and folders are left out, and so is what cannot be listed.

    Args:
        root: the folder.
        suffixes: in lower case; files have them in any case.

    Returns:
        Paths relative to `root` with `/` between folders, in alphabetical order.
    """
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            status = os.stat(root / folder)
            with os.scandir(root / folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        inside = [entry for entry in inside if not entry.name.startswith(".")]
        for entry in inside:
            if os.path.splitext(entry.name)[1].lower() in suffixes and is_file(entry):
                found.append(folder + entry.name)
        pending.extend(f"{folder}{entry.name}/" for entry in reversed(inside) if _is_folder(entry))
    return tuple(sorted(found))


def read_annotation(path: Path) -> bytes:
    """The content of one image's annotation.

    Raises:
        OSError: if it cannot be read, or has more than `MAX_ANNOTATION_BYTES`.
    """
    with path.open("rb") as file:
        content = file.read(MAX_ANNOTATION_BYTES + 1)
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


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder.

    Args:
        root: the folder.
    """

    root: Path

    def find(self, name: str) -> tuple[str, ...]:
        """The images that a name can mean.

        Args:
            name: a path from `root`, or from anywhere else: then only its last part counts.

        Returns:
            One path relative to `root` if `name` is one; otherwise all whose last part is that of `name`.
        """
        path = plain_path(name)
        by_name = self._by_last_part.get(path.rpartition("/")[2], ())
        return (path,) if path in by_name else tuple(by_name)

    @cached_property
    def _by_last_part(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for path in list_files(self.root, IMAGE_SUFFIXES):
            found[path.rpartition("/")[2]].append(path)
        return dict(found)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is, or is a link to, a regular file."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
