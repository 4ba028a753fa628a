"""What a network can be trained to do: for each task its targets, loss, answer, scores and pictures."""

from jaxssd.tasks.detection import DetectionTask
from jaxssd.tasks.largest import LargestBoxTask, LargestObjectTask
from jaxssd.tasks.make import make_task
from jaxssd.tasks.multilabel import MultilabelTask
from jaxssd.tasks.task import Loss, Scores, Task

__all__ = [
    "DetectionTask",
    "LargestBoxTask",
    "LargestObjectTask",
    "Loss",
    "MultilabelTask",
    "Scores",
    "Task",
    "make_task",
]
