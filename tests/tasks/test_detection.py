"""Detection as a task: the loss of each image, what results, scored, drawn and written."""

import json
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models.heads import Predictions
from jaxssd.ops import (
    Detections,
    bce_loss,
    clip_boxes,
    decode_tanh,
    focal_loss,
    make_anchors,
    multiclass_nms,
    ssd_loss,
)
from jaxssd.tasks.task import Loss, Scores
from jaxssd.viz import results
from jaxssd.viz.tasks import drawing_of
from tests.tasks.scenes import NAMES, dataset_of, photograph, task_of
from tests.viz.drawn import words
from tests.viz.samples import render

LEFT, RIGHT, WHOLE = (0.0, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0)
DATA = dataset_of([(LEFT, 0), (RIGHT, 1)], [], [(WHOLE, 2, True), (LEFT, 1)], [(WHOLE, 1, True)])
IMAGES, ANCHORS = 4, 4
TASK = task_of(class_loss="bce", match_rule="lesson")

loss_of = jax.jit(TASK.loss)
postprocess = jax.jit(TASK.postprocess)


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    return Predictions(
        jnp.asarray(rng.normal(size=(IMAGES, ANCHORS, len(NAMES))), jnp.float32),
        jnp.asarray(rng.normal(size=(IMAGES, ANCHORS, 4)), jnp.float32),
    )


def test_loss_is_the_ssd_loss_of_each_image_without_difficult_objects(predictions):
    loss = loss_of(predictions, DATA.examples)
    assert isinstance(loss, Loss)
    assert loss.total.shape == (IMAGES,)
    anchors = make_anchors((2,), (1.0,), ((1.0, 1.0),))
    one = jax.jit(partial(ssd_loss, anchors=anchors, class_loss=bce_loss, rule="lesson", threshold=0.4))
    for i in range(IMAGES):
        boxes, labels, valid, difficult = (array[i] for array in DATA.examples[1:])
        expected = one(predictions.class_logits[i], predictions.box_activations[i], boxes, labels, valid & ~difficult)
        for a, b in zip(loss, expected, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5)
    np.testing.assert_array_equal(loss.num_positive, [2, 0, 1, 0])


def test_the_focal_loss_has_the_settings(predictions):
    """Of the second image, which has no object, the classes are all there is."""
    empty = jax.tree.map(lambda array: array[1], DATA.examples)
    logits = predictions.class_logits[1]
    loss_of_image = jax.jit(task_of(class_loss="focal", alpha=0.5, gamma=1.0).loss_of_image)
    loss = loss_of_image(logits, predictions.box_activations[1], empty.boxes, empty.labels, empty.valid)
    expected = focal_loss(logits, jnp.zeros_like(logits), alpha=0.5, gamma=1.0).sum() / len(NAMES)
    np.testing.assert_allclose(loss.total, expected, rtol=1e-5)


def test_softmax_has_an_output_for_background():
    """Logits of 0 for three classes and log 5 for background: probabilities of 1/8 and 5/8.

    Positive anchors are 3 of 16 in the batch; each has one negative, and an image at least two.
    """
    task = task_of(
        class_loss="softmax", match_rule="lesson", normalizer="batch_positives", negative_ratio=1, min_negatives=2
    )
    images = jax.ShapeDtypeStruct((IMAGES, 64, 64, 3), jnp.float32)
    outputs = jax.eval_shape(lambda x: task.predict(task.init(jax.random.key(0), 64), x), images)
    assert outputs.class_logits.shape == (IMAGES, ANCHORS, len(NAMES) + 1)
    logits = np.tile(np.float32([0, 0, 0, np.log(5)]), (IMAGES, ANCHORS, 1))
    even = Predictions(logits, np.zeros((IMAGES, ANCHORS, 4), np.float32))
    loss = jax.jit(task.loss)(even, DATA.examples)
    np.testing.assert_array_equal(loss.num_positive, [2, 0, 1, 0])
    expected = np.array([2, 0, 1, 0]) * np.log(8) + 2 * np.log(8 / 5)
    np.testing.assert_allclose(loss.classification, expected / (3 / IMAGES), rtol=1e-6)
    found = jax.jit(task.postprocess)(even)
    np.testing.assert_allclose(np.asarray(found.scores)[np.asarray(found.valid)], 1 / 8, rtol=1e-6)
    assert set(np.asarray(found.labels)[np.asarray(found.valid)].tolist()) == {0, 1, 2}


