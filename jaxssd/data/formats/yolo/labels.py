"""The text files of a YOLO folder, from anywhere, to plain values: the names of classes, and an image's boxes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import yaml

from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.files import split_lines

MAX_BYTES = 1_000_000
"""Of a file of names; a thousand classes need twenty thousand."""

MAX_CLASSES = 10_000
"""That have no names."""

MAX_DEPTH = 20
"""Of lists and mappings in one another; data.yaml has two."""

NORMALISED_LIMIT = 1.5
"""Shares of an image can exceed 1 where a box is cut by its edge, but not by half an image."""

_KEYPOINTS = (
    "they are a box with keypoints behind it, (x, y, visibility) each: state their number in data.yaml, such as "
    "`kpt_shape: [17, 3]`, and the boxes are read"
)


class LabelledBox(NamedTuple):
    """One line.

    Attributes:
        line: its number, from 1.
        label: index of its class as the file has it.
        box: corners (y1, x1, y2, x2) in shares of the image, finite, with positive area.
    """

    line: int
    label: int
    box: tuple[float, float, float, float]


class Labels(NamedTuple):
    """What an image's file holds.

    Attributes:
        boxes: in the file's order.
        flaws: kind and detail of each line that gives no box.
        polygons: lines that hold an outline, of which `boxes` has the hull.
    """

    boxes: list[LabelledBox]
    flaws: list[tuple[str, str]]
    polygons: list[int]


class UnreadableLabels(ValueError):
    """A file of which nothing can be used.

    Attributes:
        kind: `malformed annotation` or `not normalised`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        """Of this kind, for this reason."""
        super().__init__(detail)
        self.kind = kind


