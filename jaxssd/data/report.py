"""Loading report of a data set: its size, and every problem found."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jaxssd.atomic import write_text

Action = Literal["skipped", "clipped", "dropped", "ignored", "noted"]

_NOUNS: dict[Action, str] = {
    "skipped": "image",
    "clipped": "box",
    "dropped": "box",
    "ignored": "entry",
    "noted": "image",
}
_PLURALS = {"image": "images", "object": "objects", "box": "boxes", "entry": "entries"}


@dataclass(frozen=True)
class Problem:
    """One problem, and the action that was taken.

    Attributes:
        file: path from the data set's folder.
        action: `skipped` an image, `clipped` or `dropped` a box, `ignored` another entry, or only `noted` something
            about an image.
        kind: a few words by which problems are counted, such as `broken`.
        detail: text that helps to find and mend the cause.
        count: number of images or boxes in this entry.
    """

    file: str
    action: Action
    kind: str
    detail: str
    count: int = 1


@dataclass(frozen=True)
class LoadReport:
    """Counts and problems of one loading. A cached data set has the report of the first.

    Attributes:
        images: number of images.
        objects: number of objects.
        problems: problems in the order in which they were found.
    """

    images: int
    objects: int
    problems: tuple[Problem, ...] = ()

    def summary(self) -> str:
        """One line for the log.

        Example:
            >>> broken = Problem("JPEGImages/7.jpg", "skipped", "broken", "image file is truncated")
            >>> LoadReport(images=2400, objects=3412, problems=(broken,)).summary()
            '2,400 images, 3,412 objects; skipped 1 image (broken)'
        """
        total = f"{_quantity(self.images, 'image')}, {_quantity(self.objects, 'object')}"
        parts = [self._summarise(action) for action in _NOUNS if any(p.action == action for p in self.problems)]
        return "; ".join([total, ", ".join(parts)]) if parts else total

    def as_dict(self) -> dict[str, Any]:
        """Summary, counts and every problem, ready for JSON."""
        return {"summary": self.summary(), **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(path, text, errors="backslashreplace")  # file names may hold bytes of no encoding

    def _summarise(self, action: Action) -> str:
        kinds: Counter[str] = Counter()
        for problem in self.problems:
            if problem.action == action:
                kinds[problem.kind] += problem.count
        names = list(kinds) if len(kinds) == 1 else [f"{count:,} {kind}" for kind, count in kinds.most_common()]
        return f"{action} {_quantity(kinds.total(), _NOUNS[action])} ({', '.join(names)})"


def _quantity(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else _PLURALS[noun]}"
