"""SSD's zoom-out and crops: a slow reference, what crops keep, and how far they zoom."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxssd.ops import augment_boxes, augment_image, sample_ssd_augmentation
from jaxssd.ops.iou_crop import _MARGIN

N, G = 2000, 4
CHOICES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
KEYS = jax.random.split(jax.random.key(0), N)


def some_boxes(count=N):
    rng = np.random.default_rng(0)
    near = rng.uniform(0, 0.8, (count, G, 2))
    far = np.minimum(near + rng.uniform(0.05, 0.6, (count, G, 2)), 1)
    valid = rng.random((count, G)) < 0.4
    valid[:, 0] = True
    return np.concatenate([near, far], axis=-1).astype(np.float32), valid


BOXES, VALID = some_boxes()
sample = jax.jit(jax.vmap(sample_ssd_augmentation))
move = jax.jit(jax.vmap(partial(augment_boxes, min_visible=0, center_in_view=True)))


@pytest.fixture(scope="module")
def sampled():
    return jax.device_get(sample(KEYS, BOXES, VALID))


@jax.jit
def only(settings):
    plain = {"zoom_out_probability": 0.0, "crop": (1.0, 1.0), "flip": 0.0, "min_ious": [0.0] * 99}
    return sample_ssd_augmentation(KEYS[0], BOXES[0], VALID[0], **plain | settings)


def test_worked_example():
    """A canvas of twice the side, not cropped: half the scale, and the image somewhere on it; half of it: twice."""
    out = only({"zoom_out": (2.0, 2.0), "zoom_out_probability": 1.0, "crop": (1.0, 1.0)})
    np.testing.assert_allclose(out.scale, [0.5, 0.5])
    assert (np.asarray(out.translation) >= 0).all()
    assert (np.asarray(out.translation) <= 0.5).all()
    assert not out.flip
    assert out.vertical_flip is None
    half = only({"zoom_out": (2.0, 2.0), "zoom_out_probability": 0.0, "crop": (0.5, 0.5)})
    np.testing.assert_allclose(half.scale, [2, 2])


def reference(key, boxes, valid):
    """Scale and translation by loops over the same random numbers."""
    candidates, options = 50, len(CHOICES) + 1
    numbers = np.asarray(jax.random.uniform(jax.random.split(key, 6)[0], (6 + options + 4 * candidates,)), np.float64)
    zoomed, factor, *place = numbers[:4]
    shrink = 1 / (1 + 3 * factor) if zoomed < 0.5 else 1.0
    shift = np.array(place) * (1 - shrink)
    turns, crops = numbers[6 : 6 + options], numbers[6 + options :].reshape(2, candidates, 2)
    for option in np.argsort(-turns):
        if option == len(CHOICES):
            return np.full(2, shrink), shift
        for side, corner in zip(0.3 + 0.7 * crops[0], crops[1], strict=True):
            corner = corner * (1 - side)
            scale, translation = shrink / side, (shift - corner) / side
            best = max((view_iou(box, scale, translation) for box in boxes[valid]), default=1)
            if 0.5 <= side[0] / side[1] <= 2 and best >= CHOICES[option]:
                return scale, translation
    raise AssertionError


def view_iou(box, scale, translation):
    """IoU of a moved box with the unit square; -1 if its centre lies outside."""
    y1, x1, y2, x2 = box * np.tile(scale, 2) + np.tile(translation, 2)
    if not all(_MARGIN <= center <= 1 - _MARGIN for center in ((y1 + y2) / 2, (x1 + x2) / 2)):
        return -1
    overlap = (min(y2, 1) - max(y1, 0)) * (min(x2, 1) - max(x1, 0))
    return overlap / ((y2 - y1) * (x2 - x1) + 1 - overlap)


def test_the_first_crop_that_holds_is_taken(sampled):
    for i in range(150):
        scale, translation = reference(KEYS[i], BOXES[i].astype(np.float64), VALID[i])
        np.testing.assert_allclose(sampled.scale[i], scale, rtol=1e-4)
        np.testing.assert_allclose(sampled.translation[i], translation, atol=1e-4)


def test_no_image_loses_all_its_objects(sampled):
    boxes, kept = jax.device_get(move(BOXES, VALID, sampled))
    assert kept.any(axis=1).all()
    assert not (kept & ~VALID).any()
    assert 0.7 < kept.sum() / VALID.sum() < 0.9
    assert (boxes[kept][:, 2:] > boxes[kept][:, :2]).all()


def test_zoom_is_that_of_torchvision(sampled):
    """Percentiles 10, 50 and 90 of torchvision's zoom-out and IoU crop on photographs: 0.34, 1.0, 2.0."""
    zoom = np.sqrt(np.prod(sampled.scale, axis=1))
    np.testing.assert_allclose(np.percentile(zoom, [10, 50, 90]), [0.34, 1.0, 2.0], rtol=0.12)
    ratio = sampled.scale[:, 0] / sampled.scale[:, 1]
    assert 0.499 < ratio.min() < ratio.max() < 2.001
    assert zoom.min() > 0.25
    assert np.prod(sampled.scale, axis=1).max() < 1 / 0.09 + 1e-3
    assert np.mean(sampled.flip) == pytest.approx(0.5, abs=0.04)


