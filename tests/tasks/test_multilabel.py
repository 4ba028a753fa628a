"""Labels of an image: loss, accuracy and average precision against loops, by hand, and in pictures."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.tasks.multilabel import LabelResults
from jaxssd.tasks.task import Loss, Scores
from jaxssd.viz import results
from jaxssd.viz.tasks import drawing_of
from tests.strategies import grid_scores, masks, permutations
from tests.tasks.scenes import NAMES, dataset_of, examples_of, photograph, task_of
from tests.viz.drawn import words
from tests.viz.samples import render

IMAGES, PLACES, CLASSES = 5, 3, len(NAMES)
TASK = task_of(task="multilabel")
BOX = (0.0, 0.0, 0.5, 0.5)
HELD_BY_IMAGE = ({0, 1}, set(), {1}, set(), {0})
DATA = dataset_of(
    [(BOX, 0), (BOX, 1), (BOX, 1)],  # two of one class are one label
    [],
    [(BOX, 1), (BOX, 0, True)],  # a difficult one is none
    [(BOX, 1, True)],
    [(BOX, 0)],
)
RESULTS = LabelResults(
    np.array([[0.9, 0.5, 0.4], [0.8, 0.2, 0.6], [0.1, 0.5, 0.1], [0.3, 0.7, 0.0], [0.7, 0.6, 0.2]], np.float32)
)


@jax.jit
def label_loss(logits, examples):
    loss = TASK.loss(logits, examples)
    return loss.total.sum(), loss


gradient_of = jax.jit(jax.value_and_grad(label_loss, has_aux=True))


def held_by_loops(examples):
    held = np.zeros((len(examples.labels), CLASSES), bool)
    for i, g in np.ndindex(*examples.labels.shape):
        if examples.valid[i, g] and not examples.difficult[i, g]:
            held[i, examples.labels[i, g]] = True
    return held


@st.composite
def scenes(draw):
    """Boxes are NaN: only labels are looked at."""
    labels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, CLASSES, (IMAGES, PLACES))
    boxes = np.full((IMAGES, PLACES, 4), np.nan)
    return examples_of(boxes, labels, draw(masks(IMAGES, PLACES)), draw(masks(IMAGES, PLACES)))


def logits_of(seed):
    return np.float32(np.random.default_rng(seed).normal(0, 3, (IMAGES, CLASSES)))


# Loss


@settings(max_examples=30)
@given(scenes(), st.integers(0, 99))
def test_loss_is_binary_cross_entropy_over_the_classes(examples, seed):
    logits, held = logits_of(seed), held_by_loops(examples)
    (_, loss), gradient = gradient_of(logits, examples)
    assert isinstance(loss, Loss)
    p = 1 / (1 + np.exp(-np.float64(logits)))
    expected = [
        -sum(math.log(p[i, c]) if held[i, c] else math.log1p(-p[i, c]) for c in range(CLASSES)) / CLASSES
        for i in range(IMAGES)
    ]
    np.testing.assert_allclose(loss.total, expected, rtol=1e-4)
    np.testing.assert_allclose(gradient, (p - held) / CLASSES, rtol=1e-3, atol=1e-6)


def test_jitted_loss_is_the_eager_one():
    logits = jnp.asarray(logits_of(0))
    _, jitted = label_loss(logits, DATA.examples)
    np.testing.assert_allclose(jitted.total, TASK.loss(logits, DATA.examples).total, rtol=1e-5)


@settings(max_examples=15)
@given(scenes(), permutations(PLACES), st.integers(0, 99))
def test_order_and_padding_of_the_objects_change_nothing(examples, order, seed):
    turned = examples._replace(**{name: getattr(examples, name)[:, order] for name in examples._fields[1:]})
    wider = examples_of(
        np.pad(examples.boxes, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan),
        *(np.pad(array, ((0, 0), (0, 2))) for array in examples[2:]),
    )
    loss, *others = (label_loss(logits_of(seed), data)[1].total for data in (examples, turned, wider))
    for other in others:
        np.testing.assert_array_equal(loss, other)


@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
def test_gradients_are_finite_at_extremes(scale):
    loss, gradient = gradient_of(np.full((IMAGES, CLASSES), scale, np.float32), DATA.examples)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, gradient)))


# Answer and scores


def score(probabilities, data=DATA):
    return TASK.score(LabelResults(np.asarray(probabilities, np.float32)), data)


def test_results_are_probabilities_of_each_class_by_itself():
    logits = logits_of(1)
    np.testing.assert_allclose(
        TASK.postprocess(jnp.asarray(logits)).probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5
    )


def test_accuracy_by_hand():
    """As the lesson counts it: a probability of exactly one half says no."""
    scores = TASK.score(RESULTS, DATA)
    right = [
        [True, False, True],
        [False, True, False],
        [True, False, True],
        [True, False, True],
        [True, False, True],
    ]
    held = np.array([[label in labels for label in range(CLASSES)] for labels in HELD_BY_IMAGE])
    np.testing.assert_array_equal((RESULTS.probabilities > 0.5) == held, right)
    assert scores.accuracy == pytest.approx(9 / 15)


def test_average_precision_by_hand():
    """Cats are first and third of the ranking; dogs are hidden among equals; nobody has a horse."""
    scores = TASK.score(RESULTS, DATA)
    cat = 0.5 * 1 + 0.5 * 2 / 3  # 0.9 right, 0.8 wrong, 0.7 right
    dog = 2 / 4  # 0.7 and 0.6 are wrong; two right ones share 0.5
    assert scores.ap_area[:2] == pytest.approx([cat, dog])
    assert math.isnan(scores.ap_area[2])
    assert scores.summary() == pytest.approx({"accuracy": 0.6, "map_area": (cat + dog) / 2})
    assert scores.objective == scores.mean_area
    numbers = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert numbers == {
        "accuracy": scores.accuracy,
        "map_area": scores.mean_area,
        "classes": {
            "cat": {"ap_area": pytest.approx(cat)},
            "dog": {"ap_area": pytest.approx(dog)},
            "horse": {"ap_area": None},
        },
    }
    assert scores.headline() == f"accuracy 0.6000, classification mAP {(cat + dog) / 2:.3f}"
    assert scores.table().splitlines() == [
        "class  AP area",
        "cat     0.8333",
        "dog     0.5000",
        "horse        -",
        scores.headline(),
    ]


@pytest.mark.parametrize(
    ("probabilities", "ap"),
    [
        ([0.9, 0.5, 0.5], 0.5 * 1 + 0.5 * 2 / 3),  # right, then a right and a wrong one together
        ([0.5, 0.5, 0.9], 2 / 3),  # wrong, then both right ones together
        ([0.5, 0.5, 0.5], 2 / 3),
        ([0.9, 0.8, 0.1], 1.0),
        ([0.1, 0.2, 0.9], 0.5 * 2 / 3 + 0.5 * 2 / 3),  # the later precision is the higher one
    ],
)
def test_equal_probabilities_are_one_point(probabilities, ap):
    """Of three images the first two hold a cat."""
    data = dataset_of([(BOX, 0)], [(BOX, 0)], [])
    columns = np.stack([probabilities, np.zeros(3), np.zeros(3)], axis=1)
    assert score(columns, data).ap_area[0] == pytest.approx(ap)


def reference_precision(probabilities, held):
    """For every share of the truths, the best precision of any threshold that finds as many."""
    points = []
    for threshold in set(probabilities.tolist()):
        named = probabilities >= threshold
        points.append((int((named & held).sum()), float((named & held).sum() / named.sum())))
    count = int(held.sum())
    return sum(max(precision for found, precision in points if found >= k) for k in range(1, count + 1)) / count


@settings(max_examples=40)
@given(scenes(), grid_scores(IMAGES, CLASSES, steps=4), permutations(IMAGES))
def test_scores_are_the_loops_whatever_the_order_of_the_images(examples, probabilities, order):
    held = held_by_loops(examples)
    scores = score(probabilities, _dataset(examples))
    for c in range(CLASSES):
        expected = reference_precision(probabilities[:, c], held[:, c]) if held[:, c].any() else math.nan
        assert scores.ap_area[c] == pytest.approx(expected, nan_ok=True)
    right = sum((probabilities[i, c] > 0.5) == held[i, c] for i, c in np.ndindex(IMAGES, CLASSES))
    assert scores.accuracy == pytest.approx(right / (IMAGES * CLASSES))
    turned = score(probabilities[order], _dataset(jax.tree.map(lambda array: array[order], examples)))
    np.testing.assert_array_equal(scores.ap_area, turned.ap_area)
    assert scores.accuracy == turned.accuracy


def _dataset(examples):
    return replace(dataset_of(*[[]] * IMAGES), examples=examples)


def test_a_perfect_result_scores_perfectly():
    scores = score(held_by_loops(DATA.examples))
    assert scores.summary() == {"accuracy": 1.0, "map_area": 1.0}


def test_without_any_object_only_the_accuracy_is_defined():
    empty = dataset_of([], [(BOX, 1, True)])
    scores = score([[0.9, 0.1, 0.2], [0.1, 0.1, 0.2]], empty)
    assert isinstance(scores, Scores)
    assert scores.accuracy == pytest.approx(5 / 6)
    assert math.isnan(scores.mean_area)
    assert scores.objective == 0
    assert json.loads(json.dumps(scores.as_dict(), allow_nan=False))["map_area"] is None
    scores.headline()


def test_what_is_drawn_over_the_run_is_in_the_summary():
    keys = {key for names in drawing_of(TASK).curves.values() for key in names}
    assert keys <= set(TASK.score(RESULTS, DATA).summary())


# Pictures and JSON


def test_figures_name_what_is_found_wrong_and_missed():
    figures = drawing_of(TASK).figures(TASK, RESULTS, TASK.score(RESULTS, DATA), DATA)
    assert list(figures) == ["labels"]
    axes = figures["labels"].axes
    assert [ax.get_title() for ax in axes] == list(DATA.ids)
    assert [words(ax.texts)[0].split("\n") for ax in axes] == [
        ["cat 0.90", "dog 0.50", "[horse 0.40]"],
        ["[cat 0.80]", "[horse 0.60]"],
        ["dog 0.50"],
        ["[dog 0.70]"],
        ["cat 0.70", "[dog 0.60]"],
    ]
    render(figures["labels"])
    (missed,) = drawing_of(TASK).figures(TASK, LabelResults(RESULTS.probabilities * 0), None, DATA).values()
    assert words(missed.axes[0].texts) == ["missed cat\nmissed dog"]


def test_a_figure_holds_only_the_first_images(monkeypatch):
    monkeypatch.setattr(results, "GRID_IMAGES", 3)
    (figure,) = drawing_of(TASK).figures(TASK, RESULTS, None, DATA).values()
    assert [ax.get_title() for ax in figure.axes] == list(DATA.ids[:3])


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [(0.3, ["dog 0.75", "cat 0.50"]), (0.5, ["dog 0.75", "cat 0.50"]), (0.6, ["dog 0.75"]), (0.99, [])],
)
def test_a_photograph_and_json_have_the_classes_from_the_threshold_on(threshold, shown):
    result = LabelResults(np.array([0.5, 0.75, 0.1], np.float32))
    rows = TASK.to_json(result, (200, 400), threshold)
    assert [f"{row['class']} {row['score']:.2f}" for row in rows] == shown
    assert all(set(row) == {"class", "score"} for row in rows)
    json.dumps(rows)
    figure = drawing_of(TASK).draw(TASK, photograph(), result, threshold)
    assert words(figure.axes[0].texts) == ["\n".join(shown)]
    assert render(figure).shape == photograph().shape
