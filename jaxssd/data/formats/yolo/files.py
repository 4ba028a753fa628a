"""Images of a YOLO folder with their labels.

The labels of an image are the .txt file at its path with the last folder `images` replaced by `labels`, or the one
beside it: Ultralytics' rule, in any case. An id is the image's path without its extension and without that folder
`images`: `train/a` for `images/train/a.jpg` and for `train/images/a.jpg`.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from jaxssd.data.formats.files import (
    IMAGE_SUFFIXES,
    common_tail,
    fold,
    list_files,
    read_annotation,
    suffix_order,
    without_suffix,
)
from jaxssd.data.formats.split_names import split_at_end, split_name
from jaxssd.data.formats.yolo.detect import IMAGE_FOLDERS, LABEL_FOLDERS, NAMES_FILES

_MAX_ALIKE = 50  # files of one name that are compared with each other


_IMAGES, _LABELS = (
    re.compile(rf"(?<![a-z])({'|'.join(words)})(?![a-z])", re.IGNORECASE) for words in (IMAGE_FOLDERS, LABEL_FOLDERS)
)


class Pair(NamedTuple):
    """Image and labels, as paths from the data set's folder.

    Attributes:
        image: None for labels without an image.
        labels: None for an image without labels.
        others: images of the same name with later extensions, which are not read.
        elsewhere: True if the labels are not where Ultralytics looks for them.
    """

    image: str | None
    labels: str | None
    others: tuple[str, ...] = ()
    elsewhere: bool = False


def list_yolo(root: Path) -> dict[str, Pair]:
    """List all images below a folder with their labels, and labels without an image, by id.

    An image without labels gets those of its name in another folder, if they can belong to no other image.
    """
    found = list_files(root, (".txt", *IMAGE_SUFFIXES), first=(*IMAGE_FOLDERS, *LABEL_FOLDERS))
    images = [path for path in found if not path.lower().endswith(".txt")]
    texts = {without_suffix(path, (".txt",)): path for path in found if path.lower().endswith(".txt")}
    folded: dict[str, str] = {}  # filled when first needed

    groups: dict[str, list[str]] = defaultdict(list)
    for path in sorted(images, key=suffix_order):
        groups[without_suffix(path)].append(path)
    names = _ids(groups)
    pairs: dict[str, Pair] = {}
    used: set[str] = set()
    for stem, paths in groups.items():
        places = list(label_places(paths[0]))
        labels = next((texts[place] for place in places if place in texts), None)
        if labels is None:
            folded = folded or {fold(stem): path for stem, path in texts.items()}
            labels = next((folded[fold(place)] for place in places if fold(place) in folded), None)
        pairs[names[stem]] = Pair(paths[0], labels, tuple(paths[1:]))
        used.add(labels or "")
    with_images = {os.path.dirname(path) for path in images}
    unused = {stem: path for stem, path in texts.items() if path not in used and _is_label(path, with_images)}
    for name, stem in _same_name_elsewhere(pairs, unused):
        pairs[name] = pairs[name]._replace(labels=unused.pop(stem), elsewhere=True)
    for stem, path in unused.items():
        pairs.setdefault(_without_last(stem, LABEL_FOLDERS), Pair(None, path))
    return pairs


def boxes_in_xml(root: Path, pairs: dict[str, Pair]) -> tuple[str, ...]:
    """Images without labels whose XML file has objects: LabelImg writes either format.

    Args:
        root: folder of the data set.
        pairs: images and labels from `list_yolo`.
    """
    without = [pair.image for pair in pairs.values() if pair.image and pair.labels is None]
    if not without:
        return ()
    xmls: dict[str, list[str]] = defaultdict(list)
    for path in list_files(root, (".xml",)):
        xmls[_stem_of(path)].append(path)
    return tuple(image for image in without if any(_has_object(root / path) for path in xmls[_stem_of(image)]))


def _stem_of(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _has_object(path: Path) -> bool:
    try:
        return b"<object" in read_annotation(path)
    except OSError:
        return False


def of_layout(pairs: dict[str, Pair]) -> tuple[str, ...]:
    """Ids that belong to the layout: if images with labels lie in folders `images`, no other unlabelled images."""
    in_folders = any(
        pair.image and pair.labels and _role(pair.image, IMAGE_FOLDERS) is not None for pair in pairs.values()
    )
    return tuple(
        sorted(
            name
            for name, pair in pairs.items()
            if pair.labels or not in_folders or (pair.image and _role(pair.image, IMAGE_FOLDERS) is not None)
        )
    )


def label_places(image: str) -> Iterator[str]:
    """Paths where the labels of an image may be, without `.txt`.

    Example:
        >>> list(label_places("images/a.jpg"))[:2]
        ['labels/a', 'labels/a.jpg']
    """
    stem = without_suffix(image)
    parts = stem.split("/")
    role = _role(image, IMAGE_FOLDERS)
    if role is not None:
        for word in LABEL_FOLDERS:
            place = "/".join([*parts[:role], word, *parts[role + 1 :]])
            yield from (place, place + image[len(stem) :])
    for number, part in enumerate(parts[:-1]):  # images_train
        if split_name(part) and (found := _IMAGES.search(part)):
            for other in LABEL_FOLDERS:
                place = "/".join(
                    [*parts[:number], part[: found.start()] + other + part[found.end() :], *parts[number + 1 :]]
                )
                yield from (place, place + image[len(stem) :])
    yield from (stem, image)


def _role(path: str, folders: tuple[str, ...]) -> int | None:
    """Position of the last folder in a path that has one of these names."""
    parts = path.lower().split("/")[:-1]
    return max((number for number, part in enumerate(parts) if part in folders), default=None)


def _without_last(stem: str, folders: tuple[str, ...]) -> str:
    """Path without the last folder that has one of these names."""
    role, parts = _role(stem, folders), stem.split("/")
    return stem if role is None else "/".join(parts[:role] + parts[role + 1 :])


def _ids(stems: Iterable[str]) -> dict[str, str]:
    """Ids by path without extension; the path itself where two would have the same id."""
    ids = {stem: _without_last(stem, IMAGE_FOLDERS) for stem in stems}
    count = Counter(ids.values())
    return {stem: name if count[name] == 1 else stem for stem, name in ids.items()}


def _is_label(path: str, with_images: set[str]) -> bool:
    """True if a text without an image is a label file, and not a list of names, images or anything else."""
    name = os.path.basename(path).lower()
    folder = os.path.dirname(path)
    if name in NAMES_FILES or name.startswith(("readme", "license")) or split_name(name[: -len(".txt")]):
        return False
    of_split = any(split_name(part) and _LABELS.search(part) for part in folder.split("/"))
    return _role(path, LABEL_FOLDERS) is not None or of_split or folder in with_images


def _same_name_elsewhere(pairs: dict[str, Pair], unused: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of an image without labels and labels without an image that can only belong to each other.

    They have one name, are not in folders of different splits, and have more last folders in common with each other
    than with any other file: `train/0.jpg` and `labels/train/0.txt`, beside `val/0.jpg`.
    """
    images, texts = defaultdict(list), defaultdict(list)
    for name, pair in pairs.items():
        if pair.labels is None:
            images[name.rpartition("/")[2]].append(name)
    for stem in unused:
        texts[stem.rpartition("/")[2]].append(stem)
    found = []
    for last in images.keys() & texts.keys():
        tails = {
            (name, stem): common_tail(name, _without_last(stem, LABEL_FOLDERS))
            for name in images[last][:_MAX_ALIKE]
            for stem in texts[last][:_MAX_ALIKE]
            if not _in_different_splits(name, stem)
        }
        for (name, stem), tail in tails.items():
            rivals = [other for pair, other in tails.items() if (pair[0] == name) != (pair[1] == stem)]
            if tail > max(rivals, default=0):
                found.append((name, stem))
    return sorted(found)


def _in_different_splits(one: str, other: str) -> bool:
    found, others = _splits_of(one), _splits_of(other)
    return bool(found and others) and found.isdisjoint(others)


def _splits_of(path: str) -> set[str]:
    return {split for part in path.split("/")[:-1] if (split := split_at_end(part))}
