"""Generated pictures: what the boxes say is what the pixels show."""

import jax
import numpy as np
import pytest

from jaxssd import box_iou
from jaxssd.config import Config
from jaxssd.data import load, shapes
from jaxssd.data.shapes import CLASS_NAMES, MAX_OBJECTS, make_shapes

SIZE = 48


@pytest.fixture(scope="module")
def dataset():
    return make_shapes(120, image_size=SIZE)


def scenes(count, shape=(SIZE, SIZE)):
    return [shapes._sample_scene(np.random.default_rng([0, i]), shape) for i in range(count)]


def paint(scene_list):
    return jax.device_get(shapes._paint_all(jax.tree.map(lambda *parts: np.stack(parts), *scene_list)))


def hull_in_pixels(mask):
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def test_layout(dataset):
    examples = dataset.examples
    assert examples.images.shape == (120, SIZE, SIZE, 3)
    assert examples.images.dtype == np.uint8
    assert examples.boxes.shape == (120, MAX_OBJECTS, 4)
    assert examples.boxes.dtype == np.float32
    assert examples.labels.dtype == np.int32
    assert not examples.boxes[~examples.valid].any()
    assert not examples.labels[~examples.valid].any()
    assert not (examples.difficult & ~examples.valid).any()
    near, far = examples.boxes[examples.valid, :2], examples.boxes[examples.valid, 2:]
    assert (near >= 0).all()
    assert (far <= 1).all()
    assert (far - near >= 1 / SIZE).all()
    assert dataset.report.objects == examples.valid.sum()


def test_variety(dataset):
    examples = dataset.examples
    counts = examples.valid.sum(1)
    assert counts.min() == 0
    assert counts.max() == MAX_OBJECTS
    assert (np.bincount(examples.labels[examples.valid], minlength=len(CLASS_NAMES)) > 30).all()
    assert examples.difficult.sum() < 0.05 * examples.valid.sum(), "few objects vanish behind others"
    boxes = [image_boxes[valid] for image_boxes, valid in zip(examples.boxes, examples.valid, strict=True)]
    touching = [(box_iou(b, b) > 0).sum(0) > 1 for b in boxes if len(b)]
    assert np.concatenate(touching).mean() > 0.3, "many objects touch another one's box"
    assert examples.images.std(axis=(1, 2, 3)).min() > 5, "no image is blank"


def test_seed_decides_and_sets_nest(dataset):
    longer, other = make_shapes(130, image_size=SIZE), make_shapes(120, image_size=SIZE, seed=1)
    for ours, same, different in zip(dataset.examples, longer.examples, other.examples, strict=True):
        np.testing.assert_array_equal(ours, same[:120])
        assert not np.array_equal(ours, different)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (36, 60)])
def test_boxes_are_the_hulls_of_what_is_painted(shape):
    """Paint a scene with and without its only object, plain black on a light ground: where at least half of the
    light is gone lies the object, and its hull is the box to the pixel.
    """
    scene_list = [
        scene._replace(
            objects=scene.objects._replace(colors=0 * scene.objects.colors, texture=0 * scene.objects.texture),
            gradient=np.full_like(scene.gradient, 0.8),
            blotches=0 * scene.blotches,
            noise=0 * scene.noise,
            strokes=scene.strokes._replace(colors=np.full_like(scene.strokes.colors, 0.8)),
        )
        for scene in scenes(30, shape)
    ]
    with_object = paint([scene._replace(valid=np.arange(MAX_OBJECTS) == 0) for scene in scene_list])
    empty = paint([scene._replace(valid=np.zeros(MAX_OBJECTS, bool)) for scene in scene_list])
    assert with_object.valid[:, 0].all()
    assert not empty.valid.any()
    for image, ground, box in zip(with_object.images, empty.images, with_object.boxes[:, 0], strict=True):
        light = image[..., 0] / ground[..., 0].astype(float)
        surely, perhaps = (hull_in_pixels(light < 0.5 + margin) for margin in (-0.01, 0.01))  # pixels are rounded
        outward = np.array([-1, -1, 1, 1])
        found = np.round(box * np.tile(shape, 2))
        assert (outward * surely <= outward * found).all()
        assert (outward * found <= outward * perhaps).all()


def test_a_covered_object_is_difficult():
    scene = scenes(1)[0]
    layers = scene.objects._replace(
        center=np.full((MAX_OBJECTS, 2), 0.5, np.float32),
        half_size=np.linspace(0.1, 0.3, MAX_OBJECTS, dtype=np.float32)[:, None].repeat(2, 1),
        outline=np.full(MAX_OBJECTS, CLASS_NAMES.index("circle"), np.int32),
    )
    examples = paint([scene._replace(objects=layers, valid=np.arange(MAX_OBJECTS) < 3)])
    np.testing.assert_array_equal(examples.difficult[0, :3], [True, True, False])


@pytest.mark.parametrize("arguments", [{"num_images": 0, "image_size": 8}, {"num_images": 1, "image_size": 0}])
def test_bad_arguments_are_named(arguments):
    name = next(name for name, value in arguments.items() if value == 0)
    with pytest.raises(ValueError, match=name):
        make_shapes(**arguments)


def test_no_picture_is_in_two_splits(monkeypatch):
    monkeypatch.setattr(load, "SHAPES_IMAGES", {"train": 2, "val": 2, "test": 2})
    config = Config.of(image_size=16, classes=CLASS_NAMES)
    pictures = [load.load_split(config.dataset, split).examples.images for split in ("train", "val", "test")]
    assert len({picture.tobytes() for images in pictures for picture in images}) == 6
