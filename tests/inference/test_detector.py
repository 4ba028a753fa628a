"""Calls of a detector: photographs in any form, number and size come back in order, in pixels."""

import itertools
import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxssd.data.image_limits import UnreadableImage
from jaxssd.inference import LoadedDetector
from jaxssd.inference.resizing import ShorterSideResizing
from jaxssd.models.heads import Predictions
from jaxssd.ops import Detections
from jaxssd.training import Variables
from tests.inference.conftest import SIDE, TASK, Arithmetic, grey
from tests.tasks.scenes import CONFIG


def test_worked_example(detector):
    """The left half of a photograph of 4 x 6 pixels is the box 0 0 4 3."""
    (found,) = detector(grey(204))
    assert (found.labels, found.class_ids.tolist(), found.size, found.file) == (["horse"], [2], (4, 6), None)
    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.boxes.tolist() == [[0, 0, 4, 3]]
    assert len(found) == 1
    assert repr(found) == "<Found in image 0: horse 0.80>"
    assert found.to_json() == {
        "file": None,
        "height": 4,
        "width": 6,
        "detections": [{"class": "horse", "score": 0.8, "box": [0.0, 0.0, 4.0, 3.0]}],
    }
    json.dumps(found.to_json())


def test_any_number_and_sizes_in_order(detector, tmp_path):
    """Three batches of one shape; the last is filled up."""
    values = list(range(90, 104))
    images = [grey(value, height=1 + value % 3, width=1 + value % 5) for value in values]
    found = list(detector(images, batch_size=6))
    np.testing.assert_allclose([one.scores[0] for one in found], np.array(values) / 255, rtol=1e-6)
    assert [one.size for one in found] == [image.shape[:2] for image in images]
    assert set(detector.shapes) == {(6, SIDE, SIDE, 3)}
    assert len(detector.shapes) == 3


@pytest.mark.parametrize("images", [[], (), iter(())])
def test_no_photograph_is_no_result(detector, images):
    assert list(detector(images)) == []
    assert detector.shapes == []


def test_few_photographs_make_a_small_batch(detector):
    assert len(list(detector([grey(99)] * 3))) == 3
    assert detector.shapes == [(3, SIDE, SIDE, 3)]


def test_frames_that_never_end_are_read_as_they_are_needed(detector):
    taken = itertools.count()
    found = detector(grey(100 + next(taken) % 50) for _ in itertools.count())
    first = list(itertools.islice(found, 3))
    np.testing.assert_allclose([one.scores[0] * 255 for one in first], [100, 101, 102], rtol=1e-5)
    assert next(taken) < 100
    found.close()


def test_every_form_of_a_photograph(detector, tmp_path):
    """A file, a pattern, a folder, an open image and arrays of two libraries."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        Image.fromarray(grey(120)).save(folder / name)
    image = Image.open(folder / "a.png")
    images = [folder / "b.png", str(folder / "?.png"), folder, image, grey(120), jnp.asarray(grey(120))]
    found = list(detector(images))
    names = [one.file and one.file.name for one in found]
    assert names == ["b.png", "a.png", "b.png", "a.png", "b.png", None, None, None]
    assert len({float(one.scores[0]) for one in found}) == 1
    assert [one.file.name for one in detector(folder)] == ["a.png", "b.png"]
    assert len(list(detector(np.stack([grey(1)] * 4)))) == 4


def test_an_open_image_may_come_several_times(detector, tmp_path):
    """Pillow decodes it in place, so threads take turns."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)).save(tmp_path / "a.jpg")
    found = list(detector([Image.open(tmp_path / "a.jpg")] * 8))
    assert len({float(one.scores[0]) for one in found}) == 1


@pytest.mark.parametrize(
    ("mode", "pixels", "score"),
    [
        ("L", np.full((4, 6), 200, np.uint8), 200 / 255),
        ("I;16", np.full((4, 6), 0xC800, np.uint16), 200 / 255),
        ("RGBA", np.full((4, 6, 4), 0, np.uint8), 1.0),  # transparent is white
    ],
)
def test_grey_and_transparent_photographs(detector, tmp_path, mode, pixels, score):
    image = Image.fromarray(pixels)
    assert image.mode == mode
    image.save(tmp_path / "a.png")
    for form in (image, tmp_path / "a.png"):
        (found,) = detector(form)
        assert found.scores[0] == pytest.approx(score, abs=1e-3)


