"""Detection: the class and box of every object, by SSD over a set of anchors; the lesson's last three stages."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxssd import metrics
from jaxssd.config import Config
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.placement import in_image
from jaxssd.metrics import VOCScores, format_scores, most_frequent, voc_scores
from jaxssd.models import HEADS
from jaxssd.models.detector import make_detector
from jaxssd.models.heads import Predictions
from jaxssd.ops import (
    BOX_CODERS,
    BOX_LOSSES,
    Anchors,
    Detections,
    SSDLoss,
    bce_loss,
    clip_boxes,
    focal_loss,
    multiclass_nms,
    softmax_loss,
    ssd_loss,
)
from jaxssd.ops.arrays import as_pair
from jaxssd.tasks.task import MOST_ROWS, Task, box_in_pixels, fast_layers, left_out

ClassLoss = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class DetectionScores:
    """Average precision by VOC's protocol, and by COCO's where it was asked for.

    Attributes:
        voc: VOC's scores, area and 11-point.
        class_names: name of each label.
        coco: `COCOScores`, or None.
    """

    voc: VOCScores
    class_names: Sequence[str]
    coco: Any = None  # the class itself is imported when scores are taken

    @property
    def objective(self) -> float:
        """Mean average precision (area); 0 where no class has ground truth."""
        return float(np.nan_to_num(self.voc.mean_area))

    def summary(self) -> dict[str, float]:
        """Mean average precision, area and 11-point."""
        return {"map_area": self.voc.mean_area, "map_voc07": self.voc.mean_voc07}

    def headline(self) -> str:
        """Mean average precision, area and 11-point."""
        if np.isnan(self.voc.mean_area):
            return "no ground truth"
        return f"mAP {self.voc.mean_area:.3f} ({self.voc.mean_voc07:.3f} 11-point)"

    def table(self) -> str:
        """A line for each class, by VOC and by COCO; the most frequent ones where there are very many."""
        labels = most_frequent(self.voc.num_truths, MOST_ROWS)
        tables = [format_scores(self.voc, self.class_names, labels=labels)]
        if self.coco is not None:
            tables.append(metrics.format_coco_scores(self.coco, self.class_names, labels=labels))
        return "\n\n".join(tables + left_out(len(self.class_names) - len(labels)))

    def as_dict(self) -> dict[str, Any]:
        """Means, and the scores of each class without its curve; COCO's under `coco`."""
        coco = {"coco": self.coco.as_dict(self.class_names)} if self.coco is not None else {}
        return self.voc.as_dict(self.class_names) | coco


