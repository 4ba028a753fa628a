"""What every format's names of classes must be."""

import re
from collections.abc import Sequence

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_class_names(names: Sequence[str]) -> None:
    """Check that names can be told apart and printed.

    Args:
        names: in the order of the classes.

    Raises:
        ValueError: with what is wrong, if there is none, or if one is empty, doubled or has control characters.

    Example:
        >>> check_class_names(["car", "car"])
        Traceback (most recent call last):
        ValueError: has the class name 'car' twice
    """
    if not names:
        raise ValueError("has no names of classes")
    seen: set[str] = set()
    for position, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"has no name for class {position}")
        if _CONTROL.search(name):
            raise ValueError(f"has a class name that cannot be printed: {name[:80]!r}")
        if name in seen:
            raise ValueError(f"has the class name {name[:80]!r} twice")
        seen.add(name)
