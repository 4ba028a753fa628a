"""Data set in a folder of YOLO's text files."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.annotated_boxes import AnnotatedBox, check_boxes
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.files import IMAGE_SUFFIXES, contents, identities, read_annotation
from jaxssd.data.formats.split_names import find_split, split_folders, split_name, splits_of
from jaxssd.data.formats.yolo.description import Description, describe, read_names
from jaxssd.data.formats.yolo.detect import NAMES_FILES
from jaxssd.data.formats.yolo.files import Pair, boxes_in_xml, label_places, list_yolo, of_layout
from jaxssd.data.formats.yolo.labels import Labels, UnreadableLabels, parse_labels
from jaxssd.data.formats.yolo.splits import Splits, data_folder, listed_splits, stated_splits
from jaxssd.data.report import Problem
from jaxssd.data.splits import note_on_test

_LAYOUTS = (
    "images/train/*.jpg with labels/train/*.txt, train/images/*.jpg with train/labels/*.txt, or *.jpg with *.txt "
    f"beside them; and the class names in one of {', '.join(NAMES_FILES)}"
)


@dataclass(frozen=True)
class YOLOFolder(Source):
    """Folder of YOLO's text files.

    Args:
        root: folder that holds the class names.
        file: data.yaml or obj.data in it that describes the data set; found by default.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has another layout, or no valid class names.
    """

    root: Path
    file: Path | None = None

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder")
        folder = self._place[0]
        num_labelled = sum(bool(pair.image and pair.labels) for pair in self._pairs.values())
        if not num_labelled:
            without = not any(pair.image for pair in self._pairs.values())
            alone = " and there is no image at all, export them too" if without else ""
            raise ValueError(
                f"{folder} is not in YOLO's layout: no image in it has a .txt file{alone}; it has {contents(folder)}. "
                f"Expected are {_LAYOUTS}."
            )
        _ = self._names
        if in_xml := boxes_in_xml(folder, self._pairs):
            raise ValueError(
                f"{folder} has boxes in two formats: {num_labelled:,} images with a .txt file, and {len(in_xml):,} "
                f"without, but with an .xml of their name, such as {in_xml[0]}. Convert one format to the other; or "
                "move all .txt files away to read the .xml files; or move all .xml files away, and images without .txt "
                "are read as images without objects"
            )

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """Splits that are stated, or that lists or folders are named after, in alphabetical order."""
        return tuple(sorted(self._splits.ids.keys() | self._splits.errors.keys()))

    def notes(self) -> tuple[str, ...]:
        """Notes on another folder of images, on parts of a data.yaml that are not followed, and on doubtful splits."""
        in_test = note_on_test(self._splits.ids)
        return tuple(filter(None, [self._place[1], *self._splits.notes, in_test, self._unused]))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of a split, in a list's order or else in alphabetical order.

        Raises:
            ValueError: if there is no such split, or it cannot be read.
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
        """Class names of the folder in its order, with or without objects."""
        return self._names

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images with their objects, and problems: see the table of `formats.yolo`."""
        problems: list[Problem] = []
        label_of = {name: label for label, name in enumerate(class_names)}
        records = [self._record(name, label_of, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """File of names, file that describes the data set, and labels and image of each id."""
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
        """Paths of the images below the data set's folder."""
        return tuple(self._pairs[name].image or name if name in self._pairs else name for name in ids)

    @cached_property
    def _description(self) -> Description:
        return describe(self.root, self.file)

    @cached_property
    def _place(self) -> tuple[Path, str | None]:
        """Folder of the images, and a note on it."""
        file = self._description.file
        return data_folder(file, self._description.stated) if file else (self.root, None)

    @cached_property
    def _pairs(self) -> dict[str, Pair]:
        """Image and labels of each id."""
        return list_yolo(self._place[0])

    @cached_property
    def _splits(self) -> Splits:
        """Stated splits, else splits of lists; and split folders whose images are in none of these."""
        folder, whole = self._place[0], {name: pair for name, pair in self._pairs.items() if pair.image}
        images = {path: name for name, pair in whole.items() for path in (pair.image, pair.labels) if path}
        description, found = self._description, Splits()
        if description.file:
            found = stated_splits(description.file, description.stated, folder, images)
        if not found.ids and not found.errors:
            listed = listed_splits(folder, images)
            found.ids, found.errors = listed.ids, listed.errors
            found.notes += listed.notes
        used = {name for ids in found.ids.values() for name in ids}
        for split, ids in self._folders.items():
            stated = split in found.ids or split in found.errors or (used and not split_name(split))
            if not stated and used.isdisjoint(ids):
                found.ids[split] = ids
        return found

    @property
    def _unused(self) -> str | None:
        """Note on images in none of the usual splits."""
        used = {name for split, ids in self._splits.ids.items() if split_name(split) for name in ids}
        unused = [name for name in of_layout(self._pairs) if name not in used and self._pairs[name].image]
        if not used or not unused or self._splits.errors:
            return None
        return f"images that are in none of train, val and test: {len(unused):,}, such as {unused[0]}"

    @cached_property
    def _folders(self) -> dict[str, tuple[str, ...]]:
        """Splits by folders: all first folders of the paths if one is named after a split, else any named folder."""
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

    def _record(self, name: str, label_of: Mapping[str, int], problems: list[Problem]) -> Record | None:
        """Record of one image; None, with a problem added, if it is skipped."""
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
        file = path or image
        problems += [Problem(file, "dropped", kind, detail) for kind, detail in labels.flaws]
        if path is None:
            place = f"{next(label_places(image))}.txt"
            detail = f"kept as an image without objects; looked for {place} and in the other usual places"
            problems.append(Problem(image, "noted", "without label file", detail))
        if others:
            detail = f"read instead of {', '.join(others[:3])}"
            problems.append(Problem(image, "noted", "one of several of its name", detail))
        if elsewhere:
            problems.append(Problem(image, "noted", "labels in another folder", f"{path}, the only ones of its name"))
        if labels.polygons:
            detail = f"{len(labels.polygons)} outlines, the first in line {labels.polygons[0]}: their hulls are read"
            problems.append(Problem(file, "noted", "with outlines", detail))
        annotated = [AnnotatedBox(self._names[item.label], item.box) for item in labels.boxes]
        boxes, labels_of_boxes, difficult = check_boxes(annotated, label_of, file=file, problems=problems)
        return Record(
            id=name,
            image=self._place[0] / image,
            image_name=image,
            annotation_name=file,
            boxes=boxes,
            labels=labels_of_boxes,
            difficult=difficult,
            normalised=True,
            upright=True,
        )
