"""Decoded data sets on disk, each in a folder named by a fingerprint of all it was made from.

A folder holds `images.npy`, which is memory-mapped when read, `arrays.npz` with the small arrays, and `meta.json`.
It is written under another name and renamed when whole, so that neither a killed run nor two at a time can leave half
of one. Nothing in it is pickled. Any of it may be deleted at any time; nothing else ever deletes it.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxssd.atomic import UNFINISHED
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.records import Allocate
from jaxssd.data.report import LoadReport, Problem

FORMAT_VERSION = 2
"""Part of every fingerprint; to be raised when decoding or the files change."""

_ABANDONED = 24 * 3600  # seconds after which an unfinished folder is taken for a killed run's


def default_cache_dir() -> Path:
    """`$JAXSSD_CACHE`, else `$XDG_CACHE_HOME/jaxssd`, else `~/.cache/jaxssd`."""
    if chosen := os.environ.get("JAXSSD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxssd"


def fingerprint(settings: Mapping[str, object], files: Iterable[Path | None]) -> str:
    """A name for what a reader would give, without reading the files.

    Args:
        settings: all that decides how the files are read; anything JSON can hold.
        files: every input file in order; each adds its name, size and time of last change. None stands for a file
            that is missing.

    Returns:
        64 hexadecimal digits.
    """
    stats = ((file, file.stat()) if file else None for file in files)
    inputs = [found and (found[0].name, found[1].st_size, found[1].st_mtime_ns) for found in stats]
    return hashlib.sha256(json.dumps([FORMAT_VERSION, settings, inputs], sort_keys=True).encode()).hexdigest()


def cached(cache_dir: Path | None, key: str, build: Callable[[Allocate], Dataset]) -> Dataset:
    """Read a data set from its cache, or build and store it.

    Args:
        cache_dir: holds a folder for each key; None builds in memory and stores nothing.
        key: the fingerprint.
        build: makes the data set, its images in an array that the function passed to it allocates.

    Returns:
        What `build` gave, now or at an earlier time; from the cache, images are a read-only memory map.

    Raises:
        OSError: if `cache_dir` cannot be written or has no room.
    """
    if cache_dir is None:
        return build(lambda shape: np.empty(shape, np.uint8))
    folder = cache_dir / key
    if folder.exists():
        try:
            return _load(folder)
        except Exception as error:  # a damaged file can make NumPy, zipfile or json raise nearly anything
            warnings.warn(f"the cache {folder} is damaged ({error}) and is made again", stacklevel=2)
            shutil.rmtree(folder, ignore_errors=True)
    cache_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(cache_dir)
    staging = cache_dir / f"{key}.{uuid.uuid4().hex}.unfinished"
    staging.mkdir()
    UNFINISHED.add(staging)
    try:
        _save(staging, build(lambda shape: _allocate(staging / "images.npy", shape)))
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        UNFINISHED.discard(staging)
    return _load(folder)


def _allocate(path: Path, shape: tuple[int, ...]) -> UInt8[np.memmap, "..."]:
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # without it a full disk shows only as a fatal signal at some later write
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return images  # a file system that cannot reserve room; it may have some all the same
            needed = (
                f"{error.strerror}: the cache needs {images.nbytes / 1e9:.2f} GB; $JAXSSD_CACHE can name another place"
            )
            raise OSError(error.errno, needed, str(path.parent.parent)) from error
    return images


def _save(folder: Path, dataset: Dataset) -> None:
    arrays = _arrays(dataset)
    images = arrays.pop("images")
    whole = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False).shape == images.shape
    if whole and isinstance(images, np.memmap):
        images.flush()
    else:  # some images were skipped: the file has more rows than the data set
        np.save(folder / "kept.npy", images, allow_pickle=False)
        os.replace(folder / "kept.npy", folder / "images.npy")
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
    meta = {
        "arrays": _forms(_arrays(dataset)),
        "class_names": dataset.class_names,
        "ids": dataset.ids,
        "report": asdict(dataset.report),
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _load(folder: Path) -> Dataset:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["images"] = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    if _forms(arrays) != meta["arrays"]:
        raise ValueError(f"arrays are {_forms(arrays)}, expected {meta['arrays']}")
    report = meta["report"]
    problems = tuple(Problem(**problem) for problem in report["problems"])
    return Dataset(
        examples=Examples(**{field: arrays[field] for field in Examples._fields}),
        class_names=tuple(meta["class_names"]),
        ids=tuple(meta["ids"]),
        sizes=arrays["sizes"],
        placements=arrays["placements"],
        report=LoadReport(report["images"], report["objects"], problems),
    )


def _arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    return {**dataset.examples._asdict(), "sizes": dataset.sizes, "placements": dataset.placements}


def _forms(arrays: Mapping[str, np.ndarray]) -> dict[str, list]:
    return {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}


def _publish(staging: Path, folder: Path) -> None:
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # Another process was first, and has stored the same.


def _remove_abandoned(cache_dir: Path) -> None:
    for folder in cache_dir.glob("*.unfinished"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
