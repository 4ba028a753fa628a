"""Numbers, ids, flags and outlines as tools write them."""

import json
import math
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.data.formats.coco.instances import Flaw, parse_annotation, parse_instances
from jaxssd.data.formats.coco.values import as_id, as_number, as_size, is_true, outline_hull

UUID_NUMBER = UUID("a3bb189e-8bf9-4c2a-9b0c-3f1c5d6e7f80").int  # 39 digits


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[(7, 7), (7.0, 7), ("7", 7), (" 7 ", 7), ("7.0", 7), ("7.", 7), ("+7", 7), ("007", 7), (-4, -4), ("-4", -4)],
        *[(0, 0), (0.0, 0), (-0.0, 0), ("0", 0), ("a3", "a3"), (" a 3 ", "a 3"), ("7.5", "7.5"), ("1e3", "1e3")],
        *[(2**63 - 1, 2**63 - 1), (2**63, str(2**63)), (-(2**63) - 1, str(-(2**63) - 1)), (1e20, str(10**20))],
        *[(UUID_NUMBER, str(UUID_NUMBER)), (str(UUID_NUMBER), str(UUID_NUMBER)), ("9" * 41, "9" * 41)],
        *[(None, None), (True, None), (False, None), (7.5, None), ("", None), (" ", None), ([7], None), ({}, None)],
        *[(math.nan, None), (math.inf, None)],
    ],
)
def test_ids(value, expected):
    found = as_id(value)
    assert (found, type(found)) == (expected, type(expected))


def test_an_id_of_any_length():
    assert as_id(10**5000) == hex(10**5000)  # Python does not write it in decimal


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), (3.5, 3.5), ("3", 3.0), (" 12.0 ", 12.0), ("1e2", 100.0), (10**400, math.inf), ("inf", math.inf)]
    + [(value, None) for value in (None, True, "", "12 px", "12,5", [3], {"a": 3}, "0x10")],
)
def test_numbers(value, expected):
    assert as_number(value) == expected


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(50, 40, (40, 50)), ("50", "40.0", (40, 50)), (50.4, 39.6, (40, 50))]
    + [(width, 40, None) for width in (0, -50, None, "wide", math.nan, math.inf, 10**400, True)]
    + [(50, 0, None)],
)
def test_stated_sizes(width, height, expected):
    assert as_size({"width": width, "height": height}) == expected
    assert as_size({}) is None


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "True", " TRUE "])
def test_flags_that_are_set(value):
    assert is_true(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "false", "", None, 2, [1], {}, "yes"])
def test_flags_that_are_not(value):
    assert not is_true(value)


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        ([[10, 20, 40, 20, 40, 60]], (10, 20, 30, 40)),
        ([[10, 20, 15, 25], [30, 5, 31, 6]], (10, 5, 21, 20)),
        ([10, 20, 40, 20, 40, 60], (10, 20, 30, 40)),
        ([["10", "20", 40, 60.5]], (10, 20, 30, 40.5)),
        ([[10, 20, 40], [1, 2, 3, 4]], (1, 2, 2, 2)),
        ({"size": [3, 4], "counts": [4, 2, 1, 1, 4]}, (1, 1, 2, 2)),
        ({"size": [3, 4], "counts": [0, 12]}, (0, 0, 4, 3)),
        ({"size": [3, 4], "counts": [2, 2, 8]}, (0, 0, 2, 3)),
        ({"size": [3, 4], "counts": [0, 1, 11]}, (0, 0, 1, 1)),
    ],
)
def test_hulls(outline, expected):
    assert outline_hull(outline) == expected


@pytest.mark.parametrize(
    "outline",
    [None, [], [[]], "abc", 5, [[1, 2, None, 4]], [[1, 2, 3]], {}, {"size": [3, 4]}, {"size": [0, 0], "counts": [1]}]
    + [{"size": [3, 4], "counts": value} for value in ([12], [], None, [1, -1], "\x00", "é", "1\xff", {}, [None])]
    + [{"size": value, "counts": [4, 2, 6]} for value in (None, [3], ["a", 4], [float("nan"), 4])],
)
def test_what_is_no_outline(outline):
    assert outline_hull(outline) is None


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0, 0.01, 0.1, 0.5, 0.9, 1]))
def test_masks_are_those_of_pycocotools(height, width, seed, share):
    mask = pytest.importorskip("pycocotools.mask")
    pixels = (np.random.default_rng(seed).random(height * width) < share).astype(np.uint8)
    packed = mask.encode(np.asfortranarray(pixels.reshape(height, width)))
    expected = mask.toBbox(packed).tolist()
    found = outline_hull({"size": packed["size"], "counts": packed["counts"].decode()})
    assert found == (tuple(expected) if pixels.any() else None)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists))
