"""SSD300 head for VGG: the layers of torchvision's `ssd300_vgg16`, so that its published weights map one to one."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import Config
from jaxssd.models.heads import PRIOR_PROBABILITY, AnchorHead, OutConv, Predictions
from jaxssd.models.ssd300_head import BOXES_PER_CELL
from jaxssd.ops.anchors import SSD300_CELLS, Anchors, ssd300_anchors
from jaxssd.ops.arrays import ArrayLike

FIRST_SCALE = 20.0
"""First scale of every channel of conv4_3 after its normalisation (Liu et al. 2015, arXiv:1506.04579, section 3.2)."""
SMALLEST_NORM = 1e-12
DILATION = 6
EXTRA_LAYERS = ((4, 2, 2, 1), (8, 4, 2, 1), (8, 4, 1, 0), (8, 4, 1, 0))
"""Blocks after fc7: shares of its channels in the 1x1 and in the 3x3 convolution, stride and padding of the latter."""


class L2Norm(nn.Module):
    """L2 norm over the channels of each cell, times a learned scale for each channel.

    Attributes:
        dtype: dtype of the result; the norm is computed in float32.

    Example:
        >>> features = jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2)
        >>> L2Norm().init_with_output(jax.random.key(0), features)[0][0, 0, 0]
        Array([12., 16.], dtype=float32)
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"]) -> Float[Array, "B h w c"]:
        """Normalise every cell of maps `[B, h, w, c]`."""
        scale = self.param("scale", nn.initializers.constant(FIRST_SCALE), features.shape[-1:], jnp.float32)
        x = jnp.asarray(features, jnp.float32)
        squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        norm = jnp.sqrt(jnp.maximum(squares, SMALLEST_NORM**2))  # a cell of zeros stays one, with a gradient of zero
        return (x / norm * scale.reshape(1, 1, 1, -1)).astype(self.dtype)


class SSD300VGGHead(AnchorHead):
    """SSD300 on VGG16: six maps of 38, 19, 10, 5, 3 and 1 cells per side, with an `OutConv` on each.

    The first map is conv4_3 after an `L2Norm`. The second is fc7: conv5_3 goes through a 3x3 max-pooling of stride 1,
    fc6 (3x3, dilated by 6) and fc7 (1x1). Four blocks of a 1x1 and a 3x3 convolution make the others. There is no
    BatchNorm, all convolutions have biases, and a ReLU follows each but those that predict.

    Published weights fit these details, which papers and other implementations have otherwise:

    - Scales of conv4_3 are learned from 20 on.
    - Layers fc6 and fc7 belong to this head, and start at random with `--pretrained vgg16`.
    - The last two blocks have no padding and stride 1: 5, 3 and 1 cells.
    - Sizes of the anchors are at most 1, the image: the two oblong ones of the last map would be larger.
    - Images are scaled to 0 to 255 and have a mean subtracted that is not ImageNet's: `--std` is 1/255.
    - A softmax over 91 outputs: background, and COCO's category ids from 1 to 90, of which ten do not exist.

    Attributes:
        prior_probability: probability of every class at the start.
        width: channels of fc6 and fc7; those of the extra blocks are fixed shares of it.
        levels: number of the backbone's maps that the head reads.

    Source:
        Liu et al. 2016 (arXiv:1512.02325, sections 2.1 and 3.1, figure 2), and torchvision's `detection/ssd.py`.

    Example:
        >>> head = SSD300VGGHead(num_classes=91)
        >>> maps = [jax.ShapeDtypeStruct((2, cells, cells, 512), jnp.float32) for cells in (38, 19)]
        >>> init = lambda x: head.init_with_output(jax.random.key(0), x, train=False)
        >>> predictions, variables = jax.eval_shape(init, maps)
        >>> predictions.class_logits.shape, predictions.box_activations.shape
        ((2, 8732, 91), (2, 8732, 4))
    """

    prior_probability: float = PRIOR_PROBABILITY
    width: int = 1024
    levels: int = 2

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Prior probability; the layers are fixed."""
        return {"prior_probability": config.model.prior_probability}

    @classmethod
    def anchors(cls, config: Config) -> Anchors:
        """The 8,732 anchors of SSD300, of the run's sizes, none larger than the image."""
        return ssd300_anchors(config.anchors.anchor_sizes, largest=300.0)

    @nn.compact
    def __call__(self, maps: Sequence[Float[ArrayLike, "B _ _ _"]], *, train: bool) -> Predictions:
        """Predict for every anchor.

        Args:
            maps: conv4_3 `[B, 38, 38, c]` and conv5_3 `[B, 19, 19, c]` of the backbone.
            train: without effect: no layer differs in training.

        Returns:
            Float32 `class_logits [B, 8732, C]` and `box_activations [B, 8732, 4]`, in the order of `ssd300_anchors`:
            map, row, column, box.

        Raises:
            ValueError: if the maps do not have these cells.
        """
        found, expected = [tuple(x.shape[1:3]) for x in maps], [(cells, cells) for cells in SSD300_CELLS[:2]]
        if found != expected:
            sizes = ", ".join(f"{rows}x{columns}" for rows, columns in found)
            raise ValueError(
                f"SSD300VGGHead: the features are {sizes}, expected 38x38, 19x19: use --backbone vgg16 and "
                "--image-size 300 (297 to 304 pixels)"
            )
        finest, x = maps
        x = nn.max_pool(jnp.asarray(x, self.dtype), (3, 3), padding=((1, 1), (1, 1)))
        x = self._layer(x, self.width, 3, "fc6", padding=DILATION, dilation=DILATION)
        x = self._layer(x, self.width, 1, "fc7")
        features = [L2Norm(self.dtype, name="l2_norm")(finest), x]
        for index, layer in enumerate(EXTRA_LAYERS, start=1):
            features.append(_Extra(self.width, *layer, self.dtype, name=f"extra{index}")(features[-1]))
        outputs = []
        for index, (x, boxes) in enumerate(zip(features, BOXES_PER_CELL, strict=True), start=1):
            of_cell = (self.num_classes, boxes, self.prior_probability, self.dtype, self.background)
            outputs.append(OutConv(*of_cell, name=f"out_conv{index}")(x))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *outputs)

    def _layer(self, x: Array, channels: int, size: int, name: str, *, padding: int = 0, dilation: int = 1) -> Array:
        return nn.relu(_conv(channels, size, self.dtype, name, padding=padding, kernel_dilation=dilation)(x))


class _Extra(nn.Module):
    """1x1 convolution that narrows the map, and 3x3 one, each with ReLU."""

    width: int
    narrow: int
    wide: int
    stride: int
    padding: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"]) -> Float[Array, "B h2 w2 c2"]:
        x = nn.relu(_conv(self.width // self.narrow, 1, self.dtype, "conv1")(features))
        last = _conv(self.width // self.wide, 3, self.dtype, "conv2", strides=self.stride, padding=self.padding)
        return nn.relu(last(x))


def _conv(channels: int, size: int, dtype: DTypeLike, name: str, *, padding: int = 0, **settings: Any) -> nn.Conv:
    init = nn.initializers.xavier_uniform()
    return nn.Conv(channels, (size, size), padding=padding, dtype=dtype, kernel_init=init, name=name, **settings)
