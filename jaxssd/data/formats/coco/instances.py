"""Images, categories and annotations of one COCO file. Each value is checked before it is used."""

import reprlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxssd.data.formats.annotated_boxes import Corners, box_flaw
from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.coco.json_file import parse_lists, unpack
from jaxssd.data.formats.coco.units import NO_BOXES, STANDARD, Evidence, Units, weigh
from jaxssd.data.formats.coco.values import Id, as_id, as_size, four_numbers, is_true, outline_hull
from jaxssd.data.report import Problem

_REPR = reprlib.Repr()
_REPR.maxstring = 120


class ImageEntry(NamedTuple):
    """One entry of `images`.

    Attributes:
        file_name: file name as stated, or the last two parts of LVIS's `coco_url`; empty if there is neither.
        size: (height, width) as stated, or None.
        num_unfinished: number of classes of which not every object is annotated, in LVIS.
    """

    file_name: str
    size: tuple[int, int] | None
    num_unfinished: int = 0


class InstanceBox(NamedTuple):
    """One entry of `annotations`.

    Attributes:
        box: corners (y1, x1, y2, x2), finite, with positive area: in pixels from the outer edge of the first pixel, or
            in fractions of the image if the file's units are fractions.
        category: id of its category.
        difficult: True if it is a crowd or to be ignored.
        outlined: True if the box is the bounding box of a segmentation, as there is no bbox.
    """

    box: Corners
    category: Id
    difficult: bool
    outlined: bool = False


class Flaw(NamedTuple):
    """Reason why an annotation gives no box.

    Attributes:
        kind: kind of problem in the loading report.
        detail: the annotation and its value.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Instances:
    """Content of a file.

    Attributes:
        images: images by id, in the file's order.
        categories: category names by id, in the file's order.
        annotations: annotations as they are written, by id of the image.
        problems: problems that belong to no image.
        evidence: evidence of the boxes about their units.
    """

    images: dict[Id, ImageEntry]
    categories: dict[Id, str]
    annotations: dict[Id, list[dict[str, Any]]]
    problems: tuple[Problem, ...]
    evidence: Evidence = NO_BOXES

    def weigh(self, sizes: Mapping[Id, tuple[int, int] | None]) -> Evidence:
        """Judge the units of the bboxes, or of the outlines if there is no bbox, by the images' (height, width)."""
        rows = [(sizes.get(image), entry) for image, entries in self.annotations.items() for entry in entries]
        boxes = [(size, numbers) for size, entry in rows if any(numbers := four_numbers(entry.get("bbox")) or ())]
        hulls = [] if boxes else [(size, outline_hull(entry.get("segmentation"))) for size, entry in rows]
        found = boxes or [(size, hull) for size, hull in hulls if hull]
        evidence = weigh([numbers for _, numbers in found], [size for size, _ in found])
        return evidence if boxes else Evidence(Units(evidence.alone().fractions))

    def boxes(self, image: Id, units: Units | None = None) -> tuple[list[InstanceBox], list[Flaw]]:
        """Valid objects of an image in the file's order, and the flaws of the others.

        Args:
            image: id of the image.
            units: units of the bboxes; judged by this file alone by default.
        """
        units = self.evidence.units if units is None else units
        sound: list[InstanceBox] = []
        flaws: list[Flaw] = []
        seen: set[tuple[Id, InstanceBox]] = set()
        for annotation in self.annotations.get(image, ()):
            number = as_id(annotation.get("id"))
            parsed = parse_annotation(annotation, self.categories, units)
            if isinstance(parsed, Flaw):
                flaws.append(parsed)
            elif number is not None and (number, parsed) in seen:
                flaws.append(Flaw("repeated", f"{_name(annotation)} is there twice"))
            else:
                sound.append(parsed)
                if number is not None:
                    seen.add((number, parsed))
        return sound, flaws


def read_instances(path: Path) -> Instances:
    """Read a file.

    Args:
        path: JSON file, also packed by gzip.

    Returns:
        Its content.

    Raises:
        ValueError: if it cannot be read, and as `parse_instances`. The message begins with the path.
    """
    try:
        return parse_instances(unpack(path.read_bytes()), path.name)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def parse_instances(content: bytes, name: str) -> Instances:
    """Parse a file.

    Args:
        content: JSON as UTF-8, with or without a byte order mark.
        name: name of the file in the report.

    Returns:
        Images, categories and annotations. Annotations without an image, and Roboflow's unused category for the whole
        data set, are among the problems.

    Raises:
        ValueError: if the content is not JSON or not a file of instances, lists no image or no category, has an id or
            a category name twice, or if no annotation belongs to an image.

    Example:
        >>> content = b'{"images": [{"id": 12, "file_name": "000012.jpg", "width": 500, "height": 333}],'
        >>> content += b'"categories": [{"id": 7, "name": "car"}],'
        >>> content += b'"annotations": [{"image_id": 12, "category_id": 7, "bbox": [155, 96, 196, 174]}]}'
        >>> parse_instances(content, "pascal_train2007.json").boxes(12)[0]
        [InstanceBox(box=(96.0, 155.0, 270.0, 351.0), category=7, difficult=False, outlined=False)]
    """
    lists = parse_lists(content)
    problems: list[Problem] = []
    categories = _parse_categories(_without_root(lists, name, problems))
    images = _parse_images(lists["images"], name, problems)
    annotations: dict[Id, list[dict[str, Any]]] = defaultdict(list)
    for position, entry in enumerate(lists["annotations"]):
        image = as_id(entry.get("image_id")) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or image is None:
            detail = f"annotations[{position}] has no integer image_id: {_short(entry)}"
            problems.append(Problem(name, "dropped", "incomplete", detail))
        elif image not in images:
            detail = f"{_name(entry)} is of image {_short(image)}, which is not listed"
            problems.append(Problem(name, "dropped", "unknown image", detail))
        else:
            annotations[image].append(entry)
    if lists["annotations"] and not annotations:
        raise ValueError(f"has no annotation that belongs to an image: {problems[-1].detail}")
    found = Instances(images, categories, dict(annotations), tuple(problems))
    return replace(found, evidence=found.weigh({number: entry.size for number, entry in images.items()}))


