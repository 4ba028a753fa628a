"""Inference in PyTorch, a workload of `torch_child`: uint8 images in, detections out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .torch_compiler import Compiler
from .torch_loss import DECODE, Anchors
from .torch_model import Detector, Network, normalize
from .torch_nms import Detected, candidates, suppress

MAX_CANDIDATES = 200


def prepare_inference(
    compiler: Compiler,
    *,
    network: dict[str, Any],
    anchors: Any,
    images: Any,
    mean: Any,
    std: Any,
    bfloat16: bool,
    box_coder: str,
    suppressed: bool,
    from_host: bool,
) -> Callable[[], Any]:
    """Prepare a function that detects objects in a batch.

    Args:
        compiler: compiler for the device.
        network: fields of `Network`.
        anchors: columns of `jaxssd.Anchors`.
        images: images, uint8 `[B, S, S, 3]`.
        mean: mean of each channel.
        std: standard deviation of each channel.
        bfloat16: if True, the network computes in bfloat16.
        box_coder: key of `torch_loss.DECODE`.
        suppressed: if True, outputs are decoded and go through NMS; if False, they are returned unchanged.
        from_host: if True, images come from host memory, and results go there.
    """
    device = compiler.device
    on_device = Anchors(*map(compiler.tensor, anchors))
    channels = [torch.tensor(values, device=device) for values in (mean, std)]
    model = Detector(Network(**network)).to(device, memory_format=torch.channels_last).eval()
    resident, on_host = compiler.still(compiler.tensor(images)), torch.tensor(images)

    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return model(normalize(images, *channels))

    def propose(images: Tensor) -> Detected:
        logits, activations = predict(images)
        return candidates(DECODE[box_coder](activations, on_device).clamp(0, 1), logits.sigmoid(), MAX_CANDIDATES)

    predict, propose = (compiler(function, many_small=True) for function in (predict, propose))

    def run() -> Any:
        with torch.no_grad():
            images = on_host.to(device) if from_host else resident
            results = suppress(*propose(images)) if suppressed else predict(images)
            return [[tensor.cpu() for tensor in image] for image in results] if from_host else results

    return run
