"""Augmentation against slow NumPy references, and images against boxes: paint in a box must stay in the box."""

import inspect
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jaxssd.ops.augment import augment_boxes, augment_image
from jaxssd.ops.color import ColorDistortion, distort_colors
from jaxssd.ops.sampling import Augmentation, identity_augmentation, sample_augmentation
from tests.ops.rows import BOXES, IMAGE

SIZE, G = 32, 6
SQUARE = (SIZE, SIZE)
FILL = (0.485, 0.456, 0.406)
BLACK = (0.0, 0.0, 0.0)

jitted_image = jax.jit(augment_image, static_argnames="fill")
jitted_boxes = partial(jax.jit(augment_boxes, static_argnames=("min_visible", "image_size")), image_size=SQUARE)
batched_image = jax.jit(jax.vmap(augment_image))
batched_boxes = jax.jit(jax.vmap(partial(augment_boxes, image_size=SQUARE)))


@pytest.fixture(scope="module")
def sampled():
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample_augmentation))(jax.random.split(jax.random.key(0), 4000)))


@pytest.fixture(scope="module")
def sampled_with_rotation():
    sample = jax.jit(jax.vmap(partial(sample_augmentation, rotation=30.0, rotation_probability=0.75)))
    return jax.tree.map(np.asarray, sample(jax.random.split(jax.random.key(0), 4000)))


def an_augmentation(flip=False, scale=(1, 1), translation=(0, 0), brightness=0, contrast=0, angle=None):
    single = partial(np.asarray, dtype=np.float32)
    lighting = single(brightness), single(contrast)
    angle = None if angle is None else single(angle)
    return Augmentation(np.asarray(flip), single(scale), single(translation), *lighting, angle)


MIRROR = an_augmentation(flip=True)
ZOOM_OUT = an_augmentation(scale=(0.5, 0.625), translation=(0.25, 0.125))
ZOOM_IN = an_augmentation(flip=True, scale=(1.7, 1.3), translation=(-0.4, -0.1), brightness=0.04, contrast=-0.05)
ROTATED = ZOOM_IN._replace(angle=np.full((), 0.4, np.float32))
UNMOVED = [an_augmentation(), an_augmentation(angle=0)]
both_resamplings = pytest.mark.parametrize("unmoved", UNMOVED, ids=["no_angle", "angle_0"])


@st.composite
def geometries(draw, angles=None):
    """Zooms both ways on each axis; shifts that keep the view meaningful, and some that do not."""
    axis = st.tuples(st.floats(0.5, 2, width=32), st.floats(-0.25, 1.25, width=32))
    (sy, uy), (sx, ux) = draw(axis), draw(axis)
    angle = None if angles is None else draw(angles)
    return an_augmentation(draw(st.booleans()), (sy, sx), (uy * (1 - sy), ux * (1 - sx)), angle=angle)


any_angle = st.floats(-math.pi, math.pi)


def an_image(seed=0, size=SIZE):
    return np.random.default_rng(seed).random((size, size, 3), np.float32)


