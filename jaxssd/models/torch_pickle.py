"""Unpickler of PyTorch's state dicts. Nothing that a file names is imported or called.

It is Python's own unpickler with fewer instructions and a fixed list of globals. It has to be the version written in
Python: the one in C accepts all instructions, and some set attributes of functions or allocate gigabytes.
"""

import io
import math
import pickle
import pickletools
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

STORAGE_DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
INSTRUCTIONS = """
PROTO STOP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINSTRING SHORT_BINSTRING EMPTY_LIST
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 MARK BINPUT LONG_BINPUT BINGET LONG_BINGET APPEND APPENDS SETITEM SETITEMS GLOBAL
BINPERSID REDUCE
"""
MAX_RANK = 64  # NumPy's
NO_USE = "which a state dict has no use for"


class UnsafePickle(ValueError):
    """Pickle with an instruction or global that weights do not need, and that may run code."""


@dataclass(frozen=True)
class Storage:
    """Array of numbers outside of the pickle.

    Attributes:
        key: name in the file.
        dtype: dtype of the numbers.
        count: number of numbers.
    """

    key: str
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """Size in the file in bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """Strided view of a storage; offset and strides count elements, not bytes."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, contents: bytes | memoryview) -> np.ndarray:
        """View the tensor as an array, without a copy.

        Args:
            contents: bytes of its storage.

        Returns:
            A read-only array.

        Raises:
            ValueError: if the tensor does not lie within its storage, or repeats elements so as to be larger than that.
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
    """Content of a pickle.

    Attributes:
        value: plain Python types and `Tensor`s; every kind of dict is a `dict`.
        storages: every storage that the pickle refers to, by key.
    """

    value: Any
    storages: dict[str, Storage]


def unpickle(file: io.BytesIO) -> Unpickled:
    """Read one pickle of protocol 2, which is what `torch.save` writes.

    Args:
        file: positioned at the pickle's start; left after its end.

    Returns:
        The value, and the storages it refers to.

    Raises:
        UnsafePickle: for an instruction or global that no state dict needs; the message names the first one.
        ValueError: if the pickle is malformed; the message names the byte.

    Example:
        >>> unpickle(io.BytesIO(pickle.dumps({"epoch": 90}, protocol=2))).value
        {'epoch': 90}
        >>> unpickle(io.BytesIO(pickle.dumps(print, protocol=2)))
        Traceback (most recent call last):
        ...
        jaxssd.models.torch_pickle.UnsafePickle: its pickle refers to '__builtin__ print', which ...
    """
    unpickler = _Unpickler(file)
    try:
        return Unpickled(unpickler.load(), unpickler.storages)
    except UnsafePickle:
        raise
    except (
        ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError, pickle.PickleError, struct.error
    ) as error:  # fmt: skip
        raise ValueError(f"its pickle is malformed before byte {file.tell()}: {error!s:.200}") from error


class _Dict(dict[Any, Any]):
    """Dict whose keys are names or short numbers: nested tuples may take forever to hash, long numbers share a hash."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not (isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**31)):
            raise TypeError("sets items with keys that are not names")
        super().__setitem__(key, value)


def _ordered_dict(pairs: Any = None) -> _Dict:
    """Make a dict, empty or from Python 2's list of pairs."""
    made = _Dict()
    if pairs is not None:
        if not isinstance(pairs, list):
            raise TypeError("makes a dict from a value that is not a list")
        for key, value in pairs:
            made[key] = value
        pairs.clear()  # used once in any real file; a few bytes could ask for the same long list again and again
    return made


# The arguments are counted: a few bytes could hand over the same long tuple again and again.
def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any = None, hooks: Any = None, metadata: Any = None
) -> Tensor:
    if not (isinstance(storage, Storage) and isinstance(size, tuple) and isinstance(stride, tuple)):
        raise TypeError("makes a tensor from values other than storage, size and strides")
    if not len(size) == len(stride) <= MAX_RANK or not all(type(n) is int for n in (offset, *size, *stride)):
        raise ValueError("a tensor's size and strides do not fit")
    return Tensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: Any, grad: Any = None, hooks: Any = None) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError("makes a parameter from a value that is not a tensor")
    return tensor


GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()},
}


class _Dispatch(dict[int, Any]):
    """Instructions by opcode; any other is refused by its name."""

    def __missing__(self, opcode: int) -> Any:
        names = {known.code: known.name for known in pickletools.opcodes}
        raise UnsafePickle(
            f"its pickle uses {names.get(chr(opcode), f'the unknown opcode {opcode}')}, {NO_USE} in protocol 2; if "
            "the file is trusted, save it again with torch.save's default protocol"
        )


def _opcodes() -> list[int]:
    return [getattr(pickle, name)[0] for name in INSTRUCTIONS.split()]


_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_PythonUnpickler):
    """Python's unpickler, with the instructions and globals of a state dict."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")  # Python 2's strings
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in GLOBALS:
            asked = f"{module} {name}"
            raise UnsafePickle(
                f"its pickle refers to {asked!r:.80}, {NO_USE}; "
                "save a network's state_dict() rather than the whole network"
            )
        return GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """Make the storage of an id: kind, dtype, key, device, count, and a view that PyTorch no longer uses."""
        match pid:
            case ("storage", np.dtype() as dtype, str(key), _, int(count), *rest) if count >= 0 and rest in (
                [],
                [None],
            ):
                storage = Storage(key, dtype, count)
            case _:
                raise ValueError("not a reference to a storage")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"two kinds of storage share the key {key!r:.80}")
        return storage

    def load_empty_dictionary(self) -> None:
        self.append(_Dict())

    def load_build(self) -> None:
        """Ignore a state: a dict's version numbers, a parameter's hooks."""
        self.stack.pop()
        if not isinstance(self.stack[-1], _Dict | Tensor):
            raise TypeError("sets the state of something that is neither a dict nor a tensor")

    dispatch = _Dispatch({code: _PythonUnpickler.dispatch[code] for code in _opcodes()})
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.NEWOBJ[0]] = dispatch[pickle.REDUCE[0]]  # globals are functions here, also where they were classes
