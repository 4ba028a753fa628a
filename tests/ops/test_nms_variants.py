"""Limits on candidates per class, and soft-NMS, against loops over boxes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxssd.ops.nms import multiclass_nms
from jaxssd.ops.soft_nms import soft_nms
from tests.ops.reference import iou

CASES, ANCHORS, CLASSES, OUTPUTS = 40, 14, 3, 8
LIMITS = {"score_threshold": 0.2, "iou_threshold": 0.4, "max_outputs": OUTPUTS}
PER_CLASS, SIGMA = 5, 0.3
PER_LEVEL, LEVELS = 6, (9, 3, 2)


def cases():
    """Boxes on a grid, and scores that all differ: the lowest class first is the only rule for ties left out."""
    rng = np.random.default_rng(0)
    near = rng.integers(0, 10, (CASES, ANCHORS, 2))
    boxes = np.concatenate([near, near + rng.integers(0, 8, near.shape)], axis=-1) / np.float32(16)
    count = ANCHORS * CLASSES
    scores = rng.permuted(np.broadcast_to(np.arange(count) / np.float32(count), (CASES, count)), axis=1)
    scores = scores.reshape(CASES, ANCHORS, CLASSES).astype(np.float32)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    return boxes.astype(np.float32), scores


BOXES, SCORES = cases()


@jax.jit
def program(boxes, scores):
    """Every variant, for a batch."""
    variants = {
        "per class": {"max_candidates_per_class": PER_CLASS},
        "soft": {"soft_sigma": SIGMA},
        "both": {"max_candidates_per_class": PER_CLASS, "soft_sigma": SIGMA},
        "all": {"max_candidates_per_class": 99},
        "plain": {},
        "per level": {"max_candidates_per_level": PER_LEVEL, "level_sizes": LEVELS},
        "soft per level": {"max_candidates_per_level": 99, "level_sizes": LEVELS, "soft_sigma": SIGMA},
    }
    found = {name: jax.vmap(partial(multiclass_nms, **LIMITS, **given)) for name, given in variants.items()}
    found["one class"] = jax.vmap(partial(soft_nms, sigma=SIGMA, score_threshold=0.2, max_outputs=OUTPUTS))
    return {name: f(boxes, scores[..., 0] if name == "one class" else scores) for name, f in found.items()}


@pytest.fixture(scope="module")
def found():
    return jax.device_get(program(BOXES, SCORES))


def candidates(scores, label, limit):
    """Anchors of a class above the threshold, best first."""
    ranked = sorted((a for a in range(ANCHORS) if scores[a, label] > 0.2), key=lambda a: -scores[a, label])
    return ranked[:limit]


def best_of_levels(scores):
    """Scores with NaN in place of those beyond the limit of their level, as few as 2 anchors' of 3 classes."""
    kept, start = np.full_like(scores, np.nan), 0
    for size in LEVELS:
        level = scores[start : start + size]
        lowest = sorted(level[~np.isnan(level)], reverse=True)[:PER_LEVEL][-1]
        kept[start : start + size] = np.where(level >= lowest, level, np.nan)
        start += size
    return kept


def hard_reference(boxes, scores, limit):
    """Rows (score, anchor, label) that greedy suppression keeps in each class."""
    kept = []
    for label in range(CLASSES):
        of_class = []
        for a in candidates(scores, label, limit):
            if all(iou(boxes[a], boxes[b]) <= 0.4 for b in of_class):
                of_class.append(a)
        kept += [(scores[a, label], a, label) for a in of_class]
    return sorted(kept, reverse=True)[:OUTPUTS]


def soft_reference(boxes, scores, limit, classes=CLASSES):
    """Rows (score, anchor, label): the best one is taken and the others of its class decay, again and again."""
    left = {(a, c): float(scores[a, c]) for c in range(classes) for a in candidates(scores, c, limit)}
    taken = []
    while left and max(left.values()) > 0.2:
        best = max(left, key=left.get)
        taken.append((left.pop(best), *best))
        for a, label in left:
            if label == best[1]:
                left[a, label] *= np.exp(-(float(iou(boxes[a], boxes[best[0]])) ** 2) / SIGMA)
    return taken[:OUTPUTS]


SOFT = jax.jit(partial(soft_nms, max_outputs=3))


def test_worked_example():
    """The first two of three boxes share half of their union; the third is far away.

    Soft-NMS lowers 0.8 by exp(-(1/2)^2 / 0.5) to 0.485, below the third.
    """
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 2, 1, 3]])
    soft = SOFT(boxes, np.float32([0.9, 0.8, 0.5]))
    assert soft.indices.tolist() == [0, 2, 1]
    np.testing.assert_allclose(soft.scores, [0.9, 0.5, 0.8 * np.exp(-0.5)], rtol=1e-6)


def assert_rows(detections, i, expected):
    count = len(expected)
    assert detections.valid[i].tolist() == [True] * count + [False] * (OUTPUTS - count)
    if count:
        scores, anchors, labels = zip(*expected, strict=True)
        np.testing.assert_allclose(detections.scores[i, :count], scores, rtol=2e-5)
        np.testing.assert_array_equal(detections.boxes[i, :count], BOXES[i][list(anchors)])
        np.testing.assert_array_equal(detections.labels[i, :count], labels)
    assert not detections.scores[i, count:].any()
    assert not detections.boxes[i, count:].any()


@pytest.mark.parametrize(("name", "limit"), [("per class", PER_CLASS), ("all", None), ("plain", None)])
def test_each_class_has_its_own_candidates(found, name, limit):
    for i in range(CASES):
        assert_rows(found[name], i, hard_reference(BOXES[i], SCORES[i], limit))


