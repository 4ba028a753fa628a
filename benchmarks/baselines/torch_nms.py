"""NMS by torchvision: candidates for the whole batch, then `batched_nms` image by image."""

from torch import Tensor
from torchvision.ops import batched_nms

IOU_THRESHOLD, SCORE_THRESHOLD, MAX_OUTPUTS = 0.45, 0.01, 100
Detected = tuple[Tensor, Tensor, Tensor]


def candidates(boxes: Tensor, scores: Tensor, count: int) -> Detected:
    """Best pairs of anchor and class of boxes `[B, A, 4]`, scores `[B, A, C]`: boxes, scores, labels `[B, K]`."""
    num_classes = scores.shape[2]
    best, pair = scores.flatten(1).topk(min(count, scores[0].numel()))
    anchor, label = pair // num_classes, pair % num_classes
    return boxes.gather(1, anchor[..., None].expand(-1, -1, 4)), best, label


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor) -> list[Detected]:
    """Detections of each image after NMS of its candidates, best first."""
    return [_suppress_image(*image) for image in zip(boxes, scores, labels, strict=True)]


def _suppress_image(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detected:
    above = scores > SCORE_THRESHOLD
    boxes, scores, labels = boxes[above], scores[above], labels[above]
    kept = batched_nms(boxes, scores, labels, IOU_THRESHOLD)[:MAX_OUTPUTS]
    return boxes[kept], scores[kept], labels[kept]
