"""Videos: frames with their times, upright, and what becomes of damaged ones."""

import json
import sys
from fractions import Fraction

import numpy as np
import pytest

from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference import video
from jaxssd.inference.video import frame_rate, is_video, video_frames, video_writer
from jaxssd.tools.detect_images import detect_images
from tests.inference.conftest import Arithmetic, grey

av = pytest.importorskip("av")


def write(path, values, height=32, width=48):
    """Grey frames, four a second."""
    with video_writer(path, Fraction(4)) as add:
        for number, value in enumerate(values):
            add(grey(value, height, width), number / 4)
    return path


def test_frames_come_back_with_their_times(tmp_path):
    """The odd row is left out."""
    path = write(tmp_path / "a.mp4", [40, 80, 120, 160, 200], height=33)
    frames = list(video_frames(path))
    assert [frame.pixels.shape for frame in frames] == [(32, 48, 3)] * 5
    np.testing.assert_allclose([frame.pixels.mean() for frame in frames], [40, 80, 120, 160, 200], atol=3)
    assert [frame.time for frame in frames] == [0, 0.25, 0.5, 0.75, 1]
    assert [(frame.number, frame.time) for frame in video_frames(path, every=2)] == [(0, 0), (2, 0.5), (4, 1)]
    assert frame_rate(path) == (4, 5)


def test_times_need_not_be_regular(tmp_path):
    """Phones and recorders of screens take frames when there is something new; damaged videos go back in time."""
    with video_writer(tmp_path / "a.mp4", Fraction(4)) as add:
        for number, time in enumerate([10.0, 10.25, 13.0, 12.5]):
            add(grey(60 * number), time)
    times = [frame.time for frame in video_frames(tmp_path / "a.mp4")]
    assert times == pytest.approx([0, 0.25, 3, 3], abs=1e-4)


def test_a_title_of_another_encoding_is_no_error(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["title"] = "Schwarz-weiss"
        stream = container.add_stream("mpeg4", rate=4, width=48, height=32, pix_fmt="yuv420p")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(20, 32, 48), format="rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content.replace(b"weiss", b"wei\xdf "))
    assert b"wei\xdf" in (tmp_path / "a.mp4").read_bytes()
    assert len(list(video_frames(tmp_path / "a.mp4"))) == 1


def test_frames_are_upright(tmp_path):
    """A phone stores a quarter turn beside the pixels."""
    pixels = grey(20, 32, 48)
    pixels[:, :24] = 220  # the left half is bright
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4, width=48, height=32, pix_fmt="yuv420p")
        stream.set_display_rotation(90)  # counterclockwise: left becomes below
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = video_frames(tmp_path / "a.mp4")
    assert frame.pixels.shape == (48, 32, 3)
    assert frame.pixels[:20].mean() < 60
    assert frame.pixels[-20:].mean() > 180


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "missing"),
        (b"", "broken"),
        (b"nothing" * 99, "broken"),
        (b"ffconcat version 1.0\nfile b.mp4\n", "broken"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, kind):
    """A list of files would make FFmpeg open those."""
    write(tmp_path / "b.mp4", [1])
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.mp4: ") as error:
        list(video_frames(path))
    assert error.value.kind == kind


def test_frames_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [1])
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match=r"a\.mp4: 48x32 pixels, the limit is 1,000"):
        list(video_frames(path))


def test_numbers_and_a_missing_library_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`every` is 0, expected 1 or more"):
        next(video_frames(tmp_path / "a.mp4", every=0))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"PyAV: pip install"):
        detect_images(Arithmetic(), [tmp_path / "a.mp4"], lambda: pytest.fail("a folder"), 0.5)
    assert is_video(tmp_path / "A.MOV")


def test_an_annotated_video_and_its_times(tmp_path, capsys):
    """Every second frame, at its time; the damaged video is named, the cut one is read as far as it goes."""
    files = [write(tmp_path / "a.mp4", [40, 80, 200, 160, 220]), tmp_path / "broken.mp4"]
    files[1].write_bytes(b"nothing")
    out = tmp_path / "out"
    out.mkdir()
    failures = detect_images(Arithmetic(), files, lambda: out, 0.5, every=2, batch_size=2)
    assert len(failures) == 1
    assert failures[0].startswith(f"{files[1]}: ")
    record = json.loads((out / "0000-a.json").read_text())
    assert (record["file"], record["video"]) == (str(files[0]), "0000-a.mp4")
    assert (record["height"], record["width"]) == (32, 48)
    assert [(row["frame"], row["time"]) for row in record["frames"]] == [(0, 0), (2, 0.5), (4, 1)]
    found = [[detection["class"] for detection in row["detections"]] for row in record["frames"]]
    assert found == [[], ["horse"], ["horse"]]
    frames = list(video_frames(out / "0000-a.mp4"))
    assert [frame.time for frame in frames] == [0, 0.5, 1]
    assert frames[1].pixels.std() > frames[0].pixels.std() + 5  # a box is drawn
    assert "2 found in the frames of" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"0000-a.json", "0000-a.mp4"}


def test_a_video_that_ends_early_keeps_its_frames(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [40, 80, 120, 160])

    def cut(path, every):
        yield from list(video_frames(path, every=every))[:3]
        raise UnreadableImage("broken", f"{path}: it ends early")

    monkeypatch.setattr("jaxssd.tools.detect_video.video_frames", cut)
    failures = detect_images(Arithmetic(), [path], lambda: tmp_path, 0.5, batch_size=2)
    assert failures == [f"{path}: it ends early"]
    assert len(json.loads((tmp_path / "0000-a.json").read_text())["frames"]) == 3