def test_images_without_objects_are_cropped_as_well():
    empty = jax.device_get(sample(KEYS, BOXES, np.zeros_like(VALID)))
    zoom = np.sqrt(np.prod(empty.scale, axis=1))
    assert np.percentile(zoom, 90) > 1.5
    assert len(np.unique(empty.translation[:, 0])) > N / 2


def test_padding_changes_nothing(sampled):
    padded = np.where(VALID[..., None], BOXES, np.nan).astype(np.float32)
    again = jax.device_get(sample(KEYS, padded, VALID))
    jax.tree.map(np.testing.assert_array_equal, again, sampled)


def test_a_painted_box_is_found_at_the_moved_box():
    """White boxes on black images that are larger than the result: the hull of what is white, within a pixel."""
    count, stored, size = 48, 48, 32
    boxes, valid = np.round(BOXES[:count, :1] * stored) / stored, np.ones((count, 1), bool)
    valid = (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)
    images = np.zeros((count, stored, stored, 3), np.float32)
    for image, ((y1, x1, y2, x2),) in zip(images, (boxes * stored).round().astype(int), strict=True):
        image[y1:y2, x1:x2] = 1

    @jax.jit
    @jax.vmap
    def both(key, image, boxes, valid):
        augmentation = sample_ssd_augmentation(key, boxes, valid, vertical_flip=0.5)
        moved = augment_boxes(boxes, valid, augmentation, min_visible=0, center_in_view=True)
        return augment_image(image, augmentation, fill=(0.0, 0.0, 0.0), size=(size, size)), *moved

    found = jax.device_get(both(KEYS[:count], images, boxes.astype(np.float32), valid))
    looked_at = 0
    for image, (box,), (kept,) in zip(*found, strict=True):
        rows, columns = np.nonzero(image[..., 0] > 0.5)
        if kept and (box[2:] - box[:2]).min() * size > 2:
            hull = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
            np.testing.assert_allclose(box * size, hull, atol=1)
            looked_at += 1
    assert looked_at > count / 2


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"zoom_out": (0.5, 2.0)}, "`zoom_out` starts at 0.5, expected 1 or more"),
        ({"crop": (0.5, 2.0)}, "`crop` ends at 2.0, expected 1 or less"),
        ({"aspect": (2.0, 0.5)}, "`aspect` is"),
        ({"candidates": 0}, "`candidates` is 0"),
        ({"flip": 2.0}, "`flip` is 2.0"),
    ],
)
def test_settings_out_of_range_are_named(settings, found):
    with pytest.raises(ValueError, match=f"^sample_ssd_augmentation: {found}"):
        sample_ssd_augmentation(KEYS[0], BOXES[0], VALID[0], **settings)
