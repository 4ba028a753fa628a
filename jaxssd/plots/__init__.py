"""Every figure. Functions return a matplotlib `Figure` and never touch pyplot, so nothing piles up in a long run."""

from jaxssd.plots.answers import (
    GRID_IMAGES,
    detection_grid,
    detection_image,
    label_grid,
    labelled_image,
    object_grid,
    object_image,
)
from jaxssd.plots.augmentation import augmentation_pair
from jaxssd.plots.boxes import class_color, draw_boxes, show_image
from jaxssd.plots.curves import learning_rate_sweep, precision_recall, training_curves
from jaxssd.plots.style import BLUE, TRUTH_COLOR, save

__all__ = [
    "BLUE",
    "GRID_IMAGES",
    "TRUTH_COLOR",
    "augmentation_pair",
    "class_color",
    "detection_grid",
    "detection_image",
    "draw_boxes",
    "label_grid",
    "labelled_image",
    "learning_rate_sweep",
    "object_grid",
    "object_image",
    "precision_recall",
    "save",
    "show_image",
    "training_curves",
]
