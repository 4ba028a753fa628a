"""The largest object against loops; its losses against their formulas; scores and pictures by hand."""

import json
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxssd.models.dense_heads import ObjectPredictions
from jaxssd.tasks.largest import BoxResults, ObjectResults, largest_object
from jaxssd.tasks.task import Loss, Scores
from jaxssd.viz import results
from jaxssd.viz.tasks import drawing_of
from tests.strategies import grid_boxes, masks, permutations
from tests.tasks.scenes import NAMES, SIZE, dataset_of, examples_of, photograph, task_of
from tests.viz.drawn import assert_same_boxes, corners, outlines, words
from tests.viz.samples import render

IMAGES, PLACES, CLASSES = 2, 4, len(NAMES)
BOX_TASK, OBJECT_TASK = task_of(task="largest_box"), task_of(task="largest_object")
SMALL, LARGE, OTHER = (0.0, 0.0, 0.25, 0.25), (0.25, 0.25, 1.0, 0.75), (0.5, 0.5, 0.75, 1.0)
DATA = dataset_of([((0.0, 0.0, 0.5, 0.5), 0), (SMALL, 2)], [], [(SMALL, 2), (LARGE, 1)], [(LARGE, 2, True)])

jit_largest = jax.jit(largest_object)


@jax.jit
def box_loss(pixels, examples):
    loss = BOX_TASK.loss(pixels, examples)
    return loss.total.sum(), loss


@jax.jit
def object_loss(activations, logits, examples):
    loss = OBJECT_TASK.loss(ObjectPredictions(activations, logits), examples)
    return loss.total.sum(), loss


box_gradient = jax.jit(jax.value_and_grad(box_loss, has_aux=True))
object_gradient = jax.jit(jax.value_and_grad(object_loss, argnums=(0, 1), has_aux=True))


@st.composite
def scenes(draw, cells=8):
    """Many equal areas; what is not valid is NaN and has a label that exists."""
    boxes = draw(grid_boxes(IMAGES * PLACES, cells=cells, empty=True)).reshape(IMAGES, PLACES, 4)
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, CLASSES, (IMAGES, PLACES))
    valid, difficult = draw(masks(IMAGES, PLACES)), draw(masks(IMAGES, PLACES))
    return examples_of(np.where(valid[..., None], boxes, np.nan), labels, valid, difficult)


def predictions(seed):
    rng = np.random.default_rng(seed)
    return [np.float32(rng.normal(size=shape)) for shape in ((IMAGES, 4), (IMAGES, CLASSES))]


def reference_largest(examples):
    """Image by image, object by object."""
    for boxes, labels, valid, difficult in zip(*examples[1:], strict=True):
        best, best_area = None, -1.0
        for g in range(len(boxes)):
            y1, x1, y2, x2 = boxes[g].tolist()
            if valid[g] and not difficult[g] and (area := (y2 - y1) * (x2 - x1)) > best_area:
                best, best_area = g, area
        yield None if best is None else (boxes[best], int(labels[best]))


def reference_object_loss(activations, logits, examples):
    """`(localization, classification)` of each image in float64."""
    for o, x, truth in zip(np.float64(activations), np.float64(logits), reference_largest(examples), strict=True):
        if truth is None:
            yield 0.0, 0.0
            continue
        box, label = truth
        distance = sum(abs(SIZE / (1 + math.exp(-o[k])) - SIZE * float(box[k])) for k in range(4)) / 4
        yield distance, math.log(sum(math.exp(value) for value in x)) - x[label]


# The largest object


@settings(max_examples=25)
@given(scenes())
def test_largest_object_is_the_loops(examples):
    eager, jitted = largest_object(examples), jit_largest(examples)
    jax.tree.map(np.testing.assert_array_equal, eager, jitted)
    for i, truth in enumerate(reference_largest(examples)):
        box, label = truth or (np.zeros(4), 0)
        assert bool(eager.exists[i]) == (truth is not None)
        assert int(eager.labels[i]) == label
        np.testing.assert_array_equal(eager.boxes[i], box)


def test_of_equal_areas_the_first_and_no_difficult_one():
    data = dataset_of(
        [(SMALL, 0), (LARGE, 1)],
        [(OTHER, 2), (np.add(OTHER, -0.25).tolist(), 1)],
        [(LARGE, 1, True), (SMALL, 2)],
        [(LARGE, 1, True)],
        [],
        [((0.5, 0.5, 0.5, 0.5), 2)],
    )
    found = jit_largest(data.examples)
    assert found.exists.tolist() == [True, True, True, False, False, True]
    assert found.labels.tolist() == [1, 2, 2, 0, 0, 2]
    np.testing.assert_array_equal(found.boxes, [LARGE, OTHER, SMALL, [0] * 4, [0] * 4, [0.5] * 4])


