"""A COCO JSON file with its images to a `Dataset`.

    instances.json      {"images": [...], "annotations": [...], "categories": [...]}, as COCO's instances_train2017.json
                        and the lesson's pascal_train2007.json
    images/             anywhere below this folder, .jpg, .jpeg or .png in any case, found by `file_name`

COCO counts from the outer edge of the first pixel, so a bbox [x, y, width, height] is the box `[y, x, y + height,
x + width]` over the decoded image's height and width. In the lesson's file it is the box that VOC's own corners give.
An annotation with `iscrowd`, or with `ignore` as the lesson's file marks VOC's difficult objects, is `difficult`: not
trained on and not scored. Outlines, keypoints and all else are left out. A category that no annotation uses is a class
all the same, in the order of the categories' numbers, and classes go by their names.

**Splits.** One file is one split, named as the file without `.json`. The other JSON files of its folder can be named as
splits, and are not opened otherwise: `--data train.json --val-split val`. Without that a share of the file is held out.

**Ids** are `file_name` without the extension, as VOC's, so that the same images give the same held-out share in either
format. Where two entries of a file would have the same one, the image's number follows: `a#7`. An image of another
split is `val.json/a`, but simply `a` if this file lists that image too: so it is seen when an image is in both, and the
annotations are this file's. `image_ids` and `category_ids` give the numbers that COCO's files of results need.

An image is looked up among the names below the folder, as a path from there or, failing that, by its last part alone; a
`file_name` never becomes part of a path. Links are followed as the file system does.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, cut short, or neither JPEG nor PNG | image skipped | `broken` |
| no image of that `file_name` | image skipped | `missing` |
| several such images, or one that two entries name | image skipped | `ambiguous` |
| beyond a limit of `images`, such as `MAX_PIXELS` | image skipped | `oversized` |
| entry of an image without integer id, or without `file_name` | image skipped | `incomplete` |
| annotation without integer image_id or category_id, or bbox not four numbers | box dropped | `incomplete` |
| image_id of no image that is listed | box dropped | `unknown image` |
| category_id of no category that is listed | box dropped | `unknown category` |
| a number of the bbox is NaN, infinite or has 308 digits | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| category that is not among `class_names` | box dropped | `other class` |
| same id, category and bbox as another annotation of the image | box dropped | `repeated` |
| box outside or beyond the image, too many, none, image of another size | as in `voc` | as in `voc` |

Ids of annotations are not used otherwise, so they need not be unique. What belongs to no image is reported with each
split of its file. Integers have 64 bits. What would need a guess is an error instead: a file that is not COCO's
instances, an id of images or categories or a category's name that is there twice, splits that number their categories
differently, or no readable image at all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxssd.data.class_filter import other_class
from jaxssd.data.formats.coco_listing import Listing, read_listing
from jaxssd.data.formats.files import ImageFolder, without_suffix
from jaxssd.data.report import Problem
from jaxssd.data.source import Record, Source


def default_images_folder(annotations: Path) -> Path:
    """Where to look for images unless told: the JSON's own folder, or the one above if that is `annotations`.

    Example:
        >>> str(default_images_folder(Path("/data/coco/annotations/instances_val2017.json")))
        '/data/coco'
    """
    folder = annotations.parent
    return folder.absolute().parent if folder.absolute().name.lower() == "annotations" else folder


@dataclass(frozen=True)
class COCOJson(Source):
    """A file of COCO's instances.

    Args:
        annotations: the JSON file.
        images: the folder below which its images are; see `default_images_folder`.

    Raises:
        FileNotFoundError: if there is no such file or folder. What is wrong within the file is a `ValueError` of
            whichever method reads it first; it names the file.
    """

    annotations: Path
    images: Path

    def __post_init__(self) -> None:
        if not self.annotations.is_file():
            raise FileNotFoundError(f"{self.annotations} is not a file")
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images} is not a folder: name that of the images with --images")

    @property
    def path(self) -> Path:
        """The JSON file."""
        return self.annotations

    def split_names(self) -> tuple[str, ...]:
        """None: the file is one whole. Others beside it can be its splits or anything else, and wait to be named."""
        return ()

    def other_splits(self) -> tuple[str, ...]:
        """The other JSON files in the folder, less `.json`."""
        others = self._siblings - {self.annotations.name}
        return tuple(sorted(without_suffix(name, (".json",)) for name in others))

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of another JSON file in the same folder, or of this one.

        Args:
            split: the file's name without `.json`.

        Returns:
            Their ids.

        Raises:
            ValueError: if there is no such file, it is not one of instances, or numbers its categories differently.
        """
        stems = {without_suffix(name, (".json",)): name for name in self._siblings}
        if split not in stems:
            known = ", ".join(sorted(stems)) or "none"
            raise ValueError(f"{self.annotations} has no split {split!r}; JSON files in its folder are {known}")
        if stems[split] == self.annotations.name:
            return self.all_ids()
        other = self._listed(stems[split])
        self._require_same_categories(other)
        return tuple(dict.fromkeys(self._ids_of(other).values()))  # two entries may be of one image here

    def all_ids(self) -> tuple[str, ...]:
        """All images of the file, with or without objects, in its order."""
        return tuple(self._own.numbers)

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The categories of the file, and of others that images are from, in the order of their numbers."""
        categories = dict(self._own.instances.categories)
        for listed in self._files_of(ids):
            categories.update(listed.instances.categories)
        return tuple(name for _, name in sorted(categories.items()))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the module's table says what happens to faulty ones."""
        label_of = {name: label for label, name in enumerate(class_names)}
        problems = [problem for listed in self._files_of(ids) for problem in listed.instances.problems]
        records = [self._record(name, label_of, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """The JSON files, and the image of each id."""
        files: list[Path | None] = [listed.path for listed in self._files_of(ids)]
        for name in ids:
            located = self._locate(name)
            hits = located[0].hits[located[1]] if located else ()
            files.append(self.images / hits[0] if len(hits) == 1 else None)
        return files

    def category_ids(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[int, ...]:
        """The number that the files of these images have for each class, or a free one if they do not have the class.

        Example:
            A file with the categories 3, car, and 7, dog, has the numbers (7, 3) for ("dog", "car").
        """
        files = [self._own, *self._files_of(ids)]  # which number their categories alike
        number_of = {name: number for listed in files for number, name in listed.instances.categories.items()}
        unused = max(number_of.values()) + 1
        for name in class_names:
            if name not in number_of:
                number_of[name] = unused
                unused += 1
        return tuple(number_of[name] for name in class_names)

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """The number that each image has in its JSON file.

        Args:
            ids: of a split. If another file than this one lists all of them, it is the split's own, and counts.

        Raises:
            ValueError: if no one file lists them all.
        """
        for listed in sorted(self._files_of(ids), key=lambda listed: listed is self._own):
            numbers: dict[str, int] = {}
            for number, name in self._ids_of(listed).items():
                numbers.setdefault(name, number)
            if numbers.keys() >= set(ids):
                return tuple(numbers[name] for name in ids)
        raise ValueError(f"no JSON file beside {self.annotations} lists all of {len(ids)} images, such as {ids[0]!r}")

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """As the JSON file has them."""
        located = [self._locate(name) for name in ids]
        return tuple(
            found[0].instances.images[found[1]].file_name or name if found else name
            for name, found in zip(ids, located, strict=True)
        )

    @cached_property
    def _own(self) -> Listing:
        return self._listed(self.annotations.name)

    @cached_property
    def _siblings(self) -> frozenset[str]:
        """JSON files in the folder, this one among them."""
        inside = self.annotations.absolute().parent.iterdir()
        names = (path.name for path in inside if path.suffix.lower() == ".json" and path.is_file())
        return frozenset(name for name in names if not name.startswith(".")) | {self.annotations.name}

    @cached_property
    def _folder(self) -> ImageFolder:
        return ImageFolder(self.images)

    @cached_property
    def _opened(self) -> dict[str, Listing]:
        return {}

    def _listed(self, name: str) -> Listing:
        """A file of the folder, read once."""
        if name not in self._opened:
            self._opened[name] = read_listing(self.annotations.parent / name, self._folder)
        return self._opened[name]

    def _ids_of(self, listed: Listing) -> dict[int, str]:
        """Ids by the numbers of the images: this file's own for those that it lists as well."""
        if listed is self._own:
            return listed.names
        mine = {self._own.key(number): name for number, name in self._own.names.items()}
        return {
            number: mine.get(listed.key(number)) or f"{listed.path.name}/{name}"
            for number, name in listed.names.items()
        }

    def _locate(self, name: str) -> tuple[Listing, int] | None:
        """The file that lists an image, and its number there."""
        if name in self._own.numbers:
            return self._own, self._own.numbers[name]
        file, _, rest = name.partition("/")
        if file in self._siblings and file != self.annotations.name and rest in self._listed(file).numbers:
            return self._listed(file), self._listed(file).numbers[rest]
        return None

    def _files_of(self, ids: Iterable[str]) -> list[Listing]:
        """Those that list some of these images, each once."""
        located = (self._locate(name) for name in ids)
        return list({found[0].path: found[0] for found in located if found}.values())

    def _require_same_categories(self, other: Listing) -> None:
        own, others = self._own.instances.categories, other.instances.categories
        own_numbers = {name: number for number, name in own.items()}
        for number, name in others.items():
            if own.get(number, name) != name or own_numbers.get(name, number) != number:
                here = f"{own_numbers[name]}, {name}" if name in own_numbers else f"{number}, {own[number]}"
                raise ValueError(
                    f"{other.path} has the category {number}, {name}, but {self.annotations} has {here}: results could "
                    "not be compared; give both files the same categories"
                )

    def _record(self, name: str, label_of: dict[str, int], problems: list[Problem]) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        located = self._locate(name)
        if located is None:
            detail = f"no image of the id {name!r} is listed"
            problems.append(Problem(self.annotations.name, "skipped", "without annotation", detail))
            return None
        listed, number = located
        entry = listed.instances.images[number]
        place = f"{listed.path.name}, image {number}"
        if flaw := listed.flaw(number):
            problems.append(Problem(place, "skipped", *flaw))
            return None
        boxes, flaws = listed.instances.boxes(number)
        problems.extend(Problem(place, "dropped", kind, detail) for kind, detail in flaws)
        categories = listed.instances.categories
        others = [categories[item.category] for item in boxes if categories[item.category] not in label_of]
        problems.extend(other_class(place, class_name) for class_name in others)
        boxes = [item for item in boxes if categories[item.category] in label_of]
        (path,) = listed.hits[number]
        return Record(
            id=name,
            image=self.images / path,
            image_name=path,
            annotation_name=place,
            boxes=np.array([item.box for item in boxes], np.float64).reshape(-1, 4),
            labels=np.array([label_of[categories[item.category]] for item in boxes], np.int32),
            difficult=np.array([item.difficult for item in boxes], bool),
            stated_size=entry.size,
        )
