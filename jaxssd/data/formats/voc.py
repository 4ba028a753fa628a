"""A folder in PASCAL VOC layout to a `Dataset`.

    root/Annotations/*.xml           one annotation an image; its name without extension is the image's id
    root/JPEGImages/*.jpg            .jpg, .jpeg or .png in any case, found by id; the XML's <filename> is not read
    root/ImageSets/Main/train.txt    ids of a split, one a line; optional

VOC counts pixels from 1 and includes both corners, so a box is `[ymin - 1, xmin - 1, ymax, xmax]` over the decoded
image's height and width. Coordinates may have decimals. <part> annotations are not objects; a missing <difficult> is 0.

Links are followed as the file system does, folders and files alike, so that sets can be put together from links; but
an id is only ever looked up among the names in its folder and never becomes part of a path.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, cut short, or neither JPEG nor PNG | image skipped | `broken` |
| no image of that id | image skipped | `missing` |
| beyond a limit of `images`, such as `MAX_PIXELS` | image skipped | `oversized` |
| no annotation of that id | image skipped | `without annotation` |
| annotation is not XML, not an <annotation>, or of more than 10 MB | image skipped | `malformed annotation` |
| annotation declares a DTD, with or without entities | image skipped | `forbidden annotation` |
| <object> inside something else, or without name or four numbers | box dropped | `incomplete` |
| a coordinate is NaN or infinite | box dropped | `not finite` |
| xmax < xmin or ymax < ymin | box dropped | `swapped corners` |
| xmax = xmin or ymax = ymin: a click, not a box | box dropped | `without area` |
| box wholly outside the image | box dropped | `outside the image` |
| an object of a class that is not among `class_names` | box dropped | `other class` |
| more than `max_objects` objects | smallest boxes dropped | `over max_objects` |
| box more than one pixel beyond the image's edge | box clipped | `beyond the image's edge` |
| no object, or none left | image kept | `without objects` |
| <size> differs from the image's | image kept, its own size used | `of another size than annotated` |

Up to one pixel beyond the edge is clipped without a word: many tools count from 0. What would need a guess is an error
instead: a class with a name that cannot be printed, an id that is not a plain name, one in
both the training and the validation split, a folder of another layout, or no readable image at all.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.files import IMAGE_SUFFIXES, is_file, read_annotation
from jaxssd.data.formats.voc_xml import Annotation, UnreadableAnnotation, parse_annotation, take_sound
from jaxssd.data.report import Problem
from jaxssd.data.source import Record, Source


@dataclass(frozen=True)
class VOCFolder(Source):
    """A folder in PASCAL VOC layout.

    Args:
        root: the folder that holds Annotations and JPEGImages.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has another layout.
    """

    root: Path

    def __post_init__(self) -> None:
        _require_layout(self.root)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root

    def split_names(self) -> tuple[str, ...]:
        """The splits that ImageSets/Main has, in alphabetical order."""
        return tuple(sorted(self._splits))

    def all_ids(self) -> tuple[str, ...]:
        """All images that have an annotation, in alphabetical order; without splits, those that have none as well.

        The latter are skipped and counted. Where there are splits, they say which images are meant.
        """
        return tuple(sorted(self._annotations if self._splits else {**self._images, **self._annotations}))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of a named split, in the file's order.

        A second column, as in VOC's files for single classes, is ignored. An id named twice counts once.

        Args:
            split: name of a file in ImageSets/Main, without `.txt`.

        Returns:
            Their ids.

        Raises:
            ValueError: if there is no such split, or if it is empty, is not UTF-8 or has an id that is not a plain
                name.
        """
        if split not in self._splits:
            known = ", ".join(self.split_names()) or "none"
            raise ValueError(f"{self.root} has no split {split!r}; ImageSets/Main has {known}")
        path = self._splits[split]
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: {error}") from error
        ids: dict[str, None] = {}  # an ordered set
        for number, line in enumerate(map(str.strip, lines), start=1):
            if line:
                name = line if line in self._annotations else line.split()[0]  # a name may have spaces in it
                _check_id(name, f"{path}, line {number}")
                ids[name] = None
        if not ids:
            raise ValueError(f"{path} names no image")
        return tuple(ids)

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The classes that the annotations of some images name, in alphabetical order as in the lesson.

        Annotations that cannot be read are left out here and reported by `records`.
        """
        found: dict[str, str] = {}
        for name in ids:
            try:
                found.update({item.name: name for item in self._annotation(name).objects})
            except UnreadableAnnotation:
                continue
        if not found:
            raise ValueError(f"{self.root}: the annotations asked for hold no object")
        for class_name, name in found.items():
            try:
                check_class_names([class_name])
            except ValueError as error:
                raise ValueError(f"{self._annotations[name]} {error}") from error
        return tuple(sorted(found))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the module's table says what happens to faulty ones.

        Raises:
            ValueError: if an id is not a plain name.
        """
        problems: list[Problem] = []
        records = [self._record(name, class_names, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """Annotation and image of each."""
        return [folder.get(name) for name in ids for folder in (self._annotations, self._images)]

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Below `root`."""
        return tuple(f"JPEGImages/{self._images[name].name}" if name in self._images else name for name in ids)

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        return _files_by_stem(self.root / "Annotations", (".xml",))

    @cached_property
    def _images(self) -> dict[str, Path]:
        return _files_by_stem(self.root / "JPEGImages", IMAGE_SUFFIXES)

    @cached_property
    def _splits(self) -> dict[str, Path]:
        folder = self.root / "ImageSets" / "Main"
        return _files_by_stem(folder, (".txt",)) if folder.is_dir() else {}

    def _annotation(self, name: str) -> Annotation:
        if name not in self._annotations:
            raise UnreadableAnnotation("without annotation", "no such file")
        try:
            return parse_annotation(read_annotation(self._annotations[name]))
        except OSError as error:
            raise UnreadableAnnotation("malformed annotation", str(error)) from error

    def _record(self, name: str, class_names: tuple[str, ...], problems: list[Problem]) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        _check_id(name, "`ids`")
        file = f"Annotations/{self._annotations[name].name if name in self._annotations else name + '.xml'}"
        try:
            annotation = self._annotation(name)
        except UnreadableAnnotation as error:
            problems.append(Problem(file, "skipped", error.kind, str(error)))
            return None
        if name not in self._images:
            expected = f"no file of that name with extension {', '.join(IMAGE_SUFFIXES)}"
            problems.append(Problem(f"JPEGImages/{name}", "skipped", "missing", expected))
            return None
        problems.extend(Problem(file, "dropped", "incomplete", detail) for detail in annotation.incomplete)
        boxes, labels, difficult = take_sound(annotation.objects, class_names, file=file, problems=problems)
        return Record(
            id=name,
            image=self._images[name],
            image_name=f"JPEGImages/{self._images[name].name}",
            annotation_name=file,
            boxes=boxes,
            labels=labels,
            difficult=difficult,
            stated_size=annotation.size,
        )


def _require_layout(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    missing = [name for name in ("Annotations", "JPEGImages") if not (root / name).is_dir()]
    if not missing:
        return
    inside = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    found = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    deeper = sorted(path.parent for path in root.glob("*/Annotations"))
    hint = f" Did you mean {deeper[0]}?" if deeper else ""
    raise ValueError(
        f"{root} is not in PASCAL VOC layout: it has no {' and no '.join(missing)}, but "
        f"{found or 'nothing, it is empty'}.{hint} "
        "Expected are Annotations/*.xml, JPEGImages/*.jpg and, optionally, ImageSets/Main/train.txt and val.txt. Of "
        "other formats, a COCO file is named itself, `--data instances.json`, and YOLO's text boxes lie in images/ and "
        "labels/ or beside their images."
    )


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Regular files that are not hidden, by name without extension; of equal names the earlier suffix counts."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in suffixes and not entry.name.startswith(".") and is_file(entry):
                found.append((-suffixes.index(suffix.lower()), entry.name, stem))
    return {stem: folder / name for _, name, stem in sorted(found)}


def _check_id(name: str, where: str) -> None:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"{where}: {name!r} is not a plain file name")
