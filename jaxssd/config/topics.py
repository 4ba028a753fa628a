"""Settings of a run by topic. Each field is an option of `train.py`, and its docstring the option's help."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from jaxssd.data import AUGMENTATIONS
from jaxssd.models import BACKBONES, HEADS
from jaxssd.ops import BOX_CODERS
from jaxssd.ops.arrays import as_pair
from jaxssd.ops.ssd_loss import Normalizer

Trainable = Literal["head", "upper", "all"]
Schedule = Literal["one_cycle", "clr", "cosine", "constant"]
OptimizerName = Literal["adamw", "sgd"]
Aspect = Literal["squash", "letterbox", "crop"]
Exif = Literal["auto", "apply", "ignore"]
FastLayer = Literal["norm", "pool", "stem"]
"""Layers in another form, equal up to rounding and faster on some devices; see `jaxssd.models.fast_layers`.

`norm`: BatchNorm as one multiply-add in the dtype of the computation (`MultiplyAddBatchNorm`). In bfloat16 it rounds
more often than the plain form, which computes in float32 until its result; that is what it saves.

`pool`: max-pooling whose gradient gathers (`max_pool_3x3`), and the ReLU after it, on a quarter of the map.

`stem`: the first convolution on 2x2 blocks of pixels (`space_to_depth_conv`).
"""
FastLayers = Literal["auto", FastLayer]
"""Choices of `--fast-layers`: `auto` stands for `norm` on a GPU or TPU, and for `pool` and `stem` on a CPU."""
Memory = Literal["auto", "device", "stream"]

LESSON_PRIOR = 1 / (1 + math.exp(4))
"""Probability whose logit is -4, the lesson's initial bias of the class outputs."""


def one_of(registry: Iterable[str]) -> Any:
    """Annotation of an option that takes a registered name."""
    return tyro.conf.arg(metavar="{" + ",".join(registry) + "}")


def unset_is(meaning: str) -> Any:
    """Annotation of an option that may be left unset: help shows the meaning in place of None."""
    unset = ("None", "", "''")
    return tyro.conf.arg(help_behavior_hint=lambda value: f"(default: {meaning if value in unset else value})")


def three_digits() -> Any:
    """Annotation of a number that help shows with three digits."""
    return tyro.conf.arg(help_behavior_hint=lambda value: f"(default: {float(value):.3g})")


class Topic:
    """Settings of one topic. Subclasses are frozen dataclasses that add checks in `check`."""

    def __post_init__(self) -> None:
        for name, annotation in get_type_hints(type(self)).items():
            if choices := _choices(annotation):
                value = getattr(self, name)
                chosen = value if isinstance(value, tuple) else (value,)
                self.require(name, value is None or set(chosen) <= set(choices), f"one of {', '.join(choices)}")
        self.check()

    def check(self) -> None:
        """Raise ValueError with the option's name for a value out of range."""

    def require(self, name: str, holds: bool, expected: str) -> None:
        """Raise ValueError with the option, its value and what was expected, unless `holds`."""
        if not holds:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected {expected}")


@dataclass(frozen=True)
class DatasetConfig(Topic):
    """Data set, splits and input size."""

    data: str = "shapes"
    """Data set: a VOC, COCO or YOLO folder, a COCO .json, `voc/2007`, or `shapes` for generated pictures."""
    images: Annotated[str | None, unset_is("found beside the annotations")] = None
    """Image folder of a COCO data set."""
    train_split: Annotated[str | None, unset_is("`train`, or all images that are not held out")] = None
    """Name of the training split."""
    val_split: Annotated[str | None, unset_is("`val`, or a random share of the images")] = None
    """Name of the validation split."""
    val_fraction: float = 0.2
    """Validation share: part of the images held out if the data set has no validation split."""
    classes: Annotated[tuple[str, ...], unset_is("all classes")] = ()
    """Names of the classes to learn; objects of other classes count as background."""
    image_size: Annotated[int | tuple[int, ...], tyro.conf.arg(metavar="INT [INT]")] = (224,)
    """Input size of the network in pixels: one side, or height and width."""
    stored_scale: float = 1.0
    """Size of the stored training images relative to the input; above 1, zoomed-in crops keep detail."""
    aspect: Aspect = "squash"
    """Resizing to the input size: `squash` changes the shape, `letterbox` pads, `crop` takes the middle."""
    exif: Exif = "auto"
    """EXIF orientation: apply it, ignore it, or `auto` to decide by the boxes."""
    max_objects: int = 100
    """Number of objects kept per image, largest first."""

    def __post_init__(self) -> None:
        sides = self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)
        if len(sides) == 2 and sides[0] == sides[1]:
            sides = sides[:1]  # one form of each size, so that equal settings are equal
        object.__setattr__(self, "image_size", sides)
        super().__post_init__()

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return as_pair(self.image_size)

    def check(self) -> None:
        """Ranges."""
        sides = self.image_size
        sides_hold = isinstance(sides, tuple) and len(sides) in (1, 2) and all(1 <= side <= 4096 for side in sides)
        self.require("image_size", sides_hold, "one side, or height and width, each 1 to 4096 pixels")
        most = 4096 / max(self.input_shape)
        self.require("stored_scale", 1 <= self.stored_scale <= most, f"a factor from 1 to {most:g}")
        self.require("max_objects", self.max_objects >= 1, "1 or more")
        self.require("classes", len(set(self.classes)) == len(self.classes), "each name once")
        self.require("val_fraction", 0 < self.val_fraction < 1, "a share between 0 and 1")

    def stored(self) -> "DatasetConfig":
        """Settings with the size of the stored training images in place of the input size."""
        height, width = (round(side * self.stored_scale) for side in self.input_shape)
        return replace(self, image_size=(height, width), stored_scale=1.0)


