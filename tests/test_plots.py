import math
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jaxssd import plots
from jaxssd.metrics import voc_scores

NAMES = ("cat", "dog", "horse")


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def render(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def found(*rows: tuple[tuple, float, int], padding: int = 2) -> Found:
    """One image's detections, and padding that would show if it were drawn."""
    boxes = np.array([box for box, _, _ in rows] + [(0.1, 0.1, 0.9, 0.9)] * padding, np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows] + [0.99] * padding, np.float32)
    labels = np.array([label for _, _, label in rows] + [0] * padding, np.int32)
    return Found(boxes, scores, labels, np.arange(len(boxes)) < len(rows))


def batch(*images: Found) -> Found:
    return Found(*(np.stack(arrays) for arrays in zip(*images, strict=True)))


def photos(count: int, size: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def captions(ax) -> list[str]:
    return sorted(text.get_text() for text in ax.texts)


BOX, OTHER = (0.25, 0.2, 0.75, 0.6), (0.1, 0.5, 0.4, 0.9)
ONE = found((BOX, 0.9, 1), (OTHER, 0.3, 0), (OTHER, 0.29, 2))
TRUTHS = (
    np.array([[BOX, OTHER], [OTHER, BOX]], np.float32),
    np.array([[1, 2], [1, 0]], np.int32),
    np.array([[True, True], [False, True]]),
)


def test_a_grid_shows_what_is_valid_and_above_the_threshold_and_no_padding():
    detections = batch(ONE, found((BOX, 0.2, 1), (BOX, 0.1, 1), (BOX, 0.05, 1)))
    figure = plots.detection_grid(photos(2), detections, TRUTHS, NAMES, score_threshold=0.3, ids=["first", "second"])
    first, second = figure.axes
    assert captions(first) == ["cat 0.30", "dog", "dog 0.90", "horse"]
    assert captions(second) == ["cat"]
    assert [len(first.patches), len(second.patches)] == [2 + 2, 0 + 1]
    assert [ax.get_title() for ax in (first, second)] == ["first", "second"]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "detection: class and score (at least 0.3)",
        "ground truth",
    ]
    styles = {(patch.get_linestyle(), patch.get_edgecolor()[:3]) for patch in first.patches}
    assert styles == {("-", to_rgb(plots.class_color(1))), ("-", to_rgb(plots.class_color(0))), ("--", (1.0, 1.0, 1.0))}
    render(figure)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_grid_without_ground_truth_or_detections_is_only_the_images(count):
    figure = plots.detection_grid(photos(count), batch(*[found()] * count), None, NAMES)
    assert len(figure.axes) == count
    assert not any(ax.patches or ax.texts for ax in figure.axes)
    assert len(figure.legends[0].texts) == 1
    picture = render(figure)
    assert picture.shape[1] > picture.shape[0] * count / 5 - 1


def test_the_cells_of_a_grid_do_not_touch():
    figure = plots.detection_grid(photos(6), batch(*[found()] * 6), None, NAMES, columns=3, ids=list("abcdef"))
    render(figure)
    areas = [ax.get_tightbbox() for ax in figure.axes] + [figure.legends[0].get_window_extent()]
    for i, one in enumerate(areas):
        assert not any(one.overlaps(other) for other in areas[i + 1 :])
        assert figure.bbox.x0 <= one.x0 < one.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= one.y0 < one.y1 <= figure.bbox.y1


def test_a_box_lands_on_its_pixels():
    gray = np.full((200, 300, 3), 128, np.uint8)  # not square, so that swapped axes would show
    picture = render(plots.detection_image(gray, found((BOX, 0.9, 1)), NAMES))
    assert picture.shape == gray.shape
    color = np.array(to_rgb(plots.class_color(1))) * 255
    y1, x1, y2, x2 = 50, 60, 150, 180
    for row, column in [(y1, 150), (y2, 100), (120, x1), (120, x2)]:  # clear of the caption
        np.testing.assert_allclose(picture[row, column], color, atol=40, err_msg=f"no line at {row}, {column}")
    changed = np.argwhere((picture != 128).any(axis=-1))
    assert (changed >= (y1 - 4, x1 - 4)).all()
    assert (changed <= (y2 + 4, x2 + 4)).all()
    assert (picture[120, x1 + 5 : x2 - 5] == 128).all()


