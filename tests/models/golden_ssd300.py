"""A thin SSD300-VGG16 with random weights; `torchvision_detectors.py` stored what torchvision computes with it."""

from pathlib import Path

from tests.models.torchvision_names import photographs, ssd300_weights

FILE = Path(__file__).parent / "golden_ssd300.npz"
WIDTH, OUTPUTS, KEPT = 4, 6, 40


def golden_weights():
    return ssd300_weights(WIDTH, OUTPUTS, seed=4)


def golden_photographs():
    return photographs()


def sample(array):
    """A dozen values from all over an array."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // 12 - 1)][:12]
