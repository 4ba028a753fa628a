"""Augmentation against slow NumPy twins, and images against their boxes: what is painted in a box must stay in it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jaxssd.ops.augment import Augmentation, augment_boxes, augment_image, identity_augmentation, sample_augmentation

SIZE, G = 32, 6
FILL = (0.485, 0.456, 0.406)
BLACK = (0.0, 0.0, 0.0)

jitted_image = jax.jit(augment_image, static_argnames="fill")
jitted_boxes = jax.jit(augment_boxes, static_argnames="min_visible")
batched_image = jax.jit(jax.vmap(augment_image))
batched_boxes = jax.jit(jax.vmap(augment_boxes))


@pytest.fixture(scope="module")
def sampled():
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample_augmentation))(jax.random.split(jax.random.key(0), 4000)))


def an_augmentation(flip=False, scale=(1, 1), translation=(0, 0), brightness=0, contrast=0):
    single = partial(np.asarray, dtype=np.float32)
    return Augmentation(np.asarray(flip), single(scale), single(translation), single(brightness), single(contrast))


MIRROR = an_augmentation(flip=True)
ZOOM_OUT = an_augmentation(scale=(0.5, 0.625), translation=(0.25, 0.125))
ZOOM_IN = an_augmentation(flip=True, scale=(1.7, 1.3), translation=(-0.4, -0.1), brightness=0.04, contrast=-0.05)


@st.composite
def geometries(draw):
    """Zooms both ways on each axis; shifts that keep the view meaningful, and some that do not."""
    axis = st.tuples(st.floats(0.5, 2, width=32), st.floats(-0.25, 1.25, width=32))
    (sy, uy), (sx, ux) = draw(axis), draw(axis)
    return an_augmentation(draw(st.booleans()), (sy, sx), (uy * (1 - sy), ux * (1 - sx)))


def an_image(seed=0, size=SIZE):
    return np.random.default_rng(seed).random((size, size, 3), np.float32)


def some_boxes(seed=0):
    rng = np.random.default_rng(seed)
    near = rng.uniform(-0.3, 1, (G, 2))
    return np.concatenate([near, near + rng.uniform(-0.1, 0.8, (G, 2))], axis=-1).astype(np.float32)


# The slow twins


def light_twin(image, b, c):
    factor = 1 + c if c >= 0 else 1 / (1 - c)
    mean = image.mean()
    return np.clip((image - mean) * factor + mean + b, 0, 1)


def resample_row_twin(row, scale, translation, outside):
    """A row of pixels `[N, 3]` under out = in * scale + translation, by a triangle as wide as the coarser pixels."""
    n = len(row)
    centers = (np.arange(n) + 0.5) / n
    out = np.empty_like(row)
    for i in range(n):
        source = (centers[i] - translation) / scale
        weights = np.maximum(1 - np.abs(source - centers) * n * min(scale, 1), 0)
        out[i] = (weights[:, None] * row).sum(0) / weights.sum() if 0 <= source <= 1 else outside
    return out


def image_twin(image, a, fill):
    image = light_twin(image.astype(np.float64), float(a.brightness), float(a.contrast))
    fill = np.array(fill)
    rows = np.stack([resample_row_twin(row, a.scale[1], a.translation[1], fill) for row in image])
    columns = [resample_row_twin(rows[:, x], a.scale[0], a.translation[0], fill) for x in range(image.shape[1])]
    out = np.stack(columns, axis=1)
    return out[:, ::-1] if a.flip else out


def boxes_twin(boxes, valid, a, min_visible):
    moved, kept = np.zeros((len(boxes), 4)), np.zeros(len(boxes), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes.astype(np.float64)):
        if not valid[i] or y2 <= y1 or x2 <= x1:
            continue
        y1, y2 = (y * a.scale[0] + a.translation[0] for y in (y1, y2))
        x1, x2 = (x * a.scale[1] + a.translation[1] for x in (x1, x2))
        if a.flip:
            x1, x2 = 1 - x2, 1 - x1
        inside = np.clip([y1, x1, y2, x2], 0, 1)
        share = (inside[2] - inside[0]) * (inside[3] - inside[1]) / ((y2 - y1) * (x2 - x1))
        assume(abs(share - min_visible) > 1e-4)  # rounding may decide either way
        if share > min_visible:
            moved[i], kept[i] = inside, True
    return moved, kept


# Images


def test_the_identity_changes_nothing():
    image, boxes, valid = an_image(), np.clip(np.abs(some_boxes()), 0, 1), np.array([1, 1, 1, 0, 0, 1], bool)
    boxes[:, 2:] = boxes[:, :2] + 0.125
    boxes = boxes.clip(0, 1)
    np.testing.assert_allclose(jitted_image(image, identity_augmentation()), image, atol=1e-5)
    moved, kept = jitted_boxes(boxes, valid, identity_augmentation(), min_visible=1.0)
    np.testing.assert_array_equal(kept, valid)
    np.testing.assert_array_equal(moved, np.where(valid[:, None], boxes, 0))


def test_a_flip_mirrors_and_two_flips_are_the_identity():
    image, boxes = an_image(), np.array([[8, 4, 40, 20], [0, 0, 64, 64]], np.float32) / 64
    once = jitted_image(image, MIRROR)
    np.testing.assert_allclose(once, image[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(jitted_image(once, MIRROR), image, atol=1e-5)
    moved, kept = jitted_boxes(boxes, np.ones(2, bool), MIRROR)
    np.testing.assert_array_equal(moved, np.array([[8, 44, 40, 60], [0, 0, 64, 64]], np.float32) / 64)
    np.testing.assert_array_equal(jitted_boxes(moved, kept, MIRROR)[0], boxes)


@pytest.mark.parametrize("seed", range(6))
def test_the_image_equals_the_twin(seed):
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 2, 2)
    a = an_augmentation(seed % 2, scale, rng.uniform(-0.2, 1.2, 2) * (1 - scale), *rng.uniform(-0.3, 0.3, 2))
    image = an_image(seed)
    np.testing.assert_allclose(jitted_image(image, a), image_twin(image, a, FILL), atol=2e-5)


def test_an_image_need_not_be_square():
    image = an_image()[:20]
    np.testing.assert_allclose(jitted_image(image, ZOOM_IN), image_twin(image, ZOOM_IN, FILL), atol=2e-5)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_border_between_picture_and_canvas_has_no_rim(level):
    out = np.asarray(jitted_image(np.full((SIZE, SIZE, 3), level, np.float32), ZOOM_OUT))
    picture = np.zeros((SIZE, SIZE), bool)
    picture[8:24, 4:24] = True  # 0.25 to 0.75, and 0.125 to 0.75, of 32 pixels
    np.testing.assert_allclose(out[picture], level, atol=1e-6)
    np.testing.assert_allclose(out[~picture], np.broadcast_to(np.float32(FILL), out[~picture].shape), atol=1e-6)


@pytest.mark.parametrize("brightness", [-0.3, 0.0, 0.2])
@pytest.mark.parametrize("contrast", [-0.5, 0.0, 0.4])
def test_lighting_equals_the_twin_and_leaves_the_canvas_alone(brightness, contrast):
    image = an_image()
    lit = jitted_image(image, an_augmentation(brightness=brightness, contrast=contrast))
    np.testing.assert_allclose(lit, light_twin(image, brightness, contrast), atol=1e-5)
    canvas = jitted_image(image, ZOOM_OUT._replace(brightness=np.float32(brightness), contrast=np.float32(contrast)))
    np.testing.assert_allclose(canvas[0, 0], FILL, atol=1e-6)


def test_bfloat16_images_are_computed_in_float32():
    image = jnp.asarray(an_image(), jnp.bfloat16)
    out = jitted_image(image, ZOOM_IN)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, jitted_image(image.astype(jnp.float32), ZOOM_IN), atol=1e-6)


# Boxes


@given(geometry=geometries(), seed=st.integers(0, 99), min_visible=st.sampled_from([0.05, 0.3]))
def test_boxes_equal_the_twin_and_stay_in_the_image(geometry, seed, min_visible):
    boxes, valid = some_boxes(seed), np.random.default_rng(seed).random(G) < 0.8
    expected, expected_valid = boxes_twin(boxes, valid, geometry, min_visible)
    boxes[~valid] = np.nan
    moved, kept = (np.asarray(x) for x in jitted_boxes(boxes, valid, geometry, min_visible=min_visible))
    np.testing.assert_array_equal(kept, expected_valid)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (moved[kept, 2:] > moved[kept, :2]).all()


def test_a_box_across_the_edge_is_clipped_and_never_deleted_for_it():
    boxes = np.array([[-0.25, 0.25, 0.5, 0.75], [0.5, 0.5, 1.125, 1.125]], np.float32)
    moved, kept = jitted_boxes(boxes, np.ones(2, bool), an_augmentation())
    assert kept.all()
    np.testing.assert_array_equal(moved, np.array([[0, 0.25, 0.5, 0.75], [0.5, 0.5, 1, 1]], np.float32))


def test_a_box_is_dropped_when_less_than_min_visible_is_left():
    boxes, valid = np.array([[0.25, 0.0, 0.5, 0.5]], np.float32), np.ones(1, bool)
    a_quarter_left = an_augmentation(translation=(0, -0.375))
    moved, kept = jitted_boxes(boxes, valid, a_quarter_left, min_visible=0.25)
    assert kept.all()
    np.testing.assert_array_equal(moved, np.array([[0.25, 0, 0.5, 0.125]], np.float32))
    moved, kept = jitted_boxes(boxes, valid, a_quarter_left)
    assert not kept.any()
    assert not np.asarray(moved).any()


def test_what_only_touches_the_image_is_dropped_whatever_the_limit():
    boxes = np.array([[0, 0.5, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.5, 0.5, 0.25, 0.75], [0, 0.75, 0.5, 1]], np.float32)
    half_a_view_left = an_augmentation(translation=(0, -0.5))
    _, kept = jitted_boxes(boxes, np.ones(4, bool), half_a_view_left, min_visible=0.0)
    np.testing.assert_array_equal(kept, [False, False, False, True])


def test_a_nan_box_becomes_invalid():
    moved, kept = jitted_boxes(np.full((2, 4), np.nan, np.float32), np.array([True, False]), MIRROR, min_visible=0.0)
    assert not kept.any()
    assert not np.asarray(moved).any()


def test_bfloat16_boxes_are_computed_in_float32():
    boxes, valid = jnp.asarray(some_boxes(), jnp.bfloat16), np.ones(G, bool)
    moved, kept = jitted_boxes(boxes, valid, ZOOM_IN)
    expected, expected_kept = jitted_boxes(boxes.astype(jnp.float32), valid, ZOOM_IN)
    assert moved.dtype == jnp.float32
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(kept, expected_kept)


# Images and boxes together


@given(geometry=geometries(), data=st.data())
def test_a_rectangle_painted_on_its_box_is_found_where_the_box_went(geometry, data):
    sides = st.integers(0, SIZE - 6).flatmap(lambda near: st.tuples(st.just(near), st.integers(near + 6, SIZE)))
    (y1, y2), (x1, x2) = data.draw(sides), data.draw(sides)
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    image[y1:y2, x1:x2] = 1
    box = np.array([[y1, x1, y2, x2]], np.float32) / SIZE
    moved, kept = jitted_boxes(box, np.ones(1, bool), geometry, min_visible=0.0)
    expected = np.asarray(moved[0]) * SIZE
    assume(kept[0] and (expected[2:] - expected[:2]).min() > 2)
    rows, columns = np.nonzero(np.asarray(jitted_image(image, geometry, fill=BLACK))[..., 0] > 0.5)
    hull = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    np.testing.assert_allclose(hull, expected, atol=1)


def test_a_block_painted_inside_a_box_is_found_inside_the_moved_box(sampled):
    count = 1000
    sampled = jax.tree.map(lambda x: x[:count], sampled)
    rng = np.random.default_rng(0)
    near = rng.integers(0, 20, (count, 2))
    far = near + rng.integers(4, 12, (count, 2))
    block = rng.integers(near, far - 2)
    pixels = np.arange(SIZE)
    in_block = [(pixels >= block[:, [axis]]) & (pixels < block[:, [axis]] + 3) for axis in (0, 1)]
    images = (in_block[0][:, :, None] & in_block[1][:, None, :]).astype(np.float32)[..., None].repeat(3, -1)
    boxes = (np.concatenate([near, far], axis=-1) / SIZE).astype(np.float32)[:, None, :]
    moved, kept = batched_boxes(boxes, np.ones((count, 1), bool), sampled)
    sampled = sampled._replace(brightness=np.zeros(count, np.float32))
    out = np.asarray(jax.jit(jax.vmap(partial(augment_image, fill=BLACK)))(images, sampled))[..., 0].astype(np.float64)
    out = np.where(out > 0.3, out, 0)
    mass = out.sum((1, 2))
    found = np.asarray(kept[:, 0]) & (mass > 0)
    assert found.sum() > 0.6 * count
    center = np.stack([(out.sum(2) * (pixels + 0.5)).sum(1), (out.sum(1) * (pixels + 0.5)).sum(1)], axis=-1)
    center = center[found] / mass[found, None] / SIZE
    inside = (center >= moved[found, 0, :2]) & (center <= moved[found, 0, 2:])
    assert inside.all()


@pytest.mark.parametrize("augmentation", [ZOOM_OUT, ZOOM_IN], ids=["zoom_out", "zoom_in"])
def test_jit_equals_eager(augmentation):
    image, boxes, valid = an_image(), some_boxes(), np.ones(G, bool)
    eager = augment_image(image, augmentation), *augment_boxes(boxes, valid, augmentation)
    jitted = jitted_image(image, augmentation), *jitted_boxes(boxes, valid, augmentation)
    for x, y in zip(eager, jitted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_vmap_equals_a_loop(sampled):
    few = jax.tree.map(lambda x: x[:5], sampled)
    images, boxes = np.stack([an_image(i) for i in range(5)]), np.stack([some_boxes(i) for i in range(5)])
    valid = np.ones((5, G), bool)
    all_images, (all_boxes, all_valid) = batched_image(images, few), batched_boxes(boxes, valid, few)
    for i in range(5):
        single = jax.tree.map(lambda x, i=i: x[i], few)
        np.testing.assert_allclose(jitted_image(images[i], single), all_images[i], atol=1e-5)
        moved, kept = jitted_boxes(boxes[i], valid[i], single)
        np.testing.assert_allclose(moved, all_boxes[i], atol=1e-6)
        np.testing.assert_array_equal(kept, all_valid[i])


# Sampling


def test_a_batch_of_keys_gives_what_each_key_gives(sampled):
    single = sample_augmentation(jax.random.split(jax.random.key(0), 4000)[7])
    for one, many in zip(single, sampled, strict=True):
        np.testing.assert_allclose(one, many[7], rtol=1e-5, atol=1e-7)


def test_samples_fill_their_ranges(sampled):
    zoom = np.sqrt(sampled.scale.prod(-1))
    aspect = sampled.scale[:, 0] / sampled.scale[:, 1]
    for value, low, high in [
        (np.log(zoom), np.log(2 / 3), np.log(3 / 2)),
        (np.log(aspect), np.log(4 / 5), np.log(5 / 4)),
        (sampled.brightness, -0.05, 0.05),
        (sampled.contrast, -0.05, 0.05),
    ]:
        assert low - 1e-6 <= value.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < value.max() <= high + 1e-6
        assert abs(value.mean() - (low + high) / 2) < 0.03 * (high - low)  # 6 standard errors and more
    assert abs(sampled.flip.mean() - 0.5) < 0.05
    drawn = [zoom, aspect, sampled.brightness, sampled.contrast, sampled.flip]
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.1  # one key each


def test_the_view_stays_in_the_image_or_the_image_in_the_canvas(sampled):
    start, stop = sampled.translation, sampled.translation + sampled.scale
    zoomed_in = sampled.scale > 1
    assert 0.3 < zoomed_in.mean() < 0.7
    assert start[zoomed_in].max() <= 1e-6
    assert stop[zoomed_in].min() >= 1 - 1e-6
    assert start[~zoomed_in].min() >= -1e-6
    assert stop[~zoomed_in].max() <= 1 + 1e-6
    place = (start / (1 - sampled.scale))[np.abs(1 - sampled.scale) > 0.01]
    np.testing.assert_allclose(np.quantile(place, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_everything_can_be_switched_off():
    off = {"flip": 0.0, "scale": (1.0, 1.0), "aspect": (1.0, 1.0), "brightness": 0.0, "contrast": 0.0}
    for sampled, identity in zip(sample_augmentation(jax.random.key(0), **off), identity_augmentation(), strict=True):
        np.testing.assert_array_equal(sampled, identity)
        assert sampled.dtype == identity.dtype
    assert sample_augmentation(jax.random.key(0), flip=1.0).flip


# Bad input


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": 1.2}, r"`flip` is 1\.2"),
        ({"scale": (0.0, 1.0)}, r"`scale` is \(0\.0, 1\.0\)"),
        ({"scale": (2.0, 1.0)}, r"`scale` is \(2\.0, 1\.0\)"),
        ({"aspect": (0.5, float("nan"))}, r"`aspect` is \(0\.5, nan\)"),
        ({"brightness": -0.1}, r"`brightness` is -0\.1"),
        ({"contrast": float("inf")}, "`contrast` is inf"),
    ],
)
def test_bad_sampling_ranges_are_named(setting, message):
    with pytest.raises(ValueError, match=f"^sample_augmentation: {message}"):
        sample_augmentation(jax.random.key(0), **setting)


@pytest.mark.parametrize("min_visible", [-0.1, 1.5, float("nan")])
def test_a_bad_min_visible_is_named(min_visible):
    with pytest.raises(ValueError, match=f"`min_visible` is {min_visible}"):
        augment_boxes(some_boxes(), np.ones(G, bool), identity_augmentation(), min_visible=min_visible)


@pytest.mark.parametrize("fill", [(0.5, 0.5), (0.0, 0.0, 255.0)])
def test_a_bad_fill_is_named(fill):
    with pytest.raises((ValueError, TypeCheckError), match="fill"):
        augment_image(an_image(), identity_augmentation(), fill=fill)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: augment_image(an_image()[..., :1], identity_augmentation()), "image"),
        (lambda: augment_boxes(some_boxes()[:, :2], np.ones(G, bool), identity_augmentation()), "boxes"),
        (lambda: augment_boxes(some_boxes(), np.ones(3, bool), identity_augmentation()), "valid"),
        (lambda: augment_image(an_image(), an_augmentation(scale=np.ones((5, 2)))), "scale"),
        (lambda: augment_boxes(some_boxes(), np.ones(G, bool), an_augmentation(translation=0)), "translation"),
    ],
)
def test_bad_shapes_are_named(call, name):
    with pytest.raises((ValueError, TypeCheckError), match=name):
        call()
