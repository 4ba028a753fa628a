"""The lesson's loss in PyTorch: image by image, without padding, with a loop over the objects.

Source: fast.ai 2018, lesson 9, `ssd_loss`, `ssd_1_loss` and `map_to_ground_truth`.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .torch_loss import Anchors, Settings, box_loss, class_loss, hard_negative_mask, iou


def batch_loss(
    logits: Tensor, activations: Tensor, boxes: Tensor, labels: Tensor, valid: Tensor, anchors: Anchors, s: Settings
) -> Tensor:
    """Loss of each image, `[B]`."""
    images = zip(logits, activations, boxes, labels, valid, strict=True)
    return torch.stack([_image_loss(*image, anchors, s) for image in images])


def _image_loss(
    logits: Tensor, activations: Tensor, boxes: Tensor, labels: Tensor, valid: Tensor, anchors: Anchors, s: Settings
) -> Tensor:
    boxes, labels = boxes[valid], labels[valid]
    num_classes = logits.shape[1]
    if len(boxes) == 0:  # the lesson's code fails here
        background = class_loss(logits, torch.zeros_like(logits), s).sum()
        return 0 * background if s.negative_ratio else background / (num_classes if s.normalizer == "classes" else 1)
    gt_index, positive = _match(anchors.corners, boxes, s)
    rows = positive.nonzero()[:, 0]
    of_rows = Anchors(*(column[rows] for column in anchors))
    localization = box_loss(activations[rows], boxes[gt_index[rows]], of_rows, s).sum() / len(rows)
    target_labels = torch.where(positive, labels[gt_index], num_classes)
    targets = F.one_hot(target_labels, num_classes + 1)[:, :num_classes].to(logits.dtype)
    losses = class_loss(logits, targets, s)
    if s.negative_ratio:
        losses = losses[positive | hard_negative_mask(losses.sum(dim=1)[None], positive[None], s.negative_ratio)[0]]
    return localization + losses.sum() / (num_classes if s.normalizer == "classes" else len(rows))


def _match(corners: Tensor, boxes: Tensor, s: Settings) -> tuple[Tensor, Tensor]:
    overlaps = iou(boxes, corners)
    overlap, gt_index = overlaps.max(dim=0)
    pairs = enumerate(overlaps.argmax(dim=1)) if s.rule == "lesson" else _free_pairs(overlaps)
    for gt, anchor in pairs:
        overlap[anchor], gt_index[anchor] = 1.99, gt
    return gt_index, overlap > s.threshold


def _free_pairs(overlaps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of object and anchor by falling overlap, each of them in one pair at most."""
    free = overlaps.clone()
    for _ in range(min(free.shape)):
        pair = free.argmax()
        gt, anchor = pair // free.shape[1], pair % free.shape[1]
        yield gt, anchor
        free[gt, :] = -1
        free[:, anchor] = -1
