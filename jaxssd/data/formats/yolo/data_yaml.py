"""Content of the files that describe a YOLO data set: data.yaml, Darknet's obj.data, and lists of class names.

Values are returned as they are written. `yolo.splits` finds what the paths mean.
"""

from collections.abc import Mapping
from typing import NamedTuple

import yaml

from jaxssd.data.formats.class_names import check_class_names
from jaxssd.data.formats.files import split_lines
from jaxssd.data.formats.split_names import split_name

MAX_BYTES = 1_000_000
"""Largest file; a thousand class names need 20 kB."""

MAX_CLASSES = 10_000
"""Largest number of classes without names."""

MAX_NESTING = 20
"""Largest depth of lists and mappings; a data.yaml has two."""


class Stated(NamedTuple):
    """Content of a data.yaml or an obj.data.

    Attributes:
        folder: value of `path`, or None.
        splits: for each split its key, and its path or paths.
        names: file of class names that an obj.data states, or None.
        has_names: True if a data.yaml has `names`.
        keypoints: number of values after each box, from `kpt_shape` of a data.yaml.
    """

    folder: str | None = None
    splits: Mapping[str, tuple[str, tuple[str, ...]]] = {}
    names: str | None = None
    has_names: bool = False
    keypoints: int = 0


def parse_data_yaml(content: bytes) -> Stated:
    """Parse the splits of a data.yaml: `path`, and `train`, `val` and `test`, each a path or a list of paths.

    Args:
        content: content of the file.

    Returns:
        The stated values. Keys without a value are left out.

    Raises:
        ValueError: if the content is too large, not YAML, has aliases, or if a split is neither a path nor a list of
            paths.

    Example:
        >>> stated = parse_data_yaml(b"path: .\\nnames: [car]\\ntrain: [a, b]\\nvalid: images/val\\ntest:")
        >>> stated.folder, dict(stated.splits)
        ('.', {'train': ('train', ('a', 'b')), 'val': ('valid', ('images/val',))})
    """
    values = {key.value: value for key, value in _mapping(content).value if isinstance(key, yaml.ScalarNode)}
    splits: dict[str, tuple[str, tuple[str, ...]]] = {}
    for key, value in values.items():
        split = split_name(key) if key.isalpha() else None
        paths = _paths(key, value) if split else ()
        if split and paths and (split not in splits or key == split):  # `val` wins over `valid`
            splits[split] = (key, paths)
    folder = values.get("path")
    folder_text = folder.value.strip() if isinstance(folder, yaml.ScalarNode) else ""
    return Stated(_value(folder_text), splits, has_names="names" in values, keypoints=_keypoints(values))


def parse_obj_data(content: bytes) -> Stated:
    """Parse Darknet's obj.data, lines of `key = value`.

    Example:
        >>> parse_obj_data(b"classes = 2\\ntrain = data/train.txt\\nnames = data/obj.names\\n").names
        'data/obj.names'
    """
    pairs = [
        line.partition("=") for line in decode_text(content).splitlines() if "=" in line and line.strip()[0] != "#"
    ]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    splits = {split: (key, (value,)) for key, value in values.items() if value and (split := split_name(key))}
    return Stated(splits=splits, names=values.get("names"))


def parse_names(content: bytes) -> tuple[str, ...]:
    """Parse a text file of class names, one per line.

    Args:
        content: content of classes.txt or obj.names.

    Returns:
        Class names in the order of the labels.

    Raises:
        ValueError: if it is too large, not UTF-8, has no name or one twice, or has an empty line before the last name,
            as it is unclear whether that counts.
    """
    text = decode_text(content).rstrip()
    names = tuple(line.strip() for line in split_lines(text)) if text else ()
    check_class_names(names)
    return names


def parse_names_yaml(content: bytes) -> tuple[str, ...]:
    """Parse `names` of a data.yaml, a list or a mapping from indices.

    Without `names`, they are class_0, class_1 and so on up to `nc`, as Ultralytics calls them. Names are read as they
    are written: `no` is a name and not a truth value. Aliases are refused, since a few lines of them unfold into
    gigabytes, and no objects are constructed.

    Args:
        content: content of the file.

    Returns:
        Class names in the order of the labels.

    Raises:
        ValueError: if the content is too large, not YAML, has aliases or neither `names` nor `nc`, if names are missing
            or repeated, or if `nc` is not their number.

    Example:
        >>> parse_names_yaml(b"train: ../images\\nnames: {0: car, 1: no}")
        ('car', 'no')
    """
    root = _mapping(content)
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


def class_index(text: str) -> int | None:
    """Read an index of at most nine digits, `3` or `3.0`; None for `1_0`, digits of other scripts and anything else.

    Example:
        >>> class_index("3"), class_index("3.0"), class_index("3.5"), class_index("-1"), class_index("9" * 39)
        (3, 3, None, None, None)
    """
    whole, _, fraction = text.partition(".")
    sound = whole.isascii() and whole.isdigit() and len(whole) < 10 and not fraction.strip("0")
    return int(whole) if sound else None


def decode_text(content: bytes) -> str:
    """Decode a file that describes a data set.

    Raises:
        ValueError: if it is too large or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"has {len(content):,} bytes, expected at most {MAX_BYTES:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error}") from error


def shorten(text: str, limit: int = 80) -> str:
    """Text for a message, cut at a limit."""
    return text if len(text) <= limit else f"{text[: limit - 3]}... ({len(text)} characters)"


def _mapping(content: bytes) -> yaml.MappingNode:
    """Tree of a document that is a mapping, of bounded depth and without aliases."""
    text, depth = decode_text(content), 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"has the alias *{shorten(event.anchor)}: write the value itself")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:
                raise ValueError("is nested too deeply")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, OverflowError) as error:  # the second: an escape for a character that does not exist
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("is not a mapping with the key names")
    return root


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
        raise ValueError("has names that are not plain text")
    return tuple(name.value.strip() for name in names)


def _keypoints(values: Mapping[str, yaml.Node]) -> int:
    """Product of `kpt_shape`: the number of keypoints times the values of each."""
    if "kpt_shape" not in values:
        return 0
    shape = _paths("kpt_shape", values["kpt_shape"])
    points, numbers = map(class_index, shape) if len(shape) == 2 else (None, None)
    if points is None or numbers not in (2, 3):
        raise ValueError(f"has kpt_shape: [{', '.join(shape)}], expected the number of keypoints, and 2 or 3")
    return points * numbers


def _paths(key: str, node: yaml.Node) -> tuple[str, ...]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in nodes):
        raise ValueError(f"has {key}: that is neither a path nor a list of paths")
    return tuple(text for item in nodes if (text := _value(item.value.strip())))


def _value(text: str) -> str | None:
    return None if text in ("", "~", "null", "None") else text
