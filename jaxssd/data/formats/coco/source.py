"""What one COCO file and a folder of several have in common: images of named files, with one id for each picture."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxssd.data.class_filter import other_class
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.coco.listing import Listing, integers
from jaxssd.data.formats.coco.units import Units, decide
from jaxssd.data.formats.coco.values import Id
from jaxssd.data.report import Problem


class COCOSource(Source):
    """Some files of COCO's instances.

    An id is a prefix that stands for the file, and the image's name in it. A picture that an earlier file lists too has
    the id that it has there, and the annotations: so it is seen when a picture is in two splits.
    """

    @property
    @abstractmethod
    def _files(self) -> Mapping[str, Path]:
        """The JSON files by prefix, those that name pictures first."""

    @abstractmethod
    def _read(self, path: Path) -> Listing:
        """A file and its images."""

    @abstractmethod
    def _before(self, prefix: str) -> Sequence[str]:
        """Prefixes of the files whose ids pictures of this file have, if they are in both."""

    @abstractmethod
    def _beside(self, prefix: str) -> Sequence[str]:
        """Prefixes of the other files that are read as splits, and decide how boxes are written where one does not."""

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The categories of the files that images are from, in the order of their ids."""
        categories: dict[Id, str] = {}
        for listed in self._used(ids):
            categories.update(listed.instances.categories)
        return tuple(name for _, name in sorted(categories.items(), key=lambda item: _order(item[0])))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images and their objects; the table in `coco` says what happens to faulty ones."""
        label_of = {name: label for label, name in enumerate(class_names)}
        problems = [problem for listed in self._files_of(ids) for problem in listed.instances.problems]
        units = {listed.path: self._units(listed) for listed in self._files_of(ids)}
        records = [self._record(name, label_of, units, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """The JSON files, those that decide about the units of their boxes, and the image of each id."""
        own = self._files_of(ids)
        deciding = (Path(shown_by) for listed in own if (shown_by := self._units(listed)[1]))
        files: list[Path | None] = [*dict.fromkeys([*(listed.path for listed in own), *deciding])]
        for name in ids:
            located = self._locate(name)
            files.append(located[0].file(located[1]) if located else None)
        return files

    def category_ids(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[int, ...]:
        """The number that the files of these images have for each class, or a free one if they do not have the class.

        Example:
            A file with the categories 3, car, and 7, dog, has the numbers (7, 3) for ("dog", "car").
        """
        files = self._used(ids)  # which number their categories alike
        number_of = {name: number for listed in files for number, name in listed.instances.categories.items()}
        known = [number for number in number_of.values() if isinstance(number, int)]
        unused = max(known, default=0) + 1
        for name in class_names:
            if name not in number_of:
                number_of[name] = unused
                unused += 1
        return integers([number_of[name] for name in class_names])

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """The number that each image has in its JSON file; its place from 1 on where the file's ids are no numbers.

        Args:
            ids: of a split. If a later file than the first lists all of them, it is the split's own, and counts.

        Raises:
            ValueError: if no one file lists them all.
        """
        found = self._common_file(ids)
        if found is None:
            raise ValueError(f"no JSON file beside {self.path} lists all of {len(ids)} images, such as {ids[0]!r}")
        return integers([found[name] for name in ids])

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """As the JSON file has them."""
        located = [self._locate(name) for name in ids]
        return tuple(
            found[0].instances.images[found[1]].file_name or name if found else name
            for name, found in zip(ids, located, strict=True)
        )

    @cached_property
    def _opened(self) -> dict[Path, Listing]:
        return {}

    def _listed(self, prefix: str) -> Listing:
        """A file, read once."""
        path = self._files[prefix]
        if path not in self._opened:
            self._opened[path] = self._read(path)
        return self._opened[path]

    def _neighbours(self, listed: Listing) -> dict[Path, Listing]:
        """The other files that are read as splits, and can be read."""
        found: dict[Path, Listing] = {}
        for prefix in self._beside(self._prefix_of(listed)):
            with contextlib.suppress(ValueError):  # told where it is asked for
                found[self._files[prefix]] = self._listed(prefix)
        return found

    def _units(self, listed: Listing) -> tuple[Units, str | None]:
        """How boxes of a file are to be read, and the name of the other file that shows it."""
        own = listed.instances.evidence
        others = {} if listed.instances.evidence.sure else self._neighbours(listed)
        try:
            return decide(own, {str(path): other.instances.evidence for path, other in others.items()})
        except ValueError as error:
            raise ValueError(f"{listed.path} {error}") from error

    def _prefix_of(self, listed: Listing) -> str:
        return next(prefix for prefix, path in self._files.items() if path == listed.path)

    def _ids_of(self, prefix: str) -> dict[Id, str]:
        """Ids by the ids in the file: those of an earlier file for the pictures that it lists as well."""
        listed = self._listed(prefix)
        earlier: dict[object, str] = {}
        for other in self._before(prefix):
            names = self._ids_of(other)
            for number, identity in self._listed(other).identities.items():
                earlier.setdefault(identity, names[number])
        if not earlier:
            return {number: f"{prefix}{name}" for number, name in listed.names.items()}
        return {
            number: earlier.get(listed.identities.get(number)) or f"{prefix}{name}"
            for number, name in listed.names.items()
        }

    def _locate(self, name: str) -> tuple[Listing, Id] | None:
        """The file that lists an image, and its id there."""
        start = f"{name.partition('/')[0]}/"
        for prefix in ("", start) if "" in self._files else (start,):
            if prefix in self._files and (rest := name.removeprefix(prefix)) in self._listed(prefix).numbers:
                listed = self._listed(prefix)
                return listed, listed.numbers[rest]
        return None

    def _files_of(self, ids: Iterable[str]) -> list[Listing]:
        """Those that list some of these images, each once."""
        located = (self._locate(name) for name in ids)
        return list({found[0].path: found[0] for found in located if found}.values())

    def _used(self, ids: Iterable[str]) -> list[Listing]:
        """The first file, and those that list some of these images."""
        files = self._files_of(ids)
        first = self._listed(next(iter(self._files))) if "" in self._files or not files else files[0]
        return [first, *(listed for listed in files if listed is not first)]

    def _common_file(self, ids: Sequence[str]) -> dict[str, Id] | None:
        """Ids in the file by id, of the one that lists all of these images."""
        for prefix in map(self._prefix_of, self._files_of(ids)):
            numbers: dict[str, Id] = {}
            for number, name in self._ids_of(prefix).items():
                numbers.setdefault(name, number)
            if numbers.keys() >= set(ids):
                return numbers
        return None

    def _require_same_categories(self, one: Listing, other: Listing) -> None:
        own, others = one.instances.categories, other.instances.categories
        own_numbers = {name: number for number, name in own.items()}
        for number, name in others.items():
            if own.get(number, name) != name or own_numbers.get(name, number) != number:
                here = f"{own_numbers[name]}, {name}" if name in own_numbers else f"{number}, {own[number]}"
                raise ValueError(
                    f"{other.path} has the category {number}, {name}, but {one.path} has {here}: results could "
                    "not be compared; give both files the same categories"
                )

    def _record(
        self,
        name: str,
        label_of: dict[str, int],
        units_of: Mapping[Path, tuple[Units, str | None]],
        problems: list[Problem],
    ) -> Record | None:
        """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
        located = self._locate(name)
        if located is None:
            detail = f"no image of the id {name!r} is listed"
            problems.append(Problem(self.path.name, "skipped", "without annotation", detail))
            return None
        listed, number = located
        entry, (units, shown_by) = listed.instances.images[number], units_of[listed.path]
        place = f"{listed.path.name}, image {number}"
        if flaw := listed.flaw(number):
            problems.append(Problem(place, "skipped", *flaw))
            return None
        boxes, flaws = listed.instances.boxes(number, units)
        problems.extend(Problem(place, "dropped", kind, detail) for kind, detail in flaws)
        categories = listed.instances.categories
        others = [categories[item.category] for item in boxes if categories[item.category] not in label_of]
        problems.extend(other_class(place, class_name) for class_name in others)
        if boxes and units.word:
            detail = f"as the boxes of {shown_by} show" if shown_by else "as all boxes of the file show together"
            problems.append(Problem(place, "noted", units.word, detail))
        if outlined := sum(item.outlined for item in boxes):
            detail = f"of {outlined} outlines without a bbox the hull is taken"
            problems.append(Problem(place, "noted", "with outlines", detail))
        if entry.unfinished:
            detail = f"of {entry.unfinished} classes not all objects are annotated; the others count as background"
            problems.append(Problem(place, "noted", "not exhaustively annotated", detail))
        boxes = [item for item in boxes if categories[item.category] in label_of]
        (path,) = listed.hits[number]
        return Record(
            id=name,
            image=listed.images.root / path,
            image_name=path,
            annotation_name=place,
            boxes=np.array([item.box for item in boxes], np.float64).reshape(-1, 4),
            labels=np.array([label_of[categories[item.category]] for item in boxes], np.int32),
            difficult=np.array([item.difficult for item in boxes], bool),
            stated_size=entry.size,
            normalised=units.fractions,
        )


def _order(number: Id) -> tuple[bool, int, str]:
    """Numbers before text."""
    return (False, number, "") if isinstance(number, int) else (True, 0, number)
