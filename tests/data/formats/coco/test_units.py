"""Whether the boxes of a file are pixels or fractions, sides or corners."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.coco.file import COCOJson
from jaxssd.data.formats.coco.units import STANDARD, Evidence, Units, decide, weigh

WIDTH, HEIGHT = 50, 40
BOXES = [(5, 10, 20, 15), (30, 20, 10, 15), (28, 4, 20, 30), (0, 0, 50, 40)]  # x, y, width, height


def as_corners(x, y, width, height):
    return x, y, x + width, y + height


def as_fractions(a, b, c, d):
    return a / WIDTH, b / HEIGHT, c / WIDTH, d / HEIGHT


def as_center(x, y, width, height):
    return as_fractions(x + width / 2, y + height / 2, width, height)


def as_corner_fractions(*box):
    return as_fractions(*as_corners(*box))


def data_set(root, convert, boxes=BOXES, **changes):
    """Two images, the boxes shared out among them."""
    root.mkdir(exist_ok=True)
    for number in range(2):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"{number}.png")
    image = {"width": WIDTH, "height": HEIGHT} | changes
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", **image} for number in range(2)],
        "annotations": [
            {"id": number, "image_id": number % 2, "category_id": 1, "bbox": convert(*box)}
            for number, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (root / "x.json").write_text(json.dumps(content))
    return COCOJson(root / "x.json", root)


def load(source):
    return build_dataset(source, source.all_ids(), image_size=8, class_names=("cup",), progress=False, workers=1)


@pytest.mark.parametrize(
    ("convert", "word"),
    [
        (lambda *box: box, None),
        (as_fractions, "with bbox in fractions"),
        (as_corners, "with bbox as corners"),
        (as_corner_fractions, "with bbox as corners in fractions"),
    ],
)
def test_boxes_are_read_as_they_were_meant(tmp_path, convert, word):
    dataset = load(data_set(tmp_path / "data", convert))
    expected = load(data_set(tmp_path / "pixels", lambda *box: box))
    np.testing.assert_allclose(dataset.examples.boxes, expected.examples.boxes, atol=1e-6)
    assert dataset.report.objects == len(BOXES)
    assert [problem.kind for problem in dataset.report.problems] == ([word] * 2 if word else [])


@pytest.mark.parametrize("name", ["width", "height"])
def test_corners_are_told_by_the_images_where_no_size_is_stated(tmp_path, name):
    dataset = load(data_set(tmp_path / "data", as_corners, **{name: None}))
    expected = load(data_set(tmp_path / "pixels", lambda *box: box))
    np.testing.assert_allclose(dataset.examples.boxes, expected.examples.boxes, atol=1e-6)
    (tmp_path / "data/0.png").write_bytes(b"broken")
    (tmp_path / "data/1.png").unlink()
    with pytest.raises(ValueError, match="no image could be read"):
        load(COCOJson(tmp_path / "data/x.json", tmp_path / "data"))


@pytest.mark.parametrize("name", ["width", "height"])
def test_fractions_need_no_stated_size(tmp_path, name):
    dataset = load(data_set(tmp_path, as_fractions, **{name: None}))
    assert {problem.kind for problem in dataset.report.problems} == {"with bbox in fractions"}


def test_an_image_without_objects_is_not_noted(tmp_path):
    dataset = load(data_set(tmp_path, as_fractions, BOXES[:1]))
    assert [problem.kind for problem in dataset.report.problems] == ["with bbox in fractions", "without objects"]


def test_centers_are_an_error_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"x\.json has fractions in bbox .* YOLO's way: .*subtract half"):
        load(data_set(tmp_path, as_center))


def test_fractions_of_outlines(tmp_path):
    """Where no annotation has a bbox."""
    source = data_set(tmp_path, lambda *box: box)
    content = json.loads(source.annotations.read_text())
    for item, box in zip(content["annotations"], BOXES, strict=True):
        x1, y1, x2, y2 = as_corner_fractions(*box)
        del item["bbox"]
        item["segmentation"] = [[x1, y1, x2, y1, x2, y2]]
    source.annotations.write_text(json.dumps(content))
    dataset, expected = load(COCOJson(source.annotations, source.images)), load(data_set(tmp_path, lambda *box: box))
    np.testing.assert_allclose(dataset.examples.boxes, expected.examples.boxes, atol=1e-6)
    assert {problem.kind for problem in dataset.report.problems} == {"with bbox in fractions", "with outlines"}


SIZES = [(HEIGHT, WIDTH)]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], STANDARD),
        ([(0, 0, 0, 0)], STANDARD),
        ([(0, 0, 1, 1)], Units(fractions=True)),
        ([(0.2, 0.2, 1.3, 0.3)], Units(fractions=True)),
        ([(0.2, 0.2, 1.6, 0.3)], STANDARD),
        ([(0.1, 0.1, 0.5, 0.5), (5, 5, 9, 9)], STANDARD),
        ([(0.1, 0.1, 0.5, 0.5), (float("nan"), 0, 0, float("inf"))], Units(fractions=True)),
        ([(30, 20, 45, 38)], STANDARD),  # one box is no evidence
        ([(30, 20, 45, 38), (25, 25, 40, 40)], Units(corners=True)),
        ([(30, 20, 45, 38), (25, 25, 40, 60)], STANDARD),  # beyond the image either way
        ([(30, 20, 45, 38), (25, 25, 10, 10)], STANDARD),  # corners would be turned round
        ([(30, 20, 45, 38), (2, 2, 9, 9)], STANDARD),  # one of few
        ([(30, 20, 45, 38)] * 2 + [(2, 2, 9, 9)] * 4, Units(corners=True)),  # a third of few
        ([(30, 20, 45, 38)] * 2 + [(2, 2, 9, 9)] * 5, STANDARD),
        ([(30, 20, 45, 38)] * 3 + [(2, 2, 9, 9)] * 17, Units(corners=True)),  # more than a tenth of twenty
        ([(30, 20, 45, 38)] * 2 + [(2, 2, 9, 9)] * 18, STANDARD),
        ([(30, 20, 45, 38)] * 300 + [(25, 25, 10, 10)] * 3, Units(corners=True)),  # some are careless
        ([(30, 20, 45, 38)] * 300 + [(25, 25, 10, 10)] * 9, STANDARD),
        ([(30, 20, 20.5, 20.5)] * 4, STANDARD),  # a little beyond the edge
        ([(-30, -20, 5, 5)] * 4, STANDARD),
    ],
)
def test_evidence(boxes, expected):
    assert weigh(boxes, SIZES * len(boxes)).alone() == expected


def test_corners_are_not_told_without_sizes():
    assert weigh([(30, 20, 45, 38)] * 4, [None] * 4).alone() == STANDARD
    assert weigh([(30, 20, 45, 38)] * 4, [None] * 2 + SIZES * 2).alone() == Units(corners=True)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=30))
def test_sound_boxes_are_never_taken_for_another_kind(shares):
    """In pixels of an image of 1000 x 800, with at least three to a side."""
    boxes = []
    for a, b, c, d in shares:
        x, y = int(a * 990), int(b * 790)
        boxes.append((x, y, 3 + int(c * (997 - x)), 3 + int(d * (797 - y))))
    assert weigh(boxes, [(800, 1000)] * len(boxes)).alone() == STANDARD


FAR, NEAR, ONLY_SIDES, OUTSIDE = (30, 20, 45, 38), (5, 5, 20, 20), (30, 20, 10, 15), (45, 35, 60, 50)
CORNERS = Units(corners=True)


def shown(*boxes):
    return weigh(boxes, SIZES * len(boxes))


@pytest.mark.parametrize(
    ("boxes", "others", "expected"),
    [
        ([NEAR], {}, (STANDARD, None)),
        ([NEAR], {"a": [NEAR]}, (STANDARD, None)),
        ([NEAR], {"a": [NEAR], "b": [FAR] * 2}, (CORNERS, "b")),
        ([], {"a": [FAR] * 2}, (CORNERS, "a")),  # nothing is read
        ([NEAR, FAR] + [NEAR] * 18, {"a": [FAR] * 2}, (CORNERS, "a")),  # one misfit is too few to be sure
        ([NEAR], {"a": [ONLY_SIDES] * 2}, (STANDARD, None)),
        ([ONLY_SIDES], {"a": [FAR] * 2}, (STANDARD, None)),
        ([FAR] * 2, {"a": [ONLY_SIDES] * 2}, (CORNERS, None)),
        ([(0.1, 0.1, 0.5, 0.5)], {"a": [FAR] * 2}, (Units(fractions=True), None)),  # written otherwise in any case
        ([NEAR], {"a": [(0.5, 0.5, 0.9, 0.9)] * 2}, (STANDARD, None)),
        ([(0.1, 0.1, 0.5, 0.5)], {"a": [(0.5, 0.5, 0.9, 0.9)]}, (Units(True, True), "a")),
    ],
)
def test_other_files_decide_where_one_does_not(boxes, others, expected):
    assert decide(shown(*boxes), {name: shown(*rows) for name, rows in others.items()}) == expected


def test_files_without_sizes_are_free_unless_turned_round():
    assert weigh([NEAR], [None]).undecided
    assert not weigh([ONLY_SIDES], [None]).undecided
    assert weigh([NEAR, ONLY_SIDES], [*SIZES, None]) == Evidence(STANDARD, only_sides=True)


@pytest.mark.parametrize(
    ("boxes", "others", "expected"),
    [
        ([NEAR], {"a": [FAR] * 2, "b": [ONLY_SIDES] * 2}, "those of a can only be corners, and those of b can only be"),
        ([FAR, FAR, ONLY_SIDES, OUTSIDE], {"a": [FAR] * 2}, "those of a can only be corners, and these fit neither"),
    ],
)
def test_files_that_contradict_each_other_are_named(boxes, others, expected):
    with pytest.raises(ValueError, match=expected):
        decide(shown(*boxes), {name: shown(*rows) for name, rows in others.items()})
    assert decide(shown(*boxes), {}) == (STANDARD, None)
