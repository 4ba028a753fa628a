"""Published weights of torchvision by name: where they are, how they are checked, and the input that they expect.

Source: torchvision's tables of weights (version 0.29). The eight hexadecimal digits at the end of a file's name are the
start of its SHA-256. The code that trained them is under the BSD licence; ImageNet and COCO have terms of their own.
"""

from pathlib import Path
from typing import Any, NamedTuple

from jaxssd.models.coco_classes import COCO_CLASSES

RGB = tuple[float, float, float]

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
CAFFE_MEAN: RGB = (0.48235, 0.45882, 0.40784)
CAFFE_STD: RGB = (1 / 255, 1 / 255, 1 / 255)

_FOLDER = "https://download.pytorch.org/models/"


class Published(NamedTuple):
    """Published weights of one network.

    Attributes:
        name: name for `--pretrained`, `evaluate.py` and `jaxssd.load`.
        url: address of the file.
        sha256: first eight hexadecimal digits of the file's SHA-256.
        license: licence of the weights, in a few words.
        score: published score, in a few words.
        backbone: family of the backbone.
        preset: preset of the whole detector; None if the weights are those of a backbone.
        classes: class names of a detector, in the order of our labels.
        mean, std: normalisation of the input in [0, 1], for red, green and blue.
        by_shorter_side: if True, photographs keep their shape, with a shorter side of 800 pixels; otherwise they are
            resized to the preset's input size.
    """

    name: str
    url: str
    sha256: str
    license: str
    score: str
    backbone: str
    preset: str | None = None
    classes: tuple[str, ...] = ()
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    by_shorter_side: bool = False

    @property
    def file(self) -> str:
        """Name of the file, which is also its name in torch's cache."""
        return self.url.rpartition("/")[2]


def _of(name: str, file: str, score: str, backbone: str, **others: Any) -> Published:
    sha256 = file.removesuffix(".pth").rpartition("-")[2]
    return Published(name, _FOLDER + file, sha256, "BSD-3-Clause (torchvision)", score, backbone)._replace(**others)


PUBLISHED: dict[str, Published] = {
    published.name: published
    for published in (
        _of("resnet18", "resnet18-f37072fd.pth", "ImageNet top-1 69.8 %", "resnet18"),
        _of("resnet34", "resnet34-b627a593.pth", "ImageNet top-1 73.3 %", "resnet34"),
        _of("resnet50", "resnet50-0676ba61.pth", "ImageNet top-1 76.1 %", "resnet50"),
        _of("resnet50_v2", "resnet50-11ad3fa6.pth", "ImageNet top-1 80.9 %", "resnet50"),
        _of("vgg16", "vgg16-397923af.pth", "ImageNet top-1 71.6 %", "vgg16"),
        _of(
            "vgg16_features",
            "vgg16_features-amdegroot-88682ab5.pth",
            "no score; torchvision's SSD300 starts from it",
            "vgg16",
            license="MIT (ssd.pytorch)",
            mean=CAFFE_MEAN,
            std=CAFFE_STD,
        ),
        _of(
            "ssd300_vgg16_coco",
            "ssd300_vgg16_coco-b556d3b4.pth",
            "COCO val2017 AP 25.1",
            "vgg16",
            preset="ssd300_vgg16",
            mean=CAFFE_MEAN,
            std=CAFFE_STD,
            classes=COCO_CLASSES,
        ),
        _of(
            "retinanet_resnet50_fpn_coco",
            "retinanet_resnet50_fpn_coco-eeacb38b.pth",
            "COCO val2017 AP 36.4",
            "resnet50",
            preset="retinanet_resnet50_fpn",
            classes=COCO_CLASSES,
            by_shorter_side=True,
        ),
        _of(
            "retinanet_resnet50_fpn_v2_coco",
            "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth",
            "COCO val2017 AP 41.5",
            "resnet50",
            preset="retinanet_resnet50_fpn_v2",
            classes=COCO_CLASSES,
            by_shorter_side=True,
        ),
    )
}
"""Published weights by name. Those of torchvision's detectors were trained on COCO 2017."""


def find_published(weights: str) -> Published | None:
    """Find the row of a name, or of a file that still has its published name.

    Args:
        weights: value of `--pretrained`.

    Returns:
        The row; None for other weights.

    Example:
        >>> find_published("downloads/resnet34-b627a593.pth").name
        'resnet34'
        >>> find_published("hf:timm/resnet34.tv_in1k") is None
        True
    """
    by_file = {published.file: published for published in PUBLISHED.values()}
    return PUBLISHED.get(weights) or by_file.get(Path(weights).name)
