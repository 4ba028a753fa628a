"""One PASCAL VOC annotation: XML to plain values. No entity is expanded, and nothing is fetched."""

import math
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree.ElementTree import Element  # only the type: defusedxml parses

from defusedxml import DefusedXmlException, ElementTree

from jaxssd.data.formats.annotated_boxes import AnnotatedBox, box_flaw


class UnreadableAnnotation(ValueError):
    """Annotation that cannot be used at all.

    Attributes:
        kind: `without annotation`, `malformed annotation` or `forbidden annotation`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Store the kind and the reason."""
        super().__init__(detail)
        self.kind = kind


class AnnotatedObject(NamedTuple):
    """One object as it is written.

    Attributes:
        name: class name.
        box: (xmin, ymin, xmax, ymax), any numbers.
        difficult: False unless the annotation states it.
        is_hull: True if the box is the bounding box of a rotated box or polygon, whose points are edges counted from 0.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    is_hull: bool = False


class Annotation(NamedTuple):
    """One image's annotation.

    Attributes:
        size: (height, width) as stated, or None.
        objects: objects in the file's order.
        incomplete: description of each <object> that is not in `objects`.
        filename: <filename> of the image, or an empty string.
    """

    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    incomplete: list[str]
    filename: str = ""


_MAX_FRACTION = 1.5
"""Largest coordinate of annotations in fractions. In pixels, all boxes would lie in the first two."""


def in_fractions(annotations: Iterable[Annotation]) -> bool:
    """True if boxes are fractions of the image's width and height, judged by all boxes of a split together.

    Args:
        annotations: annotations of a whole split, as a single box of one pixel decides nothing.

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
            if largest > _MAX_FRACTION:
                return False
            found = found or largest > 0
    return found


def to_boxes(objects: Iterable[AnnotatedObject], *, fractions: bool = False) -> list[AnnotatedBox]:
    """Convert VOC's pixels, counted from 1 with both corners included, to corners between pixels.

    Args:
        objects: objects as they are written.
        fractions: True if the boxes are fractions of the image's size, from which nothing is subtracted.

    Example:
        >>> to_boxes([AnnotatedObject("car", (156.0, 97.0, 351.0, 270.0), difficult=False)])[0].corners
        (96.0, 155.0, 270.0, 351.0)
    """
    found = []
    for item in objects:
        xmin, ymin, xmax, ymax = item.box
        first = 0 if fractions or item.is_hull else 1
        flaw = box_flaw((ymin, xmin, ymax, xmax), reversed_kind="swapped corners")  # xmin = xmax is a click, no box
        detail = f"{item.name}: xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}" if flaw else ""
        found.append(AnnotatedBox(item.name, (ymin - first, xmin - first, ymax, xmax), item.difficult, flaw, detail))
    return found


def parse_annotation(xml: bytes) -> Annotation:
    """Parse an annotation. Any bytes give an annotation or an `UnreadableAnnotation`.

    Args:
        xml: content of the file.

    Returns:
        The annotation. <part> and unknown elements are left out.

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
        hint = ". CVAT's own format is not read: export PASCAL VOC, COCO or YOLO" if root.tag == "annotations" else ""
        detail = f"its root element is <{root.tag[:80]}>, expected <annotation>{hint}"
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
    )


def _parse_object(element: Element) -> AnnotatedObject | str:
    """Object, or a description of the missing part."""
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
    """Box around a rotated box or a polygon."""
    for shape in (element.find("robndbox"), element.find("polygon"), element.find("points")):
        points = _rotated_corners(shape) or _points(shape) if shape is not None else []
        if points:
            xs, ys = zip(*points, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
    return None


def _rotated_corners(shape: Element) -> list[tuple[float, float]]:
    """Corners of (cx, cy, w, h) rotated by `angle`: in radians, as in roLabelImg, or in degrees if above 2 pi."""
    cx, cy, w, h, angle = (_number(shape.findtext(key)) for key in ("cx", "cy", "w", "h", "angle"))
    if cx is None or cy is None or w is None or h is None or angle is None or not math.isfinite(angle):
        return []
    if abs(angle) > 2 * math.pi:
        angle = math.radians(angle)
    cos, sin = math.cos(angle), math.sin(angle)
    offsets = [(sign_x * w / 2, sign_y * h / 2) for sign_x in (-1, 1) for sign_y in (-1, 1)]
    return [(cx + dx * cos - dy * sin, cy + dx * sin + dy * cos) for dx, dy in offsets]


def _points(shape: Element) -> list[tuple[float, float]]:
    """Points written as <x1> <y1> <x2> ..., <pt> with <x> and <y>, or <point>x,y</point>; empty if one is invalid."""
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
