"""Decoded data sets on disk, each in a folder named by a fingerprint of all it was made from.

A folder holds `images.npy`, which is memory-mapped when read, `arrays.npz` with the small arrays, and `meta.json` with
checksums of the images and of itself; NumPy's `.npz` has its own.
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
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from stat import S_ISREG

import numpy as np
from jaxtyping import UInt8

from jaxssd.atomic import UNFINISHED
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.records import Allocate
from jaxssd.data.report import LoadReport, Problem

FORMAT_VERSION = 3
"""Part of every fingerprint; to be raised when decoding or the files change."""

ANNOTATIONS = {".xml", ".json", ".txt", ".yaml", ".yml", ".csv", ".names", ".data", ".gz"}
"""Endings of files that say what is in the pictures: all of their bytes count."""

SAMPLE_BYTES = 4096
"""Read from the start, where EXIF may be edited in place, the middle and the end of every other file."""

BLOCK_BYTES = 1 << 24
"""Of the images, for each checksum."""

_WAY_OUT = "name a folder that can be written with the environment variable JAXSSD_CACHE"

_ABANDONED = 24 * 3600  # seconds after which an unfinished folder is taken for a killed run's


def default_cache_dir() -> Path:
    """`$JAXSSD_CACHE`, else `$XDG_CACHE_HOME/jaxssd`, else `~/.cache/jaxssd`.

    Raises:
        OSError: if none of them is set and there is no home folder.
    """
    if chosen := os.environ.get("JAXSSD_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "jaxssd"
    try:
        return Path.home() / ".cache" / "jaxssd"
    except RuntimeError as error:
        raise OSError(f"no home folder to keep decoded images in: {_WAY_OUT}") from error


def fingerprint(settings: Mapping[str, object], files: Iterable[Path | None]) -> str:
    """A name for what a reader would give, without decoding a picture.

    Two versions of a data set may have files of equal names, sizes and times, as an archive unpacks them. So the
    annotations count as a whole, and a part of each picture.

    Args:
        settings: all that decides how the files are read; anything JSON can hold.
        files: every input file in order; each adds its place, size, time of last change, and bytes. None stands for a
            file that is missing.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, settings], sort_keys=True).encode())
    real = cache(os.path.realpath)  # a call for each folder, not for each file
    for file in files:
        if file is None:
            digest.update(b"missing")
            continue
        folder, name = os.path.split(file)
        place = os.fsencode(os.path.join(real(folder), name))
        stat = file.stat()
        digest.update(b"%d %d %d %b" % (len(place), stat.st_size, stat.st_mtime_ns, place))
        digest.update(_content(file, stat))
    return digest.hexdigest()


def _content(file: Path, stat: os.stat_result) -> bytes:
    """What tells a file from another one of its size: a hash of an annotation, a sample of anything else."""
    if not S_ISREG(stat.st_mode):
        return b"no file"  # opening a pipe would wait
    try:
        with open(file, "rb", buffering=0) as content:
            if file.suffix.lower() in ANNOTATIONS:
                return hashlib.file_digest(content, "sha256").digest()
            if stat.st_size <= 3 * SAMPLE_BYTES:
                return content.read(3 * SAMPLE_BYTES)
            parts = [content.read(SAMPLE_BYTES)]
            for at in (stat.st_size // 2, stat.st_size - SAMPLE_BYTES):
                content.seek(at)
                parts.append(content.read(SAMPLE_BYTES))
            return b"".join(parts)
    except PermissionError:
        return b"closed"


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
    if folder.exists() or folder.is_symlink():
        try:
            return _load(folder, verify=True)
        except Exception as error:  # a damaged file can make NumPy, zipfile or json raise nearly anything
            warnings.warn(f"the cache {folder} is damaged ({error}) and is made again", stacklevel=2)
            _discard(folder)
    staging = cache_dir / f"{key}.{uuid.uuid4().hex}.unfinished"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache_dir)
        staging.mkdir()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk is told of by whoever knows what to go on with
        raise OSError(f"decoded images cannot be kept in {cache_dir}: {error.strerror}; {_WAY_OUT}") from error
    UNFINISHED.add(staging)
    try:
        _save(staging, build(lambda shape: _allocate(staging / "images.npy", shape)))
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        UNFINISHED.discard(staging)
    return _load(folder, verify=False)  # just written


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
        "checksums": checksums(images),
    }
    text = json.dumps(meta)
    (folder / "meta.json").write_text(json.dumps({"checksum": zlib.crc32(text.encode()), "meta": text}))


def _load(folder: Path, *, verify: bool) -> Dataset:
    whole = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if zlib.crc32(whole["meta"].encode()) != whole["checksum"]:
        raise ValueError("meta.json has another checksum")
    meta = json.loads(whole["meta"])
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["images"] = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    if _forms(arrays) != meta["arrays"]:
        raise ValueError(f"arrays are {_forms(arrays)}, expected {meta['arrays']}")
    if verify and checksums(arrays["images"]) != meta["checksums"]:
        raise ValueError("images.npy has another checksum")
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


def checksums(images: UInt8[np.ndarray, "..."]) -> list[int]:
    """CRC-32 of each block of an array's bytes, several at a time.

    Example:
        >>> checksums(np.zeros((2, 3), np.uint8)), checksums(np.zeros((0,), np.uint8))
        ([2982322595], [])
    """
    flat = np.ascontiguousarray(images).reshape(-1)
    blocks = [flat[at : at + BLOCK_BYTES] for at in range(0, flat.size, BLOCK_BYTES)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(zlib.crc32, blocks))


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


def _discard(entry: Path) -> None:
    """Remove a folder, or whatever has its name; it makes room even where its files cannot be removed."""
    aside = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.unfinished")
    with contextlib.suppress(OSError):  # another process was first, or nothing can be written: told by who writes
        entry.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _remove_abandoned(cache_dir: Path) -> None:
    for folder in cache_dir.glob("*.unfinished"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