def an_exact_image():
    """Multiples of 1/256 whose mean is exactly 1/2: taking it off and adding it again rounds nothing."""
    half = np.random.default_rng(0).integers(0, 257, (SIZE, SIZE // 2, 3)).astype(np.float32) / 256
    return np.concatenate([half, 1 - half], axis=1)


def some_boxes(seed=0):
    rng = np.random.default_rng(seed)
    near = rng.uniform(-0.3, 1, (G, 2))
    return np.concatenate([near, near + rng.uniform(-0.1, 0.8, (G, 2))], axis=-1).astype(np.float32)


def a_mask(y1, x1, y2, x2):
    mask = np.zeros(SQUARE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def hull_of_a_mask(mask):
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], np.float32)


def test_worked_example():
    """Zoom by 2, shift by -1/2, mirror: y from 1/4 to 1/2 becomes 0 to 1/2, and x as well, mirrored 1/2 to 1."""
    augmentation = an_augmentation(flip=True, scale=(2, 2), translation=(-0.5, -0.5))
    moved, kept = jitted_boxes(np.float32([[0.25, 0.25, 0.5, 0.5]]), np.array([True]), augmentation)
    assert kept.tolist() == [True]
    np.testing.assert_array_equal(moved, [[0, 0.5, 0.5, 1]])
    white_at_top_left = np.zeros((2, 2, 3), np.float32)
    white_at_top_left[0, 0] = 1
    np.testing.assert_allclose(np.asarray(jitted_image(white_at_top_left, MIRROR))[..., 0], [[0, 1], [0, 0]], atol=1e-6)


# The slow references


def light_reference(image, b, c):
    factor = 1 + c if c >= 0 else 1 / (1 - c)
    mean = image.mean()
    return np.clip((image - mean) * factor + mean + b, 0, 1)


def resample_row_reference(row, scale, translation, outside):
    """A row of pixels `[N, 3]` under out = in * scale + translation, by a triangle as wide as the coarser pixels."""
    n = len(row)
    centers = (np.arange(n) + 0.5) / n
    out = np.empty_like(row)
    for i in range(n):
        source = (centers[i] - translation) / scale
        weights = np.maximum(1 - np.abs(source - centers) * n * min(scale, 1), 0)
        out[i] = (weights[:, None] * row).sum(0) / weights.sum() if 0 <= source <= 1 else outside
    return out


def image_reference(image, a, fill):
    image = light_reference(image.astype(np.float64), float(a.brightness), float(a.contrast))
    fill = np.array(fill)
    rows = np.stack([resample_row_reference(row, a.scale[1], a.translation[1], fill) for row in image])
    columns = [resample_row_reference(rows[:, x], a.scale[0], a.translation[0], fill) for x in range(image.shape[1])]
    out = np.stack(columns, axis=1)
    return out[:, ::-1] if a.flip else out


def pixel_matrix(a, height, width):
    """Where a point `(x, y, 1)` in pixels goes: homogeneous matrices from right to left."""

    def translate(x, y):
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])

    (sy, sx), (ty, tx) = a.scale.astype(np.float64), a.translation.astype(np.float64)
    angle = 0.0 if a.angle is None else float(a.angle)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])  # counter-clockwise on a screen, whose y points down
    mirror = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]]) if a.flip else np.eye(3)
    about_center = translate(width / 2, height / 2) @ turn @ translate(-width / 2, -height / 2)
    return mirror @ about_center @ translate(tx * width, ty * height) @ np.diag([sx, sy, 1])


def warp_reference(image, a, fill):
    image = light_reference(image.astype(np.float64), float(a.brightness), float(a.contrast))
    height, width, _ = image.shape
    back = np.linalg.inv(pixel_matrix(a, height, width))
    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            x, y, _ = back @ (j + 0.5, i + 0.5, 1)
            out[i, j] = fill
            if 0 <= x <= width and 0 <= y <= height:
                y, x = np.clip(y - 0.5, 0, height - 1), np.clip(x - 0.5, 0, width - 1)
                out[i, j] = sum(
                    (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
                    for row in {math.floor(y), math.ceil(y)}
                    for column in {math.floor(x), math.ceil(x)}
                )
    return out


def clip_polygon(points, width, height):
    """Sutherland and Hodgman: what is left of a polygon on one side of a line, for each border of the image in turn."""
    for axis, border, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        inside = [sign * (point[axis] - border) >= 0 for point in points]
        kept = []
        for k, (point, is_inside) in enumerate(zip(points, inside, strict=True)):
            before = points[k - 1]
            if is_inside != inside[k - 1]:
                kept.append(before + (border - before[axis]) / (point[axis] - before[axis]) * (point - before))
            if is_inside:
                kept.append(point)
        points = kept
    return points


def area_of(points):
    return abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(points, points[1:] + points[:1], strict=True))) / 2


def boxes_reference(boxes, valid, a, min_visible, image_size=SQUARE):
    height, width = image_size
    forward = pixel_matrix(a, height, width)
    moved, kept = np.zeros((len(boxes), 4)), np.zeros(len(boxes), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes.astype(np.float64)):
        if not valid[i] or y2 <= y1 or x2 <= x1:
            continue
        turned = [(forward @ (x * width, y * height, 1))[:2] for y, x in ((y1, x1), (y1, x2), (y2, x2), (y2, x1))]
        left = clip_polygon(turned, width, height)
        share = area_of(left) / area_of(turned)
        assume(abs(share - min_visible) > 1e-4)  # rounding may decide either way
        if share > min_visible:
            (x1, y1), (x2, y2) = np.min(left, axis=0), np.max(left, axis=0)
            moved[i], kept[i] = (y1 / height, x1 / width, y2 / height, x2 / width), True
    return moved, kept


