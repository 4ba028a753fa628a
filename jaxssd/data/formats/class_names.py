"""Check of class names, for every format."""

import re
from collections.abc import Sequence

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_class_names(names: Sequence[str]) -> None:
    """Check that class names are there, distinct and printable.

    Args:
        names: class names in the order of the labels.

    Raises:
        ValueError: if there are none, or one is empty, repeated or has control characters. The message lacks a
            subject: the caller puts the file's name before it.

    Example:
        >>> check_class_names(["car", "car"])
        Traceback (most recent call last):
        ValueError: has the class name 'car' twice
    """
    if not names:
        raise ValueError("has no class names")
    seen: set[str] = set()
    for label, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"has no name for class {label}")
        if _CONTROL.search(name):
            raise ValueError(f"has a class name that cannot be printed: {name[:80]!r}")
        if name in seen:
            raise ValueError(f"has the class name {name[:80]!r} twice")
        seen.add(name)
