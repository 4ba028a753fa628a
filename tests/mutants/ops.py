"""Bugs planted in `ops`."""

from tests.mutants.planted import Mutant

BOXES, ANCHORS, MATCHING = "jaxssd/ops/boxes.py", "jaxssd/ops/anchors.py", "jaxssd/ops/matching.py"
LOSSES, SSD, NMS, CODING = "jaxssd/ops/losses.py", "jaxssd/ops/ssd_loss.py", "jaxssd/ops/nms.py", "jaxssd/ops/coding.py"
AUGMENT = "jaxssd/ops/augment.py"

PLANTED = (
    Mutant(BOXES, "near = jnp.minimum(", "near = jnp.maximum(", "the hull is the overlap"),
    Mutant(BOXES, "(near + far) / 2, far - near]", "(near + far) / 2, near - far]", "sizes are negative"),
    Mutant(BOXES, "[center - size / 2, center + size / 2]", "[center - size, center + size]", "twice the size"),
    Mutant(ANCHORS, "(np.arange(cells) + 0.5) * step", "np.arange(cells) * step", "centres are corners of cells"),
    Mutant(ANCHORS, "np.stack([cy, cx, nothing", "np.stack([cx, cy, nothing", "columns before rows"),
    Mutant(ANCHORS, "xp.sqrt(s[k] * s[k + 1])", "(s[k] + s[k + 1]) / 2", "an arithmetic for a geometric mean"),
    Mutant(MATCHING, "(a[0] == b[0]) & (a[1] < b[1])", "(a[0] == b[0]) & (a[1] > b[1])", "ties go to the highest"),
    Mutant(MATCHING, "& (rows[None, :] < rows[:, None])", "& (rows[None, :] > rows[:, None])", "ties of owners turned"),
    Mutant(MATCHING, "positive=forced | (iou >", "positive=(iou >", "nothing is forced"),
    Mutant(MATCHING, "forced | (iou > jnp", "forced | (iou >= jnp", "exactly the threshold counts"),
    Mutant(
        MATCHING, ".max(_rows(anchor), mode=", ".min(_rows(anchor), mode=", "the first object has the lesson's anchor"
    ),
    Mutant(LOSSES, "jnp.asarray(ratio, jnp.float32) * positives", "positives", "the ratio of negatives is 1"),
    Mutant(LOSSES, "jnp.int32) <= count", "jnp.int32) < count", "a negative too few on ties"),
    Mutant(SSD, "decoded - truth, 0))) / 4", "decoded - truth, 0)))", "a sum over coordinates"),
    Mutant(SSD, "(0, 1)), match.gt_index), -1)", "(0, 1)), match.gt_index), 0)", "background is class 0"),
    Mutant(
        SSD,
        "losses = jnp.where(positive | hard[:, None]",
        "losses = jnp.where(hard[:, None]",
        "no positives mined",
        "tests/ops/test_ssd300_loss.py",
    ),
    Mutant(SSD, "box_loss / at_least_one", "box_loss / len(logits)", "a mean over all anchors"),
    Mutant(NMS, "jnp.triu(overlap, k=1)", "jnp.triu(overlap, k=2)", "the next best box is never suppressed"),
    Mutant(NMS, "& (labels[:, None] == labels[None, :])", "", "classes suppress each other"),
    Mutant(NMS, "best > score_threshold", "best >= score_threshold", "exactly the score threshold is kept"),
    Mutant(NMS, "return iou > jnp", "return iou >= jnp", "exactly the threshold suppresses"),
    Mutant(CODING, "center + move * anchors.cell_size", "center + 2 * move * anchors.cell_size", "a whole cell's move"),
    Mutant(CODING, "math.log(1000 / 16)", "math.log(1000 / 8)", "the bound of sizes is another"),
    Mutant(AUGMENT, "jnp.stack([y1, 1 - x2, y2, 1 - x1]", "jnp.stack([1 - y2, x1, 1 - y1, x2]", "a flip upside down"),
    Mutant(
        AUGMENT,
        "return jnp.where(flip, jnp.stack",
        "return jnp.where(~flip, jnp.stack",
        "boxes flip when images do not",
    ),
)
