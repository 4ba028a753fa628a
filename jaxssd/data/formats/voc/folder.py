"""A folder in PASCAL VOC layout, or in one like it, to a `Dataset`.

    root/Annotations/**.xml          one annotation an image; its path without ending is the image's id
    root/JPEGImages/**.jpg           any ending of `files.IMAGE_SUFFIXES` in any case, found by id
    root/ImageSets/Main/train.txt    ids of a split, one a line; optional

Folders may be called otherwise (`annotations`, `xml`, `images`, in any case), lie within folders of splits
(`train/annotations/`), or be missing: an XML beside its image. `voc_files` says what an id is then, and which lists of
splits count; `split_lists` says what a line of a list may be. Where there are no lists, folders called after splits are
the splits: `train/`, `valid/`, `test/` as Roboflow exports them.

The image of an XML is the one of its name. Where there is none, it is the one that its <filename> names, or else the
only one of its name in another folder or in another case; an image that two annotations claim so is neither's.

VOC counts pixels from 1 and includes both corners, so a box is `[ymin - 1, xmin - 1, ymax, xmax]` over the decoded
image's height and width. Coordinates may have decimals. <part> annotations are not objects; a missing <difficult> is 0.
An object without <bndbox> may have a <robndbox>, the box (cx, cy, w, h) turned by an angle about its middle, or a
<polygon>. Their points are edges counted from 0, and the box is their hull.

Coordinates that are fractions of the image are told by the fact that no number of the whole split is above 1.5; they
are read as such, nothing is subtracted, and it is noted.

Links are followed as the file system does, folders and files alike, so that sets can be put together from links; but
an id is only ever looked up among the names in its folder and never becomes part of a path.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, or of no format that is read | image skipped | `broken` |
| no image of that id, and none that <filename> names | image skipped | `missing` |
| an image that several annotations name, or several images that one does | image skipped | `ambiguous` |
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
| turned boxes or polygons alone | their hulls taken | `with outlines` |
| coordinates that are fractions | read as such | `with boxes in fractions` |
| a.jpg beside a.png | the earlier ending taken | `one of several of its name` |
| <filename> names another image, which has no annotation itself | the one of the XML's name taken | `named otherwise` |
| no object, or none left | image kept | `without objects` |
| <size> differs from the image's, in the same shape | boxes scaled to the image | `of another size than annotated` |
| <size> of another shape, its sides not just exchanged | image skipped | `of another shape than annotated` |
| box and class of another row of the image | box dropped | `repeated` |

Up to one pixel beyond the edge is clipped without a word: many tools count from 0. What would need a guess is an error
instead: a class with a name that cannot be printed, an id that is neither a name nor a path within the data set, one in
both the training and the validation split, a folder of another layout, or no readable image at all.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.files import contents, identities, read_annotation
from jaxssd.data.formats.outside_paths import ListedOutside
from jaxssd.data.formats.split_lists import leads_out, read_lines, readings, resolve
from jaxssd.data.formats.split_names import find_split, split_folders, split_name
from jaxssd.data.formats.voc.annotation import (
    Annotation,
    UnreadableAnnotation,
    in_fractions,
    parse_annotation,
    take_sound,
)
from jaxssd.data.formats.voc.files import (
    VOCFiles,
    data_sets_within,
    find_lists,
    list_voc,
    looks_like_voc,
    role_folders,
)
from jaxssd.data.formats.voc.images import VOCImages
from jaxssd.data.report import Problem
from jaxssd.data.splits import remark_on_test


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
        """The splits that lists or folders are called after, in alphabetical order."""
        return tuple(sorted(self._lists or self._folders))

    def remarks(self) -> tuple[str, ...]:
        """Copies that lists name, images both to train and test on, and annotated ones in none of the usual splits."""
        splits: dict[str, tuple[str, ...]] = {}
        for split in filter(split_name, self.split_names()):
            try:
                splits[split] = self.split_ids(split)
            except ValueError:
                return ()  # an error of its own, once the split is asked for
        used = set().union(*splits.values())
        unused = self._files.annotations.keys() - used
        left = f"images that are in none of train, val and test: {len(unused):,}, such as {min(unused, default='')}"
        in_test = remark_on_test(splits)
        return tuple(filter(None, [*self._copied.values(), in_test, left if used and unused else None]))

    def all_ids(self) -> tuple[str, ...]:
        """All images that have an annotation, in alphabetical order; without splits, those that have none as well.

        The latter are skipped and counted. Where there are splits, they say which images are meant.
        """
        if self._lists or self._folders:
            return tuple(sorted(self._files.annotations))
        return tuple(sorted({*self._files.annotations, *self._images.unsaid.values()}))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of a named split, in the list's order.

        Columns behind a name, as in VOC's files for single classes, are ignored. An id named twice counts once.

        Args:
            split: name of a list, without `.txt`, or of a folder.

        Returns:
            Their ids.

        Raises:
            ValueError: if there is no such split, or if it is empty, is not UTF-8, or has a line that leads out of the
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
            outside = ListedOutside(path, self.root)
            for number, line in read_lines(path):
                where = f"{path}, line {number}"
                found = resolve(line, where, self._files.annotations, lambda: self._images.lookup)
                if found != line and leads_out(line):
                    outside.check(line, where, self._beside(line, found))
                ids[found] = None
            if remark := outside.remark():
                self._copied[path] = remark
        if not ids:
            raise ValueError(f"{' and '.join(map(str, self._lists[name]))} names no image")
        return tuple(ids)

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The classes that the annotations of some images name, in alphabetical order as in the lesson.

        Annotations that cannot be read are left out here and reported by `records`.
        """
        found: dict[str, str] = {}
        unread: dict[str, str] = {}
        incomplete: list[str] = []
        ids = tuple(ids)
        for name in ids:
            try:
                annotation = self._annotation(name)
                found.update({item.name: name for item in annotation.objects})
                incomplete += [f"{self._annotation_name(name)}: {flaw}" for flaw in annotation.incomplete]
            except UnreadableAnnotation as error:
                if name in self._files.annotations:
                    unread[name] = f"{self._annotation_name(name)}: {error}"
        if not found:
            known = sum(name in self._files.annotations for name in ids)
            if ids and not known:
                raise ValueError(
                    f"{self.root}: none of the {len(ids):,} images asked for has an annotation: looked for "
                    f"{self._annotation_name(ids[0])}; the folder has {len(self._files.annotations):,} annotations"
                )
            first = f"; {len(unread):,} cannot be read, the first {next(iter(unread.values()))}" if unread else ""
            first += f"; {len(incomplete):,} are incomplete, the first {incomplete[0]}" if incomplete else ""
            raise ValueError(f"{self.root}: the {known:,} annotations asked for hold no object{first}")
        for class_name, name in found.items():
            try:
                check_class_names([class_name])
            except ValueError as error:
                raise ValueError(f"{self.root / self._files.annotations[name]} {error}") from error
        return tuple(sorted(found))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the module's table says what happens to faulty ones.

        Raises:
            ValueError: if an id is not a plain name.
        """
        problems: list[Problem] = []
        for name in ids:
            self._check_id(name)
        read = [self._annotation_or_why(name) for name in ids]
        fractions = in_fractions(item for item in read if isinstance(item, Annotation))
        records = [
            self._record(name, annotation, class_names, fractions, problems)
            for name, annotation in zip(ids, read, strict=True)
        ]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """Annotation and image of each."""
        found = [path for name in ids for path in (self._files.annotations.get(name), self._images.of(name))]
        return [self.root / path if path else None for path in found]

    def identities(self, ids: Sequence[str]) -> Sequence[Hashable]:
        """Device and inode of each image."""
        paths = [self._images.of(name) or "" for name in ids]
        found = identities(self.root, paths)
        return [found.get(path) for path in paths]

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Below `root`."""
        return tuple(self._images.of(name) or name for name in ids)

    @cached_property
    def _files(self) -> VOCFiles:
        return list_voc(self.root)

    @cached_property
    def _lists(self) -> dict[str, tuple[Path, ...]]:
        return find_lists(self.root)

    @cached_property
    def _copied(self) -> dict[Path, str]:
        """Remarks on lists whose lines name copies of this data set's files."""
        return {}

    def _beside(self, line: str, name: str) -> str | None:
        """The file of an id that a line can mean: its annotation or its image."""
        is_xml = any(reading.lower().endswith(".xml") for reading in readings(line))
        return self._files.annotations.get(name) if is_xml else self._images.of(name)

    @cached_property
    def _folders(self) -> dict[str, tuple[str, ...]]:
        names = sorted({*self._files.annotations, *self._images.unsaid.values()})
        return split_folders({name: (name, self._images.of(name) or "") for name in names})

    @cached_property
    def _images(self) -> VOCImages:
        return VOCImages(self._files, self._filename)

    def _filename(self, name: str) -> str:
        try:
            return self._annotation(name).filename
        except UnreadableAnnotation:
            return ""

    def _annotation_name(self, name: str) -> str:
        if name in self._files.annotations:
            return self._files.annotations[name]
        folder = next(iter(role_folders(self.root)[0]), "")
        return f"{folder}{'/' * bool(folder)}{name}.xml"

    def _annotation(self, name: str) -> Annotation:
        if name not in self._files.annotations:
            raise UnreadableAnnotation("without annotation", "no such file")
        try:
            return parse_annotation(read_annotation(f"{self.root}/{self._files.annotations[name]}"))
        except OSError as error:
            raise UnreadableAnnotation("malformed annotation", str(error)) from error

    def _annotation_or_why(self, name: str) -> Annotation | UnreadableAnnotation:
        try:
            return self._annotation(name)
        except UnreadableAnnotation as error:
            return error

    def _record(
        self,
        name: str,
        annotation: Annotation | UnreadableAnnotation,
        class_names: tuple[str, ...],
        fractions: bool,
        problems: list[Problem],
    ) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        file = self._annotation_name(name)
        if isinstance(annotation, UnreadableAnnotation):
            problems.append(Problem(file, "skipped", annotation.kind, str(annotation)))
            return None
        image = self._images.of(name)
        if image is None:
            folder = next(iter(role_folders(self.root)[1]), "")
            problems.append(Problem(f"{folder}{'/' * bool(folder)}{name}", "skipped", *self._images.why_none(name)))
            return None
        problems.extend(
            Problem(image, "noted", kind, detail) for kind, detail in self._images.doubts(name, annotation.filename)
        )
        if annotation.hulls:
            detail = f"of {annotation.hulls} turned boxes or polygons the hull is taken"
            problems.append(Problem(file, "noted", "with outlines", detail))
        if fractions and annotation.objects:
            problems.append(
                Problem(file, "noted", "with boxes in fractions", "as all boxes of the split show together")
            )
        problems.extend(Problem(file, "dropped", "incomplete", detail) for detail in annotation.incomplete)
        boxes, labels, difficult = take_sound(
            annotation.objects, class_names, file=file, problems=problems, fractions=fractions
        )
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
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    deeper = [] if all(role_folders(root)) else data_sets_within(root)
    if all(role_folders(root)) or (looks_like_voc(root) and not deeper):
        return
    have_annotations, have_images = role_folders(root)
    if not have_annotations and not have_images and not deeper:
        raise ValueError(
            f"{root} is not in PASCAL VOC layout nor in any other that is read: it has {contents(root)}. Name the "
            "folder that has Annotations/*.xml and JPEGImages/*.jpg, or data.yaml, or images/ and labels/; or a COCO "
            "file itself, --data instances.json. docs/data.md shows every layout."
        )
    missing = ["Annotations"] * (not have_annotations) + ["JPEGImages"] * (not have_images)
    hint = f" Did you mean {' or '.join(map(str, deeper[:3]))}?" if deeper else ""
    raise ValueError(
        f"{root} is not in PASCAL VOC layout: it has no {' and no '.join(missing)}, but {contents(root)}.{hint} "
        "Expected are Annotations/*.xml, JPEGImages/*.jpg and, optionally, ImageSets/Main/train.txt and val.txt. Of "
        "other formats, a COCO file is named itself, `--data instances.json`, and YOLO's text boxes lie in images/ and "
        "labels/ or beside their images."
    )
