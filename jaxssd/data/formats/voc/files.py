"""Annotations, images and lists in a VOC folder, for the folder names of any tool.

An id is a file's path without its extension and without the folders that only name the file type: `train/a` stands for
`train/Annotations/a.xml` with `train/JPEGImages/a.jpg`, for `annotations/train/a.xml` with `images/train/a.png`, and
for `train/a.xml` beside `train/a.jpg`.
"""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.files import IMAGE_SUFFIXES, file_names, list_files, subfolders, suffix_order
from jaxssd.data.formats.split_lists import lists_by_split
from jaxssd.data.formats.split_names import split_at_end, split_name, splits_of
from jaxssd.data.formats.voc.detect import ANNOTATION_FOLDERS, IMAGE_FOLDERS, role_folders

_LIST_FOLDERS = {"splits", "split", "lists", "image_sets", "imageset"}
_LIST_SUFFIXES = (".txt", ".lst", ".list", "")
"""Extensions of lists. If several lists share a stem, the first extension wins."""


class VOCFiles(NamedTuple):
    """Paths from the data set's folder.

    Attributes:
        annotations: annotation of each id.
        images: images of each id; the first is the one that is used.
    """

    annotations: dict[str, str]
    images: dict[str, tuple[str, ...]]


def list_voc(root: Path) -> VOCFiles:
    """List all annotations and images.

    If there are folders of both kinds, no others are searched: VOC's own SegmentationClass holds masks.
    """
    annotation_folders, image_folders = role_folders(root)
    xmls = [f"{folder}/{path}" for folder in annotation_folders for path in list_files(root / folder, (".xml",))]
    images = [f"{folder}/{path}" for folder in image_folders for path in list_files(root / folder, IMAGE_SUFFIXES)]
    if not xmls or not images:
        found = list_files(root, (".xml", *IMAGE_SUFFIXES))
        xmls = [path for path in found if path.lower().endswith(".xml")]
        images = [path for path in found if not path.lower().endswith(".xml")]
    return VOCFiles(_unique(_only_in(xmls, ANNOTATION_FOLDERS)), _grouped(_only_in(images, IMAGE_FOLDERS)))


def data_sets_within(root: Path) -> list[Path]:
    """Data sets one or two levels down, as in `VOCdevkit/VOC2007`.

    A data set has a folder of annotations and one of images. A folder named after a split is one only if it has lists
    of its own, as `VOC2007_test` has.
    """
    found: list[Path] = []
    folders = [folder.name for folder in subfolders(root)]
    splits = splits_of(folders)
    for name in folders:
        if name not in splits or (not split_name(name) and find_lists(root / name)):
            found += [root / name, *(inner for inner in subfolders(root / name) if not split_name(inner.name))]
    return [path for path in found if all(role_folders(path))]


def find_lists(root: Path) -> dict[str, tuple[Path, ...]]:
    """Find the files that list the images of splits.

    The places are, in this order: `ImageSets/Main`, `ImageSets`, another folder in it, a folder such as `Splits`, the
    root, and the folder of annotations. In the last three, only files named after a split count, such as
    `train_list.txt`. The first place with lists gives the splits; the later ones only add splits that it lacks.

    Returns:
        Lists by split.
    """
    folders = subfolders(root)
    sets = [folder for folder in folders if folder.name.lower() == "imagesets"]
    below = [inner for folder in sets for inner in subfolders(folder)]
    below.sort(key=lambda path: (path.name.lower() != "main", path.name))
    lists = [_lists_in(folder) for folder in [*below[:1], *sets, *below[1:]]]
    others = [folder for folder in folders if folder.name.lower() in _LIST_FOLDERS]
    lists += [[path for path in _lists_in(folder) if split_at_end(path.stem)] for folder in others]
    annotation_folders = [folder for folder in folders if folder.name.lower() in ANNOTATION_FOLDERS]
    for folder in [root, *annotation_folders]:
        lists.append([folder / name for names in lists_by_split(folder).values() for name in names])
    first, *later = [paths for paths in lists if paths] or [[]]
    found = _by_split(first)
    for paths in later:
        usual = [path for path in paths if (split := split_name(path.stem)) and split not in found]
        for split, named in _by_split(usual).items():
            if not (split == "trainval" and "train" in found):  # VOC's other layouts have a trainval of their own
                found[split] = named
    return found


def _lists_in(folder: Path) -> list[Path]:
    """Lists in a folder. Files without an extension count if they are named after a split."""
    found: dict[str, Path] = {}
    names = file_names(folder)
    for wanted in _LIST_SUFFIXES:
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == wanted and (suffix or split_at_end(name)):
                found.setdefault(stem, folder / name)
    return list(found.values())


def _by_split(lists: list[Path]) -> dict[str, tuple[Path, ...]]:
    """Lists by split. Lists that are not clearly a split's have a split of their own name, as VOC's `car_train`."""
    names = {path.stem for path in lists}
    splits = splits_of(names)
    exact = {split for name, split in splits.items() if split_name(name)}
    count = Counter(splits.values())
    found: dict[str, list[Path]] = defaultdict(list)
    for path in lists:
        split = splits.get(path.stem, path.stem)
        own = split in names or not (split_name(path.stem) or (split not in exact and count[split] == 1))
        found[path.stem if own else split].append(path)
    return {split: tuple(paths) for split, paths in found.items()}


def _only_in(paths: list[str], folders: set[str]) -> list[str]:
    """Paths below a folder with one of these names, if there are any; otherwise all paths."""
    inside: dict[str, bool] = {"": False}  # cached by folder: there are few folders and many files
    for path in paths:
        if (folder := path.rpartition("/")[0]) not in inside:
            inside[folder] = any(part.lower() in folders for part in folder.split("/"))
    return [path for path in paths if inside[path.rpartition("/")[0]]] or paths


def _ids(paths: list[str]) -> list[str]:
    """Id of each path: without its extension and the folders that only name the file type."""
    prefixes: dict[str, str] = {}  # cached by folder: there are few folders and many files
    ids = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in prefixes:
            prefixes[folder] = "".join(f"{kept}/" for part in folder.split("/") if (kept := _id_part(part)))
        ids.append(prefixes[folder] + os.path.splitext(name)[0])
    return ids


def _id_part(folder: str) -> str:
    """Part of an id for a folder: empty for `images`, `train` for `images_train`, else the folder's name."""
    role_names = ANNOTATION_FOLDERS | IMAGE_FOLDERS
    if folder.lower() in role_names:
        return ""
    split = split_name(folder)
    return split if split and not role_names.isdisjoint(re.split(r"[ _-]", folder.lower())) else folder


def _unique(paths: list[str]) -> dict[str, str]:
    """Paths by id; by the whole path without its extension where two would have the same id."""
    ids = _ids(paths)
    found = dict(zip(ids, paths, strict=True))
    if len(found) == len(paths):
        return found
    count = Counter(ids)
    return {
        name if count[name] == 1 else os.path.splitext(path)[0]: path for name, path in zip(ids, paths, strict=True)
    }


def _grouped(paths: list[str]) -> dict[str, tuple[str, ...]]:
    """All paths of each id, in the order of their extensions."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in zip(_ids(paths), paths, strict=True):
        found[name].append(path)
    return {name: tuple(sorted(group, key=suffix_order)) for name, group in found.items()}