@settings(max_examples=25)
@given(scenes(cells=64), permutations(PLACES))
def test_the_order_of_the_objects_changes_nothing(examples, order):
    areas = np.prod(examples.boxes[..., 2:] - examples.boxes[..., :2], axis=-1)
    assume(all(len(np.unique(row[mask])) == mask.sum() for row, mask in zip(areas, examples.valid, strict=True)))
    turned = examples._replace(**{name: getattr(examples, name)[:, order] for name in examples._fields[1:]})
    jax.tree.map(np.testing.assert_array_equal, jit_largest(examples), jit_largest(turned))


@settings(max_examples=15)
@given(scenes(), st.integers(0, 99))
def test_more_padding_changes_nothing(examples, seed):
    wider = examples_of(
        np.pad(examples.boxes, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan),
        *(np.pad(array, ((0, 0), (0, 2))) for array in examples[2:]),
    )
    jax.tree.map(np.testing.assert_array_equal, jit_largest(examples), jit_largest(wider))
    activations, logits = predictions(seed)
    narrow, wide = (object_loss(activations, logits, data)[1] for data in (examples, wider))
    jax.tree.map(np.testing.assert_array_equal, narrow, wide)


# Losses


@settings(max_examples=25)
@given(scenes(), st.integers(0, 99))
def test_box_loss_is_its_formula(examples, seed):
    pixels = SIZE * predictions(seed)[0]
    (_, loss), gradient = box_gradient(pixels, examples)
    assert isinstance(loss, Loss)
    for i, truth in enumerate(reference_largest(examples)):
        expected = 0 if truth is None else np.abs(pixels[i].astype(float) - SIZE * truth[0].astype(float)).mean()
        assert float(loss.total[i]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        sign = np.zeros(4) if truth is None else np.sign(pixels[i] - SIZE * truth[0])
        np.testing.assert_allclose(gradient[i], sign / 4)


@settings(max_examples=25)
@given(scenes(), st.integers(0, 99))
def test_object_loss_is_its_formula(examples, seed):
    activations, logits = predictions(seed)
    _, loss = object_loss(activations, logits, examples)
    assert isinstance(loss, Loss)
    localization, classification = np.transpose(list(reference_object_loss(activations, logits, examples)))
    np.testing.assert_allclose(loss.localization, localization, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss.classification, classification, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss.total, localization + 20 * classification, rtol=1e-4, atol=1e-4)


def test_a_rectangular_input_has_its_own_pixels_along_each_axis():
    """The truth is 8 to 32 of 32 rows and 16 to 48 of 64 columns; off by 4, 2, 0 and 8 pixels, 3.5 on average."""
    task = task_of(task="largest_box", image_size=(32, 64))
    data = dataset_of([((0.25, 0.25, 1.0, 0.75), 1)])
    pixels = jnp.float32([[12, 18, 32, 40]])
    np.testing.assert_allclose(task.loss(pixels, data.examples).total, [3.5], rtol=1e-6)
    result = jax.device_get(task.postprocess(pixels))
    np.testing.assert_allclose(result.boxes, [[12 / 32, 18 / 64, 1, 40 / 64]])
    assert task.score(result, data).box_error == pytest.approx(3.5)
    of_both = task_of(task="largest_object", image_size=(32, 64), backbone="resnet_tiny")
    activations = jax.scipy.special.logit(result.boxes.clip(1e-6, 1 - 1e-6))
    loss = of_both.loss(ObjectPredictions(activations, jnp.zeros((1, CLASSES))), data.examples)
    np.testing.assert_allclose(loss.localization, [3.5], rtol=1e-4)


def test_jitted_losses_are_the_eager_ones():
    activations, logits = map(jnp.asarray, predictions(4))
    examples = jax.tree.map(lambda array: array[:IMAGES], DATA.examples)
    _, jitted = object_loss(activations, logits, examples)
    eager = OBJECT_TASK.loss(ObjectPredictions(activations, logits), examples)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), jitted, eager)


@settings(max_examples=15)
@given(scenes(), st.sampled_from([0.0, 1.0, 100.0, 1e4]))
def test_gradients_are_finite_and_nothing_without_an_object(examples, scale):
    """Also where padding is NaN, which a mask behind a product would not keep out."""
    activations, logits = (scale * array for array in predictions(3))
    (_, loss), gradients = object_gradient(activations, logits, examples)
    exists = np.array([truth is not None for truth in reference_largest(examples)])
    for leaf in jax.tree.leaves((loss, gradients)):
        assert np.isfinite(leaf).all()
        assert (np.asarray(leaf)[~exists] == 0).all()
    for i, truth in enumerate(reference_largest(examples)):
        if truth is not None:
            shares = np.exp(np.float64(logits[i]) - logits[i].max())
            expected = 20 * (shares / shares.sum() - np.eye(CLASSES)[truth[1]])
            np.testing.assert_allclose(gradients[1][i], expected, rtol=1e-3, atol=1e-4)