@dataclass(frozen=True)
class ModelConfig(Topic):
    """Backbone, head and input normalisation."""

    backbone: Annotated[str, one_of(BACKBONES)] = "resnet34"
    """Backbone network."""
    pretrained: Annotated[str | None, unset_is("random weights")] = None
    """Pretrained weights: a published name such as resnet34, hf:REPO, a .pth or .safetensors, or a run."""
    head: Annotated[str, one_of(HEADS)] = "pyramid"
    """Detection head: the lesson's (`pyramid`), a feature pyramid (`retinanet`), `ssd300`, `ssd300_vgg`."""
    head_width: int = 256
    """Channels of the head's convolutions (`--head pyramid` and `retinanet`)."""
    tower_depth: int = 4
    """Number of convolutions in the class tower and in the box tower (`--head retinanet`)."""
    tower_norm: Literal["batch", "group", "none"] = "batch"
    """Normalisation in the towers: BatchNorm for each level, GroupNorm, or none (`--head retinanet`)."""
    extra_levels_from: Literal["pyramid", "backbone"] = "pyramid"
    """Start of extra pyramid levels: P5 (`pyramid`) or C5 (`backbone`); `--head retinanet`."""
    input_dropout: float = 0.4
    """Dropout rate of the backbone's features before the head."""
    dropout: float = 0.4
    """Dropout rate inside the head."""
    prior_probability: Annotated[float, three_digits()] = LESSON_PRIOR
    """Prior probability of each class at the start of training; sets the bias of the class outputs."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Channel means (red, green, blue), subtracted from pixels in [0, 1]; ImageNet's by default."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Channel standard deviations; pixels are divided by them. ImageNet's by default."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network. Parameters, boxes and losses are always float32."""
    fast_layers: Annotated[tuple[FastLayers, ...] | None, unset_is("`norm` on a GPU or TPU, none on a CPU")] = None
    """Fast layers, equal up to rounding; `auto`: `norm` on a GPU or TPU, `pool` and `stem` on a CPU."""
    remat: bool = False
    """Rematerialise the backbone's activations in the backward pass: less memory, more time."""

    def check(self) -> None:
        """Ranges."""
        self.require("backbone", self.backbone in BACKBONES, f"one of {', '.join(BACKBONES)}")
        self.require("head", self.head in HEADS, f"one of {', '.join(HEADS)}")
        self.require("head_width", self.head_width >= 1, "1 or more")
        self.require("tower_depth", self.tower_depth >= 0, "0 or more")
        for name in ("input_dropout", "dropout"):
            self.require(name, 0 <= getattr(self, name) < 1, "a share, 0 or more and below 1")
        self.require("prior_probability", 0 < self.prior_probability < 1, "a probability between 0 and 1")
        self.require("std", all(0 < std < math.inf for std in self.std), "positive numbers")
        self.require("mean", all(map(math.isfinite, self.mean)), "finite numbers")


