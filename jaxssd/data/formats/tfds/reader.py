"""Reader of PASCAL VOC's examples as TensorFlow Datasets stores them, without TensorFlow.

The files are array_record, which TFDS reads with NumPy alone. A data set that is not prepared yet is prepared by
another process: see `tfds.prepare`.
"""

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from PIL.JpegImagePlugin import JpegImageFile

from jaxssd.data.formats.tfds.prepare import prepare
from jaxssd.data.formats.voc.annotation import AnnotatedObject


@dataclass(frozen=True)
class TFDSImage:
    """One encoded image in an array_record file. It opens like a `Path`, in any thread or process.

    Attributes:
        name: name of the data set.
        data_dir: TFDS's folder of data sets.
        split: TFDS's name of the split.
        place: position in the split, from 0.
    """

    name: str
    data_dir: Path
    split: str
    place: int

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the JPEG file of VOC's archive."""
        return _Opened(_stored_examples(self.name, self.data_dir, self.split)[self.place]["image"])


class _Opened(io.BytesIO):
    """Bytes with the attributes of a file that `BytesIO` lacks."""

    mode = "rb"
    name = "<array_record>"


class Example(NamedTuple):
    """One image, without its pixels.

    Attributes:
        split: TFDS's name of the split.
        place: position in the split, from 0.
        id: VOC's name of the image.
        objects: objects of VOC's annotation; empty if the image's size cannot be read.
    """

    split: str
    place: int
    id: str
    objects: tuple[AnnotatedObject, ...]


def undo_rounding(fractions: Float32[np.ndarray, "n 4"], size: tuple[int, int]) -> Float64[np.ndarray, "n 4"]:
    """Pixels from float32 fractions of an image's height and width, without the rounding.

    Args:
        fractions: corners `[y1, x1, y2, x2]` in [0, 1].
        size: (height, width) of the image.

    Returns:
        Corners in pixels; whole numbers where the float32 values allow one.

    Example:
        >>> undo_rounding(np.float32([[97 / 333, 156 / 500, 270.5 / 333, 351 / 500]]), (333, 500)).round(4).tolist()
        [[97.0, 156.0, 270.5, 351.0]]
    """
    extent = np.array([*size, *size], np.float64)
    pixels = fractions.astype(np.float64) * extent
    whole = np.round(pixels)
    return np.where(np.abs(pixels - whole) <= extent * 2.0**-24, whole, pixels)


@cache
def read_examples(name: str, data_dir: Path, split: str) -> tuple[Example, ...]:
    """Read the examples of a split, once per process: 0.6 s for 5,000 images of 90 kB in the file system's cache.

    Args:
        name: name of the data set.
        data_dir: TFDS's folder of data sets.
        split: TFDS's name of the split.

    Raises:
        ValueError: if the files are damaged, and as `open_prepared`.
    """
    stored = _stored_examples(name, data_dir, split)
    class_names = open_prepared(name, data_dir).info.features["objects"]["label"].names
    try:
        return tuple(_example(split, place, stored[place], class_names) for place in range(len(stored)))
    except RuntimeError as error:  # from array_record, which checks all data by checksums
        raise _damaged(name, data_dir, f"the files of {split}: {error}") from error


def _example(split: str, place: int, stored: dict[str, Any], class_names: Sequence[str]) -> Example:
    name = stored["image/filename"].decode().removesuffix(".jpg")
    size = _size(stored["image"])
    if size is None:
        return Example(split, place, name, ())
    objects = stored["objects"]
    pixels = undo_rounding(np.asarray(objects["bbox"], np.float32).reshape(-1, 4), size).tolist()
    return Example(
        split,
        place,
        name,
        tuple(
            AnnotatedObject(class_names[int(label)], (xmin, ymin, xmax, ymax), bool(difficult))
            for (ymin, xmin, ymax, xmax), label, difficult in zip(
                pixels, objects["label"], objects["is_difficult"], strict=True
            )
        ),
    )


def _size(encoded: bytes) -> tuple[int, int] | None:
    """Image size (height, width); None if the header cannot be read, which is reported when the image is decoded."""
    try:
        width, height = JpegImageFile(io.BytesIO(encoded)).size
    except Exception:  # Pillow may raise any type
        return None
    return height, width


@cache
def _stored_examples(name: str, data_dir: Path, split: str) -> Any:
    """Sequence of TFDS's examples, with encoded images."""
    keep_encoded = {"image": import_tfds(name).decode.SkipDecoding()}
    return open_prepared(name, data_dir).as_data_source(split, decoders=keep_encoded)


@cache
def open_prepared(name: str, data_dir: Path) -> Any:
    """TFDS's builder of a data set. The data set is prepared first if necessary.

    Raises:
        ValueError: if packages are missing, or the prepared files are damaged or in another file format.
        OSError: if it cannot be prepared.
    """
    builder = _open_builder(name, data_dir)
    if not builder.is_prepared():
        if importlib.util.find_spec("tensorflow") is None:  # checks without importing
            raise _not_installed(name, "prepared", "No module named 'tensorflow'")
        prepare(name, data_dir)
        builder = _open_builder(name, data_dir)
    return builder


def _open_builder(name: str, data_dir: Path) -> Any:
    tfds = import_tfds(name)
    from google.protobuf.json_format import ParseError

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except ImportError as error:
        raise _not_installed(name, "read", error) from error
    except ParseError as error:
        raise _damaged(name, data_dir, error) from error
    except ValueError as error:
        if "File format is already set" not in str(error):
            raise
        raise ValueError(
            f"{data_dir / name} is prepared in a format that only TensorFlow reads: set $TFDS_DATA_DIR to another "
            f"folder. Move {data_dir / 'downloads'} there to avoid a new download"
        ) from error


def import_tfds(name: str) -> Any:
    """Import TensorFlow Datasets, which takes 0.3 s and does not import TensorFlow.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise _not_installed(name, "read", error) from error
    return tensorflow_datasets


def _not_installed(name: str, what: str, error: object) -> ValueError:
    return ValueError(f'--data {name} is {what} by TensorFlow Datasets ({error}): pip install -e ".[tfds]"')


def _damaged(name: str, data_dir: Path, error: object) -> ValueError:
    return ValueError(
        f"{data_dir / name} is damaged: {error}. Delete that folder, and it is prepared again from the archives in "
        f"{data_dir / 'downloads'}"
    )
