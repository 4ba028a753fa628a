"""Augmentation in other people's programs: settings, masks, other images. `test_transforms.py` has more of it."""

import inspect
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxssd.ops import Augmentation, augment_boxes, augment_image, identity_augmentation, sample_augmentation
from jaxssd.ops.rotation import rotated_boxes

B, G, H, W = 2, 4, 6, 8  # as in `rows.py`, so that what is compiled for its eager calls serves here too
IMAGES = np.random.default_rng(0).random((B, H, W, 3), np.float32)
NEAR = np.random.default_rng(1).uniform(-0.2, 0.6, (B, G, 2))
BOXES = np.concatenate([NEAR, NEAR + 0.4], axis=-1).astype(np.float32)
VALID = np.array([[True, True, False, True], [False, True, True, False]])
KEYS = jax.random.split(jax.random.key(0), B)
ROTATED = identity_augmentation()._replace(angle=np.float32(0.3), flip=np.array(True))


def sample_and_apply(key, image, boxes, valid):
    augmentation = sample_augmentation(key, rotation=30.0, rotation_probability=1.0)
    return augment_image(image, augmentation), *augment_boxes(boxes, valid, augmentation, image_size=(H, W))


def assert_close(one, other):
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), one, other)


def traced(function, *constants, **keywords):
    """What a function returns of known values, from one compiled program: eager is compared in `test_transforms.py`."""
    return jax.device_get(jax.jit(partial(function, *constants, **keywords))())


# Settings


SETTINGS = {
    "flip": 0.25, "rotation": 20.0, "rotation_probability": 0.5, "scale": (0.5, 1.5), "aspect": (0.75, 1.25),
    "brightness": 0.1, "contrast": 0.2,
}  # fmt: skip


def test_traced_settings_draw_what_constants_draw():
    variable = jax.jit(lambda key, settings: sample_augmentation(key, **settings))
    constant = jax.jit(partial(sample_augmentation, **SETTINGS))
    for seed in range(3):
        assert_close(variable(jax.random.key(seed), SETTINGS), constant(jax.random.key(seed)))


def test_settings_are_swept_by_vmap():
    sweep = {name: np.float32([value] * 3) for name, value in SETTINGS.items() if name not in ("scale", "flip")}
    sweep |= {"scale": np.float32([[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]]), "flip": np.float32([0.0, 1.0, 1])}
    sampled = jax.jit(jax.vmap(lambda settings: sample_augmentation(jax.random.key(0), **settings)))(sweep)
    sampled = jax.device_get(sampled)
    np.testing.assert_array_equal(sampled.flip, [False, True, True])
    np.testing.assert_allclose(sampled.scale.prod(axis=-1), [1, 0.25, 4], rtol=1e-5)


def test_a_traced_rotation_of_nothing_gives_an_angle_of_zero():
    assert jax.jit(lambda limit: sample_augmentation(KEYS[0], rotation=limit))(0.0).angle == 0


def test_integers_and_numpys_numbers_are_settings():
    certain = traced(
        sample_augmentation, KEYS[0], flip=1, scale=[1, 1], aspect=np.ones(2), brightness=np.float64(0), contrast=0
    )
    assert certain.flip
    np.testing.assert_array_equal(certain.scale, [1, 1])


def test_min_visible_and_fill_may_be_traced_and_swept():
    left = identity_augmentation()._replace(translation=jnp.array([0.0, -0.5]))
    box, valid = np.array([[0.0, 0.25, 1.0, 0.75]], np.float32), np.array([True])  # half of it stays
    keep = jax.jit(lambda share: augment_boxes(box, valid, left, min_visible=share)[1])
    assert [bool(keep(share)[0]) for share in (0.0, 0.5, 0.51, 1)] == [True, True, False, False]
    swept = jax.jit(jax.vmap(keep))(np.float32([0.5, 0.75]))
    np.testing.assert_array_equal(swept[:, 0], [True, False])
    out = jax.jit(lambda fill: augment_image(IMAGES[0], left, fill=fill))((0.1, 0.2, 0.3))
    np.testing.assert_allclose(out[0, -1], [0.1, 0.2, 0.3], atol=1e-6)
    of_grey = jax.vmap(lambda grey: augment_image(IMAGES[0], left, fill=(grey, grey, 0.5)))
    greys = jax.device_get(jax.jit(of_grey)(np.float32([0.0, 0.75])))
    np.testing.assert_allclose(greys[:, 0, -1], [[0, 0, 0.5], [0.75, 0.75, 0.5]], atol=1e-6)
    as_array, as_list = (
        jax.jit(partial(augment_image, fill=fill))(IMAGES[0], left)
        for fill in (np.array([0.1, 0.2, 0.3]), [0.1, 0.2, 0.3])
    )
    np.testing.assert_array_equal(as_array, as_list)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"scale": (1.0, 2.0, 3.0)}, "scale"),
        ({"scale": ("small", "large")}, "scale"),
        ({"scale": ((1, 2), (1, 2))}, "scale"),
        ({"aspect": 1.0}, "aspect"),
        ({"flip": [0.5, 0.5]}, "flip"),
        ({"rotation": "3"}, "rotation"),
    ],
)
def test_settings_of_a_wrong_kind_are_named(settings, name):
    with pytest.raises((TypeError, ValueError), match=f"^sample_augmentation: `{name}`"):
        inspect.unwrap(sample_augmentation)(KEYS[0], **settings)


