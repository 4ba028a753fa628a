"""Text files that list the images of a split.

A line may be an id, a file name or a path: from the data set's folder, from the list's folder, or from the data's
former folder, such as `/home/me/set/JPEGImages/a.jpg`. It may be quoted, contain backslashes or `%20`, and have columns
after the name. Lines are only looked up among the data set's files; they are never opened as paths.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.files import (
    IMAGE_SUFFIXES,
    MAX_DEPTH,
    file_names,
    fold,
    plain_path,
    split_lines,
    without_suffix,
)
from jaxssd.data.formats.split_names import split_name, splits_of

MAX_LIST_BYTES = 500_000_000
"""Largest list. The longest of Open Images has 9 million images in 200 MB."""

_SUFFIXES = (*IMAGE_SUFFIXES, ".xml", ".txt")
_MAX_COLUMNS = 8  # columns of a line that may belong to a name with blanks
_COLUMN_END = re.compile(r"(?<=\S)(?=[\s,])")
_QUOTED = re.compile(r"""(["'])(.*?)\1""")


class Lookup:
    """Images of a data set by any name that a list or an annotation may use.

    Args:
        ids: id of each file by its path from the data set's folder.

    Example:
        >>> files = Lookup({"JPEGImages/a.jpg": "a", "JPEGImages/dogs/b.jpg": "dogs/b"})
        >>> files.find("a"), files.find("C:\\\\set\\\\JPEGImages\\\\A.JPG"), files.find("b.jpg"), files.find("cats/b")
        (('a',), ('a',), ('dogs/b',), ())
    """

    def __init__(self, ids: Mapping[str, str]) -> None:
        """Store the ids. The tables are built when they are needed, as most lists hold plain ids."""
        self._ids = ids

    @cached_property
    def _as_written(self) -> "_Table":
        return _Table(self._ids, str)

    @cached_property
    def _folded(self) -> "_Table":
        return _Table(self._ids, fold)

    @cached_property
    def _folders(self) -> set[str]:
        return {os.path.dirname(key) for key in self._folded.paths}

    def find(self, written: str) -> tuple[str, ...]:
        """Ids that a name may stand for: none, one, or several if it is ambiguous.

        A path counts from the data set's folder. Folders before that are ignored, folders below it are not:
        `val/a.jpg` is never `train/a.jpg`. A name without folders may lie anywhere.
        """
        outside = leads_out(written)
        return self._look_up(written, outside, self._as_written) or self._look_up(written, outside, self._folded)

    def _look_up(self, written: str, outside: bool, table: "_Table") -> tuple[str, ...]:
        tail = table.convert(plain_path(written))
        if not outside and tail in table.names:
            return tuple(table.paths.get(tail, table.names[tail]))
        while tail and tail.count("/") <= MAX_DEPTH:
            vague = outside and "/" not in tail and without_suffix(tail, _SUFFIXES) == tail
            if tail in table.paths and not vague:
                return tuple(table.paths[tail])
            tail = tail.partition("/")[2]
        return ()

    def has_folder_of(self, written: str) -> bool:
        """True if the folder of a name is in the data set, so that only the file is missing."""
        folder = os.path.dirname(fold(plain_path(written)))
        while folder and folder.count("/") <= MAX_DEPTH:
            if folder in self._folders:
                return True
            folder = folder.partition("/")[2]
        return False


def lists_by_split(folder: Path) -> dict[str, list[str]]:
    """Find the lists in a folder that are named after splits.

    A list named just after its split comes first, else the only one whose name ends with it, such as
    `cars_train.txt`. Label files are not lists: a text named like an image beside it, or one whose lines are boxes.

    Returns:
        File names by split.
    """
    inside = file_names(folder)
    images = {fold(without_suffix(name)) for name in inside if without_suffix(name) != name}
    stems = {os.path.splitext(name)[0]: name for name in inside if name.lower().endswith(".txt")}
    found: dict[str, list[str]] = defaultdict(list)
    for stem, split in splits_of(stem for stem in stems if fold(stem) not in images).items():
        if not _has_boxes(folder / stems[stem]):
            found[split].append(stem)
    for split, names in found.items():
        exact = [stem for stem in names if split_name(stem)]
        found[split] = exact or names * (len(names) == 1)
    return {split: [stems[stem] for stem in names] for split, names in sorted(found.items()) if names}


def _has_boxes(path: Path) -> bool:
    """True if a text begins like an image's labels: each line a class and four or more numbers."""
    try:
        with path.open("rb") as file:
            start = file.read(2000)
    except OSError:
        return False
    whole = start.splitlines()[: -1 if len(start) == 2000 else None]
    lines = [fields for line in whole if (fields := line.split())]
    return bool(lines) and all(len(fields) > 4 and all(map(_is_number, fields)) for fields in lines)


def _is_number(text: bytes) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def leads_out(written: str) -> bool:
    """True if a path is absolute, on any system, or contains `..`."""
    path = written.replace("\\", "/")
    return path.startswith("/") or bool(re.match(r"[A-Za-z]:", path)) or ".." in path.split("/")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a list with their numbers from 1, without empty lines and `# ` comments.

    Raises:
        ValueError: if the list is too large, or neither UTF-8 nor UTF-16 with a byte order mark.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise ValueError(f"{path} has more than {MAX_LIST_BYTES:,} bytes")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        lines = split_lines(content.decode(encoding))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [(number, line) for number, line in stripped if line and not line.startswith("# ")]


def resolve(line: str, where: str, known: Container[str], lookup: Callable[[], Lookup]) -> str:
    """Find the id that a line of a list means.

    Args:
        line: line without blanks around it.
        where: file and line number, for errors.
        known: ids that are accepted as they are written.
        lookup: function that gives the files, called only if the line is no known id.

    Returns:
        The id. If only the file is missing, it is an id that the data set does not have.

    Raises:
        ValueError: if the line is ambiguous, or names a folder that is not in the data set.
    """
    for candidate in candidates(line):
        if candidate in known:
            return candidate
    files = lookup()
    for candidate in candidates(line):
        hits = files.find(candidate)
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise ValueError(f"{where}: {candidate!r} can be {', '.join(hits[:3])}: write the path within the data set")
    quoted = _QUOTED.match(line)
    named = [candidate for candidate in candidates(line) if candidate.lower().endswith(_SUFFIXES)]
    name = quoted[2].strip() if quoted else (named or list(candidates(line)))[-1]
    nested = "/" in plain_path(name) or leads_out(name)
    if "\0" in name or not plain_path(name) or (nested and not files.has_folder_of(name)):
        raise ValueError(
            f"{where}: {name[:200]!r} is not a plain file name or a path within the data set's folder. Images "
            "outside it are not read: move them there, and list their paths from it"
        )
    return without_suffix(plain_path(name), _SUFFIXES)


def candidates(line: str) -> Iterator[str]:
    """Names that a line may contain, the likeliest first: all of it, a quoted name, or a name before columns.

    Example:
        >>> list(candidates("my cat.jpg 1"))
        ['my cat.jpg 1', 'my cat.jpg', 'my']
    """
    yield line
    if match := _QUOTED.match(line):
        yield match[2].strip()
    ends = [match.start() for match in _COLUMN_END.finditer(line)][:_MAX_COLUMNS]
    for end in reversed(ends):
        yield line[:end]


class _Table:
    """Ids by the names of their files, each name converted to one form."""

    def __init__(self, ids: Mapping[str, str], convert: Callable[[str], str]) -> None:
        self.convert = convert
        self.paths: dict[str, dict[str, None]] = defaultdict(dict)  # dicts serve as ordered sets
        self.names: dict[str, dict[str, None]] = defaultdict(dict)  # by the last part of the path
        for path, name in ids.items():
            stem = without_suffix(path, _SUFFIXES)
            for form in {path, stem, name, name + path[len(stem) :]}:
                key = convert(form)
                self.paths[key][name] = None
                self.names[key.rpartition("/")[2]][name] = None
