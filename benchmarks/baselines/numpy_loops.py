"""Loss and NMS of one image in NumPy, in the usual form, for a Python loop over the images.

Matching, loss and gradients are the lesson's (fast.ai 2018, lesson 9, `ssd_1_loss` with the focal loss); NMS is the
usual loop over classes and, within a class, over the remaining boxes. Results are those of `jaxssd.ssd_loss` and
`jaxssd.multiclass_nms`, also in float32.
"""

import numpy as np

ALPHA, GAMMA, MATCH_THRESHOLD = 0.25, 2.0, 0.4
IOU_THRESHOLD, SCORE_THRESHOLD = 0.45, 0.01


def ssd_loss_and_grads(class_logits, box_activations, gt_boxes, gt_labels, gt_valid, *, anchors, rule):
    """Total loss and its gradients: `total, (class_logits [A, C], box_activations [A, 4])`."""
    boxes, labels = gt_boxes[gt_valid], gt_labels[gt_valid]
    gt_index, positive = match(boxes, anchors.corners, rule)

    # Localization: mean absolute error of the decoded corners of positive anchors.
    anchor, t = anchors.center_size[positive], np.tanh(box_activations[positive])
    limit = np.concatenate([np.repeat(anchors.cell_size[positive], 2, axis=1), anchor[:, 2:]], axis=1) / 2
    center, size = np.split(anchor + t * limit, 2, axis=1)
    error = np.concatenate([center - size / 2, center + size / 2], axis=1) - boxes[gt_index[positive]]
    near_grad, far_grad = np.split(np.sign(error) / error.size, 2, axis=1)
    box_grad = np.zeros_like(box_activations)
    box_grad[positive] = np.concatenate([near_grad + far_grad, (far_grad - near_grad) / 2], axis=1) * limit * (1 - t**2)

    # Classification: focal loss -alpha (1 - q)^gamma log q, where q is the probability of the target.
    target = np.zeros(class_logits.shape, bool)
    target[positive, labels[gt_index[positive]]] = True
    sign = np.where(target, np.float32(1), np.float32(-1))
    log_q = -np.logaddexp(0, -sign * class_logits)
    q = np.exp(log_q)
    weight = np.where(target, np.float32(ALPHA), np.float32(1 - ALPHA)) * (1 - q) ** GAMMA / class_logits.shape[1]
    class_grad = sign * weight * (GAMMA * q * log_q + q - 1)
    return np.abs(error).mean() - (weight * log_q).sum(), (class_grad, box_grad)


def match(gt_boxes, anchor_corners, rule):
    """Matches of the anchors: `gt_index [A], positive [A]`."""
    overlaps = iou(gt_boxes, anchor_corners)
    gt_index, overlap = overlaps.argmax(axis=0), overlaps.max(axis=0)
    for gt, anchor in forced_pairs(overlaps) if rule == "best_iou" else enumerate(overlaps.argmax(axis=1)):
        gt_index[anchor], overlap[anchor] = gt, 1.99
    return gt_index, overlap > MATCH_THRESHOLD


def forced_pairs(overlaps):
    """Pairs of ground truth and anchor by falling overlap, each of them in one pair at most."""
    free = overlaps.copy()
    for _ in range(min(free.shape)):
        gt, anchor = np.unravel_index(free.argmax(), free.shape)
        yield gt, anchor
        free[gt, :] = free[:, anchor] = -1


def multiclass_nms(boxes, scores, *, max_candidates=200, max_outputs=100):
    """Detections: `boxes [D, 4], scores [D], labels [D], valid [D]`; zeros after the rows that are kept."""
    cutoff = np.partition(scores, -min(max_candidates, scores.size), axis=None)[-min(max_candidates, scores.size)]
    anchors, labels = np.nonzero((scores >= cutoff) & (scores > SCORE_THRESHOLD))
    best_first = np.argsort(-scores[anchors, labels], kind="stable")[:max_candidates]
    anchors, labels = anchors[best_first], labels[best_first]

    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        while rows.size:
            first, rows = rows[0], rows[1:]
            kept.append(first)
            rows = rows[iou(boxes[anchors[[first]]], boxes[anchors[rows]])[0] <= IOU_THRESHOLD]
    kept = np.sort(kept)[:max_outputs]
    columns = boxes[anchors[kept]], scores[anchors[kept], labels[kept]], labels[kept], np.ones(len(kept), bool)
    return tuple(np.concatenate([c, np.zeros((max_outputs - len(c), *c.shape[1:]), c.dtype)]) for c in columns)


def iou(a, b):
    """IoU `[N, M]` of boxes with positive area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    intersection = np.maximum(sides, 0).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    return intersection / (area_a[:, None] + area_b[None, :] - intersection)
