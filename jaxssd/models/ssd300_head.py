"""SSD300 head: six feature maps from 38x38 cells to one, 8,732 boxes, with the layers of MLPerf's SSD-ResNet34."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import Config, FastLayer
from jaxssd.models.heads import PRIOR_PROBABILITY, AnchorHead, OutConv, Predictions
from jaxssd.models.layers import batch_norm
from jaxssd.ops.anchors import SSD300_CELLS, SSD300_RATIOS, Anchors, ssd300_anchors
from jaxssd.ops.arrays import ArrayLike, check_shapes

BOXES_PER_CELL = tuple(2 + 2 * len(alphas) for alphas in SSD300_RATIOS)
EXTRA_LAYERS = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
"""Layers from one map to the next: channels of the 1x1 and of the 3x3 convolution, its stride and padding."""


class ExtraLayer(nn.Module):
    """1x1 convolution that narrows the map, and 3x3 one that shrinks it, each with BatchNorm and ReLU.

    Attributes:
        narrow: channels of the 1x1 convolution.
        channels: channels of the 3x3 convolution.
        stride: stride of the 3x3 convolution.
        padding: padding of the 3x3 convolution.
        dtype: dtype of the computation; parameters and statistics are float32.
        fast_layers: layers in their fast form; it has only `"norm"`.
    """

    narrow: int
    channels: int
    stride: int
    padding: int
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B h2 w2 c2"]:
        """Transform a batch of feature maps.

        Args:
            features: `[B, h, w, c]`.
            train: if True, normalise with the batch's statistics and update the running ones.

        Returns:
            `[B, h2, w2, channels]`, with `h2 = (h + 2 * padding - 3) // stride + 1`.
        """

        def layer(x, index, channels, size, stride, padding):
            conv = nn.Conv(
                channels,
                (size, size),
                strides=stride,
                padding=padding,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.xavier_uniform(),
                name=f"conv{index}",
            )
            norm = batch_norm(self.fast_layers)
            return nn.relu(norm(use_running_average=not train, dtype=self.dtype, name=f"bn{index}")(conv(x)))

        return layer(layer(features, 1, self.narrow, 1, 1, 0), 2, self.channels, 3, self.stride, self.padding)


class SSD300Head(AnchorHead):
    """SSD300 head: the backbone's map and five smaller ones from `ExtraLayer`s, with an `OutConv` on all six.

    The maps have 38, 19, 10, 5, 3 and 1 cells per side, with 4, 6, 6, 6, 4 and 4 boxes in each, as in `ssd300_anchors`.

    Attributes:
        prior_probability: probability of every class at the start.

    Source:
        Liu et al. 2016 (arXiv:1512.02325), and MLPerf's training reference, `single_stage_detector/ssd/ssd300.py`. The
        latter's extra layers have biases instead of BatchNorm; MLPerf's description for inference has BatchNorm.

    Example:
        >>> head = SSD300Head(num_classes=80)
        >>> features = jax.ShapeDtypeStruct((2, 38, 38, 256), jnp.float32)
        >>> init = lambda x: head.init_with_output(jax.random.key(0), x, train=False)
        >>> predictions, variables = jax.eval_shape(init, features)
        >>> predictions.class_logits.shape, predictions.box_activations.shape
        ((2, 8732, 80), (2, 8732, 4))
    """

    prior_probability: float = PRIOR_PROBABILITY

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Prior probability; the layers are fixed."""
        return {"prior_probability": config.model.prior_probability}

    @classmethod
    def anchors(cls, config: Config) -> Anchors:
        """The 8,732 anchors of SSD300, of the run's sizes."""
        return ssd300_anchors(config.anchors.anchor_sizes)

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Predictions:
        """Predict for every anchor.

        Args:
            features: feature map of the backbone, `[B, 38, 38, c]`.
            train: if True, normalise with the batch's statistics and update the running ones.

        Returns:
            Float32 `class_logits [B, 8732, C]` and `box_activations [B, 8732, 4]`, in the order of `ssd300_anchors`:
            map, row, column, box.

        Raises:
            ValueError: if the features are not 38x38.
        """
        check_shapes("SSD300Head", features=(features, "B h w c"))
        cells, size = SSD300_CELLS[0], features.shape[1:3]
        if size != (cells, cells):
            raise ValueError(
                f"SSD300Head: the features are {size[0]}x{size[1]}, expected {cells}x{cells}: use --backbone "
                f"resnet34_ssd300 (output stride 8) and --image-size 300 ({8 * cells - 7} to {8 * cells} pixels)"
            )
        maps = [features]
        for index, layer in enumerate(EXTRA_LAYERS, start=1):
            extra = ExtraLayer(*layer, self.dtype, self.fast_layers, name=f"extra{index}")
            maps.append(extra(maps[-1], train=train))
        outputs = []
        for index, (x, boxes) in enumerate(zip(maps, BOXES_PER_CELL, strict=True)):
            of_cell = (self.num_classes, boxes, self.prior_probability, self.dtype, self.background)
            outputs.append(OutConv(*of_cell, name=f"out_conv{index}")(x))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *outputs)
