"""Images of the splits that a data.yaml, an obj.data or lists state.

A path counts from the data set's folder: that of `path` if it exists, else that of the file itself. Folders before an
existing one are ignored: Roboflow's `../train/images`, Darknet's `data/train.txt`, another machine's
`/content/set/train`. The name of a split is never ignored. Images outside the data set's folder are not read, and an
existing file outside is never replaced by the file of that name in the folder: see `outside_paths`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.files import MAX_DEPTH, descend, plain_path
from jaxssd.data.formats.outside_paths import OutsideImages, find_outside
from jaxssd.data.formats.split_lists import Lookup, leads_out, lists_by_split, read_lines, resolve
from jaxssd.data.formats.split_names import split_name
from jaxssd.data.formats.yolo.data_yaml import Stated
from jaxssd.data.formats.yolo.detect import IMAGE_FOLDERS


@dataclass
class Splits:
    """Splits of a data set.

    Attributes:
        ids: images of each split.
        errors: error message of each stated split that cannot be read.
        notes: lines for the log.
    """

    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def data_folder(file: Path, stated: Stated) -> tuple[Path, str | None]:
    """Folder that stated paths count from, and a note on it.

    Args:
        file: data.yaml or obj.data.
        stated: content of the file.

    Raises:
        ValueError: if `path` is the root of the file system.
    """
    root = file.parent
    if stated.folder is None:
        return root, None
    folder = Path(os.path.normpath(root.absolute() / stated.folder.replace("\\", "/")))
    if folder == folder.parent:
        raise ValueError(
            f"{file} states path: {stated.folder}, the root of the file system: state the data set's folder"
        )
    if not os.path.isdir(folder):
        return root, f"{file.name} states path: {stated.folder}, which is not there: paths count from {root}"
    if os.path.samefile(folder, root):
        return root, None
    return folder, f"{file.name} states path: {stated.folder}: images are read from {folder}"


def stated_splits(file: Path, stated: Stated, folder: Path, images: Mapping[str, str]) -> Splits:
    """Find the images of each split that is stated.

    Args:
        file: data.yaml or obj.data.
        stated: content of the file.
        folder: folder that paths count from.
        images: id of each image by its path from `folder`, and by that of its labels.

    Returns:
        The splits. A split whose paths all lead to missing places outside the folder is left out, with a note.
    """
    found, tree = Splits(), _Tree(folder, images)
    for split, (key, paths) in stated.splits.items():
        ids: dict[str, None] = {}  # an ordered set
        num_stale = 0
        for written in paths:
            try:
                ids.update(dict.fromkeys(_images_at(file, key, written, tree, found.notes)))
            except FileNotFoundError as error:
                num_stale += leads_out(written)
                found.errors.setdefault(split, str(error))
            except ValueError as error:
                found.errors.setdefault(split, str(error))
        if num_stale == len(paths):
            missing = found.errors.pop(split)
            if split != "test":  # many exports state a test split that they do not have
                found.notes.append(f"{missing}; {key} is not followed")
        elif split not in found.errors:
            found.ids[split] = tuple(ids)
    return found


def listed_splits(root: Path, images: Mapping[str, str]) -> Splits:
    """Find the images of lists in a folder that are named after splits: train.txt, valid.txt.

    Args:
        root: the folder.
        images: id of each image by its path from `root`, and by that of its labels.
    """
    found, tree = Splits(), _Tree(root, images)
    for split, names in lists_by_split(root).items():
        try:
            found.ids[split] = _listed(root / names[0], tree, found.notes)
        except ValueError as error:
            found.errors[split] = str(error)
    return found


class _Tree:
    """Images of a data set by path, also by paths through links.

    Args:
        folder: folder that paths count from.
        images: ids by path.
    """

    def __init__(self, folder: Path, images: Mapping[str, str]) -> None:
        """Store the images. No link is followed yet."""
        self.folder, self.images, self.lookup = folder, images, Lookup(images)
        self._seen: dict[str, str] = {}

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Folders with images, by their real path."""
        return {self._real(folder): folder for folder in {_folder(path) for path in self.images}}

    def _real(self, folder: str) -> str:
        if folder not in self._seen:
            self._seen[folder] = os.path.realpath(self.folder / folder)
        return self._seen[folder]

    def at(self, path: str) -> str | None:
        """Id of the image at a path; None if there is none, or it is outside."""
        if path in self.images or path.startswith("../") or "\0" in path or path.count("/") > MAX_DEPTH:
            return self.images.get(path)
        folder, name = os.path.split(path)
        known = self._folders.get(self._real(folder))
        return None if known is None else self.images.get(f"{known}/{name}" if known else name)

    def below(self, target: Path) -> tuple[str, ...]:
        """Ids of all images below a folder, in alphabetical order."""
        inside = os.path.relpath(target, self.folder)
        if inside.startswith(".."):
            return ()
        prefix = "" if inside == "." else inside.replace(os.sep, "/") + "/"
        real = os.path.join(os.path.realpath(target), "")
        linked = {folder for place, folder in self._folders.items() if os.path.join(place, "").startswith(real)}
        found = {name for path, name in self.images.items() if path.startswith(prefix) or _folder(path) in linked}
        return tuple(sorted(found))

    @cached_property
    def files(self) -> dict[str, str]:
        """Path of each image by its id."""
        return {name: path for path, name in self.images.items() if not path.lower().endswith(".txt")}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _images_at(file: Path, key: str, written: str, tree: _Tree, notes: list[str]) -> tuple[str, ...]:
    """Images of one stated path; FileNotFoundError if nothing is there."""
    folder = tree.folder
    place = f"{file}, {key}: {written}"
    target = _find(written, folder) or _find(written, file.parent)
    outside = find_outside(written, folder, (folder,))
    if outside and not (target and os.path.samefile(outside, target)):
        raise ValueError(
            f"{place} leads out of the data set's folder, {folder}, and is not followed: state a `path` that holds "
            "all images, or move them"
        )
    if target is None:
        raise FileNotFoundError(f"{place} is not there; expected a folder of images in {folder}, or a .txt list")
    if target.is_file():
        return _listed(target, tree, notes)
    if not (found := tree.below(target)):
        raise ValueError(f"{place} holds no image")
    return found


def _find(written: str, folder: Path) -> Path | None:
    """File or folder at a path below a folder, as it is written or without its first parts."""
    parts = plain_path(written).split("/")
    if len(parts) > MAX_DEPTH:
        return None
    for start in range(len(parts)):
        if start and len(parts) == start + 1 and parts[start].lower() in IMAGE_FOLDERS:
            return None  # any data set has such a folder
        if found := descend(folder, "/".join(parts[start:])):
            return found if os.path.exists(found) else None
        if split_name(parts[start]):
            return None  # the name of a split is never ignored
    return None


def _listed(path: Path, tree: _Tree, notes: list[str]) -> tuple[str, ...]:
    """Images of a list."""
    if path.suffix.lower() != ".txt":
        raise ValueError(f"{path} is neither a folder of images nor a .txt list of them")
    ids: dict[str, None] = {}  # an ordered set
    beside = os.path.relpath(path.parent, tree.folder)
    outside = OutsideImages(path, tree.folder)
    for number, line in read_lines(path):
        near = os.path.normpath(f"{beside}/{line}").replace(os.sep, "/")
        name = tree.at(near) or resolve(line, f"{path}, line {number}", (), lambda: tree.lookup)
        outside.check(line, f"{path}, line {number}", tree.files.get(name))
        ids[name] = None
    if not ids:
        raise ValueError(f"{path} names no image")
    notes += filter(None, [outside.note()])
    return tuple(ids)
