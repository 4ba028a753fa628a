"""A folder in PASCAL VOC layout to a `Dataset`.

    root/Annotations/*.xml           one annotation an image; its name without extension is the image's id
    root/JPEGImages/*.jpg            .jpg, .jpeg or .png in any case, found by id; the XML's <filename> is not read
    root/ImageSets/Main/train.txt    ids of a split, one a line; optional

VOC counts pixels from 1 and includes both corners, so a box is `[ymin - 1, xmin - 1, ymax, xmax]` over the decoded
image's height and width. Coordinates may have decimals. <part> annotations are not objects; a missing <difficult> is 0.

Links are followed as the file system does, folders and files alike, so that sets can be put together from links; but
an id is only ever looked up among the names in its folder and never becomes part of a path.

What is not as it should be is counted in the report together with its file, and reading goes on:

| found | done | counted as |
|---|---|---|
| image damaged, cut short, or neither JPEG nor PNG | image skipped | `broken` |
| no image of that id | image skipped | `missing` |
| more than `images.MAX_PIXELS` pixels | image skipped | `oversized` |
| no annotation of that id | image skipped | `without annotation` |
| annotation is not XML, or not an <annotation> | image skipped | `malformed annotation` |
| annotation declares a DTD, with or without entities | image skipped | `forbidden annotation` |
| <object> inside something else, or without name or four numbers | box dropped | `incomplete` |
| a coordinate is NaN or infinite | box dropped | `not finite` |
| xmax < xmin or ymax < ymin | box dropped | `swapped corners` |
| xmax = xmin or ymax = ymin: a click, not a box | box dropped | `without area` |
| box wholly outside the image | box dropped | `outside the image` |
| more than `max_objects` objects | smallest boxes dropped | `over max_objects` |
| box more than one pixel beyond the image's edge | box clipped | `beyond the image's edge` |
| no object, or none left | image kept | `without objects` |
| <size> differs from the image's | image kept, its own size used | `of another size than annotated` |

Up to one pixel beyond the edge is clipped without a word: many tools count from 0. What would need a guess is an error
instead: a class not among `class_names`, an id that is not a plain name, one in both the training and the validation
split, a folder of another layout, or no readable image at all.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxssd.data.cache import cached, fingerprint
from jaxssd.data.dataset import Dataset
from jaxssd.data.records import Allocate, Record, read_records
from jaxssd.data.report import Problem
from jaxssd.data.voc_xml import Annotation, UnreadableAnnotation, parse_annotation

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_voc(
    root: str | Path,
    ids: Sequence[str],
    *,
    image_size: int,
    class_names: Sequence[str],
    max_objects: int = 100,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Read images and boxes; the module's table says what happens to faulty ones.

    Args:
        root: the folder that holds Annotations and JPEGImages.
        ids: which images, in which order: a split from `train_val_ids` or `split_ids`.
        image_size: height and width to which images are squashed.
        class_names: label 0, label 1 and so on; `class_names(root, ids)` of the training ids, say.
        max_objects: objects an image may have; where there are more the largest are kept.
        cache_dir: where to keep the decoded set, such as `cache.default_cache_dir()`; None keeps nothing.
        workers: threads that decode; None for one a core.
        progress: show a progress bar while decoding, if standard error is a terminal.

    Returns:
        The data set, images in the order of `ids`; those skipped are in its report.

    Raises:
        FileNotFoundError: if there is no folder `root`.
        ValueError: if the folder has another layout, an id is not a plain name, an object's class is unknown, no image
            can be read, or a number is not positive.
    """
    root = _check_root(root)
    ids, names = tuple(ids), tuple(class_names)
    for argument, value in (("image_size", image_size), ("max_objects", max_objects), ("workers", workers or 1)):
        if value < 1:
            raise ValueError(f"read_voc: `{argument}` is {value}, expected a positive number")
    for name in ids:
        _check_id(name, "`ids`")
    annotations = _files_by_stem(root / "Annotations", (".xml",))
    images = _files_by_stem(root / "JPEGImages", IMAGE_SUFFIXES)
    settings = {"reader": "voc", "image_size": image_size, "class_names": names, "max_objects": max_objects, "ids": ids}
    files = [folder.get(name) for name in ids for folder in (annotations, images)]

    def build(allocate: Allocate) -> Dataset:
        problems: list[Problem] = []
        records = [_read_record(name, annotations, images, names, problems) for name in ids]
        return read_records(
            root,
            [record for record in records if record],
            problems,
            image_size=image_size,
            class_names=names,
            max_objects=max_objects,
            allocate=allocate,
            workers=workers,
            progress=progress,
        )

    return cached(Path(cache_dir) if cache_dir else None, fingerprint(settings, files), build)


