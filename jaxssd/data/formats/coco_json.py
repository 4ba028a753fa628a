"""One file of COCO's instances: JSON from anywhere to plain values, each checked before it is used."""

import json
import math
import reprlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.report import Problem

_KEPT = {"images", "annotations", "categories", "id", "file_name", "width", "height", "name", "image_id"}
_KEPT |= {"category_id", "bbox", "iscrowd", "ignore", "score"}
"""What is kept of any JSON object while it is parsed. COCO's outlines of objects are nine tenths of its files."""

_REPR = reprlib.Repr()
_REPR.maxstring = 120

_EXPECTED = "expected is COCO's file of instances, an object with the lists images, annotations and categories"


class ImageEntry(NamedTuple):
    """One of `images`.

    Attributes:
        file_name: as written; empty where there is none.
        size: (height, width) as written, None where they are not.
    """

    file_name: str
    size: tuple[int, int] | None


class InstanceBox(NamedTuple):
    """One of `annotations`.

    Attributes:
        box: corners (y1, x1, y2, x2) in pixels from the outer edge of the first pixel, finite, with positive area.
        category: number of its category.
        difficult: whether it is a crowd or to be ignored.
    """

    box: tuple[float, float, float, float]
    category: int
    difficult: bool


class Flaw(NamedTuple):
    """Why an annotation gives no box.

    Attributes:
        kind: as counted in the report.
        detail: the annotation and its value.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Instances:
    """What a file holds.

    Attributes:
        images: by number, in the file's order.
        categories: name by number, in the file's order.
        annotations: by number of the image, as written.
        problems: what belongs to no image.
    """

    images: dict[int, ImageEntry]
    categories: dict[int, str]
    annotations: dict[int, list[dict[str, Any]]]
    problems: tuple[Problem, ...]

    def boxes(self, image: int) -> tuple[list[InstanceBox], list[Flaw]]:
        """The objects of an image that are sound in themselves, in the file's order, and what is wrong with others."""
        sound: list[InstanceBox] = []
        flaws: list[Flaw] = []
        seen: set[tuple[object, InstanceBox]] = set()
        for annotation in self.annotations.get(image, ()):
            number = annotation.get("id")
            parsed = parse_annotation(annotation, self.categories)
            if isinstance(parsed, Flaw):
                flaws.append(parsed)
            elif _is_integer(number) and (number, parsed) in seen:
                flaws.append(Flaw("repeated", f"{_name(annotation)} is there twice"))
            else:
                sound.append(parsed)
                if _is_integer(number):
                    seen.add((number, parsed))
        return sound, flaws


def read_instances(path: Path) -> Instances:
    """Read a file; whatever it holds, this returns or raises the one error below.

    Args:
        path: the JSON file.

    Returns:
        What `parse_instances` finds.

    Raises:
        ValueError: as `parse_instances`, or if the file cannot be read; it begins with the path.
    """
    try:
        return parse_instances(path.read_bytes(), path.name)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def parse_instances(content: bytes, name: str) -> Instances:
    """Parse a file's content.

    Args:
        content: JSON as UTF-8, with or without a byte order mark.
        name: what problems call the file.

    Returns:
        Images, categories and annotations. Those that have no image's number are among the problems.

    Raises:
        ValueError: with what is wrong, if the content is not JSON, not a file of instances, lists no image, no
            category, a number or a category's name twice, or if no annotation belongs to an image.

    Example:
        >>> content = b'{"images": [{"id": 12, "file_name": "000012.jpg", "width": 500, "height": 333}],'
        >>> content += b'"categories": [{"id": 7, "name": "car"}],'
        >>> content += b'"annotations": [{"image_id": 12, "category_id": 7, "bbox": [155, 96, 196, 174]}]}'
        >>> parse_instances(content, "pascal_train2007.json").boxes(12)[0]
        [InstanceBox(box=(96.0, 155.0, 270.0, 351.0), category=7, difficult=False)]
    """
    lists = _parse_lists(content)
    problems: list[Problem] = []
    categories = _parse_categories(lists["categories"])
    images = _parse_images(lists["images"], name, problems)
    annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for position, entry in enumerate(lists["annotations"]):
        image = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not _is_integer(image):
            detail = f"annotations[{position}] has no integer image_id: {_short(entry)}"
            problems.append(Problem(name, "dropped", "incomplete", detail))
        elif image not in images:
            detail = f"{_name(entry)} is of image {_short(image)}, which is not listed"
            problems.append(Problem(name, "dropped", "unknown image", detail))
        else:
            annotations[image].append(entry)
    if lists["annotations"] and not annotations:
        raise ValueError(f"has no annotation that belongs to an image: {problems[-1].detail}")
    return Instances(images, categories, dict(annotations), tuple(problems))


