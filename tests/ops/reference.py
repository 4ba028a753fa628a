"""Slow NumPy references that several tests share: written from the formulas, box by box."""

import numpy as np


def iou(a, b):
    """One pair; in float32, where boxes on a small grid of powers of two give the nearest float to the exact ratio."""
    a, b = np.float32(a), np.float32(b)
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(height, 0) * max(width, 0)
    union = max(a[2] - a[0], 0) * max(a[3] - a[1], 0) + max(b[2] - b[0], 0) * max(b[3] - b[1], 0) - intersection
    return np.float32(intersection / union if union > 0 else 0)


def _closest(overlaps, rows, anchor):
    """The row with the highest overlap, the first of `rows` among equals."""
    return max(rows, key=lambda row: overlaps[row][anchor])


def match_lesson(anchors, boxes, valid, threshold):
    """The loop of the lesson: force the best anchor of each ground truth in turn, so that the last one stays."""
    overlaps = [[iou(box, anchor) for anchor in anchors] for box in boxes]
    rows = np.flatnonzero(valid)
    index, overlap = np.zeros(len(anchors), int), np.zeros(len(anchors), np.float32)
    if len(rows) == 0:
        return index, overlap, overlap > 2
    for a in range(len(anchors)):
        index[a] = _closest(overlaps, rows, a)
        overlap[a] = overlaps[index[a]][a]
    for row in rows:
        best = int(np.argmax(overlaps[row]))
        index[best], overlap[best] = row, 1.99
    return index, overlap, overlap > threshold


def match_greedy(anchors, boxes, valid, threshold):
    """All pairs that overlap, by falling overlap, lowest anchor, lowest coordinates; take each with two free sides."""
    overlaps = [[iou(box, anchor) for anchor in anchors] for box in boxes]
    rows = sorted(np.flatnonzero(valid), key=lambda row: tuple(boxes[row]))
    pairs = [(row, a) for row in rows for a in range(len(anchors)) if overlaps[row][a] > 0]
    owner = {}
    for row, a in sorted(pairs, key=lambda pair: (-overlaps[pair[0]][pair[1]], pair[1], rows.index(pair[0]))):
        if a not in owner and row not in owner.values():
            owner[a] = row
    index, overlap = np.zeros(len(anchors), int), np.zeros(len(anchors), np.float32)
    if not rows:
        return index, overlap, overlap > 2
    for a in range(len(anchors)):
        index[a] = owner[a] if a in owner else _closest(overlaps, rows, a)
        overlap[a] = overlaps[index[a]][a]
    return index, overlap, np.array([a in owner for a in range(len(anchors))]) | (overlap > threshold)
