"""The network: a backbone, and a head on its last feature map."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from jaxssd.models.fast_layers import FastLayer
from jaxssd.models.heads import SSDMultiHead
from jaxssd.models.resnet import BACKBONES, ResNet
from jaxssd.models.ssd300_head import SSD300Head
from jaxssd.ops.arrays import ArrayLike, as_float, check_shapes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

HeadName = Literal["pyramid", "ssd300"]


class Detector(nn.Module):
    """Images to whatever the head predicts.

    Attributes:
        backbone: images to a feature map.
        head: a feature map to predictions, such as a `PyramidHead`.
    """

    backbone: ResNet
    head: nn.Module

    def __call__(self, images: Float[ArrayLike, "B S S 3"], *, train: bool, frozen_stages: int = 0) -> Any:
        """Predict for every image.

        Args:
            images: `[B, S, S, 3]`, as `normalize_images` gives them.
            train: drop activations (with the key `rngs={"dropout": key}`), normalise with the batch's statistics and
                update the running ones (`mutable=["batch_stats"]`).
            frozen_stages: leading stages of the backbone that stay as in evaluation while the rest trains.

        Returns:
            What the head returns: of a `PyramidHead`, `Predictions` in the order of `make_anchors`.

        Raises:
            ValueError: if the images are not square, or if the head cannot work with features of their size.
            TypeError: if the images are not floating point.
        """
        check_shapes("Detector", images=(images, "B S S 3"))
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f"Detector: `images` is {images.dtype}; pass it through normalize_images first")
        return self.head(self.backbone(images, train=train, frozen_stages=frozen_stages), train=train)


def make_detector(
    *,
    num_classes: int,
    backbone: str = "resnet34",
    head: HeadName = "pyramid",
    grids: Sequence[int] = (4, 2, 1),
    boxes_per_cell: int = 9,
    head_width: int = 256,
    class_bias: float = -4.0,
    input_dropout: float = 0.4,
    dropout: float = 0.4,
    dtype: DTypeLike = jnp.float32,
    fast_layers: Sequence[FastLayer] = (),
    remat: bool = False,
) -> Detector:
    """Build a detector from plain values, such as those of a checkpoint; the defaults are the lesson's multibox model.

    Args:
        num_classes: C, without background.
        backbone: a name in `BACKBONES`.
        head: `"pyramid"` is the lesson's, with any grids; `"ssd300"` has the layers of SSD300 for `ssd300_anchors`, and
            works with the backbone `resnet34_ssd300` and images of 297 to 304 pixels.
        grids: of the pyramid: side of each grid of anchors, largest first. See `pyramid_grids` for what an image size
            offers. This and what else is said to be of the pyramid has no effect on SSD300, whose layers are fixed.
        boxes_per_cell: of the pyramid: anchors a cell.
        head_width: of the pyramid: channels of its convolutions.
        class_bias: first value of the class logits.
        input_dropout: of the pyramid: share of the backbone's features dropped while training.
        dropout: of the pyramid: the same after every convolution.
        dtype: dtype of the computation; parameters, statistics and predictions are float32.
        fast_layers: layers that are computed in another, faster form with the same variables; see `FastLayer`.
        remat: compute the backbone's activations again in the backward pass rather than keep them.

    Returns:
        A `Detector`, without parameters: `init` it.

    Raises:
        ValueError: if there is no such backbone, head or reformulation.

    Example:
        >>> import jax
        >>> detector = make_detector(num_classes=20)
        >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        >>> variables = jax.eval_shape(lambda x: detector.init(jax.random.key(0), x, train=False), images)
        >>> predictions = jax.eval_shape(lambda v, x: detector.apply(v, x, train=False), variables, images)
        >>> predictions.class_logits.shape, predictions.box_activations.shape
        ((1, 189, 20), (1, 189, 4))
    """
    if backbone not in BACKBONES:
        raise ValueError(f"make_detector: no backbone {backbone!r}; there are {', '.join(BACKBONES)}")
    if head not in get_args(HeadName):
        raise ValueError(f"make_detector: no head {head!r}; there are {', '.join(get_args(HeadName))}")
    if unknown := set(fast_layers) - set(get_args(FastLayer)):
        known = ", ".join(get_args(FastLayer))
        raise ValueError(f"make_detector: `fast_layers` has {', '.join(sorted(unknown))}; there are {known}")
    pyramid = SSDMultiHead(
        num_classes=num_classes,
        grids=tuple(grids),
        boxes_per_cell=boxes_per_cell,
        class_bias=class_bias,
        input_dropout=input_dropout,
        dropout=dropout,
        width=head_width,
        dtype=dtype,
        fast_layers=tuple(fast_layers),
    )
    ssd300 = SSD300Head(num_classes, class_bias, dtype, tuple(fast_layers))
    network = BACKBONES[backbone](dtype=dtype, fast_layers=tuple(fast_layers), remat=remat)
    return Detector(network, pyramid if head == "pyramid" else ssd300)


def normalize_images(
    images: UInt8[ArrayLike, "*batch H W 3"] | Float[ArrayLike, "*batch H W 3"],
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Array, "*batch H W 3"]:
    """Subtract the mean and divide by the standard deviation of each channel: what a backbone's weights expect.

    Args:
        images: RGB `[..., H, W, 3]`, uint8 or floating point in `[0, 1]`.
        mean: of red, green and blue, where white is 1. The default is ImageNet's.
        std: likewise.

    Returns:
        Float32 `[..., H, W, 3]`.

    Raises:
        ValueError: if the images do not end in three channels.
        TypeError: if they are of another dtype, whose range is anyone's guess.

    Example:
        >>> normalize_images(jnp.full((1, 1, 3), 255, jnp.uint8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125))
        Array([[[1., 2., 4.]]], dtype=float32)
    """
    check_shapes("normalize_images", images=(images, "... H W 3"))
    if not (images.dtype == jnp.uint8 or jnp.issubdtype(images.dtype, jnp.floating)):
        raise TypeError(f"normalize_images: `images` is {images.dtype}, expected uint8, or floating point in [0, 1]")
    x = as_float(images)
    if images.dtype == jnp.uint8:
        x = x / 255
    per_channel = (1,) * (x.ndim - 1) + (3,)
    return (x - jnp.reshape(jnp.asarray(mean, x.dtype), per_channel)) / jnp.reshape(
        jnp.asarray(std, x.dtype), per_channel
    )
