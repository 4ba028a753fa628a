"""Residual networks without their classifier (He et al. 2016, arXiv:1512.03385), laid out like torchvision's.

Layers, padding and names are the same (`layer1_0` for `layer1.0`, `downsample_conv` for `downsample.0`), so that
weights map one to one.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import FastLayer
from jaxssd.models.layers import batch_norm
from jaxssd.ops.arrays import ArrayLike

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class _Block(nn.Module):
    """Base class of residual blocks.

    Attributes:
        channels: number of channels; a `Bottleneck` has four times as many outputs.
        stride: stride of the first 3x3 convolution and of the shortcut.
        dtype: dtype of the computation; parameters and statistics are float32.
        fast_layers: layers in their fast form; a block has only `"norm"`.
    """

    channels: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()

    def _layer(
        self, x: ArrayLike, index: int | str, channels: int, size: int, stride: int = 1, *, train: bool
    ) -> Array:
        """Convolution and BatchNorm."""
        conv, norm = (f"conv{index}", f"bn{index}") if isinstance(index, int) else (f"{index}_conv", f"{index}_bn")
        x = _conv(channels, size, stride, dtype=self.dtype, name=conv)(x)
        return batch_norm(self.fast_layers)(use_running_average=not train, dtype=self.dtype, name=norm)(x)

    def _shortcut(self, features: ArrayLike, channels: int, *, train: bool) -> Array:
        """Features, through a 1x1 convolution where the shape changes."""
        features = jnp.asarray(features, self.dtype)
        if self.stride == 1 and features.shape[-1] == channels:
            return features
        return self._layer(features, "downsample", channels, 1, self.stride, train=train)


class BasicBlock(_Block):
    """Basic block: two 3x3 convolutions added to a shortcut."""

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B h2 w2 c2"]:
        """Transform feature maps `[B, h, w, c]` into `[B, ceil(h / stride), ceil(w / stride), channels]`."""
        x = nn.relu(self._layer(features, 1, self.channels, 3, self.stride, train=train))
        x = self._layer(x, 2, self.channels, 3, train=train)
        return nn.relu(x + self._shortcut(features, self.channels, train=train))


class Bottleneck(_Block):
    """Bottleneck block: a 3x3 convolution between two 1x1, the last of which widens the map fourfold, and a shortcut.

    The 3x3 convolution has the stride, as in torchvision ("v1.5"); in the paper the first 1x1 convolution has it.
    """

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B h2 w2 c2"]:
        """Transform feature maps `[B, h, w, c]` into `[B, ceil(h / stride), ceil(w / stride), 4 * channels]`."""
        x = nn.relu(self._layer(features, 1, self.channels, 1, train=train))
        x = nn.relu(self._layer(x, 2, self.channels, 3, self.stride, train=train))
        x = self._layer(x, 3, 4 * self.channels, 1, train=train)
        return nn.relu(x + self._shortcut(features, 4 * self.channels, train=train))


class ResNet(nn.Module):
    """Residual network from images to its last feature map, or to the maps of several levels.

    Attributes:
        stage_sizes: number of blocks in each stage.
        width: channels of the first stage's blocks; each next stage doubles them.
        dtype: dtype of the computation; parameters and statistics are float32.
        block: class of the blocks.
        strides: stride of each stage's first block; fewer stages use the first of them. With the default four stages
            have an output stride of 32 and three have 16.
        pool: if True, the stem is a 7x7 convolution of stride 2 and a max-pooling of stride 2, as in the paper. If
            False, the convolution has stride 4 and no pooling follows; on a CPU that takes a tenth of the time.
        fast_layers: layers in their fast form, equal up to rounding; see `FastLayer`.
        remat: if True, keep only the maps between blocks for the backward pass and compute the rest again: less memory,
            about a third more computation (Chen et al. 2016, arXiv:1604.06174).

    Example:
        >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        >>> backbone = resnet34()
        >>> init = partial(backbone.init_with_output, train=False)
        >>> features, variables = jax.eval_shape(init, jax.random.key(0), images)
        >>> features.shape, backbone.output_stride
        ((1, 7, 7, 512), 32)
    """

    stage_sizes: tuple[int, ...]
    width: int = 64
    dtype: DTypeLike = jnp.float32
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock
    strides: tuple[int, ...] = (1, 2, 2, 2)
    pool: bool = True
    fast_layers: tuple[FastLayer, ...] = ()
    remat: bool = False

    @property
    def output_stride(self) -> int:
        """Pixels of the image along one side of a cell of the feature map."""
        return 4 * prod(self.strides[: len(self.stage_sizes)])

    @property
    def num_stages(self) -> int:
        """Number of stages, which freeze one after the other."""
        return len(self.stage_sizes)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Stride of each level, finest first. A level is the last map of one size; ResNet34 has 4, 8, 16 and 32."""
        return tuple(4 * prod(self.strides[:stage]) for stage in self._level_stages)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Kernel size and stride of the layers from the image up, without 1x1 convolutions and shortcuts."""
        return self.level_layers[-1]

    @property
    def level_layers(self) -> tuple[list[tuple[int, int]], ...]:
        """`layers` up to each level."""
        layers = [(7, 2), (3, 2)] if self.pool else [(7, 4)]
        stages = []
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                stride = self.strides[stage] if block == 0 else 1
                layers = layers + ([(3, stride)] if self.block is Bottleneck else [(3, stride), (3, 1)])
            stages.append(layers)
        return tuple(stages[stage - 1] for stage in self._level_stages)

    @property
    def _level_stages(self) -> tuple[int, ...]:
        """Last stage of each level, counted from 1: the next stage has a stride, or there is none."""
        last = len(self.stage_sizes)
        return tuple(stage for stage in range(1, last + 1) if stage == last or self.strides[stage] > 1)

    @nn.compact
    def __call__(
        self, images: Float[ArrayLike, "B H W 3"], *, train: bool, frozen_stages: int = 0, levels: int | None = None
    ) -> Float[Array, "B h w c"] | tuple[Float[Array, "B _ _ _"], ...]:
        """Compute the last feature map, or the maps of the last levels.

        Args:
            images: normalised images `[B, H, W, 3]`.
            train: if True, normalise with the batch's statistics and update the running ones.
            frozen_stages: number of leading stages that stay as in evaluation: they keep and use their running
                statistics, and no gradient flows into them. Any number above 0 includes the stem; the lesson's
                `freeze_to(-1)` is 4 of 4 stages, `freeze_to(-2)` is 2 and `unfreeze()` is 0.
            levels: number of maps, the last one and finer ones; None for the last one without a tuple.

        Returns:
            `[B, ceil(H / output_stride), ceil(W / output_stride), width * 2 ** (stages - 1)]`, with four times the
            channels from a `Bottleneck`. With `levels`, a tuple of the last maps, finest first; see `level_strides`.

        Raises:
            ValueError: if the network does not have so many levels.
        """
        strides = self.level_strides
        if levels is not None and not 1 <= levels <= len(strides):
            raise ValueError(f"ResNet: `levels` is {levels}, expected 1 to {len(strides)}: it has strides {strides}")
        maps = []
        x = self._stem(images, train=train and frozen_stages == 0)
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            frozen = stage <= frozen_stages
            for block in range(blocks):
                stride = self.strides[stage - 1] if block == 0 else 1
                layer = self._block(self.width * 2 ** (stage - 1), stride, name=f"layer{stage}_{block}")
                x = layer(x, train=train and not frozen)
            if frozen:
                x = jax.lax.stop_gradient(x)
            if stage in self._level_stages:
                maps.append(x)
        return x if levels is None else tuple(maps[-levels:])

    def _stem(self, images: ArrayLike, *, train: bool) -> Array:
        x = self._first_convolution()(images)
        x = batch_norm(self.fast_layers)(use_running_average=not train, dtype=self.dtype, name="bn1")(x)
        if not self.pool:
            return nn.relu(x)
        if "pool" in self.fast_layers:
            from jaxssd.models.fast_layers import max_pool_3x3

            return nn.relu(max_pool_3x3(x))  # the largest pixel is also the largest after the ReLU
        return nn.max_pool(nn.relu(x), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    def _first_convolution(self) -> nn.Module:
        if not self.pool:
            return _conv(self.width, 7, 4, dtype=self.dtype, name="conv1")
        if "stem" in self.fast_layers:
            from jaxssd.models.fast_layers import SpaceToDepthConv

            return SpaceToDepthConv(self.width, KERNEL_INIT, self.dtype, name="conv1")
        return _conv(self.width, 7, 2, dtype=self.dtype, name="conv1")

    def _block(self, channels: int, stride: int, *, name: str) -> Callable[..., Array]:
        block = self.block(channels, stride, self.dtype, self.fast_layers, name=name)
        if not self.remat:
            return block

        def again(features: Array, *, train: bool) -> Array:
            return nn.remat(lambda block, x: block(x, train=train))(block, features)

        return again


resnet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2))
resnet34 = partial(ResNet, stage_sizes=(3, 4, 6, 3))
resnet50 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
resnet_small = partial(ResNet, stage_sizes=(1, 1, 1), width=32)
"""Output stride 16. It trains on a CPU in minutes, and so do `resnet10_light` and `resnet_tiny`."""
resnet10_light = partial(ResNet, stage_sizes=(1, 1, 1, 1), width=32, pool=False)
"""ResNet10, one block a stage, at half the width and without pooling; levels of stride 4, 8, 16 and 32."""
resnet_tiny = partial(ResNet, stage_sizes=(1, 1), width=32)
"""Output stride 8."""
resnet34_ssd300 = partial(ResNet, stage_sizes=(3, 4, 6), strides=(1, 2, 1))
"""Part of ResNet34 in MLPerf's SSD: three stages, the third without its stride, so that 300 pixels become 38x38 cells.

Output stride 8. It takes torchvision's weights of ResNet34.
"""


def _conv(channels: int, size: int, stride: int = 1, *, dtype: DTypeLike, name: str) -> nn.Conv:
    """Convolution with explicit padding: with "SAME" a stride of 2 takes the other pixels where the size is even."""
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        dtype=dtype,
        kernel_init=KERNEL_INIT,
        name=name,
    )