def class_names(root: str | Path, ids: Iterable[str]) -> tuple[str, ...]:
    """The classes that the annotations of some images name, in alphabetical order as in the lesson.

    Args:
        root: the folder that holds Annotations and JPEGImages.
        ids: of the images; annotations that cannot be read are left out here and reported by `read_voc`.

    Returns:
        The names.

    Raises:
        FileNotFoundError: if there is no folder `root`.
        ValueError: if the folder has another layout, or the annotations name no class.
    """
    annotations = _files_by_stem(_check_root(root) / "Annotations", (".xml",))
    found: set[str] = set()
    for name in ids:
        try:
            found.update(item.name for item in _read_annotation(name, annotations).objects)
        except UnreadableAnnotation:
            continue
    if not found:
        raise ValueError(f"{root}: the annotations asked for hold no object")
    return tuple(sorted(found))


def split_names(root: str | Path) -> tuple[str, ...]:
    """The splits that ImageSets/Main has, in alphabetical order."""
    return tuple(sorted(_splits(_check_root(root))))


def annotated_ids(root: str | Path) -> tuple[str, ...]:
    """All images that have an annotation, in alphabetical order."""
    return tuple(sorted(_files_by_stem(_check_root(root) / "Annotations", (".xml",))))


def split_ids(root: str | Path, split: str) -> tuple[str, ...]:
    """The images of a named split, in the file's order.

    A second column, as in VOC's files for single classes, is ignored. An id named twice counts once.

    Args:
        root: the folder that holds Annotations and JPEGImages.
        split: name of a file in ImageSets/Main, without `.txt`.

    Returns:
        Their ids.

    Raises:
        FileNotFoundError: if there is no folder `root`.
        ValueError: if the folder has another layout or no such split, or if the split is empty, is not UTF-8 or has an
            id that is not a plain name.
    """
    root = _check_root(root)
    splits = _splits(root)
    if split not in splits:
        raise ValueError(f"{root} has no split {split!r}; ImageSets/Main has {', '.join(sorted(splits)) or 'none'}")
    path = splits[split]
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    annotations = _files_by_stem(root / "Annotations", (".xml",))
    ids: dict[str, None] = {}  # an ordered set
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line:
            name = line if line in annotations else line.split()[0]  # a name may have spaces in it
            _check_id(name, f"{path}, line {number}")
            ids[name] = None
    if not ids:
        raise ValueError(f"{path} names no image")
    return tuple(ids)


