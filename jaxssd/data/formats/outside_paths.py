"""Paths that lead out of a data set's folder. They are never followed.

A stated path such as `/data/a.jpg` may be of another machine: then `a.jpg` in the folder is read. If `/data/a.jpg`
exists on this machine, it may be a different file, and reading `a.jpg` would be wrong.
"""

import filecmp
import os
from collections.abc import Sequence
from pathlib import Path

from jaxssd.data.formats.files import MAX_DEPTH
from jaxssd.data.formats.split_lists import candidates, leads_out


def find_outside(written: str, root: Path, bases: Sequence[Path]) -> Path | None:
    """Existing file or folder that a path leads to outside the data set's folder.

    Args:
        written: path as the data set states it.
        root: folder of the data set.
        bases: folders that the path may be relative to.

    Returns:
        The outside path; None if nothing is there, as with paths of another machine, or if the path leads to something
        in `root` from one of the bases.
    """
    path = written.replace("\\", "/")
    if not leads_out(path) or path.count("/") > MAX_DEPTH:
        return None
    inside = os.path.abspath(root) + os.sep
    outside = None
    for base in bases:
        joined = os.path.join(os.path.abspath(base), path)
        for place in dict.fromkeys((os.path.normpath(joined), joined)):  # they differ where the folder is a link
            if os.path.exists(place):
                if (os.path.normpath(place) + os.sep).startswith(inside):
                    return None
                outside = outside or Path(place)
    return outside


class OutsideImages:
    """Check of a list's lines that name files outside the data set's folder.

    A file of that name in the folder is accepted if it is the same file, or if the data set is a copy: the first such
    pair must be equal in every byte, later ones in size.

    Args:
        path: the list.
        root: folder of the data set.
    """

    def __init__(self, path: Path, root: Path) -> None:
        """Start without a comparison."""
        self._path, self._root = path, root
        self._copied: Path | None = None

    def check(self, line: str, where: str, inside: str | None) -> None:
        """Compare the file that a line names outside the folder, if any, with the one that is used instead.

        Args:
            line: line of the list.
            where: file and line number, for errors.
            inside: path below the folder of the image that is used; None if there is none.

        Raises:
            ValueError: if they are different files.
        """
        if not leads_out(line):
            return
        bases = (self._root, self._path.parent)
        outside = next((path for name in candidates(line) if (path := find_outside(name, self._root, bases))), None)
        if outside is None:
            return
        local = self._root / inside if inside else None
        if local is None or not self._equal(outside, local):
            different = f", and {inside} in it is a different file" if inside else ""
            raise ValueError(
                f"{where}: {line[:200]!r} leads out of the data set's folder, {self._root}{different}. It is not "
                "followed: move the images into the folder, and list their paths from it"
            )

    def note(self) -> str | None:
        """Note that copies in the folder are read in place of outside files; None without such files."""
        if self._copied is None:
            return None
        return (
            f"{self._path} names images outside the data set's folder, such as {self._copied}: their copies in "
            f"{self._root} are read"
        )

    def _equal(self, outside: Path, local: Path) -> bool:
        """True for one file, for the first equal copy, and then for files of equal size."""
        if not outside.is_file() or not local.is_file():
            return False
        if os.path.samefile(outside, local):
            return True
        if os.path.getsize(outside) != os.path.getsize(local):
            return False
        if self._copied is None:
            if not filecmp.cmp(outside, local, shallow=False):
                return False
            self._copied = outside
        return True
