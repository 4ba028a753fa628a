"""Largest object of each image: its box, or its box and class; the lesson's first two stages."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.models.dense_heads import BoxHead, ObjectHead, ObjectPredictions
from jaxssd.ops import box_area, box_iou
from jaxssd.ops.arrays import ArrayLike
from jaxssd.tasks.task import Task, box_in_pixels, dense_settings, make_network

CLASS_WEIGHT = 20.0  # the cross entropy is about that many times smaller than the box's error in pixels


class LargestObject(NamedTuple):
    """Largest object of each image in the ground truth; zeros where there is none."""

    boxes: Float[Array, "B 4"]
    labels: Int[Array, " B"]
    exists: Bool[Array, " B"]


def largest_object(examples: Examples) -> LargestObject:
    """Find the object with the largest area in each image, the first of equal ones. Difficult ones do not count.

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
    """Box error in pixels, cross entropy of the class, and their weighted sum; 0 for an image without objects."""

    total: Float[Array, " B"]
    localization: Float[Array, " B"]
    classification: Float[Array, " B"]


class BoxResults(NamedTuple):
    """A box for each image, normalised corners; it may extend beyond the image."""

    boxes: Float[ArrayLike, "B 4"]


class ObjectResults(NamedTuple):
    """A box for each image, and the probability of each class."""

    boxes: Float[ArrayLike, "B 4"]
    probabilities: Float[ArrayLike, "B C"]


@dataclass(frozen=True)
class BoxScores:
    """Scores of the boxes of the largest objects, over the images that have one; NaN if none has.

    Attributes:
        box_error: mean absolute error of a corner's coordinate, in pixels of the network's input.
        iou: mean intersection over union with the true box.
        num_images: number of images that have an object.
    """

    box_error: float
    iou: float
    num_images: int

    @property
    def objective(self) -> float:
        """Negative error."""
        return -self.box_error if self.num_images else -math.inf

    def summary(self) -> dict[str, float]:
        """All scores but the count."""
        return {"box_error": self.box_error, "iou": self.iou}

    def headline(self) -> str:
        """Box error, as the lesson prints it, and IoU."""
        return f"box error {self.box_error:.2f} px, IoU {self.iou:.3f}" if self.num_images else "no ground truth"

    def table(self) -> str:
        """The headline, and the number of images."""
        return f"{self.headline()}\nof the largest object of each image; {self.num_images} images have one"

    def as_dict(self) -> dict[str, Any]:
        """All numbers; None where one is undefined."""
        return {
            **{name: None if math.isnan(value) else value for name, value in self.summary().items()},
            "num_images": self.num_images,
        }


@dataclass(frozen=True)
class ObjectScores(BoxScores):
    """Scores of the boxes and classes of the largest objects.

    Attributes:
        accuracy: share of images whose most probable class is right.
        cross_entropy: mean negative logarithm of the true class's probability.
    """

    accuracy: float
    cross_entropy: float

    @property
    def objective(self) -> float:
        """Negative loss."""
        return -(self.box_error + CLASS_WEIGHT * self.cross_entropy) if self.num_images else -math.inf

    def summary(self) -> dict[str, float]:
        """All scores but the count."""
        return {**super().summary(), "accuracy": self.accuracy, "cross_entropy": self.cross_entropy}

    def headline(self) -> str:
        """Box error, as the lesson prints it, IoU and accuracy."""
        accuracy = f", accuracy {self.accuracy:.3f}" if self.num_images else ""
        return super().headline() + accuracy


