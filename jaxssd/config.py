"""What a training run is made of: one flat, frozen record, stored as JSON in the run's folder."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Config:
    """Every setting of a run. Each is an option of `train.py`; a preset is a `Config` with other defaults."""

    data: str = "shapes"
    """`shapes` for generated pictures, or the path of a folder in PASCAL VOC layout."""
    train_split: str | None = None
    """Split to train on, a file of ImageSets/Main. Default: `train`, or what is not held out."""
    val_split: str | None = None
    """Split to validate on. Default: `val`, or a seeded share of the images."""
    val_fraction: float = 0.2
    """Share of the images held out where the folder names no validation split."""
    classes: tuple[str, ...] = ()
    """Names of the classes, every one that the annotations have. Default: those found there, in alphabetical order."""
    image_size: int = 224
    """Height and width in pixels to which every image is squashed."""
    max_objects: int = 100
    """Objects an image may hold; of more, the largest are kept, and the loading report says so."""

    backbone: Literal["resnet_tiny", "resnet_small", "resnet18", "resnet34"] = "resnet34"
    """Feature extractor, trained from scratch."""
    grids: tuple[int, ...] = (4, 2, 1)
    """Side lengths of the anchor grids; each must be one that the backbone and head reach at this image size."""
    zooms: tuple[float, ...] = (0.75, 1.0, 1.3)
    """Sizes of the anchors relative to their cell."""
    ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))
    """Shapes of the anchors, (height, width) relative to their zoom."""
    head_width: int = 256
    """Channels in the head's convolutions."""
    dropout: float = 0.4
    """Dropout in the head."""
    class_bias: float = -4.0
    """Initial bias of the class outputs; -4 starts every class at a probability of 1.8 %."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in. Parameters, boxes and losses are always float32."""

    class_loss: Literal["focal", "bce"] = "focal"
    """Classification loss of every anchor and class."""
    match_rule: Literal["best_iou", "lesson"] = "best_iou"
    """How anchors are given to objects; `lesson` lets an object lose its anchor to a later one."""
    match_threshold: float = 0.4
    """IoU above which an anchor belongs to an object besides the object's own."""

    epochs: int = 100
    """Passes over the training set."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of the kernels (AdamW)."""
    augment: bool = True
    """Random flip, zoom, shift and lighting on the device, boxes moved along."""
    eval_every: int = 1
    """Epochs between validations. Each saves a checkpoint; a run that is stopped loses what came after the last."""
    seed: int = 0
    """Of the initial parameters, the order of the images, augmentation and dropout."""

    def __post_init__(self) -> None:
        for name in ("image_size", "max_objects", "head_width", "epochs", "batch_size", "eval_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("image_size", self.image_size <= 4096, "4096 or less")
        self._require("classes", len(set(self.classes)) == len(self.classes), "each name once")
        self._require("val_fraction", 0 < self.val_fraction < 1, "a share between 0 and 1")
        self._require("dropout", 0 <= self.dropout < 1, "a share, 0 or more and below 1")
        self._require("match_threshold", 0 <= self.match_threshold <= 1, "an IoU between 0 and 1")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "a positive number")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected {expected}")

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @staticmethod
    def load(path: Path) -> "Config":
        """Read a record that `save` wrote.

        Raises:
            FileNotFoundError: if there is none at `path`.
            ValueError: if it is not such a record, naming the file and the unknown setting.
        """
        try:
            settings = json.loads(path.read_text())
            known = {field.name for field in dataclasses.fields(Config)}
            if unknown := sorted(set(settings) - known):
                raise ValueError(f"settings that this version does not know: {', '.join(unknown)}")
            return Config(**{name: _as_tuple(value) for name, value in settings.items()})
        except (ValueError, TypeError, AttributeError) as error:  # no JSON, another type, a value out of range
            raise ValueError(f"{path} is not the config.json of a run: {error}") from error


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
