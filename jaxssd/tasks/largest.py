"""The largest object of each image: its box, or its box and class; the lesson's first two stages."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.models.dense_heads import ObjectPredictions
from jaxssd.ops import box_area, box_iou
from jaxssd.ops.arrays import ArrayLike
from jaxssd.tasks.largest_scores import CLASS_WEIGHT, ClassifiedScores, LargestScores
from jaxssd.tasks.task import Task, box_in_pixels


class LargestObject(NamedTuple):
    """The true largest object of each image; zeros where there is none."""

    boxes: Float[Array, "B 4"]
    labels: Int[Array, " B"]
    exists: Bool[Array, " B"]


def largest_object(examples: Examples) -> LargestObject:
    """Of each image the object with the largest area that is not difficult; of equal ones the first.

    Args:
        examples: a batch.

    Returns:
        Its box and label, and whether there is one.
    """
    targets = jnp.asarray(examples.valid) & ~jnp.asarray(examples.difficult)
    index = jnp.argmax(jnp.where(targets, box_area(examples.boxes), -1), axis=1)
    exists = targets.any(axis=1)

    def pick(rows: ArrayLike, index: Array, exists: Array) -> Array:
        return jnp.where(exists, jnp.asarray(rows)[index], 0)

    boxes, labels = (jax.vmap(pick)(rows, index, exists) for rows in (examples.boxes, examples.labels))
    return LargestObject(boxes, labels, exists)


class BoxLoss(NamedTuple):
    """Mean absolute error of the corners in pixels; 0 for an image without objects."""

    total: Float[Array, " B"]


class ObjectLoss(NamedTuple):
    """The box's error in pixels, the class's cross entropy, and their weighted sum; 0 for an image without objects."""

    total: Float[Array, " B"]
    localization: Float[Array, " B"]
    classification: Float[Array, " B"]


class BoxAnswer(NamedTuple):
    """A box for each image, normalised corners; it may reach beyond the image."""

    boxes: Float[ArrayLike, "B 4"]


class ObjectAnswer(NamedTuple):
    """A box for each image, and the probability of each class."""

    boxes: Float[ArrayLike, "B 4"]
    probabilities: Float[ArrayLike, "B C"]


@dataclass(frozen=True)
class _LargestTask(Task):
    """What both tasks have in common.

    Attributes:
        image_size: side of the network's input in pixels.
    """

    image_size: int

    def figures(self, answers: Any, scores: Any, dataset: Dataset) -> dict[str, Figure]:
        """Boxes beside the truth."""
        truths, first = _truths(dataset), slice(viz.GRID_IMAGES)
        grid = viz.object_grid(
            dataset.examples.images[first],
            np.clip(answers.boxes[first], 0, 1),
            self.captions(answers)[first],
            np.asarray(truths.boxes[first]),
            [self.class_names[label] for label in truths.labels[first]],
            ids=dataset.ids[first],
        )
        return {"detections": grid}

    def draw(self, photograph: np.ndarray, answer: Any, threshold: float) -> Figure:
        """The box with what is known of it."""
        batch = type(answer)(*(array[None] for array in answer))
        shown = slice(len(self.to_json(answer, (1, 1), threshold)))
        boxes, captions = np.clip(batch.boxes[shown], 0, 1), self.captions(batch)[shown]
        return viz.object_image(photograph, boxes, captions)

    @abstractmethod
    def captions(self, answers: Any) -> list[str]:
        """What is written at each box."""

    def box_loss(self, pixels: Array, truth: LargestObject) -> Array:
        """Mean absolute error of the corners `[B]` in pixels; 0 for an image without objects."""
        error = jnp.abs(pixels - truth.boxes * self.image_size).mean(axis=-1)
        return jnp.where(truth.exists, error, 0)

    def box_scores(self, boxes: np.ndarray, truths: LargestObject) -> tuple[float, float, int]:
        """Mean error in pixels, mean IoU, and the number of images that they are taken over."""
        ours, true = boxes[truths.exists], truths.boxes[truths.exists]
        return _mean(np.abs(ours - true)) * self.image_size, _mean(np.asarray(_paired_iou(ours, true))), len(ours)


@dataclass(frozen=True)
class LargestBoxTask(_LargestTask):
    """The box of the largest object, four numbers in pixels."""

    @property
    def curves(self) -> dict[str, dict[str, str]]:
        """The error in pixels, and the IoU."""
        return {"box error": {"box_error": "pixels"}, "IoU": {"iou": "IoU"}}

    def loss(self, predictions: Array, examples: Examples) -> BoxLoss:
        """L1 in pixels."""
        return BoxLoss(self.box_loss(predictions, largest_object(examples)))

    def postprocess(self, predictions: Array) -> BoxAnswer:
        """The boxes, normalised."""
        return BoxAnswer(predictions / self.image_size)

    def score(self, answers: BoxAnswer, dataset: Dataset, *, with_coco: bool = False) -> LargestScores:
        """Error and IoU of the boxes."""
        return LargestScores(*self.box_scores(answers.boxes, _truths(dataset)))

    def to_json(self, answer: BoxAnswer, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """The box; it has no score that could fall below the threshold."""
        return [{"box": box_in_pixels(answer.boxes, size)}]

    def captions(self, answers: BoxAnswer) -> list[str]:
        """Nothing is known of the class."""
        return ["largest object"] * len(answers.boxes)


@dataclass(frozen=True)
class LargestObjectTask(_LargestTask):
    """The box of the largest object, kept inside the image by a sigmoid, and its class."""

    @property
    def curves(self) -> dict[str, dict[str, str]]:
        """The error in pixels, and shares."""
        return {"box error": {"box_error": "pixels"}, "scores": {"iou": "IoU", "accuracy": "accuracy"}}

    def loss(self, predictions: ObjectPredictions, examples: Examples) -> ObjectLoss:
        """L1 in pixels, and 20 times the cross entropy."""
        truth = largest_object(examples)
        localization = self.box_loss(jax.nn.sigmoid(predictions.box_activations) * self.image_size, truth)
        entropy = optax.softmax_cross_entropy_with_integer_labels(predictions.class_logits, truth.labels)
        classification = jnp.where(truth.exists, entropy, 0)
        return ObjectLoss(localization + CLASS_WEIGHT * classification, localization, classification)

    def postprocess(self, predictions: ObjectPredictions) -> ObjectAnswer:
        """Boxes, and probabilities that sum to 1 over the classes."""
        return ObjectAnswer(jax.nn.sigmoid(predictions.box_activations), jax.nn.softmax(predictions.class_logits))

    def score(self, answers: ObjectAnswer, dataset: Dataset, *, with_coco: bool = False) -> ClassifiedScores:
        """Error and IoU of the boxes, accuracy and cross entropy of the classes."""
        truths = _truths(dataset)
        probabilities, labels = answers.probabilities[truths.exists], np.asarray(truths.labels[truths.exists])
        of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1)
        return ClassifiedScores(
            *self.box_scores(answers.boxes, truths),
            accuracy=_mean(probabilities.argmax(axis=1) == labels),
            cross_entropy=_mean(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))),
        )

    def to_json(self, answer: ObjectAnswer, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Class, score and box, if the score reaches the threshold."""
        label, score = int(answer.probabilities.argmax()), float(answer.probabilities.max())
        row = {"class": self.class_names[label], "score": round(score, 4), "box": box_in_pixels(answer.boxes, size)}
        return [row] if score >= threshold else []

    def captions(self, answers: ObjectAnswer) -> list[str]:
        """The most probable class and its probability."""
        rows = zip(answers.probabilities.argmax(axis=1), answers.probabilities.max(axis=1), strict=True)
        return [f"{self.class_names[label]} {score:.2f}" for label, score in rows]


@jax.jit
@jax.vmap
def _paired_iou(ours: Array, true: Array) -> Array:
    """Each box with its own counterpart."""
    return box_iou(ours[None], true[None])[0, 0]


def _truths(dataset: Dataset) -> LargestObject:
    return jax.device_get(largest_object(dataset.examples._replace(images=dataset.examples.images[:0])))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
