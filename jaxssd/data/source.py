"""What every format on disk can be asked: which splits and images there are, and what objects they hold."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from jaxssd.data.formats.split_names import find_split
from jaxssd.data.images import ImageFile
from jaxssd.data.report import Problem

TRAIN_SPLITS = ("train", "trainval")
"""Names by which the split to train on is found; VOC's are the others' as well."""


class Record(NamedTuple):
    """One image before it is decoded, with the boxes that are sound in themselves.

    Attributes:
        id: the image's name.
        image: its file, or what can be opened like one.
        image_name: what a report calls it.
        annotation_name: what a report calls the place where its objects are written.
        boxes: corners `[y1, x1, y2, x2]` in pixels from the outer edge of the first pixel, finite, with positive area.
        labels: index into the class names.
        difficult: as in `Examples`.
        stated_size: (height, width) according to the annotation, if it says.
        normalised: whether `boxes` are shares of the image's height and width instead of pixels.
        upright: whether they refer to the image turned as its EXIF orientation says. Otherwise `stated_size` and the
            boxes show it: `images.find_fit`.
    """

    id: str
    image: ImageFile
    image_name: str
    annotation_name: str
    boxes: Float64[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    stated_size: tuple[int, int] | None = None
    normalised: bool = False
    upright: bool = False


class Source(ABC):
    """A data set on disk. It reads annotations and never pixels, and tells what is wrong with them.

    A format is a frozen dataclass whose fields are all that decides what it finds; opening one that is of another
    format raises `ValueError` or `FileNotFoundError` with the path and what was expected.
    """

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file or folder, for messages."""

    @abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """The splits that the data set comes with, in alphabetical order; none if it has none."""

    def other_splits(self) -> tuple[str, ...]:
        """What can be named as a split, and is none unless it is named; in alphabetical order."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Lines about the layout that a person is to be told before anything is read."""
        return ()

    @abstractmethod
    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of a split, each once, in the data set's order.

        Raises:
            ValueError: if there is no such split (naming those there are), or it is empty.
        """

    @abstractmethod
    def all_ids(self) -> tuple[str, ...]:
        """All annotated images, in a fixed order."""

    @abstractmethod
    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Name of label 0, of label 1 and so on.

        Args:
            ids: of the images in whose annotations to look, where the format has no list of classes of its own.

        Raises:
            ValueError: if there is no class.
        """

    @abstractmethod
    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """What is known of images before they are decoded, and what was wrong with it.

        Args:
            ids: which images, in which order.
            class_names: name of each label. An object of another class is left out: `class_filter.other_class`.

        Returns:
            A record for each image that is not skipped, in the order of `ids`; problems in the order they were met.
        """

    @abstractmethod
    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """The files from which the data set of these images is made; None for one that is missing."""

    @abstractmethod
    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The file of each image as a path within the data set, for tools that show images; the id if it has none."""

    def identities(self, ids: Sequence[str]) -> Sequence[Hashable]:
        """What tells each image's file from others, however it is reached; None where ids alone do."""
        return [None] * len(ids)

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """The number of each image in COCO's files: from 1 on, unless the format has numbers of its own."""
        return tuple(range(1, len(ids) + 1))

    def category_ids(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[int, ...]:
        """The number of each class in COCO's files of these images: from 1 on, unless the format has its own."""
        return tuple(range(1, len(class_names) + 1))


class ChosenSplits(NamedTuple):
    """What a run trains and validates on.

    Attributes:
        train: ids.
        val: ids.
        notes: what a person is to be told: whatever was not stated by the data set or the user, and why.
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
    """Images to train on and images to validate on.

    Unless they are named, the splits are `train` and `val`. Where there is no `train`, `trainval` takes its place, or
    the only split if it is not one to test on, or all images if there are no splits at all, less the validation images.
    Where there is nothing to validate on, some are held out as the lesson does it, of `trainval` rather than `train`:
    with the ids in alphabetical order, the first `int(val_fraction * n)` (at least one) of NumPy's legacy permutation
    of `n` for `seed`. The defaults give the lesson's own 500 validation images from VOC 2007's `train`.

    An image that is a link to another one is that image: in both splits it is an error, and what is held out is not
    trained on under its other name either.

    Args:
        source: of any format.
        train_split: name of a split to train on.
        val_split: name of one to validate on.
        val_fraction: share to hold out.
        seed: which images to hold out.

    Returns:
        Training ids, validation ids, and notes; one of them says what is held out, whenever something is.

    Raises:
        ValueError: as `Source.split_ids`; or if an image is in both splits, if there are splits but none to train on,
            or if nothing is left to train on.
    """
    notes: list[str] = []
    splits = source.split_names()
    trains_on_val = train_split is not None and find_split(train_split, splits) == "val"
    val_split = val_split or ("val" if "val" in splits and not trains_on_val else None)
    candidates = [train_split] if train_split else TRAIN_SPLITS if val_split else TRAIN_SPLITS[::-1]
    chosen = next((name for name in candidates if name == train_split or name in splits), None)
    if chosen is None and len(only := _without_class_lists(splits)) == 1 and only[0] not in ("val", "test", val_split):
        chosen = only[0]
        notes.append(f"train is the data set's only split, {chosen}")
    if chosen:
        ids = source.split_ids(chosen)
    elif splits:
        raise ValueError(
            f"{source.path} has no split train or trainval, only {', '.join(splits)}: name one with --train-split"
        )
    else:
        ids = source.all_ids()
    if not ids:
        raise ValueError(f"{source.path}: no annotated image was found")

    if val_split:
        val = source.split_ids(val_split)
        links = _links(source, ids, val)
        shared = sorted({*(set(ids) & set(val)), *links})
        if shared and (train_split or (chosen != "trainval" and chosen)):
            also = f", which is a link to {links[shared[0]]!r} or the other way round" if shared[0] in links else ""
            raise ValueError(
                f"{source.path}: in both splits {chosen} and {val_split}: "
                f"{len(shared)} image{'s' * (len(shared) > 1)}, the first {shared[0]!r}{also}; name another one with "
                f"--val-split, or no longer state {val_split}, and a share of {chosen} is held out at random"
            )
        if shared:
            notes.append(f"{len(shared):,} images of {val_split} are left out of {chosen or 'all images'} to train on")
    else:
        if not 0 < val_fraction < 1:
            raise ValueError(f"{source.path}: cannot hold out a share of {val_fraction}")
        ids = tuple(sorted(ids))
        num_val = max(int(val_fraction * len(ids)), 1)
        shuffled = np.random.RandomState(seed).permutation(len(ids))  # the lesson's stream, which NumPy keeps
        val = tuple(sorted(ids[i] for i in shuffled[:num_val]))
        stated = f"there is {' and '.join(splits)} but no val" if splits else "there are no splits"
        if trains_on_val:
            stated = "val is trained on"
        share = f"{100 * val_fraction:g} % of {chosen or 'all images'}, {num_val:,} of {len(ids):,}"
        notes.append(
            f"no validation split found, {stated}: {share}, are held out at random (seed {seed}) and validated on"
        )
        links = _links(source, ids, val)
        if links:
            first = next(iter(links))
            notes.append(
                f"{len(links):,} images are links to such that are held out, or the other way round, and are not "
                f"trained on either, such as {first}, which is {links[first]}"
            )
    held_out = {*val, *links}
    train = tuple(name for name in ids if name not in held_out)
    if not train:
        raise ValueError(f"{source.path}: of {len(ids)} image(s) none would be left to train on")
    return ChosenSplits(train, val, tuple(notes))


def remark_on_test(ids: Mapping[str, Iterable[str]]) -> str | None:
    """What to tell of images that are both trained and tested on: such a test says little.

    Args:
        ids: of each split.

    Example:
        >>> remark_on_test({"train": ["a", "b", "c"], "test": ["b", "c"]})
        'test and train have 2 images in common, such as b: a score on test says little of other images'
    """
    test = set(ids.get("test", ()))
    for split in TRAIN_SPLITS:
        if shared := test.intersection(ids.get(split, ())):
            images = f"{len(shared):,} image{'s' * (len(shared) > 1)}"
            example = f"{images} in common, such as {min(shared)}"
            return f"test and {split} have {example}: a score on test says little of other images"
    return None


def train_val_ids(
    source: Source,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    val_fraction: float = 0.2,
    seed: int = 42,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training ids and validation ids of `choose_splits`, without its notes."""
    chosen = choose_splits(source, train_split=train_split, val_split=val_split, val_fraction=val_fraction, seed=seed)
    return chosen.train, chosen.val


def _links(source: Source, ids: Sequence[str], val: Sequence[str]) -> dict[str, str]:
    """Images that are not among some others but have a file with one of them in common, and which one that is."""
    others = set(val)
    rest = [name for name in ids if name not in others]
    files = source.identities([*val, *rest])
    names = dict(zip(files, val, strict=False))
    shared = names.keys() & set(files[len(val) :]) - {None}
    pairs = zip(rest, files[len(val) :], strict=True) if shared else ()
    return {name: names[file] for name, file in pairs if file in shared}


def _without_class_lists(splits: Sequence[str]) -> list[str]:
    """Splits but those of single classes, as VOC's `car_train` is one of `train`."""
    return [name for name in splits if not any(name.endswith(f"_{other}") for other in splits)]
