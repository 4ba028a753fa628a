"""Limits of size for opening image files, so that a damaged or malicious file cannot use up the memory."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal

from PIL import Image

from jaxssd.data import image_formats
from jaxssd.data.formats.base import ImageFile

MAX_PIXELS = 64_000_000
"""Largest number of pixels of an image, checked by its header: a few kilobytes can unpack into gigabytes."""

MAX_SIDE = 65_535
"""Largest side in pixels, JPEG's own limit. A PNG could be longer, and each row costs memory too."""

MAX_BYTES = 256_000_000
"""Largest size of a file: `MAX_PIXELS` with transparency, uncompressed. A comment is read into memory as a whole."""

MAX_HEADER_BYTES = 32_000_000
"""Largest size of what precedes the pixels. Colour profiles have up to 17 million bytes."""

MAX_READS = 300_000
"""Largest number of reads of a file. A photograph needs a thousand, a PNG of `MAX_PIXELS` in chunks of 8 kB 70,000."""


class UnreadableImage(ValueError):
    """Image file that cannot be decoded.

    Attributes:
        kind: one of three causes.
    """

    def __init__(self, kind: Literal["broken", "missing", "oversized"], detail: str) -> None:
        """Create the error with its cause and a message."""
        super().__init__(detail)
        self.kind = kind


@contextmanager
def opened_image(file: ImageFile) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open an image whose header is within the limits, and its file; any failure is an `UnreadableImage`."""
    try:
        with file.open("rb") as content, _LimitedReader(content) as reader:  # type: ignore[arg-type]
            reader.length = reader.seek(0, os.SEEK_END)
            if reader.length > MAX_BYTES:
                raise UnreadableImage("oversized", f"{reader.length:,} bytes, the limit is {MAX_BYTES:,}")
            reader.seek(0)
            start = reader.read(image_formats.START_BYTES)
            reader.seek(0)
            _check_size(*image_formats.claimed_size(start))
            image = image_formats.image_class(start)(reader)
            reader.in_header = False
            _check_size(*image.size)
            if (tile := image_formats.tile_pixels(image)) > MAX_PIXELS:
                raise UnreadableImage("oversized", f"tiles of {tile:,} pixels, the limit is {MAX_PIXELS:,}")
            yield image, reader
    except FileNotFoundError as error:
        raise UnreadableImage("missing", "no such file") from error
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise UnreadableImage("broken", f"{type(error).__name__}: {error}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit is {MAX_PIXELS:,}")
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit for a side is {MAX_SIDE:,}")


class _LimitedReader(io.BufferedReader):
    """File with limits on its header and on the number of reads."""

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
        left = max(self.length - self.tell(), 0)  # Pillow allocates what it asks for
        data = super().read(left if size is None or size < 0 else min(size, left))
        self._read_bytes += len(data)
        return data
