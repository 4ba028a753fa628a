"""Objects of other classes as a report has them, and classes without an object."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxssd.data.class_filter import (
    absent_classes,
    listing,
    merge_other_classes,
    notes_on_classes,
    other_class,
    require_classes,
)
from jaxssd.data.report import LoadReport, Problem
from jaxssd.data.shapes import make_shapes


def test_one_entry_for_each_other_class_at_the_end():
    broken = Problem("b.jpg", "skipped", "broken", "cut short")
    found = [other_class("a.xml", "bus"), broken, other_class("c.xml", "van"), other_class("d.xml", "bus")]
    merged = merge_other_classes(found)
    assert merged == [broken, replace(found[0], count=2), found[2]]
    assert merge_other_classes([*merged, *merged])[2:] == [replace(found[0], count=4), replace(found[2], count=2)]
    report = LoadReport(1, 0, tuple(merged))
    assert report.summary() == "1 image, 0 objects; skipped 1 image (broken), dropped 3 boxes (other class)"


def test_difficult_objects_alone_do_not_make_a_class_scored():
    dataset = make_shapes(4, image_size=32)
    assert absent_classes(dataset) == [name for n, name in enumerate(dataset.class_names) if n not in labels(dataset)]
    difficult = dataset.examples._replace(difficult=dataset.examples.valid)
    assert absent_classes(replace(dataset, examples=difficult)) == list(dataset.class_names)


def labels(dataset):
    return set(dataset.examples.labels[np.asarray(dataset.examples.valid)].tolist())


def test_the_most_frequent_come_first_and_few_are_named():
    problems = [replace(other_class("x", f"class {n}"), count=n) for n in range(1, 12)]
    dataset = replace(make_shapes(64, image_size=32), report=LoadReport(1, 1, tuple(problems)))
    line = notes_on_classes("val", dataset)[0]
    assert "background: class 11 (11), class 10 (10), " in line
    assert line.endswith("class 4 (4) and 3 more")
    assert listing([]) == ""


def test_names_that_differ_in_case_are_near():
    with pytest.raises(ValueError, match=r"no class 'CAR' \(near: 'car'\), 'x'; it has 2: car, bus"):
        require_classes(["bus", "CAR", "x"], ["car", "bus"], Path("toys"))
    require_classes(["bus"], ["car", "bus"], Path("toys"))
