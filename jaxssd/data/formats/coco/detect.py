"""Detection of COCO files in a folder, by their names and first bytes."""

import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.files import file_names, subfolders
from jaxssd.data.formats.split_names import split_word
from jaxssd.data.formats.voc.detect import has_annotations

JSON_SUFFIXES = (".json", ".json.gz")

_ORDER = ("train", "trainval", "val", "test")
_OTHER_KINDS = ("captions_", "stuff_", "panoptic_", "image_info_", "person_keypoints_")
_ANNOTATION_FOLDERS = (
    *("annotations", "annotation", "annots", "annot", "anns", "ann", "labels", "label"),
    *("json", "jsons", "coco", "coco_annotations", "annotations_coco"),
)
_FIRST_KEY = re.compile(rb'\s*\{\s*"(images|annotations|categories|info|licenses|license|type|videos)"\s*:')
_SCALAR = rb'"[^"]{0,99}"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)\s*,\s*'
_LATER_KEY = re.compile(rb"\s*\{\s*(?:" + _SCALAR + rb')+"(images|annotations|categories|info|licenses|videos)"\s*:')
_LIST = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')

_HEAD = 16_384
"""Number of bytes that are read to recognise a file."""


class COCOFile(NamedTuple):
    """COCO file in a folder.

    Attributes:
        path: the file.
        split: split that the file or its folder is named after, or None.
    """

    path: Path
    split: str | None


def open_data(data: str, images: str | None = None) -> Source | None:
    """Open a JSON file, or a folder with COCO files; None for anything else.

    Files are parsed once a process, for all splits and the export, unless they change: they can be large. A folder with
    XML in a folder of annotations is VOC's.
    """
    path = Path(data)
    if json_stem(path.name) is not None and not path.is_dir():
        return _open_file(path, images, _stamp(path))
    if path.is_dir() and not has_annotations(path) and (files := find_coco_files(path)):
        return _open_folder(path, files, images, tuple(_stamp(file.path) for file in files))
    return None


@lru_cache(maxsize=2)
def _open_file(path: Path, images: str | None, stamp: tuple[int, ...]) -> Source:
    from jaxssd.data.formats.coco.file import COCOJson, default_images_folder

    return COCOJson(path, Path(images) if images else default_images_folder(path))


@lru_cache(maxsize=2)
def _open_folder(path: Path, files: tuple[COCOFile, ...], images: str | None, stamps: tuple[object, ...]) -> Source:
    from jaxssd.data.formats.coco.folder import open_coco_folder

    return open_coco_folder(path, files, Path(images) if images else None)


def _stamp(path: Path) -> tuple[int, ...]:
    """Time and size of a file, which change with it; empty if there is none."""
    status = path.stat() if path.is_file() else None
    return (status.st_mtime_ns, status.st_size) if status else ()


def json_stem(name: str) -> str | None:
    """Name of a JSON file without its extension; None for other files.

    Example:
        >>> json_stem("val.JSON"), json_stem("lvis_v1_val.json.gz"), json_stem("val.csv")
        ('val', 'lvis_v1_val', None)
    """
    suffix = next((suffix for suffix in JSON_SUFFIXES if name.lower().endswith(suffix)), None)
    return name[: -len(suffix)] if suffix else None


def find_coco_files(root: Path) -> tuple[COCOFile, ...]:
    """Find the files of instances in a folder, in its folders of annotations and in its folders of splits.

    Only the first bytes are read. COCO's captions and the like are left out if there are instances.

    Args:
        root: the folder.

    Returns:
        The files, in the order train, trainval, val, test, others.
    """
    found = []
    for folder, split in ((root, None), *_searched_folders(root)):
        files = [path for path in _json_files(folder) if begins_like_coco(path)]
        found += [COCOFile(path, split_word(json_stem(path.name) or path.name) or split) for path in files]
    plain = [file for file in found if not file.path.name.lower().startswith(_OTHER_KINDS)]
    chosen = plain or [file for file in found if file.path.name.lower().startswith("person_keypoints_")]
    return tuple(sorted(chosen, key=lambda file: (_ORDER.index(file.split) if file.split else len(_ORDER), file.path)))


def begins_like_coco(path: Path) -> bool:
    """True if a file's first key, or the first with more than a scalar, is one of COCO's."""
    head = _head(path)
    return bool(_FIRST_KEY.match(head) or (_LATER_KEY.match(head) and _LIST.search(head)))


def may_be_coco(path: Path) -> bool:
    """True if a file begins with an object and has one of COCO's lists near its beginning."""
    head = _head(path)
    return head.lstrip().startswith(b"{") and bool(_LIST.search(head))


def _searched_folders(root: Path) -> Iterable[tuple[Path, str | None]]:
    """Folders to search: annotation folders, split folders, and annotation folders in those, each with its split."""
    for folder in subfolders(root):
        split = split_word(folder.name)
        if split or folder.name.lower() in _ANNOTATION_FOLDERS:
            yield folder, split
        if split:
            yield from ((inner, split) for inner in subfolders(folder) if inner.name.lower() in _ANNOTATION_FOLDERS)


def _json_files(folder: Path) -> list[Path]:
    paths = [folder / name for name in file_names(folder) if json_stem(name)]
    return [path for path in paths if path.is_file()]


def _head(path: Path) -> bytes:
    """First bytes of a file, unpacked and in UTF-8; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head[:2] == b"\x1f\x8b":
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except (OSError, zlib.error):
        return b""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", errors="ignore").encode()  # the reader refuses it, and says why
    return head.removeprefix(b"\xef\xbb\xbf")
