"""Registries: parts by name, imported when they are first used; what others rely on holds for every part."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.models import BACKBONES, HEADS
from jaxssd.models.detector import Detector
from jaxssd.models.heads import AnchorHead
from jaxssd.registry import Registry
from jaxssd.tasks import TASKS
from jaxssd.tasks.task import Task, make_task
from jaxssd.viz.tasks import DRAWINGS, drawing_of


def test_names_are_listed_in_order_and_parts_found():
    registry = Registry("number", {"pi": "math:pi", "nothing": "no_such_module:x"})
    registry["own"] = 3
    registry["pi"] = 4  # replaces the registered one
    assert (list(registry), len(registry)) == (["pi", "nothing", "own"], 3)
    assert (registry["pi"], registry["own"], "own" in registry, "tau" in registry) == (4, 3, True, False)
    with pytest.raises(ValueError, match="unknown number 'tau'; choose one of pi, nothing, own"):
        registry["tau"]
    with pytest.raises(ModuleNotFoundError):
        registry["nothing"]


def test_names_need_no_flax_and_tasks_no_matplotlib():
    code = (
        "import sys, jaxssd.models, jaxssd.tasks, jaxssd.config\n"
        "assert list(jaxssd.models.HEADS) and list(jaxssd.models.BACKBONES) and list(jaxssd.tasks.TASKS)\n"
        "assert 'flax' not in sys.modules\n"
        "import train, jaxssd.training\n"
        "for name in jaxssd.tasks.TASKS: jaxssd.tasks.TASKS[name]\n"
        "found = {'matplotlib', 'jaxssd.viz', 'jaxssd.models.fast_layers', 'safetensors'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_knows_its_name_and_is_drawn(name):
    assert issubclass(TASKS[name], Task)
    assert TASKS[name].name == name
    assert set(DRAWINGS) == set(TASKS)
    assert TASKS[name].has_anchors == TASKS[name].gives_detections == (name == "detection")


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_its_anchors(name):
    head = HEADS[name]
    assert issubclass(head, AnchorHead)
    config = Config.of(head=name, grids=(2,), classes=("a",))
    made = head(num_classes=1, **head.settings(config))
    anchors = head.anchors(config)
    assert np.asarray(anchors.corners).shape[1] == 4
    assert head.fixed_anchors == (not head.anchor_grids(config))
    assert made.num_classes == 1


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_its_stride_and_stages(name):
    backbone = BACKBONES[name](fast_layers=("norm",), remat=True)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    features, _ = jax.eval_shape(
        lambda x: backbone.init_with_output(jax.random.key(0), x, train=False, frozen_stages=1), images
    )
    assert features.shape[1] == 64 // backbone.output_stride
    assert backbone.num_stages >= 2
    if hasattr(backbone, "layers"):
        assert backbone.layers[0] == (7, 2 if backbone.pool else 4)


def test_a_head_of_its_own_takes_no_other():
    with pytest.raises(ValueError, match="--head is ssd300"):
        make_task(Config.of(task="multilabel", head="ssd300", classes=("a",)))


def test_a_task_without_a_drawing_is_written_on_its_photograph():
    class Bare(TASKS["multilabel"]):
        name = "bare"

        def to_json(self, result, size, threshold):
            return [{"class": "cat", "score": 0.5}]

    model = Detector(BACKBONES["resnet_tiny"](), HEADS["pyramid"](num_classes=1))
    task = Bare(model, ("cat",), (0.0,) * 3, (1.0,) * 3)
    drawing = drawing_of(task)
    assert (drawing.curves, drawing.figures(task, None, None, None)) == ({}, {})
    figure = drawing.draw(task, np.zeros((8, 8, 3), np.uint8), None, 0.3)
    assert [text.get_text() for text in figure.axes[0].texts] == ["cat 0.5"]
