"""Which classes an image holds, however many: the lesson's multi-label classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.metrics import average_precision, most_frequent
from jaxssd.metrics.tables import name_column, show
from jaxssd.ops import bce_loss
from jaxssd.ops.arrays import ArrayLike
from jaxssd.tasks.task import MOST_ROWS, Task, left_out


class LabelLoss(NamedTuple):
    """Binary cross entropy, the mean over the classes."""

    total: Float[Array, " B"]


class LabelAnswer(NamedTuple):
    """The probability of each class."""

    probabilities: Float[ArrayLike, "B C"]


@dataclass(frozen=True)
class LabelScores:
    """How well the classes are told.

    Attributes:
        accuracy: share of yes-or-no answers that are right at a probability of 0.5, over all images and classes.
        ap_area: `[C]` average precision (area) of the images ranked by each class's probability; NaN for a class that
            no image holds.
        class_names: C names.
        num_images: `[C]` images that hold each class.
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
        """The lesson's accuracy, and mAP."""
        return {"accuracy": self.accuracy, "map_area": self.mean_area}

    def headline(self) -> str:
        """Both."""
        known = "no ground truth" if np.isnan(self.mean_area) else f"classification mAP {self.mean_area:.3f}"
        return f"accuracy {self.accuracy:.4f}, {known}"

    def table(self) -> str:
        """A line for each class, of very many for those in the most images; `-` where AP is undefined."""
        labels = most_frequent(self.num_images, MOST_ROWS)
        names = name_column(["class", *(self.class_names[label] for label in labels)])
        shown = ["AP area", *(show(self.ap_area[label]) for label in labels)]
        rows = [f"{name}  {ap:>7}" for name, ap in zip(names, shown, strict=True)]
        return "\n".join([*rows, self.headline(), *left_out(len(self.class_names) - len(labels))])

    def as_dict(self) -> dict[str, Any]:
        """Everything; None for what is not defined."""
        classes = dict(zip(self.class_names, self.ap_area.tolist(), strict=True))
        return {
            "accuracy": self.accuracy,
            "map_area": None if np.isnan(self.mean_area) else self.mean_area,
            "classes": {name: {"ap_area": None if np.isnan(ap) else ap} for name, ap in classes.items()},
        }


@dataclass(frozen=True)
class MultilabelTask(Task):
    """The classes that an image holds."""

    shown_from = 0.4  # as in the lesson's pictures

    @property
    def curves(self) -> dict[str, dict[str, str]]:
        """Accuracy and mAP, both shares."""
        return {"scores": {"accuracy": "accuracy", "map_area": "classification mAP"}}

    def loss(self, predictions: Array, examples: Examples) -> LabelLoss:
        """Binary cross entropy of every class."""
        return LabelLoss(bce_loss(predictions, self._held(examples).astype(jnp.float32)).mean(axis=-1))

    def postprocess(self, predictions: Array) -> LabelAnswer:
        """Probabilities, each class by itself."""
        return LabelAnswer(jax.nn.sigmoid(predictions))

    def score(self, answers: LabelAnswer, dataset: Dataset, *, with_coco: bool = False) -> LabelScores:
        """Accuracy, and average precision of each class."""
        held = self._truths(dataset)
        columns = zip(answers.probabilities.T, held.T, strict=True)
        return LabelScores(
            float(((answers.probabilities > 0.5) == held).mean()),
            np.array([_ranking_precision(*column) for column in columns]),
            self.class_names,
            held.sum(axis=0),
        )

    def figures(self, answers: LabelAnswer, scores: Any, dataset: Dataset) -> dict[str, Figure]:
        """What is found in each image, and what is missed."""
        first = slice(viz.GRID_IMAGES)
        grid = viz.label_grid(
            dataset.examples.images[first],
            answers.probabilities[first],
            self._truths(dataset)[first],
            self.class_names,
            threshold=self.shown_from,
            ids=dataset.ids[first],
        )
        return {"labels": grid}

    def draw(self, photograph: np.ndarray, answer: LabelAnswer, threshold: float) -> Figure:
        """The names written on the photograph."""
        rows = self.to_json(answer, (1, 1), threshold)
        return viz.labelled_image(photograph, [f"{row['class']} {row['score']:.2f}" for row in rows])

    def to_json(self, answer: LabelAnswer, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Classes that reach the threshold, the most probable first."""
        order = np.argsort(-answer.probabilities, kind="stable")
        scores = {self.class_names[label]: float(answer.probabilities[label]) for label in order}
        return [{"class": name, "score": round(score, 4)} for name, score in scores.items() if score >= threshold]

    def _held(self, examples: Examples) -> Array:
        """`[B, C]`, whether some object of the class is in the image; difficult ones do not count."""
        targets = jnp.asarray(examples.valid) & ~jnp.asarray(examples.difficult)
        return (jax.nn.one_hot(examples.labels, len(self.class_names), dtype=bool) & targets[..., None]).any(axis=1)

    def _truths(self, dataset: Dataset) -> np.ndarray:
        """The same of a whole data set, for which `[N, G, C]` may not fit."""
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
