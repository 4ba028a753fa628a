"""Image files to square uint8 RGB arrays.

Only JPEG and PNG are read, told apart by their first bytes whatever the file is called. A camera's EXIF orientation is
applied if the boxes refer to the picture as a person sees it, and not if they refer to the pixels as they are stored,
as PASCAL VOC's do. Files are decoded by threads, since Pillow gives up the interpreter's lock while it decodes and
resizes; processes were no faster and cannot share the output array.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from tqdm import tqdm

from jaxssd.data.placement import Aspect, from_canvas, place_images

MAX_PIXELS = 64_000_000
"""Images with more are refused once their header is read: a few kilobytes can unfold into gigabytes."""

MAX_SIDE = 65_535
"""Pixels; what JPEG can say. In PNG a column of one pixel's width could be longer, and each row costs memory too."""

MAX_BYTES = 256_000_000
"""Of a file: `MAX_PIXELS` with transparency, not compressed. A comment is read into memory as a whole."""

MAX_HEADER_BYTES = 32_000_000
"""Before the pixels. Colour profiles end at 17 million; joining parts of EXIF takes time by their number squared."""

MAX_READS = 300_000
"""Pieces in which a file is read: 64 kB of pixels, but also each comment, and each byte that belongs to no part of a
JPEG. A photograph needs a thousand, a PNG of `MAX_PIXELS` in parts of 8 kB seventy thousand."""

# Opening by class rather than with `Image.open` leaves Pillow's own limit, a warning that depends on global state, out.
_FORMATS = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile}


Upright = bool | tuple[int, int]
"""Whether to apply the EXIF orientation; given a (height, width), whether that is the size which the image then has and
which it does not have as it is stored."""

MARGIN = (124, 116, 104)
"""Colour of a letterbox's margins: ImageNet's mean, which is about zero once normalised."""


@runtime_checkable
class ImageFile(Protocol):
    """A `Path`, or anything else that opens as a file of bytes."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The encoded image, from its start."""


class UnreadableImage(ValueError):
    """A file that gives no image.

    Attributes:
        kind: in which of three ways.
    """

    def __init__(self, kind: Literal["broken", "missing", "oversized"], detail: str) -> None:
        """Of this kind, for this reason."""
        super().__init__(detail)
        self.kind = kind


def decode(
    file: ImageFile, size: int, aspect: Aspect = "squash", *, upright: Upright = False
) -> tuple[UInt8[np.ndarray, "size size 3"], tuple[int, int]]:
    """Read one image and make it a square.

    Transparent pixels show white; 16-bit grey keeps its upper 8 bits.

    Args:
        file: a JPEG or PNG file.
        size: height and width of the result in pixels.
        aspect: how an image that is no square becomes one; the default changes its shape, as the lesson does.
        upright: whether to apply the EXIF orientation.

    Returns:
        `[size, size, 3]` and the image's own (height, width).

    Raises:
        UnreadableImage: if the file is missing, is not a whole JPEG or PNG, or is beyond one of the limits above.
    """
    with _opened(file) as image:
        width, height = image.size
        turned = _turns(image, upright)
        image.draft("RGB", (2 * size, 2 * size))  # JPEG only: skips detail that the resize would average away
        original = (width, height) if turned and _swaps_sides(image) else (height, width)
        if turned:
            ImageOps.exif_transpose(image, in_place=True)  # a copy would take as much memory again
        return _square(image, size, aspect, original), original


def stored_size(file: ImageFile) -> tuple[int, int]:
    """(height, width) of an image as it is stored, by its header alone; raises as `decode` does."""
    with _opened(file) as image:
        width, height = image.size
        return height, width


def decode_photograph(
    file: ImageFile, size: int, aspect: Aspect = "squash"
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "H W 3"]]:
    """Read one photograph as a person sees it, with the EXIF orientation applied.

    Args:
        file: a JPEG or PNG file.
        size: height and width of the square copy in pixels.
        aspect: how the photograph becomes a square.

    Returns:
        The square copy for the network, and the photograph itself for a picture.

    Raises:
        UnreadableImage: as `decode` does.
    """
    with _opened(file) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata
        ImageOps.exif_transpose(image, in_place=True)
        photograph = np.asarray(_resize(image, image.size))
        return _square(image, size, aspect, photograph.shape[:2]), photograph