@pytest.mark.parametrize("fill", [None, 0.5, ("red", "green", "blue"), np.zeros((3, 2)), (0, 0, 2), (0, 0)])
def test_a_fill_of_a_wrong_kind_is_named(fill):
    with pytest.raises((TypeError, ValueError), match=r"^augment_image: `fill`"):
        inspect.unwrap(augment_image)(IMAGES[0], ROTATED, fill=fill)


@pytest.mark.parametrize("image_size", [None, 5, "ab", (5,), (5, 0), ((1, 2), (3, 4))])
def test_an_image_size_of_a_wrong_kind_is_named(image_size):
    with pytest.raises((TypeError, ValueError), match=r"^augment_boxes: `image_size`"):
        inspect.unwrap(augment_boxes)(BOXES[0], VALID[0], ROTATED, image_size=image_size)


def test_a_whole_number_is_a_rotation_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        sampled = jax.jit(lambda limit: sample_augmentation(KEYS[0], rotation=limit))(np.int32(20))
    assert_close(sampled, traced(sample_augmentation, KEYS[0], rotation=20))


def test_an_image_is_not_copied_to_the_host_to_be_looked_at():
    image = jnp.asarray(IMAGES[0])
    augment_image(image, ROTATED)
    with jax.transfer_guard_device_to_host("disallow"):
        jax.block_until_ready(jax.jit(augment_image)(image, ROTATED))


# Masks, images and lists


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float32, lambda mask: 2 * mask.astype(int), np.ndarray.tolist])
def test_masks_of_any_dtype_are_the_mask(kind):
    moved, kept = traced(augment_boxes, BOXES[0], kind(VALID[0]), identity_augmentation())
    expected, expected_kept = traced(augment_boxes, BOXES[0], VALID[0], identity_augmentation())
    assert kept.dtype == bool
    np.testing.assert_array_equal(kept, expected_kept)
    np.testing.assert_array_equal(moved, expected)
    assert expected_kept.any()


def test_fields_may_be_numbers_and_a_flip_any_mask():
    given = Augmentation(2, [1.0, 1.0], (0.0, 0.0), 0, 0, 0.3)
    assert_close(traced(augment_image, IMAGES[0], given), traced(augment_image, IMAGES[0], ROTATED))


def test_lists_are_taken():
    moved, kept = traced(augment_boxes, BOXES[0].tolist(), VALID[0].tolist(), ROTATED, image_size=[H, W])
    assert_close((moved, kept), traced(augment_boxes, BOXES[0], VALID[0], ROTATED, image_size=(H, W)))
    assert_close(traced(augment_image, IMAGES[0].tolist(), ROTATED), traced(augment_image, IMAGES[0], ROTATED))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.uint8(255 * IMAGES[0]), r"`image` has dtype uint8, .* image\.astype\(jnp\.float32\) / 255"),
        (IMAGES[0] > 0.5, "`image` has dtype bool"),
        (255 * IMAGES[0], r"`image` has values from .* expected values in \[0, 1\]: divide pixels by 255"),
        ((IMAGES[0] - 0.45) / 0.225, "`image` has values from -1.* normalise after the augmentation"),
    ],
)
def test_an_image_of_other_values_is_an_error(image, words):
    with pytest.raises(ValueError, match=f"augment_image: {words}"):
        augment_image(image, identity_augmentation())


def test_what_resizing_does_to_an_image_is_none():
    traced(augment_image, 1.2 * IMAGES[0] - 0.1, identity_augmentation())
    assert traced(augment_image, np.zeros((0, 4, 3), np.float32), identity_augmentation()).shape == (0, 4, 3)


