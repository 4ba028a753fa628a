"""Decode the images of a format, check its boxes against them and pad: a `Dataset`, kept in the cache."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from jaxssd.data.boxes import fit_boxes, other_picture
from jaxssd.data.cache import Allocate, cached, fingerprint
from jaxssd.data.class_filter import merge_other_classes
from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.formats.base import Record, Source
from jaxssd.data.images import Decoded, UnreadableImage, decode_all
from jaxssd.data.orientation import Exif, turn_undecided, upright_of
from jaxssd.data.placement import Aspect, place_images, to_canvas
from jaxssd.data.report import LoadReport, Problem

MIN_VISIBLE = 0.3
"""Share of a box that a crop must leave in view to be learned; of less, too little can be recognised, and whoever finds
it all the same is not wrong."""


def build_dataset(
    source: Source,
    ids: Sequence[str],
    *,
    image_size: int,
    class_names: Sequence[str],
    aspect: Aspect = "squash",
    exif: Exif = "auto",
    max_objects: int = 100,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Read images and boxes.

    Args:
        source: of any format.
        ids: which images, in which order: a split from `train_val_ids` or `Source.split_ids`.
        image_size: height and width of the square that images become.
        class_names: label 0, label 1 and so on; `source.class_names(ids)` of the training ids, say. Objects of other
            classes are left out and counted.
        aspect: how an image that is no square becomes one.
        exif: whether EXIF orientations are applied; `auto` asks which picture the boxes were drawn on.
        max_objects: objects an image may have; where there are more the largest are kept.
        cache_dir: where to keep the decoded set, such as `cache.default_cache_dir()`; None keeps nothing.
        workers: threads that decode; None for one a core.
        progress: show a progress bar while decoding, if standard error is a terminal.

    Returns:
        The data set, images in the order of `ids`; those skipped are in its report.

    Raises:
        ValueError: if no image can be read, or a number is not positive; or what else the source has against its
            files.
    """
    ids, class_names = tuple(ids), tuple(class_names)
    for argument, value in (("image_size", image_size), ("max_objects", max_objects), ("workers", workers or 1)):
        if value < 1:
            raise ValueError(f"build_dataset: `{argument}` is {value}, expected a positive number")
    settings = {
        "reader": type(source).__name__,
        "image_size": image_size,
        "aspect": aspect,
        "exif": exif,
        "class_names": class_names,
        "max_objects": max_objects,
        "ids": ids,
    }

    def build(allocate: Allocate) -> Dataset:
        records, problems = source.records(ids, class_names)
        return decode_records(
            source.path,
            records,
            merge_other_classes(problems),
            image_size=image_size,
            aspect=aspect,
            exif=exif,
            class_names=class_names,
            max_objects=max_objects,
            allocate=allocate,
            workers=workers,
            progress=progress,
            others=partial(_other_records, source, ids, class_names),
        )

    return cached(Path(cache_dir) if cache_dir else None, fingerprint(settings, source.inputs(ids)), build)