def test_more_padding_changes_nothing(predictions):
    images, boxes, *rest = DATA.examples
    wider = type(DATA.examples)(
        images,
        np.pad(boxes, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan),
        *(np.pad(array, ((0, 0), (0, 2))) for array in rest),
    )
    for a, b in zip(loss_of(predictions, DATA.examples), loss_of(predictions, wider), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_results_are_decoded_clipped_and_suppressed_images(predictions):
    found = postprocess(predictions)
    assert found.boxes.shape[0] == IMAGES
    assert found.valid.any(axis=1).all()
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    decode = jax.jit(lambda activations: decode_tanh(activations, TASK.anchors))
    assert (decode(predictions.box_activations[0]) > 1).any()  # there was something to clip
    suppress = jax.jit(multiclass_nms)
    for i in range(IMAGES):
        boxes = clip_boxes(decode(predictions.box_activations[i]))
        expected = suppress(boxes, jax.nn.sigmoid(predictions.class_logits[i]))
        np.testing.assert_array_equal(found.valid[i], expected.valid)
        np.testing.assert_array_equal(found.labels[i], expected.labels)
        np.testing.assert_allclose(found.boxes[i], expected.boxes, atol=1e-6)
        np.testing.assert_allclose(found.scores[i], expected.scores, atol=1e-6)


def detections(*images):
    """`(box, score, label)` of each image, padded with what would show and count."""
    places = max(map(len, images)) + 1
    boxes = np.tile(np.float32(WHOLE), (len(images), places, 1))
    scores = np.full((len(images), places), 0.99, np.float32)
    labels, valid = np.zeros((len(images), places), np.int32), np.zeros((len(images), places), bool)
    for i, image in enumerate(images):
        for k, (box, score, label) in enumerate(image):
            boxes[i, k], scores[i, k], labels[i, k], valid[i, k] = box, score, label, True
    return Detections(boxes, scores, labels, valid)


PERFECT = detections([(LEFT, 0.9, 0), (RIGHT, 0.8, 1)], [], [(LEFT, 0.7, 1)], [(WHOLE, 0.95, 1)])


def test_a_perfect_result_scores_perfectly():
    """What is found of the difficult object neither counts nor harms; nobody has a horse."""
    scores = TASK.score(PERFECT, DATA)
    assert isinstance(scores, Scores)
    assert scores.summary() == pytest.approx({"map_area": 1, "map_voc07": 1})
    assert scores.objective == pytest.approx(1)
    assert scores.headline() == "mAP 1.000 (1.000 11-point)"
    assert scores.table().splitlines()[0].startswith("class")
    numbers = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert numbers["map_area"] == pytest.approx(1)
    assert numbers["classes"]["horse"]["ap_area"] is None


def test_boxes_are_compared_in_pixels_of_the_original_images():
    """A box that ends a fraction of a thousandth of a pixel early has an IoU of 1/2 with one twice its size."""
    data = dataset_of([(WHOLE, 0)])
    early = 0.5 - 0.0004 / float(data.sizes[0, 1])
    scores = TASK.score(detections([((0.0, 0.0, 1.0, early), 0.9, 0)]), data)
    assert scores.summary()["map_area"] == 1.0


def test_half_of_it_scores_half():
    found = detections([(LEFT, 0.9, 0)], [], [(WHOLE, 0.9, 1)], [])
    scores = TASK.score(found, DATA)
    assert scores.summary()["map_area"] == pytest.approx(0.5)
    assert scores.summary()["map_voc07"] == pytest.approx(0.5)


def test_without_any_object_nothing_is_defined_and_everything_works():
    empty = dataset_of([], [(WHOLE, 1, True)])
    found = detections([(LEFT, 0.9, 0)], [])
    scores = TASK.score(found, empty)
    assert all(math.isnan(value) for value in scores.summary().values())
    assert scores.objective == 0
    assert scores.headline() == "no ground truth"
    json.dumps(scores.as_dict(), allow_nan=False)
    for figure in drawing_of(TASK).figures(TASK, found, scores, empty).values():
        render(figure)


def test_what_is_drawn_over_the_run_is_in_the_summary():
    keys = {key for names in drawing_of(TASK).curves.values() for key in names}
    assert keys <= set(TASK.score(PERFECT, DATA).summary())


def test_figures_show_detections_beside_the_truth():
    figures = drawing_of(TASK).figures(TASK, PERFECT, TASK.score(PERFECT, DATA), DATA)
    assert list(figures) == ["detections", "precision-recall"]
    axes = figures["detections"].axes
    assert [ax.get_title() for ax in axes] == list(DATA.ids)
    assert [sorted(words(ax.texts)) for ax in axes] == [
        ["cat", "cat 0.90", "dog", "dog 0.80"],
        [],
        ["dog", "dog 0.70", "horse"],
        ["dog", "dog 0.95"],
    ]
    assert [ax.get_title() for ax in figures["precision-recall"].axes] == list(NAMES)
    for figure in figures.values():
        render(figure)


def test_a_figure_holds_only_the_first_images(monkeypatch):
    monkeypatch.setattr(results, "GRID_IMAGES", 3)
    figure = drawing_of(TASK).figures(TASK, PERFECT, TASK.score(PERFECT, DATA), DATA)["detections"]
    assert [ax.get_title() for ax in figure.axes] == list(DATA.ids[:3])


@pytest.mark.parametrize(("threshold", "shown"), [(0.25, 2), (0.5, 1), (0.75, 0)])
def test_a_photograph_and_json_have_the_detections_from_the_threshold_on(threshold, shown):
    batch = detections([(LEFT, 0.5, 0), ((0.1, 0.2, 0.5, 0.9), 0.25, 1)])
    result = Detections(*(array[0] for array in batch))
    rows = TASK.to_json(result, (200, 400), threshold)
    assert (
        rows
        == [
            {"class": "cat", "score": 0.5, "box": [0.0, 0.0, 100.0, 200.0]},
            {"class": "dog", "score": 0.25, "box": [20.0, 80.0, 100.0, 360.0]},
        ][:shown]
    )
    json.dumps(rows)
    figure = drawing_of(TASK).draw(TASK, photograph(), result, threshold)
    assert words(figure.axes[0].texts) == ["cat 0.50", "dog 0.25"][:shown]
    assert render(figure).shape == photograph().shape
