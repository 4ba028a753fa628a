"""Classification losses, not reduced, and hard negative mining."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxssd.ops.arrays import ArrayLike, Number, as_arrays, as_floats, as_mask, check_setting, concrete


def bce_loss(logits: Float[ArrayLike, "*shape"], targets: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Binary cross entropy of each logit: -t log p - (1 - t) log(1 - p) with p = sigmoid(logit).

    Args:
        logits: `[...]`.
        targets: `[...]` in `[0, 1]`; bool, integer or float.

    Returns:
        `[...]`; value and gradient are finite for any finite logit.

    Raises:
        ValueError: if the shapes differ.

    Source:
        `optax.sigmoid_binary_cross_entropy`, here with one logarithm for each logit in place of two.

    Example:
        >>> bce_loss(jnp.array([0.0, 1000.0]), jnp.array([True, True]))
        Array([0.6931472, 0.       ], dtype=float32)
    """
    return _cross_entropy(*_wrong_logits(*_same_shape("bce_loss", logits, targets)))


def focal_loss(
    logits: Float[ArrayLike, "*shape"],
    targets: Shaped[ArrayLike, "*shape"],
    *,
    alpha: Number | None = 0.25,
    gamma: Number = 2.0,
) -> Float[Array, "*shape"]:
    """Focal loss of each logit: alpha_t (1 - p_t)^gamma x binary cross entropy, small for an easy example.

    p_t is the probability of the target, alpha_t is `alpha` for target 1 and `1 - alpha` for target 0. The gradient
    flows through the weight as well, as in the paper and the lesson. The lesson's released notebook has `gamma=1.0`.

    Args:
        logits: `[...]`.
        targets: `[...]` in `[0, 1]`; bool, integer or float.
        alpha: weight of target 1, in `[0, 1]`; None weighs both targets with 1. May be traced.
        gamma: exponent of the weight, 0 or more; 0 is the cross entropy times alpha_t. May be traced.

    Returns:
        `[...]`; value and gradient are finite for any logit up to 1e30 and any `gamma`.

    Raises:
        ValueError: if the shapes differ, `alpha` lies outside `[0, 1]` or `gamma` is negative or not finite.

    Source:
        Lin et al. 2017, arXiv:1708.02002, eq. 5; `optax.sigmoid_focal_loss`.

    Example:
        >>> focal_loss(jnp.array([0.0, 1000.0]), jnp.array([True, True]))
        Array([0.0433217, 0.       ], dtype=float32)
    """
    if alpha is not None:
        check_setting("focal_loss", "alpha", alpha, lambda x: 0 <= x <= 1, "a weight in [0, 1], or None for no weights")
    check_setting("focal_loss", "gamma", gamma, lambda x: 0 <= x < float("inf"), "0 or more")
    logits, targets = _same_shape("focal_loss", logits, targets)
    wrong, soft = _wrong_logits(logits, targets)
    loss = _focal_weight(wrong, soft, gamma) * _cross_entropy(wrong, soft)
    if alpha is None:
        return loss
    alpha = jnp.asarray(alpha, loss.dtype)
    return (alpha * targets + (1 - alpha) * (1 - targets)) * loss


def softmax_loss(
    logits: Float[ArrayLike, "*batch outputs"], classes: Shaped[ArrayLike, "*batch C"]
) -> Float[Array, "*batch"]:
    """Softmax cross entropy of each anchor over the classes and background, which has the last logit.

    Args:
        logits: `[..., C + 1]`.
        classes: `[..., C]` one-hot label, or zeros for background; bool, integer or float.

    Returns:
        `[...]`; value and gradient are finite for any logit up to 1e30.

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        SSD (Liu et al. 2016, arXiv:1512.02325, eq. 3), which has background first.

    Example:
        >>> softmax_loss(jnp.zeros((2, 3)), jnp.array([[0, 1], [0, 0]]))
        Array([1.0986123, 1.0986123], dtype=float32)
    """
    logits, classes = as_arrays("softmax_loss", logits=(logits, "... outputs"), classes=(classes, "... C"))
    if logits.shape[:-1] != classes.shape[:-1]:
        raise ValueError(
            f"softmax_loss: `classes` has shape {classes.shape}, expected {logits.shape[:-1]} and C as `logits`"
        )
    if logits.shape[-1] != classes.shape[-1] + 1:
        raise ValueError(
            f"softmax_loss: `logits` has {logits.shape[-1]} columns for {classes.shape[-1]} classes, expected one more "
            "than classes: the last is background; in `ssd_loss` set `background=True`"
        )
    (logits,) = as_floats(logits)
    classes = classes.astype(logits.dtype)
    of_classes, of_background = logits[..., :-1], logits[..., -1]
    target = jnp.sum(classes * of_classes, axis=-1) + (1 - jnp.sum(classes, axis=-1)) * of_background
    return jax.nn.logsumexp(logits, axis=-1) - target


