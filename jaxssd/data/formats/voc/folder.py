"""Data set in a PASCAL VOC folder."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.annotated_boxes import check_boxes
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.files import contents, identities, read_annotation
from jaxssd.data.formats.outside_paths import OutsideImages
from jaxssd.data.formats.split_lists import candidates, leads_out, read_lines, resolve
from jaxssd.data.formats.split_names import find_split, split_folders, split_name
from jaxssd.data.formats.voc.annotation import (
    Annotation,
    UnreadableAnnotation,
    in_fractions,
    parse_annotation,
    to_boxes,
)
from jaxssd.data.formats.voc.detect import looks_like_voc, role_folders
from jaxssd.data.formats.voc.files import VOCFiles, data_sets_within, find_lists, list_voc
from jaxssd.data.formats.voc.images import VOCImages
from jaxssd.data.report import Problem
from jaxssd.data.splits import note_on_test


@dataclass(frozen=True)
class VOCFolder(Source):
    """Folder in PASCAL VOC layout.

    Args:
        root: folder that holds Annotations and JPEGImages.

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
        """Splits that have lists or folders, in alphabetical order."""
        return tuple(sorted(self._lists or self._folders))

    def notes(self) -> tuple[str, ...]:
        """Notes on copies of listed images, on images in both train and test, and on annotated images in no split."""
        splits: dict[str, tuple[str, ...]] = {}
        for split in filter(split_name, self.split_names()):
            try:
                splits[split] = self.split_ids(split)
            except ValueError:
                return ()  # raised again when the split is read
        used = set().union(*splits.values())
        unused = self._files.annotations.keys() - used
        left = f"images that are in none of train, val and test: {len(unused):,}, such as {min(unused, default='')}"
        return tuple(filter(None, [*self._copied.values(), note_on_test(splits), left if used and unused else None]))

    def all_ids(self) -> tuple[str, ...]:
        """Annotated images in alphabetical order; without splits, also images without an annotation.

        The latter are skipped and counted. With splits, they may well be left out on purpose.
        """
        if self._lists or self._folders:
            return tuple(sorted(self._files.annotations))
        return tuple(sorted({*self._files.annotations, *self._images.unannotated.values()}))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of a split, in the list's order, each once.

        Columns after a name, as in VOC's lists of single classes, are ignored.

        Args:
            split: name of a list, without its extension, or of a folder.

        Raises:
            ValueError: if there is no such split, or its list is empty, not UTF-8, or has a line that leads out of the
                data set.
        """
        name = find_split(split, self.split_names())
        if name is None:
            where = "ImageSets/Main" if (self.root / "ImageSets" / "Main").is_dir() else "it"
            raise ValueError(
                f"{self.root} has no split {split!r}; {where} has {', '.join(self.split_names()) or 'none'}"
            )
        if not self._lists:
            return self._folders[name]
        ids: dict[str, None] = {}  # an ordered set
        for path in self._lists[name]:
            outside = OutsideImages(path, self.root)
            for number, line in read_lines(path):
                where = f"{path}, line {number}"
                found = resolve(line, where, self._files.annotations, lambda: self._images.lookup)
                if found != line and leads_out(line):
                    outside.check(line, where, self._named_file(line, found))
                ids[found] = None
            if note := outside.note():
                self._copied[path] = note
        if not ids:
            raise ValueError(f"{' and '.join(map(str, self._lists[name]))} names no image")
        return tuple(ids)

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Classes that the annotations of some images name, in alphabetical order as in the lesson.

        Unreadable annotations are left out; `records` reports them.
        """
        found: dict[str, str] = {}
        unreadable: list[str] = []
        incomplete: list[str] = []
        ids = tuple(ids)
        for name in ids:
            try:
                annotation = self._annotation(name)
                found.update({item.name: name for item in annotation.objects})
                incomplete += [f"{self._annotation_name(name)}: {flaw}" for flaw in annotation.incomplete]
            except UnreadableAnnotation as error:
                if name in self._files.annotations:
                    unreadable.append(f"{self._annotation_name(name)}: {error}")
        if not found:
            known = sum(name in self._files.annotations for name in ids)
            if ids and not known:
                raise ValueError(
                    f"{self.root}: none of the {len(ids):,} images asked for has an annotation: looked for "
                    f"{self._annotation_name(ids[0])}; the folder has {len(self._files.annotations):,} annotations"
                )
            first = f"; {len(unreadable):,} cannot be read, the first {unreadable[0]}" if unreadable else ""
            first += f"; {len(incomplete):,} are incomplete, the first {incomplete[0]}" if incomplete else ""
            raise ValueError(f"{self.root}: the {known:,} annotations asked for hold no object{first}")
        for class_name, name in found.items():
            try:
                check_class_names([class_name])
            except ValueError as error:
                raise ValueError(f"{self.root / self._files.annotations[name]} {error}") from error
        return tuple(sorted(found))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images with their objects, and problems: see the table of `formats.voc`.

        Raises:
            ValueError: if an id is not a plain name.
        """
        problems: list[Problem] = []
        for name in ids:
            self._check_id(name)
        read = [self._annotation_or_error(name) for name in ids]
        fractions = in_fractions(item for item in read if isinstance(item, Annotation))
        label_of = {name: label for label, name in enumerate(class_names)}
        records = [
            self._record(name, annotation, label_of, fractions, problems)
            for name, annotation in zip(ids, read, strict=True)
        ]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """Annotation and image of each id."""
        found = [path for name in ids for path in (self._files.annotations.get(name), self._images.find(name))]
        return [self.root / path if path else None for path in found]

    def identities(self, ids: Sequence[str]) -> Sequence[Hashable]:
        """Device and inode of each image."""
        paths = [self._images.find(name) or "" for name in ids]
        found = identities(self.root, paths)
        return [found.get(path) for path in paths]

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Paths of the images below `root`."""
        return tuple(self._images.find(name) or name for name in ids)

    @cached_property
    def _files(self) -> VOCFiles:
        return list_voc(self.root)

    @cached_property
    def _lists(self) -> dict[str, tuple[Path, ...]]:
        return find_lists(self.root)

    @cached_property
    def _copied(self) -> dict[Path, str]:
        """Notes on lists that name outside files whose copies are read."""
        return {}

    def _named_file(self, line: str, name: str) -> str | None:
        """Annotation or image of an id, for the one that a line names."""
        is_xml = any(candidate.lower().endswith(".xml") for candidate in candidates(line))
        return self._files.annotations.get(name) if is_xml else self._images.find(name)

    @cached_property
    def _folders(self) -> dict[str, tuple[str, ...]]:
        names = sorted({*self._files.annotations, *self._images.unannotated.values()})
        return split_folders({name: (name, self._images.find(name) or "") for name in names})

    @cached_property
    def _images(self) -> VOCImages:
        return VOCImages(self._files, self._filename)

    def _filename(self, name: str) -> str:
        try:
            return self._annotation(name).filename
        except UnreadableAnnotation:
            return ""

    def _annotation_name(self, name: str) -> str:
        """Path of an id's annotation, or where it would be."""
        return self._files.annotations.get(name) or self._usual_path(0, f"{name}.xml")

    def _usual_path(self, role: int, name: str) -> str:
        """Path of a file in the first folder of annotations (role 0) or images (role 1)."""
        folder = next(iter(role_folders(self.root)[role]), "")
        return f"{folder}{'/' * bool(folder)}{name}"

    def _annotation(self, name: str) -> Annotation:
        if name not in self._files.annotations:
            raise UnreadableAnnotation("without annotation", "no such file")
        try:
            return parse_annotation(read_annotation(f"{self.root}/{self._files.annotations[name]}"))
        except OSError as error:
            raise UnreadableAnnotation("malformed annotation", str(error)) from error

    def _annotation_or_error(self, name: str) -> Annotation | UnreadableAnnotation:
        try:
            return self._annotation(name)
        except UnreadableAnnotation as error:
            return error

    def _record(
        self,
        name: str,
        annotation: Annotation | UnreadableAnnotation,
        label_of: Mapping[str, int],
        fractions: bool,
        problems: list[Problem],
    ) -> Record | None:
        """Record of one image; None, with a problem added, if it is skipped."""
        file = self._annotation_name(name)
        if isinstance(annotation, UnreadableAnnotation):
            problems.append(Problem(file, "skipped", annotation.kind, str(annotation)))
            return None
        image = self._images.find(name)
        if image is None:
            problems.append(Problem(self._usual_path(1, name), "skipped", *self._images.explain_missing(name)))
            return None
        problems += [Problem(image, "noted", *doubt) for doubt in self._images.doubts(name, annotation.filename)]
        if num_hulls := sum(item.is_hull for item in annotation.objects):
            detail = f"{num_hulls} rotated boxes or polygons: their hulls are read"
            problems.append(Problem(file, "noted", "with outlines", detail))
        if fractions and annotation.objects:
            detail = "no coordinate of the split is above 1.5: read as fractions of the image"
            problems.append(Problem(file, "noted", "with boxes in fractions", detail))
        problems += [Problem(file, "dropped", "incomplete", detail) for detail in annotation.incomplete]
        objects = to_boxes(annotation.objects, fractions=fractions)
        boxes, labels, difficult = check_boxes(objects, label_of, file=file, problems=problems)
        return Record(
            id=name,
            image=self.root / image,
            image_name=image,
            annotation_name=file,
            boxes=boxes,
            labels=labels,
            difficult=difficult,
            stated_size=annotation.size,
            normalised=fractions,
        )

    def _check_id(self, name: str) -> None:
        known = name in self._files.annotations or name in self._files.images
        if not known and "\0" not in name and not leads_out(name) and self._images.lookup.has_folder_of(name):
            return  # only the file is missing
        if not known and (name in ("", ".", "..") or set(name) & set("/\\\0")):
            raise ValueError(f"`ids`: {name!r} is not a plain file name")


