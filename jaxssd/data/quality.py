"""Quality of a data set: lines for the log on suspicious shares of its boxes and images.

Training works on such data, but with worse results: boxes that are too small, objects that are not trained on, files
that were left out.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxssd.data.class_filter import OTHER_CLASS, listing
from jaxssd.data.dataset import Dataset
from jaxssd.data.report import Problem

SMALLEST = 2.0
"""Side of a small box in pixels of the network's input."""

FAULTY, MEANT = 0.05, 0.1
"""Shares from which there is a line, for faults of the data and for what may be intended."""

_REPEATED, _OVER_MAX, _CROPPED, _EMPTY = "repeated", "over max_objects", "outside the crop", "without objects"
_UNLABELLED = "without label file"
"""Kinds of problems that have a line of their own."""


class _Finding(NamedTuple):
    """Count that has a line if its share is large.

    Attributes:
        noun: name of the counted things.
        number: number of suspicious ones.
        total: number of all.
        advice: meaning or remedy.
        limit: share from which there is a line.
        kinds: number of each kind.
    """

    noun: str
    number: int
    total: int
    advice: str
    limit: float = FAULTY
    kinds: Counter[str] | None = None

    def line(self, split: str) -> str:
        share = f"{self.number:,} of {self.total:,} ({100 * self.number / self.total:.0f} %)"
        kinds = f", {_counts(self.kinds)}" if self.kinds else ""
        return f"{split}: {self.noun}: {share}{kinds}; {self.advice}"


def notes_on_quality(split: str, dataset: Dataset) -> list[str]:
    """Lines for the log on small, difficult, repeated, clipped and dropped boxes, and on skipped and empty images.

    Args:
        split: name of the split.
        dataset: the split.

    Returns:
        A line for each suspicious share: noun, count, share and remedy.
    """
    examples, problems = dataset.examples, dataset.report.problems
    valid = np.asarray(examples.valid)
    objects, images = int(valid.sum()), len(dataset.ids)
    height, width = examples.images.shape[1:3]
    boxes = np.asarray(examples.boxes)[valid].astype(np.float64)
    shortest = ((boxes[:, 2:] - boxes[:, :2]) * (height, width)).min(axis=1, initial=np.inf)
    small = int((shortest.round(3) < SMALLEST).sum())  # boxes are float32
    difficult = int(np.asarray(examples.difficult)[valid].sum())
    of_others = any(problem.kind == OTHER_CLASS for problem in problems)  # `class_filter` reports those
    empty = 0 if of_others else int((~valid.any(axis=1)).sum())

    skipped = _kinds(problems, lambda problem: problem.action == "skipped")
    clipped = _kinds(problems, lambda problem: problem.action == "clipped")
    dropped = _kinds(problems, lambda problem: problem.action == "dropped" and problem.kind != OTHER_CLASS)
    written = objects + dropped.total()
    repeated, over, cropped = (dropped.pop(kind, 0) for kind in (_REPEATED, _OVER_MAX, _CROPPED))
    findings = [
        _Finding(
            f"boxes with a side below {SMALLEST:g} pixels at the network's input of {height} x {width}",
            small,
            objects,
            "correct their coordinates if they are too small in the files, else raise --image-size",
        ),
        _Finding(
            "objects that are difficult, crowds or cut by the crop",
            difficult,
            objects,
            "they are neither trained on nor scored; unset difficult, iscrowd or ignore of those to learn",
            MEANT,
        ),
        _Finding(
            "boxes beyond the picture", clipped.total(), objects, "clipped; compare them with the pictures' sizes"
        ),
        _Finding("boxes dropped", dropped.total(), written, "correct them in the annotations", kinds=dropped),
        _Finding("boxes repeated", repeated, written, "dropped; remove rows that are there twice"),
        _Finding("boxes above --max-objects", over, written, "dropped; raise it to keep them"),
        _Finding("boxes outside the crop", cropped, written, "dropped; --aspect squash or letterbox keeps them", MEANT),
        _Finding(
            "images without objects",
            empty,
            images,
            "they count as background; check for missing labels if this is not intended",
            MEANT,
        ),
        _Finding(
            "images skipped", skipped.total(), images + skipped.total(), "restore or re-encode them", kinds=skipped
        ),
    ]
    return [
        finding.line(split)
        for finding in findings
        if finding.total and finding.number >= max(1, finding.limit * finding.total)
    ]


def why_untrainable(dataset: Dataset) -> str | None:
    """Explain that no object of a data set can be trained on.

    Args:
        dataset: the split to train on.

    Returns:
        The cause and the remedy; None if there is an object to train on.
    """
    examples, problems = dataset.examples, dataset.report.problems
    valid = np.asarray(examples.valid)
    if (valid & ~np.asarray(examples.difficult)).any():
        return None
    if objects := int(valid.sum()):
        return (
            f"all {objects:,} objects are difficult, crowds or cut by the crop, which are not trained on; unset "
            "difficult, iscrowd or ignore of those to learn"
        )
    dropped = _kinds(problems, lambda problem: problem.action == "dropped" and problem.kind != OTHER_CLASS)
    others = {problem.detail: problem.count for problem in problems if problem.kind == OTHER_CLASS}
    found = []
    if dropped:
        first = next(problem for problem in problems if problem.action == "dropped" and problem.kind != OTHER_CLASS)
        found.append(
            f"all {dropped.total():,} boxes of its classes were dropped ({_counts(dropped)}), the first in "
            f"{first.file}: {first.detail}"
        )
    if others:
        names = listing([f"{name} ({count:,})" for name, count in sorted(others.items(), key=lambda item: -item[1])])
        asked = listing(dataset.class_names)
        found.append(
            f"its objects are of other classes: {names}; the classes asked for are {asked}: name others with --classes"
        )
    return "; ".join(found) or _where_looked(dataset)


def _where_looked(dataset: Dataset) -> str:
    """Paths that were searched for annotations, for images without an object."""
    images, problems = len(dataset.ids), dataset.report.problems
    unlabelled = [problem for problem in problems if problem.kind == _UNLABELLED]
    if len(unlabelled) == images:
        return f"none of the {images:,} images has a label file, the first {unlabelled[0].file}: {unlabelled[0].detail}"
    places = list(dict.fromkeys(problem.file for problem in problems if problem.kind == _EMPTY))
    where = f"; looked in {listing(places, 2)}" if places else ""
    return f"none of the {images:,} images has an object annotated{where}"


def _kinds(problems: tuple[Problem, ...], are_meant: Callable[[Problem], bool]) -> Counter[str]:
    """Number of problems of each kind."""
    kinds: Counter[str] = Counter()
    for problem in problems:
        if are_meant(problem):
            kinds[problem.kind] += problem.count
    return kinds


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
