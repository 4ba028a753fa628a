"""The images that a COCO file lists, each with an id and with the file that its name leads to."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.coco.images import ImageIndex, clean_name
from jaxssd.data.formats.coco.instances import Instances, read_instances
from jaxssd.data.formats.coco.units import OWN_WAY
from jaxssd.data.formats.coco.values import Id
from jaxssd.data.formats.files import IMAGE_SUFFIXES, without_suffix
from jaxssd.data.images import UnreadableImage, stored_size

_ENOUGH = 300
"""Images whose headers are read where a file states no sizes."""

JSON_SUFFIXES = (".json", ".json.gz")


def json_stem(name: str) -> str | None:
    """The name of a JSON file without its ending; None for other files.

    Example:
        >>> json_stem("val.JSON"), json_stem("lvis_v1_val.json.gz"), json_stem("val.csv")
        ('val', 'lvis_v1_val', None)
    """
    suffix = next((suffix for suffix in JSON_SUFFIXES if name.lower().endswith(suffix)), None)
    return name[: -len(suffix)] if suffix else None


@dataclass(frozen=True, eq=False)
class Listing:
    """One file of COCO's instances.

    Attributes:
        path: the file.
        images: where its images are.
        instances: what it holds.
        names: ids by the ids of the images in the file: `file_name` without extension, and with the number where that
            is missing or not unique.
        hits: the images that each entry can mean, relative to the folder.
        numbers: the images' ids in the file by id.
        entries: how many entries mean each image.
    """

    path: Path
    images: ImageIndex
    instances: Instances
    names: dict[Id, str]
    hits: dict[Id, tuple[str, ...]]
    numbers: dict[str, Id]
    entries: Counter[str]

    def file(self, number: Id) -> Path | None:
        """The image, if its name leads to one."""
        hits = self.hits[number]
        return self.images.root / hits[0] if len(hits) == 1 else None

    @cached_property
    def identities(self) -> dict[Id, object]:
        """What tells images from others, of other files too: the file itself, by whatever name; only of those found."""
        return {number: self.images.identity(hits[0]) for number, hits in self.hits.items() if len(hits) == 1}

    def flaw(self, number: Id) -> tuple[str, str] | None:
        """Why an entry gives no image: kind and detail."""
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
        path: the JSON file.
        images: where its images are.
        source: name of the split, or of the file, by which folders of images are chosen.

    Raises:
        ValueError: as `read_instances`; or if two images would have the same id.
    """
    instances = read_instances(path)
    names = _unique_names(path, instances)
    hits = images.find_all({number: entry.file_name for number, entry in instances.images.items()}, source)
    instances = _with_evidence(path, images.root, instances, hits)
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
    """Ids as COCO's files of results need them: their own if all are whole numbers, otherwise their places, from 1."""
    whole = tuple(number for number in ids if isinstance(number, int))
    return whole if len(set(whole)) == len(ids) else tuple(range(1, len(ids) + 1))


def _with_evidence(path: Path, root: Path, instances: Instances, hits: Mapping[Id, Sequence[str]]) -> Instances:
    """The same, what its boxes show told by the images themselves where the file states the size of none."""
    if instances.evidence.units != OWN_WAY or any(entry.size for entry in instances.images.values()):
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
        twice = next(name for name, times in Counter(names.values()).items() if times > 1)
        raise ValueError(f"{path} has two images that would be called {twice!r}: rename one")
    return names
