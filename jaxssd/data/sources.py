"""From a run's `data` setting to data sets: generated Shapes, or a folder in PASCAL VOC layout."""

from collections.abc import Iterable
from dataclasses import replace

from jaxssd.config import Config
from jaxssd.data import shapes, voc
from jaxssd.data.cache import default_cache_dir
from jaxssd.data.dataset import Dataset

SHAPES_IMAGES = {"train": 6000, "val": 400, "test": 400}


def with_classes(config: Config, splits: Iterable[str] = ("train", "val")) -> Config:
    """Fill in the classes that the user left to be found.

    Args:
        config: as the user gave it.
        splits: in whose annotations to look.

    Returns:
        The configuration; the same one if it has classes.

    Raises:
        ValueError, FileNotFoundError: what the reader has against the folder.
    """
    if config.data == "shapes":
        if config.classes not in ((), shapes.CLASS_NAMES) or config.train_split or config.val_split:
            raise ValueError(
                "shapes has classes and splits of its own: --classes, --train-split and --val-split need --data"
            )
        return replace(config, classes=shapes.CLASS_NAMES)
    if config.classes:
        return config
    ids = [name for split in splits for name in _voc_ids(config, split)]
    return replace(config, classes=voc.class_names(config.data, ids))


def load_split(config: Config, split: str) -> Dataset:
    """Read one split.

    Args:
        config: with its classes filled in.
        split: `train` and `val` are those the run trains and validates on; `all` is every
            annotated image; any other name is a file of ImageSets/Main, or `test` of Shapes.

    Returns:
        The data set, images squashed to the run's size.

    Raises:
        ValueError, FileNotFoundError: if there is no such split, or what the reader has against the folder.
    """
    if config.data == "shapes":
        if split not in SHAPES_IMAGES:
            raise ValueError(f"shapes has no split {split!r}: there are {', '.join(SHAPES_IMAGES)}")
        seed = list(SHAPES_IMAGES).index(split)  # each split its own, so that no picture is in two
        return shapes.make_shapes(SHAPES_IMAGES[split], image_size=config.image_size, seed=seed)
    return voc.read_voc(
        config.data,
        _voc_ids(config, split),
        image_size=config.image_size,
        class_names=config.classes,
        max_objects=config.max_objects,
        cache_dir=default_cache_dir(),
    )


def default_split(config: Config) -> str:
    """What to score of data that the run was not trained on: its `val`, or all of it."""
    return "val" if config.data == "shapes" or "val" in voc.split_names(config.data) else "all"


def _voc_ids(config: Config, split: str) -> tuple[str, ...]:
    if split == "all":
        return voc.annotated_ids(config.data)
    if split not in ("train", "val"):
        return voc.split_ids(config.data, split)
    train_ids, val_ids = voc.train_val_ids(
        config.data,
        train_split=config.train_split,
        val_split=config.val_split,
        val_fraction=config.val_fraction,
    )
    return train_ids if split == "train" else val_ids
