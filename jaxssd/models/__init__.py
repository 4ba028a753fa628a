"""Networks: backbones and detection heads by name, to be joined by `jaxssd.models.detector`.

Listing the names imports no Flax; a part is imported when it is first used.
"""

from typing import Any

from jaxssd.registry import Registry

BACKBONES: Registry[Any] = Registry(
    "backbone",
    {
        "resnet_tiny": "jaxssd.models.resnet:resnet_tiny",
        "resnet_small": "jaxssd.models.resnet:resnet_small",
        "resnet10_light": "jaxssd.models.resnet:resnet10_light",
        "resnet18": "jaxssd.models.resnet:resnet18",
        "resnet34": "jaxssd.models.resnet:resnet34",
        "resnet34_ssd300": "jaxssd.models.resnet:resnet34_ssd300",
        "resnet50": "jaxssd.models.resnet:resnet50",
        "vgg16": "jaxssd.models.vgg:vgg16",
    },
)
"""Values of `--backbone`: constructors of a module that turns images `[B, H, W, 3]` into a feature map `[B, h, w, c]`.

A backbone has the fields `dtype`, `fast_layers` and `remat`, and the properties `output_stride` and `num_stages`. Its
`__call__` takes `train` and `frozen_stages`; for a head on several maps also `levels`, with the property
`level_strides`. See `ResNet`; with its `level_layers`, receptive fields can be drawn.
"""

HEADS: Registry[Any] = Registry(
    "head",
    {
        "pyramid": "jaxssd.models.heads:PyramidHead",
        "retinanet": "jaxssd.models.retinanet_head:RetinaNetHead",
        "ssd300": "jaxssd.models.ssd300_head:SSD300Head",
        "ssd300_vgg": "jaxssd.models.ssd300_vgg_head:SSD300VGGHead",
    },
)
"""Values of `--head`: subclasses of `AnchorHead`, from a feature map to `Predictions` for every anchor."""
