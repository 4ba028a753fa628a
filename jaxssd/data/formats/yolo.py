"""A folder of YOLO's text files to a `Dataset`.

    root/data.yaml               names of the classes: `names`, a list or a mapping from indices; or dataset.yaml, or
                                 one name a line in classes.txt, obj.names or labels.txt; the first that is there counts
    images/train/**.jpg          (a) with labels/train/**.txt
    train/images/**.jpg          (b) with train/labels/**.txt, as Roboflow has it
    **.jpg                       (c) with a .txt of the same name beside it

Images are .jpg, .jpeg or .png in any case; of equal names the earlier extension counts. In (a) and (c) the first folder
is the split if any of these is called after one: train, val or test, with or without a year. `valid` and `validation`
are `val`, and years are left away. Otherwise there are no splits, as in images/*.jpg with labels/*.txt. The paths in
data.yaml are not followed.

A line is `class center_x center_y width height`, in shares of the image's width and height, and becomes the box
`[center_y - height/2, center_x - width/2, center_y + height/2, center_x + width/2]`. A line with more points is an
outline, of which the hull is taken.

Boxes refer to the image turned as its EXIF orientation says, which is how OpenCV reads images and so YOLO's own tools.

An id is the path of the image below `images`, or below `root` in (c), without extension; in (b) it begins with the
split: `train/0001`. Links are followed as the file system does, but an id is only ever looked up and never becomes
part of a path.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, cut short, or neither JPEG nor PNG | image skipped | `broken` |
| no image for a .txt file | image skipped | `missing` |
| beyond a limit of `images`, such as `MAX_PIXELS` | image skipped | `oversized` |
| .txt file is not UTF-8, has more than 10 MB, or cannot be read | image skipped | `malformed annotation` |
| a number above 1.5: pixels | image skipped | `not normalised` |
| no .txt file: an image without objects | image kept | `without label file` |
| fewer than four numbers, or an odd number of them in an outline | box dropped | `incomplete` |
| a fifth number, as detectors write their confidence | box dropped | `with confidence` |
| a number is NaN or infinite | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| an object of a class that is not among `class_names` | box dropped | `other class` |
| outlines | their hulls taken | `with outlines` |
| box outside or beyond the image, too many, none | as in `voc` | as in `voc` |

What would need a guess is an error instead: a class that is not an index of one of the names, names that are missing,
empty, doubled or of another number than `nc`, a folder of another layout, not a single .txt file for an image, or no
readable image at all.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxssd.data.class_filter import other_class
from jaxssd.data.formats.files import IMAGE_SUFFIXES, list_files, read_annotation, without_suffix
from jaxssd.data.formats.yolo_text import Labels, UnreadableLabels, parse_labels, parse_names, parse_names_yaml
from jaxssd.data.report import Problem
from jaxssd.data.source import Record, Source

NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "classes.txt", "obj.names", "labels.txt")
"""Where names of classes are looked for, in this order."""

_SPLIT_FOLDER = re.compile(r"(trainval|train|validation|valid|val|test)(\d{4})?")
_LAYOUTS = (
    "images/train/*.jpg with labels/train/*.txt, train/images/*.jpg with train/labels/*.txt, or *.jpg with *.txt "
    f"beside them; and the classes' names in one of {', '.join(NAMES_FILES)}"
)


class _Place(NamedTuple):
    """Folders that belong together: paths from the root that end in `/` or are empty, and what ids there begin with."""

    images: str
    labels: str
    prefix: str


class _Pair(NamedTuple):
    """Paths from the root; None for a file that is missing."""

    image: str | None
    labels: str | None


def looks_like_yolo(root: Path) -> bool:
    """Whether a folder is in one of YOLO's layouts; it looks at names alone, and at few of them.

    Args:
        root: any path.

    Returns:
        False for a folder in PASCAL VOC layout, whatever else is in it.
    """
    inside = _children(root)
    if {"Annotations", "JPEGImages"} <= inside.keys():
        return False
    named = any(name in inside for name in NAMES_FILES)
    places = _places(root)
    if places != [_Place("", "", "")]:
        return named or any(_has_text(root / place.labels) for place in places)
    folders = [root, *(root / name for name, is_folder in inside.items() if is_folder)]
    return named and any(_has_pair(folder) for folder in folders)


@dataclass(frozen=True)
class YOLOFolder(Source):
    """A folder of YOLO's text files.

    Args:
        root: the folder that holds the classes' names.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has another layout, or no sound names.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder")
        if not any(pair.image and pair.labels for pair in self._pairs.values()):
            inside = sorted(name + "/" * is_folder for name, is_folder in _children(self.root).items())
            found = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
            raise ValueError(
                f"{self.root} is not in YOLO's layout: no image in it has a .txt file; it has {found or 'nothing'}. "
                f"Expected are {_LAYOUTS}."
            )
        _ = self._names

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """The splits that folders are called after, in alphabetical order."""
        return tuple(sorted(self._splits))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images below a split's folders, in alphabetical order."""
        if split not in self._splits:
            known = ", ".join(self.split_names()) or "none"
            raise ValueError(f"{self.root} has no split {split!r}; its folders are {known}")
        return self._splits[split]

    def all_ids(self) -> tuple[str, ...]:
        """All images and all .txt files, in alphabetical order."""
        return tuple(sorted(self._pairs))

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The names that the folder lists, in its order, whether or not there are objects of each."""
        return self._names

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the module's table says what happens to faulty ones."""
        problems: list[Problem] = []
        records = [self._record(name, class_names, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """The file of names, and labels and image of each."""
        pairs = [self._pairs.get(name, _Pair(None, None)) for name in ids]
        found = [self.root / path if path else None for pair in pairs for path in (pair.labels, pair.image)]
        return [self._names_file, *found]

    @cached_property
    def _pairs(self) -> dict[str, _Pair]:
        """Image and labels by id."""
        images: dict[str, str] = {}
        labels: dict[str, str] = {}
        for place in _places(self.root):
            found = list_files(self.root / place.images, IMAGE_SUFFIXES)
            folders = {os.path.dirname(path) for path in found}
            for path in sorted(found, key=lambda path: -IMAGE_SUFFIXES.index(os.path.splitext(path)[1].lower())):
                images[place.prefix + without_suffix(path)] = place.images + path
            for path in list_files(self.root / place.labels, (".txt",)):
                beside = place.images != place.labels or os.path.dirname(path) in folders  # else it is some other text
                if beside and os.path.basename(path) not in NAMES_FILES:
                    labels[place.prefix + without_suffix(path, (".txt",))] = place.labels + path
        return {name: _Pair(images.get(name), labels.get(name)) for name in images.keys() | labels.keys()}

    @cached_property
    def _splits(self) -> dict[str, tuple[str, ...]]:
        folders = {name.partition("/")[0] for name in self._pairs if "/" in name}
        if not any(map(_SPLIT_FOLDER.fullmatch, folders)):
            return {}
        splits: dict[str, list[str]] = {}
        for name in self.all_ids():
            if "/" in name:
                splits.setdefault(_split_of(name.partition("/")[0]), []).append(name)
        return {split: tuple(ids) for split, ids in splits.items()}

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Below `root`."""
        return tuple(self._pairs[name].image or name for name in ids)

    @cached_property
    def _names_file(self) -> Path:
        for name in NAMES_FILES:
            if (self.root / name).is_file():
                return self.root / name
        raise ValueError(f"{self.root} has no names of classes: expected is one of {', '.join(NAMES_FILES)}")

    @cached_property
    def _names(self) -> tuple[str, ...]:
        path = self._names_file
        try:
            content = path.read_bytes()
            return parse_names_yaml(content) if path.suffix in (".yaml", ".yml") else parse_names(content)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error

    def _labels(self, path: str | None) -> Labels:
        if path is None:
            return Labels([], [], [])
        try:
            return parse_labels(read_annotation(self.root / path), len(self._names))
        except OSError as error:
            raise UnreadableLabels("malformed annotation", str(error)) from error
        except UnreadableLabels:
            raise
        except ValueError as error:
            raise ValueError(f"{self.root / path}, {error}") from error

    def _record(self, name: str, class_names: tuple[str, ...], problems: list[Problem]) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        image, path = self._pairs.get(name, _Pair(None, None))
        if image is None:
            expected = f"no image of that name with extension {', '.join(IMAGE_SUFFIXES)}"
            problems.append(Problem(path or name, "skipped", "missing", expected))
            return None
        try:
            labels = self._labels(path)
        except UnreadableLabels as error:
            problems.append(Problem(path or name, "skipped", error.kind, str(error)))
            return None
        if path is None:
            problems.append(Problem(image, "noted", "without label file", "kept as an image without objects"))
        else:
            problems.extend(Problem(path, "dropped", kind, detail) for kind, detail in labels.flaws)
        if path and labels.polygons:
            detail = f"of {len(labels.polygons)} outlines, the first in line {labels.polygons[0]}, the hull is taken"
            problems.append(Problem(path, "noted", "with outlines", detail))
        label_of = {class_name: label for label, class_name in enumerate(class_names)}
        names = [self._names[item.label] for item in labels.boxes]
        problems.extend(other_class(path or image, class_name) for class_name in names if class_name not in label_of)
        boxes = [item for item, class_name in zip(labels.boxes, names, strict=True) if class_name in label_of]
        return Record(
            id=name,
            image=self.root / image,
            image_name=image,
            annotation_name=path or image,
            boxes=np.array([item.box for item in boxes], np.float64).reshape(-1, 4),
            labels=np.array([label_of[self._names[item.label]] for item in boxes], np.int32),
            difficult=np.zeros(len(boxes), bool),
            normalised=True,
            upright=True,
        )


def _places(root: Path) -> list[_Place]:
    """Where images and labels are, by the names of folders alone."""
    folders = sorted(name for name, is_folder in _children(root).items() if is_folder)
    if {"images", "labels"} <= set(folders):
        return [_Place("images/", "labels/", "")]
    splits = {name: {child for child, is_folder in _children(root / name).items() if is_folder} for name in folders}
    if any({"images", "labels"} <= inside for inside in splits.values()):
        with_images = [name for name, inside in splits.items() if "images" in inside]
        return [_Place(f"{name}/images/", f"{name}/labels/", f"{name}/") for name in with_images]
    return [_Place("", "", "")]


def _split_of(folder: str) -> str:
    match = _SPLIT_FOLDER.fullmatch(folder)
    if match is None:
        return folder
    return "val" if match[1].startswith("val") else match[1]


def _children(folder: Path) -> dict[str, bool]:
    """What is in a folder, hidden ones left out, and whether each is a folder; nothing if it cannot be listed."""
    try:
        return {path.name: path.is_dir() for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError:
        return {}


def _has_pair(folder: Path) -> bool:
    names = [name for name in os.listdir(folder) if name not in NAMES_FILES] if os.access(folder, os.R_OK) else []
    texts = {without_suffix(name, (".txt",)) for name in names if name.lower().endswith(".txt")}
    return any(without_suffix(name) in texts for name in names if name.lower().endswith(IMAGE_SUFFIXES))


def _has_text(folder: Path) -> bool:
    return any(name.lower().endswith(".txt") for _, _, names in os.walk(folder) for name in names)
