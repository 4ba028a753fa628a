"""Folder with a COCO file for each split.

    annotations/instances_train2017.json, instances_val2017.json     with train2017/, val2017/ or images/train/, ...
    train/_annotations.coco.json, valid/_annotations.coco.json       with their images beside them, as Roboflow has it
    train.json, val.json                                             with images anywhere below the folder

An id is the split and the image's name, such as `train/0001`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.coco.detect import COCOFile, json_stem
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.coco.images import ImageIndex
from jaxssd.data.formats.coco.listing import Listing, read_listing
from jaxssd.data.formats.coco.source import COCOSource
from jaxssd.data.formats.split_names import split_word
from jaxssd.data.splits import TRAIN_SPLITS, note_on_test

_MAX_EXTRA = 20_000_000
"""Largest file in bytes that is read only for a note."""


def open_coco_folder(root: Path, files: Sequence[COCOFile], images: Path | None = None) -> COCOSource:
    """Open the data set in a folder.

    Args:
        root: the folder.
        files: files that `find_coco_files` found there, at least one.
        images: folder below which all images are; `root` by default.

    Raises:
        ValueError: if there are several files for one split, or several named after no split.
    """
    of_split: dict[str, list[COCOFile]] = {}
    for file in files:
        of_split.setdefault(file.split or "", []).append(file)
    others = of_split.pop("", [])
    if of_split:
        chosen = tuple((split, _only(root, of_split[split]).path) for split in of_split)
        return COCOFolder(root, images or root, chosen, tuple(file.path for file in others))
    return COCOJson(_only(root, others).path, images or root)


@dataclass(frozen=True)
class COCOFolder(COCOSource):
    """Files of COCO's instances, one for each split.

    Args:
        root: the folder.
        images: folder below which the images are.
        splits: name and file of each split, in the order of `find_coco_files`.
        others: files named after no split.

    Raises:
        FileNotFoundError: if there is no folder `images`.
    """

    root: Path
    images: Path
    splits: tuple[tuple[str, Path], ...]
    others: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images} is not a folder: set --images to the folder of the images")

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """Splits that files or their folders are named after."""
        return tuple(sorted(split for split, _ in self.splits))

    def other_splits(self) -> tuple[str, ...]:
        """Names of the files named after no split."""
        return tuple(sorted(map(_stem, self.others)))

    def notes(self) -> tuple[str, ...]:
        """Note on images in both train and test; a large test file is not read for it."""
        paths = dict(self.splits)
        test = paths.get("test")
        if test is None or (test not in self._opened and _size(test) > _MAX_EXTRA):
            return ()
        try:
            note = note_on_test({split: self.split_ids(split) for split in paths if split in (*TRAIN_SPLITS, "test")})
        except ValueError:
            return ()  # raised again when the split is read
        return (note,) if note else ()

    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of a split.

        Args:
            split: one of `split_names`, or the name of its file or folder, such as `valid` or `instances_val2017`.

        Raises:
            ValueError: if there is no such split, its file is not one of instances, or two files have different
                category ids.
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
        """Number of each image in the JSON file; its position from 1 if they are of several files."""
        return super().image_ids(ids) if self._common_file(ids) else tuple(range(1, len(ids) + 1))

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        others = {f"{_stem(path)}/": path for path in self.others}
        return {f"{split}/": path for split, path in self.splits} | others

    @cached_property
    def _prefixes(self) -> dict[str, str]:
        """Prefix of each file, by the names of splits, and of files and folders named after splits."""
        names = {prefix.removesuffix("/"): prefix for prefix in self._files}
        for prefix, path in self._files.items():
            for name in (_stem(path), path.parent.name):
                if split_word(name):
                    names.setdefault(name, prefix)
        return names

    def _earlier(self, prefix: str) -> tuple[str, ...]:
        splits = [f"{split}/" for split, _ in self.splits]
        return tuple(splits[: splits.index(prefix)]) if prefix in splits else tuple(splits)

    def _neighbours(self, prefix: str) -> tuple[str, ...]:
        """Prefixes of the other splits, without test: that may be large, and is not read to train."""
        return tuple(other for split, _ in self.splits if split != "test" and (other := f"{split}/") != prefix)

    def _read(self, path: Path) -> Listing:
        split_of = {file: split for split, file in self.splits}
        stem = _stem(path)
        return read_listing(path, self._index, stem if split_word(stem) else split_of.get(path, stem))

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex(self.images)


def _only(root: Path, files: Sequence[COCOFile]) -> COCOFile:
    """File of instances among several."""
    named = [file for file in files if _stem(file.path).lower().startswith("instances")]
    if len(files) > 1 and len(named) != 1:
        listed = ", ".join(str(file.path.relative_to(root)) for file in files[:5])
        kind = f"for the split {files[0].split}" if files[0].split else "named after no split"
        raise ValueError(
            f"{root} has {len(files)} COCO files {kind}: {listed}. Name one, --data {files[0].path}; --val-split can "
            "name another one beside it"
        )
    return named[0] if len(named) == 1 else files[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _stem(path: Path) -> str:
    return json_stem(path.name) or path.name
