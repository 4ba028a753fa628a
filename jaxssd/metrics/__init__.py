"""Average precision of whole data sets, on the host: VOC's own, and COCO's through a library.

`jaxssd.data.results` writes what is scored here as files that other tools score.
"""

from jaxssd.metrics.arrays import DetectionArrays
from jaxssd.metrics.coco import COCOScores, coco_available, coco_scores, format_coco_scores
from jaxssd.metrics.curve import Curve, average_precision, monotone_envelope
from jaxssd.metrics.tables import most_frequent
from jaxssd.metrics.voc import VOCScores, format_scores, voc_scores

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