@dataclass(frozen=True)
class AnchorConfig(Topic):
    """Anchors and matching."""

    anchors: Literal["fixed", "fit"] = "fixed"
    """Anchor shapes: `fixed` as given, or `fit` zooms and ratios to the training boxes at the start."""
    grids: tuple[int, ...] = (4, 2, 1)
    """Anchor grids: cells along the longer side of each (`--head pyramid`)."""
    levels: tuple[int, ...] = (3, 4, 5, 6, 7)
    """Pyramid levels with anchors; level 3 has cells of 8 pixels, 4 of 16 (`--head retinanet`)."""
    zooms: tuple[float, ...] = (0.75, 1.0, 1.3)
    """Anchor scales relative to the grid cell (`--head pyramid` and `retinanet`)."""
    ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))
    """Anchor aspect ratios: height and width, times the scale (`--head pyramid` and `retinanet`)."""
    anchor_layout: Literal["centers", "torchvision"] = "centers"
    """Anchor layout: on the cells' centers, or `torchvision`'s, on corners (`--head retinanet`)."""
    anchor_sizes: tuple[float, ...] = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
    """Anchor sizes at 300 pixels (`--head ssd300...`); VOC's by default; COCO's: 21 45 99 153 207 261 315."""
    match_rule: Literal["best_iou", "lesson"] = "best_iou"
    """Matching rule: with `best_iou` each object keeps an anchor; with `lesson` a later one may take it."""
    match_threshold: float = 0.4
    """IoU threshold for positive anchors; the best anchor of each object is positive at any IoU above 0."""
    ignore_threshold: Annotated[float | None, unset_is("no ignored anchors")] = None
    """IoU threshold for ignored anchors: from it to --match-threshold an anchor has no loss."""
    anchors_per_object: int = 1
    """Number of best anchors that are positive for each object at any IoU above 0.1 (S3FD)."""

    def check(self) -> None:
        """Ranges."""
        finest = min(self.levels, default=0)
        rising = finest >= 1 and self.levels == tuple(range(finest, finest + len(self.levels)))
        expected = "rising numbers without a gap from 1 to 12, such as 3 4 5"
        self.require("levels", rising and self.levels[-1] <= 12, expected)
        sizes_hold = len(self.anchor_sizes) == 7 and all(0 < size < math.inf for size in self.anchor_sizes)
        self.require("anchor_sizes", sizes_hold, "seven positive numbers")
        self.require("match_threshold", 0 <= self.match_threshold <= 1, "an IoU between 0 and 1")
        in_order = self.ignore_threshold is None or 0 < self.ignore_threshold <= self.match_threshold
        self.require("ignore_threshold", in_order, "an IoU above 0, at most --match-threshold, or None")
        self.require("anchors_per_object", self.anchors_per_object >= 1, "1 or more")
        one = self.anchors_per_object == 1 or self.match_rule == "best_iou"
        self.require("anchors_per_object", one, "1 with --match-rule lesson")


@dataclass(frozen=True)
class LossConfig(Topic):
    """Classification and box loss."""

    class_loss: Literal["focal", "bce", "softmax"] = "focal"
    """Classification loss: focal, binary cross entropy, or `softmax` over classes and background (SSD)."""
    alpha: float = 0.25
    """Focal loss alpha: weight of positive classes; negative classes have weight 1 - alpha."""
    gamma: float = 2.0
    """Focal loss gamma: focusing parameter; 2 in the lesson's lecture, 1 in its notebook."""
    negative_ratio: Annotated[int | None, unset_is("all")] = None
    """Number of negatives kept per positive anchor, hardest first."""
    min_negatives: int = 0
    """Minimum number of negatives kept per image, also without objects (with --negative-ratio)."""
    normalizer: Normalizer = "classes"
    """Divisor of the loss: number of classes (the lesson), or positive anchors of the image or batch."""
    box_coder: Annotated[str, one_of(BOX_CODERS)] = "tanh"
    """Box coder: `tanh` (the lesson's, L1 loss), `offsets` (SSD's, smooth L1), `plain_offsets` (L1)."""
    box_loss: Literal["coder", "giou", "diou", "ciou"] = "coder"
    """Box loss: `coder` is that of the box coder; the others compare decoded boxes by their overlap."""
    box_loss_weight: float = 1.0
    """Weight of the box loss in the total loss."""

    def check(self) -> None:
        """Ranges."""
        self.require("box_coder", self.box_coder in BOX_CODERS, f"one of {', '.join(BOX_CODERS)}")
        self.require("box_loss_weight", 0 <= self.box_loss_weight < math.inf, "0 or more")
        self.require("min_negatives", self.min_negatives >= 0, "0 or more")
        self.require("alpha", 0 <= self.alpha <= 1, "a share between 0 and 1")
        self.require("gamma", 0 <= self.gamma < math.inf, "0 or more")
        self.require("negative_ratio", self.negative_ratio is None or self.negative_ratio >= 1, "1 or more, or None")

    @property
    def background(self) -> bool:
        """If True, the network has an output for background as well."""
        return self.class_loss == "softmax"


