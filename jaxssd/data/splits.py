"""Splits of a data set: images for training and images for validation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.split_names import find_split

TRAIN_SPLITS = ("train", "trainval")
"""Names of splits to train on, as in VOC."""


class ChosenSplits(NamedTuple):
    """Images to train on and images to validate on.

    Attributes:
        train: ids to train on.
        val: ids to validate on.
        notes: lines for the log on every choice that neither the data set nor the user stated.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    notes: tuple[str, ...]


def choose_splits(
    source: Source,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    val_fraction: float = 0.2,
    seed: int = 42,
) -> ChosenSplits:
    """Choose the images to train on and to validate on.

    - Named splits are taken. Otherwise they are `train` and `val`.
    - Without `train`, the training images are `trainval`; or the only split, unless it is a test split; or all images
      if there are no splits. The validation images are left out.
    - Without `val`, a share is held out at random, of `trainval` rather than `train`. As in the lesson, these are the
      first `int(val_fraction * n)` (at least one) of NumPy's legacy permutation of the `n` sorted ids. The defaults
      give the lesson's own 500 validation images of VOC 2007's `train`.
    - A link to an image is that image. It is an error in both splits, and is held out together with its target.

    Args:
        source: data set of any format.
        train_split: name of the split to train on.
        val_split: name of the split to validate on.
        val_fraction: share to hold out.
        seed: seed of the permutation.

    Returns:
        Training ids, validation ids and notes.

    Raises:
        ValueError: if a named split does not exist, an image is in both splits, no split is one to train on, or no
            image is left to train on.
    """
    splits = source.split_names()
    trains_on_val = train_split is not None and find_split(train_split, splits) == "val"
    val_split = val_split or ("val" if "val" in splits and not trains_on_val else None)

    # images to train on
    chosen, notes = train_split or _default_train_split(splits, val_split), []
    if chosen and chosen not in (train_split, *TRAIN_SPLITS):
        notes.append(f"train is the data set's only split, {chosen}")
    if splits and not chosen:
        raise ValueError(
            f"{source.path} has no split train or trainval, only {', '.join(splits)}: name one with --train-split"
        )
    ids = source.split_ids(chosen) if chosen else source.all_ids()
    if not ids:
        raise ValueError(f"{source.path}: no annotated image was found")
    name = chosen or "all images"

    # images to validate on, which are left out of those to train on
    if val_split:
        val = source.split_ids(val_split)
        links = _links(source, ids, val)
        shared = sorted({*(set(ids) & set(val)), *links})
        if shared and (train_split or chosen not in (None, "trainval")):
            also = f", which is a link to {links[shared[0]]!r} or the other way round" if shared[0] in links else ""
            raise ValueError(
                f"{source.path}: in both splits {chosen} and {val_split}: "
                f"{len(shared)} image{'s' * (len(shared) > 1)}, the first {shared[0]!r}{also}; name another one with "
                f"--val-split, or no longer state {val_split}, and a share of {chosen} is held out at random"
            )
        if shared:
            notes.append(f"{len(shared):,} images of {val_split} are left out of {name} to train on")
    else:
        if not 0 < val_fraction < 1:
            raise ValueError(f"{source.path}: cannot hold out a share of {val_fraction}")
        ids = tuple(sorted(ids))
        val = _held_out(ids, val_fraction, seed)
        why = f"there is {' and '.join(splits)} but no val" if splits else "there are no splits"
        share = f"{100 * val_fraction:g} % of {name}, {len(val):,} of {len(ids):,}"
        notes.append(
            f"no validation split found, {'val is trained on' if trains_on_val else why}: {share}, are held out at "
            f"random (seed {seed}) and validated on"
        )
        links = _links(source, ids, val)
        if links:
            first = next(iter(links))
            notes.append(
                f"{len(links):,} images are links to such that are held out, or the other way round, and are not "
                f"trained on either, such as {first}, which is {links[first]}"
            )
    left_out = {*val, *links}
    train = tuple(image for image in ids if image not in left_out)
    if not train:
        raise ValueError(f"{source.path}: of {len(ids)} image(s) none would be left to train on")
    return ChosenSplits(train, val, tuple(notes))


def note_on_test(ids: Mapping[str, Iterable[str]]) -> str | None:
    """Note on images that are both trained and tested on; None if there are none.

    Args:
        ids: ids of each split.

    Example:
        >>> note_on_test({"train": ["a", "b", "c"], "test": ["b", "c"]})
        'test and train have 2 images in common, such as b: a score on test says little of other images'
    """
    test = set(ids.get("test", ()))
    for split in TRAIN_SPLITS:
        if shared := test.intersection(ids.get(split, ())):
            images = f"{len(shared):,} image{'s' * (len(shared) > 1)}"
            example = f"{images} in common, such as {min(shared)}"
            return f"test and {split} have {example}: a score on test says little of other images"
    return None


def _default_train_split(splits: Sequence[str], val_split: str | None) -> str | None:
    """Name of the split to train on if none is given; None if there is no such split."""
    for name in TRAIN_SPLITS if val_split else reversed(TRAIN_SPLITS):
        if name in splits:
            return name
    # VOC's lists of single classes, such as `car_train`, are not separate splits.
    whole = [name for name in splits if not any(name.endswith(f"_{other}") for other in splits)]
    return whole[0] if len(whole) == 1 and whole[0] not in ("val", "test", val_split) else None


def _held_out(ids: Sequence[str], fraction: float, seed: int) -> tuple[str, ...]:
    """Random share of sorted ids, at least one, in alphabetical order."""
    shuffled = np.random.RandomState(seed).permutation(len(ids))  # the lesson's stream, which NumPy keeps
    return tuple(sorted(ids[i] for i in shuffled[: max(int(fraction * len(ids)), 1)]))


def _links(source: Source, ids: Sequence[str], val: Sequence[str]) -> dict[str, str]:
    """Training images that share a file with a validation image, and the name of that one."""
    others = set(val)
    rest = [name for name in ids if name not in others]
    files = source.identities([*val, *rest])
    names = dict(zip(files, val, strict=False))
    shared = names.keys() & set(files[len(val) :]) - {None}
    pairs = zip(rest, files[len(val) :], strict=True) if shared else ()
    return {name: names[file] for name, file in pairs if file in shared}
