"""Detector in PyTorch: torchvision's residual blocks, and the lesson's or SSD300's head."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

USUAL = (1, 2, 2, 2)
Block = type[BasicBlock] | type[Bottleneck]

BACKBONES: dict[str, tuple[Block, tuple[int, ...], tuple[int, ...], int]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), USUAL, 64),
    "resnet34": (BasicBlock, (3, 4, 6, 3), USUAL, 64),
    "resnet34_ssd300": (BasicBlock, (3, 4, 6), (1, 2, 1), 64),
    "resnet50": (Bottleneck, (3, 4, 6, 3), USUAL, 64),
    "resnet_small": (BasicBlock, (1, 1, 1), USUAL[:3], 32),
    "resnet_tiny": (BasicBlock, (1, 1), USUAL[:2], 32),
}
"""Block, blocks and stride of each stage, channels of the first."""

EXTRA_LAYERS = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
"""Extra layers of SSD300: channels of the 1x1 and the 3x3 convolution, stride and padding of the latter."""

EXTRA_BOXES = (4, 6, 6, 6, 4, 4)
"""Boxes per cell of each map of SSD300."""


@dataclass(frozen=True)
class Network:
    """Settings of the detector, named like the options of `jaxssd.config.Config`."""

    backbone: str
    head: str
    image_size: int
    grids: tuple[int, ...]
    boxes_per_cell: int
    num_classes: int
    head_width: int
    prior_probability: float
    input_dropout: float
    dropout: float


class Detector(nn.Module):
    """Detector: normalised images `[B, 3, S, S]` to logits `[B, A, C]` and box activations `[B, A, 4]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        block, stage_sizes, strides, width = BACKBONES[network.backbone]
        self.backbone = resnet(block, stage_sizes, strides, width)
        channels = width * 2 ** (len(stage_sizes) - 1) * block.expansion
        grid = -(-network.image_size // (4 * math.prod(strides)))
        self.head = SSD300Head(network, channels) if network.head == "ssd300" else PyramidHead(network, channels, grid)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.backbone(images))


def resnet(block: Block, stage_sizes: tuple[int, ...], strides: tuple[int, ...], width: int) -> nn.Sequential:
    """ResNet with any number of stages, without the classifier."""
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, count in enumerate(stage_sizes):
        planes = width * 2**stage
        for i in range(count):
            stride, outputs, downsample = 1 if i else strides[stage], planes * block.expansion, None
            if stride != 1 or channels != outputs:
                shortcut = nn.Conv2d(channels, outputs, 1, stride, bias=False)
                downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
            layers.append(block(channels, planes, stride, downsample))
            channels = outputs
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*layers)


class StdConv(nn.Module):
    """3x3 convolution, ReLU, BatchNorm and dropout."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.bn, self.drop = nn.BatchNorm2d(outputs), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.bn(F.relu(self.conv(x))))


class OutConv(nn.Module):
    """Logits and box activations of every box of every cell, float32."""

    def __init__(self, network: Network, channels: int, boxes_per_cell: int) -> None:
        super().__init__()
        self.num_classes = network.num_classes
        self.classes = nn.Conv2d(channels, boxes_per_cell * network.num_classes, 3, 1, 1)
        self.boxes = nn.Conv2d(channels, boxes_per_cell * 4, 3, 1, 1)
        prior = network.prior_probability
        nn.init.constant_(self.classes.bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _rows(self.classes(x), self.num_classes), _rows(self.boxes(x), 4)


class PyramidHead(nn.Module):
    """Chain of convolutions that halve the grid, with an output on each of the chosen grids.

    Outputs are always computed in float32, as ours are; they are small.
    """

    def __init__(self, network: Network, channels: int, grid: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(network.input_dropout)
        self.convs, self.outs = nn.ModuleList(), nn.ModuleDict()
        while grid >= network.grids[-1]:
            self.convs.append(StdConv(channels, network.head_width, 2 if self.convs else 1, network.dropout))
            if grid in network.grids:
                self.outs[str(len(self.convs) - 1)] = OutConv(network, network.head_width, network.boxes_per_cell)
            if grid == 1:
                break
            channels, grid = network.head_width, -(-grid // 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x, logits, activations = self.drop(F.relu(features)), [], []
        for level, conv in enumerate(self.convs):
            x = conv(x)
            if str(level) in self.outs:
                with torch.autocast(x.device.type, enabled=False):
                    of_grid = self.outs[str(level)](x.float())
                logits.append(of_grid[0])
                activations.append(of_grid[1])
        return torch.cat(logits, dim=1), torch.cat(activations, dim=1)


class SSD300Head(nn.Module):
    """Head of SSD300: the backbone's map and five smaller ones, with an output on each."""

    def __init__(self, network: Network, channels: int) -> None:
        super().__init__()
        self.extras, self.outs = nn.ModuleList(), nn.ModuleList([OutConv(network, channels, EXTRA_BOXES[0])])
        for (narrow, outputs, stride, padding), boxes in zip(EXTRA_LAYERS, EXTRA_BOXES[1:], strict=True):
            narrowing = nn.Conv2d(channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
            shrinking = nn.Conv2d(narrow, outputs, 3, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
            self.extras.append(nn.Sequential(*narrowing, *shrinking))
            self.outs.append(OutConv(network, outputs, boxes))
            channels = outputs

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = [features]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        outputs = [out(x) for out, x in zip(self.outs, maps, strict=True)]
        logits, activations = (torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True))
        return logits, activations


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised images `[B, 3, S, S]`, channels last in memory, from `[B, S, S, 3]`, uint8 or in `[0, 1]`."""
    x = images / 255 if images.dtype == torch.uint8 else images
    return ((x - mean) / std).permute(0, 3, 1, 2)


def _rows(outputs: Tensor, columns: int) -> Tensor:
    """Outputs `[B, k * columns, h, w]` as float32 rows `[B, h * w * k, columns]`."""
    return outputs.permute(0, 2, 3, 1).reshape(len(outputs), -1, columns).float()
