"""Image files to square uint8 RGB arrays.

`image_formats` has the formats, told apart by their first bytes whatever the file is called. A camera's EXIF
orientation is applied if the boxes refer to the picture as a person sees it, and not if they refer to the pixels as
they are stored, as PASCAL VOC's do. Files are decoded by threads, since Pillow gives up the interpreter's lock while it
decodes and resizes; processes were no faster and cannot share the output array.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from tqdm import tqdm

from jaxssd.data import image_formats
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


class Drawn(NamedTuple):
    """What the boxes of an image say about the picture they were drawn on.

    Attributes:
        stated_size: (height, width) of it, if the annotation says.
        reach: largest y and x of the boxes in pixels; None where they are no pixels.
    """

    stated_size: tuple[int, int] | None
    reach: tuple[float, float] | None


Upright = bool | Drawn
"""Whether to apply the EXIF orientation; or what is known of the boxes, which shows whether they were drawn on the
picture as it is stored or as it is shown."""

Fit = Literal["stored", "shown", "either"]
"""The picture on which boxes were drawn: as it is stored, as EXIF turns it, or nothing tells."""

_SLACK = 1.0
"""Pixels by which a box may cross the edge of the picture it was drawn on."""

_BACK = {6: 8, 8: 6}
"""Orientation that undoes another; half turns and mirrors undo themselves."""

MARGIN = (124, 116, 104)
"""Colour of a letterbox's margins: ImageNet's mean, which is about zero once normalised."""


@runtime_checkable
class ImageFile(Protocol):
    """A `Path`, or anything else that opens as a file of bytes."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The encoded image, from its start."""


class Decoded(NamedTuple):
    """What is known of an image once it is decoded.

    Attributes:
        size: (height, width).
        fit: the picture that the boxes fit, of an image that EXIF turns or mirrors; else None. Its size tells only
            quarter turns, so other ones fit either.
        turned: whether it was turned because the boxes show it.
        notes: what was odd about its pixels, each of the form `kind: detail`.
    """

    size: tuple[int, int]
    fit: Fit | None = None
    turned: bool = False
    notes: tuple[str, ...] = ()


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
) -> tuple[UInt8[np.ndarray, "size size 3"], Decoded]:
    """Read one image and make it a square.

    Transparent pixels show white. Of 16 bits the upper 8 of those in use are kept. A JPEG whose last bytes are missing
    is read if half of its rows are there.

    Args:
        file: of one of the formats of `image_formats`.
        size: height and width of the result in pixels.
        aspect: how an image that is no square becomes one; the default changes its shape, as the lesson does.
        upright: whether to apply the EXIF orientation.

    Returns:
        `[size, size, 3]` and what is known of the image, its own (height, width) above all.

    Raises:
        UnreadableImage: if the file is missing, damaged, of another format, or beyond one of the limits above.
    """
    with _opened(file) as (image, reader):
        orientation, found = _orientation(image), _by_header(image, upright)
        turned = found.turned or upright is True
        turns_itself = image_formats.turns_itself(image)
        image, notes = image_formats.load(image, reader, draft=(2 * size, 2 * size))
        if turned != turns_itself:
            _turn(image, orientation if turned else _BACK.get(orientation, orientation))
        return _square(image, size, aspect, found.size), found._replace(notes=tuple(notes))


def find_fit(stored: tuple[int, int], drawn: Drawn) -> Fit:
    """The picture that boxes were drawn on, if its EXIF orientation is a quarter turn.

    Args:
        stored: (height, width) of the pixels as they are stored.
        drawn: what is known of the boxes.

    Returns:
        By what the annotation states, where that is the size of one of the two; then by where the boxes lie. These
        come first if they do not lie in the stored picture: some tools state its size and draw on the other.

    Example:
        >>> find_fit((100, 200), Drawn(stated_size=None, reach=(180.0, 50.0)))
        'shown'
    """
    shown = stored[::-1]
    if drawn.stated_size == shown != stored:
        return "shown"
    in_stored, in_shown = (
        drawn.reach is None or all(far <= side + _SLACK for far, side in zip(drawn.reach, size, strict=True))
        for size in (stored, shown)
    )
    if in_stored and drawn.stated_size == stored != shown:
        return "stored"
    return "either" if in_stored == in_shown else "stored" if in_stored else "shown"


def stored_size(file: ImageFile) -> tuple[int, int]:
    """(height, width) of an image as it is stored, by its header alone; raises as `decode` does."""
    with _opened(file) as (image, _):
        return image_formats.stored_size(image)


