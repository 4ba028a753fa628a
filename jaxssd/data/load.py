"""Load the data of a run: generated Shapes, or a data set on disk in one of the formats.

What reads files is imported inside the functions: a run on Shapes needs none of it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxssd.config import DatasetConfig
from jaxssd.data.dataset import Dataset
from jaxssd.data.formats.tfds.detect import NAMES as TFDS_NAMES

if TYPE_CHECKING:
    from jaxssd.data.formats.base import Source
    from jaxssd.data.splits import ChosenSplits

SHAPES_IMAGES = {"train": 6000, "val": 400, "test": 400}
"""Number of generated images in each split."""

NAMES = ("shapes", *TFDS_NAMES)
"""Values of `--data` that are not paths. A folder of such a name is `./shapes`."""


def with_classes(config: DatasetConfig, splits: Iterable[str] = ("train", "val")) -> DatasetConfig:
    """Fill in the class names, or check those that were given.

    Args:
        config: settings of the data; no classes stand for all that the data has.
        splits: splits in whose annotations to look for classes.

    Returns:
        The settings with classes; the same object if it had some.

    Raises:
        ValueError: if the data lacks a given class, or cannot be read.
        FileNotFoundError: if there is no such folder.
    """
    if config.data == "shapes":
        from jaxssd.data.shapes import CLASS_NAMES

        if config.classes not in ((), CLASS_NAMES) or config.train_split or config.val_split:
            raise ValueError(
                "shapes has classes and splits of its own: --classes, --train-split and --val-split need --data"
            )
        return replace(config, classes=CLASS_NAMES)
    source = _open(config)
    known = source.class_names([name for split in splits for name in _split_ids(source, config, split)])
    if not config.classes:
        return replace(config, classes=known)
    from jaxssd.data.class_filter import require_classes

    require_classes(config.classes, known, source.path)
    return config


def known_classes(config: DatasetConfig, split: str) -> tuple[str, ...]:
    """Class names that a split of the data has; raises as `load_split` does."""
    if config.data == "shapes":
        from jaxssd.data.shapes import CLASS_NAMES

        return CLASS_NAMES
    source = _open(config)
    return source.class_names(_split_ids(source, config, split))


def load_split(config: DatasetConfig, split: str) -> Dataset:
    """Load one split.

    Args:
        config: settings of the data, classes filled in.
        split: `train` or `val` for those that the run trains and validates on, `all` for every annotated image, or the
            name of a split that the data has.

    Returns:
        The data set, with images of the run's size.

    Raises:
        ValueError: if there is no such split, it cannot be read, or `shapes` has other classes.
        FileNotFoundError: if there is no such folder.
    """
    if config.data == "shapes":
        from jaxssd.data.shapes import CLASS_NAMES, make_shapes

        if split not in SHAPES_IMAGES:
            raise ValueError(f"shapes has no split {split!r}: there are {', '.join(SHAPES_IMAGES)}")
        if config.classes not in ((), CLASS_NAMES):
            raise ValueError(
                f"--data shapes has the classes {', '.join(CLASS_NAMES)}, and the run has {', '.join(config.classes)}: "
                "name a data set with the run's classes"
            )
        seed = list(SHAPES_IMAGES).index(split)  # another one for each split, so that no picture is in two
        return make_shapes(SHAPES_IMAGES[split], image_size=config.input_shape, seed=seed)
    from jaxssd.cache_folder import default_cache_dir
    from jaxssd.data.build import build_dataset

    source = _open(config)
    return build_dataset(
        source,
        _split_ids(source, config, split),
        image_size=config.input_shape,
        class_names=config.classes,
        aspect=config.aspect,
        exif=config.exif,
        max_objects=config.max_objects,
        cache_dir=default_cache_dir(),
    )


def count_images(config: DatasetConfig, split: str) -> int:
    """Number of images that a split lists; some may turn out to be unreadable."""
    return SHAPES_IMAGES[split] if config.data == "shapes" else len(_split_ids(_open(config), config, split))


def default_split(config: DatasetConfig) -> str:
    """Split to score of data that the run was not trained on: `val` if there is one, else `all`."""
    return "val" if config.data == "shapes" or "val" in _open(config).split_names() else "all"


def notes_on_splits(config: DatasetConfig, option: str, *, split: str = "train") -> list[str]:
    """Lines for the log about the splits: images held out at random, with the reason, and images left out.

    Args:
        config: settings of the data.
        option: command-line option that names a split, for the advice.
        split: split that is loaded; `train` and `val` depend on each other.

    Returns:
        The lines; none if the splits are stated and taken as they are.
    """
    if config.data == "shapes":
        return []
    from jaxssd.data.formats.registry import note_ignored

    source = _open(config)
    if split not in ("train", "val", "all"):
        source.split_ids(split)  # reading the list may leave a note
    notes = [
        *note_ignored(config.data, source),
        *source.notes(),
        *(_chosen(source, config).notes if split in ("train", "val") else ()),
    ]
    if notes and config.val_split is None and (others := source.other_splits()) and "val" not in source.split_names():
        named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notes[-1] += f"; beside it lie {named}: {option} NAME takes one of them"
    return notes + _other_spellings(source, (config.train_split, config.val_split, split))


def _other_spellings(source: "Source", names: Iterable[str | None]) -> list[str]:
    """Lines on splits that were named by another word than the data set's, such as `valid` or `test2`."""
    from jaxssd.data.formats.split_names import find_split

    known = source.split_names()
    found = {name: find_split(name, known) for name in names if name and name not in known}
    return [f"split {name!r} is read as {read!r}" for name, read in found.items() if read]


def _open(config: DatasetConfig) -> "Source":
    from jaxssd.data.formats.registry import open_source

    return open_source(config.data, config.images)


def _split_ids(source: "Source", config: DatasetConfig, split: str) -> tuple[str, ...]:
    if split == "all":
        return source.all_ids()
    if split not in ("train", "val"):
        return source.split_ids(split)
    chosen = _chosen(source, config)
    return chosen.train if split == "train" else chosen.val


def _chosen(source: "Source", config: DatasetConfig) -> "ChosenSplits":
    from jaxssd.data.splits import choose_splits

    return choose_splits(
        source, train_split=config.train_split, val_split=config.val_split, val_fraction=config.val_fraction
    )