# Images


@both_resamplings
def test_the_identity_changes_nothing(unmoved):
    image, boxes, valid = an_image(), np.clip(np.abs(some_boxes()), 0, 1), np.array([1, 1, 1, 0, 0, 1], bool)
    boxes[:, 2:] = boxes[:, :2] + 0.125
    boxes = boxes.clip(0, 1)
    np.testing.assert_allclose(jitted_image(image, unmoved), image, atol=1e-5)
    rounding = 0 if unmoved.angle is None else 1e-6
    moved, kept = jitted_boxes(boxes, valid, unmoved, min_visible=1.0 - rounding)
    np.testing.assert_array_equal(kept, valid)
    np.testing.assert_allclose(moved, np.where(valid[:, None], boxes, 0), rtol=0, atol=rounding)


@both_resamplings
def test_only_the_lighting_and_the_fill_colour_round(unmoved):
    image = an_exact_image()
    np.testing.assert_array_equal(jitted_image(image, unmoved, fill=BLACK), image)


@both_resamplings
def test_a_flip_mirrors_and_two_flips_are_the_identity(unmoved):
    mirror = unmoved._replace(flip=np.array(True))
    image, boxes = an_exact_image(), np.array([[8, 4, 40, 20], [0, 0, 64, 64]], np.float32) / 64
    once = jitted_image(image, mirror, fill=BLACK)
    np.testing.assert_array_equal(once, image[:, ::-1])
    np.testing.assert_array_equal(jitted_image(once, mirror, fill=BLACK), image)
    moved, kept = jitted_boxes(boxes, np.ones(2, bool), mirror)
    np.testing.assert_array_equal(moved, np.array([[8, 44, 40, 60], [0, 0, 64, 64]], np.float32) / 64)
    np.testing.assert_array_equal(jitted_boxes(moved, kept, mirror)[0], boxes)


@pytest.mark.parametrize("seed", range(6))
def test_the_image_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 2, 2)
    a = an_augmentation(seed % 2, scale, rng.uniform(-0.2, 1.2, 2) * (1 - scale), *rng.uniform(-0.3, 0.3, 2))
    image = an_image(seed)
    np.testing.assert_allclose(jitted_image(image, a), image_reference(image, a, FILL), atol=2e-5)


def test_an_image_need_not_be_square():
    image = an_image()[:20]
    np.testing.assert_allclose(jitted_image(image, ZOOM_IN), image_reference(image, ZOOM_IN, FILL), atol=2e-5)


