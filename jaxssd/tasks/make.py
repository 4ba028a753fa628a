"""From a configuration to its task."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssd.config import Config
from jaxssd.models import BACKBONES, BoxHead, Detector, FastLayer, LabelHead, ObjectHead, make_detector
from jaxssd.ops import (
    bce_loss,
    decode_offsets,
    decode_tanh,
    encode_offsets,
    focal_loss,
    make_anchors,
    ssd300_anchors,
    ssd_loss,
)
from jaxssd.tasks.detection import DetectionTask
from jaxssd.tasks.largest import LargestBoxTask, LargestObjectTask
from jaxssd.tasks.multilabel import MultilabelTask
from jaxssd.tasks.task import Task


def make_task(config: Config) -> Task:
    """The task that a configuration describes.

    Args:
        config: with its classes filled in.

    Returns:
        The task; its model has no parameters yet.

    Raises:
        ValueError: for anchor grids that the network does not have at this image size.
    """
    task = _TASKS[config.task](config)
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    jax.eval_shape(partial(task.model.init, train=False), jax.random.key(0), images)  # raises where grids do not fit
    return task


def _detection(config: Config) -> DetectionTask:
    if config.head == "ssd300":
        anchors = ssd300_anchors(config.anchor_sizes)
    else:
        anchors = make_anchors(config.grids, config.zooms, config.ratios)
    anchors = jax.device_get(anchors)  # a device's would have to be copied back when what closes over them is compiled
    model = make_detector(
        num_classes=len(config.classes),
        backbone=config.backbone,
        head=config.head,
        grids=config.grids,
        boxes_per_cell=len(config.zooms) * len(config.ratios),
        head_width=config.head_width,
        class_bias=config.class_bias,
        input_dropout=config.input_dropout,
        dropout=config.dropout,
        dtype=jnp.dtype(config.precision),
        fast_layers=_reformulated(config),
        remat=config.remat,
    )
    decode, encode = (decode_tanh, None) if config.coding == "tanh" else (decode_offsets, encode_offsets)
    focal = partial(focal_loss, alpha=config.alpha, gamma=config.gamma)
    loss = partial(
        ssd_loss,
        anchors=anchors,
        class_loss=focal if config.class_loss == "focal" else bce_loss,
        threshold=config.match_threshold,
        rule=config.match_rule,
        decode=decode,
        encode=encode,
        negative_ratio=config.negative_ratio or None,
        normalizer=config.normalizer,
    )
    return DetectionTask(model, config.classes, config.mean, config.std, anchors, decode, loss)


def _largest_box(config: Config) -> LargestBoxTask:
    return LargestBoxTask(_with_head(BoxHead(), config), config.classes, config.mean, config.std, config.image_size)


def _largest_object(config: Config) -> LargestObjectTask:
    model = _with_head(_dense_head(ObjectHead, config), config)
    return LargestObjectTask(model, config.classes, config.mean, config.std, config.image_size)


def _multilabel(config: Config) -> MultilabelTask:
    model = _with_head(_dense_head(LabelHead, config), config)
    return MultilabelTask(model, config.classes, config.mean, config.std)


_TASKS = {
    "detection": _detection,
    "largest_box": _largest_box,
    "largest_object": _largest_object,
    "multilabel": _multilabel,
}


def _dense_head(head: type[ObjectHead] | type[LabelHead], config: Config) -> nn.Module:
    return head(
        num_classes=len(config.classes),
        input_dropout=config.input_dropout,
        dropout=config.dropout,
        width=config.head_width,
        dtype=jnp.dtype(config.precision),
    )


def _with_head(head: nn.Module, config: Config) -> Detector:
    dtype = jnp.dtype(config.precision)
    return Detector(
        BACKBONES[config.backbone](dtype=dtype, fast_layers=_reformulated(config), remat=config.remat), head
    )


def _reformulated(config: Config) -> tuple[FastLayer, ...]:
    """On a GPU `norm` was measured to be faster; of the others, and of a TPU, it is not known."""
    if config.fast_layers is None:
        return () if jax.default_backend() == "cpu" else ("norm",)
    return config.fast_layers
