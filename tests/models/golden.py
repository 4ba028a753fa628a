"""Two small ResNets with random weights; `torch_reference.py` stored what PyTorch computes with them."""

from pathlib import Path

import numpy as np

from tests.models.torchvision_names import random_weights, resnet_shapes

FILE = Path(__file__).parent / "golden_resnets.npz"
NETWORKS = {
    "basic": {"stage_sizes": (2, 2, 1, 1), "width": 4, "bottleneck": False},
    "bottleneck": {"stage_sizes": (2, 2, 1, 1), "width": 4, "bottleneck": True},
}


def golden_weights(name):
    return random_weights(resnet_shapes(**NETWORKS[name]), seed=9)


def golden_images():
    return np.random.default_rng(8).normal(size=(2, 40, 33, 3)).astype(np.float32)  # even and odd sides on the way down