@dataclass(frozen=True)
class DetectionTask(Task):
    """Class and box of every object.

    Attributes:
        anchors: anchors of the head.
        decode: boxes from activations and anchors.
        loss_of_image: `ssd_loss` with its settings.
        nms: `multiclass_nms` with its settings.
        scores: scores of the classes from the class logits.
    """

    anchors: Anchors
    decode: Callable[[Array, Anchors], Array]
    loss_of_image: Callable[..., SSDLoss]
    nms: Callable[[Array, Array], Detections] = multiclass_nms
    scores: Callable[[Array], Array] = jax.nn.sigmoid

    name: ClassVar[str] = "detection"
    has_anchors: ClassVar[bool] = True
    gives_detections: ClassVar[bool] = True

    @classmethod
    def from_config(cls, config: Config) -> "DetectionTask":
        """Detection with the run's head, box coder and loss."""
        head = HEADS[config.model.head]
        anchors = jax.device_get(head.anchors(config))  # NumPy: device arrays would be copied back at compilation
        background = config.loss.background
        model = make_detector(
            num_classes=len(config.dataset.classes) + background,
            backbone=config.model.backbone,
            head=config.model.head,
            dtype=jnp.dtype(config.model.precision),
            fast_layers=fast_layers(config),
            remat=config.model.remat,
            background=background,
            **head.settings(config),
        )
        box_coder = BOX_CODERS[config.loss.box_coder]
        focal = partial(focal_loss, alpha=config.loss.alpha, gamma=config.loss.gamma)
        class_losses: dict[str, ClassLoss] = {"focal": focal, "bce": bce_loss, "softmax": softmax_loss}
        loss = partial(
            ssd_loss,
            anchors=anchors,
            class_loss=class_losses[config.loss.class_loss],
            background=background,
            threshold=config.anchors.match_threshold,
            rule=config.anchors.match_rule,
            box_coder=box_coder,
            ignore_threshold=config.anchors.ignore_threshold,
            anchors_per_object=config.anchors.anchors_per_object,
            negative_ratio=config.loss.negative_ratio,
            min_negatives=config.loss.min_negatives,
            normalizer=config.loss.normalizer,
            box_loss=BOX_LOSSES[config.loss.box_loss],
            box_loss_weight=config.loss.box_loss_weight,
        )
        limits = asdict(config.postprocess)
        kind, sigma = limits.pop("nms"), limits.pop("soft_nms_sigma")
        if config.postprocess.max_candidates_per_level is not None:
            limits["level_sizes"] = _level_sizes(config, len(anchors.corners))
        return cls(
            model,
            config.dataset.classes,
            config.model.mean,
            config.model.std,
            anchors,
            box_coder.decode,
            loss,
            nms=partial(multiclass_nms, **limits, soft_sigma=sigma if kind == "soft" else None),
            scores=softmax_scores if background else jax.nn.sigmoid,
        )

    def loss(self, predictions: Predictions, examples: Examples) -> SSDLoss:
        """`ssd_loss` of each image."""
        targets = examples.valid & ~examples.difficult
        loss_of_batch = jax.vmap(self.loss_of_image, axis_name="batch")  # the axis of `normalizer="batch_positives"`
        return loss_of_batch(*predictions, examples.boxes, examples.labels, targets)

    def postprocess(self, predictions: Predictions, extents: Array | None = None) -> Detections:
        """Decode, clip and suppress: the detections of each image, `[B, D]`.

        Boxes are clipped to the image; with `extents [B, 2]` to the share of its height and of its width, from the top
        left corner, that is not padding.
        """

        def detect(class_logits: Array, box_activations: Array, extent: Array | None) -> Detections:
            boxes = clip_boxes(self.decode(box_activations, self.anchors))
            if extent is not None:
                boxes = jnp.minimum(boxes, jnp.tile(extent, 2)[None])
            return self.nms(boxes, self.scores(class_logits))

        return jax.vmap(detect, in_axes=(0, 0, None if extents is None else 0))(*predictions, extents)

    def score(self, results: Detections, dataset: Dataset, *, with_coco: bool = False) -> DetectionScores:
        """Average precision in pixels of the images; COCO's as well `with_coco`, if its library is installed."""
        results, examples = in_image(results, dataset.placements), in_image(dataset.examples, dataset.placements)
        truths = (examples.boxes, examples.labels, examples.valid, examples.difficult)
        num_classes = len(self.class_names)
        coco = (
            metrics.coco_scores(results, *truths, dataset.sizes, num_classes=num_classes)
            if with_coco and metrics.coco_available()
            else None
        )
        voc = voc_scores(results, *truths, num_classes=num_classes, sizes=dataset.sizes)
        return DetectionScores(voc, self.class_names, coco)

    def to_json(self, result: Detections, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Class, score and box of each detection from `threshold` on."""
        shown = result.valid & (result.scores >= threshold)
        rows = zip(result.labels[shown], result.scores[shown], result.boxes[shown], strict=True)
        return [
            {"class": self.class_names[label], "score": round(float(score), 4), "box": box_in_pixels(box, size)}
            for label, score, box in rows
        ]


def softmax_scores(class_logits: Array) -> Array:
    """Probabilities of the classes, without that of background, whose logit is the last."""
    return jax.nn.softmax(class_logits)[..., :-1]


def _level_sizes(config: Config, num_anchors: int) -> tuple[int, ...]:
    """Number of anchors of each level, for the limit per level."""
    cells = [prod(as_pair(grid)) for grid in HEADS[config.model.head].anchor_grids(config)]
    if not cells:
        raise ValueError(
            f"--max-candidates-per-level is {config.postprocess.max_candidates_per_level}, expected None: --head "
            f"{config.model.head} has fixed anchors; use --max-candidates-per-class"
        )
    return tuple(count * (num_anchors // sum(cells)) for count in cells)
