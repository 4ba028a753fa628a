"""Every object's class and box: SSD over a set of anchors, the lesson's last three stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from jaxssd import viz
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.placement import in_image
from jaxssd.metrics import (
    COCOScores,
    VOCScores,
    coco_available,
    coco_scores,
    format_coco_scores,
    format_scores,
    most_frequent,
    voc_scores,
)
from jaxssd.models.heads import Predictions
from jaxssd.ops import Anchors, Detections, SSDLoss, clip_boxes, multiclass_nms
from jaxssd.tasks.task import MOST_ROWS, Task, box_in_pixels, left_out


@dataclass(frozen=True)
class DetectionScores:
    """Average precision, and the names it is told under.

    Attributes:
        voc: VOC's two.
        class_names: of the labels.
        coco: COCO's, if it was asked for and can be taken.
    """

    voc: VOCScores
    class_names: Sequence[str]
    coco: COCOScores | None = None

    @property
    def objective(self) -> float:
        """Mean average precision (area); 0 where no class has ground truth."""
        return float(np.nan_to_num(self.voc.mean_area))

    def summary(self) -> dict[str, float]:
        """Both means."""
        return {"map_area": self.voc.mean_area, "map_voc07": self.voc.mean_voc07}

    def headline(self) -> str:
        """Both means."""
        if np.isnan(self.voc.mean_area):
            return "no ground truth"
        return f"mAP {self.voc.mean_area:.3f} ({self.voc.mean_voc07:.3f} 11-point)"

    def table(self) -> str:
        """A line for each class, by VOC and by COCO; of very many, for those with the most objects."""
        labels = most_frequent(self.voc.num_truths, MOST_ROWS)
        tables = [format_scores(self.voc, self.class_names, labels=labels)]
        if self.coco is not None:
            tables.append(format_coco_scores(self.coco, self.class_names, labels=labels))
        return "\n\n".join(tables + left_out(len(self.class_names) - len(labels)))

    def as_dict(self) -> dict[str, Any]:
        """Means, and everything about each class but its curve; COCO's under `coco`."""
        coco = {"coco": self.coco.as_dict(self.class_names)} if self.coco is not None else {}
        return self.voc.as_dict(self.class_names) | coco


@dataclass(frozen=True)
class DetectionTask(Task):
    """Every object's class and box.

    Attributes:
        anchors: of the head's grids.
        decode: from activations and anchors to boxes.
        loss_of_image: `ssd_loss` with its settings.
    """

    anchors: Anchors
    decode: Callable[[Array, Anchors], Array]
    loss_of_image: Callable[..., SSDLoss]

    @property
    def curves(self) -> dict[str, dict[str, str]]:
        """Both means of average precision."""
        return {"mAP": {"map_area": "area", "map_voc07": "11-point"}}

    def loss(self, predictions: Predictions, examples: Examples) -> SSDLoss:
        """`ssd_loss` of each image."""
        targets = examples.valid & ~examples.difficult
        return jax.vmap(self.loss_of_image)(*predictions, examples.boxes, examples.labels, targets)

    def postprocess(self, predictions: Predictions) -> Detections:
        """Decoded, clipped and suppressed detections of each image, `[B, D]`."""

        def detect(class_logits: Array, box_activations: Array) -> Detections:
            boxes = clip_boxes(self.decode(box_activations, self.anchors))
            return multiclass_nms(boxes, jax.nn.sigmoid(class_logits))

        return jax.vmap(detect)(*predictions)

    def score(self, answers: Detections, dataset: Dataset, *, with_coco: bool = False) -> DetectionScores:
        """By the VOC protocol, in pixels of the images; thoroughly by COCO's too, if its library is installed."""
        answers, examples = in_image(answers, dataset.placements), in_image(dataset.examples, dataset.placements)
        truths = (examples.boxes, examples.labels, examples.valid, examples.difficult)
        num_classes = len(self.class_names)
        coco = (
            coco_scores(answers, *truths, dataset.sizes, num_classes=num_classes)
            if with_coco and coco_available()
            else None
        )
        voc = voc_scores(answers, *truths, num_classes=num_classes, sizes=dataset.sizes)
        return DetectionScores(voc, self.class_names, coco)

    def figures(self, answers: Detections, scores: DetectionScores, dataset: Dataset) -> dict[str, Figure]:
        """Detections beside the truth, and precision over recall."""
        truths, first = dataset.examples, slice(viz.GRID_IMAGES)
        return {
            "detections": viz.detection_grid(
                truths.images[first],
                Detections(*(array[first] for array in answers)),
                (truths.boxes[first], truths.labels[first], truths.valid[first]),
                self.class_names,
                ids=dataset.ids[first],
            ),
            "precision-recall": viz.precision_recall(scores.voc, self.class_names),
        }

    def draw(self, photograph: np.ndarray, answer: Detections, threshold: float) -> Figure:
        """Boxes with class and score."""
        return viz.detection_image(photograph, answer, self.class_names, score_threshold=threshold)

    def to_json(self, answer: Detections, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
        """Class, score and box of each detection."""
        shown = answer.valid & (answer.scores >= threshold)
        rows = zip(answer.labels[shown], answer.scores[shown], answer.boxes[shown], strict=True)
        return [
            {"class": self.class_names[label], "score": round(float(score), 4), "box": box_in_pixels(box, size)}
            for label, score, box in rows
        ]
