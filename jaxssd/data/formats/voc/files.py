"""Where annotations, images and lists of a VOC data set are, whatever its tools call their folders.

An id is the path of a file without its ending and without the folders that only say what is in them: `train/a` stands
for `train/Annotations/a.xml` with `train/JPEGImages/a.jpg`, for `annotations/train/a.xml` with `images/train/a.png`,
and for `train/a.xml` beside `train/a.jpg`.
"""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.files import IMAGE_SUFFIXES, children, list_files
from jaxssd.data.formats.split_lists import called_after_splits
from jaxssd.data.formats.split_names import split_at_end, split_name, splits_of

ANNOTATION_FOLDERS = {"annotations", "annotation", "annots", "xmls", "xml", "labels", "label"}
IMAGE_FOLDERS = {"jpegimages", "jpegimage", "pngimages", "images", "image", "imgs", "img", "pictures", "photos"}
"""Names of folders in lower case."""

_LIST_FOLDERS = {"splits", "split", "lists", "image_sets", "imageset"}
_LIST_ENDINGS = (".txt", ".lst", ".list", "")
"""Of equal names the earlier ending counts."""

_MANY = 200  # entries of a folder that are looked at before it is taken for none of VOC's


class VOCFiles(NamedTuple):
    """Paths from the data set's folder.

    Attributes:
        annotations: by id.
        images: by the id that an annotation would have; of several, the first is taken.
    """

    annotations: dict[str, str]
    images: dict[str, tuple[str, ...]]


def list_voc(root: Path) -> VOCFiles:
    """All annotations and images.

    Where there are folders of both kinds, nothing else is listed: not the masks of VOC's own SegmentationClass.
    """
    for_annotations, for_images = role_folders(root)
    xmls = [path for place in for_annotations for path in _below(root, place, (".xml",))]
    images = [path for place in for_images for path in _below(root, place, IMAGE_SUFFIXES)]
    if not xmls or not images:
        found = list_files(root, (".xml", *IMAGE_SUFFIXES))
        xmls = [path for path in found if path.lower().endswith(".xml")]
        images = [path for path in found if not path.lower().endswith(".xml")]
    return VOCFiles(
        _unique(_only_in(xmls, ANNOTATION_FOLDERS)),
        _grouped(_only_in(images, IMAGE_FOLDERS)),
    )


def role_folders(root: Path) -> tuple[list[str], list[str]]:
    """Folders directly in a folder that are called after annotations, and after images."""
    folders = [name for name, is_folder in children(root).items() if is_folder]
    return (
        [name for name in folders if name.lower() in ANNOTATION_FOLDERS],
        [name for name in folders if name.lower() in IMAGE_FOLDERS],
    )


