"""From what a data.yaml or an obj.data states to the images of each split.

A path counts from the data set's folder: that of `path`, if it is there, or else that of the file itself. What stands
before a folder that is there is left away: Roboflow's `../train/images`, Darknet's `data/train.txt`, another machine's
`/content/set/train`; but never the name of a split. Images outside the data set's folder are not read, and nothing
that is there is mistaken for what has its name in the folder: `outside`.
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
from jaxssd.data.formats.yolo.files import IMAGE_FOLDERS


@dataclass
class Splits:
    """Splits as they are found.

    Attributes:
        ids: images of each split.
        errors: what is wrong with a split that is stated.
        remarks: lines for the log.
    """

    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def data_folder(file: Path | None, stated: Stated) -> tuple[Path, str | None]:
    """The folder from which paths count, and a remark on it.

    Args:
        file: that states it.
        stated: what it says.

    Raises:
        ValueError: if `path` is the root of the file system.
    """
    assert file is not None
    root = file.parent
    if stated.folder is None:
        return root, None
    written = stated.folder.replace("\\", "/")
    folder = Path(os.path.normpath(root.absolute() / written))
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
    """The images of each split that is stated.

    Args:
        file: that states them.
        stated: what it says.
        folder: from which paths count.
        images: id of each image by its path from `folder`, and by that of its labels.

    Returns:
        Splits. One whose paths all lead out of the folder, to nothing, is not among them but in a remark.
    """
    found, tree = Splits(), _Tree(folder, images)
    for split, (key, paths) in stated.splits.items():
        ids: dict[str, None] = {}  # an ordered set
        stale = 0
        for written in paths:
            try:
                ids.update(dict.fromkeys(_images_at(file, key, written, tree, found.remarks)))
            except FileNotFoundError as error:
                stale += leads_out(written)
                found.errors.setdefault(split, str(error))
            except ValueError as error:
                found.errors.setdefault(split, str(error))
        if stale == len(paths):
            missing = found.errors.pop(split)
            if split != "test":  # which many exports state and have not
                found.remarks.append(f"{missing}; {key} is not followed")
        elif split not in found.errors:
            found.ids[split] = tuple(ids)
    return found


def listed_splits(root: Path, images: Mapping[str, str]) -> Splits:
    """The splits of lists that lie in a folder and are called after one: train.txt, valid.txt."""
    found, tree = Splits(), _Tree(root, images)
    for split, names in lists_by_split(root).items():
        for name in names[:1]:
            try:
                found.ids[split] = _listed(root / name, tree, found.remarks)
            except ValueError as error:
                found.errors[split] = str(error)
    return found


class _Tree:
    """A data set's images by path, which may lead through a link other than the one that they are listed under.

    Args:
        folder: from which paths count.
        images: ids by path.
    """

    def __init__(self, folder: Path, images: Mapping[str, str]) -> None:
        """No link has been followed."""
        self.folder, self.images, self.lookup = folder, images, Lookup(images)
        self._seen: dict[str, str] = {}

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Where each folder with images in it really is, and how it is called."""
        return {self._real(folder): folder for folder in {_folder(path) for path in self.images}}

    def _real(self, folder: str) -> str:
        if folder not in self._seen:
            self._seen[folder] = os.path.realpath(self.folder / folder)
        return self._seen[folder]

    def at(self, path: str) -> str | None:
        """The id of an image; None if there is none, or it is outside."""
        if path in self.images or path.startswith("../") or "\0" in path or path.count("/") > MAX_DEPTH:
            return self.images.get(path)
        folder, name = os.path.split(path)
        known = self._folders.get(self._real(folder))
        return None if known is None else self.images.get(f"{known}/{name}" if known else name)

    def below(self, target: Path) -> tuple[str, ...]:
        """Ids of all images in a folder and those in it, in alphabetical order."""
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
        """Paths of images by id, without those of labels."""
        return {name: path for path, name in self.images.items() if not path.lower().endswith(".txt")}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _images_at(file: Path, key: str, written: str, tree: _Tree, remarks: list[str]) -> tuple[str, ...]:
    """The images of one path; FileNotFoundError if it leads nowhere."""
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
        raise FileNotFoundError(
            f"{place} is not there; expected is a folder of images in {folder}, or a .txt list of them"
        )
    if target.is_file():
        return _listed(target, tree, remarks)
    if not (found := tree.below(target)):
        raise ValueError(f"{place} holds no image")
    return found


def _find(written: str, folder: Path) -> Path | None:
    """What a path leads to in a folder, as it stands or less its first parts, but not less the name of a split."""
    parts = plain_path(written).split("/")
    if len(parts) > MAX_DEPTH:
        return None
    for start in range(len(parts)):
        if start and len(parts) == start + 1 and parts[start].lower() in IMAGE_FOLDERS:
            return None  # any data set has such a folder
        if found := descend(folder, "/".join(parts[start:])):
            return found if os.path.exists(found) else None
        if split_name(parts[start]):
            return None
    return None


def _listed(path: Path, tree: _Tree, remarks: list[str]) -> tuple[str, ...]:
    """The images of a list."""
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
    remarks += filter(None, [outside.note()])
    return tuple(ids)
