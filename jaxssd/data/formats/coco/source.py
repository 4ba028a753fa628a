"""Base of the COCO data sets: images listed by one or more JSON files, with one id for each picture."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.annotated_boxes import AnnotatedBox, check_boxes
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.formats.coco.listing import Listing, integers
from jaxssd.data.formats.coco.units import Units, decide
from jaxssd.data.formats.coco.values import Id
from jaxssd.data.report import Problem


class COCOSource(Source):
    """Files of COCO's instances.

    An id is a prefix for the file, and the image's name in it. If an earlier file lists a picture too, its id and its
    annotations are those of that file. This is how a picture in two splits is detected.
    """

    @property
    @abstractmethod
    def _files(self) -> Mapping[str, Path]:
        """JSON files by prefix. The first one that lists a picture names it."""

    @abstractmethod
    def _read(self, path: Path) -> Listing:
        """Read a file and find its images."""

    @abstractmethod
    def _earlier(self, prefix: str) -> Sequence[str]:
        """Prefixes of the files that name pictures before this one."""

    @abstractmethod
    def _neighbours(self, prefix: str) -> Sequence[str]:
        """Prefixes of the other splits, which decide the units of boxes if this file does not."""

    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Categories of the files that list the images, in the order of their ids."""
        categories: dict[Id, str] = {}
        for listed in self._used(ids):
            categories.update(listed.instances.categories)
        return tuple(name for _, name in sorted(categories.items(), key=lambda item: _order(item[0])))

    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Images with their objects, and problems: see the table of `formats.coco`."""
        label_of = {name: label for label, name in enumerate(class_names)}
        problems = [problem for listed in self._files_of(ids) for problem in listed.instances.problems]
        units = {listed.path: self._units(listed) for listed in self._files_of(ids)}
        records = [self._record(name, label_of, units, problems) for name in ids]
        return [record for record in records if record], problems

    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """JSON files, those that decide the units of their boxes, and the image of each id."""
        own = self._files_of(ids)
        deciding = (Path(decided_by) for listed in own if (decided_by := self._units(listed)[1]))
        files: list[Path | None] = [*dict.fromkeys([*(listed.path for listed in own), *deciding])]
        for name in ids:
            located = self._locate(name)
            files.append(located[0].file(located[1]) if located else None)
        return files

    def category_ids(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[int, ...]:
        """Number of each class in the files of these images; a free one for a class that they do not have.

        Example:
            A file with the categories 3, car, and 7, dog, has the numbers (7, 3) for ("dog", "car").
        """
        files = self._used(ids)  # all have the same category ids
        number_of = {name: number for listed in files for number, name in listed.instances.categories.items()}
        known = [number for number in number_of.values() if isinstance(number, int)]
        unused = max(known, default=0) + 1
        for name in class_names:
            if name not in number_of:
                number_of[name] = unused
                unused += 1
        return integers([number_of[name] for name in class_names])

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """Number of each image in its JSON file; its position from 1 if the file's ids are not numbers.

        Args:
            ids: ids of a split. If a later file than the first lists all of them, its numbers are used.

        Raises:
            ValueError: if no file lists them all.
        """
        found = self._common_file(ids)
        if found is None:
            raise ValueError(f"no JSON file beside {self.path} lists all of {len(ids)} images, such as {ids[0]!r}")
        return integers([found[name] for name in ids])

    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """`file_name` of each image."""
        located = [self._locate(name) for name in ids]
        return tuple(
            found[0].instances.images[found[1]].file_name or name if found else name
            for name, found in zip(ids, located, strict=True)
        )

    @cached_property
    def _opened(self) -> dict[Path, Listing]:
        return {}

    def _listed(self, prefix: str) -> Listing:
        """Content of a file, read once."""
        path = self._files[prefix]
        if path not in self._opened:
            self._opened[path] = self._read(path)
        return self._opened[path]

    def _units(self, listed: Listing) -> tuple[Units, str | None]:
        """Units of a file's boxes, and the name of the other file that decided them, or None."""
        own = listed.instances.evidence
        others: dict[str, Listing] = {}
        for prefix in [] if own.sure else self._neighbours(self._prefix_of(listed)):
            with contextlib.suppress(ValueError):  # raised again when the file is read
                others[str(self._files[prefix])] = self._listed(prefix)
        try:
            return decide(own, {path: other.instances.evidence for path, other in others.items()})
        except ValueError as error:
            raise ValueError(f"{listed.path} {error}") from error

    def _prefix_of(self, listed: Listing) -> str:
        return next(prefix for prefix, path in self._files.items() if path == listed.path)

    def _ids_of(self, prefix: str) -> dict[Id, str]:
        """Our ids by the ids in the file; from an earlier file for the pictures that it lists too."""
        listed = self._listed(prefix)
        earlier: dict[object, str] = {}
        for other in self._earlier(prefix):
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
        """File that lists an image, and the image's id there."""
        start = f"{name.partition('/')[0]}/"
        for prefix in ("", start) if "" in self._files else (start,):
            if prefix in self._files and (rest := name.removeprefix(prefix)) in self._listed(prefix).numbers:
                listed = self._listed(prefix)
                return listed, listed.numbers[rest]
        return None

    def _files_of(self, ids: Iterable[str]) -> list[Listing]:
        """Files that list some of these images, each once."""
        located = (self._locate(name) for name in ids)
        return list({found[0].path: found[0] for found in located if found}.values())

    def _used(self, ids: Iterable[str]) -> list[Listing]:
        """The first file, and those that list some of these images."""
        files = self._files_of(ids)
        first = self._listed(next(iter(self._files))) if "" in self._files or not files else files[0]
        return [first, *(listed for listed in files if listed is not first)]

    def _common_file(self, ids: Sequence[str]) -> dict[str, Id] | None:
        """Ids in the file by our ids, of the file that lists all of these images."""
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
        label_of: Mapping[str, int],
        units_of: Mapping[Path, tuple[Units, str | None]],
        problems: list[Problem],
    ) -> Record | None:
        """Record of one image; None, with a problem added, if it is skipped."""
        located = self._locate(name)
        if located is None:
            detail = f"no image of the id {name!r} is listed"
            problems.append(Problem(self.path.name, "skipped", "without annotation", detail))
            return None
        listed, number = located
        entry, (units, decided_by) = listed.instances.images[number], units_of[listed.path]
        place = f"{listed.path.name}, image {number}"
        if flaw := listed.flaw(number):
            problems.append(Problem(place, "skipped", *flaw))
            return None
        objects, flaws = listed.instances.boxes(number, units)
        problems += [Problem(place, "dropped", kind, detail) for kind, detail in flaws]
        if objects and units.word:
            detail = f"as the boxes of {decided_by} show" if decided_by else "as all boxes of the file show together"
            problems.append(Problem(place, "noted", units.word, detail))
        if num_hulls := sum(item.outlined for item in objects):
            detail = f"{num_hulls} outlines without a bbox: their hulls are read"
            problems.append(Problem(place, "noted", "with outlines", detail))
        if entry.num_unfinished:
            detail = f"{entry.num_unfinished} classes are not fully annotated; the rest of them counts as background"
            problems.append(Problem(place, "noted", "not exhaustively annotated", detail))
        categories = listed.instances.categories
        annotated = [AnnotatedBox(categories[item.category], item.box, item.difficult) for item in objects]
        boxes, labels, difficult = check_boxes(annotated, label_of, file=place, problems=problems)
        (path,) = listed.hits[number]
        return Record(
            id=name,
            image=listed.images.root / path,
            image_name=path,
            annotation_name=place,
            boxes=boxes,
            labels=labels,
            difficult=difficult,
            stated_size=entry.size,
            normalised=units.fractions,
        )


def _order(number: Id) -> tuple[bool, int, str]:
    """Sort key of ids: numbers before text."""
    return (False, number, "") if isinstance(number, int) else (True, 0, number)