@pytest.mark.parametrize("level", [1.6, -0.6])
def test_values_just_beyond_what_resizing_makes_are_an_error(level):
    with pytest.raises(ValueError, match="augment_image: `image` has values from"):
        augment_image(np.full((4, 4, 3), level, np.float32), identity_augmentation())


def test_a_traced_image_of_other_values_is_found_by_checkify():
    checked = jax.jit(checkify.checkify(jax.vmap(lambda image: augment_image(image, identity_augmentation()))))
    assert checked(IMAGES)[0].get() is None
    for wrong in (255 * IMAGES, IMAGES - 0.75):
        assert "`image` has values from" in checked(wrong)[0].get()


def test_an_integer_image_is_an_error_under_jit_too():
    with pytest.raises(ValueError, match="dtype uint8"):
        jax.jit(augment_image)(np.uint8(255 * IMAGES[0]), identity_augmentation())


@pytest.mark.parametrize("name", [name for name in Augmentation._fields if name != "color"])
@pytest.mark.parametrize("of_images", [True, False])
def test_a_batched_field_names_itself(name, of_images):
    batched = ROTATED._replace(**{name: jnp.ones((5, *np.shape(getattr(ROTATED, name))))})
    boxes = partial(augment_boxes, BOXES[0], VALID[0], image_size=(H, W))
    with pytest.raises(ValueError, match=rf"`{name}` has shape \(5"):
        (partial(augment_image, IMAGES[0]) if of_images else boxes)(batched)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_a_scale_that_is_not_positive_is_named(scale):
    with pytest.raises(ValueError, match=r"augment_boxes: `scale` is .*, expected positive factors"):
        augment_boxes(BOXES[0], VALID[0], identity_augmentation()._replace(scale=np.float32(scale)))


# Dtypes


