"""What a planted bug is, which tests are asked about it, and all of the bugs."""

import importlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROOMS = ("ops", "metrics", "models", "tasks", "data", "training", "runs", "inference", "viz", "commands")

MIRRORS = {
    "train.py": "tests/test_options.py",
    "evaluate.py": "tests/test_options.py",
    "jaxssd/presets.py": "tests/test_presets.py",
    "jaxssd/inference/inputs.py": "tests/inference/test_detector.py",
    "jaxssd/inference/stream.py": "tests/inference/test_detector.py",
    "jaxssd/data/mosaic.py": "tests/data/test_augmentation.py",
    "jaxssd/data/boxes.py": "tests/data/test_build.py",
    "jaxssd/data/orientation.py": "tests/data/test_build.py",
    "jaxssd/tools/explain.py": "tests/tools/test_explain.py",
}
"""Test files that lie elsewhere than the file they test would have it."""


class Mutant(NamedTuple):
    """A small bug.

    Attributes:
        file: from the repository's root.
        old: text that occurs there exactly once.
        new: what stands there instead.
        why: the lie, in a line.
        tests: files or test ids, separated by spaces; default, the test file that mirrors `file`.
        equivalent: why no test can notice; empty where one must.
    """

    file: str
    old: str
    new: str
    why: str
    tests: str = ""
    equivalent: str = ""

    @property
    def asked(self) -> tuple[str, ...]:
        """The tests that are run."""
        return tuple((self.tests or mirror(self.file)).split())

    def plant(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            ValueError: if the old text does not occur exactly once: the list is stale.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"stale: {self.file} has {count} times {self.old!r} ({self.why}), expected once")
        return text.replace(self.old, self.new)

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


def mirror(file: str) -> str:
    """The test file of a file: `jaxssd/ops/nms.py` has `tests/ops/test_nms.py`."""
    path = Path(file)
    return MIRRORS.get(file) or str(Path("tests", *path.parent.parts[1:], f"test_{path.name}"))


def all_planted() -> list[Mutant]:
    """Those of every room, `tests/mutants/ROOM.py`."""
    rooms = [importlib.import_module(f"tests.mutants.{room}") for room in ROOMS]
    return [mutant for room in rooms for mutant in room.PLANTED]
