"""One PASCAL VOC annotation: XML from anywhere to plain values, with nothing in it expanded or fetched."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element  # the type only; parsing is defusedxml's

import numpy as np
from defusedxml import DefusedXmlException, ElementTree
from jaxtyping import Bool, Float64, Int32

from jaxssd.data.class_filter import other_class
from jaxssd.data.report import Problem


class UnreadableAnnotation(ValueError):
    """An annotation of which nothing can be used.

    Attributes:
        kind: `without annotation`, `malformed annotation` or `forbidden annotation`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Of this kind, for this reason."""
        super().__init__(detail)
        self.kind = kind


class AnnotatedObject(NamedTuple):
    """One object as written.

    Attributes:
        name: its class.
        box: (xmin, ymin, xmax, ymax), any numbers.
        difficult: False where the annotation does not say.
        is_hull: whether the box is that around a turned box or a polygon, whose points are edges counted from 0.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    is_hull: bool = False

    def flaw(self) -> str | None:
        """What makes the box useless in any image, or None."""
        xmin, ymin, xmax, ymax = self.box
        if not all(map(math.isfinite, self.box)):
            return "not finite"
        if xmax < xmin or ymax < ymin:
            return "swapped corners"
        if xmax == xmin or ymax == ymin:
            return "without area"
        return None


class Annotation(NamedTuple):
    """One image's annotation.

    Attributes:
        size: (height, width) as written, None where they are not.
        objects: in the file's order.
        incomplete: for each <object> that is not in `objects`, what is wrong with it.
        filename: of the image, as written; empty where it is not.
        hulls: how many of `objects` have a turned box or a polygon instead of a box.
    """

    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    incomplete: list[str]
    filename: str = ""
    hulls: int = 0


_FRACTION = 1.5
"""Largest number of annotations whose boxes are fractions. In pixels all their boxes would be dots in one corner."""


def in_fractions(annotations: Iterable[Annotation]) -> bool:
    """Whether boxes are shares of their images' width and height, by all boxes that are read together.

    Args:
        annotations: of a whole split, since a single box of one pixel says nothing.

    Returns:
        False if there is no box.

    Example:
        >>> car = AnnotatedObject("car", (0.25, 0.5, 0.75, 1.0), difficult=False)
        >>> in_fractions([Annotation((480, 640), [car], [])]), in_fractions([])
        (True, False)
    """
    found = False
    for annotation in annotations:
        for item in annotation.objects:
            largest = max((abs(number) for number in item.box if math.isfinite(number)), default=0.0)
            if largest > _FRACTION:
                return False
            found = found or largest > 0
    return found