def _other_records(source: Source, ids: Sequence[str], class_names: tuple[str, ...]) -> list[Record]:
    """What is known of the data set's other images, so that all splits are read in the same way.

    What cannot be read says nothing here, and is an error when it is asked for.
    """
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
    image_size: int,
    aspect: Aspect,
    exif: Exif,
    class_names: tuple[str, ...],
    max_objects: int,
    allocate: Allocate,
    workers: int | None,
    progress: bool,
    others: Callable[[], Sequence[Record]] = tuple,
) -> Dataset:
    """Decode the images and put the boxes into their final form.

    Args:
        path: of the data set, for messages.
        records: in the order that the data set will have.
        problems: what the source has met already; the report begins with these.
        image_size: height and width of the decoded images.
        aspect: how an image becomes a square.
        exif: whether EXIF orientations are applied; `auto` asks which picture the boxes were drawn on.
        class_names: name of each label.
        max_objects: objects an image may have.
        allocate: gives the array for the images.
        workers: threads that decode; None for one a core.
        progress: show a progress bar.
        others: gives the data set's images that are not read here. They, too, show which picture boxes are drawn on.

    Returns:
        The data set of all images that could be read.

    Raises:
        ValueError: if no image could be read.
    """
    problems = list(problems)
    images = allocate((len(records), image_size, image_size, 3)) if records else np.empty((0, 1, 1, 3), np.uint8)
    files = [record.image for record in records]
    upright = [upright_of(record, exif) for record in records]
    decoded = decode_all(files, images, aspect=aspect, upright=upright, workers=workers, progress=progress)
    turn_undecided(records, others, images, decoded, aspect, exif)

    kept: list[Record] = []
    kept_sizes: list[tuple[int, int]] = []
    kept_boxes, kept_labels, kept_difficult = [], [], []
    for row, (record, image) in enumerate(zip(records, decoded, strict=True)):
        if isinstance(image, UnreadableImage):
            problems.append(Problem(record.image_name, "skipped", image.kind, str(image)))
            continue
        size = image.size
        if (misfit := other_picture(record, size)) is not None:
            problems.append(misfit)
            continue
        boxes, inside, remarks = fit_boxes(record, size, max_objects)
        remarks = [*_odd_pixels(record, image), *remarks]
        boxes, visible = _place(boxes, place_images(np.array(size), image_size, aspect))
        if outside := int((inside & (visible == 0)).sum()):
            detail = f"{outside} objects of which nothing lies in the middle square"
            remarks.extend([Problem(record.annotation_name, "dropped", "outside the crop", detail)] * outside)
        cut = inside & (visible > 0) & (visible < MIN_VISIBLE)
        if cut.any():
            detail = f"{cut.sum()} objects of which less than {MIN_VISIBLE:.0%} lies in the middle square are difficult"
            remarks.append(Problem(record.annotation_name, "noted", "with objects cut by the crop", detail))
        inside &= visible > 0
        if len(kept) < row:
            images[len(kept)] = images[row]  # close the gap that skipped images left
        kept.append(record)
        kept_sizes.append(size)
        kept_boxes.append(boxes[inside])
        kept_labels.append(record.labels[inside])
        kept_difficult.append((record.difficult | cut)[inside])
        problems.extend(remarks)

    padded = pad_objects(kept_boxes, kept_labels, kept_difficult, max_objects=max_objects)
    examples = Examples(images[: len(kept)], *padded)
    report = LoadReport(len(kept), int(examples.valid.sum()), tuple(problems))
    if not kept:
        raise ValueError(f"{path}: no image could be read: {report.summary()}{_first(problems)}")
    return Dataset(
        examples=examples,
        class_names=class_names,
        ids=tuple(record.id for record in kept),
        sizes=np.array(kept_sizes, np.int32),
        placements=place_images(np.array(kept_sizes), image_size, aspect),
        report=report,
    )


def _odd_pixels(record: Record, image: Decoded) -> list[Problem]:
    """What decoding an image had to do."""
    problems = []
    if image.turned:
        why = "its boxes fit the picture turned" if image.fit == "shown" else "so are the others of the data set"
        problems.append(
            Problem(record.image_name, "noted", "turned as its EXIF says", f"{why}; --exif ignore leaves it")
        )
    for kind, _, detail in (note.partition(": ") for note in image.notes):
        problems.append(Problem(record.image_name, "noted", kind, detail))
    return problems


def _place(
    boxes: Float32[np.ndarray, "n 4"], placement: Float64[np.ndarray, " 4"]
) -> tuple[Float32[np.ndarray, "n 4"], Float64[np.ndarray, " n"]]:
    """Boxes on the canvas, clipped to it, and the share of each that is in view."""
    placed = to_canvas(boxes, placement)
    clipped = np.clip(placed, 0, 1)
    area, visible = (np.prod(corners[:, 2:] - corners[:, :2], axis=1) for corners in (placed, clipped))
    return clipped.astype(np.float32), np.divide(visible, area, out=np.zeros_like(area), where=area > 0)


def _first(problems: Sequence[Problem]) -> str:
    return f"; first, {problems[0].file}: {problems[0].detail}" if problems else ""
