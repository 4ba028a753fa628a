"""Videos by PyAV: upright frames as arrays with their times, and a video of annotated frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxssd.atomic import replacing
from jaxssd.data.image_limits import MAX_PIXELS, UnreadableImage

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
"""Endings of videos."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo"
"""FFmpeg's names of the formats that are read, whatever the file's ending."""

USUAL_RATE = Fraction(25)
"""Frames a second of a video that does not state it."""

TICKS = 30_000
"""Ticks of a written video's clock in a second: 24, 25, 30, 50, 60 and 29.97 frames a second are on whole ticks."""


class Frame(NamedTuple):
    """Frame of a video.

    Attributes:
        number: number of the frame in the video, from 0.
        time: time stamp in seconds.
        pixels: pixels `[H, W, 3]`, upright.
    """

    number: int
    time: float
    pixels: UInt8[np.ndarray, "H W 3"]


def is_video(path: Path) -> bool:
    """True for the name of a video.

    Example:
        >>> is_video(Path("a.MP4")), is_video(Path("a.jpg"))
        (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def video_frames(path: str | Path, *, every: int = 1) -> Iterator[Frame]:
    """Read the frames of a video, one at a time.

    Args:
        path: file that PyAV, and so FFmpeg, can read.
        every: distance of the frames: 1 for all, 2 for every second one.

    Yields:
        The frames in order.

    Raises:
        UnreadableImage: if the file is missing, damaged, has no pictures, or larger ones than images may have.
        ValueError: if PyAV is not installed, or `every` is less than 1.
    """
    if every < 1:
        raise ValueError(f"video_frames: `every` is {every}, expected 1 or more")
    with _opened(Path(path)) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0:
                _check_size(frame.width, frame.height)
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                time = number / float(stream.average_rate or USUAL_RATE) if frame.time is None else frame.time
                yield Frame(number, float(time), np.ascontiguousarray(pixels))


def frame_rate(path: Path) -> tuple[Fraction, int]:
    """Frames a second of a video, and its stated number of frames, 0 if unknown; raises as `video_frames` does."""
    with _opened(path) as (_, stream):
        return Fraction(stream.average_rate or USUAL_RATE), stream.frames


@contextmanager
def video_writer(path: Path, rate: Fraction) -> Iterator[Any]:
    """Write an MP4 of frames that come one by one.

    Args:
        path: file, ending in `.mp4`; it appears when it is complete.
        rate: usual number of frames a second; it decides how long the last frame is shown.

    Yields:
        Function that adds a frame, uint8 `[H, W, 3]`, with its time in seconds; the first one begins the video. All
        have the size of the first; an odd last row or column, which the format cannot hold, is left out.
    """
    av = require_library()
    with replacing(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        stream, start, tick = None, 0.0, -1

        def add(pixels: UInt8[np.ndarray, "H W 3"], time: float) -> None:
            nonlocal stream, start, tick
            height, width = (max(side // 2 * 2, 2) for side in pixels.shape[:2])
            if stream is None:
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                stream = container.add_stream(codec, rate=rate, width=width, height=height, pix_fmt="yuv420p")
                stream.codec_context.time_base, start = Fraction(1, TICKS), time
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            tick = max(tick + 1, round((time - start) * TICKS))  # damaged videos may go back in time
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))

        yield add
        if stream is not None:
            container.mux(stream.encode())


def require_library() -> ModuleType:
    """Import PyAV; raises ValueError with the command that installs it."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise ValueError('videos need the library PyAV: pip install -e ".[video]"') from error
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a video, and its stream of pictures; any failure of FFmpeg is an `UnreadableImage` with the file's name."""
    av = require_library()
    try:
        # A file object and a list of formats: neither a name nor a playlist makes FFmpeg read anything else.
        # Titles in other encodings than UTF-8 are no reason to refuse it.
        with (
            path.open("rb") as file,
            av.open(file, options={"format_whitelist": FORMATS}, metadata_errors="ignore") as container,
        ):
            yield container, _pictures(container)
    except FileNotFoundError as error:
        raise UnreadableImage("missing", f"{path}: no such file") from error
    except UnreadableImage as error:
        raise UnreadableImage(error.kind, f"{path}: {error}") from error  # type: ignore[arg-type]
    except (av.FFmpegError, OSError) as error:
        raise UnreadableImage("broken", f"{path}: {type(error).__name__}: {error.strerror}") from error


def _pictures(container: Any) -> Any:
    """Stream of pictures, decoded in several threads."""
    if not container.streams.video:
        raise UnreadableImage("broken", "no pictures in it")
    stream = container.streams.video[0]
    _check_size(stream.width, stream.height)
    stream.thread_type = "AUTO"
    return stream


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage("oversized", f"{width}x{height} pixels, the limit is {MAX_PIXELS:,}")
