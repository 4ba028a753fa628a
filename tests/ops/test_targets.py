"""Training targets by hand, and against the matching that they come from."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxssd.ops.anchors import make_anchors
from jaxssd.ops.matching import RULES, match_anchors
from jaxssd.ops.targets import assign_targets

ANCHORS = make_anchors(grids=(2,), zooms=(1.0,), ratios=((1.0, 1.0),))  # the quarters of the image


def test_worked_example():
    """The object is the top right quarter, of class 1 of 3; the other quarters are background."""
    box, label, valid = np.float32([[0, 0.5, 0.5, 1]]), np.array([1]), np.array([True])
    targets = jax.jit(partial(assign_targets, num_classes=3))(ANCHORS, box, label, valid)
    assert targets.positive.tolist() == [False, True, False, False]
    assert targets.classes.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(targets.boxes, ANCHORS.corners)


@pytest.mark.parametrize("rule", RULES)
def test_boxes_and_classes_are_those_of_the_match(rule):
    rng = np.random.default_rng(0)
    near = rng.random((50, 3, 2)) / 2
    boxes = np.concatenate([near, near + 0.1 + rng.random((50, 3, 2)) / 2], axis=-1).astype(np.float32)
    labels, valid = rng.integers(0, 5, (50, 3)), rng.random((50, 3)) < 0.7

    @jax.jit
    @jax.vmap
    def both(*truth):
        targets = assign_targets(ANCHORS, *truth, num_classes=5, rule=rule)
        return targets, match_anchors(ANCHORS.corners, truth[0], truth[2], rule=rule)

    targets, match = jax.device_get(both(boxes, labels, valid))
    np.testing.assert_array_equal(targets.positive, match.positive)
    image = np.arange(50)[:, None]
    matched = np.where(match.positive[..., None], boxes[image, match.gt_index], ANCHORS.corners)
    np.testing.assert_array_equal(targets.boxes, matched)
    one_hot = np.eye(5)[labels[image, match.gt_index]] * match.positive[..., None]
    np.testing.assert_array_equal(targets.classes, one_hot)
