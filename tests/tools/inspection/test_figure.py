import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxssd.data.anchor_fit import AnchorSettings, advise
from jaxssd.data.shapes import make_shapes
from jaxssd.tools.inspection.coverage import cover
from jaxssd.tools.inspection.figure import dataset_figure
from jaxssd.tools.inspection.inspection import inspect
from tests.viz.drawn import words

GIVEN = AnchorSettings((4, 2, 1), (1.0, 1.5), ((1.0, 1.0), (0.5, 1.0)))


def with_boxes(dataset, change):
    return dataclasses.replace(dataset, examples=dataset.examples._replace(**change))


def figure_of(datasets, given=GIVEN, title="a path"):
    inspection = inspect(datasets)
    coverage, boxes = cover(inspection, given.corners), inspection.objects.boxes[inspection.trained_on]
    advice = advise(boxes, boxes, given, boxes_per_cell=2, threshold=0.4, other_grids=[(8, 4, 2, 1)], finer=given)
    return dataset_figure(inspection, coverage, advice, 0.4, title=title), inspection, coverage, advice


@pytest.fixture(scope="module")
def drawn():
    return figure_of({"train": make_shapes(40, image_size=32), "val": make_shapes(10, image_size=32, seed=1)})


def panel(figure, title):
    (ax,) = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(title)]
    return ax


def assert_legible(figure):
    """Nothing leaves the figure, and no panel's words reach into another panel."""
    FigureCanvasAgg(figure).draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes] + [figure._suptitle.get_window_extent()]
    for index, box in enumerate(boxes):
        assert not any(box.padded(-2).overlaps(other.padded(-2)) for other in boxes[index + 1 :])
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for ax in figure.axes:
        title = ax._left_title.get_window_extent()
        assert title.x1 <= figure.bbox.x1
        if legend := ax.get_legend():
            assert not legend.get_window_extent().overlaps(title)
            assert legend.get_window_extent().y0 >= ax.get_window_extent().y1


def test_bars_are_the_counts(drawn):
    figure, inspection, _, _ = drawn
    ax = panel(figure, "objects of each class")
    total = np.bincount(inspection.objects.labels, minlength=6)
    order = np.argsort(-total, kind="stable")
    assert words(ax.get_yticklabels()) == [inspection.class_names[label] for label in order]
    of_train = np.bincount(inspection.objects.labels[inspection.in_split("train")], minlength=6)
    assert [bar.get_width() for bar in ax.containers[0]] == of_train[order].tolist()
    assert [bar.get_width() for bar in ax.containers[2]] == (total - of_train)[order].tolist()


def test_points_are_the_boxes(drawn):
    figure, inspection, _, advice = drawn
    boxes, anchors = panel(figure, "box sizes").lines
    np.testing.assert_allclose(boxes.get_xydata(), inspection.objects.sides[:, ::-1])
    np.testing.assert_allclose(anchors.get_xydata(), advice.given.settings.shapes[:, ::-1])


def test_the_best_anchors_are_counted(drawn):
    figure, _, coverage, _ = drawn
    ax = panel(figure, "the best anchor")
    iou = coverage.iou[np.isfinite(coverage.iou)]
    assert ax.patches[0].get_data().values.sum() == len(iou)
    assert f"unmatched: {(iou <= 0.4).sum()} objects" in words(ax.get_legend().texts)[1]


def test_candidates_are_compared(drawn):
    figure, _, _, advice = drawn
    ax = panel(figure, "anchors compared")
    expected = [advice.given, *advice.fitted, advice.finer]
    assert [bar.get_width() for bar in ax.containers[0]] == [candidate.mean_iou for candidate in expected]
    marked = [label.endswith("(suggested)") for label in words(ax.get_yticklabels())]
    assert marked == [candidate is advice.suggestion for candidate in expected]


def test_it_is_legible(drawn):
    assert_legible(drawn[0])


def test_of_many_classes_the_most_frequent_are_shown():
    shapes = make_shapes(20, image_size=32)
    labels = np.random.default_rng(0).integers(0, 80, shapes.examples.labels.shape).astype(np.int32)
    names = tuple(f"$\\frac$ a name that is long {label}" for label in range(80))
    many = dataclasses.replace(with_boxes(shapes, {"labels": labels}), class_names=names)
    figure, *_ = figure_of({"$train$": many}, title="a $path$")
    ax = panel(figure, "objects of each class (24 of 80)")
    assert len(ax.get_yticklabels()) == 24
    assert all(len(name) == 18 for name in words(ax.get_yticklabels()))
    assert_legible(figure)


@pytest.mark.parametrize("objects", [0, 1])
def test_sets_with_next_to_nothing_in_them(objects):
    shapes = make_shapes(3, image_size=32)
    places = np.cumsum(shapes.examples.valid.ravel()).reshape(shapes.examples.valid.shape)
    valid = shapes.examples.valid & (places <= objects)
    figure, *_ = figure_of(
        {"train": with_boxes(shapes, {"valid": valid}), "val": with_boxes(shapes, {"valid": valid & False})}
    )
    says = words(panel(figure, "box sizes").texts)
    assert says == (["no object"] if objects == 0 else [])
    assert_legible(figure)
