"""Photographs in any form: files, folders, patterns, PIL images, and arrays."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jaxssd.data import image_formats
from jaxssd.data.formats.base import ImageFile
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.data.images import read_photograph
from jaxssd.data.photographs import find_photographs

_OPENED = threading.Lock()
"""Pillow decodes an open image in place, and several places of a batch may hold the same one."""


class Input(NamedTuple):
    """Photograph that is not decoded yet.

    Attributes:
        source: image file, PIL image, or array `[H, W, 3]` of uint8.
        name: name for messages: the path, or the number of an image without one.
        file: path of the photograph; None for one in memory.
        upright: True to apply a file's EXIF orientation.
    """

    source: Any
    name: str
    file: Path | None = None
    upright: bool = True

    def read(self) -> Image.Image:
        """Decode the photograph at its own size, with 8 bits a channel.

        Raises:
            UnreadableImage: if it cannot be decoded; the message begins with its name.
        """
        if isinstance(self.source, Image.Image):
            try:
                with _OPENED:
                    image = ImageOps.exif_transpose(self.source)
                return image_formats.in_eight_bits(image)
            except Exception as error:  # a file that Pillow opened may turn out to be damaged
                raise UnreadableImage("broken", f"{self.name}: {type(error).__name__}: {error}") from error
        if isinstance(self.source, np.ndarray):
            return Image.fromarray(self.source)
        try:
            return read_photograph(self.source, upright=self.upright)
        except UnreadableImage as error:
            raise UnreadableImage(error.kind, f"{self.name}: {error}") from error


def find_inputs(images: Any) -> Iterable[Input]:
    """Find the photographs of an argument.

    Args:
        images: one photograph or several: paths, of which folders and patterns stand for many; PIL images; arrays
            `[H, W, 3]` of uint8, of any library that NumPy can read.

    Returns:
        The photographs in order; a folder's are in alphabetical order. A list, unless the argument is an iterator,
        which is read one by one.

    Raises:
        TypeError: for anything else, or an array of another type or shape; the message has its number.
        ValueError: if a folder has no picture.
    """
    if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) <= 3:
        images = [images]
    if not isinstance(images, Iterable):
        images = [images]  # neither a photograph nor several: the error is that of one
    return _each(images) if isinstance(images, Iterator) else list(_each(images))


def _each(images: Iterable[Any]) -> Iterator[Input]:
    number = 0
    for image in images:
        if isinstance(image, str | Path):
            found: Iterable[Input] = (Input(file, str(file), file) for file in find_photographs([Path(image)]))
        else:
            found = [_in_memory(image, f"image {number}")]
        for one in found:
            number += 1
            yield one


def _in_memory(image: Any, name: str) -> Input:
    if isinstance(image, Image.Image | Input):
        return image if isinstance(image, Input) else Input(image, name)
    if isinstance(image, ImageFile):
        return Input(image, name)
    array = None
    with contextlib.suppress(Exception):  # an object of another library
        array = np.asarray(image) if hasattr(image, "__array__") else None
    if array is None:
        raise TypeError(
            f"{name} is of the type {type(image).__name__}, expected a path, a PIL image or an array [H, W, 3] of uint8"
        )
    if array.dtype != np.uint8:
        hint = ": (255 * image).astype(np.uint8) for values in [0, 1]" if array.dtype.kind == "f" else ""
        raise TypeError(f"{name} is an array of {array.dtype}, expected uint8 from 0 to 255{hint}")
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise TypeError(
            f"{name} has the shape {list(array.shape)}, expected [H, W, 3] for red, green and blue; PIL images may "
            "be grey or transparent"
        )
    return Input(array, name)
