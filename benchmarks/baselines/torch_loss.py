"""Loss of the detector in PyTorch, for a padded batch without loops: the formulas of `jaxssd.ssd_loss`.

Shapes: B images, A anchors, C classes, G padded objects.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_LOG_RATIO = math.log(1000 / 16)


class Anchors(NamedTuple):
    """Anchors with the columns of `jaxssd.Anchors`."""

    center_size: Tensor
    corners: Tensor
    cell_size: Tensor


class Settings(NamedTuple):
    """Settings of the loss."""

    rule: str = "best_iou"
    threshold: float = 0.4
    class_loss: str = "focal"
    alpha: float = 0.25
    gamma: float = 2.0
    box_coder: str = "tanh"
    negative_ratio: int = 0
    normalizer: str = "classes"


def batch_loss(
    logits: Tensor, activations: Tensor, boxes: Tensor, labels: Tensor, valid: Tensor, anchors: Anchors, s: Settings
) -> Tensor:
    """Loss of each image, `[B]`."""
    num_classes = logits.shape[2]
    gt_index, positive = match(anchors.corners, boxes, valid, s)
    num_positive = positive.sum(dim=1)
    truth = boxes.gather(1, gt_index[..., None].expand(-1, -1, 4))
    truth = torch.where(positive[..., None], truth, anchors.corners)
    error = torch.where(positive[..., None], box_loss(activations, truth, anchors, s), 0)
    localization = error.sum(dim=(1, 2)) / num_positive.clamp(min=1)
    target_labels = torch.where(positive, labels.gather(1, gt_index), num_classes)
    targets = F.one_hot(target_labels, num_classes + 1)[..., :num_classes].to(logits.dtype)
    losses = class_loss(logits, targets, s)
    if s.negative_ratio:
        hard = hard_negative_mask(losses.sum(dim=2), positive, s.negative_ratio)
        losses = torch.where((positive | hard)[..., None], losses, 0)
    divisor = num_classes if s.normalizer == "classes" else num_positive.clamp(min=1)
    return localization + losses.sum(dim=(1, 2)) / divisor


def match(corners: Tensor, boxes: Tensor, valid: Tensor, s: Settings) -> tuple[Tensor, Tensor]:
    """Matches of the anchors: `gt_index [B, A], positive [B, A]`."""
    with torch.no_grad():
        overlap = torch.where(valid[..., None], iou(boxes, corners), -1)  # [B, G, A]
        best, gt_index = overlap.max(dim=1)
        forced = FORCED[s.rule](overlap, valid)
        return torch.where(forced >= 0, forced, gt_index), (forced >= 0) | (best > s.threshold)


def last_best(overlap: Tensor, valid: Tensor) -> Tensor:
    """Last object whose best anchor this is, or -1: `[B, A]`."""
    gt = torch.arange(overlap.shape[1], device=overlap.device)
    return _owners(overlap, overlap.argmax(dim=2), torch.where(valid, gt, -1))


def greedy(overlap: Tensor, valid: Tensor) -> Tensor:
    """Object that owns each anchor, or -1: `[B, A]`. Highest overlap first, each object and each anchor once.

    An object gets one of the G anchors that it overlaps most, since the other objects take G - 1 at most. So only those
    are searched.
    """
    _, num_gt, num_anchors = overlap.shape
    rounds = min(num_gt, num_anchors)
    value, anchor = overlap.topk(rounds, dim=2)  # [B, G, rounds]
    rows = torch.arange(num_gt, device=overlap.device)[None, :, None]
    gts, anchors = [], []
    for _ in range(rounds):
        best, pair = value.flatten(1).max(dim=1, keepdim=True)
        gt, taken = pair // rounds, anchor.flatten(1).gather(1, pair)
        gts.append(torch.where(best >= 0, gt, -1))
        anchors.append(taken)
        value = torch.where((rows == gt[..., None]) | (anchor == taken[..., None]), -1, value)
    return _owners(overlap, torch.cat(anchors, dim=1), torch.cat(gts, dim=1))


FORCED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"lesson": last_best, "best_iou": greedy}


def _owners(overlap: Tensor, anchors: Tensor, gts: Tensor) -> Tensor:
    """Highest object of each anchor, from pairs of anchor and object."""
    images, _, num_anchors = overlap.shape
    nobody = torch.full((images, num_anchors), -1, device=overlap.device)
    return nobody.scatter_reduce(1, anchors, gts, "amax")


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU `[..., G, A]` of boxes `a [..., G, 4]` and `b [A, 4]`."""
    near = torch.maximum(a[..., :, None, :2], b[:, :2])
    far = torch.minimum(a[..., :, None, 2:], b[:, 2:])
    intersection = (far - near).clamp(min=0).prod(dim=-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(dim=-1) for x in (a, b))
    union = area_a[..., :, None] + area_b - intersection
    return torch.where(union > 0, intersection / union, 0)


def decode_tanh(activations: Tensor, anchors: Anchors) -> Tensor:
    """Corners: centres move by half a cell at most; sizes are 0.5 to 1.5 of the anchor's."""
    move, grow = (activations.tanh() / 2).chunk(2, dim=-1)
    center, size = anchors.center_size.chunk(2, dim=-1)
    center, size = center + move * anchors.cell_size, (1 + grow) * size
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def encode_offsets(boxes: Tensor, anchors: Anchors) -> Tensor:
    """Offsets of Faster R-CNN, with the scales of SSD."""
    near, far = boxes.chunk(2, dim=-1)
    center, size = anchors.center_size.chunk(2, dim=-1)
    move, grow = ((near + far) / 2 - center) / size, torch.log((far - near).clamp(min=1e-6) / size)
    return torch.cat([10 * move, 5 * grow], dim=-1)


def decode_offsets(offsets: Tensor, anchors: Anchors) -> Tensor:
    """Inverse of `encode_offsets`, with sizes bounded as in torchvision."""
    move, grow = offsets.chunk(2, dim=-1)
    center, size = anchors.center_size.chunk(2, dim=-1)
    center, size = center + move / 10 * size, torch.exp((grow / 5).clamp(max=LARGEST_LOG_RATIO)) * size
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


DECODE: dict[str, Callable[[Tensor, Anchors], Tensor]] = {"tanh": decode_tanh, "offsets": decode_offsets}


def box_loss(activations: Tensor, truth: Tensor, anchors: Anchors, s: Settings) -> Tensor:
    """Loss of each coordinate, `[..., 4]`: L1 of the corners, or smooth L1 of the offsets; anchors have the sum."""
    if s.box_coder == "tanh":
        return (decode_tanh(activations, anchors) - truth).abs() / 4
    return F.smooth_l1_loss(activations, encode_offsets(truth, anchors), reduction="none")


def hard_negative_mask(loss: Tensor, positive: Tensor, ratio: int) -> Tensor:
    """Mask of the negatives with the highest losses `[B, A]`, `ratio` per positive anchor."""
    loss = loss.detach().masked_fill(positive, -1)
    rank = loss.argsort(dim=1, descending=True).argsort(dim=1)
    return (rank < ratio * positive.sum(dim=1, keepdim=True)) & ~positive


def class_loss(logits: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Binary cross entropy of each logit, or focal loss (arXiv:1708.02002, eq. 5) with gradient through the weight."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if s.class_loss == "bce":
        return cross_entropy
    p = logits.sigmoid()
    p_of_target = p * targets + (1 - p) * (1 - targets)
    alpha_of_target = s.alpha * targets + (1 - s.alpha) * (1 - targets)
    return alpha_of_target * (1 - p_of_target) ** s.gamma * cross_entropy
