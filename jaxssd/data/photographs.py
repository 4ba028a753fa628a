"""Find the photographs that a command line names: files, folders, and patterns that the shell did not expand."""

import glob
from collections.abc import Iterable
from pathlib import Path

from jaxssd.data.formats.files import IMAGE_SUFFIXES


def find_photographs(named: Iterable[Path]) -> list[Path]:
    """List photographs in the order of their names on the command line.

    Args:
        named: files; folders, whose pictures are taken in alphabetical order; or patterns such as `photos/**/*.jpg`.
            An existing path is never a pattern.

    Returns:
        The files. A missing one stays in the list, and is an error when it is opened.

    Raises:
        ValueError: if a folder has no picture.
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
            f"{folder} has no picture in it ({endings}); for those of the folders in it: '{folder}/**/*.jpg'"
        )
    return visible
