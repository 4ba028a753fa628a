"""What the training loop asks of a task; it knows nothing else about what is learned."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jax import Array
from matplotlib.figure import Figure

from jaxssd.data.dataset import Dataset, Examples
from jaxssd.models.detector import Detector, normalize_images

MOST_ROWS = 100
"""Classes that have a line in a printed table."""


def left_out(count: int) -> list[str]:
    """What a table says of the classes that it leaves out; nothing if there are none."""
    return [f"{count:,} classes with fewer objects are not shown: scores-*.csv and scores-*.json have all."] * (
        count > 0
    )


@runtime_checkable
class Scores(Protocol):
    """How good answers are, for the progress bar, the metrics file, the terminal and the scores file."""

    @property
    def objective(self) -> float:
        """What the best checkpoint has most of."""

    def summary(self) -> dict[str, float]:
        """A few numbers; NaN where one is not defined."""

    def headline(self) -> str:
        """The summary in a few words."""

    def table(self) -> str:
        """All of it, for a terminal."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""


@runtime_checkable
class Loss(Protocol):
    """A NamedTuple: `total`, which is minimised, and its parts; of one image a scalar each."""

    @property
    def total(self) -> Array:
        """The sum of its parts."""

    def _asdict(self) -> dict[str, Array]:
        """Those and `total` by name."""


@dataclass(frozen=True)
class Task(ABC):
    """What a network is trained to do. Methods that take arrays are pure, take whole batches, and jit.

    Attributes:
        model: a backbone and the task's head.
        class_names: name of each label.
        mean: of the images' channels, subtracted before the network sees them.
        std: likewise, divided by.
    """

    model: Detector
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    shown_from: ClassVar[float] = 0.3
    """The least score that pictures show."""

    @property
    @abstractmethod
    def curves(self) -> dict[str, dict[str, str]]:
        """Which scores are drawn over the run: `{panel: {key of the scores' summary: name}}`."""

    @property
    def num_stages(self) -> int:
        """Of the backbone, which freezes by stages."""
        return len(self.model.backbone.stage_sizes)

    def normalize(self, images: Array) -> Array:
        """Images as they are stored, uint8 or in `[0, 1]`, as the network wants them."""
        return normalize_images(images, mean=self.mean, std=self.std)

    def predict(self, variables: dict[str, Any], images: Array) -> Any:
        """The network in evaluation mode, on images as they are stored, uint8 `[B, S, S, 3]`."""
        return self.model.apply(variables, self.normalize(images), train=False)

    @abstractmethod
    def loss(self, predictions: Any, examples: Examples) -> Loss:
        """The loss of each image, `[B]`; difficult objects are no targets."""

    @abstractmethod
    def postprocess(self, predictions: Any) -> Any:
        """What is asked of the network, a tree of arrays `[B, ...]`."""

    @abstractmethod
    def score(self, answers: Any, dataset: Dataset, *, with_coco: bool = False) -> Scores:
        """Compare answers, as NumPy arrays, with the truth; `with_coco` adds the scores that take their time."""

    @abstractmethod
    def figures(self, answers: Any, scores: Any, dataset: Dataset) -> dict[str, Figure]:
        """Pictures of answers beside the truth, by name."""

    @abstractmethod
    def draw(self, photograph: np.ndarray, answer: Any, threshold: float) -> Figure:
        """One photograph at its own size with its answer, as far as that reaches the threshold."""

    @abstractmethod
    def to_json(self, answer: Any, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """The same for JSON: a record for each object or class; boxes in pixels of `size`, height and width."""


def box_in_pixels(box: np.ndarray, size: tuple[int, int]) -> list[float]:
    """A normalised box in pixels of `size`, to a tenth."""
    return [round(float(x), 1) for x in box * np.tile(size, 2)]
