"""Detection of YOLO folders, by names alone."""

import os
from pathlib import Path

from jaxssd.data.formats.base import Source
from jaxssd.data.formats.coco.detect import find_coco_files
from jaxssd.data.formats.files import IMAGE_SUFFIXES, children, file_names, subfolders, without_suffix
from jaxssd.data.formats.split_names import splits_of
from jaxssd.data.formats.voc.detect import looks_like_voc

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
LABEL_FOLDERS = ("labels", "label", "annotations", "annotation")
"""Folder names in lower case."""

NAMES_FILES = (
    *("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "classes.txt", "obj.names", "labels.txt"),
    *("_darknet.labels", "names.txt", "class_names.txt", "predefined_classes.txt"),
)
"""Files of class names, in the order in which they are looked for."""


_DESCRIPTIONS = (".yaml", ".yml", ".names", ".data")
"""Extensions of the files that describe a data set."""


def open_data(data: str, images: str | None = None) -> Source | None:
    """Open a data.yaml, an obj.data or a folder in YOLO's layout; None for anything else.

    A folder without class names that has COCO files is COCO's, as in Ultralytics' copy of COCO.
    """
    path = Path(data)
    is_description = path.suffix.lower() in (".yaml", ".yml", ".data") and path.is_file()
    is_folder = path.is_dir() and looks_like_yolo(path) and not (_names_no_classes(path) and find_coco_files(path))
    if not is_description and not is_folder:
        return None
    from jaxssd.data.formats.yolo.folder import YOLOFolder

    return YOLOFolder(path.parent, path) if is_description else YOLOFolder(path)


def looks_like_yolo(root: Path) -> bool:
    """True if a folder is in one of YOLO's layouts, and not in PASCAL VOC layout. No file is opened."""
    inside = children(root)
    folders = [name for name, is_folder in inside.items() if is_folder]
    if {"annotations", "jpegimages"} <= {name.lower() for name in folders}:
        return False
    files = [name.lower() for name, is_folder in inside.items() if not is_folder]
    named = any(map(_is_description, files))
    below = [root / name for name in folders]
    named_splits = splits_of(folders)
    # Folders with class names of their own are data sets themselves.
    own = [path for path in below if path.name not in named_splits and _has_names(path)] if not named else []
    splits = [root, *(path for path in below if path not in own)]
    deeper = [inner for path in splits[1:] for inner in subfolders(path)]
    unnamed = False
    for folder in splits:
        roles = {path.name.lower(): path for path in subfolders(folder)}
        labels = [roles[word] for word in ("labels", "label") if word in roles]
        if labels and any(word in roles for word in IMAGE_FOLDERS):
            kinds = {
                os.path.splitext(name)[1].lower() for path in labels for _, _, names in os.walk(path) for name in names
            }
            if (".txt" in kinds and (named or any(map(_has_names, labels)))) or (named and ".xml" not in kinds):
                return True
            unnamed |= ".txt" in kinds
    named = named or any(map(_has_names, splits[1:]))
    return (named and any(map(_has_pair, [*splits, *deeper]))) or (unnamed and not looks_like_voc(root))


def may_be_yolo(root: Path) -> bool:
    """True if a folder has a part of what YOLO needs, so that YOLO's errors name the missing part."""
    inside = children(root)
    described = any(_is_description(name.lower()) for name, is_folder in inside.items() if not is_folder)
    return described or any(_has_pair(folder) for folder in [root, *(root / name for name in inside)])


def _names_no_classes(root: Path) -> bool:
    """True if no file in a folder, or one or two levels down, names classes."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        inside = children(folder)
        if any(name.lower() in NAMES_FILES or (not depth and name.lower().endswith(_DESCRIPTIONS)) for name in inside):
            return False
        if depth < 2:
            pending += [(inner, depth + 1) for inner in subfolders(folder)]
    return True


def _is_description(name: str) -> bool:
    return name in NAMES_FILES or name.endswith(_DESCRIPTIONS)


def _has_names(folder: Path) -> bool:
    return any(name.lower() in NAMES_FILES for name in children(folder))


def _has_pair(folder: Path) -> bool:
    """True if an image has a .txt file of its name beside it."""
    names = file_names(folder)
    texts = {without_suffix(name, (".txt",)) for name in names if name.lower().endswith(".txt")}
    return any(
        without_suffix(name) in texts or name in texts for name in names if name.lower().endswith(IMAGE_SUFFIXES)
    )