def test_each_level_has_its_own_candidates(found):
    scores = np.stack([best_of_levels(of_image) for of_image in SCORES])
    assert any(
        hard_reference(*each, None) != hard_reference(*every, None)
        for each, every in zip(zip(BOXES, scores, strict=True), zip(BOXES, SCORES, strict=True), strict=True)
    )  # the limit matters
    for i in range(CASES):
        assert_rows(found["per level"], i, hard_reference(BOXES[i], scores[i], None))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_candidates_per_level": 3}, "`level_sizes` is None, expected the number of anchors of each level, 14"),
        ({"max_candidates_per_level": 3, "level_sizes": ()}, r"`level_sizes` is \(\), expected"),
        ({"max_candidates_per_level": 3, "level_sizes": (9, 4)}, r"`level_sizes` is \(9, 4\), expected"),
        ({"max_candidates_per_level": 0, "level_sizes": LEVELS}, "`max_candidates_per_level` is 0"),
        (
            {"max_candidates_per_level": 3, "level_sizes": LEVELS, "max_candidates_per_class": 3},
            "`max.*` are both given",
        ),
    ],
)
def test_a_limit_per_level_needs_the_levels(given, message):
    with pytest.raises(ValueError, match=f"multiclass_nms: {message}"):
        multiclass_nms(BOXES[0], SCORES[0], **given)


@pytest.mark.parametrize(("name", "limit"), [("soft", None), ("both", PER_CLASS), ("soft per level", None)])
def test_soft_nms_is_the_loop(found, name, limit):
    for i in range(CASES):
        assert_rows(found[name], i, soft_reference(BOXES[i], SCORES[i], limit))


def test_soft_nms_of_one_class_names_the_rows(found):
    for i in range(CASES):
        expected = soft_reference(BOXES[i], SCORES[i], None, classes=1)
        count = len(expected)
        assert found["one class"].valid[i].sum() == count
        np.testing.assert_array_equal(found["one class"].indices[i, :count], [a for _, a, _ in expected])
        np.testing.assert_allclose(found["one class"].scores[i, :count], [s for s, *_ in expected], rtol=2e-5)


def test_soft_nms_drops_copies_and_keeps_more_of_a_crowd():
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0.4, 1, 1.4]])
    found = SOFT(boxes, np.float32([0.9, 0.9, 0.9]), sigma=0.1, score_threshold=0.05)
    assert found.indices.tolist() == [0, 2, 0]
    assert found.valid.tolist() == [True, True, False]


def test_rows_that_are_not_valid_and_unknown_boxes_change_nothing():
    boxes, scores, valid = BOXES[0].copy(), np.linspace(1, 0.5, ANCHORS, dtype=np.float32), np.arange(ANCHORS) % 3 > 0
    clean = SOFT(boxes, scores, valid)
    dirty = SOFT(np.where(valid[:, None], boxes, np.nan), np.where(valid, scores, np.nan).astype(np.float32), valid)
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    boxes[1] = np.nan  # the best one; it lowers no score
    assert SOFT(boxes, scores, valid).scores[1] == scores[2]


def test_scores_have_gradients_through_the_decay():
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1]])
    gradient = jax.jit(jax.grad(lambda s: soft_nms(boxes, s, max_outputs=4).scores.sum()))(jnp.array([0.9, 0.8]))
    np.testing.assert_allclose(gradient, [1, np.exp(-0.5)], rtol=1e-6)


def test_no_box_at_all_gives_padding():
    @jax.jit
    def nothing(boxes):
        of_classes = boxes[:, :2]
        return [
            soft_nms(boxes, boxes[:, 0], max_outputs=3),
            multiclass_nms(boxes, of_classes, max_outputs=3, max_candidates_per_class=4),
            multiclass_nms(boxes, of_classes, max_outputs=3, soft_sigma=0.5),
        ]

    assert not any(found.valid.any() for found in nothing(np.zeros((0, 4), np.float32)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_nms(BOXES[0], SCORES[0, :, 0], sigma=0), "soft_nms: `sigma` is 0"),
        (lambda: soft_nms(BOXES[0], SCORES[0, :, 0], max_outputs=0), "soft_nms: `max_outputs` is 0"),
        (lambda: soft_nms(BOXES[0], SCORES[0, :3, 0]), "scores"),
        (lambda: multiclass_nms(BOXES[0], SCORES[0], soft_sigma=-1), "multiclass_nms: `sigma` is -1"),
        (lambda: multiclass_nms(BOXES[0], SCORES[0], max_candidates_per_class=0), "`max_candidates_per_class` is 0"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):
        call()


def test_candidates_per_class_are_compared_down_to_the_last():
    """A box far below many copies is found; another image of the batch is done before."""
    far, copy = [0, 2, 1, 3], [0, 0, 1, 1]
    boxes = np.float32([[copy] * 19 + [far], [far, copy] * 10])
    scores = np.stack([np.linspace(0.9, 0.5, 20)] * 2)[..., None].astype(np.float32)
    found = jax.vmap(partial(multiclass_nms, max_outputs=2, max_candidates_per_class=20))(boxes, scores)
    np.testing.assert_array_equal(found.boxes, np.float32([[copy, far], [far, copy]]))
    np.testing.assert_array_equal(found.scores, scores[[[0, 0], [1, 1]], [[0, 19], [0, 1]], 0])


def test_a_narrow_decay_gives_no_output_to_boxes_that_are_no_candidates():
    """The decay is 0 in float32; the second box, below the threshold, takes none of the two outputs."""
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 1, 3]])
    found = multiclass_nms(boxes, np.float32([[0.9], [0.005], [0.6]]), soft_sigma=0.005, max_outputs=2)
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.6]))

    def total(boxes):
        return soft_nms(boxes, np.float32([0.9, 0.8, 0.6]), np.array([True, False, True]), max_outputs=2).scores.sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(boxes)), 0)
