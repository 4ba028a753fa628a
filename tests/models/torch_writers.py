"""PyTorch's two file formats, written by hand: an assembler of pickles, and what lies around them."""

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
DTYPES = [np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in STORAGES]


@dataclass(frozen=True)
class Global:
    module: str
    name: str


@dataclass(frozen=True)
class Call:
    function: Any
    arguments: tuple


@dataclass(frozen=True)
class New:
    function: Any
    arguments: tuple


@dataclass(frozen=True)
class Build:
    target: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    identity: Any


@dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


ORDERED_DICT = Global("collections", "OrderedDict")
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
REBUILD_PARAMETER = Global("torch._utils", "_rebuild_parameter")
PARAMETER = Global("torch.nn.parameter", "Parameter")


def dump(value):
    """A pickle of protocol 2. Strings are remembered, as `pickle` does."""
    memo = {}

    def emit(value):
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int() if 0 <= value < 256:
                return b"K" + struct.pack("<B", value)
            case int() if 0 <= value < 65536:
                return b"M" + struct.pack("<H", value)
            case int() if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            case int():
                size = value.bit_length() // 8 + 1
                return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
            case float():
                return b"G" + struct.pack(">d", value)
            case str() if value in memo:
                return b"j" + struct.pack("<I", memo[value])
            case str():
                memo[value] = len(memo)
                text = value.encode()
                return b"X" + struct.pack("<I", len(text)) + text + b"r" + struct.pack("<I", memo[value])
            case tuple() if len(value) in (1, 2, 3):
                return b"".join(map(emit, value)) + bytes([0x84 + len(value)])
            case tuple():
                return b"(" + b"".join(map(emit, value)) + b"t"
            case list():
                return b"](" + b"".join(map(emit, value)) + b"e"
            case dict():
                return b"}(" + b"".join(emit(key) + emit(item) for key, item in value.items()) + b"u"
            case Global():
                return f"c{value.module}\n{value.name}\n".encode()
            case Call():
                return emit(value.function) + emit(value.arguments) + b"R"
            case New():
                return emit(value.function) + emit(value.arguments) + b"\x81"
            case Build():
                return emit(value.target) + emit(value.state) + b"b"
            case Persistent():
                return emit(value.identity) + b"Q"
            case Raw():
                return value.code
        raise TypeError(type(value))

    return b"\x80\x02" + emit(value) + b"."


def storage(key, array, *, legacy=False):
    """The reference to a storage that holds `array`."""
    kind = Global("torch", STORAGES[array.dtype.name])
    identity = ("storage", kind, key, "cpu", array.size)
    return Persistent((*identity, None) if legacy else identity)


def tensor(key, array, *, legacy=False, function=REBUILD):
    strides = tuple(step // array.itemsize for step in array.strides)
    arguments = (storage(key, array, legacy=legacy), 0, array.shape, strides)
    extra = () if function.name == "_rebuild_tensor" else (False, Call(ORDERED_DICT, ()))
    return Call(function, arguments + extra)


def tensors(arrays, *, legacy=False, function=REBUILD):
    """Each array in a storage of its own, whose key is its number."""
    return {
        name: tensor(str(i), np.ascontiguousarray(array).reshape(array.shape), legacy=legacy, function=function)
        for i, (name, array) in enumerate(arrays.items())
    }


def contents(arrays):
    return {str(i): np.ascontiguousarray(array) for i, array in enumerate(arrays.values())}


def zip_file(value, storages, *, byteorder=b"little", folder="net", compression=zipfile.ZIP_STORED):
    """`value` is what the pickle holds, `storages` the arrays by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", value if isinstance(value, bytes) else dump(value))
        archive.writestr(f"{folder}/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
        archive.writestr(f"{folder}/version", b"3\n")
    return file.getvalue()


def legacy_file(value, storages, *, version=1001, little_endian=True):
    system = {"protocol_version": version, "little_endian": little_endian, "type_sizes": {"short": 2}}
    pickles = (MAGIC, version, system, value, list(storages))
    data = b"".join(x if isinstance(x, bytes) else dump(x) for x in pickles)
    return data + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())


def torch_zip(arrays):
    return zip_file(tensors(arrays), contents(arrays))


def torch_legacy(arrays):
    return legacy_file(tensors(arrays, legacy=True), contents(arrays))
