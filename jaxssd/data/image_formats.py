"""Formats of image files, recognised by their first bytes and opened by Pillow's class for that format alone.

File names do not matter. Formats that run other programs (EPS) or hold no pixels are not opened.
"""

import io
import sys
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

START_BYTES = 30
"""Number of first bytes that show the format, and the size of a WebP."""

NAMES = "JPEG, PNG, WebP, BMP, TIFF or GIF"

_CLASSES: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
}

# Pillow unpacks colour profiles and texts, and refuses a whole PNG for a profile of more than 1 MB. `images` limits the
# packed bytes; these are limits of the unpacked ones.
PngImagePlugin.MAX_TEXT_CHUNK = 32_000_000
PngImagePlugin.MAX_TEXT_MEMORY = 64_000_000

_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS, which `git lfs pull` replaces by the image",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\1\0": "an icon",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"P4": "PBM",
    b"P5": "PGM",
    b"P6": "PPM",
    b"8BPS": "Photoshop's",
    b"<": "text, such as the page that a failed download leaves",
    b"{": "text, such as the answer of a server that has no such image",
}
"""Other formats that are found in the place of images, for the message."""

EXIF_KEYS = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
"""Keys under which Pillow keeps metadata with an orientation."""

_HEIF = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"}

_LEAST_SHARE = 0.5
"""Smallest share of rows of a JPEG that ends early."""

_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323  # TIFF's tags

_LOW_BYTES = {
    "LA;16B": "RGBA",  # grey's bytes are read as red and green, and alpha's as blue and alpha
    **{
        f"{mode};16{order}": f"{mode};16{other}"
        for mode in ("RGB", "RGBA", "RGBX")
        for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
    },
}
"""Pillow's layouts of 16 bits a channel, and layouts that keep the lower byte instead of the upper one."""

_END_OF_JPEG = b"\xff\xd9"

_SCAN = b"\xff\xda"

_ANYTHING = bytes(range(1, 255)) * 4
"""Filler for missing pixels of a JPEG, in which no byte begins another segment."""


def image_class(start: bytes) -> type[ImageFile]:
    """Find Pillow's class for a file.

    Args:
        start: first `START_BYTES` bytes of the file.

    Raises:
        ValueError: if the format is none of these.

    Example:
        >>> image_class(b"GIF89a...").__name__
        'GifImageFile'
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile
    for signature, found in _CLASSES.items():
        if start.startswith(signature):
            return found
    raise ValueError(f"neither {NAMES}{_what_else(start)}")


def _what_else(start: bytes) -> str:
    """Name of another format, as the end of a message."""
    if not start:
        return ": it is empty"
    if start[4:8] == b"ftyp":
        return f": it looks like {'HEIC or AVIF' if start[8:12] in _HEIF else 'a film'}"
    other = next((name for signature, name in _OTHERS.items() if start.lstrip().startswith(signature)), None)
    return f": it looks like {other}" if other else ""


def claimed_size(start: bytes) -> tuple[int, int]:
    """Read (width, height) of a WebP from its header, because Pillow allocates its pixels while it opens the file.

    Args:
        start: first `START_BYTES` bytes of the file.

    Returns:
        The size; (0, 0) for other formats, which Pillow opens without allocating pixels.
    """
    if image_class(start) is not WebPImageFile:
        return 0, 0
    kind = start[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF


def tile_pixels(image: Image.Image) -> int:
    """Pixels of a TIFF's tile, which are allocated for any size of the image; 0 without tiles."""
    if not isinstance(image, TiffImageFile):
        return 0
    return int(image.tag_v2.get(_TILE_WIDTH, 0)) * int(image.tag_v2.get(_TILE_LENGTH, 0))


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Stored (height, width) of an image that is not decoded yet."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2[_LENGTH], image.tag_v2[_WIDTH]
    return image.height, image.width


def turns_itself(image: Image.Image) -> bool:
    """True for TIFF, whose orientation Pillow applies itself."""
    return isinstance(image, TiffImageFile)


