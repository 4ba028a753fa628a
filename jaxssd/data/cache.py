"""Cache of decoded data sets, each in a folder named by a fingerprint of its inputs.

A folder holds `images.npy`, which is memory-mapped, `arrays.npz` with the small arrays, and `meta.json` with checksums
of the images and of itself; NumPy's `.npz` has its own. Nothing is pickled.

A folder is written under another name and renamed when it is complete, so a killed run, or two runs
at once, leave no incomplete folder. It may be deleted at any time.
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
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from stat import S_ISREG

import numpy as np
from jaxtyping import UInt8

from jaxssd.atomic import UNFINISHED
from jaxssd.cache_folder import ADVICE
from jaxssd.data.dataset import Dataset, Examples
from jaxssd.data.report import LoadReport, Problem

Allocate = Callable[[tuple[int, ...]], UInt8[np.ndarray, "..."]]
"""Function that makes a uint8 array of a shape, in memory or in a file."""

FORMAT_VERSION = 4
"""Number in every fingerprint. Raise it when decoding or the files of the cache change."""

ANNOTATIONS = {".xml", ".json", ".txt", ".yaml", ".yml", ".csv", ".names", ".data", ".gz"}
"""Extensions of annotations, all of whose bytes enter the fingerprint."""

SAMPLE_BYTES = 4096
"""Bytes of other files in the fingerprint: at the start, where EXIF may be edited in place, middle and end."""

BLOCK_BYTES = 1 << 20
"""Bytes of the images for each checksum."""

_FOR_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait

_ABANDONED = 24 * 3600  # seconds after which an unfinished folder is removed, as that of a killed run


def fingerprint(settings: Mapping[str, object], files: Iterable[Path | None]) -> str:
    """Digest of all inputs of a data set, without decoding an image.

    Two versions of a data set may have files of equal names, sizes and times, unpacked from archives. So all bytes of
    annotations count, and some of each image.

    Args:
        settings: everything that decides how the files are read, as JSON.
        files: every input file in order, None for a missing one. Path, size, modification time and bytes count.

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
        size, changed, content = _look_into(file)
        digest.update(b"%d %d %d %b" % (len(place), size, changed, place))
        for part in content:
            digest.update(part)
    return digest.hexdigest()


def _look_into(file: Path) -> tuple[int, int, Iterable[bytes]]:
    """Size and modification time of a file, and an annotation's bytes or a checksum."""
    try:
        descriptor = os.open(file, _FOR_READING)
    except PermissionError:
        stat = os.stat(file)
        return stat.st_size, stat.st_mtime_ns, [b"closed"]
    try:
        stat = os.fstat(descriptor)
        size = stat.st_size
        if not S_ISREG(stat.st_mode):
            content = [b"no file"]
        elif file.suffix.lower() in ANNOTATIONS or size <= 3 * SAMPLE_BYTES:
            content = list(iter(partial(os.read, descriptor, BLOCK_BYTES), b""))
        else:
            checksum = zlib.crc32(os.read(descriptor, SAMPLE_BYTES))
            for start in (size // 2, size - SAMPLE_BYTES):
                os.lseek(descriptor, start, os.SEEK_SET)
                checksum = zlib.crc32(os.read(descriptor, SAMPLE_BYTES), checksum)
            content = [b"%d" % checksum]
    finally:
        os.close(descriptor)
    return size, stat.st_mtime_ns, content


def cached(cache_dir: Path | None, key: str, build: Callable[[Allocate], Dataset]) -> Dataset:
    """Load a data set from the cache, or build and store it.

    Args:
        cache_dir: folder of the cache; None builds in memory and stores nothing.
        key: fingerprint of the data set.
        build: function that builds the data set, with its images in an array made by its argument.

    Returns:
        The data set. From the cache, its images are a read-only memory map.

    Raises:
        OSError: if `cache_dir` cannot be written or is full.
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
            raise  # the caller reports a full disk, with how to go on
        raise OSError(f"decoded images cannot be kept in {cache_dir}: {error.strerror}; {ADVICE}") from error
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
    if hasattr(os, "posix_fallocate"):  # otherwise a full disk is a fatal signal at a later write
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return images  # the file system cannot reserve space
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
    else:  # the file has rows of skipped images
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
    """Sum of the 64-bit words of each block: as fast as memory.

    Example:
        >>> checksums(np.ones((2, 5), np.uint8)), checksums(np.zeros((0,), np.uint8))
        ([72340172838076675], [])
    """
    flat = np.ascontiguousarray(images).reshape(-1)
    blocks = (flat[at : at + BLOCK_BYTES] for at in range(0, flat.size, BLOCK_BYTES))
    sums = ((block[: block.size // 8 * 8].view(np.uint64), block[block.size // 8 * 8 :]) for block in blocks)
    return [int(words.sum()) + int(rest.sum()) for words, rest in sums]


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
        # Another process has stored the same.


def _discard(entry: Path) -> None:
    """Remove a folder or file, or at least rename it if it cannot be removed."""
    aside = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.unfinished")
    with contextlib.suppress(OSError):  # another process was first, or the folder is read-only, which a write reports
        entry.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _remove_abandoned(cache_dir: Path) -> None:
    for folder in cache_dir.glob("*.unfinished"):
        with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