def decode_photograph(
    file: ImageFile, size: int, aspect: Aspect = "squash"
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "H W 3"]]:
    """Read one photograph as a person sees it, with the EXIF orientation applied.

    Args:
        file: of one of the formats of `image_formats`.
        size: height and width of the square copy in pixels.
        aspect: how the photograph becomes a square.

    Returns:
        The square copy for the network, and the photograph itself for a picture.

    Raises:
        UnreadableImage: as `decode` does.
    """
    with _opened(file) as (image, reader), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata
        orientation = 1 if image_formats.turns_itself(image) else _orientation(image)
        image, _ = image_formats.load(image, reader, draft=None)
        _turn(image, orientation)
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
) -> list[Decoded | UnreadableImage]:
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
        For each file what is known of it, or why it cannot be read.
    """

    def decode_row(row: int) -> Decoded:
        out[row], decoded = decode(files[row], out.shape[1], aspect, upright=upright[row] if upright else False)
        return decoded

    return _map_rows(decode_row, len(files), workers, progress)


def inspect_all(
    files: Sequence[ImageFile], upright: Sequence[Upright], *, workers: int | None = None
) -> list[Decoded | UnreadableImage]:
    """What `decode_all` finds out about images, by their headers alone."""

    def inspect_row(row: int) -> Decoded:
        with _opened(files[row]) as (image, _):
            return _by_header(image, upright[row])

    return _map_rows(inspect_row, len(files), workers, progress=False)


def _map_rows(
    read: Callable[[int], Decoded], count: int, workers: int | None, progress: bool
) -> list[Decoded | UnreadableImage]:
    """Read each row, several at a time."""

    def read_row(row: int) -> Decoded | UnreadableImage:
        try:
            return read(row)
        except UnreadableImage as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata; set here because filters are not thread-safe
        rows = pool.map(read_row, range(count))
        return list(tqdm(rows, "decoding", count, unit=" images", disable=None if progress else True))


@contextmanager
def _opened(file: ImageFile) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """An image whose header is read and whose size is bearable, and its file; what goes wrong is `UnreadableImage`."""
    try:
        with file.open("rb") as content, _PatientReader(content) as reader:  # type: ignore[arg-type]
            reader.length = reader.seek(0, os.SEEK_END)
            if reader.length > MAX_BYTES:
                raise UnreadableImage("oversized", f"{reader.length:,} bytes, the limit is {MAX_BYTES:,}")
            reader.seek(0)
            start = reader.read(image_formats.START_BYTES)
            reader.seek(0)
            _require_bearable(*image_formats.claimed_size(start))
            image = image_formats.image_class(start)(reader)
            reader.in_header = False
            _require_bearable(*image.size)
            if (tile := image_formats.tile_pixels(image)) > MAX_PIXELS:
                raise UnreadableImage("oversized", f"tiles of {tile:,} pixels, the limit is {MAX_PIXELS:,}")
            yield image, reader
    except FileNotFoundError as error:
        raise UnreadableImage("missing", "no such file") from error
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged files, and promise none
        raise UnreadableImage("broken", f"{type(error).__name__}: {error}") from error


def _require_bearable(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit is {MAX_PIXELS:,}")
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit for a side is {MAX_SIDE:,}")


class _PatientReader(io.BufferedReader):
    """A file whose header is to be short, and that is not read in any number of pieces."""

    in_header = True
    length = 0
    _reads = 0
    _read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise UnreadableImage("oversized", f"it is in more than {MAX_READS:,} pieces")
        if self.in_header and self._read_bytes > MAX_HEADER_BYTES:
            raise UnreadableImage("oversized", f"before its pixels are more than {MAX_HEADER_BYTES:,} bytes")
        left = max(self.length - self.tell(), 0)  # room is made for what is asked for, so it is not more than there is
        data = super().read(left if size is None or size < 0 else min(size, left))
        self._read_bytes += len(data)
        return data


def _orientation(image: Image.Image) -> int:
    """EXIF's, from 1 (shown as it is stored) to 8; from 5 on it exchanges the sides."""
    if image_formats.EXIF_KEYS.isdisjoint(image.info) and not image_formats.turns_itself(image):
        return 1  # asked first, because it is so of most, and to look for the orientation takes time
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and orientation in range(1, 9) else 1


def _by_header(image: Image.Image, upright: Upright) -> Decoded:
    """What is known of an image before its pixels are read."""
    stored, orientation = image_formats.stored_size(image), _orientation(image)
    quarter = orientation in (5, 6, 7, 8)
    fit: Fit | None = None
    if orientation != 1 and not isinstance(upright, bool):
        fit = find_fit(stored, upright) if quarter else "either"
    turned = fit == "shown" or upright is True
    original = stored[::-1] if turned and quarter else stored
    return Decoded(original, fit, fit == "shown")


def _turn(image: Image.Image, orientation: int) -> None:
    """Turn a decoded image as this orientation says, whatever its own is; a copy would take as much memory again."""
    if orientation != 1:
        image.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(image, in_place=True)


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
    if image.has_transparency_data:
        canvas = Image.new("RGBA", size, "white")
        canvas.alpha_composite(_resample(image.convert("RGBA"), size, part))
        return canvas.convert("RGB")
    return _resample(image.convert("RGB"), size, part)


def _resample(image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float] | None) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, box=part)  # Pillow widens the filter when it shrinks