def parse_annotation(annotation: Mapping[str, Any], categories: Mapping[int, str]) -> InstanceBox | Flaw:
    """The box of one annotation, or why there is none.

    COCO's bbox is [x, y, width, height] from the outer edge of the first pixel, so that the box ends at x + width.

    Args:
        annotation: as written.
        categories: those there are.

    Returns:
        A sound box or a flaw; no value raises.
    """
    category, bbox = annotation.get("category_id"), annotation.get("bbox")
    if not _is_integer(category):
        return Flaw("incomplete", f"{_name(annotation)}: category_id is {_short(category)}, not an integer")
    if category not in categories:
        return Flaw("unknown category", f"{_name(annotation)} is of category {_short(category)}, which is not listed")
    where = f"{_name(annotation)}: bbox is {_short(bbox)}"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        return Flaw("incomplete", f"{where}, not four numbers")
    x, y, width, height = map(_to_float, bbox)
    box = (y, x, y + height, x + width)
    if not all(map(math.isfinite, (x, y, width, height, *box))):
        return Flaw("not finite", where)
    if width < 0 or height < 0:
        return Flaw("negative size", where)
    if box[2] <= box[0] or box[3] <= box[1]:
        return Flaw("without area", where)
    return InstanceBox(box, category, _is_true(annotation.get("iscrowd")) or _is_true(annotation.get("ignore")))


def _parse_lists(content: bytes) -> dict[str, list]:
    """The three lists of the outermost object."""
    try:
        data = json.loads(content.decode("utf-8-sig"), object_hook=_keep_known)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply to be a file of instances") from error
    except ValueError as error:  # also an integer of thousands of digits
        raise ValueError(f"is not JSON: {error}; was it cut short?") from error
    if isinstance(data, list) and data and isinstance(data[0], dict) and "score" in data[0]:
        raise ValueError(f"is a list of results, as a detector writes them; {_EXPECTED}")
    if not isinstance(data, dict):
        raise ValueError(f"holds a {type(data).__name__} instead of an object; {_EXPECTED}")
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(data.get(key), list)]
    if missing:
        raise ValueError(f"has no list {' and no list '.join(missing)}; {_EXPECTED}")
    for key in ("images", "categories"):
        if not data[key]:
            raise ValueError(f"has an empty list {key}")
    return {key: data[key] for key in keys}


def _keep_known(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key in _KEPT}


def _parse_categories(entries: list) -> dict[int, str]:
    categories: dict[int, str] = {}
    for position, entry in enumerate(entries):
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not _is_integer(number) or not isinstance(name, str):
            raise ValueError(f"has no integer id and name in categories[{position}]: {_short(entry)}")
        if number in categories:
            raise ValueError(f"has two categories with the id {number}: {categories[number]!r} and {_short(name)}")
        categories[number] = name.strip()
    check_class_names(list(categories.values()))
    return categories


def _parse_images(entries: list, name: str, problems: list[Problem]) -> dict[int, ImageEntry]:
    images: dict[int, ImageEntry] = {}
    for position, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not _is_integer(number):
            detail = f"images[{position}] has no integer id: {_short(entry)}"
            problems.append(Problem(name, "skipped", "incomplete", detail))
            continue
        file_name = entry.get("file_name")
        image = ImageEntry(file_name if isinstance(file_name, str) else "", _parse_size(entry))
        if number in images:
            both = f"{_short(images[number].file_name)} and {_short(image.file_name)}"
            raise ValueError(f"has two images with the id {number}: {both}, so whose the boxes are cannot be told")
        images[number] = image
    if not images:
        raise ValueError(f"lists no image that can be used: {problems[0].detail}")
    return images


def _parse_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if not _is_number(height) or not _is_number(width):
        return None
    if not math.isfinite(_to_float(height)) or not math.isfinite(_to_float(width)):
        return None
    return int(height), int(width)


def _is_integer(value: object) -> TypeGuard[int]:
    """An integer of 64 bits; among longer ones, so many have the same hash that a dictionary of them takes hours."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def _is_true(flag: object) -> bool:
    return flag in (1, True, "1", "true")


def _name(annotation: Mapping[str, Any]) -> str:
    return f"annotation {_short(annotation.get('id'))}"


def _short(value: object) -> str:
    return _REPR.repr(value)  # a file can hold values of any length
