"""Data sets as trees of small files, written from a dict: what lies where is what a test of a layout is about."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 50, 40
LINE = "0 0.5 0.5 0.5 0.25\n"
"""One box of class 0 in YOLO's form."""
BOX = [0.375, 0.25, 0.625, 0.75]
"""The same one as `[y1, x1, y2, x2]`."""


def write_tree(root: Path, files: Mapping[str, bytes | str | int | None]) -> Path:
    """Write files below a folder.

    Args:
        root: made if need be.
        files: by their path from `root`, with `/` between folders: bytes, text, the grey of a picture, or None for an
            empty folder.

    Returns:
        `root`.
    """
    for path, content in files.items():
        target = root / path
        (target if content is None else target.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            target.write_bytes(encode(path, content))
    root.mkdir(parents=True, exist_ok=True)
    return root


def encode(path: str, content: bytes | str | int) -> bytes:
    """The bytes of one file."""
    if isinstance(content, int):
        return picture(content, "." + path.rpartition(".")[2])
    return content.encode() if isinstance(content, str) else content


def picture(grey: int = 100, ending: str = ".jpg", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """One picture of a single grey, encoded as its ending says: PNG where Pillow does not know it."""
    file = io.BytesIO()
    image_format = Image.registered_extensions().get(ending.lower(), "PNG")
    Image.new("RGB", size, (grey, grey, grey)).save(file, image_format)
    return file.getvalue()


def voc_xml(
    *objects: str | tuple, filename: str | None = None, size: tuple[float, float] | None = (WIDTH, HEIGHT)
) -> str:
    """One of VOC's annotations.

    Args:
        objects: a class's name for an object with `BOX` in a picture of the usual size, (name, xmin, ymin, xmax, ymax),
            or the XML of what stands in <object>.
        filename: what stands in <filename>.
        size: (width, height) that it states.
    """
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    name = "" if filename is None else f"<filename>{filename}</filename>"
    return f"<annotation>{name}{stated}{''.join(map(_object, objects))}</annotation>"


def _object(item: str | tuple) -> str:
    if isinstance(item, str) and "<" in item:
        return f"<object>{item}</object>"
    name, *corners = (item, 13.5, 16, 37.5, 25) if isinstance(item, str) else item
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
