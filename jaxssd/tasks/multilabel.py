"""Multi-label classification: the classes that an image holds, however many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.metrics import average_precision, most_frequent
from jaxssd.metrics.tables import name_column, show
from jaxssd.models.dense_heads import LabelHead
from jaxssd.ops import bce_loss
from jaxssd.ops.arrays import ArrayLike
from jaxssd.tasks.task import MOST_ROWS, Task, dense_settings, left_out, make_network


class LabelLoss(NamedTuple):
    """Binary cross entropy, the mean over the classes."""

    total: Float[Array, " B"]


class LabelResults(NamedTuple):
    """Probability of each class."""

    probabilities: Float[ArrayLike, "B C"]


@dataclass(frozen=True)
class LabelScores:
    """Accuracy and average precision of the classes.

    Attributes:
        accuracy: share of right decisions at a probability of 0.5, over all images and classes.
        ap_area: `[C]` average precision (area) of the images ranked by each class's probability; NaN for a class that
            no image holds.
        class_names: name of each class.
        num_images: `[C]` number of images that hold each class.
    """

    accuracy: float
    ap_area: Float[np.ndarray, " C"]
    class_names: Sequence[str]
    num_images: Int[np.ndarray, " C"]

    @property
    def mean_area(self) -> float:
        """Mean of `ap_area` over the classes that some image holds; NaN if there is none."""
        known = self.ap_area[~np.isnan(self.ap_area)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def objective(self) -> float:
        """Mean average precision."""
        return float(np.nan_to_num(self.mean_area))

    def summary(self) -> dict[str, float]:
        """Accuracy, as in the lesson, and mAP."""
        return {"accuracy": self.accuracy, "map_area": self.mean_area}

    def headline(self) -> str:
        """Accuracy and mAP in a few words."""
        known = "no ground truth" if np.isnan(self.mean_area) else f"classification mAP {self.mean_area:.3f}"
        return f"accuracy {self.accuracy:.4f}, {known}"

    def table(self) -> str:
        """A line for each class, the most frequent ones of very many; `-` where AP is undefined."""
        labels = most_frequent(self.num_images, MOST_ROWS)
        names = name_column(["class", *(self.class_names[label] for label in labels)])
        shown = ["AP area", *(show(self.ap_area[label]) for label in labels)]
        rows = [f"{name}  {ap:>7}" for name, ap in zip(names, shown, strict=True)]
        return "\n".join([*rows, self.headline(), *left_out(len(self.class_names) - len(labels))])

    def as_dict(self) -> dict[str, Any]:
        """All scores; None where one is undefined."""
        classes = dict(zip(self.class_names, self.ap_area.tolist(), strict=True))
        return {
            "accuracy": self.accuracy,
            "map_area": None if np.isnan(self.mean_area) else self.mean_area,
            "classes": {name: {"ap_area": None if np.isnan(ap) else ap} for name, ap in classes.items()},
        }


@dataclass(frozen=True)
class MultilabelTask(Task):
    """Classes that an image holds."""

    name: ClassVar[str] = "multilabel"
    shown_from: ClassVar[float] = 0.4  # the lesson's value

    @classmethod
    def from_config(cls, config: Config) -> "MultilabelTask":
        """Pooling and a hidden layer on the run's backbone."""
        model = make_network(config, LabelHead(**dense_settings(config)))
        return cls(model, config.dataset.classes, config.model.mean, config.model.std)

    def loss(self, predictions: Array, examples: Examples) -> LabelLoss:
        """Binary cross entropy, the mean over the classes."""
        return LabelLoss(bce_loss(predictions, self._present(examples).astype(jnp.float32)).mean(axis=-1))

    def postprocess(self, predictions: Array) -> LabelResults:
        """Independent probability of each class."""
        return LabelResults(jax.nn.sigmoid(predictions))

    def score(self, results: LabelResults, dataset: Dataset, *, with_coco: bool = False) -> LabelScores:
        """Accuracy, and average precision of each class."""
        held = self.true_labels(dataset)
        columns = zip(results.probabilities.T, held.T, strict=True)
        return LabelScores(
            float(((results.probabilities > 0.5) == held).mean()),
            np.array([_ranking_precision(*column) for column in columns]),
            self.class_names,
            held.sum(axis=0),
        )

    def to_json(self, result: LabelResults, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Classes from `threshold` on, the most probable first."""
        order = np.argsort(-result.probabilities, kind="stable")
        scores = {self.class_names[label]: float(result.probabilities[label]) for label in order}
        return [{"class": name, "score": round(score, 4)} for name, score in scores.items() if score >= threshold]

    def _present(self, examples: Examples) -> Array:
        """`[B, C]`, True where an object of the class is in the image; difficult ones do not count."""
        targets = jnp.asarray(examples.valid) & ~jnp.asarray(examples.difficult)
        return (jax.nn.one_hot(examples.labels, len(self.class_names), dtype=bool) & targets[..., None]).any(axis=1)

    def true_labels(self, dataset: Dataset) -> np.ndarray:
        """`[N, C]` of a whole data set, True where an image holds the class; `[N, G, C]` may not fit in memory."""
        examples = dataset.examples
        held = np.zeros((len(examples.valid), len(self.class_names)), bool)
        image, row = np.nonzero(examples.valid & ~examples.difficult)
        held[image, examples.labels[image, row]] = True
        return held


def _ranking_precision(probability: np.ndarray, held: np.ndarray) -> float:
    """Average precision (area) of images by falling probability; equal ones are one point of the curve."""
    if not held.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    last_of_run = np.flatnonzero(np.diff(probability[order], append=-np.inf))
    found = np.cumsum(held[order])[last_of_run]
    return average_precision(found / held.sum(), found / (last_of_run + 1), method="area")
