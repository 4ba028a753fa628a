"""Base class of tasks: everything that the training loop needs to know about a task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, get_args, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxssd.config import Config, FastLayer, ModelConfig
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.models import BACKBONES
from jaxssd.models.detector import Detector, normalize_images
from jaxssd.ops.arrays import Size, as_pair
from jaxssd.tasks import TASKS

MOST_ROWS = 100
"""Most classes that a printed table lists."""


@runtime_checkable
class Scores(Protocol):
    """Scores of a data set, for the progress bar, the metrics file, the terminal and the scores file."""

    @property
    def objective(self) -> float:
        """Number that the best checkpoint maximises."""

    def summary(self) -> dict[str, float]:
        """A few numbers by name; NaN where one is undefined."""

    def headline(self) -> str:
        """The summary in a few words."""

    def table(self) -> str:
        """All scores, for a terminal."""

    def as_dict(self) -> dict[str, Any]:
        """All scores, for JSON; None where one is undefined."""


@runtime_checkable
class Loss(Protocol):
    """Loss as a NamedTuple of arrays: `total`, which is minimised, and its parts."""

    @property
    def total(self) -> Array:
        """Loss that is minimised."""

    def _asdict(self) -> dict[str, Array]:
        """All fields by name."""


@dataclass(frozen=True)
class Task(ABC):
    """A network and what it is trained to do. Methods over arrays are pure, take whole batches, and jit.

    Attributes:
        model: backbone and head.
        class_names: name of each label.
        mean: subtracted from the channels of the images before the network.
        std: divides the channels after that.
    """

    model: Detector
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    name: ClassVar[str] = ""
    """Key in `TASKS`, and in the drawings of `jaxssd.viz.tasks`."""
    has_anchors: ClassVar[bool] = False
    """If True, the head is chosen by name and the task has its `anchors`; otherwise the task has its own head."""
    gives_detections: ClassVar[bool] = False
    """If True, `postprocess` returns `Detections`, which can be exported and scored by COCO's protocol."""
    shown_from: ClassVar[float] = 0.3
    """Default score threshold of pictures and JSON."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Config) -> "Task":
        """Task with the settings of a run."""

    @property
    def num_stages(self) -> int:
        """Number of stages of the backbone, which freezes by stages."""
        return self.model.backbone.num_stages

    def normalize(self, images: Array) -> Array:
        """Normalise stored images, uint8 or in `[0, 1]`, for the network."""
        return normalize_images(images, mean=self.mean, std=self.std)

    def init(self, key: Array, image_size: Size) -> tuple[Any, Any]:
        """Initialise the parameters, and the model state: every other Flax collection, such as `batch_stats`."""
        images = jnp.zeros((1, *as_pair(image_size), 3))
        collections = dict(self.model.init(key, images, train=False))
        return collections.pop("params"), collections

    def apply(
        self,
        params: Any,
        model_state: Any,
        images: Array,
        *,
        train: bool = False,
        key: Array | None = None,
        frozen_stages: int = 0,
    ) -> tuple[Any, Any]:
        """Run the Flax model as a pure function, the one that `jaxssd.training.make_train_step` takes.

        Args:
            params: parameters.
            model_state: other collections, see `init`.
            images: stored images `[B, H, W, 3]`, uint8 or float in `[0, 1]`.
            train: if True, use batch statistics and dropout.
            key: random key of dropout.
            frozen_stages: number of leading backbone stages that stay in evaluation mode.

        Returns:
            Predictions, and the new model state.
        """
        variables, images = {"params": params, **model_state}, self.normalize(images)
        if not train:
            return self.model.apply(variables, images, train=False), model_state
        return self.model.apply(
            variables,
            images,
            train=True,
            frozen_stages=frozen_stages,
            rngs=None if key is None else {"dropout": key},
            mutable=list(model_state),
        )

    def predict(self, variables: tuple[Any, Any], images: Array) -> Any:
        """Run the model in evaluation mode on `(params, model_state)`; images as in `apply`."""
        return self.apply(*variables, images)[0]

    @abstractmethod
    def loss(self, predictions: Any, examples: Examples) -> Loss:
        """Loss of each image, `[B]`; difficult objects are not targets."""

    @abstractmethod
    def postprocess(self, predictions: Any) -> Any:
        """Results of each image from the network's predictions: a tree of arrays `[B, ...]`."""

    @abstractmethod
    def score(self, results: Any, dataset: Dataset, *, with_coco: bool = False) -> Scores:
        """Compare results, as NumPy arrays, with the ground truth; `with_coco` adds COCO's scores, which are slow."""

    @abstractmethod
    def to_json(self, result: Any, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Records of one image's objects or classes; boxes in pixels of `size` (height, width)."""


def make_task(config: Config) -> Task:
    """Make the task of a run.

    Args:
        config: settings, with the classes filled in.

    Returns:
        The task; its model has no parameters yet.

    Raises:
        ValueError: if the network does not have the anchor grids at this image size.
    """
    if config.model.head != ModelConfig.head and not TASKS[config.task].has_anchors:
        raise ValueError(f"--head is {config.model.head}, but the task {config.task} has a head of its own")
    task = TASKS[config.task].from_config(config)
    jax.eval_shape(partial(task.init, image_size=config.dataset.input_shape), jax.random.key(0))  # checks the grids
    return task


def make_network(config: Config, head: nn.Module) -> Detector:
    """The backbone of a run, and a head."""
    backbone = BACKBONES[config.model.backbone](
        dtype=jnp.dtype(config.model.precision), fast_layers=fast_layers(config), remat=config.model.remat
    )
    return Detector(backbone, head)


def dense_settings(config: Config) -> dict[str, Any]:
    """Keyword arguments of a head with a hidden layer from the settings of a run."""
    return {
        "num_classes": len(config.dataset.classes),
        "input_dropout": config.model.input_dropout,
        "dropout": config.model.dropout,
        "width": config.model.head_width,
        "dtype": jnp.dtype(config.model.precision),
    }


def fast_layers(config: Config) -> tuple[FastLayer, ...]:
    """Fast layers of a run. Unset, as in the lesson's presets, a CPU has none, so that the lesson's numbers stay."""
    chosen, on_cpu = config.model.fast_layers, jax.default_backend() == "cpu"
    if chosen is None:
        return () if on_cpu else ("norm",)
    by_device = {"pool", "stem"} if on_cpu else {"norm"}
    wanted = set(chosen) | (by_device if "auto" in chosen else set())
    return tuple(layer for layer in get_args(FastLayer) if layer in wanted)


def box_in_pixels(box: np.ndarray, size: tuple[int, int]) -> list[float]:
    """Box in pixels of `size`, rounded to a tenth, from a normalised box."""
    return [round(float(x), 1) for x in box * np.tile(size, 2)]


def left_out(count: int) -> list[str]:
    """Table line about the classes that are left out; no line if there are none."""
    return [f"{count:,} classes with fewer objects are not shown: scores-*.csv and scores-*.json have all."] * (
        count > 0
    )
