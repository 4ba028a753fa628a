"""RetinaNet head: a feature pyramid, and one class tower and one box tower that all its levels share.

The presets `retinanet_resnet50_fpn` and `retinanet_resnet50_fpn_v2` are torchvision's two detectors, which differ:

| | first version | second version |
|---|---|---|
| P6 from | P5, without a ReLU | C5 |
| towers | convolutions with bias | GroupNorm of 32 groups after convolutions without bias |
| BatchNorm of the body | frozen, epsilon 0 | epsilon 1e-5 |
| box loss | L1 of the offsets | GIoU |

Both have one ReLU, between P6 and P7; anchors of their own (`retinanet_anchors`); offsets without scales
(`PLAIN_OFFSET_CODER`); 91 class outputs, of which the first is never learned (`jaxssd.models.torchvision_names`). At
most 1,000 candidates of each level enter NMS, those with the best scores above 0.05, with boxes clipped to the image.
Classes are sigmoids. The loss of an image is divided by its own positives.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.config import Config, FastLayer
from jaxssd.models import BACKBONES
from jaxssd.models.feature_pyramid import FeaturePyramid, GridPaths, Layer, pyramid_paths
from jaxssd.models.grids import grids_of
from jaxssd.models.heads import PRIOR_PROBABILITY, AnchorHead, OutConv, Predictions
from jaxssd.models.layers import EPSILON, batch_norm
from jaxssd.ops import Anchors
from jaxssd.ops.arrays import ArrayLike, Size

GROUPS = 32
"""Groups of GroupNorm (Wu and He 2018, arXiv:1803.08494), or as many as divide the channels."""


class Tower(nn.Module):
    """Stack of 3x3 convolutions with ReLU whose kernels are shared by all levels of a pyramid.

    Attributes:
        width: channels of every convolution.
        depth: number of convolutions.
        norm: normalisation after each convolution. `batch`: BatchNorm, with parameters and statistics for each level;
            `group`: GroupNorm, shared by all levels; `none`.
        dtype: dtype of the computation; parameters and statistics are float32.
        fast_layers: layers in their fast form; it has only `"norm"`.
    """

    width: int
    depth: int
    norm: Literal["batch", "group", "none"] = "batch"
    dtype: DTypeLike = jnp.float32
    fast_layers: tuple[FastLayer, ...] = ()

    @nn.compact
    def __call__(self, maps: Sequence[Float[ArrayLike, "B _ _ c"]], *, train: bool) -> list[Float[Array, "B _ _ c2"]]:
        """Transform each map.

        Args:
            maps: levels of the pyramid, `[B, h, w, c]`.
            train: if True, normalise with the batch's statistics and update the running ones.

        Returns:
            A map `[B, h, w, width]` for each level.
        """
        maps = [jnp.asarray(features) for features in maps]
        for index in range(self.depth):
            conv = nn.Conv(
                self.width,
                (3, 3),
                padding=1,
                use_bias=self.norm == "none",
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{index}",
            )
            if self.norm == "group":
                groups = math.gcd(GROUPS, self.width)
                shared = nn.GroupNorm(groups, epsilon=EPSILON, dtype=self.dtype, name=f"norm{index}")
            for level, features in enumerate(maps):
                x = conv(features)
                if self.norm == "batch":
                    norm = batch_norm(self.fast_layers)
                    name = f"norm{index}_level{level}"
                    x = norm(use_running_average=not train, dtype=self.dtype, name=name)(x)
                elif self.norm == "group":
                    x = shared(x)
                maps[level] = nn.relu(x)
        return maps


class RetinaNetHead(AnchorHead):
    """RetinaNet: a `FeaturePyramid` on the backbone's maps, two `Tower`s, and an `OutConv` shared by all levels.

    Attributes:
        levels: number of the backbone's maps that enter the pyramid.
        num_grids: number of pyramid levels that predict, from the finest map on. Levels beyond the backbone's last map
            are made by convolutions of stride 2.
        boxes_per_cell: k, zooms times ratios of the anchors.
        prior_probability: probability of every class at the start; 0.01 in the paper.
        width: channels of the pyramid and of the towers.
        depth: number of convolutions of each tower.
        norm: normalisation in the towers; see `Tower`. The paper has none.
        extra_from_backbone: if True, extra levels start from the backbone's last map; see `FeaturePyramid`.

    Source:
        Lin et al. 2017 (arXiv:1708.02002, section 4). Names of the parameters follow torchvision's parts: `fpn` with
        `inner` and `layer` blocks, `class_tower`, `box_tower`, and the last convolutions in `out_conv`.

    Example:
        >>> head = RetinaNetHead(num_classes=80)
        >>> maps = [jax.ShapeDtypeStruct((2, size, size, 512), jnp.float32) for size in (40, 20, 10)]
        >>> init = lambda x: head.init_with_output(jax.random.key(0), x, train=False)
        >>> predictions, variables = jax.eval_shape(init, maps)
        >>> predictions.class_logits.shape, predictions.box_activations.shape  # 9 for each cell of 40, 20, 10, 5, 3
        ((2, 19206, 80), (2, 19206, 4))
    """

    levels: int = 3
    num_grids: int = 5
    boxes_per_cell: int = 9
    prior_probability: float = PRIOR_PROBABILITY
    width: int = 256
    depth: int = 4
    norm: Literal["batch", "group", "none"] = "batch"
    extra_from_backbone: bool = False

    fixed_anchors: ClassVar[bool] = False

    @staticmethod
    def settings(config: Config) -> dict[str, Any]:
        """Levels, anchors of a cell, prior probability, width, depth and normalisation.

        Raises:
            ValueError: if the backbone does not have the first level.
        """
        strides = BACKBONES[config.model.backbone]().level_strides
        finest, found = config.anchors.levels[0], [round(math.log2(stride)) for stride in strides]
        if finest not in found:
            backbone = config.model.backbone
            raise ValueError(
                f"--levels starts at {finest}, expected one of {', '.join(map(str, found))}: level l has cells of 2**l "
                f"pixels, and the maps of {backbone} have cells of {', '.join(map(str, strides))}"
            )
        return {
            "levels": len(found) - found.index(finest),
            "num_grids": len(config.anchors.levels),
            "boxes_per_cell": len(config.anchors.zooms) * len(config.anchors.ratios),
            "prior_probability": config.model.prior_probability,
            "width": config.model.head_width,
            "depth": config.model.tower_depth,
            "norm": config.model.tower_norm,
            "extra_from_backbone": config.model.extra_levels_from == "backbone",
        }

    @staticmethod
    def anchor_grids(config: Config) -> tuple[Size, ...]:
        """Rows and columns of each level: input size over `2**level`, rounded up; one number for a square input."""
        height, width = config.dataset.input_shape
        cells = grids_of([2**level for level in config.anchors.levels], (height, width))
        return tuple(rows for rows, _ in cells) if height == width else tuple(cells)

    @classmethod
    def anchors(cls, config: Config) -> Anchors:
        """Anchors of the run's layout."""
        if config.anchors.anchor_layout == "centers":
            return super().anchors(config)
        from jaxssd.ops.corner_anchors import retinanet_anchors

        levels, zooms, ratios = config.anchors.levels, config.anchors.zooms, config.anchors.ratios
        return retinanet_anchors(config.dataset.input_shape, levels=levels, zooms=zooms, ratios=ratios)

    def paths(self, level_layers: Sequence[list[Layer]], maps: Sequence[tuple[int, int]]) -> list[GridPaths]:
        """Every grid, and the paths from the image to its predictions, given the layers and cells of the maps."""
        grids = list(maps[-self.levels :])
        while len(grids) < self.num_grids:
            rows, columns = grids[-1]
            grids.append((-(-rows // 2), -(-columns // 2)))
        of_levels = pyramid_paths(
            level_layers[-self.levels :], self.num_grids, extra_from_backbone=self.extra_from_backbone
        )
        above = [(3, 1)] * (self.depth + 1)
        return [(grid, [[*path, *above] for path in paths]) for grid, paths in zip(grids, of_levels, strict=False)]

    @nn.compact
    def __call__(self, maps: Sequence[Float[ArrayLike, "B _ _ _"]], *, train: bool) -> Predictions:
        """Predict for every anchor of every level.

        Args:
            maps: the backbone's maps, finest first, `[B, h, w, c]`.
            train: if True, normalise with the batch's statistics and update the running ones.

        Returns:
            Float32 `class_logits [B, A, C]` and `box_activations [B, A, 4]`, ordered by level, row, column, box.

        Raises:
            ValueError: if there are not `levels` maps.
        """
        if len(maps) != self.levels:
            raise ValueError(f"RetinaNetHead: {len(maps)} maps, expected {self.levels}, the field `levels`")
        fpn = FeaturePyramid(self.width, self.num_grids, self.extra_from_backbone, self.dtype, name="fpn")
        pyramid = fpn(maps)
        tower = partial(Tower, self.width, self.depth, self.norm, self.dtype, self.fast_layers)
        of_classes = tower(name="class_tower")(pyramid, train=train)
        of_boxes = tower(name="box_tower")(pyramid, train=train)
        of_cell = (self.num_classes, self.boxes_per_cell, self.prior_probability, self.dtype, self.background)
        out_conv = OutConv(*of_cell, name="out_conv")
        outputs = [out_conv(*features) for features in zip(of_classes, of_boxes, strict=True)]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *outputs)