def looks_like_voc(root: Path) -> bool:
    """Whether there are annotations in a folder, in those within it, or in theirs; it looks at names alone."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        inside = children(folder)
        if any(name.lower().endswith(".xml") and not is_folder for name, is_folder in inside.items()):
            return True
        if depth < 2:
            pending += [(folder / name, depth + 1) for name, is_folder in list(inside.items())[:_MANY] if is_folder]
    return False


def data_sets_within(root: Path) -> list[Path]:
    """Folders one or two levels down that are data sets of their own, as in `VOCdevkit/VOC2007`; no folder of a split.

    A data set has a folder of annotations and one of images. With lists of its own it is one, even if it is called
    `VOC2007_test`.
    """
    found: list[Path] = []
    folders = [name for name, is_folder in children(root).items() if is_folder]
    splits = splits_of(folders)
    for name in folders:
        if name not in splits or (not split_name(name) and find_lists(root / name)):
            inner = [child for child, is_inner in children(root / name).items() if is_inner and not split_name(child)]
            found += [root / name, *(root / name / child for child in inner)]
    return [path for path in found if all(role_folders(path))]


def find_lists(root: Path) -> dict[str, tuple[Path, ...]]:
    """The files that list images, by the name of their split.

    They are those of `ImageSets/Main`; where there are none, of `ImageSets`, of another folder in it, of a folder
    `Splits`, of the root or of the folder of annotations. In the last three only files count that are called after a
    split, such as `train_list.txt`. A split that the first of these places has not is looked for in the others.
    """
    inside = [name for name, is_folder in children(root).items() if is_folder]
    sets = [root / name for name in inside if name.lower() == "imagesets"]
    below = [path / name for path in sets for name, is_folder in children(path).items() if is_folder]
    below.sort(key=lambda path: (path.name.lower() != "main", path.name))
    lists = [_texts(folder) for folder in [*below[:1], *sets, *below[1:]]]
    others = [root / name for name in inside if name.lower() in _LIST_FOLDERS]
    lists += [[path for path in _texts(folder) if split_at_end(path.stem)] for folder in others]
    noted = [root / name for name in inside if name.lower() in ANNOTATION_FOLDERS]
    for folder in [root, *noted]:
        lists.append([folder / name for names in called_after_splits(folder).values() for name in names])
    first, *later = [paths for paths in lists if paths] or [[]]
    found = _by_split(first)
    for paths in later:
        usual = [path for path in paths if (split := split_name(path.stem)) and split not in found]
        for split, named in _by_split(usual).items():
            if not (split == "trainval" and "train" in found):  # that of VOC's layouts is another one
                found[split] = named
    return found


def _below(root: Path, folder: str, suffixes: tuple[str, ...]) -> list[str]:
    return [f"{folder}/{path}" for path in list_files(root / folder, suffixes)]


def _texts(folder: Path) -> list[Path]:
    """Lists in a folder, by any name; without an ending, those that are called after a split."""
    found: dict[str, Path] = {}
    files = [name for name, is_folder in children(folder).items() if not is_folder]
    for ending in _LIST_ENDINGS:
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == ending and (suffix or split_at_end(name)):
                found.setdefault(stem, folder / name)
    return list(found.values())


def _by_split(lists: list[Path]) -> dict[str, tuple[Path, ...]]:
    """A list has its own name unless it is the only kind of list for a split that no list is simply called."""
    names = {path.stem for path in lists}
    splits = splits_of(names)
    exact = {split for name, split in splits.items() if split_name(name)}
    endings = Counter(splits.values())
    found: dict[str, list[Path]] = defaultdict(list)
    for path in lists:
        split = splits.get(path.stem, path.stem)
        own = split in names or not (split_name(path.stem) or (split not in exact and endings[split] == 1))
        found[path.stem if own else split].append(path)
    return {split: tuple(paths) for split, paths in found.items()}


def _only_in(paths: list[str], folders: set[str]) -> list[str]:
    """Those below a folder of such a name, if there are any; otherwise all."""
    inside: dict[str, bool] = {"": False}  # of few folders, but of many files
    for path in paths:
        if (folder := path.rpartition("/")[0]) not in inside:
            inside[folder] = any(part.lower() in folders for part in folder.split("/"))
    return [path for path in paths if inside[path.rpartition("/")[0]]] or paths


def _ids(paths: list[str]) -> list[str]:
    """The id of each: its path without its ending and the folders that only say what is in them."""
    prefixes: dict[str, str] = {}  # of few folders, but of many files
    ids = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in prefixes:
            prefixes[folder] = "".join(f"{said}/" for part in folder.split("/") if (said := _said(part)))
        ids.append(prefixes[folder] + os.path.splitext(name)[0])
    return ids


def _said(folder: str) -> str:
    """What a folder's name says: nothing if it only tells what is in it, the split if it is `images_train`."""
    told = ANNOTATION_FOLDERS | IMAGE_FOLDERS
    if folder.lower() in told:
        return ""
    split = split_name(folder)
    return split if split and not told.isdisjoint(re.split(r"[ _-]", folder.lower())) else folder


def _unique(paths: list[str]) -> dict[str, str]:
    """By id; where two would have the same one, by the whole path."""
    ids = _ids(paths)
    found = dict(zip(ids, paths, strict=True))
    if len(found) == len(paths):
        return found
    count = Counter(ids)
    return {
        name if count[name] == 1 else os.path.splitext(path)[0]: path for name, path in zip(ids, paths, strict=True)
    }


def _grouped(paths: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in zip(_ids(paths), paths, strict=True):
        found[name].append(path)
    return {name: tuple(sorted(group, key=_order_of_endings)) for name, group in found.items()}


def _order_of_endings(path: str) -> tuple[int, str]:
    return IMAGE_SUFFIXES.index(os.path.splitext(path)[1].lower()), path
