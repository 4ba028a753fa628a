"""Arguments of the pure functions: conversion to arrays of float32 or wider, and checks that name what is wrong."""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    ArrayLike = Any  # a type checker sees nothing in common in the two libraries' arrays
    Number = Any
else:
    ArrayLike = jax.Array | np.ndarray
    Number = int | float | np.number | jax.Array | np.ndarray  # one number, which may be a tracer


Size = int | Sequence[int]
"""Side of a square, or height and width (rows and columns of a grid)."""

Record = TypeVar("Record", bound=type)


def exportable(record: Record) -> Record:
    """Class decorator: let `jax.export` write functions that take or return this `NamedTuple`."""
    with contextlib.suppress(ValueError):  # the name is taken where a module is reloaded
        jax.export.register_namedtuple_serialization(record, serialized_name=f"jaxssd.{record.__name__}")
    return record


def as_arrays(function: str, **arguments: tuple[Any, str]) -> list[jax.Array]:
    """Arguments as JAX arrays of real numbers with the documented shapes; NumPy's and nested lists are converted.

    Args:
        function: name of the public function, for the message.
        arguments: name of each argument -> (value, shape), see `check_shapes`. An empty list means no rows if the
            shape defines a row: `[]` for `"G 4"`.

    Returns:
        An array for each argument, in their order, of its own dtype.

    Raises:
        TypeError: if a value is not an array of real numbers; the message names function and argument.
        ValueError: if rows of a list differ in length or a shape does not fit.

    Example:
        >>> as_arrays("box_iou", a=([(0, 0, 1, 1)], "N 4"), b=([], "M 4"))
        [Array([[0, 0, 1, 1]], dtype=int32), Array([], shape=(0, 4), dtype=float32)]
    """
    arrays = {name: _as_array(function, name, value, form) for name, (value, form) in arguments.items()}
    check_shapes(function, **{name: (array, arguments[name][1]) for name, array in arrays.items()})
    return list(arrays.values())


def as_float(x: ArrayLike) -> jax.Array:
    """Float64 array as it is, any other real dtype as float32: half precision loses too much of boxes and losses."""
    return as_floats(x)[0]


def as_floats(*arrays: ArrayLike) -> list[jax.Array]:
    """Arrays in one dtype under any promotion rules: float64 if one of them is, float32 otherwise."""
    converted = [jnp.asarray(x) for x in arrays]  # NumPy's float64 is float32 outside of x64
    wide = any(x.dtype == jnp.float64 for x in converted)
    return [x.astype(jnp.float64 if wide else jnp.float32) for x in converted]


def as_mask(x: ArrayLike) -> jax.Array:
    """Boolean mask: True where the given one, of any dtype, is not zero."""
    return jnp.asarray(x).astype(bool)


def take_rows(rows: ArrayLike, index: ArrayLike) -> jax.Array:
    """`rows[index]` for an index that `vmap` maps alone; a mesh with Explicit axes needs the rows mapped too."""
    never = jnp.any(index < 0) & False  # ties the rows to the index; XLA removes it
    return jnp.where(never, jnp.zeros_like(rows), rows)[index]


def as_pair(size: Size) -> tuple[int, int]:
    """Height and width of a size; one number is both.

    Raises:
        ValueError: if the size has more than two numbers, or none.

    Example:
        >>> as_pair(64), as_pair((64,)), as_pair((48, 64))
        ((64, 64), (64, 64), (48, 64))
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size,)
    if len(sides) not in (1, 2):
        raise ValueError(f"a size has {len(sides)} numbers, expected one side, or height and width: {size}")
    return int(sides[0]), int(sides[-1])


def is_traced(value: Any) -> bool:
    """Return True if Python cannot read a value, or one in a nested list: a tracer, or spread over processes."""
    if isinstance(value, (list, tuple)):
        return any(map(is_traced, value))
    return isinstance(value, jax.core.Tracer) or (isinstance(value, jax.Array) and not value.is_fully_addressable)


def concrete(value: Any) -> np.ndarray | None:
    """Value as a NumPy array, or None if it is traced."""
    return None if is_traced(value) else np.asarray(jax.device_get(value))


def check_setting(function: str, name: str, value: Any, holds: Callable[[np.ndarray], Any], expected: str) -> None:
    """Check that a setting is a single number, and its value where it is concrete.

    Args:
        function: name of the public function, for the message.
        name: name of the setting.
        value: number, array without axes, or tracer of one.
        holds: function of the value, true where it is allowed.
        expected: allowed values in words, for the message.

    Raises:
        ValueError: if a check fails; the message has function, setting, value and what was expected.

    Example:
        >>> check_setting("nms", "iou_threshold", 1.5, lambda x: 0 <= x <= 1, "a value in [0, 1]")
        Traceback (most recent call last):
        ...
        ValueError: nms: `iou_threshold` is 1.5, expected a value in [0, 1]
    """
    if np.shape(value) != ():
        raise ValueError(f"{function}: `{name}` has shape {np.shape(value)}, expected one number; vmap over several")
    known = concrete(value)
    if known is None:
        return
    real = np.issubdtype(known.dtype, np.number) or known.dtype == bool or jnp.issubdtype(known.dtype, jnp.floating)
    if not real or np.iscomplexobj(known) or not holds(known):
        raise ValueError(f"{function}: `{name}` is {value}, expected {expected}")


def check_count(function: str, name: str, value: Any) -> int:
    """Check a setting that decides a shape: a positive whole number, known while tracing.

    Raises:
        ValueError: if it is not; the message has function, setting and value.
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{function}: `{name}` is traced, expected an int: it decides a shape, so name it in jit's static_argnames"
        )
    known = np.asarray(value)
    if known.shape != () or known.dtype == bool or not np.issubdtype(known.dtype, np.integer) or known <= 0:
        raise ValueError(f"{function}: `{name}` is {value}, expected a positive number")
    return int(known)


def check_shapes(function: str, **arguments: tuple[ArrayLike, str]) -> None:
    """Check shapes against their documented form, while tracing.

    Args:
        function: name of the public function, for the message.
        arguments: name of each argument -> (array, shape), with a shape such as `"A 4"`, or `"... 4"` for any leading
            axes. A letter is one size in all arguments of the call.

    Raises:
        ValueError: if a shape does not fit; the message has function, argument, its shape and the expected one.

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
        if axes[:1] == ["..."]:
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


def _as_array(function: str, name: str, value: Any, form: str) -> jax.Array:
    found = type(value).__name__
    try:
        with jax.debug_nans(False):  # padding may hold NaN, and conversion is not arithmetic
            array = jnp.asarray(value)
    except OverflowError as error:
        raise ValueError(f"{function}: `{name}` holds a number that is too large for int32") from error
    except (TypeError, ValueError) as error:
        ragged = isinstance(error, ValueError) and isinstance(value, (list, tuple)) and "inhomogeneous" in str(error)
        if ragged:
            raise ValueError(f"{function}: `{name}` has rows of different lengths, expected [{form}]") from error
        advice = "; pass its `corners`" if hasattr(value, "corners") else ""
        raise TypeError(f"{function}: `{name}` is a {found}, expected an array of numbers [{form}]{advice}") from error
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_)):
        raise TypeError(f"{function}: `{name}` has dtype {array.dtype}, expected real numbers")
    row = form.split()[1:]
    if isinstance(value, (list, tuple)) and array.shape == (0,) and row and all(axis.isdigit() for axis in row):
        array = array.reshape(0, *map(int, row))
    return array
