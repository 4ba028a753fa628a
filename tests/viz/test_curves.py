"""Curves show what a run wrote, whatever it wrote."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxssd import viz
from jaxssd.metrics import voc_scores
from tests.viz.drawn import assert_readable, words
from tests.viz.samples import Found, captions, render

# Training


def train_rows(losses: list[float | None]) -> list[dict]:
    return [
        {
            "step": step,
            "epoch": step / 10,
            "loss": loss,
            "localization": 1.0,
            "classification": 1.0,
            "learning_rate": 0.1,
            "phase": 0,
        }
        for step, loss in enumerate(losses)
    ]


def val_rows(maps: list[float | None]) -> list[dict]:
    return [
        {"step": 10 * k, "epoch": k, "loss": 2.0, "map_area": value, "map_voc07": value, "objective": value}
        for k, value in enumerate(maps)
    ]


def curves(train, val):
    return viz.training_curves(train, val, {"mAP": {"map_area": "area", "map_voc07": "11-point"}})


def stars(ax) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for line in ax.lines if line.get_marker() == "*" for x, y in line.get_xydata()]


@pytest.mark.parametrize(
    ("losses", "maps"),
    [
        ([], []),
        ([3.0], []),
        ([3.0], [0.5]),
        ([math.nan], [math.nan, None]),
        ([3.0, math.nan, math.inf, None, 2.0], [0.1, math.nan, 0.4, 0.3]),
        ([0.0] * 400, [0.0, 0.0]),
    ],
)
def test_training_curves_survive_whatever_a_run_writes(losses, maps):
    figure = curves(train_rows(losses), val_rows(maps))
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "learning rate", "validation mAP"]
    render(figure)


def test_scores_that_are_not_defined_survive_beside_an_objective_that_is():
    rows = [row | {"objective": 0.0} for row in val_rows([None, math.nan])]
    render(curves(train_rows([3.0, 2.0]), rows))


def test_a_single_step_is_visible():
    empty, single = (render(curves(train_rows(losses), [])) for losses in ([math.nan], [3.0]))
    blue = np.array(to_rgb(viz.BLUE)) * 255
    middle = slice(60, 300)  # of the loss's panel, below its legend
    assert not (np.abs(empty[middle] - blue).max(axis=-1) < 5).any()
    assert (np.abs(single[middle] - blue).max(axis=-1) < 5).any()


def test_the_best_map_is_marked():
    ax = curves(train_rows([1.0] * 40), val_rows([0.1, math.nan, 0.4, 0.3])).axes[2]
    assert stars(ax) == [(20.0, 0.4)] * 2
    assert [text.get_text() for text in ax.get_legend().texts] == [
        "area: best 0.400 at step 20",
        "11-point: best 0.400 at step 20",
    ]


def test_of_equal_checkpoints_the_last_is_marked():
    """It is the one that `Checkpoints` keeps."""
    ax = curves(train_rows([1.0] * 40), val_rows([0.1, 0.4, 0.4, 0.3])).axes[2]
    assert stars(ax) == [(20.0, 0.4)] * 2


def test_every_panel_marks_the_same_checkpoint():
    """The one with the highest objective, which is not the one with the best value of every score."""
    rows = [
        {"step": 10, "loss": 3.0, "objective": -40.0, "box_error": 20.0, "iou": 0.4, "accuracy": 0.9},
        {"step": 20, "loss": 2.0, "objective": -30.0, "box_error": 25.0, "iou": 0.5, "accuracy": None},
        {"step": 30, "loss": 2.5, "objective": -35.0, "box_error": 30.0, "iou": 0.6, "accuracy": 0.7},
    ]
    panels = {"box error": {"box_error": "pixels"}, "scores": {"iou": "IoU", "accuracy": "accuracy"}}
    figure = viz.training_curves(train_rows([1.0] * 40), rows, panels)
    labels = ["loss", "learning rate", "validation box error", "validation scores"]
    assert [ax.get_ylabel() for ax in figure.axes] == labels
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "", "step"]
    error_ax, scores_ax = figure.axes[2:]
    assert words(error_ax.get_legend().texts) == ["pixels: best 25.000 at step 20"]
    assert stars(error_ax) == [(20.0, 25.0)]
    assert words(scores_ax.get_legend().texts)[0] == "IoU: best 0.500 at step 20"
    assert stars(scores_ax)[0] == (20.0, 0.5)
    curve = scores_ax.lines[0]
    np.testing.assert_array_equal(curve.get_xydata(), [[10, 0.4], [20, 0.5], [30, 0.6]])
    assert all(ax.get_ylim()[0] == 0 for ax in (error_ax, scores_ax))
    assert_readable(figure)


@pytest.mark.parametrize(
    ("rows", "why"), [([], "no validation yet"), (val_rows([None, math.nan, -math.inf]), "no ground truth")]
)
def test_a_panel_without_scores_says_why(rows, why):
    ax = curves(train_rows([1.0]), rows).axes[2]
    assert captions(ax) == [why]


def test_dotted_lines_are_the_starts_of_phases():
    rows = [{**row, "phase": row["step"] // 4} for row in train_rows([1.0] * 10)]
    figure = curves(rows, val_rows([0.5]))
    for ax in figure.axes:
        dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
        assert [float(line.get_xdata()[0]) for line in dotted] == [4.0, 8.0]
    one_phase = curves(train_rows([1.0] * 10), [])
    assert not any(line.get_linestyle() == ":" for ax in one_phase.axes for line in ax.lines)


def test_smoothing_is_the_mean_of_the_finite_steps_around():
    losses = np.random.default_rng(0).normal(5, 1, 350)
    losses[[0, 7, 100]] = np.nan
    losses[200:220] = np.inf
    line = curves(train_rows(losses.tolist()), []).axes[0].lines[1]
    assert line.get_label() == "training, mean of 7 steps"
    for step, smooth in enumerate(line.get_ydata()):
        around = losses[max(0, step - 3) : step + 4]
        around = around[np.isfinite(around)]
        assert smooth == pytest.approx(around.mean()) if len(around) else math.isnan(smooth)


# A sweep of the learning rate


def test_the_sweep_marks_the_least_loss_and_the_suggestion():
    rate = np.geomspace(1e-5, 1, 30)
    smoothed = np.where(np.arange(30) < 20, 10.0 - 0.4 * np.arange(30), 2.4 * 1.5 ** np.arange(-19, 11))
    loss = smoothed * np.random.default_rng(0).uniform(0.8, 1.2, 30)
    figure = viz.learning_rate_sweep(rate, loss, smoothed, 3e-4)
    (ax,) = figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    each, mean, lowest, suggestion = ax.lines
    np.testing.assert_array_equal(each.get_xydata(), np.stack([rate, loss], axis=1))
    np.testing.assert_array_equal(mean.get_xydata(), np.stack([rate, smoothed], axis=1))
    np.testing.assert_allclose(lowest.get_xydata(), [[rate[19], smoothed[19]]])
    assert set(suggestion.get_xdata()) == {3e-4}
    expected = ["each batch", "running mean", f"least at {rate[19]:.1e}", "suggested 3.0e-04"]
    assert words(ax.get_legend().texts) == expected
    assert_readable(figure)


def test_a_sweep_that_ends_in_nan_is_drawn_as_far_as_it_goes():
    rate, loss = np.geomspace(1e-5, 1, 5), np.array([3.0, 2.0, 4.0, np.inf, np.nan])
    figure = viz.learning_rate_sweep(rate, loss, loss, 1e-5)
    np.testing.assert_allclose(figure.axes[0].lines[2].get_xydata(), [[rate[1], 2.0]])
    render(figure)


# Precision over recall


def scores_of(num_classes: int):
    rng = np.random.default_rng(1)
    gt = np.tile(np.array([0.0, 0.0, 0.5, 0.5], np.float32), (40, 3, 1)) + np.arange(3)[:, None].astype(np.float32)
    labels = rng.integers(0, num_classes - 1, (40, 3))  # the last class has no ground truth
    found_labels = np.where(rng.random((40, 3)) < 0.7, labels, rng.integers(0, num_classes, (40, 3)))
    detections = Found(gt, rng.random((40, 3)), found_labels, rng.random((40, 3)) < 0.9)
    return voc_scores(detections, gt, labels, np.ones((40, 3), bool), num_classes=num_classes)


@pytest.mark.parametrize("num_classes", [2, 20])
def test_precision_recall_has_a_readable_panel_for_each_class(num_classes):
    scores = scores_of(num_classes)
    names = [f"class {k}" for k in range(num_classes)]
    figure = viz.precision_recall(scores, names)
    panels = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in panels] == names
    for ax, area, voc07 in zip(panels[:-1], scores.ap_area, scores.ap_voc07, strict=False):
        assert captions(ax) == [f"area {area:.3f}\n11-point {voc07:.3f}"]
        y, x = (ax.collections[0].get_paths()[0].vertices[:, k] for k in (1, 0))
        shaded = abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2
        assert shaded == pytest.approx(area)
    assert captions(panels[-1]) == ["no ground truth"]
    picture = render(figure)
    assert picture.shape[0] < 1500
    boxes = [ax.get_tightbbox() for ax in panels]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])
    title = figure._suptitle.get_window_extent()
    assert title.x0 >= 0
    assert title.x1 <= picture.shape[1]


def test_of_very_many_classes_the_most_frequent_have_a_panel():
    scores = scores_of(1203)
    figure = viz.precision_recall(scores, [f"class {k}" for k in range(1203)])
    panels = [ax for ax in figure.axes if ax.axison]
    labels = sorted(range(1203), key=lambda k: (-scores.num_truths[k], k))[:20]
    assert [ax.get_title() for ax in panels] == [f"class {k}" for k in labels]
    for ax, label in zip(panels, labels, strict=True):
        assert captions(ax) == [f"area {scores.ap_area[label]:.3f}\n11-point {scores.ap_voc07[label]:.3f}"]
        np.testing.assert_array_equal(ax.lines[0].get_xydata().T, scores.curves[label][:2])
    mean = f"mAP {scores.mean_area:.3f} (area), {scores.mean_voc07:.3f} (11-point)"  # of all classes
    assert figure.get_suptitle().splitlines() == [
        mean, "IoU \u2265 0.5, 40 images", "the 20 of 1,203 classes with the most objects"
    ]  # fmt: skip
    assert "classes" not in viz.precision_recall(scores_of(20), [str(k) for k in range(20)]).get_suptitle()
    assert_readable(figure)


def test_long_names_stay_in_their_panel():
    names = ["a name of very many letters indeed"] * 6
    figure = viz.precision_recall(scores_of(6), names)
    assert figure.axes[0].get_title() == "a name of very many…"
    assert_readable(figure)


def test_precision_recall_wants_a_name_for_each_class():
    with pytest.raises(ValueError, match="`class_names` has 2 names for 3"):
        viz.precision_recall(scores_of(3), ["a", "b"])


def test_names_with_dollar_signs_are_only_names():
    """Matplotlib would take what stands between two of them for a formula."""
    render(viz.precision_recall(scores_of(3), [r"c$\frac$", "$5", "p$1$q"]))
