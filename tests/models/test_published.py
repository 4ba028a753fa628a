"""Table of published weights, and COCO's class names."""

import re

import pytest

from jaxssd.models.coco_classes import COCO_CLASSES, SYNONYMS, common_name, is_gap
from jaxssd.models.published import PUBLISHED

VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
)


def test_coco_has_80_classes_and_ten_gaps():
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 90
    gaps = [number for number, name in enumerate(COCO_CLASSES, start=1) if is_gap(name)]
    assert gaps == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    assert all(COCO_CLASSES[number - 1] == f"N/A {number}" for number in gaps)
    by_id = dict(enumerate(COCO_CLASSES, start=1))
    assert [by_id[number] for number in (1, 10, 28, 44, 62, 67, 90)] == [
        "person", "traffic light", "umbrella", "bottle", "chair", "dining table", "toothbrush",
    ]  # fmt: skip


def test_every_class_of_voc_has_a_class_of_coco():
    assert {common_name(name) for name in VOC.split()} <= set(COCO_CLASSES)
    assert set(SYNONYMS) == set(VOC.split()) - set(COCO_CLASSES)


def test_common_names_keep_the_classes_apart():
    assert [common_name(name) for name in COCO_CLASSES if not is_gap(name)] == [
        name for name in COCO_CLASSES if not is_gap(name)
    ]


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=list(PUBLISHED))
def test_rows_hold_together(published):
    assert PUBLISHED[published.name] is published
    assert re.fullmatch(r"https://download\.pytorch\.org/models/[a-z0-9_]+-([a-z]+-)?[0-9a-f]{8}\.pth", published.url)
    assert re.fullmatch("[0-9a-f]{8}", published.sha256)
    assert published.file.endswith(f"-{published.sha256}.pth")
    assert bool(published.preset) == bool(published.classes) == published.name.endswith("_coco")
