"""The pictures of the lesson's ideas are given what they claim to show: boxes where they say boxes, and so on."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.config import Config
from jaxssd.data.shapes import make_shapes
from jaxssd.models.heads import Predictions
from jaxssd.ops import augment_boxes, clip_boxes, match_anchors
from jaxssd.tasks.task import make_task
from jaxssd.tools import explain

DATA = make_shapes(6, image_size=32)
CONFIG = Config.of(
    classes=DATA.class_names,
    image_size=32,
    backbone="resnet_tiny",
    grids=(4,),
    zooms=(1.0,),
    ratios=((1.0, 1.0),),
    head_width=8,
    match_threshold=0.3,
)


match_jitted = jax.jit(match_anchors, static_argnames=("threshold", "rule"))


@jax.jit
def augment_jitted(boxes, valid, key):
    return augment_boxes(boxes, valid, explain.VISIBLE(key), image_size=(32, 32))


@pytest.fixture(scope="module")
def drawn():
    """What each figure was given. The network says something else of every anchor, and decodes to no anchor."""
    task, given = make_task(CONFIG), {}
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (1, 16, len(DATA.class_names))).astype(np.float32)
    activations = rng.normal(0, 1, (1, 16, 4)).astype(np.float32)

    class Fixed(type(task)):
        def predict(self, variables, images):
            count = len(images)
            return Predictions(
                jnp.tile(logits, (count, 1, 1)) + 0 * jnp.sum(images), jnp.tile(activations, (count, 1, 1))
            )

        def postprocess(self, predictions):
            return jax.jit(super().postprocess)(predictions)

    task = Fixed(**{name: getattr(task, name) for name in [field.name for field in fields(task)]})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("anchor_figure", "match_figure", "receptive_field_figure", "focal_figure", "augmentation_pair",
                     "augmented_grid", "raw_predictions_figure", "nms_figure"):  # fmt: skip
            patch.setattr(viz, name, lambda *args, name=name, **more: given.update({name: (args, more)}) or Figure())
        patch.setattr(explain, "_receptive_fields", lambda *_: Figure())
        patch.setattr(explain, "augment_image", lambda image, augmentation: image)
        names = [name for name, _ in explain.idea_figures(CONFIG, task, ({}, {}), DATA)]
    assert names == [
        "anchors",
        "matches",
        "receptive-fields",
        "focal-loss",
        "augmentation",
        "training-images",
        "raw-predictions",
        "suppression",
    ]
    return task, logits[0], activations[0], given


def test_predictions_are_drawn_as_decoded_boxes(drawn):
    task, logits, activations, given = drawn
    boxes = np.asarray(clip_boxes(task.decode(activations, task.anchors)))
    assert np.abs(boxes - clip_boxes(task.anchors.corners)).max() > 0.05
    scores = np.asarray(jax.nn.sigmoid(logits))
    (_, drawn_boxes, labels, best, names, grid), _ = given["raw_predictions_figure"]
    np.testing.assert_allclose(drawn_boxes, boxes, atol=1e-6)
    np.testing.assert_array_equal(labels, logits.argmax(axis=1))
    np.testing.assert_allclose(best, scores.max(axis=1), rtol=1e-6)
    assert (names, grid) == (DATA.class_names, 4)
    (_, every, every_score, every_label, left, _), settings = given["nms_figure"]
    classes = len(DATA.class_names)
    np.testing.assert_allclose(every, boxes.repeat(classes, axis=0), atol=1e-6)
    np.testing.assert_allclose(every_score, scores.ravel(), rtol=1e-6)
    np.testing.assert_array_equal(every_label, np.tile(np.arange(classes), 16))
    assert settings["score_threshold"] == task.shown_from
    expected = jax.tree.map(
        lambda array: np.asarray(array[0]), task.postprocess(Predictions(logits[None], activations[None]))
    )
    jax.tree.map(np.testing.assert_array_equal, tuple(left), tuple(expected))


def test_matches_and_anchors_are_drawn_of_the_image_that_tells_most(drawn):
    task, _, _, given = drawn
    lost = []
    for boxes, valid in zip(DATA.examples.boxes, DATA.examples.valid, strict=True):
        match = match_jitted(task.anchors.corners, boxes, valid, threshold=0.3, rule="lesson")
        owners = set(np.asarray(match.gt_index)[np.asarray(match.positive)].tolist())
        lost.append((len(set(np.flatnonzero(valid).tolist()) - owners), int(valid.sum())))
    (image, boxes, labels, valid, anchors, names), settings = given["match_figure"]
    index = next(i for i in range(6) if np.array_equal(DATA.examples.images[i], image))
    assert lost[index] == max(lost)
    np.testing.assert_array_equal(boxes, DATA.examples.boxes[index])
    np.testing.assert_array_equal(labels, DATA.examples.labels[index])
    np.testing.assert_array_equal(valid, DATA.examples.valid[index])
    assert anchors is task.anchors
    assert (names, settings) == (
        DATA.class_names,
        {"threshold": 0.3, "anchors_per_object": 1, "ignore_threshold": None},
    )
    (shown, _, grids, zooms, ratios), _ = given["anchor_figure"]
    np.testing.assert_array_equal(shown, image)
    assert (grids, zooms, ratios) == (CONFIG.anchors.grids, CONFIG.anchors.zooms, CONFIG.anchors.ratios)


def test_augmented_boxes_are_those_of_the_augmented_images(drawn):
    _, _, _, given = drawn
    (images, (boxes, valid), (moved, kept), labels, names), _ = given["augmentation_pair"]
    (_, _, truth_labels, _, _, _), _ = given["match_figure"]
    keys = jax.random.split(jax.random.key(0), 9)
    for index in (0, 4):
        expected = augment_jitted(boxes, valid, keys[index])
        np.testing.assert_allclose(moved[index], expected[0], atol=1e-5)
        np.testing.assert_array_equal(kept[index], expected[1])
    assert images.shape == (9, 32, 32, 3)
    np.testing.assert_array_equal(labels, truth_labels)
    assert names == DATA.class_names


def test_training_images_are_augmented_as_in_the_run():
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viz, "augmented_grid", lambda *args: given.update(args=args) or Figure())
        explain._training_images(CONFIG.replace(augment="none"), DATA)
    images, boxes, labels, valid, names = given["args"]
    np.testing.assert_allclose(images, DATA.examples.images / 255, atol=1e-6)
    for found, expected in zip((boxes, labels, valid), DATA.examples[1:4], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert names == DATA.class_names


def test_the_middle_cells_of_each_grid_show_their_receptive_fields(monkeypatch):
    """Rows of anchors: one cell of each grid, counted through the grids before it."""
    config = CONFIG.replace(grids=(4, 2, 1), zooms=(0.7, 1.0))
    task, given = make_task(config), {}
    monkeypatch.setattr(viz, "receptive_field_figure", lambda *args: given.update(args=args) or Figure())
    monkeypatch.setattr(
        explain, "effective_receptive_field", lambda logits, images, index: jnp.full((32, 32), index * 1.0)
    )
    explain._receptive_fields(config, task, ({}, {}), DATA.examples.images[:2])
    image, effective, theoretical, anchors, middles = given["args"]
    assert list(middles) == [(2 * 4 + 2) * 2, 32 + (1 * 2 + 1) * 2, 40]
    np.testing.assert_array_equal(effective[:, 0, 0], middles)
    np.testing.assert_array_equal(image, DATA.examples.images[0])
    assert anchors is task.anchors
    centers = np.asarray(task.anchors.center_size)[middles, :2]
    fields = np.asarray(theoretical)
    assert ((fields[:, :2] < centers) & (centers < fields[:, 2:])).all()
