"""What the file that describes a YOLO data set states: its folder, its splits and the file of names.

It is a data.yaml by Ultralytics' rules, or Darknet's obj.data, lines of `key = value`. Values are taken as they are
written; `yolo_splits` says what becomes of the paths.
"""

from collections.abc import Mapping
from typing import NamedTuple

import yaml

from jaxssd.data.formats.split_names import split_name
from jaxssd.data.formats.yolo.labels import class_index, compose_yaml, decode_text


class Stated(NamedTuple):
    """Paths as they are written.

    Attributes:
        folder: the value of `path`, or None.
        splits: for each split the key, and one path or several.
        names: the file of names that obj.data states, or None.
        has_names: whether a data.yaml has `names`.
        keypoints: how many numbers follow each box, as `kpt_shape` of a data.yaml says.
    """

    folder: str | None = None
    splits: Mapping[str, tuple[str, tuple[str, ...]]] = {}
    names: str | None = None
    has_names: bool = False
    keypoints: int = 0


def parse_data_yaml(content: bytes) -> Stated:
    """The splits that a data.yaml states: `path`, and `train`, `val` and `test`, each a path or a list of paths.

    Args:
        content: of the file.

    Returns:
        What is stated; nothing for a key without a value.

    Raises:
        ValueError: with what is wrong, if the content is too large, not YAML, has aliases, or if a split is neither a
            path nor a list of paths.

    Example:
        >>> stated = parse_data_yaml(b"path: .\\nnames: [car]\\ntrain: [a, b]\\nvalid: images/val\\ntest:")
        >>> stated.folder, dict(stated.splits)
        ('.', {'train': ('train', ('a', 'b')), 'val': ('valid', ('images/val',))})
    """
    root = compose_yaml(decode_text(content))
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("is not a mapping with the key names")
    values = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    splits: dict[str, tuple[str, tuple[str, ...]]] = {}
    for key, value in values.items():
        split = split_name(key) if key.isalpha() else None
        paths = _paths(key, value) if split else ()
        if split and paths and (split not in splits or key == split):  # `val` counts before `valid`
            splits[split] = (key, paths)
    folder = values.get("path")
    folder_text = folder.value.strip() if isinstance(folder, yaml.ScalarNode) else ""
    return Stated(_value(folder_text), splits, has_names="names" in values, keypoints=_keypoints(values))


def _keypoints(values: Mapping[str, yaml.Node]) -> int:
    """The product of `kpt_shape`, the number of keypoints and of numbers for each."""
    if "kpt_shape" not in values:
        return 0
    shape = _paths("kpt_shape", values["kpt_shape"])
    points, numbers = map(class_index, shape) if len(shape) == 2 else (None, None)
    if points is None or numbers not in (2, 3):
        raise ValueError(f"has kpt_shape: [{', '.join(shape)}], expected the number of keypoints, and 2 or 3")
    return points * numbers


def parse_obj_data(content: bytes) -> Stated:
    """What Darknet's obj.data states.

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


def _paths(key: str, node: yaml.Node) -> tuple[str, ...]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in nodes):
        raise ValueError(f"has {key}: that is neither a path nor a list of paths")
    return tuple(text for item in nodes if (text := _value(item.value.strip())))


def _value(text: str) -> str | None:
    return None if text in ("", "~", "null", "None") else text