@pytest.mark.parametrize("seed", range(6))
def test_a_rotated_image_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    scale, image = rng.uniform(0.5, 2, 2), an_image(seed)[: 20 if seed % 3 == 0 else SIZE]
    shift, lighting, angle = rng.uniform(-0.2, 1.2, 2) * (1 - scale), rng.uniform(-0.3, 0.3, 2), rng.uniform(-4, 4)
    a = an_augmentation(seed % 2, scale, shift, *lighting, angle)
    np.testing.assert_allclose(jitted_image(image, a), warp_reference(image, a, FILL), atol=5e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_two_resamplings_agree_at_angle_0_unless_the_image_shrinks(seed):
    rng = np.random.default_rng(seed)
    image, a = an_image(seed), an_augmentation(seed % 2, rng.uniform(1, 2, 2), rng.uniform(-0.9, 0.3, 2))
    by_angle_0 = jitted_image(image, a._replace(angle=np.zeros((), np.float32)))
    np.testing.assert_allclose(by_angle_0, jitted_image(image, a), atol=2e-5)


@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_quarter_turns_are_those_of_rot90_and_boxes_go_along(quarters):
    turn, box = an_augmentation(angle=quarters * math.pi / 2), np.array([[3, 8, 12, 27]], np.float32) / SIZE
    image = an_image()
    np.testing.assert_allclose(jitted_image(image, turn), np.rot90(image, quarters), atol=1e-5)
    moved, kept = jitted_boxes(box, np.ones(1, bool), turn)
    assert kept.all()
    np.testing.assert_allclose(moved[0] * SIZE, hull_of_a_mask(np.rot90(a_mask(3, 8, 12, 27), quarters)), atol=2e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_the_mirror_comes_after_the_rotation(flip):
    quarter, image = an_augmentation(flip, angle=math.pi / 2), an_image()
    expected = np.rot90(image)[:, ::-1] if flip else np.rot90(image)
    np.testing.assert_allclose(jitted_image(image, quarter), expected, atol=1e-5)


def test_a_rotation_turns_pixels_also_where_the_image_is_not_square():
    quarter, image = an_augmentation(angle=math.pi / 2), an_image()[:20]
    turned = np.asarray(jitted_image(image, quarter))
    np.testing.assert_allclose(turned[:, 6:26], np.rot90(image[:, 6:26]), atol=1e-5)  # the square about the centre
    np.testing.assert_allclose(turned[:, :6], np.broadcast_to(np.float32(FILL), (20, 6, 3)))
    size = np.array([20, SIZE, 20, SIZE], np.float32)
    mask = a_mask(3, 8, 12, 25)[:20]
    moved, _ = jitted_boxes((hull_of_a_mask(mask) / size)[None], np.ones(1, bool), quarter, image_size=(20, SIZE))
    mask[:, 6:26] = np.rot90(mask[:, 6:26])
    np.testing.assert_allclose(moved[0] * size, hull_of_a_mask(mask), atol=2e-5)


@pytest.mark.parametrize("angle", [math.radians(3), 0.7, -2.0])
def test_turning_back_restores_the_middle_of_a_smooth_picture(angle):
    y, x = np.meshgrid(np.linspace(0, 3, SIZE), np.linspace(0, 3, SIZE), indexing="ij")
    image = np.stack([0.5 + 0.4 * np.sin(2 * y - x), 0.5 + 0.4 * np.cos(x), y / 3], axis=-1).astype(np.float32)
    there, back = an_augmentation(angle=angle), an_augmentation(angle=-angle)
    middle = np.s_[6:-6, 6:-6]
    turned = np.asarray(jitted_image(image, there))
    assert np.abs(turned - image)[middle].max() > 0.03
    np.testing.assert_allclose(jitted_image(turned, back)[middle], image[middle], atol=0.006)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_border_between_picture_and_canvas_has_no_rim(level):
    out = np.asarray(jitted_image(np.full((SIZE, SIZE, 3), level, np.float32), ZOOM_OUT))
    picture = np.zeros((SIZE, SIZE), bool)
    picture[8:24, 4:24] = True  # 0.25 to 0.75, and 0.125 to 0.75, of 32 pixels
    np.testing.assert_allclose(out[picture], level, atol=1e-6)
    np.testing.assert_allclose(out[~picture], np.broadcast_to(np.float32(FILL), out[~picture].shape), atol=1e-6)


@pytest.mark.parametrize("brightness", [-0.3, 0.0, 0.2])
@pytest.mark.parametrize("contrast", [-0.5, 0.0, 0.4])
def test_lighting_equals_the_reference_and_leaves_the_canvas_alone(brightness, contrast):
    image = an_image()
    lit = jitted_image(image, an_augmentation(brightness=brightness, contrast=contrast))
    np.testing.assert_allclose(lit, light_reference(image, brightness, contrast), atol=1e-5)
    canvas = jitted_image(image, ZOOM_OUT._replace(brightness=np.float32(brightness), contrast=np.float32(contrast)))
    np.testing.assert_allclose(canvas[0, 0], FILL, atol=1e-6)


def test_bfloat16_images_are_computed_in_float32():
    image = jnp.asarray(an_image(), jnp.bfloat16)
    out = jitted_image(image, ZOOM_IN)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, jitted_image(image.astype(jnp.float32), ZOOM_IN), atol=1e-6)


# Boxes


@given(
    geometry=geometries() | geometries(any_angle),
    seed=st.integers(0, 99),
    min_visible=st.sampled_from([0.05, 0.3]),
    image_size=st.sampled_from([SQUARE, (20, 32)]),
)
def test_boxes_equal_the_reference_and_stay_in_the_image(geometry, seed, min_visible, image_size):
    boxes, valid = some_boxes(seed), np.random.default_rng(seed).random(G) < 0.8
    expected, expected_valid = boxes_reference(boxes, valid, geometry, min_visible, image_size)
    boxes[~valid] = np.nan
    moved, kept = jitted_boxes(boxes, valid, geometry, min_visible=min_visible, image_size=image_size)
    moved, kept = np.asarray(moved), np.asarray(kept)
    np.testing.assert_array_equal(kept, expected_valid)
    np.testing.assert_allclose(moved, expected, atol=2e-6)
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


def test_a_box_without_area_is_dropped_though_the_hull_of_a_turned_line_has_one():
    boxes = np.array([[0.25, 0.5, 0.75, 0.5], [0.5, 0.25, 0.5, 0.75], [0.75, 0.25, 0.25, 0.75]], np.float32)
    _, kept = jitted_boxes(boxes, np.ones(3, bool), an_augmentation(angle=0.3), min_visible=0.0)
    assert not kept.any()


def test_hulls_grow_with_the_angle_as_the_docstring_says():
    box, valid = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32), np.ones(1, bool)
    side = 0.5 * (math.cos(math.radians(3)) + math.sin(math.radians(3)))
    for angle, expected in [(math.pi / 4, math.sqrt(0.5)), (math.radians(-3), side)]:
        y1, x1, y2, x2 = jitted_boxes(box, valid, an_augmentation(angle=angle))[0][0]
        np.testing.assert_allclose([y2 - y1, x2 - x1], expected, atol=1e-6)


