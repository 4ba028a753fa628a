"""Every kind of task from its settings, with the network that they ask for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.models.dense_heads import BoxHead, LabelHead, ObjectHead, ObjectPredictions
from jaxssd.models.heads import Predictions
from jaxssd.tasks.detection import DetectionTask
from jaxssd.tasks.largest import LargestBoxTask, LargestObjectTask
from jaxssd.tasks.multilabel import MultilabelTask
from jaxssd.tasks.task import Task, fast_layers
from tests.tasks.scenes import NAMES, SIZE, task_of

TASKS = {
    "detection": DetectionTask,
    "largest_box": LargestBoxTask,
    "largest_object": LargestObjectTask,
    "multilabel": MultilabelTask,
}
IMAGES = jax.ShapeDtypeStruct((2, SIZE, SIZE, 3), jnp.uint8)


def init(task):
    return jax.eval_shape(partial(task.init, image_size=SIZE), jax.random.key(0))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TASKS)
def test_every_task_predicts_and_postprocesses_in_float32(name, precision):
    task = task_of(task=name, precision=precision)
    assert isinstance(task, TASKS[name])
    assert isinstance(task, Task)
    assert (task.class_names, task.num_stages) == (NAMES, 2)
    predictions = jax.eval_shape(task.predict, init(task), IMAGES)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((init(task), predictions)))
    shape = {
        "detection": Predictions((2, 4, 3), (2, 4, 4)),
        "largest_box": (2, 4),
        "largest_object": ObjectPredictions((2, 4), (2, 3)),
        "multilabel": (2, 3),
    }[name]
    assert jax.tree.map(lambda leaf: leaf.shape, predictions) == shape
    assert task.model.backbone.dtype == precision
    result = jax.eval_shape(task.postprocess, predictions)
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize(
    ("head", "grids"),
    [("pyramid", [(3, 4), (2, 2), (1, 1)]), ("retinanet", [(6, 8), (3, 4)])],
)
def test_a_rectangular_input_has_anchors_of_its_shape(head, grids):
    """48 x 64 pixels; `--grids` names the longer sides, and squares have the area of their cell in pixels."""
    settings = {"image_size": (48, 64), "backbone": "resnet_small", "grids": (4, 2, 1), "levels": (3, 4)}
    task = task_of(head=head, zooms=(1.0,), ratios=((1.0, 1.0),), **settings)
    variables = jax.eval_shape(partial(task.init, image_size=(48, 64)), jax.random.key(0))
    predictions = jax.eval_shape(task.predict, variables, jax.ShapeDtypeStruct((2, 48, 64, 3), jnp.uint8))
    centers = np.concatenate([(np.indices(grid).reshape(2, -1).T + 0.5) / grid for grid in grids])
    np.testing.assert_allclose(task.anchors.center_size[:, :2], centers, rtol=1e-6)
    sides = np.concatenate([[np.sqrt(48 * 64 / rows / columns)] * rows * columns for rows, columns in grids])
    np.testing.assert_allclose(task.anchors.center_size[:, 2:] * [48, 64], np.stack([sides] * 2, 1), rtol=1e-6)
    assert predictions.box_activations.shape == (2, len(centers), 4)


def test_grids_that_a_rectangular_input_does_not_have_are_named():
    with pytest.raises(ValueError, match=r"--grids is \(3,\), expected some of .*4 2 1.*48"):
        task_of(image_size=(48, 64), backbone="resnet_small", grids=(3,))


def test_heads_have_the_settings():
    settings = {"head_width": 12, "input_dropout": 0.1, "dropout": 0.2, "precision": "bfloat16"}
    heads = {name: task_of(task=name, **settings).model.head for name in TASKS}
    assert type(heads["largest_box"]) is BoxHead
    assert type(heads["largest_object"]) is ObjectHead
    assert type(heads["multilabel"]) is LabelHead
    for name in ("detection", "largest_object", "multilabel"):
        head = heads[name]
        assert (head.num_classes, head.width, head.input_dropout, head.dropout) == (3, 12, 0.1, 0.2)
        assert head.dtype == jnp.bfloat16


def test_images_are_normalised_with_the_settings():
    task = task_of(task="multilabel", mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    white = jnp.full((1, 2, 2, 3), 255, jnp.uint8)
    np.testing.assert_allclose(task.normalize(white)[0, 0, 0], [1.0, 3.0, 1.0], rtol=1e-6)


def test_boxes_are_measured_in_pixels_of_the_input():
    assert task_of(task="largest_box", image_size=96).input_shape == (96, 96)
    assert task_of(task="largest_object", image_size=96).input_shape == (96, 96)


def test_grids_that_the_network_does_not_have_are_told_at_once():
    with pytest.raises(ValueError, match="grids"):
        task_of(grids=(5,))
    task_of(task="multilabel", grids=(5,))  # which has none


@pytest.mark.parametrize(
    ("chosen", "cpu", "gpu"),
    [
        (None, (), ("norm",)),
        ((), (), ()),
        (("auto",), ("pool", "stem"), ("norm",)),
        (("norm", "auto"), ("norm", "pool", "stem"), ("norm",)),
        (("stem", "norm"), ("norm", "stem"), ("norm", "stem")),
    ],
)
def test_fast_layers_go_by_the_device_unless_they_are_named(chosen, cpu, gpu, monkeypatch):
    config = Config.of(fast_layers=chosen)
    assert fast_layers(config) == cpu
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert fast_layers(config) == gpu
