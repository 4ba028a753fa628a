"""Files that list a split's images: each line is looked up among the data set's files and never becomes part of a path.

A line may be an id, a file's name or its path: from the data set's folder, from the list's own, or from the place where
the data once lay, such as `/home/me/set/JPEGImages/a.jpg`. It may stand in quotes, have backslashes or `%20` in it, and
be followed by columns.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.files import IMAGE_SUFFIXES, MAX_DEPTH, children, fold, plain_path, split_lines, without_suffix
from jaxssd.data.formats.split_names import split_name, splits_of

MAX_LIST_BYTES = 500_000_000
"""Of a list; Open Images' longest has 9 million images in 200 MB."""

_ENDINGS = (*IMAGE_SUFFIXES, ".xml", ".txt")
_MAX_COLUMNS = 8  # of a line that are tried as parts of a name with blanks
_COLUMN_END = re.compile(r"(?<=\S)(?=[\s,])")
_QUOTED = re.compile(r"""(["'])(.*?)\1""")


class Lookup:
    """The images of a data set by whatever a list or an annotation may call them.

    Args:
        ids: of each file, by its path from the data set's folder.

    Example:
        >>> files = Lookup({"JPEGImages/a.jpg": "a", "JPEGImages/dogs/b.jpg": "dogs/b"})
        >>> files.find("a"), files.find("C:\\\\set\\\\JPEGImages\\\\A.JPG"), files.find("b.jpg"), files.find("cats/b")
        (('a',), ('a',), ('dogs/b',), ())
    """

    def __init__(self, ids: Mapping[str, str]) -> None:
        """Nothing is sorted yet: most data sets need no more than ids."""
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
        """The ids that a name can mean: none, one, or those between which it does not decide.

        A path counts from the data set's folder. Folders before that are left away, those behind are not: `val/a.jpg`
        is never `train/a.jpg`. A name without folders may lie anywhere.
        """
        outside = leads_out(written)
        return self._look_up(written, outside, self._as_written) or self._look_up(written, outside, self._folded)

    def _look_up(self, written: str, outside: bool, table: "_Table") -> tuple[str, ...]:
        tail = table.convert(plain_path(written))
        if not outside and tail in table.names:
            return tuple(table.paths.get(tail, table.names[tail]))
        while tail and tail.count("/") <= MAX_DEPTH:
            vague = outside and "/" not in tail and without_suffix(tail, _ENDINGS) == tail
            if tail in table.paths and not vague:
                return tuple(table.paths[tail])
            tail = tail.partition("/")[2]
        return ()

    def has_folder_of(self, written: str) -> bool:
        """Whether the folder of a name is one of the data set's, so that the file alone is missing."""
        folder = os.path.dirname(fold(plain_path(written)))
        while folder and folder.count("/") <= MAX_DEPTH:
            if folder in self._folders:
                return True
            folder = folder.partition("/")[2]
        return False


def called_after_splits(folder: Path) -> dict[str, list[str]]:
    """Names of the lists in a folder, by the split that each is called after.

    Those count that have just its name; else the only one with its name at the end: `cars_train.txt`. Labels of an
    image that is called `test.jpg` are none: it lies beside them, or their lines are boxes.
    """
    inside = [name for name, is_folder in children(folder).items() if not is_folder]
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
    """Whether a text begins like an image's labels: with lines of a class and four numbers or more."""
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
    """Whether a path is absolute, on any system, or has `..` in it."""
    path = written.replace("\\", "/")
    return path.startswith("/") or bool(re.match(r"[A-Za-z]:", path)) or ".." in path.split("/")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a list that are not empty, with their numbers from 1.

    Raises:
        ValueError: if it is neither UTF-8 nor UTF-16 with its mark, or too large, naming the file.
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
    return [(number, line) for number, line in stripped if line and not line.startswith("# ")]  # the second: a remark


def resolve(line: str, where: str, known: Container[str], lookup: Callable[[], Lookup]) -> str:
    """The id that a line means; one that the data set has not, if only the file is missing.

    Args:
        line: without blanks around it.
        where: file and line, for errors.
        known: ids that count as they are written.
        lookup: the rest; called if need be.

    Raises:
        ValueError: if it can be several, or names a folder that is not in the data set.
    """
    for reading in readings(line):
        if reading in known:
            return reading
    files = lookup()
    for reading in readings(line):
        hits = files.find(reading)
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise ValueError(f"{where}: {reading!r} can be {', '.join(hits[:3])}: write the path within the data set")
    quoted = _QUOTED.match(line)
    named = [reading for reading in readings(line) if reading.lower().endswith(_ENDINGS)] or list(readings(line))
    name = quoted[2].strip() if quoted else named[-1]
    nested = "/" in plain_path(name) or leads_out(name)
    if "\0" in name or not plain_path(name) or (nested and not files.has_folder_of(name)):
        raise ValueError(
            f"{where}: {name[:200]!r} is not a plain file name, and no path within the data set's folder; images "
            "elsewhere are not read: move them there, and list their paths from it"
        )
    return without_suffix(plain_path(name), _ENDINGS)


def readings(line: str) -> Iterator[str]:
    """What a line may say, the likeliest first: one name, a name in quotes, or a name with columns behind it.

    Example:
        >>> list(readings("my cat.jpg 1"))
        ['my cat.jpg 1', 'my cat.jpg', 'my']
    """
    yield line
    if match := _QUOTED.match(line):
        yield match[2].strip()
    ends = [match.start() for match in _COLUMN_END.finditer(line)][:_MAX_COLUMNS]
    for end in reversed(ends):
        yield line[:end]


class _Table:
    """Ids by the names of their files, in one form."""

    def __init__(self, ids: Mapping[str, str], convert: Callable[[str], str]) -> None:
        self.convert = convert
        self.paths: dict[str, dict[str, None]] = defaultdict(dict)  # sets that keep their order
        self.names: dict[str, dict[str, None]] = defaultdict(dict)  # by the last part alone
        for path, name in ids.items():
            stem = without_suffix(path, _ENDINGS)
            for form in {path, stem, name, name + path[len(stem) :]}:
                key = convert(form)
                self.paths[key][name] = None
                self.names[key.rpartition("/")[2]][name] = None
