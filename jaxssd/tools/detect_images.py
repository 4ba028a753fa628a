"""Detection on photographs and videos for `evaluate.py --images`: pictures, JSON, and COCO results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxssd.atomic import write_json
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference.detector import LoadedDetector
from jaxssd.inference.found import Found
from jaxssd.inference.video import frame_rate, is_video, require_library
from jaxssd.metrics.arrays import Found as Arrays
from jaxssd.metrics.coco_records import coco_instances, coco_results
from jaxssd.models.coco_classes import is_gap
from jaxssd.tools import export
from jaxssd.tools.detect_video import detect_video


def detect_images(
    detector: LoadedDetector,
    files: Sequence[Path],
    make_folder: Callable[[], Path],
    threshold: float,
    *,
    with_coco: bool = False,
    batch_size: int | None = None,
    every: int = 1,
) -> list[str]:
    """Detect on photographs; draw them, and write `detections.json`. Videos come after them, see `detect_video`.

    Pictures are numbered, because files of two folders may share a name. The progress bar shows images a second.

    Args:
        detector: the detector.
        files: photographs and videos.
        make_folder: function that gives the output folder; it is called when the first file could be read.
        threshold: lowest score that is drawn and written.
        with_coco: write all detections as COCO's results as well, whatever their scores.
        batch_size: photographs that are computed at once. Default: the detector's.
        every: distance of the frames of a video.

    Returns:
        A line for each file that could not be read.

    Raises:
        ValueError: if there is a video, and PyAV is not installed.
    """
    videos = [file for file in files if is_video(file)]
    files = [file for file in files if not is_video(file)]
    if videos:
        require_library()
    folder: Path | None = None
    rows: list[dict[str, Any]] = []
    all_found: list[Found] = []
    failures: list[str] = []
    placed_files = detector.detect(files, batch_size=batch_size)
    for placed in tqdm(placed_files, "detecting", len(files), unit=" images", disable=None if files else True):
        try:
            found = detector.found(placed, threshold)
            folder = folder or make_folder()
            picture = f"{len(rows):04d}-{placed.photograph.file.stem}.png"
            found.save(folder / picture)
        except UnreadableImage as error:  # now, or when it is drawn
            failures.append(str(error))
            continue
        row = found.to_json()
        rows.append({"file": row.pop("file"), "picture": picture, **row})
        if with_coco:
            all_found.append(found)
    if folder is not None and rows:
        write_json(folder / "detections.json", rows)
        count = sum(len(row["detections"]) for row in rows)
        print(f"{count} found in {len(rows)} images; pictures and JSON in {folder}")
        if with_coco:
            write_coco(folder, all_found, detector.class_names)
    for number, video in enumerate(videos, start=len(rows)):
        try:
            frame_rate(video)  # an error before anything is written
            folder = folder or make_folder()
            annotated = folder / f"{number:04d}-{video.stem}.mp4"
            count, errors = detect_video(detector, video, annotated, threshold, every=every, batch_size=batch_size)
        except UnreadableImage as error:
            failures.append(str(error))
            continue
        failures += map(str, errors)
        print(f"{count} found in the frames of {video}; video {annotated}, times in {annotated.with_suffix('.json')}")
    return failures


def write_coco(folder: Path, found: Sequence[Found], class_names: Sequence[str]) -> None:
    """Write all detections as COCO's results, with the images and categories that they are about.

    Images have the numbers that their files are named by, as COCO's `000000000139.jpg` is, if all are; otherwise their
    places from 1. Categories are numbered from 1 in the order of the classes, which are COCO's numbers for a published
    detector.

    Args:
        folder: folder of `coco_results.json` and `coco_instances.json`, which has no annotations.
        found: results of detection, in the order of the photographs.
        class_names: name of each class.
    """
    names = [str(one.file) for one in found]
    numbers = [int(stem) if stem.isascii() and stem.isdecimal() else -1 for stem in (Path(name).stem for name in names)]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(found) + 1))
    sizes = np.array([one.size for one in found])
    detections = Arrays(*(np.stack([getattr(one.result, field) for one in found]) for field in Arrays._fields))
    ids = {"image_ids": numbers, "category_ids": range(1, len(class_names) + 1)}
    nothing = np.zeros((len(found), 0))
    instances = coco_instances(
        nothing[..., None].repeat(4, axis=-1),
        *(nothing, nothing, None, sizes),
        class_names=class_names,
        file_names=names,
        **ids,
    )
    instances["categories"] = [category for category in instances["categories"] if not is_gap(category["name"])]
    export.write_json(folder / "coco_results.json", coco_results(detections, sizes, **ids))
    export.write_json(folder / "coco_instances.json", instances)
    print(f"detections for COCO's tools  {folder}/coco_results.json, with the images in coco_instances.json")
