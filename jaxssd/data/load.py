"""Load the data of a run: generated Shapes, or a data set on disk in one of the formats."""

from collections.abc import Iterable
from dataclasses import replace

from jaxssd.config import DatasetConfig
from jaxssd.data import shapes
from jaxssd.data.build import build_dataset
from jaxssd.data.cache import default_cache_dir
from jaxssd.data.class_filter import require_classes
from jaxssd.data.dataset import Dataset
from jaxssd.data.formats.base import Source
from jaxssd.data.formats.registry import note_ignored, open_source
from jaxssd.data.formats.tfds.detect import NAMES as DOWNLOADED
from jaxssd.data.splits import ChosenSplits, choose_splits

SHAPES_IMAGES = {"train": 6000, "val": 400, "test": 400}

NAMES = ("shapes", *DOWNLOADED)
"""What `data` can be besides a path; a folder of such a name is `./shapes`."""


def with_classes(config: DatasetConfig, splits: Iterable[str] = ("train", "val")) -> DatasetConfig:
    """Fill in the classes that the user left to be found, or check those that were given.

    Args:
        config: as the user gave it.
        splits: in whose annotations to look.

    Returns:
        The configuration; the same one if it has classes.

    Raises:
        ValueError, FileNotFoundError: if the data has not all classes that were given, or what the reader has against
            the folder.
    """
    if config.data == "shapes":
        if config.classes not in ((), shapes.CLASS_NAMES) or config.train_split or config.val_split:
            raise ValueError(
                "shapes has classes and splits of its own: --classes, --train-split and --val-split need --data"
            )
        return replace(config, classes=shapes.CLASS_NAMES)
    source = open_source(config.data, config.images)
    ids = [name for split in splits for name in _split_ids(source, config, split)]
    known = source.class_names(ids)
    if config.classes:
        require_classes(config.classes, known, source.path)
        return config
    return replace(config, classes=known)


def load_split(config: DatasetConfig, split: str) -> Dataset:
    """Read one split.

    Args:
        config: with its classes filled in.
        split: `train` and `val` are those the run trains and validates on; `all` is every annotated image; any other
            name is a split that the data set itself has, or `test` of Shapes.

    Returns:
        The data set, images of the run's size.

    Raises:
        ValueError, FileNotFoundError: if there is no such split, or what the reader has against the folder.
    """
    if config.data == "shapes":
        if split not in SHAPES_IMAGES:
            raise ValueError(f"shapes has no split {split!r}: there are {', '.join(SHAPES_IMAGES)}")
        seed = list(SHAPES_IMAGES).index(split)  # each split its own, so that no picture is in two
        return shapes.make_shapes(SHAPES_IMAGES[split], image_size=config.image_size, seed=seed)
    source = open_source(config.data, config.images)
    return build_dataset(
        source,
        _split_ids(source, config, split),
        image_size=config.image_size,
        class_names=config.classes,
        aspect=config.aspect,
        exif=config.exif,
        max_objects=config.max_objects,
        cache_dir=default_cache_dir(),
    )


def default_split(config: DatasetConfig) -> str:
    """What to score of data that the run was not trained on: its `val`, or all of it."""
    return "val" if config.data == "shapes" or "val" in open_source(config.data, config.images).split_names() else "all"


def notes_on_splits(config: DatasetConfig, option: str, *, split: str = "train") -> list[str]:
    """Lines for the beginning of a run: what is held out at random and why, and what else its splits are made from.

    Args:
        config: of a run.
        option: by which one would name a split.
        split: the one that is read; `train` and `val` depend on each other.

    Returns:
        No line for a data set whose splits are stated and taken as they are.
    """
    if config.data in NAMES and config.data not in DOWNLOADED:
        return []
    source = open_source(config.data, config.images)
    if split not in ("train", "val", "all"):
        source.split_ids(split)  # what is to be read anyway may have a remark
    notes = [
        *note_ignored(config.data, source),
        *source.remarks(),
        *(_chosen(source, config).notes if split in ("train", "val") else ()),
    ]
    if notes and config.val_split is None and (others := source.other_splits()) and "val" not in source.split_names():
        named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notes[-1] += f"; beside it lie {named}: {option} NAME takes one of them"
    return notes


def _split_ids(source: Source, config: DatasetConfig, split: str) -> tuple[str, ...]:
    if split == "all":
        return source.all_ids()
    if split not in ("train", "val"):
        return source.split_ids(split)
    chosen = _chosen(source, config)
    return chosen.train if split == "train" else chosen.val


def _chosen(source: Source, config: DatasetConfig) -> ChosenSplits:
    return choose_splits(
        source, train_split=config.train_split, val_split=config.val_split, val_fraction=config.val_fraction
    )