def decode_all(
    files: Sequence[ImageFile],
    out: UInt8[np.ndarray, "N S S 3"],
    *,
    aspect: Aspect = "squash",
    upright: Sequence[Upright] = (),
    workers: int | None = None,
    progress: bool = True,
) -> list[tuple[int, int] | UnreadableImage]:
    """`decode` each file into its row of `out`, several at a time.

    Memory on top of `out` is that of one full image for each worker.

    Args:
        files: one for each row.
        out: filled in place; a row whose file is unreadable is left as it was.
        aspect: how images become squares.
        upright: for each file whether to apply its EXIF orientation; without it none is applied.
        workers: how many threads; None for as many as there are cores.
        progress: show a bar, if standard error is a terminal.

    Returns:
        For each file its (height, width), or why it cannot be read.
    """

    def decode_row(row: int) -> tuple[int, int] | UnreadableImage:
        try:
            turn = upright[row] if upright else False
            out[row], size = decode(files[row], out.shape[1], aspect, upright=turn)
        except UnreadableImage as error:
            return error
        return size

    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata; set here because filters are not thread-safe
        rows = pool.map(decode_row, range(len(files)))
        return list(tqdm(rows, "decoding", len(files), unit=" images", disable=None if progress else True))


@contextmanager
def _opened(file: ImageFile) -> Iterator[Image.Image]:
    """An image whose header is read and whose size is bearable; whatever goes wrong with it is an `UnreadableImage`."""
    try:
        with file.open("rb") as content, _PatientReader(content) as reader:  # type: ignore[arg-type]
            if (length := reader.seek(0, os.SEEK_END)) > MAX_BYTES:
                raise UnreadableImage("oversized", f"{length:,} bytes, the limit is {MAX_BYTES:,}")
            image = _open(reader)
            reader.in_header = False
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit is {MAX_PIXELS:,}")
            if max(width, height) > MAX_SIDE:
                raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit for a side is {MAX_SIDE:,}")
            yield image
    except FileNotFoundError as error:
        raise UnreadableImage("missing", "no such file") from error
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged files, and promise none
        raise UnreadableImage("broken", f"{type(error).__name__}: {error}") from error


class _PatientReader(io.BufferedReader):
    """A file whose header is to be short, and that is not read in any number of pieces."""

    in_header = True
    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise UnreadableImage("oversized", f"it is in more than {MAX_READS:,} pieces")
        if self.in_header and self.tell() > MAX_HEADER_BYTES:
            raise UnreadableImage("oversized", f"before its pixels are more than {MAX_HEADER_BYTES:,} bytes")
        return super().read(size)


def _open(file: io.BufferedReader) -> Image.Image:
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    for signature, image_class in _FORMATS.items():
        if start.startswith(signature):
            return image_class(file)
    raise ValueError("neither JPEG nor PNG")


def _swaps_sides(image: Image.Image) -> bool:
    """Whether the EXIF orientation is a quarter turn, with or without a mirror."""
    return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)


def _turns(image: Image.Image, upright: Upright) -> bool:
    if isinstance(upright, bool):
        return upright
    return upright == image.size and upright != image.size[::-1] and _swaps_sides(image)


def _square(
    image: Image.Image, size: int, aspect: Aspect, original: tuple[int, int]
) -> UInt8[np.ndarray, "size size 3"]:
    """The canvas, with the image where `place_images` says for its `original` (height, width)."""
    placement = place_images(np.array(original), size, aspect)
    if aspect == "letterbox":
        top, left, bottom, right = (round(side * size) for side in placement)
        canvas = Image.new("RGB", (size, size), MARGIN)
        canvas.paste(_resize(image, (right - left, bottom - top)), (left, top))
        return np.asarray(canvas)
    y1, x1, y2, x2 = from_canvas(np.array([0.0, 0, 1, 1]), placement)  # the part that the canvas shows
    part = (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)
    return np.asarray(_resize(image, (size, size), part))


def _resize(
    image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """The image, or a part of it, as RGB of this (width, height)."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        canvas = Image.new("RGBA", size, "white")
        canvas.alpha_composite(_resample(image.convert("RGBA"), size, part))
        return canvas.convert("RGB")
    return _resample(image.convert("RGB"), size, part)


def _resample(image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float] | None) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, box=part)  # Pillow widens the filter when it shrinks
