"""Training in PyTorch, a workload of `torch_child`: data set on the device, compiled step, fused optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import torch_loop, torch_loss
from .torch_augment import augment
from .torch_compiler import Compiler
from .torch_loss import Anchors, Settings
from .torch_model import Detector, Network, normalize

Truth = tuple[Tensor, Tensor, Tensor]


def prepare_training(
    compiler: Compiler,
    *,
    network: dict[str, Any],
    settings: dict[str, Any],
    anchors: Any,
    examples: Any,
    mean: Any,
    std: Any,
    bfloat16: bool,
    weight_decay: float,
    steps: int,
    batch: int,
    augmented: bool,
    loop: bool,
) -> Callable[[], Tensor]:
    """Prepare a function that trains for some more steps at each call.

    Args:
        compiler: compiler for the device.
        network: fields of `Network`.
        settings: fields of `Settings`.
        anchors: columns of `jaxssd.Anchors`.
        examples: images uint8 `[N, S, S, 3]`, boxes, labels, mask of the boxes to train on.
        mean: mean of each channel.
        std: standard deviation of each channel.
        bfloat16: if True, the network computes in bfloat16.
        weight_decay: weight decay of the kernels.
        steps: steps per call.
        batch: images per step.
        augmented: if True, each step augments its images.
        loop: if True, the loss is computed image by image, as in the lesson.

    Returns:
        Function that returns the loss of each step.
    """
    device = compiler.device
    on_device, data = Anchors(*map(compiler.tensor, anchors)), [compiler.tensor(array) for array in examples]
    data[2] = data[2].long()
    channels = [torch.tensor(values, device=device) for values in (mean, std)]
    model = Detector(Network(**network)).to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, weight_decay)
    loss_of = torch_loop.batch_loss if loop else torch_loss.batch_loss

    def batch_at(rows: Tensor) -> tuple[Tensor, Truth]:
        images, boxes, labels, valid = (array[rows] for array in data)
        if augmented:
            images, boxes, valid = augment(images, boxes, valid)
        return normalize(images, *channels), (boxes, labels, valid)

    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return model(images)

    def mean_loss(images: Tensor, truth: Truth) -> Tensor:
        return loss_of(*predict(images), *truth, on_device, Settings(**settings)).mean()

    batch_at = compiler(batch_at)
    if loop:
        predict = compiler(predict)
    else:
        mean_loss = compiler(mean_loss)

    def step(rows: Tensor) -> Tensor:
        loss = mean_loss(*batch_at(rows))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def run() -> Tensor:
        order = torch.randperm(steps * batch, device=device) % len(data[0])
        return torch.stack([step(rows) for rows in order.reshape(steps, batch)])

    return run


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, without weight decay of biases and BatchNorm's scales."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, fused=True)


def prepare_size(compiler: Compiler, *, network: dict[str, Any]) -> Callable[[], int]:
    """Prepare a function that returns the number of parameters."""
    model = Detector(Network(**network))
    return lambda: sum(parameter.numel() for parameter in model.parameters())
