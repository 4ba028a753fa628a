"""What every pure function does first: name the argument whose shape is wrong, and compute in float32 or wider."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    ArrayLike = Any  # to a type checker the two libraries' arrays have nothing in common
else:
    ArrayLike = jax.Array | np.ndarray


def as_float(x: ArrayLike) -> jax.Array:
    """Float32, or float64 where the caller already has it: boxes and losses lose too much in half precision.

    Args:
        x: an array of any shape and any real dtype.

    Returns:
        The same values; bfloat16, float16 and integers become float32.
    """
    x = jnp.asarray(x)  # first, so that NumPy's float64 becomes what JAX makes of it
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_shapes(function: str, **arguments: tuple[ArrayLike, str]) -> None:
    """Compare static shapes with their documented form; free under `jit`, where shapes are known while tracing.

    Args:
        function: name of the public function, for the message.
        arguments: name of each argument -> (array, shape), with shape such as `"A 4"`, or `"... 4"` for any leading
            axes. A letter stands for one size in all arguments of the call.

    Raises:
        ValueError: naming the function, the argument, its shape and the expected one.

    Example:
        >>> check_shapes("box_iou", a=(np.zeros((3, 4)), "N 4"), b=(np.zeros((2, 5)), "M 4"))
        Traceback (most recent call last):
        ...
        ValueError: box_iou: `b` has shape (2, 5), expected [M, 4]
    """
    sizes: dict[str, tuple[int, str]] = {}
    for name, (array, form) in arguments.items():
        shape, axes = tuple(array.shape), form.split()
        expected = f"{function}: `{name}` has shape {shape}, expected [{', '.join(axes)}]"
        if axes[0] == "...":
            axes = axes[1:]
            shape = shape[max(len(shape) - len(axes), 0) :]
        if len(shape) != len(axes):
            raise ValueError(expected)
        for size, axis in zip(shape, axes, strict=True):
            if axis.isdigit():
                if size != int(axis):
                    raise ValueError(expected)
                continue
            bound, owner = sizes.setdefault(axis, (size, name))
            if size != bound:
                raise ValueError(f"{expected} with {axis} = {bound} as in `{owner}`")
