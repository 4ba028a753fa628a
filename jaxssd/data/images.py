"""Decode image files to uint8 RGB arrays of the network's input size.

Formats are recognised by their first bytes, see `image_formats`. An EXIF orientation is applied if the boxes refer to
the picture as it is shown, and not if they refer to the pixels as they are stored, as PASCAL VOC's do. Images are
decoded in threads, because Pillow releases Python's lock; processes were not faster and cannot share the output array.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from tqdm import tqdm

from jaxssd.config import Aspect
from jaxssd.data import image_formats
from jaxssd.data.formats.base import ImageFile
from jaxssd.data.image_limits import UnreadableImage, opened_image
from jaxssd.data.placement import from_canvas, place_images
from jaxssd.ops.arrays import Size, as_pair


class Drawn(NamedTuple):
    """Evidence for the picture that boxes were drawn on: stored or rotated.

    Attributes:
        stated_size: (height, width) in the annotation, or None.
        extent: largest y and x of the boxes in pixels; None for boxes in fractions.
    """

    stated_size: tuple[int, int] | None
    extent: tuple[float, float] | None


Upright = bool | Drawn
"""True to apply the EXIF orientation, False to ignore it, or evidence that decides it."""

Fit = Literal["stored", "shown", "either"]
"""Picture that boxes were drawn on: as it is stored, as it is shown, or undecided."""

_SLACK = 1.0
"""Pixels by which a box may cross the edge of the picture it was drawn on."""

_INVERSE = {6: 8, 8: 6}
"""Orientation that undoes another one. Half turns and mirrors undo themselves."""

MARGIN = (124, 116, 104)
"""Colour of a letterbox's margins: ImageNet's mean, about zero after normalisation."""


class Decoded(NamedTuple):
    """Properties of a decoded image.

    Attributes:
        size: (height, width).
        fit: picture that the boxes fit; None for an image without an orientation. Only quarter turns change the size,
            so for others it is `either`.
        turned: True if the image was turned because of its boxes.
        notes: notes on odd pixels, each of the form `kind: detail`.
    """

    size: tuple[int, int]
    fit: Fit | None = None
    turned: bool = False
    notes: tuple[str, ...] = ()


def decode(
    file: ImageFile, size: Size, aspect: Aspect = "squash", *, upright: Upright = False
) -> tuple[UInt8[np.ndarray, "height width 3"], Decoded]:
    """Decode one image to the network's input size.

    Transparent pixels become white. 16-bit channels are reduced to the upper 8 of the bits in use. A JPEG that ends
    early is read if half of its rows are there.

    Args:
        file: image file, see `image_formats`.
        size: one side of the result in pixels, or its height and width.
        aspect: resizing to that size.
        upright: True to apply the EXIF orientation, or evidence that decides it.

    Returns:
        The pixels `[height, width, 3]`, and the properties of the image, such as its own (height, width).

    Raises:
        UnreadableImage: if the file is missing, damaged, of another format, or beyond one of `image_limits`.
    """
    with opened_image(file) as (image, reader):
        orientation, found = _orientation(image), _by_header(image, upright)
        turned = found.turned or upright is True
        turns_itself = image_formats.turns_itself(image)
        side = 2 * max(as_pair(size))  # along both axes: the image may be turned
        image, notes = image_formats.load(image, reader, draft=(side, side))
        if turned != turns_itself:
            _turn(image, orientation if turned else _INVERSE.get(orientation, orientation))
        return fit_canvas(image, size, aspect, found.size), found._replace(notes=tuple(notes))


def find_fit(stored: tuple[int, int], drawn: Drawn) -> Fit:
    """Find the picture that boxes were drawn on, for an image that its EXIF orientation turns by a quarter.

    A stated size decides if it is that of one of the two pictures, otherwise the boxes do. Boxes that do not lie in the
    stored picture outweigh its stated size: some tools state that size and draw on the shown picture.

    Args:
        stored: (height, width) of the pixels as they are stored.
        drawn: evidence of the annotation.

    Returns:
        The picture, or `either`.

    Example:
        >>> find_fit((100, 200), Drawn(stated_size=None, extent=(180.0, 50.0)))
        'shown'
    """
    shown = stored[::-1]
    if drawn.stated_size == shown != stored:
        return "shown"
    in_stored, in_shown = (
        drawn.extent is None or all(far <= side + _SLACK for far, side in zip(drawn.extent, size, strict=True))
        for size in (stored, shown)
    )
    if in_stored and drawn.stated_size == stored != shown:
        return "stored"
    return "either" if in_stored == in_shown else "stored" if in_stored else "shown"


def stored_size(file: ImageFile) -> tuple[int, int]:
    """Stored (height, width) of an image, read from its header alone; raises as `decode` does."""
    with opened_image(file) as (image, _):
        return image_formats.stored_size(image)


def decode_photograph(
    file: ImageFile, size: Size, aspect: Aspect = "squash"
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "H W 3"]]:
    """Decode one photograph with its EXIF orientation applied.

    Args:
        file: image file, see `image_formats`.
        size: one side of the copy in pixels, or its height and width.
        aspect: resizing to that size.

    Returns:
        The copy for the network, and the photograph in its own size.

    Raises:
        UnreadableImage: as `decode` does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata
        image = read_photograph(file)
        return fit_canvas(image, size, aspect), as_rgb(image)