@pytest.mark.parametrize("augmentation", [MIRROR, ROTATED], ids=["mirror", "rotated"])
def test_a_nan_box_becomes_invalid(augmentation):
    nan_boxes = np.full((2, 4), np.nan, np.float32)
    moved, kept = jitted_boxes(nan_boxes, np.array([True, False]), augmentation, min_visible=0.0)
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


@given(geometry=geometries(any_angle), data=st.data())
def test_a_block_painted_inside_a_box_is_turned_into_the_hull(geometry, data):
    def inner(low, high, smallest):
        near = data.draw(st.integers(low, high - smallest))
        return near, data.draw(st.integers(near + smallest, high))

    (y1, y2), (x1, x2) = inner(0, SIZE, 4), inner(0, SIZE, 4)
    (top, bottom), (left, right) = inner(y1, y2, 3), inner(x1, x2, 3)
    image = a_mask(top, left, bottom, right)[..., None].repeat(3, -1).astype(np.float32)
    box = np.array([[y1, x1, y2, x2]], np.float32) / SIZE
    moved, kept = jitted_boxes(box, np.ones(1, bool), geometry, min_visible=0.0)
    bright = np.asarray(jitted_image(image, geometry, fill=BLACK))[..., 0] > 0.5
    assume(kept[0] and bright.any())
    y1, x1, y2, x2 = hull_of_a_mask(bright) - np.asarray(moved[0]) * SIZE
    assert min(y1, x1) >= -1
    assert max(y2, x2) <= 1


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


