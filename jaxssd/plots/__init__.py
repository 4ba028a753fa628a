"""Every figure. Functions return a matplotlib `Figure` and never touch pyplot, so nothing piles up in a long run."""

from jaxssd.plots.boxes import class_color, detection_grid, detection_image, draw_boxes, show_image
from jaxssd.plots.curves import precision_recall, training_curves
from jaxssd.plots.style import BLUE, TRUTH_COLOR, save

__all__ = [
    "BLUE",
    "TRUTH_COLOR",
    "class_color",
    "detection_grid",
    "detection_image",
    "draw_boxes",
    "precision_recall",
    "save",
    "show_image",
    "training_curves",
]