@dataclass(frozen=True)
class PostprocessConfig(Topic):
    """Non-maximum suppression (NMS)."""

    score_threshold: float = 0.01
    """Score threshold: boxes below it are dropped before NMS."""
    nms: Literal["hard", "soft"] = "hard"
    """Kind of NMS: `hard` removes boxes, `soft` lowers their scores (soft-NMS)."""
    iou_threshold: float = 0.45
    """IoU threshold of NMS: above it, the box with the lower score is removed (`--nms hard`)."""
    soft_nms_sigma: float = 0.5
    """Width of soft-NMS: scores fall by exp(-IoU^2 / width) (`--nms soft`)."""
    max_candidates: int = 200
    """Maximum number of boxes that enter NMS, over all classes, highest scores first."""
    max_candidates_per_class: Annotated[int | None, unset_is("no limit per class")] = None
    """Maximum number of boxes of each class that enter NMS, in place of --max-candidates."""
    max_candidates_per_level: Annotated[int | None, unset_is("no limit per level")] = None
    """Maximum number of boxes of each pyramid level that enter NMS, in place of --max-candidates."""
    max_outputs: int = 100
    """Maximum number of detections per image."""

    def check(self) -> None:
        """Ranges."""
        for name in ("score_threshold", "iou_threshold"):
            self.require(name, 0 <= getattr(self, name) <= 1, "a number between 0 and 1")
        self.require("soft_nms_sigma", 0 < self.soft_nms_sigma < math.inf, "a number above 0")
        for name in ("max_candidates", "max_outputs"):
            self.require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("max_candidates_per_class", "max_candidates_per_level"):
            self.require(name, getattr(self, name) is None or getattr(self, name) >= 1, "1 or more, or None")
        one = self.max_candidates_per_class is None or self.max_candidates_per_level is None
        self.require("max_candidates_per_level", one, "None with --max-candidates-per-class")


class Phase(NamedTuple):
    """Phase of a run, with its own optimizer; see the fields of `OptimizerConfig` of the same names."""

    epochs: int
    learning_rate: float
    trainable: Trainable
    schedule: Schedule
    clr: tuple[float, float]
    warmup_steps: int = 0