def test_the_class_weighs_twenty_times():
    """Uniform logits and a box of the whole image, predicted as its middle half: 16 pixels and log 3."""
    examples = dataset_of([((0.0, 0.0, 1.0, 1.0), 1)]).examples
    activations = np.log(np.array([[0.25 / 0.75] * 2 + [0.75 / 0.25] * 2], np.float32))
    _, loss = object_loss(activations, np.zeros((1, CLASSES), np.float32), examples)
    assert float(loss.localization[0]) == pytest.approx(16)
    assert float(loss.classification[0]) == pytest.approx(math.log(3))
    assert float(loss.total[0]) == pytest.approx(16 + 20 * math.log(3))


# Answers and scores


def test_results_are_normalised_boxes_and_probabilities():
    activations, logits = predictions(0)
    np.testing.assert_allclose(BOX_TASK.postprocess(jnp.asarray(SIZE * activations)).boxes, activations, rtol=1e-6)
    result = OBJECT_TASK.postprocess(ObjectPredictions(jnp.asarray(activations), jnp.asarray(logits)))
    np.testing.assert_allclose(result.boxes, 1 / (1 + np.exp(-activations)), rtol=1e-5)
    shares = np.exp(logits)
    np.testing.assert_allclose(result.probabilities, shares / shares.sum(axis=1, keepdims=True), rtol=1e-5)


RESULTS = ObjectResults(
    np.array([(0.0, 0.0, 0.5, 1.0), OTHER, LARGE, SMALL], np.float32),
    np.array([[0.5, 0.3, 0.2], [1, 0, 0], [0.7, 0.2, 0.1], [0, 0, 1]], np.float32),
)


def test_scores_by_hand():
    """The first box is twice as wide as the truth, the third is right; the other images have no object."""
    boxes = BOX_TASK.score(BoxResults(RESULTS.boxes), DATA)
    assert boxes.summary() == pytest.approx({"box_error": SIZE / 16, "iou": 0.75})  # the mean of 0.5 / 4 and 0
    assert boxes.num_images == 2
    assert boxes.objective == pytest.approx(-4)
    assert boxes.headline() == "box error 4.00 px, IoU 0.750"
    assert boxes.as_dict() == pytest.approx({"box_error": 4, "iou": 0.75, "num_images": 2})

    scores = OBJECT_TASK.score(RESULTS, DATA)
    entropy = -(math.log(0.5) + math.log(0.2)) / 2
    assert scores.summary() == pytest.approx(
        {"box_error": 4, "iou": 0.75, "accuracy": 0.5, "cross_entropy": entropy}, rel=1e-6
    )
    assert scores.objective == pytest.approx(-(4 + 20 * entropy))
    assert scores.headline() == "box error 4.00 px, IoU 0.750, accuracy 0.500"
    assert scores.table().splitlines() == [
        scores.headline(),
        "of the largest object of each image; 2 images have one",
    ]
    assert scores.as_dict() == {**scores.summary(), "num_images": 2}


def test_the_objective_is_the_loss_of_the_images_that_have_an_object():
    activations = predictions(1)[0].repeat(2, axis=0)
    logits = predictions(2)[1].repeat(2, axis=0)
    _, loss = object_loss(activations, logits, DATA.examples)
    result = jax.device_get(OBJECT_TASK.postprocess(ObjectPredictions(jnp.asarray(activations), jnp.asarray(logits))))
    assert OBJECT_TASK.score(result, DATA).objective == pytest.approx(-float(loss.total.sum()) / 2, rel=1e-5)
    _, loss = box_loss(SIZE * activations, DATA.examples)
    assert BOX_TASK.score(BoxResults(activations), DATA).objective == pytest.approx(
        -float(loss.total.sum()) / 2, rel=1e-5
    )


def test_a_perfect_result_scores_perfectly():
    truth = jax.device_get(largest_object(DATA.examples))
    scores = OBJECT_TASK.score(ObjectResults(truth.boxes, np.eye(CLASSES, dtype=np.float32)[truth.labels]), DATA)
    assert scores.summary() == {"box_error": 0, "iou": 1, "accuracy": 1, "cross_entropy": 0}
    assert BOX_TASK.score(BoxResults(truth.boxes), DATA).summary() == {"box_error": 0, "iou": 1}
    assert (box_loss(SIZE * truth.boxes, DATA.examples)[1].total == 0).all()


def test_a_probability_of_zero_costs_much_but_not_everything():
    wrong = ObjectResults(RESULTS.boxes, np.eye(CLASSES, dtype=np.float32)[[1, 1, 0, 0]])
    scores = OBJECT_TASK.score(wrong, DATA)
    assert scores.accuracy == 0
    assert 50 < scores.cross_entropy < math.inf


