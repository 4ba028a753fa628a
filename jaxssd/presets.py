"""Presets: the named configurations of `python train.py PRESET`. Each docstring states known cost and score.

The lesson's stages have its settings. With a pretrained backbone they have its phases as well: first the head, then the
upper half of the backbone, then all layers. A few epochs are too short for random weights, so without a pretrained
backbone a stage trains all layers in one long cycle, with crops. `benchmarks/RESULTS.md` has the measured results.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxssd.config import LESSON_PRIOR, Config

if TYPE_CHECKING:
    from jaxssd.models.published import Published

Preset = Callable[[], Config]


def quick() -> Config:
    """Detection of generated pictures, for a first look on a CPU: a very small network at 64 px.

    The recipe of `small` on finer levels, with a high learning rate. Five epochs of 6,000 pictures are too few to
    overfit, so there is no augmentation. A minute and a half of CPU time; COCO AP50 0.878 on the 400 validation images
    and 0.890 on 400 test images (n = 3).
    """
    return Config.of(
        **_RECIPE
        | {
            "image_size": 64,
            "stored_scale": 1.0,
            "backbone": "resnet_tiny",
            "head_width": 32,
            "levels": (2, 3),
            "box_loss_weight": 1.0,
            "augment": "none",
            "epochs": (5,),
            "learning_rate": (1.2e-2,),
            "weight_decay": 1e-4,
            "ema_decay": 0.995,
            "eval_every": 3,
        }
    )


def small() -> Config:
    """Detection of your own boxes on a CPU: a small network with a feature pyramid, 256 px.

    One square anchor per cell of 24, 48 or 96 pixels; each object has its four best ones. SSD's augmentation, and a
    moving average of the weights. `python train.py --data bccd` (blood cells, 205 images) takes 6 CPU minutes:
    COCO AP50 0.886 on the validation images and 0.890 on the test images, AP 0.545 and 0.541 (n = 3).
    """
    return Config.of(**_RECIPE)


def large() -> Config:
    """Detection of your own boxes on a GPU: ResNet34 with a feature pyramid, 384 px.

    The recipe of `small` with a larger network in bfloat16. It has not been trained to a score yet.
    """
    return Config.of(
        **_RECIPE
        | {
            "image_size": 384,
            "backbone": "resnet34",
            "levels": (3, 4, 5, 6),
            "head_width": 128,
            "tower_depth": 2,
            "precision": "bfloat16",
            "epochs": (100,),
            "batch_size": 32,
            "learning_rate": (1e-3,),
            "ema_decay": 0.999,
        }
    )


_RECIPE: dict[str, Any] = {
    "image_size": 256,
    "stored_scale": 1.5,
    "backbone": "resnet10_light",
    "fast_layers": ("auto",),
    "head": "retinanet",
    "head_width": 96,
    "tower_depth": 1,
    "prior_probability": 0.01,
    "levels": (3, 4, 5),
    "zooms": (3.0,),
    "ratios": ((1.0, 1.0),),
    "match_threshold": 0.5,
    "ignore_threshold": 0.4,
    "anchors_per_object": 4,
    "normalizer": "batch_positives",
    "box_coder": "offsets",
    "box_loss": "giou",
    "box_loss_weight": 2.0,
    "iou_threshold": 0.5,
    "augment": "ssd",
    "zoom_out": 2.0,
    "epochs": (40,),
    "batch_size": 8,
    "learning_rate": (2e-3,),
    "weight_decay": 0.05,
    "clip_norm": 10.0,
    "ema_decay": 0.998,
    "eval_every": 5,
}
"""Settings of `small`, and of `large` where it has no other.