def load(image: Image.Image, file: BinaryIO, draft: tuple[int, int] | None) -> tuple[Image.Image, list[str]]:
    """Decode the pixels. A JPEG that ends early is kept if at least half of its rows are there.

    Args:
        image: opened image.
        file: file that it was opened from.
        draft: sufficient (width, height) of a JPEG; detail that a resize would average away is not decoded.

    Returns:
        The image with 8 bits a channel, and notes on odd pixels, each a few words and a detail.

    Raises:
        OSError: if the image is damaged.
    """
    notes: list[str] = []
    if draft:
        image.draft("RGB", draft)
    try:
        image.load()
    except OSError as error:
        if not isinstance(image, JpegImageFile) or "truncated" not in str(error):
            raise
        image, share = _load_cut_jpeg(file, draft)
        if share < _LEAST_SHARE:
            raise
        notes.append(f"repaired: the JPEG ends early, {share:.0%} of its rows are there")
    image, note = _to_eight_bits(image, file)
    return image, notes + ([note] if note else [])


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Reduce the channels of a decoded image to 8 bits, by the bits in use."""
    return _to_eight_bits(image, None)[0]


def _load_cut_jpeg(file: BinaryIO, draft: tuple[int, int] | None) -> tuple[Image.Image, float]:
    """Decode a JPEG that ends early, and find the share of its rows that are there.

    These are the rows that do not depend on the bytes that follow. A progressive JPEG with its first scan has all rows.
    """
    file.seek(0)
    JpegImageFile(file)
    first_scan = file.tell()
    file.seek(0)
    data = file.read()
    image = _decode_jpeg(data + _END_OF_JPEG, draft)
    if "progressive" in image.info and data.find(_SCAN, first_scan) >= 0:
        return image, 1.0
    other = _decode_jpeg(data + _ANYTHING + _END_OF_JPEG, draft)
    differs = (np.asarray(image) != np.asarray(other)).reshape(image.height, -1).any(axis=1)
    return image, int(differs.argmax()) / image.height if differs.any() else 1.0


def _decode_jpeg(data: bytes, draft: tuple[int, int] | None) -> Image.Image:
    image = JpegImageFile(io.BytesIO(data))
    if draft:
        image.draft("RGB", draft)
    image.load()
    return image


def _to_eight_bits(image: Image.Image, file: BinaryIO | None) -> tuple[Image.Image, str | None]:
    """Reduce channels of more than 8 bits, which Pillow would turn black or white, and note it."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0, posinf=0, neginf=0).clip(0)
        peak = float(values.max(initial=0))
        factor = 255 if peak <= 1 else 1 if peak <= 255 else 255 / peak
        return Image.fromarray((values * factor).astype(np.uint8)), f"of floating-point numbers: up to {peak:.6g}"
    if image.mode.startswith("I"):
        grey, note = _shift(np.asarray(image))
        return Image.fromarray(grey), note
    if file and isinstance(image, PngImageFile | TiffImageFile) and image.mode in ("RGB", "RGBA"):
        return _low_bits_of_colour(image, file)
    return image, None


def _shift(values: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Keep the upper 8 of the bits in use: cameras store 10 or 12 in 16."""
    peak = int(values.max(initial=0))
    if peak >= 1 << 16:
        return (values.clip(0) * (255 / peak)).astype(np.uint8), f"of more than 16 bits: up to {peak:,}"
    bits = next(bits for bits in (8, 10, 12, 16) if peak < 1 << bits)
    note = f"of {bits} bits in 16: up to {peak}" if peak > 0 and bits < 16 else None
    return (values.clip(0) >> (bits - 8)).astype(np.uint8), note


def _low_bits_of_colour(image: PngImageFile | TiffImageFile, file: BinaryIO) -> tuple[Image.Image, str | None]:
    """Reduce a 16-bit colour image by the bits in use: Pillow keeps only the upper 8."""
    highest = np.array(image.getextrema())[:3, 1].max()
    if "transparency" in image.info or highest > 15:
        return image, None
    file.seek(0)
    low = type(image)(file)
    layouts = {str(tile.args[0] if isinstance(tile.args, tuple) else tile.args) for tile in low.tile}
    if not any(";16" in layout for layout in layouts):
        return image, None  # it has 8 bits and is dark
    if not layouts <= _LOW_BYTES.keys():
        return image, f"dark: of 16 bits the upper 8 reach {highest}, and the others cannot be read"
    low.tile = [tile._replace(args=_with_low_bytes(tile.args)) for tile in low.tile]
    low.load()
    lower = np.asarray(low)[..., [1, 1, 1, 3] if "LA;16B" in layouts else slice(None)]
    values = np.asarray(image).astype(np.uint16) << 8 | lower
    colour, note = _shift(values[..., :3])
    if image.mode == "RGB":
        return Image.fromarray(colour), note
    alpha = values[..., 3:]
    eight = _shift(alpha)[0] if alpha.max() < 1 << 12 else (alpha >> 8).astype(np.uint8)
    return Image.fromarray(np.concatenate([colour, eight], axis=-1)), note


def _with_low_bytes(args: Any) -> Any:
    """Arguments of a tile's decoder, to keep the lower byte of 16 bits."""
    return (_LOW_BYTES[args[0]], *args[1:]) if isinstance(args, tuple) else _LOW_BYTES[args]