@pytest.mark.parametrize(
    ("task", "result"), [(BOX_TASK, BoxResults(RESULTS.boxes)), (OBJECT_TASK, RESULTS)], ids=["box", "object"]
)
def test_without_any_object_nothing_is_defined_and_everything_works(task, result):
    empty = dataset_of([], [], [(LARGE, 1, True)], [])
    scores = task.score(result, empty)
    assert isinstance(scores, Scores)
    assert all(math.isnan(value) for value in scores.summary().values())
    assert scores.objective == -math.inf
    numbers = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert numbers == {**dict.fromkeys(scores.summary()), "num_images": 0}
    assert scores.table().endswith("0 images have one")
    for figure in drawing_of(task).figures(task, result, scores, empty).values():
        assert all(len(ax.patches) == 1 for ax in figure.axes)
        render(figure)


@pytest.mark.parametrize("task", [BOX_TASK, OBJECT_TASK], ids=["box", "object"])
def test_what_is_drawn_over_the_run_is_in_the_summary(task):
    result = BoxResults(RESULTS.boxes) if task is BOX_TASK else RESULTS
    keys = {key for names in drawing_of(task).curves.values() for key in names}
    assert keys <= set(task.score(result, DATA).summary())


# Pictures and JSON


def test_figures_show_boxes_beside_the_largest_truth():
    for task, result, captions in (
        (BOX_TASK, BoxResults(RESULTS.boxes), ["largest object"] * 4),
        (OBJECT_TASK, RESULTS, ["cat 0.50", "cat 1.00", "cat 0.70", "horse 1.00"]),
    ):
        figures = drawing_of(task).figures(task, result, task.score(result, DATA), DATA)
        assert list(figures) == ["detections"]
        axes = figures["detections"].axes
        truths = [["cat"], [], ["dog"], []]
        expected = [[caption, *truth] for caption, truth in zip(captions, truths, strict=True)]
        assert [words(ax.texts) for ax in axes] == expected
        assert [ax.get_title() for ax in axes] == list(DATA.ids)
        assert_same_boxes(corners(outlines(axes[2])), np.array([LARGE, LARGE], np.float32))
        render(figures["detections"])


def test_a_box_beyond_the_image_is_drawn_at_its_edge():
    beyond = BoxResults(np.array([(-0.5, 0.25, 0.5, 1.5)] * 4, np.float32))
    (figure,) = drawing_of(BOX_TASK).figures(BOX_TASK, beyond, None, DATA).values()
    inside = np.array([(0, 0.25, 0.5, 1)], np.float32)
    assert_same_boxes(corners(outlines(figure.axes[1])), inside)
    picture = drawing_of(BOX_TASK).draw(BOX_TASK, photograph(), BoxResults(beyond.boxes[0]), 0.3)
    assert_same_boxes(corners(outlines(picture.axes[0])), inside)


def test_a_figure_holds_only_the_first_images(monkeypatch):
    monkeypatch.setattr(results, "GRID_IMAGES", 3)
    for task, result in ((BOX_TASK, BoxResults(RESULTS.boxes)), (OBJECT_TASK, RESULTS)):
        (figure,) = drawing_of(task).figures(task, result, None, DATA).values()
        assert [ax.get_title() for ax in figure.axes] == list(DATA.ids[:3])


@pytest.mark.parametrize(("threshold", "shown"), [(0.3, True), (0.5, True), (0.51, False)])
def test_a_photograph_and_json_have_the_object_from_the_threshold_on(threshold, shown):
    result = ObjectResults(*(array[0] for array in RESULTS))
    rows = OBJECT_TASK.to_json(result, (200, 400), threshold)
    assert rows == ([{"class": "cat", "score": 0.5, "box": [0.0, 0.0, 100.0, 400.0]}] if shown else [])
    json.dumps(rows)
    figure = drawing_of(OBJECT_TASK).draw(OBJECT_TASK, photograph(), result, threshold)
    assert words(figure.axes[0].texts) == (["cat 0.50"] if shown else [])
    assert len(outlines(figure.axes[0])) == shown
    assert render(figure).shape == photograph().shape


def test_a_box_without_a_score_is_always_shown():
    result = BoxResults(np.array([0.1, 0.2, 0.5, 0.9], np.float32))
    assert BOX_TASK.to_json(result, (200, 400), 0.99) == [{"box": [20.0, 80.0, 100.0, 360.0]}]
    figure = drawing_of(BOX_TASK).draw(BOX_TASK, photograph(), result, 0.99)
    assert words(figure.axes[0].texts) == ["largest object"]
    assert_same_boxes(corners(outlines(figure.axes[0])), result.boxes[None])
