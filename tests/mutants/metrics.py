"""Bugs planted in `metrics`."""

from tests.mutants.planted import Mutant

VOC, CURVE = "jaxssd/metrics/voc.py", "jaxssd/metrics/curve.py"
CURVES = "tests/metrics/test_voc.py"

PLANTED = (
    Mutant(VOC, "np.lexsort((-score, label))", "np.lexsort((score, label))", "the worst first"),
    Mutant(VOC, "correct[np.flatnonzero(hit)[first]] = True", "correct[hit] = True", "a truth is found twice"),
    Mutant(VOC, "ranked = ranked[~ignored[ranked]]", "ranked = ranked[ranked >= 0]", "difficult hits are false"),
    Mutant(VOC, "truths.valid & ~truths.difficult], minlength", "truths.valid], minlength", "difficult ones count"),
    Mutant(
        VOC, "same_class = labels[part, :, None] == gt", "same_class = labels[part, :, None] >= gt", "any class hits"
    ),
    Mutant(
        VOC, "true_positives / (last_of_run + 1)", "true_positives / np.maximum(last_of_run, 1)", "precision by one"
    ),
    Mutant(
        CURVE,
        "np.maximum.accumulate(precision[::-1])[::-1]",
        "np.maximum.accumulate(precision)",
        "envelope ahead",
        CURVES,
    ),
    Mutant(CURVE, "np.arange(11) / 10", "np.arange(1, 11) / 10", "ten points for eleven", CURVES),
    Mutant(
        "jaxssd/metrics/voc.py",
        "hit = overlap >= iou_threshold",
        "hit = overlap > iou_threshold",
        "exactly the threshold is missed",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "overlap[part], truth[part] = iou.max(-1), iou.argmax(-1)",
        "overlap[part], truth[part] = iou.max(-1), iou.shape[-1] - 1 - iou[..., ::-1].argmax(-1)",
        "ties go to the last truth",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "np.searchsorted(label[ranked], np.arange(1, num_classes))",
        'np.searchsorted(label[ranked], np.arange(1, num_classes), side="right")',
        "a class starts late",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "np.bincount(truths.labels[truths.difficult], minlength",
        "np.bincount(truths.labels[truths.valid], minlength",
        "difficult ones counted wrongly",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "true_positives / num_truths, true",
        "true_positives / max(len(correct), 1), true",
        "recall of detections",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "known = values[~np.isnan(values)]",
        "known = np.nan_to_num(values)",
        "classes without truth are 0 in the mean",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "np.flatnonzero(np.diff(score, append=-np.inf))",
        "np.arange(len(score))",
        "a point for each of equal scores",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "average_precision(curve.recall, curve.precision, method=method)",
        'average_precision(curve.recall, curve.precision, method="area")',
        "one kind of AP for both",
    ),
    Mutant(
        "jaxssd/metrics/voc.py",
        "chunk = max(1, _PAIRS_PER_CHUNK // pairs)",
        "chunk = max(1, _PAIRS_PER_CHUNK // pairs); num_images = min(num_images, chunk)",
        "images after the first chunk are not scored",
    ),
    Mutant(
        "jaxssd/metrics/curve.py",
        "_RECALL_TOLERANCE = 1e-7",
        "_RECALL_TOLERANCE = 0.0",
        "7/10 in float32 misses 0.7",
        "tests/metrics/test_voc.py",
    ),
    Mutant(
        "jaxssd/metrics/coco_records.py",
        "enumerate(zip(*columns, strict=True), start=1)",
        "enumerate(zip(*columns, strict=True), start=0)",
        "an annotation has the number 0",
        "tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/coco_records.py",
        "np.stack([x1, y1, np.maximum",
        "np.stack([y1, x1, np.maximum",
        "rows for columns in COCO's boxes",
        "tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/coco_records.py",
        "truths.difficult[truths.valid].astype(int).tolist()",
        "[0] * len(boxes)",
        "difficult ones are no crowds",
        "tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/coco_records.py",
        "(boxes[:, 2] * boxes[:, 3]).tolist()",
        "(boxes[:, 2] + boxes[:, 3]).tolist()",
        "another area",
        "tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/coco_records.py",
        '"height": height, "width": width',
        '"height": width, "width": height',
        "sizes turned",
        "tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/arrays.py",
        "np.rint(np.asarray(boxes, np.float64) * np.tile(sizes, 2)[:, None] * PER_PIXEL)",
        "np.floor(np.asarray(boxes, np.float64) * np.tile(sizes, 2)[:, None] * PER_PIXEL)",
        "thousandths are cut off",
        "tests/metrics/test_voc.py tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/arrays.py",
        "np.tile(sizes, 2)[:, None] * PER_PIXEL",
        "np.tile(np.flip(sizes, 1), 2)[:, None] * PER_PIXEL",
        "height and width turned",
        "tests/metrics/test_voc.py tests/metrics/test_coco.py",
    ),
    Mutant(
        "jaxssd/metrics/arrays.py",
        "        valid & difficult,\n",
        "        difficult,\n",
        "padding is difficult",
        "tests/metrics/test_arrays.py tests/metrics/test_voc.py",
    ),
    Mutant(
        "jaxssd/metrics/tables.py",
        'np.argsort(-counts, kind="stable")',
        'np.argsort(counts, kind="stable")',
        "the least frequent are shown",
        "tests/metrics/test_voc.py tests/viz/test_curves.py tests/test_options.py",
    ),
)