def _require_layout(root: Path) -> None:
    """Raise an error that says what the folder lacks, unless it is in VOC layout."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    annotations, images = role_folders(root)
    deeper = [] if annotations and images else data_sets_within(root)
    if (annotations and images) or (looks_like_voc(root) and not deeper):
        return
    if not annotations and not images and not deeper:
        raise ValueError(
            f"{root} is not in PASCAL VOC layout nor in any other that is read: it has {contents(root)}. Name the "
            "folder that has Annotations/*.xml and JPEGImages/*.jpg, or data.yaml, or images/ and labels/; or a COCO "
            "file itself, --data instances.json. docs/data.md shows every layout."
        )
    missing = ["Annotations"] * (not annotations) + ["JPEGImages"] * (not images)
    hint = f" Did you mean {' or '.join(map(str, deeper[:3]))}?" if deeper else ""
    raise ValueError(
        f"{root} is not in PASCAL VOC layout: it has no {' and no '.join(missing)}, but {contents(root)}.{hint} "
        "Expected are Annotations/*.xml, JPEGImages/*.jpg and, optionally, ImageSets/Main/train.txt and val.txt. For "
        "other formats, name a COCO file itself, `--data instances.json`, or a folder with YOLO's text files in "
        "images/ and labels/ or beside their images."
    )
