r"""Images below a folder, found by a COCO file's `file_name`.

A `file_name` may be written on another machine or by another tool: with other folders before it, with backslashes, in
URL encoding, or as an address. It is looked up among the names below the folder and never becomes part of a path.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from jaxssd.data.formats.coco.values import Id
from jaxssd.data.formats.files import IMAGE_SUFFIXES, common_tail, list_files, plain_path, without_suffix
from jaxssd.data.formats.split_lists import leads_out
from jaxssd.data.formats.split_names import split_word, split_words
from jaxssd.data.formats.voc.detect import IMAGE_FOLDERS

_MASKS = re.compile(
    r"(?<![a-z])((ground_?truth|gt|label|labelmap|mask|trimap|annotation|seg|panoptic|semantic)s?(?![a-z])|segmentation)"
)
"""Names of folders that hold masks and the like instead of photographs."""


def clean_name(file_name: str) -> str:
    r"""Relative path of a `file_name`: the path of an address, or the file that Label Studio's address names.

    Example:
        >>> clean_name("C:\\data\\a.jpg"), clean_name("https://host/images/a.jpg?size=1")
        ('C:/data/a.jpg', 'images/a.jpg')
        >>> clean_name("http://localhost:8080/data/local-files/?d=shelf/a%20b.jpg")
        'shelf/a b.jpg'
    """
    if "://" not in file_name and "?d=" not in file_name:
        return plain_path(file_name)
    try:
        address = urlsplit(file_name)
        named = parse_qs(address.query).get("d", [address.path])[0]
    except ValueError:  # an address with half of a bracket
        named = file_name
    return plain_path(named)


@dataclass(frozen=True)
class ImageIndex:
    """Images below a folder.

    Args:
        root: the folder.
    """

    root: Path

    def find(self, file_name: str, source: str = "") -> tuple[str, ...]:
        """Find the images that a name may mean.

        The name is a path from `root`, or else the images with its last part match, those with the longest common tail.
        Several matches are narrowed down in this order: folders named like `source` or after its split (`a.jpg` of
        `instances_train2017.json` is `train2017/a.jpg`, not `val2017/a.jpg`), folders that are not of masks, the only
        match in a folder named after images.

        Args:
            file_name: name as the COCO file states it.
            source: name of the COCO file without its extension.

        Returns:
            Paths relative to `root`. Images in folders of other splits do not match if the source's split has folders.
        """
        for path in _readings(file_name):
            if found := self._named(path.rpartition("/")[2]):
                break
        else:
            return ()
        if path in found:
            return (path,)
        tails = {hit: _common_tail(without_suffix(hit), without_suffix(path)) for hit in found}
        if len(found) > 1:
            tails = {hit: tail for hit, tail in tails.items() if not _of_another_split(path, hit)} or tails
        longest = max(tails.values())
        best = [hit for hit, tail in tails.items() if tail == longest]
        if split := split_word(source):
            ranks = {hit: _split_rank(hit.split("/")[:-longest], source, split) for hit in best}
            highest = max(ranks.values())
            if highest < 0 and split in self._splits:
                return ()
            best = [hit for hit in best if ranks[hit] == highest]
        best = _photographs(best)
        return tuple(best) if len({self.identity(hit) for hit in best}) > 1 else (best[0],)

    def find_all(self, file_names: Mapping[Id, str], source: str = "") -> dict[Id, tuple[str, ...]]:
        """Find the images of all names in one file.

        Folders in the names may be of another machine, and are then ignored. But if the folders of some names exist, a
        name whose folder does not exist has no image: `vidA/1.jpg` is not `vidB/1.jpg`, and `val/1.jpg` is not
        `train/1.jpg`.

        Args:
            file_names: names by any key.
            source: name of the COCO file without its extension.

        Returns:
            Paths relative to `root`, by the same keys.
        """
        found = {key: self.find(name, source) for key, name in file_names.items()}
        loose: dict[Id, str] = {}  # names whose folder is not that of the image
        trusted: set[int | None] = set()  # kinds of names whose folders exist
        for key, hits in found.items():
            path = clean_name(file_names[key])
            if not hits or "/" not in path:
                continue
            place = f"{self.root.absolute().name}/{hits[0]}"
            if _common_tail(without_suffix(place), without_suffix(path)) == 1 or _of_another_split(path, hits[0]):
                loose[key] = path
            else:
                trusted.add(_kind_of_name(file_names[key]))
        split = split_word(source)
        for key, path in loose.items():
            another = _of_another_split(path, found[key][0])
            of_source = split is None or split in _splits_in(found[key][0])
            if _kind_of_name(file_names[key]) in trusted or (another and (trusted or not of_source)):
                found[key] = ()
        return found

    def identity(self, path: str) -> tuple[int, int] | str:
        """Device and inode of a file; its path if it is not there."""
        try:
            status = (self.root / path).stat()
        except (OSError, ValueError):
            return path
        return status.st_dev, status.st_ino

    def _named(self, name: str) -> tuple[str, ...]:
        """Images with this last part: exactly, in another case or encoding of accents, or without an extension."""
        for key in (name, _folded(name)):
            if found := self._by_name.get(key):
                same = tuple(path for path in found if path.rpartition("/")[2] == name)
                return same or tuple(found)
        has_suffix = without_suffix(name) != name
        return () if has_suffix else tuple(self._by_name.get(f"{_folded(name)}/", ()))

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return list_files(self.root, IMAGE_SUFFIXES)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Paths by last part, by its folded form, and by its folded stem followed by `/`."""
        found = defaultdict(list)
        for path in self._paths:
            name = path.rpartition("/")[2]
            folded = _folded(name)
            for key in {name, folded, f"{without_suffix(folded)}/"}:
                found[key].append(path)
        return dict(found)

    @cached_property
    def _splits(self) -> frozenset[str]:
        """Splits that folders are named after."""
        folders = {part for path in self._paths for part in path.split("/")[:-1]}
        return frozenset(split for folder in folders if (split := split_word(folder)))


