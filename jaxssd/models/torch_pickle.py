"""The pickle inside PyTorch's files of weights, read as data: nothing it names is ever imported or called.

A pickle is a program for a small stack machine. A state dict needs a few of its instructions and the few globals below;
the interpreter knows only those, and refuses the rest by name.
"""

import contextlib
import io
import math
import pickletools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

STORAGE_DTYPES = {
    "torch DoubleStorage": np.dtype(np.float64),
    "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}
CONSTRUCTORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch.nn.parameter Parameter",
}
MAX_RANK = 64  # NumPy's
NO_USE = "which a state dict has no use for"


class UnsafePickle(ValueError):
    """A pickle asks for something that weights do not need, and that may run code."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies outside of the pickle.

    Attributes:
        key: its name in the file.
        dtype: of its numbers.
        count: how many there are.
    """

    key: str
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset and strides count elements, not bytes."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, contents: bytes | memoryview) -> np.ndarray:
        """The tensor as an array, without a copy.

        Args:
            contents: the bytes of its storage.

        Returns:
            A read-only array.

        Raises:
            ValueError: if it does not lie within its storage, or repeats elements so as to be larger than that.
        """
        storage, itemsize = self.storage, self.storage.dtype.itemsize
        if min(self.offset, *self.size, *self.stride, 0) < 0:
            raise ValueError("a tensor has a negative size, stride or offset")
        if 0 in self.size:
            return np.empty(self.size, storage.dtype)
        steps = [step if n > 1 else 0 for n, step in zip(self.size, self.stride, strict=True)]
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, steps, strict=True))
        if max(last + 1, math.prod(self.size)) > storage.count:
            raise ValueError(f"a tensor of size {self.size!s:.80} exceeds the {storage.count} elements of its storage")
        strides = [step * itemsize for step in steps]
        return np.ndarray(self.size, storage.dtype, contents, self.offset * itemsize, strides)


class Unpickled(NamedTuple):
    """What a pickle holds.

    Attributes:
        value: of plain Python types and `Tensor`s; every kind of dict is a `dict`.
        storages: key -> every storage the pickle refers to.
    """

    value: Any
    storages: dict[str, Storage]


@dataclass(frozen=True)
class _Global:
    name: str


@contextlib.contextmanager
def _escapes_unremarked() -> Iterator[None]:
    """`pickletools` warns of a backslash in a name, which only a damaged or hostile file has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@_escapes_unremarked()
def unpickle(file: io.BytesIO) -> Unpickled:
    """Interpret one pickle of protocol 2, which is what `torch.save` writes.

    Args:
        file: positioned at the pickle's start; left after its end.

    Returns:
        The value, and the storages it refers to.

    Raises:
        UnsafePickle: naming the first instruction or global that a state dict has no use for.
        ValueError: naming the instruction at which the pickle makes no sense.

    Example:
        >>> import pickle
        >>> unpickle(io.BytesIO(pickle.dumps({"epoch": 90}, protocol=2))).value
        {'epoch': 90}
        >>> unpickle(io.BytesIO(pickle.dumps(print, protocol=2)))
        Traceback (most recent call last):
        ...
        jaxssd.models.torch_pickle.UnsafePickle: its pickle refers to '__builtin__ print', which ...
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}
    argument: Any

    def pop_to_mark() -> list[Any]:
        mark = marks.pop()
        items = stack[mark:]
        del stack[mark:]
        return items

    for opcode, argument, position in pickletools.genops(file):
        try:
            match opcode.name:
                case "PROTO":
                    pass
                case "STOP":
                    return Unpickled(stack.pop(), storages)
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(argument)
                case "BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":  # the last two are Python 2's
                    stack.append(argument)
                case "NONE":
                    stack.append(None)
                case "NEWTRUE":
                    stack.append(True)
                case "NEWFALSE":
                    stack.append(False)
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE1":
                    stack[-1:] = [(stack[-1],)]
                case "TUPLE2":
                    stack[-2:] = [(stack[-2], stack[-1])]
                case "TUPLE3":
                    stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
                case "TUPLE":
                    stack.append(tuple(pop_to_mark()))
                case "MARK":
                    marks.append(len(stack))
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "APPEND":
                    item = stack.pop()
                    _extend(stack[-1], [item])
                case "APPENDS":
                    items = pop_to_mark()
                    _extend(stack[-1], items)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _update(stack[-1], [(key, value)])
                case "SETITEMS":
                    items = pop_to_mark()
                    _update(stack[-1], list(zip(items[::2], items[1::2], strict=True)))
                case "GLOBAL":
                    stack.append(_find(argument))
                case "BINPERSID":
                    storage = _storage(stack.pop())
                    if storages.setdefault(storage.key, storage) != storage:
                        raise ValueError(f"two kinds of storage share the key {storage.key!r:.80}")
                    stack.append(storage)
                case "REDUCE" | "NEWOBJ":
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(_construct(function, arguments))
                case "BUILD":  # a dict's version numbers, a parameter's hooks: nothing of the weights
                    stack.pop()
                    if not isinstance(stack[-1], dict | Tensor):
                        raise ValueError("sets the state of something that is neither a dict nor a tensor")
                case _:
                    raise UnsafePickle(
                        f"its pickle uses {opcode.name} at byte {position}, {NO_USE} in protocol 2; if the file is "
                        "trusted, save it again with torch.save's default protocol"
                    )
        except UnsafePickle:
            raise
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"its pickle is malformed at byte {position}, {opcode.name}: {error}") from error
    raise AssertionError("genops ends with STOP or raises")