def parse_labels(content: bytes, num_classes: int, behind: int = 0) -> Labels:
    """Parse the boxes of one image; whatever the bytes, it returns or raises the errors below.

    Args:
        content: lines `class center_x center_y width height`, or `class x y x y x y ...` with the points of an outline.
        num_classes: how many there are.
        behind: numbers that follow a box, those of its keypoints, which are left out.

    Returns:
        The boxes and what else the lines hold.

    Raises:
        UnreadableLabels: if the content is not UTF-8, or its numbers are no shares of an image.
        ValueError: if a line has a class that is not an index of one, naming the line.

    Example:
        >>> parse_labels(b"7 0.5 0.5 0.5 0.25", num_classes=20).boxes
        [LabelledBox(line=1, label=7, box=(0.375, 0.25, 0.625, 0.75))]
    """
    try:
        lines = split_lines(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableLabels("malformed annotation", f"not UTF-8: {error}") from error
    labels = Labels([], [], [])
    rows = [(number, fields) for number, line in enumerate(lines, start=1) if (fields := line.split())]
    if behind:
        rows = [(number, fields[:5] if len(fields) == 5 + behind else fields) for number, fields in rows]
    turned = any(_is_angle(fields) for _, fields in rows)
    try:
        for number, fields in rows:
            _parse_line(number, fields, num_classes, labels, turned)
    except UnreadableLabels as error:
        if _have_keypoints(rows):
            raise UnreadableLabels(error.kind, f"{error}; or {_KEYPOINTS}") from error
        raise
    if labels.flaws and _have_keypoints(rows):
        labels.flaws[:] = [(kind, f"{detail}; {_KEYPOINTS}") for kind, detail in labels.flaws]
    return labels


def _have_keypoints(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether every line is a box and equally many points (x, y, visibility) that lie in it, or are not visible."""
    for _, fields in rows:
        numbers = [number for text in fields[1:] if (number := _number(text)) is not None]
        if len(fields) != len(rows[0][1]) or len(numbers) < len(fields) - 1 or len(fields) < 8 or len(fields) % 3 != 2:
            return False
        y1, x1, y2, x2 = _corners(numbers[:4])
        for x, y, visible in zip(*(numbers[start::3] for start in (4, 5, 6)), strict=True):
            inside = x1 - 0.01 <= x <= x2 + 0.01 and y1 - 0.01 <= y <= y2 + 0.01
            if visible not in (0, 1, 2) or not (inside or visible == 0):
                return False
    return bool(rows)


def _is_angle(fields: list[str]) -> bool:
    """Whether there is a fifth number that cannot be a confidence."""
    angle = _number(fields[5]) if len(fields) == 6 else None
    return angle is not None and not 0 <= angle <= 1


def _parse_line(number: int, fields: list[str], num_classes: int, labels: Labels, turned: bool) -> None:
    """Add what a line holds; a fifth number is an angle if any in the file is `turned`."""
    where = f"line {number}: {_short(' '.join(fields))}"
    values = [_number(text) for text in fields[1:]]
    numbers = [value for value in values if value is not None]
    if len(values) < 4 or len(numbers) < len(values):
        labels.flaws.append(("incomplete", f"{where}: expected is a class and four numbers"))
        return
    label = class_index(fields[0])
    if label is None or label >= num_classes:
        raise ValueError(
            f"line {number}: the class is {_short(fields[0], 20)!r}, expected an index below {num_classes}, the number "
            "of names"
        )
    corners = _corners(numbers)
    if not all(map(math.isfinite, numbers)):
        labels.flaws.append(("not finite", where))
    elif len(numbers) == 5 and turned:
        detail = f"{where}: a fifth number that is no confidence, so an angle; write turned boxes as their four corners"
        labels.flaws.append(("with an angle", detail))
    elif len(numbers) == 5:
        detail = (
            f"{where}: a fifth number, as a detector's confidence, whose output is no truth, or the angle of a turned "
            "box; take the last column away if the boxes were checked, write turned boxes as their four corners"
        )
        labels.flaws.append(("with confidence", detail))
    elif max(map(abs, numbers)) > NORMALISED_LIMIT:
        raise UnreadableLabels(
            "not normalised",
            f"{where}: the numbers are pixels; expected are shares of the image's width and height, from 0 to 1",
        )
    elif len(numbers) % 2:
        labels.flaws.append(("incomplete", f"{where}: neither four numbers nor pairs of an outline"))
    elif len(numbers) == 4 and min(numbers[2:]) < 0:
        labels.flaws.append(("negative size", where))
    elif corners[2] <= corners[0] or corners[3] <= corners[1]:
        labels.flaws.append(("without area", where))
    else:
        labels.boxes.append(LabelledBox(number, label, corners))
        if len(numbers) > 4:
            labels.polygons.append(number)


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    if len(numbers) < 6:
        x, y, width, height = numbers[:4]
        return y - height / 2, x - width / 2, y + height / 2, x + width / 2
    xs, ys = numbers[::2], numbers[1::2]
    return min(ys), min(xs), max(ys), max(xs)


def parse_names(content: bytes) -> tuple[str, ...]:
    """The names of a text file, one a line.

    Args:
        content: of classes.txt or obj.names.

    Returns:
        Name of class 0, of class 1 and so on.

    Raises:
        ValueError: with what is wrong, if it is too large, not UTF-8, has no name, one twice, or an empty line before
            the last name: whether that counts cannot be told.
    """
    text = decode_text(content).rstrip()
    names = tuple(line.strip() for line in split_lines(text)) if text else ()
    check_class_names(names)
    return names


def parse_names_yaml(content: bytes) -> tuple[str, ...]:
    """The `names` of a data.yaml, a list or a mapping from indices; nothing else in it is read but `nc`, their number.

    Without `names` they are class_0, class_1 and so on, as Ultralytics calls them, if `nc` says how many there are.

    Names are taken as they are written: `no` is a name and not a truth value. Aliases are refused, since a few lines
    of them unfold into gigabytes, and nothing is ever constructed.

    Args:
        content: of the file.

    Returns:
        Name of class 0, of class 1 and so on.

    Raises:
        ValueError: with what is wrong, if the content is too large, not YAML, has aliases, neither `names` nor `nc`, if
            names are missing or doubled, or `nc` is another number.

    Example:
        >>> parse_names_yaml(b"train: ../images\\nnames: {0: car, 1: no}")
        ('car', 'no')
    """
    root = compose_yaml(decode_text(content))
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("is not a mapping with the key names")
    keys = [key.value for key, _ in root.value if isinstance(key, yaml.ScalarNode)]
    found = {key.value: node for key, node in root.value if isinstance(key, yaml.ScalarNode)}
    count = found.get("nc")
    number = class_index(count.value) if isinstance(count, yaml.ScalarNode) else None
    if "names" not in keys and number and number <= MAX_CLASSES:
        return tuple(f"class_{index}" for index in range(number))
    if keys.count("names") != 1:
        raise ValueError("has no names" if "names" not in keys else "has names twice")
    names = _ordered(found["names"])
    check_class_names(names)
    if number not in (None, len(names)):
        raise ValueError(f"has nc: {number} but {len(names)} names")
    return names


def compose_yaml(text: str) -> yaml.Node | None:
    """The tree of a document, of bounded depth and without aliases.

    Raises:
        ValueError: with what is wrong.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"has the alias *{_short(event.anchor)}: write the value itself")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError("is nested too deeply")
        return yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, OverflowError) as error:  # the second: an escape for a character that there is not
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error


def _ordered(node: yaml.Node) -> tuple[str, ...]:
    """Names in the order of their indices."""
    if isinstance(node, yaml.SequenceNode):
        items: dict[int | None, yaml.Node] = dict(enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        items = {
            class_index(key.value) if isinstance(key, yaml.ScalarNode) else None: value for key, value in node.value
        }
    else:
        raise ValueError("has names that are neither a list nor a mapping from indices")
    if len(items) < len(node.value) or items.keys() != set(range(len(items))):
        raise ValueError(f"has names whose indices are not 0 to {len(node.value) - 1}, each once")
    names = [items[index] for index in range(len(items))]
    if not all(isinstance(name, yaml.ScalarNode) for name in names):
        raise ValueError("has names that are no plain text")
    return tuple(name.value.strip() for name in names)


def decode_text(content: bytes) -> str:
    """The text of a file that describes a data set.

    Raises:
        ValueError: with what is wrong, if it is too large or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"has {len(content):,} bytes, for names {MAX_BYTES:,} are allowed")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error}") from error


def class_index(text: str) -> int | None:
    """A whole number of at most nine digits, `3` or `3.0`; `1_0` and other scripts' digits are none.

    Example:
        >>> class_index("3"), class_index("3.0"), class_index("3.5"), class_index("-1"), class_index("9" * 39)
        (3, 3, None, None, None)
    """
    whole, _, fraction = text.partition(".")
    sound = whole.isascii() and whole.isdigit() and len(whole) < 10 and not fraction.strip("0")
    return int(whole) if sound else None


def _number(text: str) -> float | None:
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}... ({len(text)} characters)"
