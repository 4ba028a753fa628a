"""Anchors of a run, fitted to its training boxes: `train.py --anchors fit`."""

import numpy as np

from jaxssd.config import Config
from jaxssd.data.anchor_fit import AnchorSettings, Candidate, advise
from jaxssd.data.dataset import Dataset
from jaxssd.models import HEADS


def fit_run(config: Config, train_set: Dataset) -> Config:
    """Fit zooms and ratios to the boxes of the training images, and print the best possible recall.

    They are those that `python -m jaxssd.data` suggests for the run's grids. The result has no fit left to do, so that
    a run that is resumed or evaluated has these anchors in its settings.

    Args:
        config: settings of the run, with a head whose anchors are zooms times ratios.
        train_set: training set, with boxes on the network's input. Difficult objects are not fitted to.

    Returns:
        Settings with `anchors` "fixed" and the zooms and ratios; those of `config` where fitting gains too little.
    """
    examples, given = train_set.examples, config.anchors
    boxes = np.asarray(examples.boxes)[np.asarray(examples.valid & ~examples.difficult)]
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    grids = HEADS[config.model.head].anchor_grids(config)
    start = AnchorSettings(grids, given.zooms, given.ratios, config.dataset.input_shape)
    advice = advise(boxes, boxes, start, boxes_per_cell=start.boxes_per_cell, threshold=given.match_threshold)
    before, after = advice.given, advice.suggestion
    if after is None:
        print(f"anchors: the given ones fit, best possible recall {_recall(before, boxes):.3f}")
        return config.replace(anchors="fixed")
    recall = f"{_recall(before, boxes):.3f} -> {_recall(after, boxes):.3f}"
    options = after.settings.options().partition("--zooms")
    print(f"anchors: fitted to {len(boxes):,} boxes, best possible recall {recall}: {''.join(options[1:])}")
    return config.replace(anchors="fixed", zooms=after.settings.zooms, ratios=after.settings.ratios)


def _recall(candidate: Candidate, boxes: np.ndarray) -> float:
    """Share of the boxes with an IoU above the matching threshold."""
    return 1 - candidate.unmatched / max(len(boxes), 1)