@dataclass(frozen=True)
class OptimizerConfig(Topic):
    """Optimizer, phases and learning rate."""

    epochs: tuple[int, ...] = (100,)
    """Number of epochs in each phase. Several values make several phases, each with a new optimizer."""
    learning_rate: tuple[float, ...] = (1e-3,)
    """Peak learning rate of each phase; one value applies to all phases."""
    trainable: tuple[Trainable, ...] = ("all",)
    """Trainable layers of each phase: `head`, `upper` (head and upper half of the backbone), or `all`."""
    schedule: tuple[Schedule, ...] = ("one_cycle",)
    """Learning-rate schedule of each phase; `clr` is the lesson's `use_clr`."""
    clr: tuple[tuple[float, float], ...] = ((32.0, 10.0),)
    """Shape of `clr`: peak rate / lowest rate, and length of the phase / length of the rise."""
    warmup_steps: int = 0
    """Warm-up steps of each phase: the learning rate rises linearly from 0 to the schedule's value."""
    batch_size: int = 64
    """Batch size: images per step, over all devices."""
    grad_accum_steps: int = 1
    """Gradient accumulation: micro-batches per step. Less memory; BatchNorm sees one micro-batch."""
    optimizer: OptimizerName = "adamw"
    """Optimizer: AdamW, or SGD with momentum."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of the kernels; decoupled in AdamW, added to the gradient in SGD."""
    clip_norm: Annotated[float | None, unset_is("no clipping")] = None
    """Gradient clipping: maximum global norm of the gradients."""
    lr_multipliers: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Learning-rate multipliers of the backbone's lower half, its upper half, and the head."""
    ema_decay: Annotated[float | None, unset_is("the newest weights")] = None
    """Moving average (EMA) of the weights, validated and kept in their place: its highest decay."""

    def check(self) -> None:
        """Ranges, and one value or one per phase."""
        for name in ("batch_size", "grad_accum_steps"):
            self.require(name, getattr(self, name) >= 1, "1 or more")
        divides = self.batch_size % self.grad_accum_steps == 0
        self.require("grad_accum_steps", divides, f"a divisor of the batch size, {self.batch_size}")
        self.require("warmup_steps", self.warmup_steps >= 0, "0 or more")
        self.require("momentum", 0 <= self.momentum < 1, "0 or more and below 1")
        self.require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self.require("clip_norm", self.clip_norm is None or 0 < self.clip_norm < math.inf, "a positive number, or None")
        self.require("ema_decay", self.ema_decay is None or 0 < self.ema_decay < 1, "between 0 and 1, or None")
        self.require("epochs", all(epochs >= 1 for epochs in self.epochs), "1 or more")
        self.require("learning_rate", all(0 < rate < math.inf for rate in self.learning_rate), "a positive number")
        clr_holds = all(1 <= div < math.inf and 1 < cut < math.inf for div, cut in self.clr)
        self.require("clr", clr_holds, "1 or more, and more than 1")
        self.require("lr_multipliers", all(0 <= rate < math.inf for rate in self.lr_multipliers), "0 or more")
        for name, values in self._columns().items():
            count = self._num_phases()
            self.require(name, len(values) in (1, count), f"one value, or one for each of the {count} phases")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases of the run in their order, at least one."""
        columns = [values * (self._num_phases() // len(values)) for values in self._columns().values()]
        return tuple(Phase(*row)._replace(warmup_steps=self.warmup_steps) for row in zip(*columns, strict=True))

    def _columns(self) -> dict[str, Any]:
        names = [name for name in Phase._fields if name != "warmup_steps"]
        return {name: tuple(getattr(self, name)) for name in names}

    def _num_phases(self) -> int:
        return max(1, *map(len, self._columns().values()))


@dataclass(frozen=True)
class AugmentationConfig(Topic):
    """Augmentation."""

    augment: Annotated[str, one_of(AUGMENTATIONS)] = "crop"
    """Augmentation: zoom, shift and light (`crop`), SSD's crops and colours (`ssd`), rotation (`lesson`)."""
    scale_jitter: tuple[float, float] = (2 / 3, 3 / 2)
    """Scale jitter of `--augment crop`: range of the zoom factor; `0.1 2` is large-scale jitter."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip, for cells or pictures from above (not with `--augment none`)."""
    zoom_out: float = 4.0
    """Zoom-out of `--augment ssd`: largest side of the canvas relative to the image; 1 for none."""
    mosaic: float = 0.0
    """Mosaic: probability that an image is combined with three others of its batch, side by side."""
    mixup: float = 0.0
    """Mixup: probability that an image is blended with another one of its batch."""

    def check(self) -> None:
        """Check the name and ranges."""
        self.require("augment", self.augment in AUGMENTATIONS, f"one of {', '.join(AUGMENTATIONS)}")
        for name in ("vertical_flip", "mosaic", "mixup"):
            self.require(name, 0 <= getattr(self, name) <= 1, "a probability between 0 and 1")
        low, high = self.scale_jitter
        self.require("scale_jitter", 0 < low <= high < math.inf, "two positive factors, the smaller first")
        self.require("zoom_out", 1 <= self.zoom_out < math.inf, "1 or more")


@dataclass(frozen=True)
class RuntimeConfig(Topic):
    """Memory, validation, checkpoints and seed."""

    memory: Memory = "auto"
    """Training images: in `device` memory, or `stream` from disk; `auto` streams above half the memory."""
    eval_every: int = 1
    """Number of epochs between validations. Each saves a checkpoint; the highest score is the best."""
    checkpoint_every: float = 10.0
    """Minutes between additional checkpoints; a killed run loses at most this much."""
    seed: int = 0
    """Seed of the initial weights, the order of the images, augmentation and dropout."""

    def check(self) -> None:
        """Ranges."""
        self.require("seed", 0 <= self.seed < 2**32, "a whole number from 0 to 2**32 - 1")
        self.require("eval_every", self.eval_every >= 1, "1 or more")
        self.require("checkpoint_every", 0 < self.checkpoint_every < math.inf, "a positive number of minutes")


def _choices(annotation: Any) -> tuple[str, ...]:
    """Values of `Literal["a", "b"]`, or of a tuple of such; nothing for another annotation."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    inner = get_args(annotation)[:1]
    return _choices(*inner) if inner else ()
