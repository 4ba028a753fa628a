"""SSD heads: from a backbone's feature map to class logits and box activations, one row per anchor.

`PyramidHead` follows the lesson's `SSD_Head` and `SSD_MultiHead`, with any grids and any number of boxes per cell.
"""

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import Config, FastLayer
from jaxssd.models import BACKBONES
from jaxssd.models.layers import batch_norm, conv_to_float32
from jaxssd.ops import Anchors, make_anchors
from jaxssd.ops.arrays import ArrayLike, Size, as_pair, check_shapes

PRIOR_PROBABILITY = 1 / (1 + math.exp(4.0))  # a class bias of -4, as in the lesson

_Conv3x3 = partial(
    nn.Conv,
    kernel_size=(3, 3),
    padding=1,
    # PyTorch's default, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which the lesson keeps: He's has six times the variance and
    # would drown the prior probability. Other biases start at 0, where the lesson's are |b| < 0.021.
    kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
)


class Predictions(NamedTuple):
    """Predictions for every anchor, in the order of the anchors."""

    class_logits: Float[Array, "B A C"]
    box_activations: Float[Array, "B A 4"]


class StdConv(nn.Module):
    """3x3 convolution with bias, ReLU, BatchNorm and dropout, in the lesson's order.

    Attributes:
        channels: number of output channels.
        stride: 1, or 2 to halve the grid, rounding up.
        dropout: dropout rate.
        dtype: dtype of the computation; parameters and statistics are float32.
        fast_layers: layers in their fast form; it has only `"norm"`.
    """

    channels: int
    stride: int
    dropout: float
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B h2 w2 c2"]:
        """Transform a batch of feature maps.

        Args:
            features: `[B, h, w, c]`.
            train: if True, drop activations and normalise with the batch's statistics.

        Returns:
            `[B, ceil(h / stride), ceil(w / stride), channels]`.
        """
        x = nn.relu(_Conv3x3(self.channels, strides=self.stride, dtype=self.dtype, name="conv")(features))
        x = batch_norm(self.fast_layers)(use_running_average=not train, dtype=self.dtype, name="bn")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class OutConv(nn.Module):
    """Class logits and box activations of every box of every cell: two 3x3 convolutions.

    Attributes:
        num_classes: C, without background.
        boxes_per_cell: k, the number of boxes per cell.
        prior_probability: probability of every class at the start, which sets the bias of the logits. Few anchors hold
            an object; with a low start value the network need not learn that first (Lin et al. 2017,
            arXiv:1708.02002, sec. 3.3).
        dtype: dtype of the operands. Sums, biases and predictions are float32: in bfloat16 scores would tie.
            In small layers, products in float32 cost almost nothing.
    """

    num_classes: int
    boxes_per_cell: int
    prior_probability: float = PRIOR_PROBABILITY
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[ArrayLike, "B h w c"], box_features: Float[ArrayLike, "B h w c2"] | None = None
    ) -> Predictions:
        """Predict for every box of a grid.

        Args:
            features: `[B, h, w, c]`.
            box_features: features of the box activations, `[B, h, w, c2]`; by default `features`.

        Returns:
            Float32 `class_logits [B, h * w * k, C]` and `box_activations [B, h * w * k, 4]`; box j of the cell in row r
            and column c is at `(r * w + c) * k + j`.
        """
        conv = partial(
            _Conv3x3, dtype=self.dtype, promote_dtype=_all_but_the_bias, conv_general_dilated=conv_to_float32
        )
        bias = nn.initializers.constant(math.log(self.prior_probability / (1 - self.prior_probability)))
        logits = conv(self.boxes_per_cell * self.num_classes, bias_init=bias, name="classes")(features)
        activations = conv(self.boxes_per_cell * 4, name="boxes")(features if box_features is None else box_features)
        batch = features.shape[0]
        return Predictions(logits.reshape(batch, -1, self.num_classes), activations.reshape(batch, -1, 4))


