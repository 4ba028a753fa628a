"""Bugs planted in figures, and in what is drawn of a run."""

from tests.mutants.planted import Mutant

BOXES, MATCHES, PREDICTIONS = "jaxssd/viz/boxes.py", "jaxssd/viz/matches.py", "jaxssd/viz/predictions.py"
EXPLAIN, ANCHORS = "jaxssd/tools/explain.py", "jaxssd/viz/anchors.py"

PLANTED = (
    Mutant(BOXES, "(x1, y1),", "(y1, x1),", "rows and columns swapped"),
    Mutant(
        BOXES,
        "extent=(0, 1, 1, 0)",
        "extent=(0, 1, 0, 1)",
        "images upside down",
        "tests/viz/test_boxes.py tests/viz/test_results.py",
    ),
    Mutant(MATCHES, 'anchors_per_object if rule == "best_iou" else 1', "1", "one anchor for each object is drawn"),
    Mutant(
        MATCHES, "match.positive & (match.gt_index == index)", "match.gt_index == index", "every anchor is an owner's"
    ),
    Mutant(
        MATCHES,
        "shares.append(Share(corners[rows]",
        "shares.append(Share(boxes[[index] * len(rows)]",
        "boxes drawn for anchors",
    ),
    Mutant(PREDICTIONS, "divmod(index, columns)", "divmod(index, columns)[::-1]", "cells of the other diagonal"),
    Mutant(PREDICTIONS, "scores >= score_threshold)\n", "scores > 2 * score_threshold)\n", "some are not drawn"),
    Mutant(ANCHORS, "divmod(index, len(ratios))", "divmod(index, len(zooms))[::-1]", "zooms and ratios swapped"),
    Mutant(
        EXPLAIN, "task.decode(activations, task.anchors)", "task.anchors.corners", "anchors drawn in place of boxes"
    ),
    Mutant(EXPLAIN, "            boxes[anchor],\n", "            boxes[label],\n", "boxes of other anchors"),
    Mutant(EXPLAIN, "scores.argmax(axis=1)", "scores.argmin(axis=1)", "the least likely class"),
    Mutant(EXPLAIN, "np.asarray(lost)))[-1]", "np.asarray(lost)))[0]", "the image that tells least"),
    Mutant(EXPLAIN, "(rows // 2 * columns + columns // 2)", "(rows // 2 + columns // 2)", "not the middle cell"),
)
