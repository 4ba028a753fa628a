"""Published detectors in the benchmark: which photographs, and when two sets of boxes are the same."""

from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from published import PUBLISHED_PRESETS, both_clocks, measure_both, read_photographs, require_same_boxes

from jaxssd.presets import PRESETS

NAMES = ("person", "N/A 2", "dog")


class Found(NamedTuple):
    class_ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def __len__(self):
        return len(self.scores)


OURS = Found(np.array([2, 0]), np.float32([0.9, 0.5]), np.float32([[1, 2, 3, 4], [5, 6, 7, 8]]))
THEIRS = [
    np.float32([[2, 1, 4, 3], [0, 0, 9, 9], [6, 5, 8, 7]]),
    np.float32([0.9, 0.7, 0.5]),
    np.array([3, 2, 1]),
]


def test_equal_boxes_are_equal_without_the_gaps(capsys):
    require_same_boxes([OURS], [THEIRS], NAMES)
    assert "2 detections" in capsys.readouterr().out


@pytest.mark.parametrize(("column", "change"), [(0, 0.02), (1, 2e-4), (2, -2)])
def test_other_boxes_scores_and_classes_are_told(column, change):
    other = [array.copy() for array in THEIRS]
    other[column][0] += other[column].dtype.type(change)
    with pytest.raises(ValueError, match="1 of 2 detections differ"):
        require_same_boxes([OURS], [other], NAMES)


def test_another_number_of_boxes_is_told():
    with pytest.raises(ValueError, match="1 of 1 detections differ"):
        require_same_boxes([OURS], [[column[:1] for column in THEIRS]], NAMES)


def test_photographs_are_read_or_drawn(tmp_path):
    for place in range(3):
        Image.new("L", (4 + place, 3)).save(tmp_path / f"{place}.png")
    assert [picture.shape for picture in read_photographs(tmp_path, 2)] == [(3, 4, 3), (3, 5, 3)]
    with pytest.raises(ValueError, match="3 photographs, expected 4 or more"):
        read_photographs(tmp_path, 4)
    assert [picture.shape for picture in read_photographs(None, 2)] == [(375, 500, 3), (500, 334, 3)]


def test_every_published_preset_has_the_name_of_torchvisions_function():
    assert set(PUBLISHED_PRESETS) <= set(PRESETS)
    assert "ssd300_vgg16" in PUBLISHED_PRESETS


def test_both_clocks_are_read_in_turns():
    turns = []

    def clock(name):
        turns.append(name)
        return float(len(turns)), 0.5

    wall, cpu = measure_both({"jaxssd": lambda: clock("a"), "torch": lambda: clock("b")}, seconds=0)
    assert turns == ["a", "b"] * 6  # once to compile, then five repeats
    assert (wall["jaxssd"].median, wall["torch"].repeats, cpu["torch"].median) == (7, 5, 0.5)
    assert all(seconds >= 0 for seconds in both_clocks(list))
