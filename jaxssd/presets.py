"""The named configurations: `python train.py NAME`. Each docstring says what the run costs and scores."""

from collections.abc import Callable

from jaxssd.config import Config


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
        dropout=0.05,
        epochs=6,
        batch_size=16,
        learning_rate=3e-3,
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
        dropout=0.1,
        epochs=40,
        batch_size=16,
        learning_rate=2e-3,
    )


def lesson() -> Config:
    """The lesson's detector at 224 px, for a GPU: ResNet34 from scratch, 189 anchors on three grids, focal loss.

    Settings are the lesson's but for what training from random weights needs: 100 epochs of AdamW in one cycle, and
    crops. Neither its time nor its score has been measured yet.
    """
    return Config(precision="bfloat16", eval_every=5)


PRESETS: dict[str, Callable[[], Config]] = {"quick": quick, "small": small, "lesson": lesson}