def train_val_ids(
    root: str | Path,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    val_fraction: float = 0.2,
    seed: int = 42,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Images to train on and images to validate on.

    Unless they are named, the splits are `train.txt` and `val.txt` of ImageSets/Main. Where there is no `train.txt`,
    `trainval.txt` takes its place, or all annotations if there are no splits at all, less the validation images. Where
    there is nothing to validate on, some are held out as the lesson does it, of `trainval.txt` rather than `train.txt`:
    with the ids in alphabetical order, the first `int(val_fraction * n)` (at least one) of NumPy's legacy permutation
    of `n` for `seed`. The defaults give the lesson's own 500 validation images from VOC 2007's `train.txt`.

    Args:
        root: the folder that holds Annotations and JPEGImages.
        train_split: name of a file in ImageSets/Main to train on, without `.txt`.
        val_split: name of one to validate on.
        val_fraction: share to hold out.
        seed: which images to hold out.

    Returns:
        Training ids and validation ids.

    Raises:
        FileNotFoundError: if there is no folder `root`.
        ValueError: as `split_ids`; or if an image is in both splits, if there are splits but none to train on, or if
            nothing is left to train on.
    """
    root = _check_root(root)
    splits = _splits(root)
    val_split = val_split or ("val" if "val" in splits else None)
    candidates = [train_split] if train_split else ["train", "trainval"] if val_split else ["trainval", "train"]
    source = next((name for name in candidates if name == train_split or name in splits), None)
    if source:
        ids = split_ids(root, source)
    elif splits:
        raise ValueError(f"{root}: ImageSets/Main has no train or trainval, only {', '.join(sorted(splits))}")
    else:
        ids = annotated_ids(root)

    if val_split:
        val = split_ids(root, val_split)
        shared = sorted(set(ids) & set(val))
        if shared and (train_split or source == "train"):
            raise ValueError(
                f"{root}: in both {source}.txt and {val_split}.txt: {len(shared)} images, the first {shared[0]!r}"
            )
    else:
        if not 0 < val_fraction < 1:
            raise ValueError(f"{root}: cannot hold out a share of {val_fraction}")
        ids = tuple(sorted(ids))
        num_val = max(int(val_fraction * len(ids)), 1)
        shuffled = np.random.RandomState(seed).permutation(len(ids))  # the lesson's stream, which NumPy keeps
        val = tuple(sorted(ids[i] for i in shuffled[:num_val]))
    train = tuple(name for name in ids if name not in set(val))
    if not train:
        raise ValueError(f"{root}: of {len(ids)} image(s) none would be left to train on")
    return train, val


def _read_record(
    name: str, annotations: dict[str, Path], images: dict[str, Path], names: tuple[str, ...], problems: list[Problem]
) -> Record | None:
    """What is known of one image before it is decoded; None, and a problem more, if that is not enough."""
    file = f"Annotations/{annotations[name].name if name in annotations else name + '.xml'}"
    try:
        annotation = _read_annotation(name, annotations)
    except UnreadableAnnotation as error:
        problems.append(Problem(file, "skipped", error.kind, str(error)))
        return None
    if name not in images:
        expected = f"no file of that name with extension {', '.join(IMAGE_SUFFIXES)}"
        problems.append(Problem(f"JPEGImages/{name}", "skipped", "missing", expected))
        return None
    problems.extend(Problem(file, "dropped", "incomplete", detail) for detail in annotation.incomplete)
    sound = []
    for item in annotation.objects:
        if item.name not in names:
            raise ValueError(
                f"{annotations[name]}: unknown class {item.name!r}; known are {', '.join(names)}: name every "
                "class of the annotations with --classes when the run is started"
            )
        if flaw := item.flaw():
            where = "xmin {:g}, ymin {:g}, xmax {:g}, ymax {:g}".format(*item.box)
            problems.append(Problem(file, "dropped", flaw, f"{item.name}: {where}"))
        else:
            sound.append(item)
    xmin, ymin, xmax, ymax = np.array([item.box for item in sound], np.float64).reshape(-1, 4).T
    return Record(
        id=name,
        image=images[name],
        annotation=annotations[name],
        boxes=np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=-1),
        labels=np.array([names.index(item.name) for item in sound], np.int32),
        difficult=np.array([item.difficult for item in sound], bool),
        stated_size=annotation.size,
    )


def _read_annotation(name: str, annotations: dict[str, Path]) -> Annotation:
    if name not in annotations:
        raise UnreadableAnnotation("without annotation", "no such file")
    try:
        return parse_annotation(annotations[name].read_bytes())
    except OSError as error:
        raise UnreadableAnnotation("malformed annotation", str(error)) from error


def _check_root(root: str | Path) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    missing = [name for name in ("Annotations", "JPEGImages") if not (root / name).is_dir()]
    if not missing:
        return root
    inside = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    found = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    deeper = sorted(path.parent for path in root.glob("*/Annotations"))
    hint = f" Did you mean {deeper[0]}?" if deeper else ""
    raise ValueError(
        f"{root} is not in PASCAL VOC layout: it has no {' and no '.join(missing)}, but {found or 'nothing'}.{hint} "
        "Expected are Annotations/*.xml, JPEGImages/*.jpg and, optionally, ImageSets/Main/train.txt and val.txt."
    )


def _splits(root: Path) -> dict[str, Path]:
    folder = root / "ImageSets" / "Main"
    return _files_by_stem(folder, (".txt",)) if folder.is_dir() else {}


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Regular files that are not hidden, by name without extension; of equal names the earlier suffix counts."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in suffixes and not entry.name.startswith(".") and entry.is_file():
                found.append((-suffixes.index(suffix.lower()), entry.name, stem))
    return {stem: folder / name for _, name, stem in sorted(found)}


def _check_id(name: str, where: str) -> None:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"{where}: {name!r} is not a plain file name")
