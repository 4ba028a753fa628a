"""The feature pyramid: an example by hand, a slow NumPy pyramid on odd and rectangular maps, nearest neighbours."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssd.models.feature_pyramid import FeaturePyramid, upsample_nearest
from tests.models.test_resnet import numpy_conv

SIZES, CHANNELS, WIDTH = ((5, 7), (3, 4), (2, 2)), (2, 3, 4), 3


def nearest(x, size):
    """Nearest neighbours, by PyTorch's rule: cell i reads floor(i * from / to)."""
    rows, columns = (np.arange(to) * have // to for to, have in zip(size, x.shape[1:3], strict=True))
    return x[:, rows][:, :, columns]


def numpy_pyramid(maps, params, num_levels, from_backbone):
    def conv(x, name, stride=1):
        kernel = params[name]["kernel"]
        return numpy_conv(x, kernel, stride, len(kernel) // 2) + params[name]["bias"]

    inner = [conv(x, f"inner{level}") for level, x in enumerate(maps)]
    for level in (1, 0):
        inner[level] = inner[level] + nearest(inner[level + 1], inner[level].shape[1:3])
    levels = [conv(x, f"layer{level}") for level, x in enumerate(inner[:num_levels])]
    if num_levels > 3:
        levels.append(conv(maps[-1] if from_backbone else levels[-1], "extra3", stride=2))
    for level in range(4, num_levels):
        levels.append(conv(np.maximum(levels[-1], 0), f"extra{level}", stride=2))
    return levels


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, *size, count)).astype(np.float32) for size, count in zip(SIZES, CHANNELS, strict=True)]


def random_params(pyramid, maps):
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(pyramid.init, jax.random.key(0), maps)["params"]
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def test_two_maps_by_hand():
    """A coarse 10 goes to both fine cells below it; a 1x1 layer adds, and a 3x3 one takes its centre and 1."""
    centre = np.zeros((3, 3, 1, 1), np.float32)
    centre[1, 1] = 2
    layer, one = {"kernel": centre, "bias": np.ones(1, np.float32)}, {"kernel": np.ones((1, 1, 1, 1), np.float32)}
    inner = one | {"bias": np.zeros(1, np.float32)}
    params = {"inner0": inner, "inner1": inner, "layer0": layer, "layer1": layer, "extra2": layer}
    maps = [jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1), jnp.full((1, 1, 1, 1), 10.0)]
    fine, coarse, extra = FeaturePyramid(1, 3).apply({"params": params}, maps)
    assert fine.ravel().tolist() == [2 * 11 + 1, 2 * 12 + 1]
    assert coarse.ravel().tolist() == [2 * 10 + 1]
    assert extra.ravel().tolist() == [2 * 21 + 1]


@pytest.mark.parametrize(("num_levels", "from_backbone"), [(5, False), (5, True), (2, False)])
def test_it_is_the_pyramid_of_the_formula(maps, num_levels, from_backbone):
    """Odd and rectangular maps; with fewer levels than maps, the coarse maps still flow into the fine ones."""
    pyramid = FeaturePyramid(WIDTH, num_levels, from_backbone)
    params = random_params(pyramid, maps)
    assert {name for name in params if name.startswith("inner")} == {"inner0", "inner1", "inner2"}
    found = jax.jit(pyramid.apply)({"params": params}, maps)
    expected = numpy_pyramid(maps, params, num_levels, from_backbone)
    assert [x.shape[1:3] for x in found] == [*SIZES, (1, 1), (1, 1)][:num_levels]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3), list(found), expected)


@pytest.mark.parametrize(("size", "finer"), [((3, 4), (5, 7)), ((3, 4), (6, 8)), ((1, 1), (1, 1)), ((2, 5), (4, 9))])
def test_enlarged_maps_are_those_of_nearest_neighbours(size, finer):
    x = np.arange(np.prod(size) * 2, dtype=np.float32).reshape(1, *size, 2)
    np.testing.assert_array_equal(upsample_nearest(x, like=np.zeros((1, *finer, 3), np.float32)), nearest(x, finer))


def test_no_map_is_an_error():
    with pytest.raises(ValueError, match=r"`maps` is empty, expected the backbone's maps"):
        FeaturePyramid().init(jax.random.key(0), [])
