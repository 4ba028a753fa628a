"""Dense heads, the lesson's heads before SSD: layers over the whole feature map, one prediction per image."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxssd.models.layers import BatchNorm
from jaxssd.ops.arrays import ArrayLike

# PyTorch's default initialisation, which the lesson keeps; biases start at 0.
_Dense = partial(nn.Dense, kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))


class ObjectPredictions(NamedTuple):
    """Predictions about the largest object of each image."""

    box_activations: Float[Array, "B 4"]
    class_logits: Float[Array, "B C"]


class BoxHead(nn.Module):
    """One linear layer: the corners of one box, in the unit of the loss."""

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B 4"]:
        """Predict a box for each image.

        Args:
            features: feature map of the backbone, `[B, h, w, c]`.
            train: without effect here.

        Returns:
            Float32 `[B, 4]`.
        """
        return _Dense(4, dtype=jnp.float32, name="boxes")(_flatten(features))


class ObjectHead(nn.Module):
    """Hidden layer between the feature map and one box with its class.

    Attributes:
        num_classes: C, without background.
        input_dropout: dropout rate of the backbone's features.
        dropout: dropout rate of the hidden layer.
        width: units of the hidden layer.
        dtype: dtype of the hidden layer's computation; predictions are float32.
    """

    num_classes: int
    input_dropout: float = 0.5
    dropout: float = 0.5
    width: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> ObjectPredictions:
        """Predict a box and its class for each image.

        Args:
            features: feature map of the backbone, `[B, h, w, c]`.
            train: if True, drop activations and normalise with the batch's statistics.

        Returns:
            `ObjectPredictions`, float32.
        """
        x = nn.Dropout(self.input_dropout, deterministic=not train)(_flatten(nn.relu(features)))
        x = nn.relu(_Dense(self.width, dtype=self.dtype, name="hidden")(x))
        x = BatchNorm(use_running_average=not train, dtype=self.dtype, name="bn")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        out = _Dense(4 + self.num_classes, dtype=jnp.float32, name="out")(x)
        return ObjectPredictions(out[:, :4], out[:, 4:])


class LabelHead(nn.Module):
    """Classifier of fast.ai: the maximum and the mean over the feature map, and a hidden layer.

    Attributes:
        num_classes: C, the number of classes.
        input_dropout: dropout rate of the pooled features.
        dropout: dropout rate of the hidden layer.
        width: units of the hidden layer.
        dtype: dtype of the hidden layer's computation; predictions are float32.
    """

    num_classes: int
    input_dropout: float = 0.25
    dropout: float = 0.5
    width: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B h w c"], *, train: bool) -> Float[Array, "B C"]:
        """Predict the classes that each image holds.

        Args:
            features: feature map of the backbone, `[B, h, w, c]`.
            train: if True, drop activations and normalise with the batch's statistics.

        Returns:
            Logits, float32 `[B, C]`.
        """
        norm = partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        x = jnp.concatenate([features.max(axis=(1, 2)), features.mean(axis=(1, 2))], axis=-1)
        x = nn.Dropout(self.input_dropout, deterministic=not train)(norm(name="bn1")(x))
        x = nn.relu(_Dense(self.width, dtype=self.dtype, name="hidden")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(norm(name="bn2")(x))
        return _Dense(self.num_classes, dtype=jnp.float32, name="classes")(x)


def _flatten(features: Float[ArrayLike, "B h w c"]) -> Float[Array, "B hwc"]:
    return jnp.reshape(features, (len(features), -1))