Sources: RetinaNet (arXiv:1708.02002), SSD (arXiv:1512.02325, section 3.6), GIoU (arXiv:1902.09630), S3FD's anchors per
object (arXiv:1708.05237, section 3.2).
"""


def largest_box() -> Config:
    """Lesson, a: box of the largest object. One linear layer after ResNet34, L1 loss in pixels.

    The lesson's box error: 19.9 pixels of 224 (VOC 2007, ImageNet weights).
    """
    return Config.of(task="largest_box", precision="bfloat16", eval_every=5)


def largest_object() -> Config:
    """Lesson, b: box and class of the largest object. L1 loss in pixels plus 20 times the cross entropy.

    The lesson's box error: 18.6 pixels of 224; accuracy 0.816.
    """
    return Config.of(
        task="largest_object", precision="bfloat16", eval_every=5, head_width=256, input_dropout=0.5, dropout=0.5
    )


def multilabel() -> Config:
    """Lesson, c: classes in the image. Binary cross entropy of each class.

    The lesson's accuracy over all classes: 0.975.
    """
    return Config.of(
        task="multilabel", precision="bfloat16", eval_every=5, head_width=512, input_dropout=0.25, dropout=0.5
    )


def anchors16() -> Config:
    """Lesson, d: detection with 16 anchors. A 4x4 grid, one square per cell, binary cross entropy.

    The lesson's loss: 0.41 and 0.46 per image in two runs; it states no mAP.
    """
    return Config.of(
        grids=(4,),
        zooms=(1.0,),
        ratios=((1.0, 1.0),),
        prior_probability=0.04742587317756678,  # logit -3
        input_dropout=0.25,
        dropout=0.1,
        class_loss="bce",
        match_rule="lesson",
        precision="bfloat16",
        eval_every=5,
    )


def anchors189() -> Config:
    """Lesson, e: detection with 189 anchors. Grids 4, 2 and 1, three sizes, three shapes, binary cross entropy.

    The lesson's loss in a careful re-run: 1.23 per image.
    """
    return Config.of(
        prior_probability=LESSON_PRIOR, class_loss="bce", match_rule="lesson", precision="bfloat16", eval_every=5
    )


def focal() -> Config:
    """Lesson, f: the lesson's detector, 189 anchors with focal loss. For a GPU.

    The lesson's loss: 0.16 per image. The notebook's variant is `--zooms 0.7 1 1.3 --gamma 1`.
    """
    return anchors189().replace(class_loss="focal")


def ssd300() -> Config:
    """SSD300 with ResNet34: 300 px, 8,732 anchors, box offsets, hard negatives 3:1, as in MLPerf. For a GPU.

    Differences from the paper: a sigmoid per class without background, BatchNorm in the extra layers, a loss averaged
    over each image's positives and then over images, AdamW with one cycle. Focal loss instead of hard negatives:
    `--class-loss focal --negative-ratio None`. This network has not been trained to a score yet. The same head on a
    small backbone, `--backbone resnet_tiny --precision float32 --batch-size 8 --epochs 30`, took less than half an hour
    on two cores for blood cells (BCCD, 205 images): mAP@0.5 (area) 0.86.
    """
    return Config.of(
        image_size=300,
        backbone="resnet34_ssd300",
        head="ssd300",
        box_coder="offsets",
        class_loss="bce",
        negative_ratio=3,
        normalizer="positives",
        match_threshold=0.5,
        precision="bfloat16",
        epochs=(120,),
        eval_every=5,
        fast_layers=("auto",),
    )


def ssd300_vgg16() -> Config:
    """SSD300 with VGG16, torchvision's: 300 px, softmax over classes and background. For its COCO weights, and a GPU.

    With `--pretrained ssd300_vgg16_coco` it starts as a COCO-trained detector; published COCO AP 25.1. The same layers,
    anchors, limits of NMS and loss as there. Training settings are for fine-tuning: SGD as there, with a cosine
    schedule. It has not been trained to a score yet.
    """
    return Config.of(
        image_size=300,
        backbone="vgg16",
        head="ssd300_vgg",
        mean=(0.48235, 0.45882, 0.40784),
        std=(1 / 255, 1 / 255, 1 / 255),
        prior_probability=0.01,
        anchor_sizes=(21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
        match_threshold=0.5,
        box_coder="offsets",
        class_loss="softmax",
        negative_ratio=3,
        normalizer="batch_positives",
        score_threshold=0.01,
        iou_threshold=0.45,
        max_candidates_per_class=400,
        max_outputs=200,
        augment="ssd",
        optimizer="sgd",
        learning_rate=(1e-3,),
        schedule=("cosine",),
        warmup_steps=100,
        weight_decay=5e-4,
        clip_norm=10.0,
        batch_size=16,
        epochs=(20,),
    )


def retinanet_resnet50_fpn() -> Config:
    """RetinaNet with ResNet50 as in torchvision, first version: plain towers, P6 from P5, L1 loss. For a GPU.

    The network of `retinanet_resnet50_fpn_coco`, with torchvision's anchors, thresholds and limits. Images are 640 px
    here, where torchvision's shorter side has 800. Optimizer and epochs are for fine-tuning from weights of COCO.
    """
    return Config.of(**_RETINANET)


def retinanet_resnet50_fpn_v2() -> Config:
    """RetinaNet with ResNet50 as in torchvision, second version: GroupNorm, P6 from C5, GIoU loss. For a GPU.

    The network of `retinanet_resnet50_fpn_v2_coco`; other settings are those of `retinanet_resnet50_fpn`.
    """
    return Config.of(**_RETINANET | {"tower_norm": "group", "extra_levels_from": "backbone", "box_loss": "giou"})


_RETINANET: dict[str, Any] = {
    "image_size": 640,
    "aspect": "letterbox",
    "backbone": "resnet50",
    "fast_layers": ("auto",),
    "head": "retinanet",
    "tower_norm": "none",
    "prior_probability": 0.01,
    "anchor_layout": "torchvision",
    "zooms": (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3)),
    "ratios": ((0.5**0.5, 2**0.5), (1.0, 1.0), (2**0.5, 0.5**0.5)),
    "match_threshold": 0.5,
    "ignore_threshold": 0.4,
    "normalizer": "positives",
    "box_coder": "plain_offsets",
    "score_threshold": 0.05,
    "iou_threshold": 0.5,
    "max_candidates_per_level": 1000,
    "max_outputs": 300,
    "epochs": (12,),
    "batch_size": 8,
    "learning_rate": (1e-4,),
    "lr_multipliers": (0.1, 0.3, 1.0),
    "weight_decay": 0.05,
    "clip_norm": 10.0,
}
"""Settings of torchvision's RetinaNets, `torchvision.models.detection`; the optimizer is that of its second recipe.

