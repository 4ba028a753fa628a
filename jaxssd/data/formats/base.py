"""What a format answers about a data set on disk: its splits, its images and the objects in them."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from jaxssd.data.images import ImageFile
from jaxssd.data.report import Problem


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
