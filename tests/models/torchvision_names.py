"""Names and shapes of torchvision's networks, written from its documentation, and random weights for them."""

import numpy as np


def norm_shapes(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def resnet_shapes(stage_sizes, width=64, *, bottleneck=False):
    """Without `fc` and without `num_batches_tracked`."""
    shapes = {"conv1.weight": (width, 3, 7, 7), **norm_shapes("bn1", width)}
    inputs = width
    for stage, blocks in enumerate(stage_sizes):
        channels = width * 2**stage
        outputs = 4 * channels if bottleneck else channels
        sizes = [(channels, 1), (channels, 3), (outputs, 1)] if bottleneck else [(channels, 3), (outputs, 3)]
        for block in range(blocks):
            layer, before = f"layer{stage + 1}.{block}", inputs
            for i, (after, size) in enumerate(sizes, start=1):
                shapes |= {f"{layer}.conv{i}.weight": (after, before, size, size)}
                shapes |= norm_shapes(f"{layer}.bn{i}", after)
                before = after
            if block == 0 and (stage > 0 or inputs != outputs):
                shapes |= {f"{layer}.downsample.0.weight": (outputs, inputs, 1, 1)}
                shapes |= norm_shapes(f"{layer}.downsample.1", outputs)
            inputs = outputs
    return shapes


VGG16 = {0: 1, 2: 1, 5: 2, 7: 2, 10: 4, 12: 4, 14: 4, 17: 8, 19: 8, 21: 8, 24: 8, 26: 8, 28: 8}
"""Places of the convolutions in `features`, and their channels as multiples of the first one's."""


def conv_shapes(name, outputs, inputs, size):
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def vgg16_shapes(width=64):
    """Without `classifier`."""
    shapes, inputs = {}, 3
    for place, times in VGG16.items():
        shapes |= conv_shapes(f"features.{place}", width * times, inputs, 3)
        inputs = width * times
    return shapes


def ssd300_shapes(width=64, outputs=91):
    shapes = {"backbone.scale_weight": (8 * width,)}
    for name, shape in vgg16_shapes(width).items():
        _, place, kind = name.split(".")
        within = f"features.{place}" if int(place) < 23 else f"extra.0.{int(place) - 23}"
        shapes[f"backbone.{within}.{kind}"] = shape
    fc, maps = 16 * width, [8 * width, 16 * width]
    shapes |= conv_shapes("backbone.extra.0.7.1", fc, 8 * width, 3) | conv_shapes("backbone.extra.0.7.3", fc, fc, 1)
    for block, (narrow, wide) in enumerate([(4, 8), (2, 4), (2, 4), (2, 4)], start=1):
        shapes |= conv_shapes(f"backbone.extra.{block}.0", narrow * width, maps[-1], 1)
        shapes |= conv_shapes(f"backbone.extra.{block}.2", wide * width, narrow * width, 3)
        maps.append(wide * width)
    for index, (channels, boxes) in enumerate(zip(maps, (4, 6, 6, 6, 4, 4), strict=True)):
        shapes |= conv_shapes(f"head.classification_head.module_list.{index}", boxes * outputs, channels, 3)
        shapes |= conv_shapes(f"head.regression_head.module_list.{index}", boxes * 4, channels, 3)
    return shapes


def ssd300_weights(width=64, outputs=91, seed=1):
    """Random weights of SSD300-VGG16 for its input of -123 to 152: all maps and outputs have values of about 1."""
    weights = random_weights(ssd300_shapes(width, outputs), seed)
    weights["backbone.features.0.weight"] /= np.float32(64)
    weights["backbone.scale_weight"] *= np.float32(2 * width**0.5)
    return weights


def retinanet_shapes(version, stage_sizes=(3, 4, 6, 3), width=256, outputs=91):
    """RetinaNet on a ResNet of bottlenecks, in the names of today; the second version has GroupNorm in its towers."""
    body = resnet_shapes(stage_sizes, bottleneck=True)
    shapes = {f"backbone.body.{name}": shape for name, shape in body.items()}
    for level, channels in enumerate((512, 1024, 2048)):
        shapes |= conv_shapes(f"backbone.fpn.inner_blocks.{level}.0", width, channels, 1)
        shapes |= conv_shapes(f"backbone.fpn.layer_blocks.{level}.0", width, width, 3)
    shapes |= conv_shapes("backbone.fpn.extra_blocks.p6", width, width if version == 1 else 2048, 3)
    shapes |= conv_shapes("backbone.fpn.extra_blocks.p7", width, width, 3)
    for tower, last, count in (("classification", "cls_logits", outputs), ("regression", "bbox_reg", 4)):
        for layer in range(4):
            name = f"head.{tower}_head.conv.{layer}"
            conv = conv_shapes(f"{name}.0", width, width, 3)
            if version == 2:
                del conv[f"{name}.0.bias"]
                conv |= {f"{name}.1.{part}": (width,) for part in ("weight", "bias")}
            shapes |= conv
        shapes |= conv_shapes(f"head.{tower}_head.{last}", 9 * count, width, 3)
    return shapes


def retinanet_weights(version, stage_sizes=(3, 4, 6, 3), width=256, outputs=91, seed=1):
    """Random weights of RetinaNet. Few scores are high, and output 0, which is never learned, has none above 0.05."""
    weights = random_weights(retinanet_shapes(version, stage_sizes, width, outputs), seed)
    for name in weights:
        if name.endswith(("bn3.weight", "downsample.1.weight")):
            weights[name] *= np.float32(0.4)  # the sum of many blocks stays small
    weights["head.classification_head.cls_logits.weight"] *= np.float32(1.4)
    weights["head.regression_head.bbox_reg.weight"] *= np.float32(0.2)
    bias = weights["head.classification_head.cls_logits.bias"].reshape(-1, outputs)
    bias -= np.float32(5)
    bias[:, 0] -= 40
    return weights


def photographs(sizes=((120, 160), (90, 70)), seed=0):
    """Pictures, uint8, with large and small shapes, so that anchors of all sizes see something."""
    rng, pictures = np.random.default_rng(seed), []
    for height, width in sizes:
        y, x = np.mgrid[:height, :width][..., None] / 30
        waves = sum(
            np.sin(scale * (a * y + b * x) + c) for scale in (1, 3, 9) for a, b, c in rng.normal(size=(3, 3, 3))
        )
        pictures.append(np.uint8(np.clip(128 + 25 * waves, 0, 255)))
    return pictures


def random_weights(shapes, seed=0):
    """Drawn in the order of the sorted names; activations keep their scale, and nothing is at 0 or 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if len(shape) == 4:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith(("running_var", "weight")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        weights[name] = values.astype(np.float32)
    return weights
