"""Thin RetinaNets with random weights; `torchvision_detectors.py` stored what torchvision computes with them."""

from pathlib import Path

from tests.models.torchvision_names import photographs, retinanet_weights

FILE = Path(__file__).parent / "golden_retinanet.npz"
NETWORK = {"stage_sizes": (1, 1, 1, 1), "width": 64, "outputs": 5}
SHORTER, LONGER, CANDIDATES, VERSIONS = 128, 192, 60, (1, 2)


def golden_weights(version):
    return retinanet_weights(version, **NETWORK, seed=6)


def golden_photograph():
    return photographs(((50, 70),), seed=4)[0]
