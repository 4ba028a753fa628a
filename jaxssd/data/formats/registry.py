"""Find out which format a data set on disk has, and open it. Only the readers that may be needed are imported."""

import re
from functools import lru_cache
from pathlib import Path

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.coco.detect import COCOFile, find_coco_files, json_stem, may_be_coco
from jaxssd.data.formats.coco.file import COCOJson, default_images_folder
from jaxssd.data.formats.coco.folder import open_coco_folder
from jaxssd.data.formats.coco.other_tools import explain_file
from jaxssd.data.formats.coco.source import COCOSource
from jaxssd.data.formats.files import IMAGE_SUFFIXES, children, contents
from jaxssd.data.formats.tfds import source as tfds
from jaxssd.data.formats.voc.files import looks_like_voc, role_folders
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.detect import NAMES_FILES, looks_like_yolo, may_be_yolo
from jaxssd.data.formats.yolo.folder import YOLOFolder

DOWNLOADED = tuple(tfds.NAMES)
"""Names of data sets that TensorFlow Datasets downloads."""

_TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
"""Endings of files that hold annotations of other tools."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")

_DESCRIPTIONS = (".yaml", ".yml", ".names", ".data")
"""Endings of the files by which YOLO describes a data set."""

_FEW = 50  # folders that are looked into for a hint


def open_source(data: str, images: str | None = None) -> Source:
    """Open a data set on disk, whatever its format.

    Args:
        data: a folder, a COCO or data.yaml file, or one of `DOWNLOADED`.
        images: folder of the images of a COCO file.

    Returns:
        The source.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it is of no known format.
    """
    path = Path(data)
    is_json = json_stem(path.name) is not None and not path.is_dir()
    if images is not None and not is_json and not find_coco_files(path):
        raise ValueError(f"--images {images} goes with a COCO file: --data {data} is no .json")
    if data in tfds.NAMES:
        return tfds.TFDSVoc(data)
    if is_json:
        return _open_json(path, Path(images) if images else default_images_folder(path), _stamp(path))
    if path.suffix.lower() in (".yaml", ".yml", ".data") and path.is_file():
        return YOLOFolder(path.parent, path)
    if re.fullmatch(r"voc/\d+", data) and not path.exists():
        raise ValueError(f"there is no --data {data}: TensorFlow Datasets has {' and '.join(tfds.NAMES)}")
    if path.suffix.lower() in _TABLES and (foreign := _foreign_file(path)):
        raise ValueError(foreign)
    if path.is_file():
        raise ValueError(_no_data_set(path))
    if looks_like_yolo(path) and not (_names_no_classes(path) and find_coco_files(path)):
        return YOLOFolder(path)
    if not _has_xml_annotations(path) and (coco_files := find_coco_files(path)):
        stamps = tuple((file.path, *_stamp(file.path)) for file in coco_files)
        return _open_folder(path, coco_files, Path(images) if images else None, stamps)
    is_voc = all(role_folders(path)) or looks_like_voc(path)
    if not (is_voc and _has_xml(path)) and (foreign := _foreign_file(path)):
        raise ValueError(foreign)
    if not is_voc and (files := [file for file in _json_files(path) if may_be_coco(file)]):
        raise ValueError(f"{path} is a folder; is it a COCO data set? Name the file, --data {files[0]}, and --images")
    if not is_voc and (deeper := _data_set_below(path)):
        raise ValueError(f"{path} is no data set itself, it has {contents(path)}. Did you mean --data {deeper}?")
    if not is_voc and may_be_yolo(path):
        return YOLOFolder(path)  # which says what is missing
    archives = [name for name in children(path) if name.lower().endswith(_ARCHIVES)]
    if not is_voc and archives:
        raise ValueError(f"{path} has no images that are annotated, but {archives[0]}: unpack it")
    return VOCFolder(path)


def passed_over(data: str, source: Source) -> list[str]:
    """A line for the log about annotations of another format that lie beside those that are read."""
    path = Path(data)
    if isinstance(source, VOCFolder) and (files := find_coco_files(path)):
        return [f"XML is read, and not {files[0].path.relative_to(path)} beside it: --data {files[0].path} takes that"]
    if isinstance(source, COCOSource) and path.is_dir() and looks_like_yolo(path):
        return ["COCO's JSON is read, and not the labels beside it, whose classes no data.yaml or classes.txt names"]
    return []


def _names_no_classes(path: Path) -> bool:
    """Whether nothing in a folder, or one or two levels down, names classes as YOLO does."""
    pending = [(path, 0)]
    while pending:
        folder, depth = pending.pop()
        inside = children(folder)
        if any(name.lower() in NAMES_FILES or (not depth and name.lower().endswith(_DESCRIPTIONS)) for name in inside):
            return False
        if depth < 2:
            pending += [(folder / name, depth + 1) for name, is_folder in inside.items() if is_folder]
    return True


def _has_xml_annotations(path: Path) -> bool:
    """Whether a folder called after annotations has XML in it, or in a folder in it."""
    for folder in (path / name for name in role_folders(path)[0]):
        inside = children(folder)
        deeper = [name for inner, is_folder in inside.items() if is_folder for name in children(folder / inner)]
        if any(name.lower().endswith(".xml") for name in [*inside, *deeper]):
            return True
    return False


def _no_data_set(path: Path) -> str:
    """What to tell of a file that is named in place of a folder."""
    ending = path.suffix.lower()
    if ending in _ARCHIVES:
        folder = path.with_suffix("").with_suffix("") if path.stem.lower().endswith(".tar") else path.with_suffix("")
        return f"{path} is an archive: unpack it, and name the folder, such as --data {folder}"
    kinds = {".xml": "one annotation", ".txt": "a list, or one image's labels"} | dict.fromkeys(
        IMAGE_SUFFIXES, "one image"
    )
    kind = kinds.get(ending, "a file of no known format")
    return f"{path} is {kind}: name the folder of the data set, such as --data {path.parent}, or a COCO .json"


def _data_set_below(root: Path) -> Path | None:
    """The first folder one or two levels down that looks like a data set."""
    folders = [root / name for name, is_folder in children(root).items() if is_folder][:_FEW]
    deeper = [path / name for path in folders for name, is_folder in children(path).items() if is_folder][:_FEW]
    return next((path for path in [*folders, *deeper] if looks_like_yolo(path) or find_coco_files(path)), None)


@lru_cache(maxsize=2)
def _open_json(path: Path, images: Path, stamp: tuple[int, ...]) -> COCOJson:
    """Parsed once in a process, for all splits and for the export, unless the file has changed: it can be large."""
    return COCOJson(path, images)


@lru_cache(maxsize=2)
def _open_folder(path: Path, files: tuple[COCOFile, ...], images: Path | None, stamps: tuple[object, ...]) -> Source:
    """The same for the files of a folder."""
    return open_coco_folder(path, files, images)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file; nothing if there is none."""
    status = path.stat() if path.is_file() else None
    return (status.st_mtime_ns, status.st_size) if status else ()


def _foreign_file(path: Path) -> str | None:
    """What to tell of a file of another tool, or of a folder of such; None if it looks like none."""
    if path.is_file():
        files = [path]
    else:
        inside = (file for pattern in ("*", "*/*", "*/*/*") for file in sorted(path.glob(pattern)))
        files = [file for file in inside if file.suffix.lower() in _TABLES]
    found = next(((file, why) for file in files[:3] if (why := explain_file(file))), None)
    return f"{found[0]} {found[1]}" if found else None


def _has_xml(folder: Path) -> bool:
    """In the folder itself, or one or two levels down."""
    return any(any(folder.glob(pattern)) for pattern in ("*.xml", "*/*.xml", "*/*/*.xml"))


def _json_files(folder: Path) -> list[Path]:
    """In the folder itself or in those in it."""
    return sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
