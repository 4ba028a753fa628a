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
)
