"""Registry of named parts, such as backbones, heads and tasks, each imported when it is first used."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Registry of parts by name. Listing the names imports no part, so a command line can show them quickly.

    Args:
        kind: noun for one part, for error messages.
        places: name -> `"module:attribute"` of each part.

    Example:
        >>> registry = Registry("number", {"pi": "math:pi"})
        >>> registry["e"] = 2.718
        >>> list(registry), registry["pi"]
        (['pi', 'e'], 3.141592653589793)
        >>> registry["tau"]
        Traceback (most recent call last):
        ...
        ValueError: unknown number 'tau'; choose one of pi, e
    """

    def __init__(self, kind: str, places: dict[str, str]) -> None:  # noqa: D107
        self._kind = kind
        self._places = dict(places)
        self._parts: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        """Import the part and return it; raises ValueError for an unknown name."""
        if name not in self:
            raise ValueError(f"unknown {self._kind} {name!r}; choose one of {', '.join(self)}")
        if name not in self._parts:
            module, attribute = self._places[name].split(":")
            found: Any = getattr(import_module(module), attribute)
            self._parts[name] = found
        return self._parts[name]

    def __setitem__(self, name: str, part: Part) -> None:
        """Register a part of your own, in a notebook for example."""
        self._parts[name] = part

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._places, *self._parts]))

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._parts

    def __len__(self) -> int:
        return len(list(iter(self)))
