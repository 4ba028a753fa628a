"""torchvision's own detectors, workloads of `torch_child`: photographs in, boxes in their pixels out.

They run as torchvision's documentation runs them: eagerly, in the default layout.
"""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
import torchvision

from .torch_compiler import Compiler

BACKGROUND = 8.0
"""Bias of background: most anchors have no object, as in a trained detector, and a few per cent are candidates."""

RETINANET = {
    "running_mean": 0.2,
    "bn3.weight": 0.5,
    "fpn.inner_blocks": 1 / 80,
    "cls_logits.weight": 1.2,
    "bbox_reg.weight": 0.3,
}
"""Factors of weights of RetinaNet: the sum of many blocks stays small, few scores are high and no box is far away."""


def random_detector(name: str) -> torch.nn.Module:
    """Make a detector with random weights under which every layer's output has a size of about 1.

    Args:
        name: function in `torchvision.models.detection`.
    """
    network = _untrained(name).eval()
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            # Images of SSD300 are not divided by their deviation.
            size = 64.0 if key == "backbone.features.0.weight" else 1.0
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5 / size, generator=generator)
        elif tensor.is_floating_point() and not key.endswith("bias"):
            tensor.uniform_(0.5, 1.5, generator=generator)
            tensor.mul_(20 if key == "backbone.scale_weight" else 1)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
            if "classification_head.module_list" in key:
                tensor.view(-1, 91)[:, 0] += BACKGROUND
            if "cls_logits" in key:
                tensor -= BACKGROUND
                tensor.view(-1, 91)[:, 0] -= 100  # never learned to fire
        for part, factor in RETINANET.items():
            if part in key:
                tensor.mul_(factor)
    return network


def _untrained(name: str) -> torch.nn.Module:
    """Network with torchvision's initial weights; RetinaNet v1 has frozen BatchNorms, as with its published ones."""
    make = getattr(torchvision.models.detection, name)
    if name != "retinanet_resnet50_fpn":
        return make(weights=None, weights_backbone=None)

    class Frozen(torchvision.ops.FrozenBatchNorm2d):
        def __init__(self, channels: int) -> None:
            super().__init__(channels, eps=0.0)

    with mock.patch.object(torch.nn, "BatchNorm2d", Frozen):
        return make(weights=None, weights_backbone=None)


def prepare_weights(compiler: Compiler, *, name: str) -> Callable[[], list[list[Any]]]:
    """Prepare a function that returns names and tensors of the detector with random weights."""
    state = random_detector(name).state_dict()
    return lambda: [[key, tensor] for key, tensor in state.items()]


def prepare_detector(compiler: Compiler, *, name: str, photographs: Sequence[Any]) -> Callable[[], Any]:
    """Prepare a function that detects on photographs, from host memory to host memory.

    Args:
        compiler: compiler for the device.
        name: function in `torchvision.models.detection`.
        photographs: uint8 `[H, W, 3]` each, of any sizes.
    """
    network = random_detector(name).to(compiler.device)

    def run() -> Any:
        with torch.inference_mode():
            images = [torch.from_numpy(photograph).to(compiler.device) for photograph in photographs]
            found = network([image.permute(2, 0, 1).float() / 255 for image in images])
            return [[image[key].cpu() for key in ("boxes", "scores", "labels")] for image in found]

    return run
