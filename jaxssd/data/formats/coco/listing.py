"""One COCO file with its images found on disk, and an id for each."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.coco.images import ImageIndex, clean_name
from jaxssd.data.formats.coco.instances import Instances, read_instances
from jaxssd.data.formats.coco.units import STANDARD
from jaxssd.data.formats.coco.values import Id
from jaxssd.data.formats.files import IMAGE_SUFFIXES, without_suffix
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.data.images import stored_size

_ENOUGH = 300
"""Number of images whose headers are read if a file states no sizes."""


@dataclass(frozen=True, eq=False)
class Listing:
    """One file of COCO's instances.

    Attributes:
        path: the file.
        images: images on disk.
        instances: content of the file.
        names: our id of each image by its id in the file: `file_name` without its extension, and with the number if
            that is missing or not unique.
        hits: images on disk that each entry may mean, relative to the folder.
        numbers: id in the file of each of our ids.
        entries: number of entries of each image on disk.
    """

    path: Path
    images: ImageIndex
    instances: Instances
    names: dict[Id, str]
    hits: dict[Id, tuple[str, ...]]
    numbers: dict[str, Id]
    entries: Counter[str]

    def file(self, number: Id) -> Path | None:
        """Path of an image, if exactly one matches."""
        hits = self.hits[number]
        return self.images.root / hits[0] if len(hits) == 1 else None

    @cached_property
    def identities(self) -> dict[Id, object]:
        """Device and inode of each image that is found, equal in all files that list it."""
        return {number: self.images.identity(hits[0]) for number, hits in self.hits.items() if len(hits) == 1}

    def flaw(self, number: Id) -> tuple[str, str] | None:
        """Kind and detail of the problem of an entry without an image."""
        name, hits, root = self.instances.images[number].file_name, self.hits[number], self.images.root
        if not clean_name(name):
            return "incomplete", "it has no file_name"
        if not hits:
            wanted = f"no {name[:200]!r} with extension {', '.join(IMAGE_SUFFIXES)}"
            return "missing", f"{wanted} is below {root}; --images can name another folder"
        if len(hits) > 1:
            found = ", ".join(hits[:3]) + (f" and {len(hits) - 3} more" if len(hits) > 3 else "")
            return (
                "ambiguous",
                f"it can be {found}: write file_name as the path from {root}, or name a folder with --images",
            )
        if self.entries[hits[0]] > 1:
            return "ambiguous", f"{self.entries[hits[0]]} entries are of {hits[0]}, each with a part of its boxes"
        return None


def read_listing(path: Path, images: ImageIndex, source: str) -> Listing:
    """Read a file and find its images.

    Args:
        path: JSON file.
        images: images on disk.
        source: name of the split or file, which decides between folders of images.

    Raises:
        ValueError: if two images would have the same id, and as `read_instances`.
    """
    instances = read_instances(path)
    names = _unique_names(path, instances)
    hits = images.find_all({number: entry.file_name for number, entry in instances.images.items()}, source)
    instances = _with_evidence(images.root, instances, hits)
    return Listing(
        path=path,
        images=images,
        instances=instances,
        names=names,
        hits=hits,
        numbers={name: number for number, name in names.items()},
        entries=Counter(found[0] for found in hits.values() if len(found) == 1),
    )


def integers(ids: Sequence[Id]) -> tuple[int, ...]:
    """Integer ids for COCO's results files: the ids if all are integers, otherwise their positions from 1."""
    whole = tuple(number for number in ids if isinstance(number, int))
    return whole if len(set(whole)) == len(ids) else tuple(range(1, len(ids) + 1))


def _with_evidence(root: Path, instances: Instances, hits: Mapping[Id, Sequence[str]]) -> Instances:
    """Instances whose units are judged by the images on disk, if the file states no sizes."""
    if instances.evidence.units != STANDARD or any(entry.size for entry in instances.images.values()):
        return instances
    sizes: dict[Id, tuple[int, int]] = {}
    for number in [number for number in instances.annotations if len(hits[number]) == 1][:_ENOUGH]:
        with contextlib.suppress(UnreadableImage):
            sizes[number] = stored_size(root / hits[number][0])
    return replace(instances, evidence=instances.weigh(sizes))


def _unique_names(path: Path, instances: Instances) -> dict[Id, str]:
    plain = {number: without_suffix(clean_name(entry.file_name)) for number, entry in instances.images.items()}
    count = Counter(plain.values())
    names = {number: name if name and count[name] == 1 else f"{name}#{number}" for number, name in plain.items()}
    if len(set(names.values())) < len(names):
        repeated = next(name for name, times in Counter(names.values()).items() if times > 1)
        raise ValueError(f"{path} has two images with the same name {repeated!r}: rename one")
    return names
