"""Classification losses, elementwise and unreduced, and the choice of the hardest negatives."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Shaped

from jaxssd.ops._arrays import ArrayLike, as_float, check_shapes


def bce_loss(logits: Float[ArrayLike, "*shape"], targets: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Binary cross entropy of each logit: -t log p - (1 - t) log(1 - p), p = sigmoid(logit).

    Args:
        logits: `[...]`.
        targets: `[...]`, 0 or 1 or between; bool, integer or float.

    Returns:
        `[...]`; value and gradient are finite for any finite logit.

    Raises:
        ValueError: if the shapes differ.

    Source:
        `optax.sigmoid_binary_cross_entropy`.

    Example:
        >>> bce_loss(jnp.array([0.0, 1000.0]), jnp.array([True, True]))
        Array([0.6931472, 0.       ], dtype=float32)
    """
    _check_same_shape("bce_loss", logits, targets)
    return optax.sigmoid_binary_cross_entropy(as_float(logits), as_float(targets))


def focal_loss(
    logits: Float[ArrayLike, "*shape"], targets: Shaped[ArrayLike, "*shape"], *, alpha: float = 0.25, gamma: float = 2.0
) -> Float[Array, "*shape"]:
    """Focal loss of each logit: alpha_t (1 - p_t)^gamma x binary cross entropy; what is already right weighs little.

    p_t is the probability given to the target, alpha_t is `alpha` for target 1 and `1 - alpha` for target 0. The
    gradient flows through the weight as well, as in the paper and the lesson. The lesson's released notebook has
    `gamma=1.0`.

    Args:
        logits: `[...]`.
        targets: `[...]`, 0 or 1 or between; bool, integer or float.
        alpha: weight of target 1.
        gamma: how fast the weight falls; 0 leaves the cross entropy, weighted by alpha_t.

    Returns:
        `[...]`; value and gradient are finite for any finite logit.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Lin et al. 2017, arXiv:1708.02002, eq. 5; `optax.sigmoid_focal_loss`.

    Example:
        >>> focal_loss(jnp.array([0.0, 1000.0]), jnp.array([True, True]))
        Array([0.0433217, 0.       ], dtype=float32)
    """
    _check_same_shape("focal_loss", logits, targets)
    return optax.sigmoid_focal_loss(as_float(logits), as_float(targets), alpha=alpha, gamma=gamma)


def hard_negative_mask(
    loss: Float[ArrayLike, " A"], positive: Bool[ArrayLike, " A"], *, ratio: int = 3
) -> Bool[Array, " A"]:
    """The negatives with the highest loss, `ratio` for each positive; the other negatives are left out of the loss.

    Args:
        loss: `[A]`, classification loss of each anchor.
        positive: `[A]`, which anchors have an object.
        ratio: negatives for each positive.

    Returns:
        `[A]`, exactly `ratio x positives` negatives, or all of them if there are fewer; ties go to the lowest index, a
        NaN counts as the lowest loss. Without a positive none are selected.

    Raises:
        ValueError: if a shape does not fit.

    Source:
        SSD (Liu et al. 2016, arXiv:1512.02325, section 2.2, "hard negative mining").

    Example:
        >>> hard_negative_mask(jnp.array([9.0, 1.0, 3.0, 2.0]), jnp.array([True, False, False, False]), ratio=2)
        Array([False, False,  True,  True], dtype=bool)
    """
    check_shapes("hard_negative_mask", loss=(loss, "A"), positive=(positive, "A"))
    loss, positive = jax.lax.stop_gradient(as_float(loss)), jnp.asarray(positive)
    hardest_first = jnp.lexsort((-loss, positive))
    selected = jnp.arange(len(loss)) < ratio * jnp.sum(positive)
    return jnp.zeros_like(positive).at[hardest_first].set(selected) & ~positive


def _check_same_shape(function: str, logits: ArrayLike, targets: ArrayLike) -> None:
    """Broadcasting would hide a transposed or forgotten axis."""
    if logits.shape != targets.shape:
        raise ValueError(f"{function}: `targets` has shape {targets.shape}, expected {logits.shape} as `logits`")
