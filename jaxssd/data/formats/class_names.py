"""What every format's names of classes must be."""

import difflib
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


def unknown_class(where: str, name: str, class_names: Sequence[str]) -> ValueError:
    """The error of an object whose class is not among those of the run.

    Example:
        >>> print(unknown_class("7.xml", "Platelets", ["RBC", "Platelet"]))
        7.xml: unknown class 'Platelets'; known are RBC, Platelet: name every class of the annotations with --classes \
when the run is started, or leave it out. Is 'Platelet' meant to be 'Platelets'?
    """
    near = difflib.get_close_matches(name, class_names, n=1, cutoff=0.8)
    question = f" Is {near[0]!r} meant to be {name!r}?" if near else ""
    return ValueError(
        f"{where}: unknown class {name!r}; known are {', '.join(class_names)}: name every class of the annotations "
        f"with --classes when the run is started, or leave it out.{question}"
    )
