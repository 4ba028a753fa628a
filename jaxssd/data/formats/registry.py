"""Formats of data sets on disk: detection and opening. Only the reader that is needed is imported."""

from collections.abc import Callable
from pathlib import Path

from jaxssd.data.formats.base import Source
from jaxssd.registry import Registry

_BUILT_IN = {
    "tfds": "jaxssd.data.formats.tfds.detect:open_data",
    "yolo": "jaxssd.data.formats.yolo.detect:open_data",
    "coco": "jaxssd.data.formats.coco.detect:open_data",
    "voc": "jaxssd.data.formats.voc.detect:open_data",
}

FORMATS: Registry[Callable[[str, str | None], Source | None]] = Registry("data format", _BUILT_IN)
"""Functions that open a data set. Each is called with `--data` and `--images`, and returns None for other formats.

Formats that are registered later are asked first, then the built-in ones in this order.
"""


def open_source(data: str, images: str | None = None) -> Source:
    """Open a data set on disk, whatever its format.

    Args:
        data: folder, COCO file, data.yaml, or one of `tfds.detect.NAMES`.
        images: folder of the images of a COCO file.

    Raises:
        FileNotFoundError, ValueError: if there is no data set, or it is of no known format. The message says what was
            found and what to do.
    """
    if images is not None:
        from jaxssd.data.formats.coco.detect import find_coco_files, json_stem

        path = Path(data)
        if (json_stem(path.name) is None or path.is_dir()) and not find_coco_files(path):
            raise ValueError(f"--images {images} goes with a COCO file: --data {data} is not a .json")
    for name in sorted(FORMATS, key=lambda name: name in _BUILT_IN):  # a stable sort
        if source := FORMATS[name](data, images):
            return source
    from jaxssd.data.formats.unknown import open_unknown

    return open_unknown(data)


def note_ignored(data: str, source: Source) -> list[str]:
    """Note on annotations of another format beside those that are read.

    Args:
        data: `--data`.
        source: data set that was opened.
    """
    path = Path(data)
    package = type(source).__module__  # no isinstance, which would import every reader
    if package.startswith("jaxssd.data.formats.voc."):
        from jaxssd.data.formats.coco.detect import find_coco_files

        if files := find_coco_files(path):
            first = files[0].path
            return [f"XML is read, and not {first.relative_to(path)} beside it: --data {first} takes that"]
    if package.startswith("jaxssd.data.formats.coco.") and path.is_dir():
        from jaxssd.data.formats.yolo.detect import looks_like_yolo

        if looks_like_yolo(path):
            return [
                "COCO's JSON is read, and not the labels beside it, whose classes no data.yaml or classes.txt names"
            ]
    return []
