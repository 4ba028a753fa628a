"""Choice of classes: objects of other classes are left out, counted and reported.

They count as background in training and scoring, like a person for a detector of cars.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxssd.data.dataset import Dataset
from jaxssd.data.report import LoadReport, Problem

OTHER_CLASS = "other class"
"""Kind of problem of objects that are left out."""

_NAMED = 8  # names in a line of the log or an error


def other_class(file: str, name: str) -> Problem:
    """Problem of an object whose class is not among those of the run; the detail is its class."""
    return Problem(file, "dropped", OTHER_CLASS, name)


def merge_other_classes(problems: Iterable[Problem]) -> list[Problem]:
    """Merge the problems of objects that are left out to one for each class, at the end.

    Example:
        >>> merge_other_classes([other_class("a.xml", "bus"), other_class("b.xml", "bus")])[0].count
        2
    """
    kept: list[Problem] = []
    first: dict[str, Problem] = {}
    count: dict[str, int] = {}
    for problem in problems:
        if problem.kind == OTHER_CLASS:
            first.setdefault(problem.detail, problem)
            count[problem.detail] = count.get(problem.detail, 0) + problem.count
        else:
            kept.append(problem)
    return kept + [replace(problem, count=count[detail]) for detail, problem in first.items()]


def require_classes(chosen: Sequence[str], known: Sequence[str], path: Path) -> None:
    """Check that a data set has every class of a run.

    Args:
        chosen: classes of the run.
        known: classes of the data set.
        path: path of the data set, for the message.

    Raises:
        ValueError: if a class is missing. The message has similar ones and the option.

    Example:
        >>> require_classes(["crab"], ["car", "cab", "bus"], Path("toys"))
        Traceback (most recent call last):
        ValueError: --classes: toys has no class 'crab' (near: 'cab'); it has 3: car, cab, bus
    """
    unknown = [name for name in chosen if name not in set(known)]
    if unknown:
        missing = listing([_with_near(name, known) for name in unknown])
        raise ValueError(f"--classes: {path} has no class {missing}; it has {len(known):,}: {listing(known, 30)}")


def notes_on_classes(split: str, dataset: Dataset, *, trained_on: bool = False) -> list[str]:
    """Lines for the log on objects that are left out, and on classes without an object.

    Args:
        split: name of the split.
        dataset: the split.
        trained_on: True for a split to train on, False for one to score.

    Returns:
        The lines; none if the split has objects of exactly the run's classes.
    """
    lines = []
    if others := _others(dataset.report):
        lines.append(f"{split}: objects of other classes are left out and count as background: {listing(others)}")
    if absent := absent_classes(dataset):
        effect = "cannot be learned" if trained_on else "not scored and not in the mean"
        lines.append(f"{split}: classes without an object that counts, {effect}: {listing(absent)}")
    return lines


def absent_classes(dataset: Dataset) -> list[str]:
    """Classes without an object, difficult ones not counted."""
    examples = dataset.examples
    labels = np.asarray(examples.labels)[np.asarray(examples.valid) & ~np.asarray(examples.difficult)]
    count = np.bincount(labels, minlength=len(dataset.class_names))
    return [name for name, number in zip(dataset.class_names, count.tolist(), strict=True) if not number]


def listing(names: Sequence[str], limit: int = _NAMED) -> str:
    """Join the first names, and count the rest.

    Example:
        >>> listing(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def _others(report: LoadReport) -> list[str]:
    """Classes that are left out with their number of objects, most frequent first."""
    others = sorted((-problem.count, problem.detail) for problem in report.problems if problem.kind == OTHER_CLASS)
    return [f"{name} ({-count:,})" for count, name in others]


def _with_near(name: str, known: Sequence[str]) -> str:
    by_lower = {other.lower(): other for other in known}
    near = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    return f"{name!r} (near: {', '.join(map(repr, near))})" if near else repr(name)