def test_any_outline_gives_a_box_or_none(value):
    for outline in (value, {"size": [7, 5], "counts": value}, {"size": value, "counts": [1, 2]}):
        found = outline_hull(outline)
        assert found is None or len(found) == 4


def instances(annotations, images=({"id": 1, "file_name": "a.png", "width": 50, "height": 40},), categories=None):
    categories = categories or [{"id": 2, "name": "car"}]
    content = {"images": list(images), "annotations": list(annotations), "categories": categories}
    return parse_instances(json.dumps(content).encode(), "x.json")


@pytest.mark.parametrize("image", [1, 1.0, "1", "1.0", " 1"])
@pytest.mark.parametrize("category", [2, 2.0, "2"])
def test_ids_that_are_written_otherwise_are_the_same(image, category):
    parsed = instances([{"image_id": image, "category_id": category, "bbox": [1, 2, 3, 4]}])
    assert parsed.boxes(1)[0][0].box == (2, 1, 6, 4)
    written = [{"id": image, "file_name": "a.png"}], [{"id": category, "name": "car"}]
    parsed = instances([{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}], *written)
    assert (parsed.boxes(1)[0][0].box, parsed.categories) == ((2, 1, 6, 4), {2: "car"})


@pytest.mark.parametrize("number", ["img-001", str(UUID(int=UUID_NUMBER)), UUID_NUMBER, 2**63, 10**30])
def test_ids_that_are_no_numbers_of_64_bits(number):
    annotation = {"image_id": number, "category_id": number, "bbox": [1, 2, 3, 4]}
    parsed = instances([annotation], [{"id": number, "file_name": "a.png"}], [{"id": number, "name": "car"}])
    assert len(parsed.boxes(as_id(number))[0]) == 1


def test_numbers_as_text():
    parsed = instances([{"image_id": 1, "category_id": 2, "bbox": ["1", " 2.0", 3, "4e0"], "iscrowd": "1"}])
    assert parsed.boxes(1)[0] == [((2, 1, 6, 4), 2, True, False)]


@pytest.mark.parametrize("bbox", [None, [], [1, 2], ["", "", "", ""], {}, "1 2 3 4", [0, 0, 0, 0], [0.0, "0", 0, 0]])
def test_an_outline_stands_in_for_a_bbox(bbox):
    annotation = {"image_id": 1, "category_id": 2, "bbox": bbox, "segmentation": [[10, 5, 20, 5, 20, 35]]}
    if bbox is None:
        del annotation["bbox"]
    assert instances([annotation]).boxes(1)[0] == [((5, 10, 35, 20), 2, False, True)]


def test_outlines_are_never_corners():
    """Hulls beyond the image are only that, though as corners they would fit it."""
    outline = [[30, 20, 75, 20, 75, 58]]
    rows = [{"id": n, "image_id": 1, "category_id": 2, "segmentation": outline} for n in range(4)]
    assert [item.box for item in instances(rows).boxes(1)[0]] == [(20, 30, 58, 75)] * 4


def test_a_mask_stands_in_for_a_bbox():
    mask = {"size": [3, 4], "counts": [4, 2, 1, 1, 4]}
    annotation = {"image_id": 1, "category_id": 2, "segmentation": mask, "iscrowd": 1}
    assert instances([annotation]).boxes(1)[0] == [((1, 1, 3, 3), 2, True, True)]


def test_neither_bbox_nor_outline_has_a_reason():
    (flaw,) = instances([{"id": 5, "image_id": 1, "category_id": 2, "bbox": None}]).boxes(1)[1]
    assert flaw == ("incomplete", "annotation 5: bbox is None, not four numbers, and there is no outline instead")
    for outline in (None, [[10, 5, 10, 35]]):
        rows = [{"id": 5, "image_id": 1, "category_id": 2, "bbox": [0, 0, 0, 0], "segmentation": outline}]
        assert instances(rows).boxes(1)[1][0].kind == "without area"
    assert isinstance(parse_annotation({"category_id": 2, "bbox": [1, 2, 0, 4]}, {2: "car"}), Flaw)


def test_ids_of_annotations_may_be_there_twice():
    rows = [{"id": 5, "image_id": 1, "category_id": 2, "bbox": [x, 2, 3, 4]} for x in (1, 10, 1)]
    sound, flaws = instances(rows).boxes(1)
    assert [item.box[1] for item in sound] == [1, 10]
    assert [flaw.kind for flaw in flaws] == ["repeated"]


def test_categories_called_by_numbers_are_in_their_order():
    written = [{"id": str(number), "name": number - 1} for number in (10, 2, 1)]
    assert instances([], categories=written).categories == {10: "9", 2: "1", 1: "0"}
