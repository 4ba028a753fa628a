"""Build a data set: decode the images of a format, check its boxes against them, pad, and keep it in the cache."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxssd.config import Aspect, Exif
from jaxssd.data.boxes import FittedBoxes, fit_boxes, other_picture
from jaxssd.data.cache import Allocate, cached, fingerprint
from jaxssd.data.class_filter import merge_other_classes
from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.data.images import Decoded, decode_all
from jaxssd.data.orientation import turn_undecided, upright_of
from jaxssd.data.placement import place_images
from jaxssd.data.report import LoadReport, Problem
from jaxssd.ops.arrays import Size, as_pair

TURNED = "turned as its EXIF says"
"""Kind of note on an image that was turned because of its boxes."""


def build_dataset(
    source: Source,
    ids: Sequence[str],
    *,
    image_size: Size,
    class_names: Sequence[str],
    aspect: Aspect = "squash",
    exif: Exif = "auto",
    max_objects: int = 100,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Build a data set from images and boxes.

    Args:
        source: data set of any format.
        ids: images to read, in this order, such as a split of `choose_splits`.
        image_size: one side of the decoded images in pixels, or their height and width.
        class_names: name of each label, such as `source.class_names(ids)`. Objects of other classes are left out and
            counted.
        aspect: resizing to that size.
        exif: `apply` EXIF orientations, `ignore` them, or find out which picture the boxes were drawn on.
        max_objects: largest number of objects of an image; if there are more, the largest are kept.
        cache_dir: folder of decoded data sets, such as `jaxssd.cache_folder.default_cache_dir()`; None keeps nothing.
        workers: number of decoding threads; None for one per core.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        The data set, images in the order of `ids`. Its report lists the skipped ones.

    Raises:
        ValueError: if no image can be read, a number is not positive, or the format finds its files unusable.
    """
    ids, class_names = tuple(ids), tuple(class_names)
    shape = as_pair(image_size)
    for argument, value in (("image_size", min(shape)), ("max_objects", max_objects), ("workers", workers or 1)):
        if value < 1:
            raise ValueError(f"build_dataset: `{argument}` is {value}, expected a positive number")
    # Settings that decide the result: passed on as they stand in the key of the cache.
    settings: dict[str, Any] = {
        "image_size": shape,
        "aspect": aspect,
        "exif": exif,
        "class_names": class_names,
        "max_objects": max_objects,
    }
    inputs = {
        "reader": type(source).__name__,
        "ids": ids,
    }

    def build(allocate: Allocate) -> Dataset:
        records, problems = source.records(ids, class_names)
        return decode_records(
            source.path,
            records,
            merge_other_classes(problems),
            **settings,
            allocate=allocate,
            workers=workers,
            progress=progress,
            others=partial(_other_records, source, ids, class_names),
        )

    key = fingerprint(inputs | settings, source.inputs(ids))
    return cached(Path(cache_dir) if cache_dir else None, key, build)


def _other_records(source: Source, ids: Sequence[str], class_names: tuple[str, ...]) -> list[Record]:
    """Records of the data set's other images, so that all splits are rotated in the same way; readable ones only."""
    seen: set[str] = set(ids)
    records: list[Record] = []
    by_split = [partial(source.split_ids, name) for name in (*source.split_names(), *source.other_splits())]
    listings: list[Callable[[], tuple[str, ...]]] = [*by_split, source.all_ids]
    for find_ids in listings:
        with suppress(ValueError, OSError):
            new = [name for name in find_ids() if name not in seen]
            seen.update(new)
            records.extend(source.records(new, class_names)[0])
    return records


def decode_records(
    path: Path,
    records: Sequence[Record],
    problems: Sequence[Problem],
    *,
    image_size: Size,
    aspect: Aspect,
    exif: Exif,
    class_names: tuple[str, ...],
    max_objects: int,
    allocate: Allocate,
    workers: int | None,
    progress: bool,
    others: Callable[[], Sequence[Record]] = tuple,
) -> Dataset:
    """Decode the images of records, and fit their boxes.

    Args:
        path: the data set's path, for messages.
        records: images and boxes, in the order of the data set.
        problems: earlier problems, with which the report begins.
        image_size: height and width of the decoded images.
        aspect: resizing to that size.
        exif: treatment of EXIF orientations, see `build_dataset`.
        class_names: name of each label.
        max_objects: largest number of objects of an image.
        allocate: function that makes the array of the images.
        workers: number of decoding threads.
        progress: show a progress bar.
        others: function that gives the records of the data set's other images, which also show how boxes were drawn.

    Returns:
        The data set of all images that can be read.

    Raises:
        ValueError: if no image can be read.
    """
    problems = list(problems)
    images = allocate((len(records), *as_pair(image_size), 3)) if records else np.empty((0, 1, 1, 3), np.uint8)
    files = [record.image for record in records]
    upright = [upright_of(record, exif) for record in records]
    decoded = decode_all(files, images, aspect=aspect, upright=upright, workers=workers, progress=progress)
    turn_undecided(records, others, images, decoded, aspect, exif)

    ids: list[str] = []
    sizes: list[tuple[int, int]] = []
    objects: list[FittedBoxes] = []
    for row, (record, image) in enumerate(zip(records, decoded, strict=True)):
        if isinstance(image, UnreadableImage):
            problems.append(Problem(record.image_name, "skipped", image.kind, str(image)))
            continue
        if (misfit := other_picture(record, image.size)) is not None:
            problems.append(misfit)
            continue
        placement = place_images(np.array(image.size), image_size, aspect)
        fitted, found = fit_boxes(record, image.size, placement, max_objects)
        problems += [*_pixel_problems(record, image), *found]
        if len(ids) < row:
            images[len(ids)] = images[row]  # close the gap that skipped images left
        ids.append(record.id)
        sizes.append(image.size)
        objects.append(fitted)

    boxes, labels, difficult = zip(*objects, strict=True) if objects else ((), (), ())
    padded = pad_objects(boxes, labels, difficult, max_objects=max_objects)
    examples = Examples(images[: len(ids)], *padded)
    report = LoadReport(len(ids), int(examples.valid.sum()), tuple(problems))
    if not ids:
        first = f"; first, {problems[0].file}: {problems[0].detail}" if problems else ""
        raise ValueError(f"{path}: no image could be read: {report.summary()}{first}")
    return Dataset(
        examples=examples,
        class_names=class_names,
        ids=tuple(ids),
        sizes=np.array(sizes, np.int32),
        placements=place_images(np.array(sizes), image_size, aspect),
        report=report,
    )


def _pixel_problems(record: Record, image: Decoded) -> list[Problem]:
    """Notes on an image that was turned, or that had odd pixels."""
    notes = [(kind, detail) for kind, _, detail in (note.partition(": ") for note in image.notes)]
    if image.turned:
        why = "its boxes fit the picture turned" if image.fit == "shown" else "so are the others of the data set"
        notes.insert(0, (TURNED, f"{why}; --exif ignore leaves it"))
    return [Problem(record.image_name, "noted", kind, detail) for kind, detail in notes]
