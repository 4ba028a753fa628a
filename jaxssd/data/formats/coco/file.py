"""One COCO JSON file with its images."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.coco.detect import json_stem
from jaxssd.data.formats.coco.images import ImageIndex
from jaxssd.data.formats.coco.listing import Listing, read_listing
from jaxssd.data.formats.coco.source import COCOSource
from jaxssd.data.formats.files import subfolders
from jaxssd.data.formats.split_names import split_word

_IMAGES = re.compile(r"(?i)images?|imgs?|data|pictures|jpegimages")
"""Names of folders with images inside a split's folder."""


def default_images_folder(annotations: Path) -> Path:
    """Folder of a file's images by default: the JSON's own folder, or the one above if that is `annotations`.

    Example:
        >>> str(default_images_folder(Path("/data/coco/annotations/instances_val2017.json")))
        '/data/coco'
    """
    folder = annotations.parent
    return folder.absolute().parent if folder.absolute().name.lower() == "annotations" else folder


@dataclass(frozen=True)
class COCOJson(COCOSource):
    """File of COCO's instances.

    Args:
        annotations: JSON file.
        images: folder below which its images are; see `default_images_folder`.

    Raises:
        FileNotFoundError: if there is no such file or folder. Faults of the file's content are a `ValueError` of the
            method that reads it first.
    """

    annotations: Path
    images: Path

    def __post_init__(self) -> None:
        if not self.annotations.is_file():
            raise FileNotFoundError(f"{self.annotations} is not a file")
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images} is not a folder: set --images to the folder of the images")

    @property
    def path(self) -> Path:
        """The JSON file."""
        return self.annotations

    def split_names(self) -> tuple[str, ...]:
        """No splits: other files beside this one may be its splits or anything else, and have to be named."""
        return ()

    def other_splits(self) -> tuple[str, ...]:
        """Names of the other JSON files in the folder, without their extension."""
        return tuple(sorted(stem for stem, prefix in self._stems.items() if prefix))

    def notes(self) -> tuple[str, ...]:
        """Note on files of the same name in neighbouring folders named after other splits."""
        folder, name = self.annotations.absolute().parent, self.annotations.name
        here, root = split_word(folder.name), folder.parent
        others = [other for other in subfolders(root) if split_word(other.name) not in (here, None)]
        beside = [other.name for other in others if (other / name).is_file()]
        if here is None or not beside:
            return ()
        return (
            f"{name} is also in {', '.join(sorted(beside))} beside {folder.name}: --data {root} takes all as splits",
        )

    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of this file, or of another JSON file in its folder.

        Args:
            split: name of the file without `.json`.

        Raises:
            ValueError: if there is no such file, it is not one of instances, its category ids differ, or it lists a
                picture of this file although the two are named after different splits.
        """
        if split not in self._stems:
            known = ", ".join(sorted(self._stems)) or "none"
            raise ValueError(f"{self.annotations} has no split {split!r}; JSON files in its folder are {known}")
        prefix = self._stems[split]
        if not prefix:
            return self.all_ids()
        own, other = self._listed(""), self._listed(prefix)
        self._require_same_categories(own, other)
        ids = tuple(dict.fromkeys(self._ids_of(prefix).values()))  # two entries may be of one image here
        self._require_other_pictures(ids, split)
        return ids

    def all_ids(self) -> tuple[str, ...]:
        """All images of the file, with or without objects, in its order."""
        return tuple(self._listed("").numbers)

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """The file itself with an empty prefix, and the other JSON files of the folder with their names as prefixes."""
        folder = self.annotations.parent
        names = sorted(path.name for path in folder.absolute().iterdir() if json_stem(path.name) and path.is_file())
        others = {f"{name}/": folder / name for name in names if name != self.annotations.name and name[0] != "."}
        return {"": self.annotations, **others}

    @cached_property
    def _stems(self) -> dict[str, str]:
        """Prefix of each file by its name without extension; this file comes first."""
        stems: dict[str, str] = {}
        for prefix, path in self._files.items():
            stems.setdefault(json_stem(path.name) or path.name, prefix)
        return stems

    def _earlier(self, prefix: str) -> tuple[str, ...]:
        return ("",) if prefix else ()

    def _neighbours(self, prefix: str) -> tuple[str, ...]:
        """Prefixes of the file itself, for other files; and of the files that are already read, for the file."""
        if prefix:
            return ("",)
        return tuple(other for other, path in self._files.items() if other and path in self._opened)

    def _read(self, path: Path) -> Listing:
        stem = json_stem(path.name) or path.name
        return read_listing(path, self._index(stem), stem)

    def _index(self, stem: str) -> ImageIndex:
        """Images of a file. If `images` is the folder of another split, its neighbours are searched too."""
        folder, split = self.images.absolute(), split_word(stem)
        for inner in (folder, folder.parent):  # images/train, train/images
            here = split_word(inner.name) if inner is folder or _IMAGES.fullmatch(folder.name) else None
            if (
                here
                and split not in (here, None)
                and split in (split_word(path.name) for path in subfolders(inner.parent))
            ):
                return self._indices.setdefault(inner.parent, ImageIndex(inner.parent))
        return self._indices.setdefault(self.images, ImageIndex(self.images))

    @cached_property
    def _indices(self) -> dict[Path, ImageIndex]:
        return {}

    def _require_other_pictures(self, ids: tuple[str, ...], split: str) -> None:
        """Raise an error if two files named after different splits share a picture."""
        own = json_stem(self.annotations.name) or ""
        shared = [name for name in ids if name in self._listed("").numbers]
        if shared and split_word(own) and split_word(split) and split_word(own) != split_word(split):
            listed = self._listed("")
            where = listed.file(listed.numbers[shared[0]])
            raise ValueError(
                f"{self._files[self._stems[split]]} and {self.annotations} list the same pictures: {len(shared)}, the "
                f"first {where}. A picture to train on must not be one to validate on: take it out of one of them, or "
                "if each split has pictures of its own, keep them in folders named after the splits"
            )
