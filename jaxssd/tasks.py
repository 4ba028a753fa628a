"""What a network is trained to do: a task has the model, its loss, and how outputs become an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxssd.config import Config
from jaxssd.data.dataset import Examples
from jaxssd.models.detector import Predictions, make_detector, normalize_images
from jaxssd.ops import (
    Anchors,
    Detections,
    SSDLoss,
    bce_loss,
    clip_boxes,
    decode_tanh,
    focal_loss,
    make_anchors,
    multiclass_nms,
    ssd_loss,
)

CLASS_LOSSES = {"bce": bce_loss, "focal": focal_loss}


@dataclass(frozen=True)
class DetectionTask:
    """Every object's class and box: SSD over the lesson's anchors. Its methods are pure and take whole batches."""

    model: nn.Module
    anchors: Anchors
    loss_of_image: Callable[..., SSDLoss]

    def predict(self, variables: dict[str, Any], images: Array) -> Predictions:
        """The network in evaluation mode, on images as they are stored, uint8 `[B, S, S, 3]`."""
        return cast(Predictions, self.model.apply(variables, normalize_images(images), train=False))

    def loss(self, predictions: Predictions, examples: Examples) -> SSDLoss:
        """The loss of each image, `[B]`; difficult objects are no targets."""
        targets = examples.valid & ~examples.difficult
        return jax.vmap(self.loss_of_image)(*predictions, examples.boxes, examples.labels, targets)

    def detect(self, predictions: Predictions) -> Detections:
        """Decoded, clipped and suppressed detections of each image, `[B, D]`."""

        def detect_one(class_logits: Array, box_activations: Array) -> Detections:
            boxes = clip_boxes(decode_tanh(box_activations, self.anchors))
            return multiclass_nms(boxes, jax.nn.sigmoid(class_logits))

        return jax.vmap(detect_one)(*predictions)


def make_task(config: Config) -> DetectionTask:
    """The task that a configuration describes.

    Args:
        config: with its classes filled in.

    Returns:
        The task; its model has no parameters yet.

    Raises:
        ValueError: for anchor grids that the network does not have at this image size, or an unknown backbone.
    """
    # On the host: a device's arrays would have to be copied back when a function that closes over them is compiled.
    anchors = jax.device_get(make_anchors(config.grids, config.zooms, config.ratios))
    loss = partial(
        ssd_loss,
        anchors=anchors,
        class_loss=CLASS_LOSSES[config.class_loss],
        threshold=config.match_threshold,
        rule=config.match_rule,
    )
    model = make_detector(
        backbone=config.backbone,
        num_classes=len(config.classes),
        grids=config.grids,
        boxes_per_cell=len(config.zooms) * len(config.ratios),
        head_width=config.head_width,
        class_bias=config.class_bias,
        dropout=config.dropout,
        dtype=jnp.dtype(config.precision),
    )
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)  # raises where the grids do not fit
    return DetectionTask(model, anchors, loss)
