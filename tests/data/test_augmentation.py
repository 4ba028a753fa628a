"""Augmentations of a run by name: sizes, and that boxes follow pixels in mosaic and mixup."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxssd.config import AugmentationConfig
from jaxssd.data import AUGMENTATIONS
from jaxssd.data.augmentation import augment_batch, augmentation_steps
from jaxssd.data.dataset import Examples
from jaxssd.data.mosaic import mixup, mosaic

KEY = jax.random.key(0)
B, G, S = 6, 2, 16


def painted(boxes, stored=24):
    """Images of the batch's own grey, each with boxes in which a channel is the label's colour."""
    count = len(boxes)
    images = np.zeros((count, stored, stored, 3), np.uint8)
    labels = np.tile(np.arange(count, dtype=np.int32)[:, None], (1, boxes.shape[1]))
    for image, label, of_image in zip(images, labels, boxes, strict=True):
        for y1, x1, y2, x2 in (of_image * stored).round().astype(int):
            image[y1:y2, x1:x2] = 40 * (label[0] + 1)
    valid = np.ones(boxes.shape[:2], bool)
    return Examples(images, boxes.astype(np.float32), labels, valid, labels % 2 == 1)


SHIFTS = np.arange(B)[:, None, None] * np.float32([1, 1, 1, 1]) / S
BATCH = painted(np.float32([[0.25, 0.125, 0.5, 0.5], [0.5, 0.5, 0.625, 0.6875]])[None] + SHIFTS, stored=S)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_every_augmentation_gives_the_networks_size_from_larger_images(name):
    steps = augmentation_steps(AugmentationConfig(augment=name), (S, S + 4))
    shapes = jax.eval_shape(partial(augment_batch, steps=steps), KEY, painted(BATCH.boxes))
    assert shapes.images.shape == (B, S, S + 4, 3)
    assert shapes.boxes.shape == (B, G, 4)


def test_a_tuple_of_ones_own_is_resized_too(monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS._parts, "own", (lambda key, *example: example,))
    steps = augmentation_steps(AugmentationConfig(augment="own"), (S, S))
    smaller = jax.jit(partial(augment_batch, steps=steps))(KEY, painted(BATCH.boxes))
    assert smaller.images.shape == (B, S, S, 3)
    np.testing.assert_array_equal(smaller.boxes, BATCH.boxes)


def test_no_augmentation_leaves_images_of_the_networks_size():
    steps = augmentation_steps(AugmentationConfig(augment="none"), (S, S))
    np.testing.assert_allclose(augment_batch(KEY, BATCH, steps).images, BATCH.images / 255, atol=1e-6)


@pytest.fixture(scope="module", params=["mosaic", "mixup"])
def combined(request):
    """The batch eight times, each time combined by other random numbers; and which function did it."""
    function = {"mosaic": mosaic, "mixup": mixup}[request.param]
    batch = BATCH._replace(images=BATCH.images.astype(np.float32) / 255)
    many = jax.jit(jax.vmap(lambda key: function(key, batch, probability=0.5)))(jax.random.split(KEY, 8))
    return function, jax.tree.map(lambda x: np.asarray(x).reshape(8 * B, *x.shape[2:]), many)


def test_boxes_labels_and_difficult_flags_follow_their_pixels(combined):
    """In the middle of each box is the colour of its label, or with mixup about half of it at least."""
    function, found = combined
    share = 1 if function is mosaic else 0.39
    for image, boxes, labels, valid, difficult in zip(*found, strict=True):
        assert valid.any()
        for box, label, flag in zip(boxes[valid], labels[valid], difficult[valid], strict=True):
            y, x = ((box[:2] + box[2:]) / 2 * S).astype(int)
            assert image[y, x, 0] >= share * 40 * (label + 1) / 255 - 1e-5
            assert flag == (label % 2 == 1)
        assert not boxes[~valid].any() or function is mixup


def test_about_half_of_the_images_are_combined_and_the_others_stay(combined):
    found = combined[1]
    original = np.tile(BATCH.images.astype(np.float32) / 255, (8, 1, 1, 1))
    same = (found.images == original).all(axis=(1, 2, 3))
    assert 12 <= same.sum() <= 36
    rows = slice(0, G)
    assert (found.valid[same].sum(axis=1) == G).all()
    np.testing.assert_array_equal(found.boxes[same][:, rows], np.tile(BATCH.boxes, (8, 1, 1))[same])
    of_others = found.valid & (found.labels != np.tile(BATCH.labels[:, :1], (8, 1)))
    assert of_others[~same].any(axis=1).mean() > 0.7


def test_objects_that_leave_a_mosaic_do_not_return_and_the_largest_stay():
    """With more rows than a mosaic has, its largest objects are kept."""
    crowd = painted(np.tile(BATCH.boxes, (1, 20, 1)), stored=S)
    crowd = crowd._replace(images=crowd.images.astype(np.float32) / 255, valid=crowd.labels != 2)
    found = jax.device_get(jax.jit(partial(mosaic, probability=1.0))(KEY, crowd))
    assert found.valid.shape == (B, 80)
    assert not (found.valid & (found.labels == 2)).any()
    sides = found.boxes[..., 2:] - found.boxes[..., :2]
    area = np.where(found.valid, sides.prod(axis=-1), -1)
    assert (np.diff(area, axis=1) <= 0).all()
    assert (found.valid.sum(axis=1) > 30).any()
