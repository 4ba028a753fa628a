"""Photometric distortion against Python's own colour conversions, pixel by pixel."""

import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssd.ops.color import ColorDistortion, distort_colors, sample_color_distortion

jitted = jax.jit(distort_colors)
UNIT = st.floats(0, 1, width=32)


def a_distortion(brightness=0.0, contrast=1.0, saturation=1.0, hue=0.0, last=False, order=None):
    numbers = map(np.float32, (brightness, contrast, saturation, hue))
    return ColorDistortion(*numbers, np.array(last), None if order is None else np.array(order, np.int32))


def test_worked_example():
    """Half the saturation of red is pink; a third of a turn makes it green; its channels turned make it blue."""
    red = np.float32([[[1, 0, 0]]])
    for distortion, expected in (
        (a_distortion(saturation=0.5), (1, 0.5, 0.5)),
        (a_distortion(hue=120), (0, 1, 0)),
        (a_distortion(order=(2, 1, 0)), (0, 0, 1)),
        (a_distortion(brightness=0.25), (1, 0.25, 0.25)),
        (a_distortion(contrast=0.5), (2 / 3, 1 / 6, 1 / 6)),  # about the mean, 1/3
    ):
        np.testing.assert_allclose(jitted(red, distortion)[0, 0], expected, atol=1e-6)


def reference(image, d, mean):
    """The same with `colorsys`, a pixel at a time."""
    center = mean + float(d.brightness)

    def contrasted(pixel):
        return np.clip((pixel - center) * float(d.contrast) + center, 0, 1)

    out = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        pixel = np.clip(image[place] + float(d.brightness), 0, 1)
        pixel = pixel if d.contrast_last else contrasted(pixel)
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        pixel = np.array(colorsys.hsv_to_rgb((h + float(d.hue) / 360) % 1, min(s * float(d.saturation), 1), v))
        out[place] = contrasted(pixel) if d.contrast_last else pixel
    return out


PIXELS = st.lists(st.tuples(UNIT, UNIT, UNIT), min_size=4, max_size=4)
DISTORTIONS = st.builds(
    a_distortion,
    st.floats(-0.25, 0.25, width=32),
    st.floats(0.5, 1.5, width=32),
    st.floats(0, 3, width=32),
    st.floats(-180, 180, width=32),
    st.booleans(),
)


@given(pixels=PIXELS, distortion=DISTORTIONS)
def test_every_pixel_is_as_by_the_reference(pixels, distortion):
    image = np.float32(pixels).reshape(2, 2, 3)
    expected = reference(image.astype(np.float64), distortion, image.mean())
    np.testing.assert_allclose(jitted(image, distortion), expected, atol=2e-5)


def test_nothing_changes_by_default_and_grey_stays_grey():
    rng = np.random.default_rng(0)
    image, grey = rng.random((2, 2, 3), np.float32), np.full((2, 2, 3), 0.3, np.float32)
    np.testing.assert_allclose(jitted(image, a_distortion()), image, atol=1e-6)
    np.testing.assert_allclose(jitted(grey, a_distortion(saturation=1.5, hue=90)), grey, atol=1e-6)


def test_the_contrast_is_about_a_mean_that_may_be_given():
    image = np.full((2, 2, 3), 0.75, np.float32)
    of_a_dark_photograph = jax.jit(lambda mean: distort_colors(image, a_distortion(contrast=1.5), mean=mean))
    np.testing.assert_allclose(of_a_dark_photograph(0.25), np.ones((2, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(of_a_dark_photograph(0.75), image, atol=1e-6)


def test_sampled_parameters_have_their_ranges_and_probabilities():
    keys = jax.random.split(jax.random.key(0), 4000)
    sampled = jax.device_get(jax.jit(jax.vmap(partial(sample_color_distortion, channel_order=0.5)))(keys))
    for name, unchanged, low, high in (
        ("brightness", 0, -32 / 255, 32 / 255),
        ("contrast", 1, 0.5, 1.5),
        ("saturation", 1, 0.5, 1.5),
        ("hue", 0, -18, 18),
    ):
        values = getattr(sampled, name)
        assert np.mean(values == unchanged) == pytest.approx(0.5, abs=0.03)
        drawn = values[values != unchanged]
        assert low <= drawn.min() < low + (high - low) / 100
        assert high - (high - low) / 100 < drawn.max() <= high
        np.testing.assert_allclose(drawn.mean(), (low + high) / 2, atol=(high - low) / 40)
    assert np.mean(sampled.contrast_last) == pytest.approx(0.5, abs=0.03)
    orders, counts = np.unique(sampled.order, axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.max() / 4000 == pytest.approx(0.5 + 0.5 / 6, abs=0.03)  # the order of before is one of the six
    changed = np.stack([sampled.brightness != 0, sampled.contrast != 1, sampled.saturation != 1, sampled.hue != 0])
    np.testing.assert_allclose(np.corrcoef(changed), np.eye(4), atol=0.06)


def test_without_a_channel_order_there_is_none():
    assert jax.eval_shape(sample_color_distortion, jax.random.key(0)).order is None


def test_gradients_are_finite_at_black_white_and_grey():
    image = np.float32([[[0, 0, 0], [1, 1, 1]], [[0.5, 0.5, 0.5], [1, 1, 0]]])
    gradients = jax.jit(jax.grad(lambda *x: distort_colors(*x).sum(), argnums=(0, 1), allow_int=True))
    of_image, of_distortion = gradients(image, a_distortion(0.1, 1.2, 1.1, 10))
    assert np.isfinite(of_image).all()
    assert all(np.isfinite(x).all() for x in of_distortion[:4])


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"probability": 1.5}, "`probability` is 1.5, expected a probability"),
        ({"contrast": (1.5, 0.5)}, "`contrast` is"),
        ({"hue": 200}, "`hue` is 200"),
        ({"brightness": -1}, "`brightness` is -1"),
    ],
)
def test_settings_out_of_range_are_named(settings, found):
    with pytest.raises(ValueError, match=f"^sample_color_distortion: {found}"):
        sample_color_distortion(jax.random.key(0), **settings)


def test_wrong_arguments_are_named():
    image = jnp.zeros((2, 2, 3))
    with pytest.raises(ValueError, match="distort_colors: `mean` is 2"):
        distort_colors(image, a_distortion(), mean=2)
    with pytest.raises(ValueError, match=r"distort_colors: `hue` has shape \(2,\)"):
        distort_colors(image, a_distortion()._replace(hue=np.zeros(2, np.float32)))