def test_a_grid_puts_a_box_on_the_right_part_of_its_image():
    gray = np.full((2, 50, 50, 3), 128, np.uint8)
    figure = plots.detection_grid(gray, batch(found(padding=3), found((BOX, 0.9, 1))), None, NAMES)
    picture = render(figure)
    frame = figure.axes[1].get_window_extent()
    color = np.array(to_rgb(plots.class_color(1))) * 255
    row = round(picture.shape[0] - frame.y1 + 0.5 * frame.height)
    for edge in (0.2, 0.6):
        line = picture[row, int(frame.x0 + edge * frame.width) - 2 :][:4]
        assert np.abs(line - color).max(axis=-1).min() < 40


def test_a_photograph_keeps_every_pixel():
    photograph = photos(1)[0, :40]
    figure = plots.detection_image(photograph, found(), NAMES)
    np.testing.assert_array_equal(render(figure), photograph)


@pytest.mark.parametrize("box", [BOX, (0.0, 0.0, 1.0, 1.0), (0.7, 0.9, 0.9, 1.0), (-0.5, -0.5, 0.3, 0.3)])
def test_captions_avoid_each_other_and_stay_inside(box):
    detections = found(*[(box, 0.9 - 0.1 * k, k) for k in range(3)])
    figure = plots.detection_image(photos(1, size=200)[0], detections, NAMES)
    ax = figure.axes[0]
    render(figure)
    frame, extents = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
    assert len(extents) == 3
    for i, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[i + 1 :])
        np.testing.assert_array_less(frame.min - 0.5, extent.min)
        np.testing.assert_array_less(extent.max, frame.max + 0.5)


def test_the_best_detection_lies_on_top():
    figure = plots.detection_image(photos(1)[0], ONE, NAMES)
    assert figure.axes[0].patches[-1].get_edgecolor()[:3] == to_rgb(plots.class_color(1))


def test_neighbouring_classes_differ_in_colour():
    colors = [plots.class_color(label) for label in range(20)]
    assert all(len(set(colors[k : k + 8])) == 8 for k in range(12))
    assert plots.TRUTH_COLOR not in colors


# Curves


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
    return plots.training_curves(train, val, {"mAP": {"map_area": "area", "map_voc07": "11-point"}})


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


def test_a_single_step_is_visible():
    empty, single = (render(curves(train_rows(losses), [])) for losses in ([math.nan], [3.0]))
    blue = np.array(to_rgb(plots.BLUE)) * 255
    middle = slice(60, 300)  # of the loss's panel, below its legend
    assert not (np.abs(empty[middle] - blue).max(axis=-1) < 5).any()
    assert (np.abs(single[middle] - blue).max(axis=-1) < 5).any()


def test_the_best_map_is_marked():
    ax = curves(train_rows([1.0] * 40), val_rows([0.1, math.nan, 0.4, 0.3])).axes[2]
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [(float(star.get_xdata()[0]), float(star.get_ydata()[0])) for star in stars] == [(20.0, 0.4)] * 2
    assert [text.get_text() for text in ax.get_legend().texts] == [
        "area: best 0.400 at step 20",
        "11-point: best 0.400 at step 20",
    ]


def test_without_validation_the_panel_says_so():
    ax = curves(train_rows([1.0]), []).axes[2]
    assert captions(ax) == ["no validation yet"]


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
    figure = plots.precision_recall(scores, names)
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


def test_names_with_dollar_signs_are_only_names():
    """Matplotlib would take what stands between two of them for a formula."""
    names = [r"c$\frac$", "$5", "p$1$q"]
    grid = plots.detection_grid(photos(2), batch(ONE, ONE), TRUTHS, names, ids=names[:2])
    assert names[1] in captions(grid.axes[0])[0]
    for figure in (grid, plots.detection_image(photos(1)[0], ONE, names), plots.precision_recall(scores_of(3), names)):
        render(figure)


# Files


def test_save_writes_the_figure_and_frees_it(tmp_path):
    photograph = photos(1)[0]
    figure = plots.detection_image(photograph, found(), NAMES)
    plots.save(figure, tmp_path / "photo.png")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    np.testing.assert_allclose(mpl_image.imread(tmp_path / "photo.png")[..., :3], photograph / 255, atol=1e-6)
    assert not figure.axes


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    path.write_bytes(b"old")

    def fail_halfway(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        plots.save(plots.detection_image(photos(1)[0], found(), NAMES), path)
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["photo.png"]


def test_no_figure_is_left_with_pyplot():
    plots.detection_image(photos(1)[0], ONE, NAMES)
    curves(train_rows([1.0]), [])
    assert not Gcf.get_all_fig_managers()
