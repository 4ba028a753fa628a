"""Feature pyramid network (FPN): maps of equal width at several resolutions, each with what coarser maps know."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.ops.arrays import ArrayLike, check_shapes

Layer = tuple[int, int | float]
"""Kernel size (odd) and stride of a layer that is padded by half its kernel; a stride of 0.5 repeats each cell."""
UPSAMPLING: Layer = (1, 0.5)
GridPaths = tuple[tuple[int, int], list[list[Layer]]]
"""Rows and columns of a grid, and the layers of every path from the image to it."""

KERNEL_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


class FeaturePyramid(nn.Module):
    """Feature pyramid: 1x1 laterals, a top-down path that adds the coarser map, and a 3x3 convolution on each level.

    Level 0 is the finest. Levels beyond the backbone's maps are made by 3x3 convolutions of stride 2, with a ReLU
    between two of them: P6 and P7 of RetinaNet.

    Attributes:
        width: channels of every level.
        num_levels: number of levels. Fewer than the backbone's maps leaves out coarse levels, which still flow into the
            finer ones.
        extra_from_backbone: if True, extra levels start from the backbone's last map (C5, the paper), otherwise from
            the last level of the pyramid (P5, as in torchvision's first RetinaNet).
        dtype: dtype of the computation; parameters are float32.

    Source:
        Lin et al. 2017 (arXiv:1612.03144, section 3), and RetinaNet (arXiv:1708.02002, section 4) for the extra levels.

    Example:
        >>> import jax
        >>> pyramid = FeaturePyramid(width=16, num_levels=4)
        >>> maps = [jax.ShapeDtypeStruct((1, size, size, 8), jnp.float32) for size in (13, 7)]
        >>> levels, variables = jax.eval_shape(pyramid.init_with_output, jax.random.key(0), maps)
        >>> [level.shape for level in levels]
        [(1, 13, 13, 16), (1, 7, 7, 16), (1, 4, 4, 16), (1, 2, 2, 16)]
        >>> sorted(variables["params"])
        ['extra2', 'extra3', 'inner0', 'inner1', 'layer0', 'layer1']
    """

    width: int = 256
    num_levels: int = 5
    extra_from_backbone: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Float[ArrayLike, "B _ _ _"]]) -> tuple[Float[Array, "B _ _ c"], ...]:
        """Compute the levels of the pyramid.

        Args:
            maps: the backbone's maps, finest first, `[B, h, w, c]` of any channels.

        Returns:
            `num_levels` maps `[B, h, w, width]`, finest first. The first have the sizes of `maps`; each extra level
            halves the one before, rounded up.

        Raises:
            ValueError: if there is no map.
        """
        if not maps:
            raise ValueError("FeaturePyramid: `maps` is empty, expected the backbone's maps, finest first")
        for features in maps:
            check_shapes("FeaturePyramid", maps=(features, "B h w c"))
        inner = [self._conv(1, 1, f"inner{level}")(features) for level, features in enumerate(maps)]
        for level in reversed(range(len(inner) - 1)):
            inner[level] = inner[level] + upsample_nearest(inner[level + 1], like=inner[level])
        levels = [self._conv(3, 1, f"layer{level}")(x) for level, x in enumerate(inner[: self.num_levels])]

        x = jnp.asarray(maps[-1], self.dtype) if self.extra_from_backbone else levels[-1]
        for level in range(len(levels), self.num_levels):
            x = self._conv(3, 2, f"extra{level}")(x if level == len(maps) else nn.relu(x))
            levels.append(x)
        return tuple(levels)

    def _conv(self, size: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(
            self.width,
            (size, size),
            strides=stride,
            padding=size // 2,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name=name,
        )


def pyramid_paths(
    level_layers: Sequence[list[Layer]], num_levels: int, *, extra_from_backbone: bool = False
) -> list[list[list[Layer]]]:
    """List the paths from the image to each level of a `FeaturePyramid`, whose receptive field is the union of theirs.

    Args:
        level_layers: layers from the image up to each of the backbone's maps, finest first; see `ResNet.level_layers`.
        num_levels: number of levels.
        extra_from_backbone: start of the extra levels.

    Returns:
        For each level the layers of every path, one through each map that the level contains.
    """
    count = len(level_layers)
    paths = [
        [[*level_layers[start], *[UPSAMPLING] * (start - level), (3, 1)] for start in range(level, count)]
        for level in range(min(count, num_levels))
    ]
    for level in range(count, num_levels):
        below = [level_layers[-1]] if extra_from_backbone and level == count else paths[-1]
        paths.append([[*path, (3, 2)] for path in below])
    return paths


def upsample_nearest(
    features: Float[ArrayLike, "B h w c"], like: Float[ArrayLike, "B h2 w2 c2"]
) -> Float[Array, "B h2 w2 c"]:
    """Enlarge maps by repeating cells, to the size of a finer map.

    Each side is repeated by the whole number that suffices, and cut: 7 cells become 14, or 13 where the finer map of an
    odd image has 13. That is nearest-neighbour interpolation.

    Args:
        features: maps `[B, h, w, c]`.
        like: maps of the height and width to reach, no smaller than `h` and `w`.

    Returns:
        Maps `[B, h2, w2, c]`.

    Example:
        >>> row = jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)
        >>> upsample_nearest(row, like=jnp.zeros((1, 2, 3, 1)))[0, :, :, 0]
        Array([[1., 1., 2.],
               [1., 1., 2.]], dtype=float32)
    """
    batch, height, width, channels = features.shape
    rows, columns = like.shape[1:3]
    down, right = -(-rows // height), -(-columns // width)
    cells = jnp.broadcast_to(features[:, :, None, :, None, :], (batch, height, down, width, right, channels))
    return cells.reshape(batch, height * down, width * right, channels)[:, :rows, :columns]
