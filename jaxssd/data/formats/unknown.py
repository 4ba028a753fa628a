"""Data of no known format: an error that says what was found and what to do."""

import re
from pathlib import Path

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.coco.detect import find_coco_files, may_be_coco
from jaxssd.data.formats.coco.other_tools import explain_file
from jaxssd.data.formats.files import IMAGE_SUFFIXES, children, contents, subfolders
from jaxssd.data.formats.tfds.detect import NAMES
from jaxssd.data.formats.voc.detect import may_be_voc
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.formats.yolo.detect import looks_like_yolo, may_be_yolo
from jaxssd.data.formats.yolo.folder import YOLOFolder

_TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
"""Extensions of other tools' annotations."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")

_MAX_FOLDERS = 50  # folders that are searched for a hint


def open_unknown(data: str) -> Source:
    """Open a folder that no format has recognised, or raise an error that explains what it is.

    Raises:
        FileNotFoundError, ValueError: unless the folder can be read as VOC's or YOLO's after all.
    """
    path = Path(data)
    if re.fullmatch(r"voc/\d+", data) and not path.exists():
        raise ValueError(f"there is no --data {data}: TensorFlow Datasets has {' and '.join(NAMES)}")
    if path.suffix.lower() in _TABLES and (other_tool := _other_tool(path)):
        raise ValueError(other_tool)
    if path.is_file():
        raise ValueError(_explain_file(path))
    if other_tool := _other_tool(path):
        raise ValueError(other_tool)
    if may_be_voc(path):
        return VOCFolder(path)
    json_files = sorted([*path.glob("*.json"), *path.glob("*/*.json")])
    if files := [file for file in json_files if may_be_coco(file)]:
        raise ValueError(
            f"{path} is not a known layout. For a COCO data set, name the file: --data {files[0]}, and --images"
        )
    if deeper := _data_set_below(path):
        raise ValueError(f"{path} is not a data set: it has {contents(path)}. Did you mean --data {deeper}?")
    if may_be_yolo(path):
        return YOLOFolder(path)  # its error says what is missing
    if archives := [name for name in children(path) if name.lower().endswith(_ARCHIVES)]:
        raise ValueError(f"{path} has no annotated images, but the archive {archives[0]}: unpack it")
    return VOCFolder(path)  # its error says what is expected


def _explain_file(path: Path) -> str:
    """Error for a file that is named in place of a folder."""
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        folder = path.with_suffix("").with_suffix("") if path.stem.lower().endswith(".tar") else path.with_suffix("")
        return f"{path} is an archive: unpack it, and name the folder, such as --data {folder}"
    kinds = {".xml": "one annotation", ".txt": "a list, or one image's labels"} | dict.fromkeys(
        IMAGE_SUFFIXES, "one image"
    )
    kind = kinds.get(suffix, "a file of no known format")
    return f"{path} is {kind}: name the folder of the data set, such as --data {path.parent}, or a COCO .json"


def _data_set_below(root: Path) -> Path | None:
    """First folder one or two levels down that looks like a data set."""
    folders = subfolders(root)[:_MAX_FOLDERS]
    deeper = [inner for folder in folders for inner in subfolders(folder)][:_MAX_FOLDERS]
    return next((path for path in [*folders, *deeper] if looks_like_yolo(path) or find_coco_files(path)), None)


def _other_tool(path: Path) -> str | None:
    """Error for a file of another tool, or a folder with such files; None if there is none."""
    if path.is_file():
        files = [path]
    else:
        inside = (file for pattern in ("*", "*/*", "*/*/*") for file in sorted(path.glob(pattern)))
        files = [file for file in inside if file.suffix.lower() in _TABLES]
    found = next(((file, why) for file in files[:3] if (why := explain_file(file))), None)
    return f"{found[0]} {found[1]}" if found else None
