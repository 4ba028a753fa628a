"""The named configurations: `python train.py NAME`. Each docstring says what is known of cost and score.

The stages of the lesson have its settings. Given a pretrained backbone they have its phases too: the head alone, then
the upper half of the backbone, then all. From random weights those few epochs teach little, and so a stage that is
given none trains everything in one long cycle, with crops. None of them has been measured on a GPU yet; what they score
on photographs with a small network, on a processor, is in `benchmarks/RESULTS.md`.
"""

from collections.abc import Callable
from dataclasses import replace

from jaxssd.config import Config

Preset = Callable[[], Config]


def quick() -> Config:
    """A very small network at 64 px, for a first look at generated pictures on a laptop's processor.

    Anchors are squares, as the pictures' boxes nearly are; the fewer there are to tell apart, the sooner it learns.
    Two minutes on two cores; mAP@0.5 (area) 0.75 on the 400 validation images and 0.78 on 400 test images.
    """
    return Config(
        image_size=64,
        backbone="resnet_tiny",
        grids=(8, 4),
        zooms=(1.0, 1.4, 2.0),
        ratios=((1.0, 1.0),),
        head_width=96,
        input_dropout=0.05,
        dropout=0.05,
        epochs=(6,),
        batch_size=16,
        learning_rate=(3e-3,),
    )


def small() -> Config:
    """A small network at 128 px, to see within minutes on a processor whether your own boxes can be learned.

    On two cores: blood cells (BCCD, 205 images, 60 epochs) in 4 minutes, mAP@0.5 (area) 0.57; five animals (2,400
    photographs, 20 epochs) in 12 minutes, 0.19. What is smaller than 8 pixels at this size is out of its reach.
    """
    return Config(
        image_size=128,
        backbone="resnet_small",
        grids=(8, 4, 2, 1),
        zooms=(1.0, 1.4),
        ratios=((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)),
        head_width=128,
        input_dropout=0.1,
        dropout=0.1,
        epochs=(40,),
        batch_size=16,
        learning_rate=(2e-3,),
    )


def largest_box() -> Config:
    """Lesson, a: where is the largest object? One linear layer after ResNet34, L1 in pixels.

    The lesson's box error: 19.9 pixels of 224 (VOC 2007, ImageNet's weights).
    """
    return Config(task="largest_box", precision="bfloat16", eval_every=5)


def largest_object() -> Config:
    """Lesson, b: where is the largest object, and what? L1 in pixels and 20 times the cross entropy.

    The lesson's box error: 18.6 pixels of 224, accuracy 0.816.
    """
    return Config(
        task="largest_object", precision="bfloat16", eval_every=5, head_width=256, input_dropout=0.5, dropout=0.5
    )


def multilabel() -> Config:
    """Lesson, c: which classes are there? Binary cross entropy of each.

    The lesson's accuracy over all classes: 0.975.
    """
    return Config(
        task="multilabel", precision="bfloat16", eval_every=5, head_width=512, input_dropout=0.25, dropout=0.5
    )


def anchors16() -> Config:
    """Lesson, d: every object, by 16 anchors: a 4x4 grid, one square a cell, binary cross entropy.

    The lesson's loss: 0.41 and 0.46 an image in two runs; it has no mAP.
    """
    return Config(
        grids=(4,),
        zooms=(1.0,),
        ratios=((1.0, 1.0),),
        class_bias=-3.0,
        input_dropout=0.25,
        dropout=0.1,
        class_loss="bce",
        match_rule="lesson",
        precision="bfloat16",
        eval_every=5,
    )


def anchors189() -> Config:
    """Lesson, e: every object, by 189 anchors: grids 4, 2 and 1, three sizes, three shapes, binary cross entropy.

    The lesson's loss in a careful re-run: 1.23 an image.
    """
    return Config(class_loss="bce", match_rule="lesson", precision="bfloat16", eval_every=5)


def focal() -> Config:
    """Lesson, f: the lesson's detector: 189 anchors and the focal loss. For a GPU.

    The lesson's loss: 0.16 an image. The notebook's variant is `--zooms 0.7 1 1.3 --gamma 1`.
    """
    return replace(anchors189(), class_loss="focal")


def ssd300() -> Config:
    """SSD300 with ResNet34, as in MLPerf: 300 px, 8,732 anchors, offsets, hard negatives 3:1. For a GPU.

    As in the paper but for the classes, which have a sigmoid each and no background, BatchNorm in the extra layers, a
    loss that is a mean over each image's matches and then over the images, and AdamW with one cycle.
    `--class-loss focal --negative-ratio 0` is the same with the focal loss. This network has not been trained to a
    score yet. The same head on a small one, `--backbone resnet_tiny --precision float32 --batch-size 8 --epochs 30`,
    took less than half an hour on two cores for blood cells (BCCD, 205 images), mAP@0.5 (area) 0.86.
    """
    return Config(
        image_size=300,
        backbone="resnet34_ssd300",
        head="ssd300",
        coding="offsets",
        class_loss="bce",
        negative_ratio=3,
        normalizer="positives",
        match_threshold=0.5,
        precision="bfloat16",
        epochs=(120,),
        eval_every=5,
    )


PRESETS: dict[str, Preset] = {
    preset.__name__: preset
    for preset in (quick, small, largest_box, largest_object, multilabel, anchors16, anchors189, focal, ssd300)
}


def with_phases(name: str) -> Config:
    """The stage of the lesson with its phases, which need a pretrained backbone; another preset as it is.

    Rates are those of the head; the backbone's lower half has a hundredth of it, the upper half a tenth. In every
    phase the optimizer is new.

    Args:
        name: of a preset.

    Returns:
        Its configuration.

    Source:
        fast.ai 2018, lessons 8 and 9. Where the lesson restarts a cosine schedule, a phase starts here.
    """
    config = PRESETS[name]()
    if name not in _PHASES:
        return config
    settings = {"lr_multipliers": (0.01, 0.1, 1.0), "weight_decay": 0.0, "eval_every": 1, "augment": "lesson"}
    return replace(config, **settings | _PHASES[name])


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
