"""Figures that explain the lesson, on the images of a run with its network."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.config import Config
from jaxssd.data.augmentation import augment_batch, augmentation_steps
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.models.receptive_field import anchor_receptive_fields, effective_receptive_field, has_paths
from jaxssd.ops import (
    Anchors,
    augment_boxes,
    augment_image,
    clip_boxes,
    match_anchors,
    sample_augmentation,
)
from jaxssd.ops.arrays import as_pair

AUGMENTED_IMAGES = 12
FIELD_IMAGES = 32  # enough for a smooth mean of gradients
VISIBLE = partial(  # the lesson's augmentation, stronger so that a reader sees it
    sample_augmentation, rotation=20.0, rotation_probability=1.0, scale=(1.0, 1.0), aspect=(1.0, 1.0), brightness=0.2
)


def idea_figures(
    config: Config, task: Any, variables: tuple[Any, Any], dataset: Dataset
) -> Iterator[tuple[str, Figure]]:
    """Draw anchors, matches, receptive fields, predictions, suppression, augmentations and the focal loss.

    Args:
        config: settings of the run.
        task: task of the run, one that has anchors.
        variables: parameters and statistics.
        dataset: data set with objects; images that show the ideas well are chosen.

    Yields:
        Name and figure of each idea. Raw predictions need a grid with one anchor per cell, anchors and receptive fields
        a head whose anchors are chosen by grids.
    """
    examples = dataset.examples
    image, boxes, labels, valid, difficult = _most_telling(examples, task.anchors, config.anchors.match_threshold)
    grids = task.model.head.anchor_grids(config)
    of_grids = not task.model.head.fixed_anchors  # SSD300's anchors are too many to draw
    if of_grids:
        yield (
            "anchors",
            viz.anchor_figure(image, task.anchors, grids, config.anchors.zooms, config.anchors.ratios),
        )
    yield (
        "matches",
        viz.match_figure(
            image,
            boxes,
            labels,
            valid & ~difficult,  # those of the loss
            task.anchors,
            task.class_names,
            threshold=config.anchors.match_threshold,
            anchors_per_object=config.anchors.anchors_per_object,
            ignore_threshold=config.anchors.ignore_threshold,
        ),
    )
    if of_grids and has_paths(task.model):
        yield "receptive-fields", _receptive_fields(config, task, variables, examples.images[:FIELD_IMAGES])
    yield "focal-loss", viz.focal_figure()
    yield "augmentation", _augmentations(image, boxes, labels, valid, task.class_names)
    yield "training-images", _training_images(config, dataset)
    yield from _predictions(config, task, variables, image)


def _most_telling(examples: Examples, anchors: Anchors, threshold: float) -> Examples:
    """Example with most objects that lose their anchor under the lesson's rule; on ties, with most objects."""

    def count_lost(objects: tuple[jax.Array, jax.Array]) -> jax.Array:
        boxes, valid = objects
        match = match_anchors(anchors.corners, boxes, valid, threshold=threshold, rule="lesson")
        owned = jnp.any((match.gt_index[:, None] == jnp.arange(len(valid))[None, :]) & match.positive[:, None], axis=0)
        return jnp.sum(valid & ~owned)

    lost = jax.jit(partial(jax.lax.map, count_lost, batch_size=64))((examples.boxes, examples.valid))
    index = int(np.lexsort((examples.valid.sum(axis=1), np.asarray(lost)))[-1])
    return Examples(*(array[index] for array in examples))


def _receptive_fields(config: Config, task: Any, variables: tuple[Any, Any], images: np.ndarray) -> Figure:
    """Receptive field of the first anchor of the cell in the middle of each grid."""

    @jax.jit
    def field(variables: tuple[Any, Any], images: jax.Array, index: jax.Array) -> jax.Array:
        return effective_receptive_field(lambda x: task.predict(variables, x).class_logits, images, index)

    per_cell = len(config.anchors.zooms) * len(config.anchors.ratios)
    middles, start = [], 0
    for rows, columns in map(as_pair, task.model.head.anchor_grids(config)):
        middles.append(start + (rows // 2 * columns + columns // 2) * per_cell)
        start += rows * columns * per_cell
    pixels = images.astype(np.float32) / 255
    effective = np.stack([np.asarray(field(variables, pixels, jnp.int32(index))) for index in middles])
    theoretical = anchor_receptive_fields(task.model, config.dataset.input_shape)[middles]
    return viz.receptive_field_figure(images[0], effective, theoretical, task.anchors, middles)


def _augmentations(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray, class_names: tuple[str, ...]
) -> Figure:
    @jax.jit
    def augment(pixels: jax.Array, boxes: jax.Array, valid: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        augmentations = jax.vmap(VISIBLE)(jax.random.split(jax.random.key(0), 9))
        moved = jax.vmap(partial(augment_boxes, boxes, valid, image_size=image.shape[:2]))(augmentations)
        return jax.vmap(partial(augment_image, pixels))(augmentations), moved

    images, moved = jax.device_get(augment(image.astype(np.float32) / 255, boxes, valid))
    return viz.augmentation_pair(images, (boxes, valid), moved, labels, class_names)


def _training_images(config: Config, dataset: Dataset) -> Figure:
    """Images of the data set, augmented as those of the run's training."""
    few = Examples(*(array[:AUGMENTED_IMAGES] for array in dataset.examples))
    steps = augmentation_steps(config.augmentation, config.dataset.input_shape)
    images, boxes, labels, valid, _ = jax.device_get(
        jax.jit(partial(augment_batch, steps=steps))(jax.random.key(0), few)
    )
    return viz.augmented_grid(images, boxes, labels, valid, dataset.class_names)


def _predictions(
    config: Config, task: Any, variables: tuple[Any, Any], image: np.ndarray
) -> Iterator[tuple[str, Figure]]:
    """Predictions: raw, if there is one box per cell; then before and after NMS, over all anchors and classes."""
    predictions = jax.jit(task.predict)(variables, image[None])
    detections = jax.device_get(jax.tree.map(lambda array: array[0], jax.jit(task.postprocess)(predictions)))
    logits, activations = (array[0] for array in predictions)
    boxes = np.asarray(clip_boxes(task.decode(activations, task.anchors)))
    scores = np.asarray(task.scores(logits))
    grids = task.model.head.anchor_grids(config)
    if (
        not task.model.head.fixed_anchors
        and len(grids) == 1
        and len(config.anchors.zooms) * len(config.anchors.ratios) == 1
    ):
        labels = scores.argmax(axis=1).astype(np.int32)
        yield (
            "raw-predictions",
            viz.raw_predictions_figure(image, boxes, labels, scores.max(axis=1), task.class_names, grids[0]),
        )
    anchor, label = np.indices(scores.shape).reshape(2, -1)
    yield (
        "suppression",
        viz.nms_figure(
            image,
            boxes[anchor],
            scores.ravel(),
            label.astype(np.int32),
            detections,
            task.class_names,
            score_threshold=task.shown_from,
        ),
    )
