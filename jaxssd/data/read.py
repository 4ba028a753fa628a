"""From a source to a `Dataset`, by way of the cache."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from jaxssd.data.cache import cached, fingerprint
from jaxssd.data.class_filter import merge_other_classes
from jaxssd.data.dataset import Dataset
from jaxssd.data.placement import Aspect
from jaxssd.data.records import Allocate, Exif, read_records
from jaxssd.data.source import Record, Source


def read(
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
            raise ValueError(f"read: `{argument}` is {value}, expected a positive number")
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
        return read_records(
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
