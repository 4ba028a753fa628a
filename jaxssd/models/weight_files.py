"""Weight files: safetensors, and PyTorch's two formats. Reading one never runs code from it."""

import io
import struct
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

from jaxssd.models.torch_pickle import Tensor, unpickle

ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number, pickled
LEGACY_VERSION = 1001
PICKLE_LIMIT = 2**22  # bytes; enough for 20,000 tensors, whose numbers lie outside of the pickle
SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a file of named tensors. Its content decides the format, not its name.

    Args:
        path: a `.safetensors` file, or a state dict saved by `torch.save` (`.pth`, `.pt`, `.bin`), in the zip format or
            the one before PyTorch 1.6. The state dict may lie in a checkpoint, under `state_dict` or `model`.

    Returns:
        Arrays by name, read-only, in the file's dtype and layout. Values that are not tensors are left out.

    Raises:
        ValueError: if the file is damaged, holds no weights, or has content that weights do not need: other globals or
            pickle instructions than a state dict uses, compression, tensors larger than the file. The message names
            the file.
        OSError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"bn1.weight": np.ones(3, np.float32)}, Path(folder, "norm.safetensors"))
        ...     read_weights(Path(folder, "norm.safetensors"))
        {'bn1.weight': array([1., 1., 1.], dtype=float32)}
    """
    data = path.read_bytes()
    try:
        if data.startswith(ZIP_START):
            return _read_zip(data)
        if data.startswith(LEGACY_START):
            return _read_legacy(data)
        return _read_safetensors(data)
    except (ValueError, OverflowError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    """Read PyTorch's format since 1.6: members `NAME/data.pkl` and, for every storage, `NAME/data/KEY`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise ValueError("its members are compressed, which torch.save never does")
        sizes = {m.filename: m.file_size for m in members}
        if sum(m.file_size for m in members) > len(data):
            raise ValueError("its members state more bytes than the file has")
        pickles = [name for name in sizes if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip file with {len(pickles)} members data.pkl, expected one, as torch.save writes")
        folder = pickles[0].removesuffix("data.pkl")
        if sizes[pickles[0]] > PICKLE_LIMIT:
            raise ValueError("its pickle is too long for a state dict")
        if f"{folder}byteorder" in sizes and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        pickled = unpickle(io.BytesIO(archive.read(pickles[0])))
        contents: dict[str, bytes | memoryview] = {}
        for key, storage in pickled.storages.items():
            member = f"{folder}data/{key}"
            if sizes.get(member) != storage.nbytes:
                raise ValueError(f"member {member!r:.80} is missing, or does not have {storage.nbytes} bytes")
            contents[key] = archive.read(member)
    return _views(pickled.value, contents)


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    """Read PyTorch's format before 1.6, of torchvision's first weights: five pickles, then the storages.

    Each storage is preceded by the number of its elements.
    """
    file = io.BytesIO(data[:PICKLE_LIMIT])
    file.seek(len(LEGACY_START))
    version, system = unpickle(file).value, unpickle(file).value
    pickled, keys = unpickle(file), unpickle(file).value
    if version != LEGACY_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError(f"not of version {LEGACY_VERSION} and little-endian")
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or set(keys) != set(pickled.storages):
        raise ValueError("its storages differ from those that its tensors refer to")
    contents: dict[str, bytes | memoryview] = {}
    position = file.seek(0, io.SEEK_CUR)
    for key in keys:
        storage = pickled.storages[key]
        (count,) = struct.unpack_from("<q", data, position)
        start, position = position + 8, position + 8 + storage.nbytes
        if count != storage.count or position > len(data):
            raise ValueError(f"storage {key!r:.80} does not have {storage.count} elements; the file may be cut short")
        contents[key] = memoryview(data)[start:position]
    return _views(pickled.value, contents)


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"expected weights in PyTorch's .pth format or a valid .safetensors file ({error})") from error
    if unknown := {tensor["dtype"] for _, tensor in tensors} - set(SAFETENSORS_DTYPES):
        raise ValueError(f"holds tensors of dtype {', '.join(sorted(unknown))}")
    return {
        name: np.frombuffer(tensor["data"], SAFETENSORS_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in tensors
    }


def _views(value: object, contents: dict[str, bytes | memoryview]) -> dict[str, np.ndarray]:
    for wrapper in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    items = value.items() if isinstance(value, dict) else ()
    tensors = {name: x for name, x in items if isinstance(name, str) and isinstance(x, Tensor)}
    if not tensors:
        raise ValueError("holds no state dict: no named tensors at the top, under `state_dict` or under `model`")
    return {name: tensor.view(contents[tensor.storage.key]) for name, tensor in tensors.items()}
