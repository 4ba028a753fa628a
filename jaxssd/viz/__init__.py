"""Figures. Functions return a matplotlib `Figure` and never use pyplot, so nothing piles up in a long run.

Import this package only inside functions that draw: matplotlib takes a second to import.
"""

from jaxssd.viz.anchors import anchor_figure
from jaxssd.viz.augmentation import augmentation_pair, augmented_grid
from jaxssd.viz.boxes import class_color, draw_boxes, show_image
from jaxssd.viz.curves import learning_rate_sweep, precision_recall, training_curves
from jaxssd.viz.focal import focal_figure
from jaxssd.viz.matches import match_figure
from jaxssd.viz.predictions import nms_figure, raw_predictions_figure
from jaxssd.viz.receptive_field import receptive_field_figure
from jaxssd.viz.results import (
    GRID_IMAGES,
    detection_grid,
    detection_image,
    label_grid,
    labelled_image,
    object_grid,
    object_image,
)
from jaxssd.viz.style import BLUE, TRUTH_COLOR, save

__all__ = [
    "BLUE",
    "GRID_IMAGES",
    "TRUTH_COLOR",
    "anchor_figure",
    "augmentation_pair",
    "augmented_grid",
    "class_color",
    "detection_grid",
    "detection_image",
    "draw_boxes",
    "focal_figure",
    "label_grid",
    "labelled_image",
    "learning_rate_sweep",
    "match_figure",
    "nms_figure",
    "object_grid",
    "object_image",
    "precision_recall",
    "raw_predictions_figure",
    "receptive_field_figure",
    "save",
    "show_image",
    "training_curves",
]
