"""A COCO JSON file with its images to a `Dataset`; `coco_folder` has folders of several.

    instances.json      {"images": [...], "annotations": [...], "categories": [...]}, as COCO's instances_train2017.json
                        and the lesson's pascal_train2007.json; also packed, instances.json.gz
    images/             anywhere below this folder, found by `file_name`

COCO counts from the outer edge of the first pixel, so a bbox [x, y, width, height] is the box `[y, x, y + height,
x + width]` over the decoded image's height and width. In the lesson's file it is the box that VOC's own corners give.
An annotation with `iscrowd`, or with `ignore` as the lesson's file marks VOC's difficult objects, is `difficult`: not
trained on and not scored. Outlines, keypoints and all else are left out, but an annotation without a bbox, or with four
zeros, has the hull of its outline. A category that no annotation uses is a class all the same, in the order of the
categories' ids, and classes go by their names. Numbers and ids may be text ("12.0"), ids also any text.

**Units.** bboxes of a file that are fractions of the image, or corners [x1, y1, x2, y2], are recognised over the whole
file, read as what they are, and noted: `coco_units`. Of a file that fits either way the other splits decide.

**Splits.** One file is one split, named as the file without `.json`. The other JSON files of its folder can be named as
splits, and are not opened otherwise: `--data train.json --val-split val`. Without that a share of the file is held out.

**Ids** are `file_name` without the extension, as VOC's, so that the same images give the same held-out share in either
format. Where two entries of a file would have the same one, the image's number follows: `a#7`. An image of another
split is `val.json/a`, but simply `a` if the first file lists that picture too, whatever it calls it: so it is seen when
a picture is in both, and the annotations are the first file's. Two files that are called after splits, as train and
val, must have no picture in common. `image_ids` and `category_ids` give the numbers that COCO's files of results need.

**Images** are looked up among the names below the folder, as a path from there or by the longest tail of `file_name`
that is one; case, backslashes, URL's code and a missing ending make no difference. Of several, those in a folder that
is called after the split count: `a.jpg` of val.json is `val/a.jpg`, and if that is not there, `train/a.jpg` is not
taken for it. Folders in `file_name` may be of another machine; but where those of some entries are there, an entry
whose folder is not is `missing`: `vidA/1.jpg` is not `vidB/1.jpg`. A `file_name` never becomes part of a path. Links
are followed as the file system does.

**LVIS.** `coco_url` stands in for `file_name`. Not every object of every class is annotated there, and
`neg_category_ids` and `not_exhaustive_category_ids` say where; here all that is not annotated is background, which is
noted of each image with classes of the second list.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, or of no format that is read | image skipped | `broken` |
| no image of that `file_name` | image skipped | `missing` |
| several such images, or one that two entries name | image skipped | `ambiguous` |
| beyond a limit of `images`, such as `MAX_PIXELS` | image skipped | `oversized` |
| entry of an image without id, or without `file_name` and `coco_url` | image skipped | `incomplete` |
| annotation without image_id or category_id, or neither four numbers nor an outline | box dropped | `incomplete` |
| image_id of no image that is listed | box dropped | `unknown image` |
| category_id of no category that is listed | box dropped | `unknown category` |
| a number of the bbox is NaN, infinite or has 308 digits | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| category that is not among `class_names` | box dropped | `other class` |
| same id, category and bbox as another annotation of the image | box dropped | `repeated` |
| Roboflow's category above all others, never used | no class | `root category` |
| fractions, corners | read as such | `with bbox in fractions`, `with bbox as corners` |
| outlines without a bbox | their hulls taken | `with outlines` |
| box outside or beyond the image, too many, none, image of another size | as in `voc` | as in `voc` |

Ids of annotations are not used otherwise, so they need not be unique. What belongs to no image is reported with each
split of its file. What would need a guess is an error instead: a file that is not COCO's instances (of other tools'
files it says which they look like), an id of images or categories or a category's name that is there twice, splits that
number their categories differently, fractions that are none of the above, or no readable image at all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxssd.data.formats.coco.images import ImageIndex
from jaxssd.data.formats.coco.listing import Listing, json_stem, read_listing
from jaxssd.data.formats.coco.source import COCOSource
from jaxssd.data.formats.split_names import split_word

_IMAGES = re.compile(r"(?i)images?|imgs?|data|pictures|jpegimages")
"""Names of folders that a split's folder has its images in."""


def default_images_folder(annotations: Path) -> Path:
    """Where to look for images unless told: the JSON's own folder, or the one above if that is `annotations`.

    Example:
        >>> str(default_images_folder(Path("/data/coco/annotations/instances_val2017.json")))
        '/data/coco'
    """
    folder = annotations.parent
    return folder.absolute().parent if folder.absolute().name.lower() == "annotations" else folder


