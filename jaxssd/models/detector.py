"""Detector: a backbone, and a head on its last feature map or on several."""

from collections.abc import Sequence
from typing import Any, get_args

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from jaxssd.config import FastLayer
from jaxssd.models import BACKBONES, HEADS
from jaxssd.ops.arrays import ArrayLike, as_float, check_shapes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Detector(nn.Module):
    """Predict from images, with a backbone and a head.

    Attributes:
        backbone: module from images to a feature map, such as a `ResNet`.
        head: module from a feature map to predictions, such as a `PyramidHead`. One with a field `levels` that is not
            None reads a tuple of that many maps, finest first.
    """

    backbone: Any
    head: nn.Module

    def __call__(self, images: Float[ArrayLike, "B H W 3"], *, train: bool, frozen_stages: int = 0) -> Any:
        """Predict for every image.

        Args:
            images: normalised images `[B, H, W, 3]`, from `normalize_images`.
            train: if True, drop activations (with the key `rngs={"dropout": key}`), normalise with the batch's
                statistics and update the running ones (`mutable=["batch_stats"]`).
            frozen_stages: number of leading stages of the backbone that stay as in evaluation.

        Returns:
            The head's predictions: `Predictions` in the order of `make_anchors` from a `PyramidHead`.

        Raises:
            ValueError: if the head cannot work with features of their size.
            TypeError: if the images are not floating point.
        """
        check_shapes("Detector", images=(images, "B H W 3"))
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f"Detector: `images` is {images.dtype}; pass it through normalize_images first")
        levels = getattr(self.head, "levels", None)
        several = {} if levels is None else {"levels": levels}
        return self.head(self.backbone(images, train=train, frozen_stages=frozen_stages, **several), train=train)


def make_detector(
    *,
    num_classes: int,
    backbone: str = "resnet34",
    head: str = "pyramid",
    dtype: DTypeLike = jnp.float32,
    fast_layers: Sequence[FastLayer] = (),
    remat: bool = False,
    **head_settings: Any,
) -> Detector:
    """Build a detector from plain values; the defaults are the lesson's multibox model.

    Args:
        num_classes: C, the number of class outputs: one more than classes with `background=True`, for a softmax.
        backbone: a name in `BACKBONES`.
        head: a name in `HEADS`. `"pyramid"` is the lesson's, with any grids; `"ssd300"` has the layers of SSD300 for
            `ssd300_anchors`, and works with the backbone `resnet34_ssd300` and images of 297 to 304 pixels; so does
            `"ssd300_vgg"` with `vgg16`. `"retinanet"` has a feature pyramid over several of the backbone's maps.
        dtype: dtype of the computation; parameters, statistics and predictions are float32.
        fast_layers: layers to compute in a faster form with the same variables; see `FastLayer`.
        remat: if True, compute the backbone's activations again in the backward pass rather than keep them.
        head_settings: other fields of the head, such as `grids` of a `PyramidHead`; see `pyramid_grids` for the grids
            of an image size.

    Returns:
        A `Detector`, without parameters: `init` it.

    Raises:
        ValueError: if there is no such backbone, head or fast layer.
        TypeError: if the head has no such field.

    Example:
        >>> import jax
        >>> detector = make_detector(num_classes=20)
        >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        >>> variables = jax.eval_shape(lambda x: detector.init(jax.random.key(0), x, train=False), images)
        >>> predictions = jax.eval_shape(lambda v, x: detector.apply(v, x, train=False), variables, images)
        >>> predictions.class_logits.shape, predictions.box_activations.shape
        ((1, 189, 20), (1, 189, 4))
    """
    if unknown := set(fast_layers) - set(get_args(FastLayer)):
        known = ", ".join(get_args(FastLayer))
        raise ValueError(f"make_detector: `fast_layers` has {', '.join(sorted(unknown))}; choose from {known}")
    common = {"dtype": dtype, "fast_layers": tuple(fast_layers)}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in head_settings.items()}
    network = BACKBONES[backbone](remat=remat, **common)
    return Detector(network, HEADS[head](num_classes=num_classes, **common, **fields))


def normalize_images(
    images: UInt8[ArrayLike, "*batch H W 3"] | Float[ArrayLike, "*batch H W 3"],
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Array, "*batch H W 3"]:
    """Subtract the mean and divide by the standard deviation of each channel, as a backbone's weights expect.

    Args:
        images: RGB `[..., H, W, 3]`, uint8 or floating point in `[0, 1]`.
        mean: mean of red, green and blue, where white is 1. The default is ImageNet's.
        std: standard deviation of red, green and blue.

    Returns:
        Float32 `[..., H, W, 3]`.

    Raises:
        ValueError: if the images do not end in three channels.
        TypeError: if they are of another dtype, whose range is unknown.

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