def take_sound(
    objects: Iterable[AnnotatedObject],
    class_names: Sequence[str],
    *,
    file: str,
    problems: list[Problem],
    fractions: bool = False,
) -> tuple[Float64[np.ndarray, "n 4"], Int32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Boxes in this package's convention, without those that are useless in any image.

    Args:
        objects: as VOC writes them: pixels counted from 1, both corners included.
        class_names: name of each label.
        file: where they are written, for the report.
        problems: is extended by what is left out.
        fractions: whether the boxes are shares of the image's width and height, which nobody counts from 1.

    Returns:
        Corners `[y1, x1, y2, x2]` in pixels or shares, labels, and which are difficult.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    sound = []
    for item in objects:
        if item.name not in label_of:
            problems.append(other_class(file, item.name))
        elif flaw := item.flaw():
            where = "xmin {:g}, ymin {:g}, xmax {:g}, ymax {:g}".format(*item.box)
            problems.append(Problem(file, "dropped", flaw, f"{item.name}: {where}"))
        else:
            sound.append(item)
    xmin, ymin, xmax, ymax = np.array([item.box for item in sound], np.float64).reshape(-1, 4).T
    first = np.array([0 if fractions or item.is_hull else 1 for item in sound], np.float64)
    return (
        np.stack([ymin - first, xmin - first, ymax, xmax], axis=-1),
        np.array([label_of[item.name] for item in sound], np.int32),
        np.array([item.difficult for item in sound], bool),
    )


def parse_annotation(xml: bytes) -> Annotation:
    """Parse an annotation; whatever the bytes, it returns or raises the one error below.

    Args:
        xml: the file's content.

    Returns:
        The annotation. <part> and elements it does not know are left out.

    Raises:
        UnreadableAnnotation: if it is not XML, has a DTD, or is not an <annotation>.

    Example:
        >>> xml = b"<annotation><object><name>car</name><bndbox><xmin>156</xmin><ymin>97</ymin>"
        >>> parse_annotation(xml + b"<xmax>351</xmax><ymax>270</ymax></bndbox></object></annotation>").objects
        [AnnotatedObject(name='car', box=(156.0, 97.0, 351.0, 270.0), difficult=False, is_hull=False)]
    """
    try:
        root = ElementTree.fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise UnreadableAnnotation("forbidden annotation", "it declares a DTD or entities") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: encodings that expat cannot read
        raise UnreadableAnnotation("malformed annotation", str(error)) from error
    if root.tag != "annotation":
        other = "; is it CVAT's own format? Export as PASCAL VOC, COCO or YOLO" if root.tag == "annotations" else ""
        detail = f"its outermost element is <{root.tag[:80]}>, not <annotation>{other}"
        raise UnreadableAnnotation("malformed annotation", detail)

    elements = root.findall("object")
    parsed = [_parse_object(element) for element in elements]
    num_nested = sum(1 for _ in root.iter("object")) - len(elements)
    return Annotation(
        size=_parse_size(root),
        objects=[item for item in parsed if isinstance(item, AnnotatedObject)],
        incomplete=[item for item in parsed if isinstance(item, str)]
        + ["an <object> that is not directly in <annotation>"] * num_nested,
        filename=(root.findtext("filename") or "").strip(),
        hulls=sum(item.is_hull for item in parsed if isinstance(item, AnnotatedObject)),
    )


def _parse_object(element: Element) -> AnnotatedObject | str:
    """The object, or what it lacks."""
    name = (element.findtext("name") or "").strip()
    if not name:
        return "an <object> without <name>"
    box = _bndbox(element)
    found = box or _hull(element)
    difficult = (element.findtext("difficult") or "").strip().lower() in ("1", "true")
    if found:
        return AnnotatedObject(name, found, difficult, is_hull=box is None)
    return f"{name}: no <bndbox> with four numbers"


def _bndbox(element: Element) -> tuple[float, float, float, float] | None:
    box = element.find("bndbox")
    if box is None:
        return None
    xmin, ymin, xmax, ymax = (_number(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    if xmin is None or ymin is None or xmax is None or ymax is None:
        return None
    return xmin, ymin, xmax, ymax


def _hull(element: Element) -> tuple[float, float, float, float] | None:
    """The box around a turned box or a polygon."""
    turned, outline = element.find("robndbox"), element.find("polygon")
    for shape in (turned, outline, element.find("points")):
        points = _turned_corners(shape) or _points(shape) if shape is not None else []
        if points:
            xs, ys = zip(*points, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
    return None


def _turned_corners(shape: Element) -> list[tuple[float, float]]:
    """Corners of (cx, cy, w, h) turned by `angle`: in radians, as roLabelImg has it, or in degrees if above a turn."""
    cx, cy, w, h, angle = (_number(shape.findtext(key)) for key in ("cx", "cy", "w", "h", "angle"))
    if cx is None or cy is None or w is None or h is None or angle is None or not math.isfinite(angle):
        return []
    if abs(angle) > 2 * math.pi:
        angle = math.radians(angle)
    cos, sin = math.cos(angle), math.sin(angle)
    offsets = [(sign_x * w / 2, sign_y * h / 2) for sign_x in (-1, 1) for sign_y in (-1, 1)]
    return [(cx + dx * cos - dy * sin, cy + dx * sin + dy * cos) for dx, dy in offsets]


def _points(shape: Element) -> list[tuple[float, float]]:
    """Points written as <x1> <y1> <x2> ..., as <pt> with <x> and <y>, or as <point>x,y</point>; none if one is none."""
    elements = [element for element in shape.iter() if element is not shape]
    pairs = [text.split(",") for element in elements if "," in (text := element.text or "")]
    xs = [_number(element.text) for element in elements if element.tag.lower().startswith("x")]
    ys = [_number(element.text) for element in elements if element.tag.lower().startswith("y")]
    if pairs:
        xs, ys = [_number(pair[0]) for pair in pairs], [_number(pair[1]) for pair in pairs]
    points = list(zip(xs, ys, strict=False))
    if len(xs) != len(ys) or len(points) < 3:
        return []
    return [(x, y) for x, y in points if x is not None and y is not None] if None not in [*xs, *ys] else []


def _parse_size(root: Element) -> tuple[int, int] | None:
    height, width = _number(root.findtext("size/height")), _number(root.findtext("size/width"))
    if height is None or width is None or not math.isfinite(height + width):
        return None
    return int(height), int(width)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
