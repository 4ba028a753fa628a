"""Photographs that a command line names: files, folders of them, and patterns that the shell has left as they are."""

import glob
from collections.abc import Iterable
from pathlib import Path

from jaxssd.data.formats.files import IMAGE_SUFFIXES


def find_photographs(named: Iterable[Path]) -> list[Path]:
    """List files in the order in which they are named.

    Args:
        named: files; folders, whose own pictures are taken in alphabetical order; patterns such as `photos/*.jpg` or
            `photos/**/*.jpg`. Whatever is there under the very name is no pattern, brackets or not.

    Returns:
        The files. One that is not there stays in the list, for whoever opens it to say so.

    Raises:
        ValueError: if a folder has no picture in it.
    """
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += _of_folder(path)
        elif path.exists() or not (matches := sorted(glob.glob(str(path), recursive=True))):
            found.append(path)
        else:
            found += map(Path, matches)
    return found


def _of_folder(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    visible = sorted(path for path in files if not path.name.startswith("."))
    if not visible:
        endings = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(
            f"--images {folder} has no picture in it ({endings}); of the folders in it: --images '{folder}/**/*.jpg'"
        )
    return visible
