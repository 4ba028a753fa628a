"""torchvision's detectors with chosen weights, and what they compute. Imported only where torchvision is installed."""

from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from torchvision.models import resnet, vgg
from torchvision.models.detection import RetinaNet, ssd, ssd300_vgg16
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList  # noqa: F401  # for the tests
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FrozenBatchNorm2d, box_iou  # noqa: F401
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tests.models import golden_retinanet
from tests.models.golden_ssd300 import FILE, KEPT, OUTPUTS, WIDTH, golden_photographs, golden_weights, sample


def set_weights(network, weights):
    state = {name: tensor for name, tensor in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(state | {name: torch.tensor(array) for name, array in weights.items()})
    return network.eval()


def make_ssd300(width=64, outputs=91):
    """Build `ssd300_vgg16` of torchvision; another width than 64 changes the numbers of channels alone."""

    class Thin(torch.nn.Conv2d):
        def __init__(self, in_channels, out_channels, *args, **kwargs):
            channels = [count * width // 64 if count % 64 == 0 else count for count in (in_channels, out_channels)]
            super().__init__(*channels, *args, **kwargs)

    def features_alone(**_):  # the classifier takes seconds to initialize
        return SimpleNamespace(features=vgg.make_layers(vgg.cfgs["D"]))

    head = ssd.SSDHead([times * width for times in (8, 16, 8, 4, 4, 4)], [4, 6, 6, 6, 4, 4], outputs)
    with mock.patch.object(torch.nn, "Conv2d", Thin), mock.patch.object(ssd, "vgg16", features_alone):
        network = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=outputs, head=head)
    network.backbone.scale_weight = torch.nn.Parameter(torch.ones(8 * width))
    return network


def make_retinanet(version, stage_sizes=(3, 4, 6, 3), width=256, outputs=91):
    """Build torchvision's RetinaNet, with an epsilon of 0 in version 1 as for its published weights."""
    norm = partial(FrozenBatchNorm2d, eps=0.0) if version == 1 else torch.nn.BatchNorm2d
    body = resnet.ResNet(resnet.Bottleneck, stage_sizes, norm_layer=norm)
    extra = LastLevelP6P7(width if version == 1 else 2048, width)
    layers = {f"layer{stage}": str(stage - 2) for stage in (2, 3, 4)}
    backbone = BackboneWithFPN(body, layers, [512, 1024, 2048], width, extra)
    head = RetinaNetHead(width, 9, outputs, norm_layer=partial(torch.nn.GroupNorm, 32) if version == 2 else None)
    if version == 2:
        head.regression_head._loss_type = "giou"
    return RetinaNet(backbone, outputs, head=head)


def stages(network, pictures):
    """Maps, logits and offsets of a detector, channels last, and its detections."""
    images = [torch.tensor(picture).permute(2, 0, 1).float() / 255 for picture in pictures]
    with torch.no_grad():
        batch, _ = network.transform(images)
        maps = list(network.backbone(batch.tensors).values())
        outputs = network.head(maps)
        found = network(images)
    return (
        [features.permute(0, 2, 3, 1).numpy() for features in maps],
        outputs["cls_logits"].numpy(),
        outputs["bbox_regression"].numpy(),
        [{name: values.numpy() for name, values in image.items()} for image in found],
    )


def write_golden_ssd300(path):
    network = set_weights(make_ssd300(WIDTH, OUTPUTS), golden_weights())
    maps, logits, offsets, found = stages(network, golden_photographs())
    golden = {f"map{index}": sample(features) for index, features in enumerate(maps)}
    golden |= {"logits": sample(logits), "offsets": sample(offsets)}
    for index, image in enumerate(found):
        golden |= {f"{name}{index}": values[:KEPT] for name, values in image.items()}
    np.savez_compressed(path, **golden)


def write_golden_retinanet(path):
    golden = {}
    for version in golden_retinanet.VERSIONS:
        network = set_weights(
            make_retinanet(version, **golden_retinanet.NETWORK), golden_retinanet.golden_weights(version)
        )
        network.transform.min_size, network.transform.max_size = (golden_retinanet.SHORTER,), golden_retinanet.LONGER
        network.topk_candidates = golden_retinanet.CANDIDATES
        maps, logits, offsets, (found,) = stages(network, [golden_retinanet.golden_photograph()])
        golden |= {f"{version}.map{index}": sample(features) for index, features in enumerate(maps)}
        golden |= {f"{version}.logits": sample(logits[..., 1:]), f"{version}.offsets": sample(offsets)}
        golden |= {f"{version}.{name}": values for name, values in found.items()}
    np.savez_compressed(path, **golden)


if __name__ == "__main__":
    write_golden_ssd300(FILE)
    write_golden_retinanet(golden_retinanet.FILE)