def hard_negative_mask(
    loss: Float[ArrayLike, " A"],
    positive: Shaped[ArrayLike, " A"],
    *,
    ratio: Number = 3,
    min_negatives: Number = 0,
    ignored: Shaped[ArrayLike, " A"] | None = None,
) -> Bool[Array, " A"]:
    """Hard negatives: the negative anchors with the highest loss, `ratio` per positive anchor.

    Args:
        loss: `[A]`, classification loss of each anchor.
        positive: `[A]` mask of the anchors with an object, bool or nonzero for True.
        ratio: number of negatives for each positive, 0 or more; may be traced.
        min_negatives: smallest number of negatives, for images with few objects or none; may be traced.
        ignored: `[A]` mask of anchors that are no negatives either, bool or nonzero for True; None has none.

    Returns:
        `[A]` bool, True for exactly `ratio x positives` negatives, rounded down, or for `min_negatives` if that is
        more, or for all if there are fewer. Ties go to the lowest index, and a NaN counts as the lowest loss.

    Raises:
        ValueError: if a shape does not fit, or `ratio` or `min_negatives` is negative.

    Source:
        SSD (Liu et al. 2016, arXiv:1512.02325, section 2.2, "hard negative mining").

    Example:
        >>> hard_negative_mask(jnp.array([9.0, 1.0, 3.0, 2.0]), jnp.array([True, False, False, False]), ratio=2)
        Array([False, False,  True,  True], dtype=bool)
    """
    loss, positive = as_arrays("hard_negative_mask", loss=(loss, "A"), positive=(positive, "A"))
    for name, count in (("ratio", ratio), ("min_negatives", min_negatives)):
        check_setting("hard_negative_mask", name, count, lambda x: x >= 0, "0 or more")
    (loss,), positive = lax.stop_gradient(as_floats(loss)), as_mask(positive)
    excluded = positive
    if ignored is not None:
        _, ignored = as_arrays("hard_negative_mask", loss=(loss, "A"), ignored=(ignored, "A"))
        excluded = positive | as_mask(ignored)
    if loss.shape[0] == 0:
        return positive
    rank = _hardest_first(loss, excluded)
    # In float32 a product of two counts cannot overflow; it is exact up to 2^24, and beyond that it means all.
    positives, negatives = (jnp.sum(mask, dtype=jnp.int32).astype(jnp.float32) for mask in (positive, ~excluded))
    wanted = jnp.maximum(jnp.asarray(ratio, jnp.float32) * positives, jnp.asarray(min_negatives, jnp.float32))
    count = jnp.minimum(wanted, negatives).astype(jnp.int32)
    last = jnp.sort(rank)[jnp.maximum(count - 1, 0)]
    harder, tied = rank < last, rank == last
    return harder | (tied & (jnp.cumsum(tied, dtype=jnp.int32) <= count - jnp.sum(harder, dtype=jnp.int32)))


def _hardest_first(loss: Float[Array, " A"], excluded: Bool[Array, " A"]) -> Int[Array, " A"]:
    """Integers that rise where the loss falls, NaN and excluded last: they sort many times as fast as pairs.

    The bits of a float that is not negative, read as an integer, have the order of the floats; below zero the reverse.
    """
    integer = jnp.int32 if loss.dtype == jnp.float32 else jnp.int64
    last = jnp.iinfo(integer).max
    bits = lax.bitcast_convert_type(jnp.where(loss == 0, 0, -loss), integer)  # one zero in place of two
    rank = jnp.where(bits < 0, bits ^ last, bits)
    return jnp.where(excluded, last, jnp.where(jnp.isnan(loss), last - 1, rank))


def _same_shape(function: str, logits: Any, targets: Any) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Logits and targets as floats of one shape; broadcasting would hide a transposed or missing axis."""
    logits, targets = as_arrays(function, logits=(logits, "..."), targets=(targets, "..."))
    if logits.shape != targets.shape:
        raise ValueError(f"{function}: `targets` has shape {targets.shape}, expected {logits.shape} as `logits`")
    (logits,) = as_floats(logits)
    return logits, targets.astype(logits.dtype)


def _wrong_logits(
    logits: Float[Array, "*shape"], targets: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Logit z of the wrong class value, and the distance of the target from the nearer of 0 and 1.

    z = -x for target 1 and z = x for target 0. There the cross entropy is log(1 + e^z) and 1 - p_t is sigmoid(z): both
    smooth, without cancellation.
    """
    near_one = targets > 0.5
    return jnp.where(near_one, -logits, logits), jnp.where(near_one, 1 - targets, targets)


def _cross_entropy(wrong: Float[Array, "*shape"], soft: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Cross entropy -t log p - (1 - t) log(1 - p) = log(1 + e^z) - soft z."""
    return jax.nn.softplus(wrong) - soft * wrong


def _focal_weight(wrong: Float[Array, "*shape"], soft: Float[Array, "*shape"], gamma: Number) -> Float[Array, "*shape"]:
    """Weight (1 - p_t)^gamma with 1 - p_t = sigmoid(z) (1 - 2 soft) + soft.

    A product where `gamma` is a small whole number, else the exponential of a logarithm. That is z - log(1 + e^z) where
    1 - p_t vanishes, since the gradient of the power would be 0 x inf there for gamma < 1.
    """
    miss = jax.nn.sigmoid(wrong) * (1 - 2 * soft) + soft
    known = concrete(gamma)
    if known is not None and known in range(9):
        return lax.integer_pow(miss, int(known))
    tiny = miss < 1e-20
    log_miss = jnp.where(tiny, wrong - jax.nn.softplus(wrong), jnp.log(jnp.where(tiny, 1, miss)))
    return jnp.exp(jnp.asarray(gamma, wrong.dtype) * log_miss)
