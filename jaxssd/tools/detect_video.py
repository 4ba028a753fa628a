"""Detection on a video for `evaluate.py --images`: an annotated video, and JSON with time stamps."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxssd.atomic import write_json
from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference.detector import LoadedDetector
from jaxssd.inference.video import Frame, frame_rate, video_frames, video_writer


def detect_video(
    detector: LoadedDetector,
    file: Path,
    annotated: Path,
    threshold: float,
    *,
    every: int = 1,
    batch_size: int | None = None,
) -> tuple[int, list[UnreadableImage]]:
    """Detect on the frames of a video; draw them as another video, and write JSON beside it.

    Args:
        detector: the detector.
        file: the video.
        annotated: video to write, ending in `.mp4`. `.json` in place of its ending is the file of the detections:
            number, time in seconds and detections of each frame.
        threshold: lowest score that is drawn and written.
        every: distance of the frames: 1 for all, 2 for every second one. The annotated video keeps their times.
        batch_size: frames that are computed at once. Default: the detector's.

    Returns:
        Number of objects in all frames, and the error that ended the video early, if there was one.

    Raises:
        UnreadableImage: if the file has no frame that can be decoded.
        ValueError: if PyAV is not installed.
    """
    rate, count = frame_rate(file)
    errors: list[UnreadableImage] = []
    taken: deque[Frame] = deque()
    rows: list[dict[str, Any]] = []
    size: dict[str, int] = {}
    frames = detector(
        _pixels(video_frames(file, every=every), taken, errors), threshold=threshold, batch_size=batch_size
    )
    bar = tqdm(frames, file.name, -(-count // every) or None, unit=" frames", disable=None)
    with video_writer(annotated, rate / every) as add:
        for found in bar:
            frame, row = taken.popleft(), found.to_json()
            size = {"height": row["height"], "width": row["width"]}
            rows.append({"frame": frame.number, "time": round(frame.time, 4), "detections": row["detections"]})
            add(found.drawn(), frame.time)
        if not rows:
            raise errors[0] if errors else UnreadableImage("broken", f"{file}: no pictures in it")
    record = {"file": str(file), "video": annotated.name, **size, "frames": rows}
    write_json(annotated.with_suffix(".json"), record)
    return sum(len(row["detections"]) for row in rows), errors


def _pixels(frames: Iterator[Frame], taken: deque[Frame], errors: list[UnreadableImage]) -> Iterator[np.ndarray]:
    """Pixels of frames, whose numbers and times are put into a queue; they end at the first damaged one."""
    try:
        for frame in frames:
            taken.append(frame._replace(pixels=frame.pixels[:0]))
            yield frame.pixels
    except UnreadableImage as error:
        errors.append(error)
