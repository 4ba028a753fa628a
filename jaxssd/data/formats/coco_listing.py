"""The images that a COCO file lists, each with an id and with the file that its name leads to."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jaxssd.data.formats.coco_json import Instances, read_instances
from jaxssd.data.formats.files import IMAGE_SUFFIXES, ImageFolder, plain_path, without_suffix


@dataclass(frozen=True, eq=False)
class Listing:
    """One file of COCO's instances.

    Attributes:
        path: the file.
        folder: where its images are.
        instances: what it holds.
        names: ids by the numbers of the images: `file_name` without extension, and with the number where that is
            missing or not unique.
        hits: the images that each entry can mean, relative to the folder.
        numbers: the images' numbers by id.
        entries: how many entries mean each image.
    """

    path: Path
    folder: ImageFolder
    instances: Instances
    names: dict[int, str]
    hits: dict[int, tuple[str, ...]]
    numbers: dict[str, int]
    entries: Counter[str]

    def key(self, number: int) -> str:
        """What tells an image from others, of other files too: its file, or at least its name."""
        hits = self.hits[number]
        return hits[0] if len(hits) == 1 else self.instances.images[number].file_name

    def flaw(self, number: int) -> tuple[str, str] | None:
        """Why an entry gives no image: kind and detail."""
        name, hits = self.instances.images[number].file_name, self.hits[number]
        if not plain_path(name):
            return "incomplete", "it has no file_name"
        if not hits:
            wanted = f"no {name[:200]!r} with extension {', '.join(IMAGE_SUFFIXES)}"
            return "missing", f"{wanted} is below {self.folder.root}; --images can name another folder"
        if len(hits) > 1:
            found = ", ".join(hits[:3]) + (f" and {len(hits) - 3} more" if len(hits) > 3 else "")
            return "ambiguous", f"it can be {found}: write file_name as the path from {self.folder.root}"
        if self.entries[hits[0]] > 1:
            return "ambiguous", f"{self.entries[hits[0]]} entries are of {hits[0]}, each with a part of its boxes"
        return None


def read_listing(path: Path, folder: ImageFolder) -> Listing:
    """Read a file and find its images.

    Args:
        path: the JSON file.
        folder: where its images are.

    Raises:
        ValueError: as `read_instances`; or if two images would have the same id.
    """
    instances = read_instances(path)
    names = _unique_names(path, instances)
    hits = {number: folder.find(entry.file_name) for number, entry in instances.images.items()}
    return Listing(
        path=path,
        folder=folder,
        instances=instances,
        names=names,
        hits=hits,
        numbers={name: number for number, name in names.items()},
        entries=Counter(found[0] for found in hits.values() if len(found) == 1),
    )


def _unique_names(path: Path, instances: Instances) -> dict[int, str]:
    plain = {number: without_suffix(plain_path(entry.file_name)) for number, entry in instances.images.items()}
    count = Counter(plain.values())
    names = {number: name if name and count[name] == 1 else f"{name}#{number}" for number, name in plain.items()}
    if len(set(names.values())) < len(names):
        twice = next(name for name, times in Counter(names.values()).items() if times > 1)
        raise ValueError(f"{path} has two images that would be called {twice!r}: rename one")
    return names