def test_strict_promotion_of_ranks_and_dtypes():
    boxes, image = jnp.asarray(BOXES[0], jnp.bfloat16), jnp.asarray(IMAGES[0], jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        strict = jax.jit(sample_and_apply)(KEYS[0], IMAGES[0], BOXES[0], VALID[0])
        # Promotion is a matter of tracing.
        half = jax.eval_shape(partial(augment_boxes, image_size=(H, W)), boxes, VALID[0].astype(int), ROTATED)
        jax.eval_shape(partial(augment_image, fill=(0, 1, 0.5)), image, ROTATED)
        jax.eval_shape(partial(augment_image, fill=np.array([0, 1, 0.5])), IMAGES[0], identity_augmentation())
    assert_close(strict, jax.jit(sample_and_apply)(KEYS[0], IMAGES[0], BOXES[0], VALID[0]))
    assert half[0].dtype == jnp.float32


def test_float64_stays_and_float32_too():
    move = jax.jit(partial(augment_boxes, image_size=(H, W)))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        wide = move(BOXES[0].astype(np.float64), VALID[0], ROTATED)[0]
        narrow = move(jnp.asarray(BOXES[0]), VALID[0], ROTATED)[0]
        sampled = jax.jit(partial(sample_augmentation, **SETTINGS))(KEYS[0])
    assert (wide.dtype, narrow.dtype) == (jnp.float64, jnp.float32)
    assert_close(wide, narrow)
    assert_close(sampled, traced(sample_augmentation, KEYS[0], **SETTINGS))


@pytest.mark.parametrize("augmentation", [ROTATED, identity_augmentation()])
def test_nan_in_padding_computes_no_nan(augmentation):
    boxes = jnp.asarray(np.where(VALID[0][:, None], BOXES[0], np.nan))
    expected = augment_boxes(np.where(VALID[0][:, None], BOXES[0], 9), VALID[0], augmentation, image_size=(H, W))
    gradient_of = jax.grad(lambda boxes: augment_boxes(boxes, VALID[0], augmentation, image_size=(H, W))[0].sum())
    with jax.debug_nans(True):
        assert_close(augment_boxes(boxes, VALID[0], augmentation, image_size=(H, W)), expected)
        assert np.isfinite(gradient_of(boxes)).all()


def test_sizes_may_be_symbols_without_a_rotation():
    augmentation = identity_augmentation()._replace(flip=True)
    height, width, count = jax.export.symbolic_shape("h, w, g")

    def augment(image, boxes, valid):
        moved = augment_boxes(boxes, valid, augmentation, image_size=image.shape[:2])
        return augment_image(image, augmentation), *moved

    shapes = [((height, width, 3), jnp.float32), ((count, 4), jnp.float32), ((count,), bool)]
    exported = jax.export.export(jax.jit(augment))(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    assert_close(exported.call(IMAGES[0], BOXES[0], VALID[0]), jax.jit(augment)(IMAGES[0], BOXES[0], VALID[0]))


def test_no_boxes():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, bool)
    moved, kept = jax.jit(partial(augment_boxes, *nothing, ROTATED, image_size=(H, W)))()
    assert (moved.shape, kept.shape) == ((0, 4), (0,))


# What of a turned box is in the image


@jax.jit
def move(box, angle, min_visible):
    augmentation = identity_augmentation()._replace(angle=angle)
    return augment_boxes(box, np.array([True]), augmentation, image_size=(100, 100), min_visible=min_visible)


def turned(box, angle, min_visible):
    moved, kept = jax.device_get(move(np.float32([box]), np.float32(angle), min_visible))
    return moved[0] * 100, bool(kept[0])


def test_at_45_degrees_the_tip_of_a_square_is_what_is_left():
    """A square of 20 pixels in the corner: its centre turns to the left border and 6.57 pixels beyond."""
    out = 40 * math.sqrt(2) - 50
    tip = 10 * math.sqrt(2) - out  # how far the corner of the square reaches into the image: 7.57 pixels
    moved, kept = turned((0.0, 0.0, 0.2, 0.2), math.pi / 4, min_visible=0.1)
    assert kept
    np.testing.assert_allclose(moved, [50 - tip, 0, 50 + tip, tip], atol=1e-3)
    share = tip * tip / 400  # 14 %; of the hull 27 % would be in view
    assert turned((0.0, 0.0, 0.2, 0.2), math.pi / 4, min_visible=share - 1e-3)[1]
    assert not turned((0.0, 0.0, 0.2, 0.2), math.pi / 4, min_visible=share + 1e-3)[1]


def test_at_45_degrees_a_whole_image_loses_four_corners():
    moved, kept = turned((0.0, 0.0, 1.0, 1.0), math.pi / 4, min_visible=0.828)
    np.testing.assert_allclose(moved, [0, 0, 100, 100], atol=1e-3)
    assert kept
    assert not turned((0.0, 0.0, 1.0, 1.0), math.pi / 4, min_visible=0.829)[1]


@pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
def test_quarter_turns_lose_nothing_of_boxes_on_the_border(quarters):
    box, angle = (0.0, 0.0, 0.5, 0.25), quarters * math.pi / 2
    moved, kept = turned(box, angle, min_visible=1.0)
    assert kept
    expected = {-1: (0, 50, 25, 100), 1: (75, 0, 100, 50)}.get(quarters, (50, 75, 100, 100))
    np.testing.assert_allclose(moved, expected, atol=1e-3)


@pytest.mark.parametrize("over", ["right", "bottom"])
def test_the_tip_of_a_diamond_is_cut_off_in_an_image_that_is_no_square(over):
    size = np.array([100.0, 200.0])
    place = np.array([50.0, 195.0] if over == "right" else [95.0, 100.0])  # of its centre, 5 pixels inside
    away, half_diagonal, cos = place - size / 2, 20.0, math.cos(math.pi / 4)
    before = size / 2 + np.array([cos * away[0] + cos * away[1], -cos * away[0] + cos * away[1]])  # turned back
    side = half_diagonal * math.sqrt(2)
    box = jnp.array([[*before, side, side]])
    (hull,), (area,) = rotated_boxes(box, jnp.float32(math.pi / 4), jnp.asarray(size, jnp.float32))
    np.testing.assert_allclose(area, 2 * 20**2 - 15**2, rtol=1e-4)
    expected = [30, 175, 70, 200] if over == "right" else [75, 80, 100, 120]
    np.testing.assert_allclose(hull, expected, atol=1e-2)


@jax.jit
@partial(jax.grad, argnums=(0, 1, 2))
def gradients_of_turned_boxes(*arguments):
    return sum(array.sum() for array in rotated_boxes(*arguments))


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, math.pi / 2, -1.0])
def test_gradients_of_turned_boxes_are_finite(angle):
    boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.4], [-0.5, 0.1, 0.3, 0.3], [2.0, 2.0, 3.0, 3.0]])
    gradients = gradients_of_turned_boxes(100 * boxes, jnp.float32(angle), jnp.array([100.0, 60.0]))
    assert all(np.isfinite(gradient).all() for gradient in gradients)
