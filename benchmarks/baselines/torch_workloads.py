"""Loss and suppression alone, as works of `torch_child`."""

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
    """Loss, and gradients of logits and box activations.

    Args:
        compiler: of the device.
        anchors: as `jaxssd.Anchors`.
        batch: logits, activations, boxes, labels, valid.
        settings: of `Settings`.
        loop: whether images are taken one by one, as in the lesson.
    """
    on_device = Anchors(*map(compiler.tensor, anchors))
    logits, activations, boxes, labels, valid = map(compiler.tensor, batch)
    truth = boxes, labels.long(), valid
    loss = torch_loop.batch_loss if loop else compiler(torch_loss.batch_loss, many_small=True)
    inputs = tuple(compiler.still(tensor.requires_grad_()) for tensor in (logits, activations))

    def work() -> tuple[Tensor, ...]:
        total = loss(*inputs, *truth, on_device, Settings(**settings))
        return total.detach(), *torch.autograd.grad(total.sum(), inputs)

    return work


def prepare_nms(compiler: Compiler, *, batch: Any, max_candidates: int) -> Callable[[], list[Detected]]:
    """Detections of each image, from its boxes and scores.

    Args:
        compiler: of the device.
        batch: boxes `[B, A, 4]` and scores `[B, A, C]`.
        max_candidates: K.
    """
    boxes, scores = (compiler.still(compiler.tensor(array)) for array in batch)
    best = compiler(candidates)

    def work() -> list[Detected]:
        with torch.no_grad():
            return suppress(*best(boxes, scores, max_candidates))

    return work
