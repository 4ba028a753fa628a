"""Average precision of whole data sets, on the host: VOC's is computed here, COCO's by a library.

COCO's part is imported when one of its names is first used.
"""

from typing import Any

from jaxssd.metrics.arrays import DetectionArrays
from jaxssd.metrics.curve import Curve, average_precision, monotone_envelope
from jaxssd.metrics.tables import most_frequent
from jaxssd.metrics.voc import VOCScores, format_scores, voc_scores

_OF_COCO = ("COCOScores", "coco_available", "coco_scores", "format_coco_scores")

__all__ = [
    "COCOScores",
    "Curve",
    "DetectionArrays",
    "VOCScores",
    "average_precision",
    "coco_available",
    "coco_scores",
    "format_coco_scores",
    "format_scores",
    "monotone_envelope",
    "most_frequent",
    "voc_scores",
]


def __getattr__(name: str) -> Any:
    """Import COCO's part on first use: most runs do not need its scores."""
    if name not in _OF_COCO:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxssd.metrics import coco

    return getattr(coco, name)
