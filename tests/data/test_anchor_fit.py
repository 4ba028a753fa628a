import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.config import Config
from jaxssd.data import anchor_fit
from jaxssd.data.anchor_fit import AnchorSettings, advise, best_iou, fit_anchors, judge, shape_iou
from jaxssd.ops import box_iou, make_anchors
from tests.strategies import grid_boxes

GIVEN = AnchorSettings((4, 2, 1), (1.0, 1.4), ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)))
WIDE = GIVEN._replace(grids=((4, 6), (2, 3), 1), input_shape=(40, 60))


def scattered(count, height, width, seed=0):
    """Boxes of one shape, anywhere."""
    rng = np.random.default_rng(seed)
    near = rng.random((count, 2)) * (1 - np.array([height, width]))
    return np.concatenate([near, near + np.array([height, width])], axis=1).astype(np.float32)


@given(*(hnp.arrays(np.int64, (count, 2), elements=st.integers(1, 64)) for count in (6, 4)))
def test_iou_of_shapes_is_that_of_boxes_with_one_centre(a, b):
    a, b = a / 64, b / 64
    boxes = [np.concatenate([-side / 2, side / 2], axis=1).astype(np.float32) for side in (a, b)]
    np.testing.assert_allclose(shape_iou(a, b), box_iou(*boxes), rtol=1e-5)


def test_options_are_those_of_train():
    config = tyro.cli(Config, args=GIVEN.options().split(), config=(tyro.conf.OmitArgPrefixes,))
    assert AnchorSettings(config.anchors.grids, config.anchors.zooms, config.anchors.ratios) == GIVEN


@pytest.mark.parametrize("given", [GIVEN, WIDE])
def test_number_corners_and_shapes_are_those_of_the_anchors(given):
    anchors = make_anchors(*given[:3], image_size=given.input_shape)
    np.testing.assert_array_equal(given.corners, anchors.corners)
    assert given.num_anchors == len(anchors.corners)
    assert given.boxes_per_cell == 6
    sizes = np.unique(np.asarray(anchors.center_size)[:, 2:].round(5), axis=0)
    np.testing.assert_allclose(np.unique(given.shapes.round(5), axis=0), sizes, atol=1e-5)


def test_shapes_are_fitted_in_pixels():
    """Squares of 20 pixels in the middle of the cells of 60 x 120 pixels, which have 30."""
    middles = (np.indices((2, 4)).reshape(2, -1).T + 0.5) / (2, 4)
    half = np.array([10 / 60, 10 / 120])
    boxes = np.stack([middles - half, middles + half], axis=1).reshape(-1, 4).astype(np.float32)
    fitted = fit_anchors(boxes, ((2, 4),), 1, threshold=0.4, input_shape=(60, 120))
    assert fitted == AnchorSettings(((2, 4),), (0.67,), ((1.0, 1.0),), (60, 120))
    assert judge(fitted, boxes, 0.4).mean_iou > 0.98
    assert fitted.options() == "--grids 4 --zooms 0.67 --ratios 1 1"


@settings(max_examples=10)
@given(grid_boxes(8, cells=16))
def test_the_best_of_a_grid_is_at_the_nearest_centre(boxes):
    np.testing.assert_allclose(best_iou(GIVEN, boxes), box_iou(boxes, GIVEN.corners).max(axis=1), atol=1e-6)


@settings(max_examples=10)
@given(grid_boxes(8, cells=16))
def test_judgement(boxes):
    candidate = judge(GIVEN, boxes, 0.4)
    best = np.asarray(box_iou(boxes, GIVEN.corners)).max(axis=1)
    assert candidate.mean_iou == pytest.approx(best.mean(), abs=1e-5)
    assert candidate.unmatched == (best <= 0.4).sum()
    assert candidate.score == pytest.approx(candidate.mean_iou - candidate.unmatched / 8)
    height, width = (boxes[:, 2:] - boxes[:, :2]).T[..., None]
    sides = np.array([z * np.array(r) / g for g in GIVEN.grids for z in GIVEN.zooms for r in GIVEN.ratios])
    shared = np.minimum(height, sides[:, 0]) * np.minimum(width, sides[:, 1])
    aligned = (shared / (height * width + sides.prod(axis=1) - shared)).max(axis=1).mean()
    assert candidate.shape_iou == pytest.approx(aligned, abs=1e-5)


