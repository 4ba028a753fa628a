"""torchvision's ResNets in a page of PyTorch, without their classifier; and the golden features that it computed.

`python -m tests.models.torch_reference` writes `golden_resnets.npz` again, where PyTorch is installed.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.models.golden import FILE, NETWORKS, golden_images, golden_weights


class Block(nn.Module):
    def __init__(self, inputs, channels, stride, bottleneck):
        super().__init__()
        outputs = 4 * channels if bottleneck else channels
        sizes = (
            [(inputs, channels, 1, 1), (channels, channels, 3, stride), (channels, outputs, 1, 1)]
            if bottleneck
            else [(inputs, channels, 3, stride), (channels, outputs, 3, 1)]
        )
        self.depth = len(sizes)
        for i, (before, after, size, step) in enumerate(sizes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, size, step, size // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features):
        x = features
        for i in range(1, self.depth + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))
            x = torch.relu(x) if i < self.depth else x
        return torch.relu(x + (features if self.downsample is None else self.downsample(features)))


class TorchResNet(nn.Module):
    def __init__(self, stage_sizes, width=64, *, bottleneck=False, classes=None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs, self.stages = width, len(stage_sizes)
        for stage, blocks in enumerate(stage_sizes):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layer.append(Block(inputs, width * 2**stage, stride, bottleneck))
                inputs = width * 2**stage * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", layer)
        if classes is not None:
            self.fc = nn.Linear(inputs, classes)

    def forward(self, images):
        x = self.pool(torch.relu(self.bn1(self.conv1(images))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x

    def set_weights(self, weights):
        missing, unexpected = self.load_state_dict({k: torch.tensor(v) for k, v in weights.items()}, strict=False)
        assert not unexpected
        assert all(name.startswith("fc.") or name.endswith(".num_batches_tracked") for name in missing)


def features(network, images, *, train):
    """Channels last in and out. Training updates the running statistics."""
    network.train(train)
    with torch.no_grad():
        return network(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def write_golden(path: Path) -> None:
    golden = {}
    for name, shape in NETWORKS.items():
        network = TorchResNet(**shape)
        network.set_weights(golden_weights(name))
        golden[f"{name}.eval"] = features(network, golden_images(), train=False)
        golden[f"{name}.train"] = features(network, golden_images(), train=True)
        statistics = network.state_dict()
        for kind in ("running_mean", "running_var"):
            golden[f"{name}.{kind}"] = np.concatenate([statistics[k] for k in sorted(statistics) if k.endswith(kind)])
    np.savez_compressed(path, **golden)


if __name__ == "__main__":
    write_golden(FILE)
