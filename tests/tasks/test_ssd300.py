"""SSD300 as a task: which loss and boxes its settings make, and that a run of it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.data.shapes import make_shapes
from jaxssd.models.heads import Predictions
from jaxssd.ops import (
    OFFSET_CODER,
    bce_loss,
    clip_boxes,
    decode_offsets,
    focal_loss,
    make_anchors,
    ssd300_anchors,
    ssd_loss,
)
from jaxssd.presets import PRESETS
from jaxssd.training import RunFolder, map_batches, restore, train
from jaxssd.training.distribution import data_mesh
from tests.sharing import make_task

pytestmark = pytest.mark.usefixtures("shared_programs")

ANCHORS = jax.device_get(ssd300_anchors())
CONFIG = PRESETS["ssd300"]().replace(classes=("a", "b", "c"), precision="float32")


@pytest.fixture(scope="module")
def scene():
    """Predictions for two images, and what is in them."""
    rng = np.random.default_rng(0)
    predictions = Predictions(
        jnp.asarray(rng.normal(-3, 2, (2, 8732, 3)).astype(np.float32)),
        jnp.asarray(rng.normal(0, 1, (2, 8732, 4)).astype(np.float32)),
    )
    examples = make_shapes(2, image_size=8, seed=3).examples
    return predictions, examples._replace(labels=examples.labels % 3)


@pytest.mark.parametrize("class_loss", ["bce", "focal"])
@pytest.mark.parametrize("negative_ratio", [3, None])
def test_the_loss_is_ssds(scene, class_loss, negative_ratio):
    predictions, examples = scene
    task = make_task(CONFIG.replace(class_loss=class_loss, negative_ratio=negative_ratio))
    loss = jax.jit(task.loss)(predictions, examples)
    of_image = jax.jit(
        partial(
            ssd_loss,
            anchors=ANCHORS,
            class_loss={"bce": bce_loss, "focal": focal_loss}[class_loss],
            threshold=0.5,
            box_coder=OFFSET_CODER,
            negative_ratio=negative_ratio,
            normalizer="positives",
        )
    )
    for i in range(2):
        objects = examples.boxes[i], examples.labels[i], examples.valid[i] & ~examples.difficult[i]
        expected = of_image(predictions.class_logits[i], predictions.box_activations[i], *objects)
        for name, value in expected._asdict().items():
            np.testing.assert_allclose(getattr(loss, name)[i], value, rtol=1e-5, err_msg=name)


def test_results_are_offsets_from_the_anchors(scene):
    """The best box of each image is the one that its activations say."""
    predictions, _ = scene
    task = make_task(CONFIG)
    found = jax.jit(task.postprocess)(predictions)
    boxes = jax.jit(jax.vmap(lambda x: clip_boxes(decode_offsets(x, task.anchors))))(predictions.box_activations)
    for i in range(2):
        anchor = int(jnp.argmax(predictions.class_logits[i].max(axis=-1)))
        np.testing.assert_allclose(found.boxes[i, 0], boxes[i, anchor], atol=1e-6)


def test_anchors_have_the_sizes_asked_for():
    coco = (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0)
    task = make_task(CONFIG.replace(anchor_sizes=coco))
    np.testing.assert_array_equal(task.anchors.corners, ssd300_anchors(coco).corners)
    assert isinstance(task.anchors.corners, np.ndarray)
    pyramid = make_task(CONFIG.replace(head="pyramid", backbone="resnet34", image_size=224))
    np.testing.assert_array_equal(pyramid.anchors.corners, make_anchors().corners)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 224}, "38x38"),
        ({"image_size": (300, 400)}, "features are 38x50, expected 38x38: .* --image-size 300"),
        ({"backbone": "resnet34"}, "38x38"),
        ({"anchor_sizes": (1.0, 2.0)}, "--anchor-sizes"),
        ({"negative_ratio": -1}, "--negative-ratio"),
    ],
)
def test_settings_that_make_no_ssd300_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_task(CONFIG.replace(**change))


def test_a_run_of_it_learns(tmp_path):
    """With a backbone small enough for a processor, which has cells of eight pixels too; four pictures by heart."""
    pictures = make_shapes(4, image_size=300, seed=0)
    config = CONFIG.replace(
        classes=pictures.class_names,
        backbone="resnet_narrow",
        augment="none",
        batch_size=2,
        epochs=(6,),
        eval_every=6,
        learning_rate=(2e-3,),
    )
    run = RunFolder(tmp_path)
    run.create(config)
    validate = train(config, pictures, pictures, run)
    losses = [row["loss"] for row in run.rows("train")]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < 0.6 * np.mean(losses[:2])
    _, _, variables = restore(run, mesh=data_mesh())
    found, _ = map_batches(validate, variables, pictures.examples, batch_size=2)
    assert np.isfinite(found.boxes).all()
