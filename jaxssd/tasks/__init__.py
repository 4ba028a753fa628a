"""Tasks by name. Each file here is one task: the loss, postprocess and score of a network, over arrays."""

from typing import TYPE_CHECKING

from jaxssd.registry import Registry

if TYPE_CHECKING:
    from jaxssd.tasks.task import Task

TASKS: "Registry[type[Task]]" = Registry(
    "task",
    {
        "detection": "jaxssd.tasks.detection:DetectionTask",
        "largest_box": "jaxssd.tasks.largest:LargestBoxTask",
        "largest_object": "jaxssd.tasks.largest:LargestObjectTask",
        "multilabel": "jaxssd.tasks.multilabel:MultilabelTask",
    },
)
"""Values of `--task`. Drawing, if a task has any, is registered in `jaxssd.viz.tasks`."""
