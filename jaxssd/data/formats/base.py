"""Interface of a data format: the splits, images and objects of a data set on disk."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int32

from jaxssd.data.report import Problem


@runtime_checkable
class ImageFile(Protocol):
    """Path, or another object that opens as a file of bytes."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the encoded image at its start."""


class Record(NamedTuple):
    """One image before decoding, with its valid boxes.

    Attributes:
        id: name of the image.
        image: image file, or an object that opens like one.
        image_name: name of the image in the loading report.
        annotation_name: name of its annotation in the loading report.
        boxes: corners `[y1, x1, y2, x2]` in pixels from the outer edge of the first pixel, finite, with positive area.
        labels: indices of the classes.
        difficult: True for each object that is neither trained on nor scored.
        stated_size: (height, width) that the annotation states, or None.
        normalised: True if `boxes` are fractions of the image's height and width instead of pixels.
        upright: True if `boxes` refer to the image rotated by its EXIF orientation. Otherwise `stated_size` and the
            boxes decide.
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
    """Data set on disk. A source reads annotations, never pixels, and reports their faults.

    A format is a frozen dataclass whose fields decide everything that it finds. Opening data of another format raises
    `ValueError` or `FileNotFoundError` with the path and what was expected.
    """

    @property
    @abstractmethod
    def path(self) -> Path:
        """File or folder, for messages."""

    @abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """Splits of the data set in alphabetical order; empty if it has none."""

    def other_splits(self) -> tuple[str, ...]:
        """Splits that are used only if they are named, in alphabetical order."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """Notes on the layout for the first lines of the log."""
        return ()

    @abstractmethod
    def split_ids(self, split: str) -> tuple[str, ...]:
        """Images of a split, each once, in the data set's order.

        Raises:
            ValueError: if the split does not exist or is empty. The message names the existing ones.
        """

    @abstractmethod
    def all_ids(self) -> tuple[str, ...]:
        """All annotated images, in a fixed order."""

    @abstractmethod
    def class_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Class names in the order of the labels.

        Args:
            ids: images whose annotations are searched, if the format has no list of classes.

        Raises:
            ValueError: if there is no class.
        """

    @abstractmethod
    def records(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[list[Record], list[Problem]]:
        """Read the annotations of images.

        Args:
            ids: images, in the order of the records.
            class_names: class names in the order of the labels. Objects of other classes are left out:
                `class_filter.other_class`.

        Returns:
            A record for each image that is not skipped, and the problems in the order in which they were found.
        """

    @abstractmethod
    def inputs(self, ids: Sequence[str]) -> list[Path | None]:
        """Files that the data of these images is read from; None for a missing one."""

    @abstractmethod
    def file_names(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Path of each image within the data set, for tools that show images; the id if there is no file."""

    def identities(self, ids: Sequence[str]) -> Sequence[Hashable]:
        """Key of each image's file, equal for links to one file; None where the id is enough."""
        return [None] * len(ids)

    def image_ids(self, ids: Sequence[str]) -> tuple[int, ...]:
        """Number of each image in COCO's files: its position from 1, unless the format has numbers."""
        return tuple(range(1, len(ids) + 1))

    def category_ids(self, ids: Sequence[str], class_names: tuple[str, ...]) -> tuple[int, ...]:
        """Number of each class in COCO's files of these images: its position from 1, unless the format has numbers."""
        return tuple(range(1, len(class_names) + 1))
