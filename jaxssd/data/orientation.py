"""EXIF orientation: decide whether boxes were drawn on the picture as it is stored, or as it is shown."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from jaxssd.config import Aspect, Exif
from jaxssd.data.formats.base import Record
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.data.images import Decoded, Drawn, Fit, Upright, decode_all, find_fit, inspect_all


def upright_of(record: Record, exif: Exif) -> Upright:
    """True to apply the orientation, False to ignore it, or what the boxes show."""
    if exif != "auto":
        return exif == "apply"
    if record.upright:
        return True
    pixels = None if record.normalised or not len(record.boxes) else record.boxes[:, 2:].max(axis=0).tolist()
    return Drawn(record.stated_size, None if pixels is None else (pixels[0], pixels[1]))


def turn_undecided(
    records: Sequence[Record],
    others: Callable[[], Sequence[Record]],
    images: UInt8[np.ndarray, "..."],
    decoded: list[Decoded | UnreadableImage],
    aspect: Aspect,
    exif: Exif,
) -> None:
    """Turn images whose boxes fit both pictures, if the boxes of all decided images fit the turned one."""
    upright = [upright_of(record, exif) for record in records]
    own = _fits_of_boxes(upright, decoded)
    if "either" not in own or "stored" in own:
        return
    known = others()  # called only here, because few data sets have such images
    other_upright = [upright_of(record, exif) for record in known]
    found = inspect_all([record.image for record in known], other_upright)
    fits = _fits([*upright, *other_upright], [*decoded, *found])
    if "shown" not in fits or "stored" in fits:
        return
    for row in (row for row, _ in enumerate(records) if fits[row] == "either"):
        out = images[row : row + 1]
        (image,) = decode_all([records[row].image], out, aspect=aspect, upright=[True], workers=1, progress=False)
        decoded[row] = image._replace(fit="either", turned=True) if isinstance(image, Decoded) else image


def _fits(upright: Sequence[Upright], decoded: Sequence[Decoded | UnreadableImage]) -> list[Fit | None]:
    """Picture that each annotation fits; None for images without an orientation.

    Some tools state the stored size and draw on the shown picture. If boxes show that, stated sizes do not count.
    """
    misleading = any(
        isinstance(drawn, Drawn)
        and isinstance(image, Decoded)
        and image.fit == "shown"
        and drawn.stated_size == image.size[::-1] != image.size
        for drawn, image in zip(upright, decoded, strict=True)
    )
    if misleading:
        return _fits_of_boxes(upright, decoded)
    return [image.fit if isinstance(image, Decoded) else None for image in decoded]


def _fits_of_boxes(upright: Sequence[Upright], decoded: Sequence[Decoded | UnreadableImage]) -> list[Fit | None]:
    """Picture that each annotation fits, by its boxes alone if it states the stored size."""

    def fit(drawn: Upright, image: Decoded | UnreadableImage) -> Fit | None:
        if isinstance(image, UnreadableImage):
            return None
        if image.fit == "stored" and isinstance(drawn, Drawn):
            return find_fit(image.size, drawn._replace(stated_size=None))
        return image.fit

    return [fit(drawn, image) for drawn, image in zip(upright, decoded, strict=True)]