Matching differs in a detail: each object has one best anchor here, and every anchor that ties with it there.
"""


PRESETS: dict[str, Preset] = {
    preset.__name__: preset
    for preset in (
        *(quick, small, large, largest_box, largest_object, multilabel, anchors16, anchors189, focal, ssd300),
        ssd300_vgg16,
        retinanet_resnet50_fpn,
        retinanet_resnet50_fpn_v2,
    )
}


def with_phases(name: str) -> Config:
    """Preset with phases, for pretrained weights; presets that have none are returned as they are.

    The lesson's stages have the lesson's phases. Learning rates are those of the head. The backbone's lower half has a
    hundredth of it, the upper half a tenth. Each phase has a new optimizer. Detectors of torchvision train their head
    for a tenth of the epochs, then the upper half of the backbone as well, at a third of the rate.

    Args:
        name: name of a preset.

    Returns:
        Its configuration.

    Source:
        fast.ai 2018, lessons 8 and 9. Where the lesson restarts a cosine schedule, a phase starts here.
    """
    config = PRESETS[name]()
    if name in _OF_TORCHVISION:
        (epochs,) = config.optimizer.epochs
        first = epochs // 10 or 1
        return config.replace(
            epochs=(first, epochs - first), trainable=("head", "upper"), lr_multipliers=(0.1, 0.3, 1.0), eval_every=1
        )
    if name not in _PHASES:
        return config
    settings = {"lr_multipliers": (0.01, 0.1, 1.0), "weight_decay": 0.0, "eval_every": 1, "augment": "lesson"}
    return config.replace(**settings | _PHASES[name])


def with_input_of(config: Config, weights: str) -> Config:
    """Configuration with the normalisation of images that published weights expect; unchanged for other weights.

    Args:
        config: configuration of a preset.
        weights: value of `--pretrained`: a name, or a file that has its published name.

    Returns:
        The configuration.

    Example:
        >>> with_input_of(quick(), "vgg16_features").model.mean
        (0.48235, 0.45882, 0.40784)
    """
    from jaxssd.models.published import find_published  # only needed with weights

    published = find_published(weights)
    return config.replace(mean=published.mean, std=published.std) if published else config


def of_published(published: "Published") -> Config:
    """Preset of a published detector, with its classes and the normalisation of images that it expects.

    Args:
        published: row of `jaxssd.models.published.PUBLISHED` that has a preset.

    Returns:
        The configuration.
    """
    settings = {"classes": published.classes, "mean": published.mean, "std": published.std}
    return PRESETS[str(published.preset)]().replace(**settings)


_OF_TORCHVISION = ("ssd300_vgg16", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")

_PHASES: dict[str, dict] = {
    "largest_box": {
        "augment": "none",
        "epochs": (1, 2, 1, 2, 2),
        "learning_rate": (2e-3,),
        "trainable": ("head", "head", "upper", "upper", "all"),
        "schedule": ("cosine",),
    },
    "largest_object": {
        "epochs": (3, 5, 10),
        "learning_rate": (1e-2, 2e-3, 1e-3),
        "trainable": ("head", "upper", "all"),
        "schedule": ("clr",),
        "clr": ((32.0, 5.0), (32.0, 10.0), (32.0, 10.0)),
    },
    "multilabel": {
        "augment": "none",
        "epochs": (3, 5),
        "learning_rate": (2e-2, 2e-3),
        "trainable": ("head", "upper"),
        "schedule": ("clr",),
        "clr": ((32.0, 5.0),),
    },
    "anchors16": {
        "epochs": (5,),
        "learning_rate": (3e-3,),
        "trainable": ("head",),
        "schedule": ("clr",),
        "clr": ((20.0, 10.0),),
    },
    "anchors189": {
        "epochs": (4, 4),
        "learning_rate": (1e-2, 5e-3),
        "trainable": ("head", "upper"),
        "schedule": ("clr",),
        "clr": ((20.0, 8.0),),
    },
    "focal": {
        "epochs": (10, 10),
        "learning_rate": (1e-2, 2.5e-3),
        "trainable": ("head", "upper"),
        "schedule": ("clr",),
        "clr": ((20.0, 10.0),),
    },
}
