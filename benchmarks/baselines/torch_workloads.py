"""Loss alone and NMS alone, workloads of `torch_child`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import torch_loop, torch_loss
from .torch_compiler import Compiler
from .torch_loss import Anchors, Settings
from .torch_nms import Detected, candidates, suppress


def prepare_loss(
    compiler: Compiler, *, anchors: Any, batch: Any, settings: dict[str, Any], loop: bool
) -> Callable[[], tuple[Tensor, ...]]:
    """Prepare a function for the loss and the gradients of logits and box activations.

    Args:
        compiler: compiler for the device.
        anchors: columns of `jaxssd.Anchors`.
        batch: arguments of `ssd_loss`: logits, activations, boxes, labels, valid.
        settings: fields of `Settings`.
        loop: if True, the loss is computed image by image, as in the lesson.
    """
    on_device = Anchors(*map(compiler.tensor, anchors))
    logits, activations, boxes, labels, valid = map(compiler.tensor, batch)
    truth = boxes, labels.long(), valid
    loss = torch_loop.batch_loss if loop else compiler(torch_loss.batch_loss, many_small=True)
    inputs = tuple(compiler.still(tensor.requires_grad_()) for tensor in (logits, activations))

    def run() -> tuple[Tensor, ...]:
        total = loss(*inputs, *truth, on_device, Settings(**settings))
        return total.detach(), *torch.autograd.grad(total.sum(), inputs)

    return run


def prepare_nms(compiler: Compiler, *, batch: Any, max_candidates: int) -> Callable[[], list[Detected]]:
    """Prepare a function for the detections of each image.

    Args:
        compiler: compiler for the device.
        batch: boxes `[B, A, 4]` and scores `[B, A, C]`.
        max_candidates: number of candidates per image, K.
    """
    boxes, scores = (compiler.still(compiler.tensor(array)) for array in batch)
    best = compiler(candidates)

    def run() -> list[Detected]:
        with torch.no_grad():
            return suppress(*best(boxes, scores, max_candidates))

    return run