def _find(name: str) -> np.dtype | _Global:
    if name in STORAGE_DTYPES:
        return STORAGE_DTYPES[name]
    if name in CONSTRUCTORS:
        return _Global(name)
    raise UnsafePickle(
        f"its pickle refers to {name!r:.80}, {NO_USE}; save a network's state_dict() rather than the whole network"
    )


def _storage(identity: Any) -> Storage:
    """From a persistent id; the fields after the key are the device, the count and a view, which PyTorch gave up."""
    match identity:
        case ("storage", np.dtype() as dtype, str(key), _, int(count)) if count >= 0:
            return Storage(key, dtype, count)
        case ("storage", np.dtype() as dtype, str(key), _, int(count), None) if count >= 0:
            return Storage(key, dtype, count)
    raise ValueError("not a reference to a storage")


def _construct(function: Any, arguments: Any) -> dict[Any, Any] | Tensor:
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case _Global("collections OrderedDict"), (list(pairs),):  # Python 2's
            made = _update({}, [(key, value) for key, value in pairs])
            pairs.clear()  # used once in any real file; a few bytes could ask for the same long list again and again
            return made
        case (
            _Global("torch._utils _rebuild_tensor" | "torch._utils _rebuild_tensor_v2"),
            (Storage() as storage, int(offset), tuple(size), tuple(stride), *_),
        ):
            if not len(size) == len(stride) <= MAX_RANK or not all(type(n) is int for n in (*size, *stride)):
                raise ValueError("a tensor's size and strides do not fit")
            return Tensor(storage, offset, size, stride)
        case (
            _Global("torch._utils _rebuild_parameter" | "torch.nn.parameter Parameter"),
            (Tensor() as tensor, *_),
        ):
            return tensor
    raise ValueError(f"cannot call {function.name if isinstance(function, _Global) else 'what is no function'} so")


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise TypeError("appends to what is no list")
    target.extend(items)


def _update(target: Any, items: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Keys are names or short numbers: nested tuples take exponential time to hash, long numbers can share a hash."""
    if not isinstance(target, dict) or not all(_is_key(key) for key, _ in items):
        raise TypeError("sets items of what is no dict, or under keys that are no names")
    target.update(items)
    return target


def _is_key(key: Any) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**31)
