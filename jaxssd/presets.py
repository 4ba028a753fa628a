"""The named configurations: `python train.py NAME`. Each docstring says what the run costs and scores."""

from collections.abc import Callable

from jaxssd.config import Config


def quick() -> Config:
    """A small network on generated Shapes, for a first look on a laptop's processor.

    TBD
    """
    return Config(
        image_size=96,
        backbone="resnet_small",
        grids=(6, 3, 2),
        head_width=128,
        dropout=0.1,
        epochs=12,
        batch_size=32,
        learning_rate=3e-3,
    )


def lesson() -> Config:
    """The lesson's detector: ResNet34 at 224 px, 189 anchors on three grids, focal loss; trained from scratch.

    TBD
    """
    return Config(precision="bfloat16")


PRESETS: dict[str, Callable[[], Config]] = {"quick": quick, "lesson": lesson}