@pytest.mark.parametrize("augmentation", [ZOOM_OUT, ZOOM_IN, ROTATED], ids=["zoom_out", "zoom_in", "rotated"])
def test_jit_equals_eager(augmentation):
    boxes, valid, size = BOXES + some_boxes()[:4] / 4, np.ones(4, bool), IMAGE.shape[:2]  # of the shapes of `rows.py`
    eager = augment_image(IMAGE, augmentation), *augment_boxes(boxes, valid, augmentation, image_size=size)
    jitted = jitted_image(IMAGE, augmentation), *jitted_boxes(boxes, valid, augmentation, image_size=size)
    for x, y in zip(eager, jitted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize("samples", ["sampled", "sampled_with_rotation"])
def test_vmap_equals_a_loop(samples, request):
    few = jax.tree.map(lambda x: x[:5], request.getfixturevalue(samples))
    images, boxes = np.stack([an_image(i) for i in range(5)]), np.stack([some_boxes(i) for i in range(5)])
    valid = np.ones((5, G), bool)
    all_images, (all_boxes, all_valid) = batched_image(images, few), batched_boxes(boxes, valid, few)
    for i in range(5):
        single = jax.tree.map(lambda x, i=i: x[i], few)
        np.testing.assert_allclose(jitted_image(images[i], single), all_images[i], atol=1e-5)
        moved, kept = jitted_boxes(boxes[i], valid[i], single)
        np.testing.assert_allclose(moved, all_boxes[i], atol=1e-6)
        np.testing.assert_array_equal(kept, all_valid[i])


@jax.jit
@partial(jax.grad, argnums=(0, 1, 2), allow_int=True)
def gradients(image, boxes, augmentation):
    moved, _ = augment_boxes(boxes, np.ones(G, bool), augmentation, image_size=SQUARE)
    return (augment_image(image, augmentation) ** 2).sum() + (moved**2).sum()


@pytest.mark.parametrize("angle", [0.0, math.pi / 4, math.pi / 2, math.pi])
def test_gradients_are_finite(angle):
    boxes = some_boxes()
    boxes[0, 2:] = boxes[0, :2]
    *of_arrays, of_augmentation = gradients(an_image(), boxes, ROTATED._replace(angle=np.asarray(angle, np.float32)))
    assert of_augmentation.angle != 0
    for gradient in [*of_arrays, *jax.tree.leaves(of_augmentation)[1:]]:
        assert np.isfinite(gradient).all()


# Other sizes, colours, vertical flips, centres

RECOLORED = Augmentation(
    flip=np.array(False),
    scale=np.float32([1, 1]),
    translation=np.float32([0, 0]),
    vertical_flip=np.array(False),
    color=ColorDistortion(*map(np.float32, (0.1, 1.2, 0.7, 15)), contrast_last=np.array(True)),
)
resized = jax.jit(partial(augment_image, size=(SIZE // 2, SIZE)))
recolored = jax.jit(augment_image)


def test_a_zoomed_in_crop_has_the_stored_pixels():
    """Twice as high as the result and zoomed in by 2 in height: rows of the image itself, nothing blended."""
    image, lower_half = an_image(), an_augmentation(scale=(2, 1), translation=(-1, 0))
    np.testing.assert_allclose(resized(image, lower_half), image[SIZE // 2 :], atol=1e-5)
    np.testing.assert_allclose(resized(image, an_augmentation(scale=(2, 1), angle=0)), image[: SIZE // 2], atol=1e-5)


def test_without_a_zoom_a_smaller_result_is_the_resized_image():
    image = an_image()
    expected = jax.image.resize(image, (SIZE // 2, SIZE, 3), "linear", antialias=True)
    np.testing.assert_allclose(resized(image, an_augmentation()), expected, atol=1e-5)


@pytest.mark.parametrize("size", [0, (5,), (5, 0), "ab"])
def test_a_size_of_a_wrong_kind_is_named(size):
    with pytest.raises(ValueError, match=r"^augment_image: `size`"):
        inspect.unwrap(augment_image)(an_image(), RECOLORED, size=size)


def test_colours_change_in_the_picture_and_not_on_the_canvas():
    image, half = an_image(), {"scale": np.float32([0.5, 0.5]), "translation": np.float32([0, 0.125])}
    plain = np.asarray(recolored(image, RECOLORED._replace(color=None, **half)))
    out = np.asarray(recolored(image, RECOLORED._replace(**half)))
    picture = slice(0, SIZE // 2), slice(SIZE // 8, 5 * SIZE // 8)
    expected = distort_colors(plain[picture], RECOLORED.color, mean=image.mean())
    np.testing.assert_allclose(out[picture], expected, atol=1e-5)
    canvas = ~a_mask(0, SIZE // 8, SIZE // 2, 5 * SIZE // 8)
    np.testing.assert_allclose(out[canvas], np.tile(FILL, (canvas.sum(), 1)), atol=1e-6)
    over = RECOLORED._replace(flip=np.array(True), vertical_flip=np.array(True), **half)
    np.testing.assert_allclose(recolored(image, over), out[::-1, ::-1], atol=1e-5)


def test_a_vertical_flip_turns_image_and_boxes_upside_down():
    image, boxes = an_image(), np.float32([[0.1, 0.2, 0.4, 0.9]])
    over = RECOLORED._replace(vertical_flip=np.array(True), color=None)
    np.testing.assert_allclose(recolored(image, over), image[::-1], atol=1e-5)
    turned = over._replace(angle=np.float32(0))
    np.testing.assert_allclose(recolored(image, turned), image[::-1], atol=1e-5)
    for augmentation in (over, turned):
        moved, _ = jitted_boxes(boxes, np.array([True]), augmentation)
        np.testing.assert_allclose(moved, [[0.6, 0.2, 0.9, 0.9]], atol=1e-5)


@pytest.mark.parametrize("angle", [None, math.pi / 2])
def test_a_box_whose_centre_is_out_of_view_is_dropped_where_asked(angle):
    """Shifted to the edge: one keeps its centre and the other does not. A quarter turn changes nothing in that."""
    boxes = np.float32([[0.5, 0.1, 0.7, 0.5], [0.5, 0.1, 0.7, 0.3]])
    left = an_augmentation(translation=(0, -0.25), angle=angle)
    keep = jax.jit(partial(augment_boxes, min_visible=0, center_in_view=True, image_size=SQUARE))
    assert keep(boxes, np.array([True, True]), left)[1].tolist() == [True, False]
    assert jitted_boxes(boxes, np.array([True, True]), left, min_visible=0)[1].tolist() == [True, True]


# Sampling


def test_a_batch_of_keys_gives_what_each_key_gives(sampled):
    single = sample_augmentation(jax.random.split(jax.random.key(0), 4000)[7])
    jax.tree.map(lambda one, many: np.testing.assert_allclose(one, many[7], rtol=1e-5, atol=1e-7), single, sampled)


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


def test_aspect_is_height_over_width_at_equal_area():
    sampled = sample_augmentation(jax.random.key(0), scale=(1.0, 1.0), aspect=(4.0, 4.0))
    np.testing.assert_allclose(sampled.scale, [2, 0.5], rtol=1e-6)


def test_axes_shift_independently():
    keys = jax.random.split(jax.random.key(0), 100)
    sample = jax.jit(jax.vmap(partial(sample_augmentation, scale=(0.5, 0.5), aspect=(1.0, 1.0))))
    shifts = np.asarray(sample(keys).translation)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.3


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


def test_angles_fill_their_range_as_often_as_asked(sampled_with_rotation):
    angle, limit = sampled_with_rotation.angle, math.radians(30)
    assert abs((angle != 0).mean() - 0.75) < 0.03
    np.testing.assert_allclose([angle.min(), angle.max()], [-limit, limit], rtol=0.01)
    quantiles = np.quantile(angle[angle != 0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quantiles / limit, [-0.5, 0, 0.5], atol=0.08)
    zoom = np.sqrt(sampled_with_rotation.scale.prod(-1))
    others = [zoom, sampled_with_rotation.flip, *sampled_with_rotation.translation.T, sampled_with_rotation.contrast]
    assert np.abs(np.corrcoef([angle, *others])[0, 1:]).max() < 0.1
    assert np.abs(np.corrcoef([angle != 0, *others])[0, 1:]).max() < 0.1


def test_rotation_leaves_all_other_draws_as_they_are(sampled, sampled_with_rotation):
    still = sampled_with_rotation._replace(angle=None)
    jax.tree.map(np.testing.assert_array_equal, sampled, still)


@pytest.mark.parametrize(("probability", "rotated"), [(0.0, False), (1.0, True)])
def test_a_rotation_may_be_certain_or_impossible(probability, rotated):
    for seed in range(3):
        sampled = sample_augmentation(jax.random.key(seed), rotation=3.0, rotation_probability=probability)
        assert (sampled.angle != 0) == rotated


def test_everything_can_be_switched_off():
    off = {"flip": 0.0, "scale": (1.0, 1.0), "aspect": (1.0, 1.0), "brightness": 0.0, "contrast": 0.0}
    sampled, identity = sample_augmentation(jax.random.key(0), **off), identity_augmentation()
    assert sampled.angle is None
    assert identity.angle is None
    for one, other in zip(jax.tree.leaves(sampled), jax.tree.leaves(identity), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert sample_augmentation(jax.random.key(0), flip=1.0).flip


# Bad input


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": 1.2}, r"`flip` is 1\.2"),
        ({"rotation": -3.0}, r"`rotation` is -3\.0"),
        ({"rotation": float("nan")}, "`rotation` is nan"),
        ({"rotation_probability": 2.0}, r"`rotation_probability` is 2\.0"),
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


@pytest.mark.parametrize("image_size", [None, (0, 32)])
def test_a_rotation_of_boxes_asks_for_the_size_of_the_image(image_size):
    with pytest.raises(ValueError, match="`image_size` is "):
        augment_boxes(some_boxes(), np.ones(G, bool), ROTATED, image_size=image_size)


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