@dataclass(frozen=True)
class LargestBoxTask(Task):
    """Box of the largest object, four numbers in pixels.

    Attributes:
        input_shape: height and width of the network's input in pixels.
    """

    input_shape: tuple[int, int]

    name: ClassVar[str] = "largest_box"

    @classmethod
    def from_config(cls, config: Config) -> "LargestBoxTask":
        """One linear layer on the run's backbone."""
        return cls(
            make_network(config, BoxHead()),
            config.dataset.classes,
            config.model.mean,
            config.model.std,
            config.dataset.input_shape,
        )

    def loss(self, predictions: Array, examples: Examples) -> BoxLoss:
        """L1 in pixels."""
        return BoxLoss(_box_loss(predictions, largest_object(examples), self.input_shape))

    def postprocess(self, predictions: Array) -> BoxResults:
        """Normalised boxes."""
        return BoxResults(predictions / _sides(self.input_shape))

    def score(self, results: BoxResults, dataset: Dataset, *, with_coco: bool = False) -> BoxScores:
        """Error and IoU of the boxes."""
        return BoxScores(*_box_scores(results.boxes, true_largest(dataset), self.input_shape))

    def to_json(self, result: BoxResults, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """The box; it has no score to compare with the threshold."""
        return [{"box": box_in_pixels(result.boxes, size)}]


@dataclass(frozen=True)
class LargestObjectTask(Task):
    """Box of the largest object, kept inside the image by a sigmoid, and its class.

    Attributes:
        input_shape: height and width of the network's input in pixels.
    """

    input_shape: tuple[int, int]

    name: ClassVar[str] = "largest_object"

    @classmethod
    def from_config(cls, config: Config) -> "LargestObjectTask":
        """Two dense layers on the run's backbone."""
        model = make_network(config, ObjectHead(**dense_settings(config)))
        return cls(model, config.dataset.classes, config.model.mean, config.model.std, config.dataset.input_shape)

    def loss(self, predictions: ObjectPredictions, examples: Examples) -> ObjectLoss:
        """L1 in pixels, and 20 times the cross entropy."""
        truth = largest_object(examples)
        boxes = jax.nn.sigmoid(predictions.box_activations) * _sides(self.input_shape)
        localization = _box_loss(boxes, truth, self.input_shape)
        entropy = optax.softmax_cross_entropy_with_integer_labels(predictions.class_logits, truth.labels)
        classification = jnp.where(truth.exists, entropy, 0)
        return ObjectLoss(localization + CLASS_WEIGHT * classification, localization, classification)

    def postprocess(self, predictions: ObjectPredictions) -> ObjectResults:
        """Boxes, and probabilities that sum to 1 over the classes."""
        return ObjectResults(jax.nn.sigmoid(predictions.box_activations), jax.nn.softmax(predictions.class_logits))

    def score(self, results: ObjectResults, dataset: Dataset, *, with_coco: bool = False) -> ObjectScores:
        """Error and IoU of the boxes, accuracy and cross entropy of the classes."""
        truths = true_largest(dataset)
        probabilities, labels = results.probabilities[truths.exists], np.asarray(truths.labels[truths.exists])
        of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1)
        return ObjectScores(
            *_box_scores(results.boxes, truths, self.input_shape),
            accuracy=_mean(probabilities.argmax(axis=1) == labels),
            cross_entropy=_mean(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))),
        )

    def to_json(self, result: ObjectResults, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Class, score and box, if the score is at least the threshold."""
        label, score = int(result.probabilities.argmax()), float(result.probabilities.max())
        row = {"class": self.class_names[label], "score": round(score, 4), "box": box_in_pixels(result.boxes, size)}
        return [row] if score >= threshold else []


def true_largest(dataset: Dataset) -> LargestObject:
    """Largest object of each image of a data set, as NumPy arrays."""
    return jax.device_get(largest_object(dataset.examples._replace(images=dataset.examples.images[:0])))


def _box_loss(pixels: Array, truth: LargestObject, input_shape: tuple[int, int]) -> Array:
    """Mean absolute error of the corners `[B]` in pixels; 0 for an image without objects."""
    error = jnp.abs(pixels - truth.boxes * _sides(input_shape)).mean(axis=-1)
    return jnp.where(truth.exists, error, 0)


def _box_scores(boxes: np.ndarray, truths: LargestObject, input_shape: tuple[int, int]) -> tuple[float, float, int]:
    """Mean error in pixels, mean IoU, and number of images with an object."""
    ours, true = boxes[truths.exists], truths.boxes[truths.exists]
    longest = max(input_shape)
    error = np.abs(ours - true) * (_sides(input_shape) / longest)
    return _mean(error) * longest, _mean(np.asarray(_paired_iou(ours, true))), len(ours)


def _sides(input_shape: tuple[int, int]) -> Float[np.ndarray, "1 4"]:
    """Height or width of the input, by which each coordinate of a normalised box becomes pixels."""
    return np.array([input_shape * 2], np.float32)


@jax.jit
@jax.vmap
def _paired_iou(ours: Array, true: Array) -> Array:
    """IoU of each box with its own counterpart."""
    return box_iou(ours[None], true[None])[0, 0]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