def parse_annotation(
    annotation: Mapping[str, Any], categories: Mapping[Id, str], units: Units = STANDARD
) -> InstanceBox | Flaw:
    """Parse the box of one annotation.

    COCO's bbox [x, y, width, height] counts from the outer edge of the first pixel, so the box ends at x + width. If
    there is no bbox, or four zeros, the bounding box of the segmentation is used.

    Args:
        annotation: annotation as it is written.
        categories: category names by id.
        units: units of the bbox.

    Returns:
        A valid box or a flaw.
    """
    category, bbox = as_id(annotation.get("category_id")), annotation.get("bbox")
    if category is None:
        detail = f"{_name(annotation)}: category_id is {_short(annotation.get('category_id'))}, not an id"
        return Flaw("incomplete", detail)
    if category not in categories:
        return Flaw("unknown category", f"{_name(annotation)} is of category {_short(category)}, which is not listed")
    numbers = four_numbers(bbox)
    hull = None if numbers and any(numbers) else outline_hull(annotation.get("segmentation"))
    sides = hull or (units.sides(*numbers) if numbers else None)
    if not sides:
        detail = f"{_name(annotation)}: bbox is {_short(bbox)}, not four numbers, and there is no outline instead"
        return Flaw("incomplete", detail)
    x, y, width, height = sides
    corners = (y, x, y + height, x + width)
    if flaw := box_flaw(corners):
        return Flaw(flaw, f"{_name(annotation)}: bbox is {_short(bbox)}")
    difficult = is_true(annotation.get("iscrowd")) or is_true(annotation.get("ignore"))
    return InstanceBox(corners, category, difficult, outlined=hull is not None)


def _without_root(lists: Mapping[str, list], name: str, problems: list[Problem]) -> list:
    """Categories without Roboflow's root category, which is named after the project and never used."""
    entries = lists["categories"]
    tops = [entry for entry in entries if isinstance(entry, dict) and entry.get("supercategory") == "none"]
    if len(tops) != 1 or len(entries) == 1:
        return entries
    root = as_id(tops[0].get("id"))
    if any(isinstance(item, dict) and as_id(item.get("category_id")) == root for item in lists["annotations"]):
        return entries
    detail = f"{_short(tops[0].get('name'))}, above all other categories and without an object, is not a class"
    problems.append(Problem(name, "ignored", "root category", detail))
    return [entry for entry in entries if entry is not tops[0]]


def _parse_categories(entries: list) -> dict[Id, str]:
    categories: dict[Id, str] = {}
    for position, entry in enumerate(entries):
        number, name = (as_id(entry.get("id")), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if isinstance(name, int) and not isinstance(name, bool):
            name = as_id(name)  # digits, as classes of digits have them
        if number is None or name is None or not isinstance(name, int | str):
            raise ValueError(f"has no integer id and name in categories[{position}]: {_short(entry)}")
        if categories.get(number) == str(name).strip():
            continue  # an exact repetition
        if number in categories:
            raise ValueError(f"has two categories with the id {number}: {categories[number]!r} and {_short(name)}")
        categories[number] = str(name).strip()
    check_class_names(list(categories.values()))
    return categories


def _parse_images(entries: list, name: str, problems: list[Problem]) -> dict[Id, ImageEntry]:
    images: dict[Id, ImageEntry] = {}
    for position, entry in enumerate(entries):
        number = as_id(entry.get("id")) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or number is None:
            detail = f"images[{position}] has no integer id: {_short(entry)}"
            problems.append(Problem(name, "skipped", "incomplete", detail))
            continue
        unfinished = entry.get("not_exhaustive_category_ids")
        image = ImageEntry(_file_name(entry), as_size(entry), len(unfinished) if isinstance(unfinished, list) else 0)
        if number in images and images[number].file_name == image.file_name:
            detail = f"images[{position}], {_short(image.file_name)}, is there twice"
            problems.append(Problem(name, "ignored", "repeated image", detail))
            continue
        if number in images:
            both = f"{_short(images[number].file_name)} and {_short(image.file_name)}"
            raise ValueError(f"has two images with the id {number}: {both}, so their boxes cannot be told apart")
        images[number] = image
    if not images:
        raise ValueError(f"lists no image that can be used: {problems[-1].detail}")
    return images


def _file_name(entry: Mapping[str, Any]) -> str:
    """File name as stated, or folder and name of LVIS's `http://images.cocodataset.org/train2017/000000391895.jpg`."""
    name, address = entry.get("file_name"), entry.get("coco_url")
    if isinstance(name, str) and name:
        return name
    return "/".join(address.split("/")[-2:]) if isinstance(address, str) else ""


def _name(annotation: Mapping[str, Any]) -> str:
    return f"annotation {_short(annotation.get('id'))}"


def _short(value: object) -> str:
    return _REPR.repr(value)  # values may be of any length
