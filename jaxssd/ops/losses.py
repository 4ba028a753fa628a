"""Classification losses, elementwise and unreduced, and the choice of the hardest negatives."""

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

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
    loss, positive = lax.stop_gradient(as_float(loss)), jnp.asarray(positive)
    if len(loss) == 0:
        return positive
    rank = _hardest_first(loss, positive)
    count = jnp.minimum(ratio * jnp.sum(positive), jnp.sum(~positive))
    last = jnp.sort(rank)[jnp.maximum(count - 1, 0)]
    harder, tied = rank < last, rank == last
    return harder | (tied & (jnp.cumsum(tied) <= count - jnp.sum(harder)))


def _hardest_first(loss: Float[Array, " A"], positive: Bool[Array, " A"]) -> Int[Array, " A"]:
    """Integers that rise where the loss falls, then come NaN and positives: one sort of integers is many times as fast.

    The bits of a float that is not negative, read as an integer, are in the order of the floats. Those of a negative
    float run backwards, but for the sign.
    """
    integer = jnp.int32 if loss.dtype == jnp.float32 else jnp.int64
    last = jnp.iinfo(integer).max
    bits = lax.bitcast_convert_type(jnp.where(loss == 0, 0, -loss), integer)  # one zero, for there are two
    rank = jnp.where(bits < 0, bits ^ last, bits)
    return jnp.where(positive, last, jnp.where(jnp.isnan(loss), last - 1, rank))


def _check_same_shape(function: str, logits: ArrayLike, targets: ArrayLike) -> None:
    """Broadcasting would hide a transposed or forgotten axis."""
    if logits.shape != targets.shape:
        raise ValueError(f"{function}: `targets` has shape {targets.shape}, expected {logits.shape} as `logits`")