def read_photograph(file: ImageFile, *, upright: bool = True) -> Image.Image:
    """Decode one photograph at its own size.

    Args:
        file: image file, see `image_formats`.
        upright: True to apply the EXIF orientation.

    Returns:
        The photograph with 8 bits a channel, for `as_rgb` and `fit_canvas`.

    Raises:
        UnreadableImage: as `decode` does.
    """
    with opened_image(file) as (image, reader):
        orientation, turns_itself = _orientation(image), image_formats.turns_itself(image)
        image, _ = image_formats.load(image, reader, draft=None)
        if upright != turns_itself:
            _turn(image, orientation if upright else _INVERSE.get(orientation, orientation))
        return image


def as_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels of an image as red, green and blue; transparent ones become white."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.asarray(image)  # the usual case, without two more copies
    return np.asarray(_resize(image, image.size))


def decode_all(
    files: Sequence[ImageFile],
    out: UInt8[np.ndarray, "N H W 3"],
    *,
    aspect: Aspect = "squash",
    upright: Sequence[Upright] = (),
    workers: int | None = None,
    progress: bool = True,
) -> list[Decoded | UnreadableImage]:
    """Decode files into the rows of an array, several at a time.

    Memory on top of `out` is that of one full image for each worker.

    Args:
        files: image files, one for each row.
        out: array that is filled in place; rows of unreadable files stay as they are.
        aspect: resizing to the size of those rows.
        upright: argument of `decode` for each file; empty applies no orientation.
        workers: number of threads; None for one per core.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        Properties of each image, or the error of its file.
    """

    def decode_row(row: int) -> Decoded:
        out[row], decoded = decode(files[row], out.shape[1:3], aspect, upright=upright[row] if upright else False)
        return decoded

    return _map_rows(decode_row, len(files), workers, progress)


def inspect_all(
    files: Sequence[ImageFile], upright: Sequence[Upright], *, workers: int | None = None
) -> list[Decoded | UnreadableImage]:
    """Read the properties of images from their headers, without decoding them."""

    def inspect_row(row: int) -> Decoded:
        with opened_image(files[row]) as (image, _):
            return _by_header(image, upright[row])

    return _map_rows(inspect_row, len(files), workers, progress=False)


def _map_rows(
    read: Callable[[int], Decoded], count: int, workers: int | None, progress: bool
) -> list[Decoded | UnreadableImage]:
    """Call a function for each row, in several threads."""

    def read_row(row: int) -> Decoded | UnreadableImage:
        try:
            return read(row)
        except UnreadableImage as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow warns about metadata; set here because filters are not thread-safe
        rows = pool.map(read_row, range(count))
        return list(tqdm(rows, "decoding", count, unit=" images", disable=None if progress else True))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, from 1 (shown as stored) to 8; from 5 on it swaps the sides."""
    if image_formats.EXIF_KEYS.isdisjoint(image.info) and not image_formats.turns_itself(image):
        return 1  # the common case; looking for the orientation takes time
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and orientation in range(1, 9) else 1


def _by_header(image: Image.Image, upright: Upright) -> Decoded:
    """Properties of an image before its pixels are read."""
    stored, orientation = image_formats.stored_size(image), _orientation(image)
    quarter = orientation in (5, 6, 7, 8)
    fit: Fit | None = None
    if orientation != 1 and not isinstance(upright, bool):
        fit = find_fit(stored, upright) if quarter else "either"
    turned = fit == "shown" or upright is True
    original = stored[::-1] if turned and quarter else stored
    return Decoded(original, fit, fit == "shown")


def _turn(image: Image.Image, orientation: int) -> None:
    """Rotate a decoded image in place by this orientation, not its own."""
    if orientation != 1:
        image.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(image, in_place=True)


def fit_canvas(
    image: Image.Image, size: Size, aspect: Aspect = "squash", original: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Resize an image to the network's input, the canvas.

    Args:
        image: decoded image.
        size: one side of the canvas in pixels, or its height and width.
        aspect: resizing to that size.
        original: (height, width) of the whole image, of which `image` may be a smaller version. Default: its own.

    Returns:
        The canvas, with the image at the placement of its original size.
    """
    original = original or (image.height, image.width)
    height, width = as_pair(size)
    placement = place_images(np.array(original), size, aspect)
    if aspect == "letterbox":
        top, left, bottom, right = np.round(placement * (height, width, height, width)).astype(int).tolist()
        canvas = Image.new("RGB", (width, height), MARGIN)
        canvas.paste(_resize(image, (right - left, bottom - top)), (left, top))
        return np.asarray(canvas)
    y1, x1, y2, x2 = from_canvas(np.array([0.0, 0, 1, 1]), placement)  # the part that the canvas shows
    part = (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)
    return np.asarray(_resize(image, (width, height), part))


def _resize(
    image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Resize the image, or a part of it, to RGB of this (width, height)."""
    if image.has_transparency_data:
        canvas = Image.new("RGBA", size, "white")
        canvas.alpha_composite(_resample(image.convert("RGBA"), size, part))
        return canvas.convert("RGB")
    return _resample(image.convert("RGB"), size, part)


def _resample(image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float] | None) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, box=part)  # Pillow widens the filter when it shrinks