@pytest.mark.parametrize("boxes_per_cell", [1, 3, 6])
def test_objects_in_the_cells_of_a_grid_are_met_exactly(boxes_per_cell):
    boxes = np.asarray(make_anchors((4,), (0.8,), ((0.5, 2.0),)).corners)
    found = fit_anchors(boxes, (4, 2), boxes_per_cell, threshold=0.4)
    assert found.boxes_per_cell <= boxes_per_cell
    assert judge(found, boxes, 0.4).mean_iou > 0.99


@settings(max_examples=5)
@given(grid_boxes(6, cells=16))
def test_what_is_fitted_is_never_worse_than_its_start(boxes):
    found = fit_anchors(boxes, GIVEN.grids, 6, threshold=0.4, start=GIVEN)
    assert found.grids == GIVEN.grids
    assert found.boxes_per_cell <= 6
    assert judge(found, boxes, 0.4).score >= judge(GIVEN, boxes, 0.4).score - 1e-6
    assert fit_anchors(boxes, GIVEN.grids, 6, threshold=0.4, start=GIVEN) == found


def test_one_object_needs_one_anchor():
    found = fit_anchors(scattered(1, 0.5, 0.25), (2,), 6, threshold=0.4)
    assert len(found.zooms) == len(found.ratios) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"boxes": np.empty((0, 4), np.float32)}, "`boxes` is 0"),
        ({"grids": ()}, "grids"),
        ({"boxes_per_cell": 0}, "boxes_per_cell"),
    ],
)
def test_mistakes_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        fit_anchors(
            **{"boxes": scattered(2, 0.1, 0.1), "grids": (2,), "boxes_per_cell": 2, "threshold": 0.4} | arguments
        )


def test_better_anchors_are_suggested():
    """All objects are a fifth as high as wide, which none of the given anchors is."""
    boxes = scattered(40, 0.06, 0.3)
    advice = advise(boxes, boxes, GIVEN, boxes_per_cell=6, threshold=0.4)
    assert advice.suggestion in advice.fitted
    assert advice.suggestion.score > advice.given.score + 0.1
    assert advice.suggestion.settings.grids == GIVEN.grids
    assert advice.suggestion.settings.boxes_per_cell <= 6


def test_anchors_that_suit_are_left_alone():
    boxes = np.asarray(make_anchors((2,), (1.0,), ((1.0, 1.0),)).corners)
    advice = advise(boxes, boxes, GIVEN, boxes_per_cell=6, threshold=0.4)
    assert advice.given.mean_iou == pytest.approx(1)
    assert advice.suggestion is None


def test_what_does_not_hold_for_all_objects_is_not_suggested():
    advice = advise(
        scattered(40, 0.06, 0.3),
        np.asarray(make_anchors((2,), (1.0,), ((1.0, 1.0),)).corners),
        GIVEN,
        boxes_per_cell=6,
        threshold=0.4,
    )
    assert advice.suggestion is None


def test_other_grids_are_suggested_if_they_are_worth_it():
    small, large = (np.asarray(make_anchors((grid,), (1.0,), ((1.0, 1.0),)).corners) for grid in (8, 2))
    given = AnchorSettings((2,), (1.0,), ((1.0, 1.0),))
    advice = advise(small, small, given, boxes_per_cell=1, threshold=0.4, other_grids=[(8, 4, 2, 1)], finer=given)
    assert [candidate.settings.grids for candidate in advice.fitted] == [(2,), (8, 4, 2, 1)]
    assert advice.suggestion == advice.fitted[1]
    assert advice.finer == advice.given
    advice = advise(large, large, given, boxes_per_cell=1, threshold=0.4, other_grids=[(8, 4, 2, 1)])
    assert advice.suggestion is None


def test_without_objects_there_is_nothing_to_fit():
    nothing = np.empty((0, 4), np.float32)
    advice = advise(nothing, nothing, GIVEN, boxes_per_cell=6, threshold=0.4, finer=GIVEN)
    assert advice.fitted == ()
    assert advice.suggestion is None
    assert np.isnan(advice.given.mean_iou)


def test_of_many_objects_some_are_enough(monkeypatch):
    boxes = scattered(400, 0.1, 0.3)
    monkeypatch.setattr(anchor_fit, "MOST_FITTED", 50)
    found = fit_anchors(boxes, (4,), 1, threshold=0.4)
    assert found.ratios[0][0] < found.ratios[0][1]
