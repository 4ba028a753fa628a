"""Average precision of whole data sets, on the host: VOC's is computed here, COCO's by a library.

Each part is imported when one of its names is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


_PARTS = {
    "arrays": ("DetectionArrays",),
    "coco": ("COCOScores", "coco_available", "coco_scores", "format_coco_scores"),
    "curve": ("Curve", "average_precision", "monotone_envelope"),
    "tables": ("most_frequent",),
    "voc": ("VOCScores", "format_scores", "voc_scores"),
}


def __getattr__(name: str) -> Any:
    """Import a part on first use: a run needs scores late, and COCO's perhaps never."""
    for part, names in _PARTS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{part}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
