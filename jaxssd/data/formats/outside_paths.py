"""What a data set names outside its folder: never read, and never taken for another file of that name inside it."""

import filecmp
import os
from collections.abc import Sequence
from pathlib import Path

from jaxssd.data.formats.files import MAX_DEPTH
from jaxssd.data.formats.split_lists import leads_out, readings


def found_outside(written: str, root: Path, bases: Sequence[Path]) -> Path | None:
    """What a path leads to, if that is there and not below a folder; None for a path of another machine.

    Args:
        written: a path.
        root: the folder.
        bases: folders from which it may count. Where it leads to something below `root` from one of them, that counts.
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


class ListedOutside:
    """The lines of one list that name files outside the data set's folder.

    A namesake inside takes such a file's place if it is the same file, or if the data set is a copy: if the first two
    are equal in every byte, and the others in size.

    Args:
        path: the list.
        root: the data set's folder.
    """

    def __init__(self, path: Path, root: Path) -> None:
        """Nothing has been compared."""
        self._path, self._root = path, root
        self._copied: Path | None = None

    def check(self, line: str, where: str, inside: str | None) -> None:
        """Compare what a line names outside the folder, if anything, with what is taken for it.

        Args:
            line: as it is written.
            where: file and line, for errors.
            inside: path of the image that is taken, from the folder; None if there is none.

        Raises:
            ValueError: if they are different files.
        """
        if not leads_out(line):
            return
        bases = (self._root, self._path.parent)
        outside = next((path for name in readings(line) if (path := found_outside(name, self._root, bases))), None)
        if outside is None:
            return
        local = self._root / inside if inside else None
        if local is None or not self._equal(outside, local):
            beside = f", and {inside} in it is another file" if inside else ""
            raise ValueError(
                f"{where}: {line[:200]!r} leads out of the data set's folder, {self._root}{beside}: it is not "
                "followed; move the images there, and list their paths from it"
            )

    def remark(self) -> str | None:
        """What to tell of files that copies were taken for."""
        if self._copied is None:
            return None
        return (
            f"{self._path} names images outside the data set's folder, such as {self._copied}: their copies in "
            f"{self._root} are read"
        )

    def _equal(self, outside: Path, local: Path) -> bool:
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
