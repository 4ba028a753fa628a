"""The lesson's three layer groups: the backbone's lower half, its upper half, and the head."""

from typing import Any, Literal

import jax

from jaxssd.config import Trainable

Group = Literal["lower", "upper", "head"]

TRAINED: dict[Trainable, tuple[Group, ...]] = {
    "head": ("head",),  # the lesson's freeze()
    "upper": ("upper", "head"),  # freeze_to(-2)
    "all": ("lower", "upper", "head"),  # unfreeze()
}


def group_labels(params: dict[str, Any], num_stages: int) -> dict[str, Any]:
    """The group of each parameter.

    Args:
        params: of a backbone and a head, under these names.
        num_stages: of the backbone. Stem and first half of the stages are the lower group.

    Returns:
        A tree like `params` of `"lower"`, `"upper"` and `"head"`.
    """

    def label(path: tuple[Any, ...], _: Any) -> Group:
        part, *rest = (entry.key for entry in path)
        if part == "head":
            return "head"
        layer = rest[0]
        in_stem = not layer.startswith("layer")
        return "lower" if in_stem or _stage(layer) <= lower_stages(num_stages) else "upper"

    return jax.tree_util.tree_map_with_path(label, params)


def frozen_stages(trainable: Trainable, num_stages: int) -> int:
    """How many stages of the backbone stay as they are, statistics included; with any of them the stem does.

    Args:
        trainable: what is trained.
        num_stages: of the backbone.

    Returns:
        From 0 to `num_stages`.

    Example:
        >>> [frozen_stages(trainable, 4) for trainable in ("head", "upper", "all")]
        [4, 2, 0]
    """
    return {"head": num_stages, "upper": lower_stages(num_stages), "all": 0}[trainable]


def lower_stages(num_stages: int) -> int:
    """How many stages belong to the lower half: two of ResNet34's four, as in the lesson."""
    return num_stages // 2


def _stage(layer: str) -> int:
    """Of `layer3_0`, 3."""
    return int(layer.removeprefix("layer").split("_")[0])
