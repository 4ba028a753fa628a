"""VGG without its classifier (Simonyan and Zisserman 2014, arXiv:1409.1556), laid out like torchvision's.

Convolutions have biases and no BatchNorm. A pooling halves the map before each stage but the first.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import FastLayer
from jaxssd.models.resnet import KERNEL_INIT
from jaxssd.ops.arrays import ArrayLike


class VGGStage(nn.Module):
    """Stack of 3x3 convolutions with ReLU, on maps of one size.

    Attributes:
        channels: channels of every convolution.
        depth: number of convolutions.
        dtype: dtype of the computation; parameters are float32.
    """

    channels: int
    depth: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"]) -> Float[Array, "B h w c2"]:
        """Transform feature maps `[B, h, w, c]` into `[B, h, w, channels]`."""
        x = jnp.asarray(features, self.dtype)
        for index in range(1, self.depth + 1):
            conv = nn.Conv(
                self.channels, (3, 3), padding=1, dtype=self.dtype, kernel_init=KERNEL_INIT, name=f"conv{index}"
            )
            x = nn.relu(conv(x))
        return x


class VGG(nn.Module):
    """VGG from images to its last feature map, or to the maps of several levels.

    The last pooling, after the fifth stage, is left out. Poolings round sizes up, so that a map has the image's size
    over its stride, rounded up; torchvision's SSD300 does so before conv4, its classifier nowhere.

    Attributes:
        stage_sizes: number of convolutions in each stage.
        width: channels of the first stage; each next stage doubles them, up to eight times the first.
        dtype: dtype of the computation; parameters are float32.
        fast_layers: layers in their fast form; VGG has none.
        remat: if True, keep only the maps between stages for the backward pass and compute the rest again.

    Example:
        >>> images = jax.ShapeDtypeStruct((1, 300, 300, 3), jnp.float32)
        >>> init = partial(vgg16().init_with_output, train=False, levels=2)
        >>> maps, variables = jax.eval_shape(init, jax.random.key(0), images)
        >>> [features.shape for features in maps]  # conv4_3 and conv5_3
        [(1, 38, 38, 512), (1, 19, 19, 512)]
    """

    stage_sizes: tuple[int, ...]
    width: int = 64
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()
    remat: bool = False

    @property
    def output_stride(self) -> int:
        """Pixels of the image along one side of a cell of the feature map."""
        return self.level_strides[-1]

    @property
    def num_stages(self) -> int:
        """Number of stages, which freeze one after the other."""
        return len(self.stage_sizes)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Stride of each level, which is the last map of a stage, finest first."""
        return tuple(2**stage for stage in range(self.num_stages))

    @nn.compact
    def __call__(
        self, images: Float[ArrayLike, "B H W 3"], *, train: bool, frozen_stages: int = 0, levels: int | None = None
    ) -> Float[Array, "B h w c"] | tuple[Float[Array, "B _ _ _"], ...]:
        """Compute the last feature map, or the maps of the last levels.

        Args:
            images: normalised images `[B, H, W, 3]`.
            train: without effect: no layer differs in training.
            frozen_stages: number of leading stages into which no gradient flows.
            levels: number of maps, the last one and finer ones; None for the last one without a tuple.

        Returns:
            `[B, ceil(H / output_stride), ceil(W / output_stride), c]`. With `levels`, a tuple of the last maps, finest
            first; see `level_strides`.

        Raises:
            ValueError: if the network does not have so many levels.
        """
        strides = self.level_strides
        if levels is not None and not 1 <= levels <= len(strides):
            raise ValueError(f"VGG: `levels` is {levels}, expected 1 to {len(strides)}: it has strides {strides}")
        maps, x = [], jnp.asarray(images, self.dtype)
        for stage, depth in enumerate(self.stage_sizes, start=1):
            x = self._stage(self.width * min(2 ** (stage - 1), 8), depth, f"layer{stage}")(
                x if stage == 1 else max_pool_2x2(x)
            )
            if stage <= frozen_stages:
                x = jax.lax.stop_gradient(x)
            maps.append(x)
        return x if levels is None else tuple(maps[-levels:])

    def _stage(self, channels: int, depth: int, name: str) -> Callable[[Array], Array]:
        stage = VGGStage(channels, depth, self.dtype, name=name)
        return partial(nn.remat(lambda stage, x: stage(x)), stage) if self.remat else stage


vgg16 = partial(VGG, stage_sizes=(2, 2, 3, 3, 3))


def max_pool_2x2(x: Float[ArrayLike, "B H W c"]) -> Float[Array, "B h w c"]:
    """Max-pool 2x2 pixels with stride 2; the last window of an odd side has one row or column.

    Args:
        x: `[B, H, W, c]`.

    Returns:
        `[B, ceil(H / 2), ceil(W / 2), c]`.

    Example:
        >>> max_pool_2x2(jnp.arange(15.0).reshape(1, 3, 5, 1))[0, :, :, 0]
        Array([[ 6.,  8.,  9.],
               [11., 13., 14.]], dtype=float32)
    """
    to_even = [(0, side % 2) for side in x.shape[1:3]]
    return nn.max_pool(x, (2, 2), strides=(2, 2), padding=to_even)
