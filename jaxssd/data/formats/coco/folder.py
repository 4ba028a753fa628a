"""A folder with COCO files that are each called after a split, or lie in a folder that is.

    annotations/instances_train2017.json, instances_val2017.json     with train2017/, val2017/ or images/train/, ...
    train/_annotations.coco.json, valid/_annotations.coco.json       with their images beside them, as Roboflow has it
    train.json, val.json                                             with images anywhere below the folder

An id is the split and the image's name, such as `train/0001`.
"""

import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.coco.images import ImageIndex
from jaxssd.data.formats.coco.listing import Listing, json_stem, read_listing
from jaxssd.data.formats.coco.source import COCOSource
from jaxssd.data.formats.split_names import split_word
from jaxssd.data.splits import TRAIN_SPLITS, remark_on_test

_ORDER = ("train", "trainval", "val", "test")
_OTHER_KINDS = ("captions_", "stuff_", "panoptic_", "image_info_", "person_keypoints_")
_ANNOTATION_FOLDERS = (
    *("annotations", "annotation", "annots", "annot", "anns", "ann", "labels", "label"),
    *("json", "jsons", "coco", "coco_annotations", "annotations_coco"),
)
_FIRST_KEY = re.compile(rb'\s*\{\s*"(images|annotations|categories|info|licenses|license|type|videos)"\s*:')
_SCALAR = rb'"[^"]{0,99}"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)\s*,\s*'
_LATER_KEY = re.compile(rb"\s*\{\s*(?:" + _SCALAR + rb')+"(images|annotations|categories|info|licenses|videos)"\s*:')
_LIST = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')

_HEAD = 16_384
"""Bytes of a file by which it is told."""

_MAX_EXTRA = 20_000_000
"""Bytes of a file that is read for a remark alone."""


class COCOFile(NamedTuple):
    """A file of a folder.

    Attributes:
        path: the file.
        split: what it or its folder is called after, if it is.
    """

    path: Path
    split: str | None


def find_coco_files(root: Path) -> tuple[COCOFile, ...]:
    """The files of instances in a folder, in its folders of annotations and in those of splits.

    They are told by their first words alone. COCO's other files, of captions and the like, are left out where there is
    one of instances.

    Args:
        root: the folder.

    Returns:
        The files, splits in the order train, trainval, val, test before others.
    """
    found = []
    for folder, split in ((root, None), *_subfolders(root)):
        files = [path for path in _json_files(folder) if begins_like_coco(path)]
        found += [COCOFile(path, split_word(_stem(path)) or split) for path in files]
    plain = [file for file in found if not file.path.name.lower().startswith(_OTHER_KINDS)]
    chosen = plain or [file for file in found if file.path.name.lower().startswith("person_keypoints_")]
    return tuple(sorted(chosen, key=lambda file: (_ORDER.index(file.split) if file.split else len(_ORDER), file.path)))


def open_coco_folder(root: Path, files: Sequence[COCOFile], images: Path | None = None) -> COCOSource:
    """The data set that is in a folder.

    Args:
        root: the folder.
        files: what `find_coco_files` found there, at least one.
        images: the folder below which all images are; None for `root`.

    Raises:
        ValueError: naming the files, if there are several and their names do not tell which is for what.
    """
    of_split: dict[str, list[COCOFile]] = {}
    for file in files:
        of_split.setdefault(file.split or "", []).append(file)
    whole = of_split.pop("", [])
    if of_split:
        chosen = tuple((split, _only(root, of_split[split]).path) for split in of_split)
        return COCOFolder(root, images or root, chosen, tuple(file.path for file in whole))
    return COCOJson(_only(root, whole).path, images or root)