def test_a_photograph_is_upright(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey(120)).save(tmp_path / "a.jpg", exif=exif)
    for form in (tmp_path / "a.jpg", Image.open(tmp_path / "a.jpg")):
        (found,) = detector(form)
        assert found.size == (6, 4)
        assert found.boxes.tolist() == [[0, 0, 6, 2]]
        assert found.photograph().shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), r"image 1 is an array of float64, expected uint8.*\(255 \* image\)"),
        (np.zeros((4, 4, 3), np.int16), "image 1 is an array of int16, expected uint8 from 0 to 255$"),
        (np.zeros((4, 4), np.uint8), r"image 1 has the shape \[4, 4\], expected \[H, W, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (7, "image 1 is of the type int, expected a path"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_photograph_is_named(detector, image, words):
    with pytest.raises(TypeError, match=words):
        detector([grey(1), image])


def test_a_thing_that_is_no_photograph(detector):
    with pytest.raises(TypeError, match="image 0 is of the type int"):
        detector(7)


def test_a_damaged_file_is_an_error_at_its_place(detector, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    found = detector([grey(255), tmp_path / "broken.jpg", tmp_path / "missing.jpg", grey(9)])
    assert next(found).labels == ["horse"]
    with pytest.raises(UnreadableImage, match=r"broken\.jpg: ") as error:
        next(found)
    assert error.value.kind == "broken"
    placed = list(detector.detect([tmp_path / "missing.jpg", grey(9)]))
    assert [one.error is None for one in placed] == [False, True]
    with pytest.raises(UnreadableImage, match=r"missing\.jpg: no such file"):
        detector.found(placed[0], 0.3)


def test_a_folder_without_a_picture_is_an_error(detector, tmp_path):
    with pytest.raises(ValueError, match="has no picture in it"):
        detector(tmp_path)


def test_numbers_out_of_range(detector):
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="`threshold` is"):
            detector(grey(1), threshold=threshold)
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        detector(grey(1), batch_size=0)


def test_the_threshold_decides_what_is_found(detector):
    images = [grey(51), grey(153)]  # 0.2 and 0.6
    assert [one.labels for one in detector(images)] == [[], ["horse"]]
    assert [one.labels for one in detector(images, threshold=0.1)] == [["cat"], ["horse"]]
    assert [len(one) for one in detector(images, threshold=0.7)] == [0, 0]


def test_gaps_of_coco_are_never_found():
    detector = Arithmetic(replace(TASK(), class_names=("cat", "dog", "N/A 3")))
    assert [one.labels for one in detector([grey(255), grey(100)])] == [[], ["cat"]]
    assert repr(detector) == "<LoadedDetector arithmetic: 2 classes>"


def test_canvases_of_several_shapes_are_run_apart():
    """Each batch has one shape, also where photographs lie and stand in turn; the results keep their order."""
    detector = Arithmetic(resize=ShorterSideResizing((0.0, 0.0, 0.0), shorter=8, longer=16, multiple=4))
    assert detector.batch_size == 1  # on a CPU
    sizes = [(4, 8), (8, 4)] * 3 + [(4, 4)]
    images = [grey(100 + number, *size) for number, size in enumerate(sizes)]
    found = list(detector(images, batch_size=2))
    np.testing.assert_allclose([one.scores[0] * 255 for one in found], range(100, 107), rtol=1e-5)
    assert [one.size for one in found] == sizes
    assert sorted(set(detector.shapes)) == [(2, 8, 8, 3), (2, 8, 16, 3), (2, 16, 8, 3)]


def test_a_rare_shape_does_not_hold_up_the_others():
    """Its photograph is run when four batches have come behind it, and memory stays bounded."""
    detector = Arithmetic(resize=ShorterSideResizing((0.0, 0.0, 0.0), shorter=4, longer=64, multiple=4))
    taken = iter(range(200))
    found = detector((grey(100, 4, 8 if number else 4) for number in taken), batch_size=2)
    assert next(found).size == (4, 4)
    assert next(taken) < 100
    assert detector.shapes.count((2, 4, 4, 3)) == 1
    assert len(list(found)) == 199 - 1  # one was taken above


def test_boxes_end_where_the_padding_begins():
    """One program for each shape of the canvas; boxes are clipped before they are compared."""
    padded = ShorterSideResizing((0.5, 0.5, 0.5), shorter=32, longer=64, multiple=32)
    task = TASK()
    detector = LoadedDetector("padded", CONFIG.replace(image_size=32, grids=(1,)), task, Variables({}, {}), padded)
    made = []

    class Everywhere:
        """A box over the whole canvas, from a task of this shape."""

        def apply(self, params, state, images):
            made.append(images.shape)
            return Predictions(jnp.full((len(images), 1, 3), 2.0), jnp.zeros((len(images), 1, 4))), state

        def postprocess(self, outputs, extents):
            whole = replace(task, decode=lambda activations, anchors: jnp.array([[0.0, 0, 1, 1]]), nms=keep)
            return whole.postprocess(outputs, extents)

    def keep(boxes, scores):
        return Detections(boxes, scores[:, 0], jnp.zeros(1, int), jnp.ones(1, bool))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxssd.inference.detector.make_task", lambda config: Everywhere())
        found = list(detector([grey(9, 20, 25), grey(9, 20, 25), grey(9, 25, 20)], batch_size=1))
    assert made == [(1, 32, 64, 3), (1, 64, 32, 3)]  # traced once each
    assert [one.boxes.tolist() for one in found] == [[[0, 0, 20, 25]]] * 2 + [[[0, 0, 25, 20]]]
    (clipped,) = (placed.result.boxes for placed in detector.detect(grey(9, 20, 25)))
    assert clipped.tolist() == [[0, 0, 1, 40 / 64]]