@dataclass(frozen=True)
class COCOJson(COCOSource):
    """A file of COCO's instances.

    Args:
        annotations: the JSON file.
        images: the folder below which its images are; see `default_images_folder`.

    Raises:
        FileNotFoundError: if there is no such file or folder. What is wrong within the file is a `ValueError` of
            whichever method reads it first; it names the file.
    """

    annotations: Path
    images: Path

    def __post_init__(self) -> None:
        if not self.annotations.is_file():
            raise FileNotFoundError(f"{self.annotations} is not a file")
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images} is not a folder: name that of the images with --images")

    @property
    def path(self) -> Path:
        """The JSON file."""
        return self.annotations

    def split_names(self) -> tuple[str, ...]:
        """None: the file is one whole. Others beside it can be its splits or anything else, and wait to be named."""
        return ()

    def other_splits(self) -> tuple[str, ...]:
        """The other JSON files in the folder, without their ending."""
        return tuple(sorted(stem for stem, prefix in self._stems.items() if prefix))

    def remarks(self) -> tuple[str, ...]:
        """A line about files of the same name in neighbouring folders that are called after other splits."""
        folder, name = self.annotations.absolute().parent, self.annotations.name
        here, root = split_word(folder.name), folder.parent
        beside = [
            other
            for other in _folders(root)
            if split_word(other) not in (here, None) and (root / other / name).is_file()
        ]
        if here is None or not beside:
            return ()
        return (
            f"{name} is also in {', '.join(sorted(beside))} beside {folder.name}: --data {root} takes all as splits",
        )

    def split_ids(self, split: str) -> tuple[str, ...]:
        """The images of another JSON file in the same folder, or of this one.

        Args:
            split: the file's name without `.json`.

        Returns:
            Their ids.

        Raises:
            ValueError: if there is no such file, it is not one of instances, numbers its categories differently, or
                lists a picture of this file although each is called after a split of its own.
        """
        if split not in self._stems:
            known = ", ".join(sorted(self._stems)) or "none"
            raise ValueError(f"{self.annotations} has no split {split!r}; JSON files in its folder are {known}")
        prefix = self._stems[split]
        if not prefix:
            return self.all_ids()
        own, other = self._listed(""), self._listed(prefix)
        self._require_same_categories(own, other)
        ids = tuple(dict.fromkeys(self._ids_of(prefix).values()))  # two entries may be of one image here
        self._require_other_pictures(ids, split)
        return ids

    def all_ids(self) -> tuple[str, ...]:
        """All images of the file, with or without objects, in its order."""
        return tuple(self._listed("").numbers)

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """The file itself without a prefix, and each other JSON file of the folder with its name as one."""
        folder = self.annotations.parent
        names = sorted(path.name for path in folder.absolute().iterdir() if json_stem(path.name) and path.is_file())
        others = {f"{name}/": folder / name for name in names if name != self.annotations.name and name[0] != "."}
        return {"": self.annotations, **others}

    @cached_property
    def _stems(self) -> dict[str, str]:
        """Prefix of each file by the name of its split; this file's own name comes first."""
        stems: dict[str, str] = {}
        for prefix, path in self._files.items():
            stems.setdefault(json_stem(path.name) or path.name, prefix)
        return stems

    def _before(self, prefix: str) -> tuple[str, ...]:
        return ("",) if prefix else ()

    def _beside(self, prefix: str) -> tuple[str, ...]:
        """The file itself for those that were named as its splits, and these for the file."""
        return (
            ("",) if prefix else tuple(other for other, path in self._files.items() if other and path in self._opened)
        )

    def _read(self, path: Path) -> Listing:
        stem = json_stem(path.name) or path.name
        return read_listing(path, self._index(stem), stem)

    def _index(self, stem: str) -> ImageIndex:
        """The images of a file. If the folder is that of another split, its neighbours are looked through as well."""
        folder, split = self.images.absolute(), split_word(stem)
        for inner in (folder, folder.parent):  # images/train, train/images
            here = split_word(inner.name) if inner is folder or _IMAGES.fullmatch(folder.name) else None
            if here and split not in (here, None) and split in map(split_word, _folders(inner.parent)):
                return self._indices.setdefault(inner.parent, ImageIndex(inner.parent))
        return self._indices.setdefault(self.images, ImageIndex(self.images))

    @cached_property
    def _indices(self) -> dict[Path, ImageIndex]:
        return {}

    def _require_other_pictures(self, ids: tuple[str, ...], split: str) -> None:
        """Two files that are each called after a split of their own have no picture in common."""
        own = json_stem(self.annotations.name) or ""
        shared = [name for name in ids if name in self._listed("").numbers]
        if shared and split_word(own) and split_word(split) and split_word(own) != split_word(split):
            listed = self._listed("")
            where = listed.file(listed.numbers[shared[0]])
            raise ValueError(
                f"{self._files[self._stems[split]]} and {self.annotations} list the same pictures: {len(shared)}, the "
                f"first {where}. A picture to train on must not be one to validate on: take it out of one of them, or "
                "if each split has pictures of its own, keep them in folders called after the splits"
            )


def _folders(root: Path) -> list[str]:
    try:
        return [path.name for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []
