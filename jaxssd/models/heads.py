"""SSD heads: from a backbone's feature map to class logits and box activations, one row per anchor.

`PyramidHead` follows the lesson's `SSD_Head` and `SSD_MultiHead`, with any grids and any number of boxes per cell.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import Config, FastLayer
from jaxssd.models.feature_pyramid import FeaturePyramid, GridPaths, Layer, pyramid_paths
from jaxssd.models.grids import all_grids, map_grids, pyramid_grids, refuse_grids
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
        num_classes: C, the number of class outputs.
        boxes_per_cell: k, the number of boxes per cell.
        prior_probability: probability of every class at the start, which sets the bias of the logits. Few anchors hold
            an object; with a low start value the network need not learn that first (Lin et al. 2017,
            arXiv:1708.02002, sec. 3.3).
        dtype: dtype of the operands. Sums, biases and predictions are float32: in bfloat16 scores would tie.
            In small layers, products in float32 cost almost nothing.
        background: if True, the last output is background and its bias starts at 0: with a softmax each class then has
            the odds of `prior_probability` against background.
    """

    num_classes: int
    boxes_per_cell: int
    prior_probability: float = PRIOR_PROBABILITY
    dtype: DTypeLike = jnp.float32
    background: bool = False

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
        logits = conv(self.boxes_per_cell * self.num_classes, bias_init=self._prior_bias, name="classes")(features)
        activations = conv(self.boxes_per_cell * 4, name="boxes")(features if box_features is None else box_features)
        batch = features.shape[0]
        return Predictions(logits.reshape(batch, -1, self.num_classes), activations.reshape(batch, -1, 4))

    def _prior_bias(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        """Bias of the class outputs: the logit of the prior probability."""
        logit = math.log(self.prior_probability / (1 - self.prior_probability))
        bias = jnp.full((self.boxes_per_cell, self.num_classes), logit, dtype)
        return (bias.at[:, -1].set(0) if self.background else bias).reshape(shape)


class AnchorHead(nn.Module):
    """Base class of the heads in `HEADS`: a network, and the anchors that it predicts for.

    A head with a field `levels` that is not None reads a tuple of the backbone's last maps, finest first.

    Attributes:
        num_classes: C, the number of class outputs; with `background` one more than classes.
        dtype: dtype of the computation; parameters, statistics and predictions are float32.
        fast_layers: layers in their fast form; a head has only `"norm"`.
        background: if True, the last class output is background. It only matters for the initial bias.
    """

    num_classes: int
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()
    background: bool = False

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

    The first `StdConv` keeps the backbone's grid and every next one halves it; see `pyramid_grids`. Grids finer than
    the backbone's last map are predicted from its finer maps: a `FeaturePyramid`, and a `StdConv` and an `OutConv` on
    each of its levels. The other grids are the same with and without them.

    Attributes:
        levels: number of the backbone's maps that the head reads, one more than it has finer grids; None for the last
            map, not in a tuple.
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
    levels: int | None = None

    fixed_anchors: ClassVar[bool] = False

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Grids and anchors of a cell, prior probability, dropout, width, and number of the backbone's maps.

        Raises:
            ValueError: if a grid is finer than the backbone's last map, and none of its finer maps has that size.
        """
        maps = [max(grid) for grid in map_grids(config)]
        largest = max(config.anchors.grids, default=0)
        if largest > maps[-1] and largest not in maps:
            refuse_grids(config)
        return {
            "levels": len(maps) - maps.index(largest) if largest > maps[-1] else None,
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
        by_side = {max(grid): grid for grid in all_grids(map_grids(config))}
        if not set(config.anchors.grids) <= set(by_side):
            refuse_grids(config)
        return tuple(by_side[side] for side in config.anchors.grids)

    @staticmethod
    def available_grids(cells: Size) -> tuple[Size, ...]:
        """Backbone's grid and its halves; see `pyramid_grids`."""
        return pyramid_grids(cells)

    def paths(self, level_layers: Sequence[list[Layer]], maps: Sequence[tuple[int, int]]) -> list[GridPaths]:
        """Every grid, and the paths from the image to its predictions, given the layers and cells of the maps."""
        count = self.levels or 1
        finer, pyramid = self._known_grids(maps[-count:])
        of_finer = zip(finer, pyramid_paths(level_layers[-count:], len(finer)), strict=True)
        found = [(grid, [[*path, (3, 1), (3, 1)] for path in paths]) for grid, paths in of_finer]
        below = list(level_layers[-1])
        for level, grid in enumerate(pyramid):
            below = [*below, (3, 1 if level == 0 else 2)]
            if grid in map(as_pair, self.grids):
                found.append((grid, [[*below, (3, 1)]]))
        return found

    @nn.compact
    def __call__(
        self, features: Float[ArrayLike, "B h w c"] | Sequence[Float[ArrayLike, "B _ _ _"]], *, train: bool
    ) -> Predictions:
        """Predict for every anchor of every grid.

        Args:
            features: feature map of the backbone, `[B, h, w, c]`; with `levels` a tuple of its last maps, finest first.
            train: if True, drop activations and normalise with the batch's statistics.

        Returns:
            Float32 `class_logits [B, A, C]` and `box_activations [B, A, 4]`, ordered by grid, row, column, box.

        Raises:
            ValueError: if `grids` is not taken from the maps and the pyramid of the last one, largest first.
        """
        maps: list[Any] = [features] if self.levels is None else list(features)
        for each in maps:
            check_shapes("PyramidHead", features=(each, "B h w c"))
        grids = tuple(map(as_pair, self.grids))
        finer, pyramid = self._known_grids([each.shape[1:3] for each in maps])
        common = (self.dropout, self.dtype, self.fast_layers)
        of_cell = (self.num_classes, self.boxes_per_cell, self.prior_probability, jnp.float32, self.background)

        def dropped(features: ArrayLike) -> Array:
            return nn.Dropout(self.input_dropout, deterministic=not train)(nn.relu(features))

        outputs = []
        if finer:
            merged = FeaturePyramid(self.width, len(finer), dtype=self.dtype, name="fpn")(maps)
            for level, features in enumerate(merged):
                x = StdConv(self.width, 1, *common, name=f"finer_std_conv{level}")(dropped(features), train=train)
                outputs.append(OutConv(*of_cell, name=f"finer_out_conv{level}")(x))
        x = dropped(maps[-1])
        for level, grid in enumerate(pyramid[: pyramid.index(grids[-1]) + 1]):
            stride = 1 if level == 0 else 2
            x = StdConv(self.width, stride, *common, name=f"std_conv{level}")(x, train=train)
            if grid in grids:
                outputs.append(OutConv(*of_cell, name=f"out_conv{level}")(x))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *outputs)

    def _known_grids(self, maps: Sequence[Sequence[int]]) -> tuple[list[Any], list[Any]]:
        """Finer grids, all of which predict, and the pyramid of the last map; an error if `grids` is not of them."""
        grids, (*finer, last) = tuple(map(as_pair, self.grids)), [as_pair(tuple(grid)) for grid in maps]
        pyramid = list(pyramid_grids(last))
        known = (*finer, *pyramid)
        in_order = grids == tuple(grid for grid in known if grid in grids)
        if not (in_order and set(finer) <= set(grids) and set(pyramid) & set(grids)):
            rows, columns = last
            sides = " ".join(str(max(grid)) for grid in known)
            square = all(rows == columns for rows, columns in known)
            expected = tuple(rows for rows, _ in known) if square else known
            raise ValueError(
                f"PyramidHead: `grids` is {self.grids}; expected some of {expected}, largest first, for "
                f"{rows}x{columns} features: --grids {sides} uses all; a larger --image-size gives larger grids"
                f"{'; finer grids need all from the largest on, and one of the last map' * bool(finer)}"
            )
        return finer, pyramid


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


def _all_but_the_bias(
    inputs: ArrayLike, kernel: ArrayLike, bias: ArrayLike, *, dtype: DTypeLike
) -> tuple[Array, Array, ArrayLike]:
    return jnp.asarray(inputs, dtype), jnp.asarray(kernel, dtype), bias
