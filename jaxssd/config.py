"""What a training run is made of: one flat, frozen record, stored as JSON in the run's folder."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from jaxssd.atomic import write_json

Trainable = Literal["head", "upper", "all"]
Schedule = Literal["one_cycle", "clr", "cosine", "constant"]


class Phase(NamedTuple):
    """A part of a run with an optimizer of its own; see the fields of `Config` of the same names."""

    epochs: int
    learning_rate: float
    trainable: Trainable
    schedule: Schedule
    clr: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Config:
    """Every setting of a run. Each is an option of `train.py`; a preset is a `Config` with other defaults."""

    task: Literal["detection", "largest_box", "largest_object", "multilabel"] = "detection"
    """What is learned: every object's box and class, the largest object's box, its box and class, or all classes."""

    data: str = "shapes"
    """`shapes` for generated pictures; a folder in PASCAL VOC's, COCO's or YOLO's layout; a COCO .json; `voc/2007`."""
    images: str | None = None
    """Folder of COCO's images. Default: the folder named; of a .json its own, or the one above `annotations`."""
    train_split: str | None = None
    """Split to train on, by the data set's name for it. Default: `train`, or what is not held out."""
    val_split: str | None = None
    """Split to validate on. Default: `val`, or a seeded share of the images."""
    val_fraction: float = 0.2
    """Share of the images held out where the data set has no validation split."""
    classes: tuple[str, ...] = ()
    """Names of the classes to learn. Objects of others are left out and count as background. Default: all classes."""
    image_size: int = 224
    """Height and width in pixels of the square that every image becomes."""
    aspect: Literal["squash", "letterbox", "crop"] = "squash"
    """How: change its shape, as the lesson does, add margins, or take the middle square."""
    exif: Literal["auto", "apply", "ignore"] = "auto"
    """EXIF orientation of photographs: apply it, ignore it, or find out which picture the boxes were drawn on."""
    max_objects: int = 100
    """Objects an image may hold; of more, the largest are kept, and the loading report says so."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from red, green and blue, where white is 1; pretrained weights expect ImageNet's."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """By which they are divided then."""

    backbone: Literal["resnet_tiny", "resnet_small", "resnet18", "resnet34", "resnet34_ssd300", "resnet50"] = "resnet34"
    """Feature extractor."""
    pretrained: str | None = None
    """Its weights: a file of torchvision's (.pth, .safetensors), or the folder of another run. Default: random."""
    head: Literal["pyramid", "ssd300"] = "pyramid"
    """What predicts: the lesson's, with grids, zooms, ratios, width and dropout, or SSD300's, without these."""
    grids: tuple[int, ...] = (4, 2, 1)
    """Side lengths of the lesson's anchor grids; each must be one that backbone and head reach at this image size."""
    zooms: tuple[float, ...] = (0.75, 1.0, 1.3)
    """Sizes of the lesson's anchors relative to their cell."""
    ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))
    """Shapes of the lesson's anchors, (height, width) relative to their zoom."""
    anchor_sizes: tuple[float, ...] = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
    """Of `--head ssd300`: of its 8,732 anchors, in pixels of 300. For VOC; COCO's are 21 45 99 153 207 261 315."""
    coding: Literal["tanh", "offsets"] = "tanh"
    """What box activations mean: the lesson's bounded moves, or offsets as in SSD, which are learned by smooth L1."""
    head_width: int = 256
    """Channels in the head's convolutions."""
    input_dropout: float = 0.4
    """Share of the backbone's features dropped before the head."""
    dropout: float = 0.4
    """Share of activations dropped in the head."""
    class_bias: float = -4.0
    """Initial bias of the class outputs; -4 starts every class at a probability of 1.8 %."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in. Parameters, boxes and losses are always float32."""

    class_loss: Literal["focal", "bce"] = "focal"
    """Classification loss of every anchor and class."""
    alpha: float = 0.25
    """Weight of the classes that are present in the focal loss; 1 - alpha is that of the others."""
    gamma: float = 2.0
    """How much the focal loss makes of what is still wrong; 2 in the lesson's lecture, 1 in its notebook."""
    negative_ratio: int = 0
    """Of the anchors without an object, so many for each with one count in the loss, the worst. 0: all of them do."""
    normalizer: Literal["classes", "positives"] = "classes"
    """What the classification loss is divided by: classes, as in the lesson, or anchors with an object, as in SSD."""
    match_rule: Literal["best_iou", "lesson"] = "best_iou"
    """How anchors are given to objects; `lesson` lets an object lose its anchor to a later one."""
    match_threshold: float = 0.4
    """IoU above which an anchor belongs to an object besides the object's own."""

    epochs: tuple[int, ...] = (100,)
    """Passes over the training set in each phase. Each phase has a new optimizer; one value stands for all phases."""
    learning_rate: tuple[float, ...] = (1e-3,)
    """Peak of each phase's schedule."""
    trainable: tuple[Trainable, ...] = ("all",)
    """What each phase trains: the head, also the backbone's upper half, or all."""
    schedule: tuple[Schedule, ...] = ("one_cycle",)
    """Course of each phase's learning rate; `clr` is the lesson's `use_clr`."""
    clr: tuple[tuple[float, float], ...] = ((32.0, 10.0),)
    """For `clr`: the peak over the lowest rate, and the phase's length over that of the rise."""
    lr_multipliers: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Learning rates of the backbone's lower half, its upper half, and the head, as multiples of the phase's."""
    batch_size: int = 64
    """Images a step, on all devices together."""
    grad_accum_steps: int = 1
    """Parts in which a batch is computed, one after the other, for less memory; BatchNorm sees a part at a time."""
    remat: bool = False
    """Whether the backward pass computes activations again that it would otherwise keep: less memory, more time."""
    fast_layers: tuple[Literal["norm", "pool", "stem"], ...] | None = None
    """Layers of the network that compute the same in another way. Default: `norm` on an accelerator, none on a CPU."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of the kernels (AdamW)."""
    augment: Literal["crop", "lesson", "none"] = "crop"
    """Random flip and lighting on the device, with zoom and shift (`crop`) or small rotations (`lesson`)."""
    memory: Literal["auto", "device", "stream"] = "auto"
    """Where training images are: all on the device, or streamed to it from disk as they do not fit half its memory."""
    eval_every: int = 1
    """Epochs between validations. Each saves a checkpoint, by whose scores the best is chosen."""
    checkpoint_every: float = 10.0
    """Minutes after which a checkpoint is saved between validations as well: what a killed run loses at most."""
    seed: int = 0
    """Of the initial parameters, the order of the images, augmentation and dropout."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            values = getattr(self, name)
            chosen = values if isinstance(values, tuple) else (values,)
            self._require(name, values is None or set(chosen) <= set(choices), f"of {', '.join(choices)}")
        for name in ("image_size", "max_objects", "head_width", "batch_size", "grad_accum_steps", "eval_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("image_size", self.image_size <= 4096, "4096 or less")
        self._require(
            "grad_accum_steps", self.batch_size % self.grad_accum_steps == 0, f"a divisor of {self.batch_size} images"
        )
        self._require("classes", len(set(self.classes)) == len(self.classes), "each name once")
        self._require("val_fraction", 0 < self.val_fraction < 1, "a share between 0 and 1")
        self._require("head", self.head == "pyramid" or self.task == "detection", f"pyramid for --task {self.task}")
        self._require("negative_ratio", self.negative_ratio >= 0, "0 or more")
        sizes_hold = len(self.anchor_sizes) == 7 and all(0 < size < math.inf for size in self.anchor_sizes)
        self._require("anchor_sizes", sizes_hold, "seven positive numbers")
        for name in ("input_dropout", "dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "a share, 0 or more and below 1")
        self._require("match_threshold", 0 <= self.match_threshold <= 1, "an IoU between 0 and 1")
        self._require("alpha", 0 <= self.alpha <= 1, "a share between 0 and 1")
        self._require("gamma", 0 <= self.gamma < math.inf, "0 or more")
        self._require("std", all(0 < std < math.inf for std in self.std), "positive numbers")
        self._require("mean", all(map(math.isfinite, self.mean)), "finite numbers")
        self._require("class_bias", math.isfinite(self.class_bias), "a finite number")
        self._require("checkpoint_every", 0 < self.checkpoint_every < math.inf, "a positive number of minutes")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self._require("epochs", all(epochs >= 1 for epochs in self.epochs), "1 or more")
        self._require("learning_rate", all(0 < rate < math.inf for rate in self.learning_rate), "a positive number")
        clr_holds = all(1 <= div < math.inf and 1 < cut < math.inf for div, cut in self.clr)
        self._require("clr", clr_holds, "1 or more, and more than 1")
        self._require("lr_multipliers", all(0 <= rate < math.inf for rate in self.lr_multipliers), "0 or more")
        for name, values in self._phase_settings().items():
            count = self._num_phases()
            self._require(name, len(values) in (1, count), f"one value, or one for each of the {count} phases")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The parts of the run in their order, at least one."""
        columns = [values * (self._num_phases() // len(values)) for values in self._phase_settings().values()]
        return tuple(map(Phase, *columns))

    def _phase_settings(self) -> dict[str, Any]:
        return {name: tuple(getattr(self, name)) for name in Phase._fields}

    def _num_phases(self) -> int:
        return max(1, *map(len, self._phase_settings().values()))

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected {expected}")

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        write_json(path, dataclasses.asdict(self))

    @staticmethod
    def load(path: Path) -> "Config":
        """Read a record that `save` wrote.

        Raises:
            FileNotFoundError: if there is none at `path`.
            ValueError: if it is not such a record, naming the file and the unknown setting.
        """
        try:
            return Config.of(json.loads(path.read_bytes()))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # no JSON, another type, out of range
            raise ValueError(f"{path} is not the config.json of a run: {error}") from error

    @staticmethod
    def of(settings: dict[str, Any]) -> "Config":
        """Make a record of what JSON has of one.

        Raises:
            ValueError: for an unknown setting, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(Config)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"settings that this version does not know: {', '.join(unknown)}")
        return Config(**{name: _as_tuple(value) for name, value in settings.items()})


def _choices(annotation: Any) -> tuple[str, ...]:
    """Of `Literal["a", "b"]`, or of a tuple of such; of anything else none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    inner = get_args(annotation)[:1]
    return _choices(*inner) if inner else ()


_CHOICES = {name: found for name, annotation in get_type_hints(Config).items() if (found := _choices(annotation))}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