@dataclass(frozen=True)
class COCOFolder(COCOSource):
    """Files of COCO's instances, one for each split.

    Args:
        root: the folder.
        images: the folder below which the images are.
        splits: name and file of each split, in the order of `find_coco_files`.
        others: files that can be named as a split.

    Raises:
        FileNotFoundError: if there is no folder `images`.
    """

    root: Path
    images: Path
    splits: tuple[tuple[str, Path], ...]
    others: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images} is not a folder: name that of the images with --images")

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """The splits that files or their folders are called after."""
        return tuple(sorted(split for split, _ in self.splits))

    def other_splits(self) -> tuple[str, ...]:
        """Files that are called after no split."""
        return tuple(sorted(map(_stem, self.others)))

    def remarks(self) -> tuple[str, ...]:
        """Images both to train and to test on; of a large file for `test` only once it has been asked for."""
        paths = dict(self.splits)
        test = paths.get("test")
        if test is None or (test not in self._opened and _size(test) > _MAX_EXTRA):
            return ()
        try:
            said = remark_on_test({split: self.split_ids(split) for split in paths if split in (*TRAIN_SPLITS, "test")})
        except ValueError:
            return ()  # an error of its own, once the split is asked for
        return (said,) if said else ()

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of a split.

        Args:
            split: one of `split_names`, or the name of its file or folder, such as `valid` or `instances_val2017`.

        Raises:
            ValueError: if there is no such split, its file is not one of instances, or two files number their
                categories differently.
        """
        if split not in self._prefixes:
            raise ValueError(f"{self.root} has no split {split!r}; it has {', '.join(self._prefixes)}")
        prefix = self._prefixes[split]
        first = next(iter(self._files))
        if prefix != first:
            self._require_same_categories(self._listed(first), self._listed(prefix))
        return tuple(dict.fromkeys(self._ids_of(prefix).values()))

    def all_ids(self) -> tuple[str, ...]:
        """All images of all splits, each once."""
        return tuple(dict.fromkeys(name for split, _ in self.splits for name in self.split_ids(split)))

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """The number that each image has in the JSON file; its place from 1 on, if they are of several files."""
        return super().image_ids(ids) if self._common_file(ids) else tuple(range(1, len(ids) + 1))

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        others = {f"{_stem(path)}/": path for path in self.others}
        return {f"{split}/": path for split, path in self.splits} | others

    @cached_property
    def _prefixes(self) -> dict[str, str]:
        """By the names of splits, then by those of files and of the folders that they are in."""
        names = {prefix.removesuffix("/"): prefix for prefix in self._files}
        for prefix, path in self._files.items():
            for name in (_stem(path), path.parent.name):
                if split_word(name):
                    names.setdefault(name, prefix)
        return names

    def _before(self, prefix: str) -> tuple[str, ...]:
        splits = [f"{split}/" for split, _ in self.splits]
        return tuple(splits[: splits.index(prefix)]) if prefix in splits else tuple(splits)

    def _beside(self, prefix: str) -> tuple[str, ...]:
        """The splits, less the one to test on: it may be large, and is not opened to train."""
        return tuple(other for split, _ in self.splits if split != "test" and (other := f"{split}/") != prefix)

    def _read(self, path: Path) -> Listing:
        split_of = {file: split for split, file in self.splits}
        stem = _stem(path)
        return read_listing(path, self._index, stem if split_word(stem) else split_of.get(path, stem))

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex(self.images)


def _only(root: Path, files: Sequence[COCOFile]) -> COCOFile:
    """The file of instances among several."""
    named = [file for file in files if _stem(file.path).lower().startswith("instances")]
    if len(files) > 1 and len(named) != 1:
        listed = ", ".join(str(file.path.relative_to(root)) for file in files[:5])
        what = f"for the split {files[0].split}" if files[0].split else "that are called after no split"
        raise ValueError(
            f"{root} has {len(files)} COCO files {what}: {listed}. Name one, --data {files[0].path}; another one "
            "beside it can be --val-split"
        )
    return named[0] if len(named) == 1 else files[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _stem(path: Path) -> str:
    return json_stem(path.name) or path.name


def _subfolders(root: Path) -> Iterable[tuple[Path, str | None]]:
    """Folders of annotations and of splits, folders of annotations in the latter, and the split of each."""
    for folder in _folders(root):
        split = split_word(folder.name)
        if split or folder.name.lower() in _ANNOTATION_FOLDERS:
            yield folder, split
        if split:
            yield from ((inner, split) for inner in _folders(folder) if inner.name.lower() in _ANNOTATION_FOLDERS)


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(root / entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    except OSError:
        return []


def _json_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if json_stem(entry.name) and entry.is_file()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name[0] != "."]


def begins_like_coco(path: Path) -> bool:
    """Whether the first key of a file is one of COCO's, or the first that has more than a word or a number."""
    head = _head(path)
    return bool(_FIRST_KEY.match(head) or (_LATER_KEY.match(head) and _LIST.search(head)))


def may_be_coco(path: Path) -> bool:
    """Whether one of COCO's lists is anywhere in a file's beginning."""
    head = _head(path)
    return head.lstrip().startswith(b"{") and bool(_LIST.search(head))


def _head(path: Path) -> bytes:
    """The beginning of a file, unpacked and in UTF-8; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head[:2] == b"\x1f\x8b":
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except (OSError, zlib.error):
        return b""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", errors="ignore").encode()  # told what it is, once it is read
    return head.removeprefix(b"\xef\xbb\xbf")
