"""A ResNet's first convolution on 2x2 blocks of pixels: 12 channels fill a matrix unit better than three do."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.ops.arrays import ArrayLike


class SpaceToDepthConv(nn.Module):
    """A 7x7 convolution with stride 2, padding 3 and no bias: `space_to_depth_conv` with the kernel of an `nn.Conv`.

    Attributes:
        channels: output channels.
        kernel_init: of the kernel `[7, 7, c, channels]`.
        dtype: dtype of the computation; the kernel is float32.
    """

    channels: int
    kernel_init: nn.initializers.Initializer
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W c"]) -> Float[Array, "B h w c2"]:
        """Convolve a batch of images.

        Args:
            images: `[B, H, W, c]`.

        Returns:
            `[B, ceil(H / 2), ceil(W / 2), channels]` in `dtype`.
        """
        kernel = self.param("kernel", self.kernel_init, (7, 7, images.shape[-1], self.channels), jnp.float32)
        return space_to_depth_conv(jnp.asarray(images, self.dtype), jnp.asarray(kernel, self.dtype))


def space_to_depth_conv(
    images: Float[ArrayLike, "B H W c"], kernel: Float[ArrayLike, "7 7 c c2"]
) -> Float[Array, "B h w c2"]:
    """A 7x7 convolution with stride 2 and padding 3, as a 4x4 convolution with stride 1 of 2x2 blocks of pixels.

    Output i reads the pixels 2i - 3 to 2i + 3. With a zero in front of the kernel these are 2i - 4 to 2i + 3, the
    blocks i - 2 to i + 1.

    Args:
        images: `[B, H, W, c]`; odd sides get a row or column of the padding's zeros.
        kernel: `[7, 7, c, c2]`, of the images' dtype.

    Returns:
        `[B, ceil(H / 2), ceil(W / 2), c2]`.

    Example:
        >>> space_to_depth_conv(jnp.ones((1, 9, 8, 3)), jnp.ones((7, 7, 3, 1)))[0, :, 2, 0] / (3 * 7)
        Array([4., 6., 7., 6., 4.], dtype=float32)
    """
    blocks = _blocks(images, [(0, 0), (0, images.shape[1] % 2), (0, images.shape[2] % 2), (0, 0)])
    block_kernel = _blocks(jnp.moveaxis(kernel, 3, 0), [(0, 0), (1, 0), (1, 0), (0, 0)])
    return lax.conv_general_dilated(
        blocks,
        block_kernel,
        window_strides=(1, 1),
        padding=((2, 1), (2, 1)),
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
    )


def _blocks(x: ArrayLike, padding: list[tuple[int, int]]) -> Float[Array, "n h w c4"]:
    """Space to depth: 2x2 pixels of c channels become one of 4c."""
    x = jnp.pad(x, padding)
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)
