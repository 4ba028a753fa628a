"""A folder of YOLO's text files to a `Dataset`.

    root/data.yaml               names of the classes: `names`, a list or a mapping from indices; or another name of
                                 `yolo_files.NAMES_FILES`; the first that is there counts, in the folder or with labels
    images/train/**.jpg          (a) with labels/train/**.txt
    train/images/**.jpg          (b) with train/labels/**.txt, as Roboflow has it
    **.jpg                       (c) with a .txt of the same name beside it

Images have any ending of `files.IMAGE_SUFFIXES` in any case; of equal names the earlier ending counts. `yolo_files`
finds the labels of an image, by Ultralytics' rule, and gives ids.

**Splits** are those that data.yaml states, by Ultralytics' rules: `path`, and `train`, `val` and `test`, each a folder,
a .txt list of images, or a list of such; or those of Darknet's obj.data; see `yolo_splits`. What neither states are
lists called train.txt, valid.txt and so on, or folders called after splits: in (a) and (c) the first folder of all,
in (b) the one that holds `images`. `valid` and `validation` are `val`, and years are left away. Otherwise there are no
splits, as in images/*.jpg with labels/*.txt.

A line is `class center_x center_y width height`, in shares of the image's width and height, and becomes the box
`[center_y - height/2, center_x - width/2, center_y + height/2, center_x + width/2]`. A line with more points is an
outline, or a turned box's four corners, of which the hull is taken. Keypoints behind a box, whose number data.yaml
states as `kpt_shape`, are left out.

Boxes refer to the image turned as its EXIF orientation says, which is how OpenCV reads images and so YOLO's own tools.

Links are followed as the file system does, but an id is only ever looked up and never becomes part of a path.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, or of no format that is read | image skipped | `broken` |
| no image for a .txt file, or for a line of a list | image skipped | `missing` |
| beyond a limit of `images`, such as `MAX_PIXELS` | image skipped | `oversized` |
| .txt file is not UTF-8, has more than 10 MB, or cannot be read | image skipped | `malformed annotation` |
| a number above 1.5: pixels | image skipped | `not normalised` |
| no .txt file: an image without objects | image kept | `without label file` |
| a .txt file that can only be its own, in another folder but of no other split | taken | `labels in another folder` |
| a.jpg beside a.png | the earlier ending taken | `one of several of its name` |
| fewer than four numbers, or an odd number of them in an outline | box dropped | `incomplete` |
| a fifth number, as detectors write their confidence | box dropped | `with confidence` |
| a fifth number that is no confidence, in any line of the file | box dropped | `with an angle` |
| a number is NaN or infinite | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| an object of a class that is not among `class_names` | box dropped | `other class` |
| outlines | their hulls taken | `with outlines` |
| box outside or beyond the image, too many, none | as in `voc` | as in `voc` |

What would need a guess is an error instead: a class that is not an index of one of the names, names that are missing,
empty, doubled or of another number than `nc`, several files of names that differ, a folder of another layout, a split
that is stated and not there, images outside the data set's folder, not a single .txt file for an image, objects in the
.xml of an image without a .txt, or no readable image at all.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxssd.data.class_filter import other_class
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.files import IMAGE_SUFFIXES, contents, identities, read_annotation
from jaxssd.data.formats.split_names import find_split, split_folders, split_name, splits_of
from jaxssd.data.formats.yolo.description import Description, describe, read_names
from jaxssd.data.formats.yolo.files import (
    NAMES_FILES,
    Pair,
    boxes_in_xml,
    label_places,
    list_yolo,
    looks_like_yolo,
    of_layout,
)
from jaxssd.data.formats.yolo.labels import Labels, UnreadableLabels, parse_labels
from jaxssd.data.formats.yolo.splits import Splits, data_folder, listed_splits, stated_splits
from jaxssd.data.report import Problem
from jaxssd.data.splits import remark_on_test

__all__ = ["NAMES_FILES", "YOLOFolder", "looks_like_yolo"]

_LAYOUTS = (
    "images/train/*.jpg with labels/train/*.txt, train/images/*.jpg with train/labels/*.txt, or *.jpg with *.txt "
    f"beside them; and the classes' names in one of {', '.join(NAMES_FILES)}"
)


@dataclass(frozen=True)
class YOLOFolder(Source):
    """A folder of YOLO's text files.

    Args:
        root: the folder that holds the classes' names.
        file: a data.yaml or obj.data in it that describes the data set; None for the one that is found.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has another layout, or no sound names.
    """

    root: Path
    file: Path | None = None

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder")
        folder = self._place[0]
        if not any(pair.image and pair.labels for pair in self._pairs.values()):
            without = not any(pair.image for pair in self._pairs.values())
            alone = " and there is no image at all, export them too" if without else ""
            raise ValueError(
                f"{folder} is not in YOLO's layout: no image in it has a .txt file{alone}; it has {contents(folder)}. "
                f"Expected are {_LAYOUTS}."
            )
        _ = self._names
        if in_xml := boxes_in_xml(folder, self._pairs):
            in_text = sum(bool(pair.image and pair.labels) for pair in self._pairs.values())
            raise ValueError(
                f"{folder} has boxes in two formats: of all images {in_text:,} with a .txt file, and {len(in_xml):,} "
                f"without, but with an .xml of their name, such as {in_xml[0]}. Convert one form to the other; or move "
                "all .txt files away, and .xml is read, or all .xml files, and an image without .txt is one without "
                "objects"
            )

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """The splits that are stated, or that lists or folders are called after, in alphabetical order."""
        return tuple(sorted(self._splits.ids.keys() | self._splits.errors.keys()))

    def remarks(self) -> tuple[str, ...]:
        """Where images are read from, if not from the folder, what of a data.yaml is not followed, doubtful splits."""
        in_test = remark_on_test(self._splits.ids)
        return tuple(filter(None, [self._place[1], *self._splits.remarks, in_test, self._unused]))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of a split, in a list's order or else in alphabetical order.

        Raises:
            ValueError: if there is no such split, or what is wrong with it.
        """
        name = find_split(split, self.split_names())
        if name is None:
            known = ", ".join(self.split_names()) or "none"
            raise ValueError(f"{self.root} has no split {split!r}; its folders are {known}")
        if name in self._splits.errors:
            raise ValueError(self._splits.errors[name])
        return self._splits.ids[name]

    def all_ids(self) -> tuple[str, ...]:
        """All images of the layout and of the splits, and all .txt files, in alphabetical order."""
        return tuple(sorted({*of_layout(self._pairs), *(name for ids in self._splits.ids.values() for name in ids)}))

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The names that the folder lists, in its order, whether or not there are objects of each."""
        return self._names

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the module's table says what happens to faulty ones."""
        problems: list[Problem] = []
        records = [self._record(name, class_names, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """The file of names, the one that describes the data set, and labels and image of each."""
        pairs = [self._pairs.get(name, Pair(None, None)) for name in ids]
        found = [self._place[0] / path if path else None for pair in pairs for path in (pair.labels, pair.image)]
        names, file, _ = self._description
        return [names, *([file] if file not in (None, names) else []), *found]

    def identities(self, ids: Sequence[str]) -> Sequence[Hashable]:
        """Device and inode of each image."""
        paths = [self._pairs[name].image or "" if name in self._pairs else "" for name in ids]
        found = identities(self._place[0], paths)
        return [found.get(path) for path in paths]

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Below the data set's folder."""
        return tuple(self._pairs[name].image or name if name in self._pairs else name for name in ids)

    @cached_property
    def _description(self) -> Description:
        return describe(self.root, self.file)

    @cached_property
    def _place(self) -> tuple[Path, str | None]:
        """The folder that images are in, and a remark on it."""
        return (
            data_folder(self._description.file, self._description.stated)
            if self._description.file
            else (self.root, None)
        )

    @cached_property
    def _pairs(self) -> dict[str, Pair]:
        """Image and labels by id."""
        return list_yolo(self._place[0])

    @cached_property
    def _splits(self) -> Splits:
        """Those that are stated; for the rest lists, or folders that have no image of those in them."""
        folder, whole = self._place[0], {name: pair for name, pair in self._pairs.items() if pair.image}
        images = {path: name for name, pair in whole.items() for path in (pair.image, pair.labels) if path}
        description, found = self._description, Splits()
        if description.file:
            found = stated_splits(description.file, description.stated, folder, images)
        if not found.ids and not found.errors:
            listed = listed_splits(folder, images)
            found.ids, found.errors = listed.ids, listed.errors
            found.remarks += listed.remarks
        taken = {name for ids in found.ids.values() for name in ids}
        for split, ids in self._folders.items():
            stated = split in found.ids or split in found.errors or (taken and not split_name(split))
            if not stated and taken.isdisjoint(ids):
                found.ids[split] = ids
        return found

    @property
    def _unused(self) -> str | None:
        """A remark on images that no split has, or one of another name than usual."""
        used = {name for split, ids in self._splits.ids.items() if split_name(split) for name in ids}
        unused = [name for name in of_layout(self._pairs) if name not in used and self._pairs[name].image]
        if not used or not unused or self._splits.errors:
            return None
        return f"images that are in none of train, val and test: {len(unused):,}, such as {unused[0]}"

    @cached_property
    def _folders(self) -> dict[str, tuple[str, ...]]:
        """Splits by folders: the first of all, any name being one beside one that is, or any that is one."""
        ids = of_layout(self._pairs)
        known = splits_of(name.partition("/")[0] for name in ids if "/" in name)
        if not known:
            return split_folders({name: (name, self._pairs[name].labels or "") for name in ids})
        splits: dict[str, list[str]] = {}
        for name in ids:
            if "/" in name:
                first = name.partition("/")[0]
                splits.setdefault(known.get(first, first), []).append(name)
        return {split: tuple(names) for split, names in splits.items()}

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return read_names(self.root, self._description)

    def _labels(self, path: str | None) -> Labels:
        if path is None:
            return Labels([], [], [])
        try:
            content = read_annotation(self._place[0] / path)
            return parse_labels(content, len(self._names), self._description.stated.keypoints)
        except OSError as error:
            raise UnreadableLabels("malformed annotation", str(error)) from error
        except UnreadableLabels:
            raise
        except ValueError as error:
            raise ValueError(f"{self._place[0] / path}, {error}") from error

    def _record(self, name: str, class_names: tuple[str, ...], problems: list[Problem]) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        image, path, others, elsewhere = self._pairs.get(name, Pair(None, None))
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
            detail = (
                f"kept as an image without objects; looked for {next(label_places(image))}.txt and where else they lie"
            )
            problems.append(Problem(image, "noted", "without label file", detail))
        else:
            problems.extend(Problem(path, "dropped", kind, detail) for kind, detail in labels.flaws)
        if others:
            detail = f"taken, and not {', '.join(others[:3])}"
            problems.append(Problem(image, "noted", "one of several of its name", detail))
        if elsewhere:
            problems.append(Problem(image, "noted", "labels in another folder", f"{path}, the only ones of its name"))
        if path and labels.polygons:
            detail = f"of {len(labels.polygons)} outlines, the first in line {labels.polygons[0]}, the hull is taken"
            problems.append(Problem(path, "noted", "with outlines", detail))
        label_of = {class_name: label for label, class_name in enumerate(class_names)}
        names = [self._names[item.label] for item in labels.boxes]
        problems.extend(other_class(path or image, class_name) for class_name in names if class_name not in label_of)
        boxes = [item for item, class_name in zip(labels.boxes, names, strict=True) if class_name in label_of]
        return Record(
            id=name,
            image=self._place[0] / image,
            image_name=image,
            annotation_name=path or image,
            boxes=np.array([item.box for item in boxes], np.float64).reshape(-1, 4),
            labels=np.array([label_of[self._names[item.label]] for item in boxes], np.int32),
            difficult=np.zeros(len(boxes), bool),
            normalised=True,
            upright=True,
        )
