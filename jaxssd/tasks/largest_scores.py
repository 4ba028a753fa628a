"""How well the largest object of each image is found."""

import math
from dataclasses import dataclass
from typing import Any

CLASS_WEIGHT = 20.0  # of the cross entropy, which is about that many times smaller than the box's error in pixels


@dataclass(frozen=True)
class LargestScores:
    """How well the largest objects are found, over the images that have one; NaN if none has.

    Attributes:
        box_error: mean absolute error of a corner's coordinate, in pixels of the network's input.
        iou: mean intersection over union with the true box.
        num_images: how many images have an object.
    """

    box_error: float
    iou: float
    num_images: int

    @property
    def objective(self) -> float:
        """Little error."""
        return -self.box_error if self.num_images else -math.inf

    def summary(self) -> dict[str, float]:
        """Everything but the count."""
        return {"box_error": self.box_error, "iou": self.iou}

    def headline(self) -> str:
        """As the lesson prints it, and the IoU."""
        return f"box error {self.box_error:.2f} px, IoU {self.iou:.3f}" if self.num_images else "no ground truth"

    def table(self) -> str:
        """The headline, and what it is about."""
        return f"{self.headline()}\nof the largest object of each image; {self.num_images} images have one"

    def as_dict(self) -> dict[str, Any]:
        """All numbers; None for what is not defined."""
        return {
            **{name: None if math.isnan(value) else value for name, value in self.summary().items()},
            "num_images": self.num_images,
        }


@dataclass(frozen=True)
class ClassifiedScores(LargestScores):
    """How well boxes and classes of the largest objects are found.

    Attributes:
        accuracy: share of images whose most probable class is right.
        cross_entropy: mean negative logarithm of the true class's probability.
    """

    accuracy: float
    cross_entropy: float

    @property
    def objective(self) -> float:
        """Little loss."""
        return -(self.box_error + CLASS_WEIGHT * self.cross_entropy) if self.num_images else -math.inf

    def summary(self) -> dict[str, float]:
        """Everything but the count."""
        return {**super().summary(), "accuracy": self.accuracy, "cross_entropy": self.cross_entropy}

    def headline(self) -> str:
        """As the lesson prints it, and the IoU."""
        accuracy = f", accuracy {self.accuracy:.3f}" if self.num_images else ""
        return super().headline() + accuracy