class AnchorHead(nn.Module):
    """Base class of the heads in `HEADS`: a network, and the anchors that it predicts for.

    A head with a field `levels` that is not None reads a tuple of the backbone's last maps, finest first.

    Attributes:
        num_classes: C, without background.
        dtype: dtype of the computation; parameters, statistics and predictions are float32.
        fast_layers: layers in their fast form; a head has only `"norm"`.
    """

    num_classes: int
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()

    fixed_anchors: ClassVar[bool] = True
    """If True, the settings `grids`, `zooms` and `ratios` have no effect."""

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Other keyword arguments of the head, from the settings of a run."""
        return {}

    @staticmethod
    def anchor_grids(config: Config) -> tuple[Size, ...]:
        """Grids of the anchors, largest first: side of each in cells, or rows and columns; none for fixed anchors."""
        return ()

    @classmethod
    def anchors(cls, config: Config) -> Anchors:
        """Anchors of the head, in the order of its predictions: every zoom of every ratio in each cell of its grids."""
        grids, shape = cls.anchor_grids(config), config.dataset.input_shape
        return make_anchors(grids, config.anchors.zooms, config.anchors.ratios, image_size=shape)

    @staticmethod
    def available_grids(cells: Size) -> tuple[Size, ...]:
        """Grids of anchors that `--grids` can ask for, given the grid of the backbone; none by default."""
        return ()


class PyramidHead(AnchorHead):
    """Chain of `StdConv`s that shrinks the feature map, with an `OutConv` on each grid of `grids`.

    The first `StdConv` keeps the backbone's grid and every next one halves it; see `pyramid_grids`.

    Attributes:
        grids: side of each grid that predicts, or its rows and columns, largest first; the `grids` of the anchors.
        boxes_per_cell: k, zooms times ratios of the anchors.
        prior_probability: probability of every class at the start.
        input_dropout: dropout rate of the backbone's features.
        dropout: dropout rate of every `StdConv`.
        width: channels of every `StdConv`.
    """

    grids: tuple[Size, ...] = (4, 2, 1)
    boxes_per_cell: int = 9
    prior_probability: float = PRIOR_PROBABILITY
    input_dropout: float = 0.4
    dropout: float = 0.4
    width: int = 256

    fixed_anchors: ClassVar[bool] = False

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Grids and anchors of a cell, prior probability, dropout and width."""
        return {
            "grids": PyramidHead.anchor_grids(config),
            "boxes_per_cell": len(config.anchors.zooms) * len(config.anchors.ratios),
            "prior_probability": config.model.prior_probability,
            "input_dropout": config.model.input_dropout,
            "dropout": config.model.dropout,
            "width": config.model.head_width,
        }

    @staticmethod
    def anchor_grids(config: Config) -> tuple[Size, ...]:
        """Grids of the run's settings, which name the longer side of each; rows and columns of a rectangular input.

        Raises:
            ValueError: if a rectangular input does not have such a grid.
        """
        height, width = config.dataset.input_shape
        if height == width:
            return config.anchors.grids
        stride = BACKBONES[config.model.backbone]().output_stride
        by_side = {max(grid): grid for grid in pyramid_grids((-(-height // stride), -(-width // stride)))}
        if not set(config.anchors.grids) <= set(by_side):
            sides, shapes = (
                " ".join(map(str, by_side)),
                ", ".join(f"{rows}x{columns}" for rows, columns in by_side.values()),
            )
            raise ValueError(
                f"--grids is {config.anchors.grids}, expected some of {sides}: the longer sides of the grids {shapes}, "
                f"which {config.model.backbone} has at --image-size {height} {width}"
            )
        return tuple(by_side[side] for side in config.anchors.grids)

    @staticmethod
    def available_grids(cells: Size) -> tuple[Size, ...]:
        """Backbone's grid and its halves; see `pyramid_grids`."""
        return pyramid_grids(cells)

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Predictions:
        """Predict for every anchor of every grid.

        Args:
            features: feature map of the backbone, `[B, h, w, c]`.
            train: if True, drop activations and normalise with the batch's statistics.

        Returns:
            Float32 `class_logits [B, A, C]` and `box_activations [B, A, 4]`, ordered by grid, row, column, box.

        Raises:
            ValueError: if `grids` is not taken from the pyramid of the features, largest first.
        """
        check_shapes("PyramidHead", features=(features, "B h w c"))
        rows, columns = features.shape[1:3]
        grids, pyramid = tuple(map(as_pair, self.grids)), tuple(map(as_pair, pyramid_grids((rows, columns))))
        if not grids or grids != tuple(grid for grid in pyramid if grid in grids):
            sides, expected = " ".join(str(max(grid)) for grid in pyramid), pyramid_grids(rows)
            raise ValueError(
                f"PyramidHead: `grids` is {self.grids}; expected some of {expected if rows == columns else pyramid}, "
                f"largest first, for {rows}x{columns} features: --grids {sides} uses all; a larger --image-size gives "
                "larger grids"
            )
        common = (self.dropout, self.dtype, self.fast_layers)
        of_cell = (self.num_classes, self.boxes_per_cell, self.prior_probability)
        outputs = []
        x = nn.Dropout(self.input_dropout, deterministic=not train)(nn.relu(features))
        for level, grid in enumerate(pyramid[: pyramid.index(grids[-1]) + 1]):
            stride = 1 if level == 0 else 2
            x = StdConv(self.width, stride, *common, name=f"std_conv{level}")(x, train=train)
            if grid in grids:
                outputs.append(OutConv(*of_cell, name=f"out_conv{level}")(x))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *outputs)


SSDMultiHead = PyramidHead
"""The lesson's name of the three-grid head: 189 anchors."""

SSDHead = partial(
    PyramidHead,
    grids=(4,),
    boxes_per_cell=1,
    prior_probability=1 / (1 + math.exp(3.0)),
    input_dropout=0.25,
    dropout=0.1,
)
"""The lesson's one-grid head (`SSD_Head`): 16 anchors from a 7x7 feature map. Any field can be given another value."""


def pyramid_grids(grid: Size) -> tuple[Any, ...]:
    """List the grids that a `PyramidHead` can predict on, given the grid of its backbone.

    Args:
        grid: cells along one side of the backbone's feature map: image size over output stride, rounded up. Or rows and
            columns of the map.

    Returns:
        That grid, and its halves rounded up, down to one cell; numbers or pairs as the argument is.

    Example:
        >>> pyramid_grids(7), pyramid_grids((4, 6))
        ((7, 4, 2, 1), ((4, 6), (2, 3), (1, 2), (1, 1)))
    """
    if isinstance(grid, int):
        return (grid,) if grid <= 1 else (grid, *pyramid_grids(-(-grid // 2)))
    rows, columns = grid
    return (
        ((rows, columns),) if max(grid) <= 1 else ((rows, columns), *pyramid_grids((-(-rows // 2), -(-columns // 2))))
    )


def _all_but_the_bias(
    inputs: ArrayLike, kernel: ArrayLike, bias: ArrayLike, *, dtype: DTypeLike
) -> tuple[Array, Array, ArrayLike]:
    return jnp.asarray(inputs, dtype), jnp.asarray(kernel, dtype), bias