def _readings(file_name: str) -> Iterator[str]:
    """Paths that a name may stand for: as it is, and with URL encoding undone."""
    path = clean_name(file_name)
    yield path
    if "%" in path:
        yield plain_path(unquote(path))


def _photographs(hits: list[str]) -> list[str]:
    """Images that are not masks, if there are any; of these, the only one in a folder named after images."""
    if len(hits) == 1:
        return hits
    folders = {hit: hit.lower().split("/")[:-1] for hit in hits}
    rest = [hit for hit in hits if not any(map(_MASKS.search, folders[hit]))] or hits
    inside = [hit for hit in rest if IMAGE_FOLDERS.intersection(folders[hit])]
    return inside if len(inside) == 1 else rest


def _kind_of_name(file_name: str) -> int | None:
    """Key shared by names that are written alike: the depth of absolute paths and addresses, None for others."""
    return clean_name(file_name).count("/") if leads_out(file_name) or "://" in file_name else None


def _of_another_split(path: str, hit: str) -> bool:
    """True if two paths are in folders named after different splits."""
    own, others = _splits_in(path), _splits_in(hit)
    return bool(own and others) and own.isdisjoint(others)


def _splits_in(path: str) -> frozenset[str]:
    return _splits_of_folders(path.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _splits_of_folders(folder: str) -> frozenset[str]:
    return frozenset(split for part in folder.split("/") if (split := split_word(part)))


def _common_tail(one: str, other: str) -> int:
    """Number of last parts that are equal in any case; at least one."""
    return max(common_tail(_folded(one), _folded(other)), 1)


def _split_rank(folders: list[str], source: str, split: str) -> int:
    """2 for a folder named like the split in `source`, with its year; 1 for its split; -1 for another; else 0."""
    if split_words(source) & {folder.lower() for folder in folders}:
        return 2
    splits = {found for folder in folders if (found := split_word(folder))}
    return 1 if split in splits else -1 if splits else 0


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
