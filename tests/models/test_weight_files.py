"""Both of PyTorch's formats, put together by hand, and safetensors: what is read, and what is refused."""

import io
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as safetensors_file

from jaxssd.models.torch_pickle import unpickle
from jaxssd.models.weight_files import LEGACY_START, PICKLE_LIMIT, ZIP_START, read_weights
from tests.models.torch_writers import (
    DTYPES,
    MAGIC,
    ORDERED_DICT,
    PARAMETER,
    REBUILD,
    REBUILD_PARAMETER,
    Build,
    Call,
    Global,
    New,
    Raw,
    contents,
    dump,
    legacy_file,
    storage,
    tensor,
    tensors,
    torch_legacy,
    torch_zip,
    zip_file,
)

WRITERS = {"zip": torch_zip, "legacy": torch_legacy, "safetensors": safetensors_file}
ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.bias": np.array([0.5, -1], np.float32),
}


def read(data, name="weights.pth"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return read_weights(path)


def read_value(value, **storages):
    """The pickle of `value` in both formats, which must give the same."""
    results = [read(zip_file(value(legacy=False), storages)), read(legacy_file(value(legacy=True), storages))]
    assert_same(*results)
    return results[0]


def assert_same(got, expected):
    assert set(got) == set(expected)
    for name, array in got.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", WRITERS)
def test_values_shapes_and_dtypes_are_the_files(kind, dtype):
    arrays = {
        "layer1.0.weight": np.arange(-6, 6).reshape(2, 3, 2).astype(dtype),
        "scalar": np.array(7).astype(dtype),
        "none": np.zeros((0, 3), dtype),
    }
    assert_same(read(WRITERS[kind](arrays)), arrays)


def test_the_content_decides_and_not_the_name():
    for write in WRITERS.values():
        for name in ("a.safetensors", "a.pth.tar", "a"):
            assert_same(read(write(ARRAYS), name), ARRAYS)


@pytest.mark.parametrize("path", [("state_dict",), ("model",), ("state_dict", "model")], ids=str)
def test_a_checkpoint_may_hold_the_state_dict(path):
    def checkpoint(legacy):
        value = tensors(ARRAYS, legacy=legacy)
        for key in reversed(path):
            value = {"epoch": 90, key: value, "lr": 0.1, "optimizer": {"state": {0: None}, "groups": [-1, [2**40]]}}
        return value

    assert_same(read_value(checkpoint, **contents(ARRAYS)), ARRAYS)


def test_what_is_not_a_tensor_is_left_out():
    def value(legacy):
        return {**tensors(ARRAYS, legacy=legacy), "epoch": 3, "name": "a", "hooks": None, 5: "five"}

    assert_same(read_value(value, **contents(ARRAYS)), ARRAYS)


def test_views_share_a_storage():
    numbers = np.arange(12, dtype=np.float32)

    def value(legacy):
        shared = storage("0", numbers, legacy=legacy)
        hooks = Call(ORDERED_DICT, ())
        return {
            "whole": Call(REBUILD, (shared, 0, (3, 4), (4, 1), False, hooks)),
            "transposed": Call(REBUILD, (shared, 0, (4, 3), (1, 4), False, hooks)),
            "column": Call(REBUILD, (shared, 2, (3,), (4,), False, hooks)),
            "row": Call(REBUILD, (shared, 4, (1, 4), (10**30, 1), False, hooks)),  # the stride of one row is idle
        }

    whole = numbers.reshape(3, 4)
    expected = {"whole": whole, "transposed": whole.T, "column": whole[:, 2], "row": whole[1:2]}
    assert_same(read_value(value, **{"0": numbers}), expected)


def test_ways_to_write_a_parameter():
    """PyTorch's of today, of its first versions, and as members of Python 2's ordered dict."""
    numbers, hooks = np.arange(3, dtype=np.float32), Call(ORDERED_DICT, ())

    def value(legacy):
        inner = tensor("0", numbers, legacy=legacy)
        parameters = {
            "first": tensor("0", numbers, legacy=legacy, function=Global("torch._utils", "_rebuild_tensor")),
            "old": Build(Call(PARAMETER, (inner,)), (True, False, hooks)),
            "new": New(PARAMETER, (inner, True)),
            "today": Call(REBUILD_PARAMETER, (inner, True, hooks)),
        }
        pairs = [list(pair) for pair in parameters.items()]
        return Build(Call(ORDERED_DICT, (pairs,)), {"_metadata": {"": {"version": 1}}})

    expected = dict.fromkeys(("first", "old", "new", "today"), numbers)
    assert_same(read_value(value, **{"0": numbers}), expected)


def test_python_2_strings():
    key = Raw(b"U\x06weight")
    value = {key: tensor("0", np.ones(2, np.float32))}
    assert_same(read(zip_file(value, {"0": np.ones(2, np.float32)})), {"weight": np.ones(2, np.float32)})
    long_key = Raw(b"T" + struct.pack("<i", 300) + b"w" * 300)
    assert set(read(zip_file({long_key: tensor("0", np.ones(2, np.int8))}, {"0": np.ones(2, np.int8)}))) == {"w" * 300}


# What is refused


def refuses(data, *messages):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "evil.pth")
        path.write_bytes(data)
        with pytest.raises(ValueError) as error:
            read_weights(path)
    assert str(path) in str(error.value)
    for message in messages:
        assert message in str(error.value)
    assert len(str(error.value)) < 600


def both(value, **storages):
    return [zip_file(value, storages), legacy_file(value, storages)]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("collections", "OrderedDict.__init__"),
        ("collections", "defaultdict"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("torch.storage", "_load_from_bytes"),
        ("torchvision.models.resnet", "ResNet"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("x" * 10_000, "y"),
    ],
)
def test_globals_are_refused_by_name_and_not_called(module, name, tmp_path):
    witness = tmp_path / "executed"
    call = Call(Global(module, name), (f"touch {witness}",))
    for data in both({"weight": call, "state_dict": {"a": call}}):
        refuses(data, f"{module} {name}"[:60], "a state dict has no use for")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("instruction", "code"),
    [
        ("STACK_GLOBAL", b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93"),
        ("INST", b"(X\x02\x00\x00\x00lsios\nsystem\n"),
        ("OBJ", b"(cos\nsystem\nX\x02\x00\x00\x00lso"),
        ("NEWOBJ_EX", b"))}\x92"),
        ("EXT1", b"\x82\x01"),
        ("PERSID", b"P0\n"),
        ("DUP", b")2"),
        ("INT", b"I1\n"),
        ("LONG4", b"\x8b\x01\x00\x00\x00\x01"),
        ("FRAME", b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N"),
        ("BYTEARRAY8", b"\x96" + struct.pack("<Q", 1) + b"a"),
        ("EMPTY_SET", b"\x8f"),
    ],
)
def test_instructions_without_use_are_refused_by_name(instruction, code):
    for data in both(Raw(code)):
        refuses(data, instruction if instruction != "OBJ" else "os system", "a state dict has no use for")


@pytest.mark.parametrize(
    "value",
    [
        Call("os.system", ("ls",)),
        Call({}, ()),
        Call(ORDERED_DICT, (1,)),
        Call(ORDERED_DICT, ([["a"]],)),
        Call(ORDERED_DICT, ([[[], 1]],)),
        Call(Global("torch", "FloatStorage"), (10,)),
        Call(REBUILD, ("storage", 0, (1,), (1,))),
        Call(PARAMETER, (1,)),
        Build(None, {"__class__": 1}),
        Build([], {}),
        Build(ORDERED_DICT, {"__reduce__": 1}),
        Build(REBUILD, (None, {"__defaults__": (1,), "__code__": None})),
        Build(Global("torch", "FloatStorage"), (3, "<", None, None, None, -1, -1, 0)),
        Raw(b"Q"),
        Raw(b"X\x01\x00\x00\x00aQ"),
        Raw(b"R"),
        Raw(b"0"),
        Raw(b"j\xff\xff\xff\xff"),
        Raw(b"r\xff\xff\xff\xff"),
        Raw(b"X\xff\xff\xff\xffa"),
        Raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffa"),
        Raw(b"t"),
        Raw(b"u"),
        Raw(b"}(Nu"),
        Raw(b"}])s"),
        Raw(b")Na"),
        Raw(b"\x87"),
        Raw(b""),
        Raw(b"\xff"),
        Raw(b"}X\x01\x00\x00\x00\xffNs"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_pickles_that_make_no_sense_are_refused(value):
    for data in both(value):
        refuses(data)


def test_memo_positions_may_be_huge():
    put, get = b"r\xfe\xff\xff\xff", b"j\xfe\xff\xff\xff"
    value = {Raw(b"X\x01\x00\x00\x00a" + put): 1, Raw(get): tensor("0", ARRAYS["bn.bias"])}
    assert set(read(zip_file(value, {"0": ARRAYS["bn.bias"]}))) == {"a"}


def test_keys_whose_hash_takes_forever_are_refused():
    code = b")" + b"q\x00h\x00\x86" * 200  # each a pair of the one before, twice
    for data in both(Raw(b"}" + code + b"Ns")):
        refuses(data, "keys")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (2,), (2**62,)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (2**2000,), (1,)),
        (2**2000, (1,), (1,)),
        (5, (), ()),
        (4, (1,), (1,)),
        (0, (10**9,), (0,)),
        (-1, (1,), (1,)),
        (3, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (-2, -2), (1, 1)),
        (0, (0, 2**70), (1, 1)),
        (0, (2, 2), (1,)),
        (0, (True, 2), (1, 1)),
        (0, (2.0,), (1,)),
        (0, ("2",), (1,)),
        (0.0, (2,), (1,)),
        (0, [2], (1,)),
        (0, (1,) * 65, (1,) * 65),
        (0, (2**31,) * 100_000, (1,) * 100_000),
    ],
    ids=lambda x: str(x)[:30],
)
def test_tensors_beyond_their_storage_are_refused(offset, size, stride):
    numbers = np.arange(4, dtype=np.float32)
    for legacy, write in ((False, zip_file), (True, legacy_file)):
        view = Call(REBUILD, (storage("0", numbers, legacy=legacy), offset, size, stride, False, None))
        refuses(write({"weight": view}, {"0": numbers}))


@pytest.mark.parametrize("count", [3, 5, 2**40, 2**62, 2**500, -1, "4", None])
def test_storages_have_the_size_they_claim(count):
    numbers = np.arange(4, dtype=np.float32)
    for legacy, write in ((False, zip_file), (True, legacy_file)):
        reference = storage("0", numbers, legacy=legacy).identity
        reference = (*reference[:4], count, *reference[5:])
        view = Call(REBUILD, (Raw(dump(reference)[2:-1] + b"Q"), 0, (1,), (1,), False, None))
        refuses(write({"weight": view}, {"0": numbers}))


def test_storages_are_there_and_of_one_kind():
    numbers = np.arange(4, dtype=np.float32)
    value = {"weight": tensor("0", numbers)}
    refuses(zip_file(value, {"1": numbers}), "'net/data/0'")
    refuses(legacy_file(value, {"1": numbers}), "storages")
    refuses(legacy_file(value, {}), "storages")
    for data in both({**value, "other": tensor("0", numbers.view(np.int32))}, **{"0": numbers}):
        refuses(data, "two kinds of storage")


@pytest.mark.parametrize("value", [{}, [], 5, None, {"state_dict": {}}, {"a": {"b": 1}}, {"a": 1}], ids=str)
def test_files_without_tensors_are_refused(value):
    for data in both(value):
        refuses(data, "holds no state dict")


def test_compressed_members_are_refused_unread():
    """A megabyte of zeros is a kilobyte of file; a thousand times that would fill the memory."""
    zeros = {"weight": np.zeros(2**18, np.float32)}
    data = zip_file(tensors(zeros), contents(zeros), compression=zipfile.ZIP_DEFLATED)
    assert len(data) < 10_000
    refuses(data, "compressed")


def test_members_that_share_their_bytes_are_refused():
    """Twenty entries of the directory point at one member, so that a small file claims to hold much."""
    numbers = np.ones(1000, np.float32)
    data = zip_file({"weight": tensor("0", numbers)}, {"0": numbers})
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data.index(b"PK\x01\x02", data.index(b"net/data/0", directory) - 46)
    entry = data[entry : data.index(b"PK", entry + 4)]
    entries = b"".join(entry.replace(b"net/data/0", b"net/data/%c" % letter) for letter in range(65, 85))
    last = bytearray(data[end:])
    struct.pack_into("<HHI", last, 8, *[struct.unpack_from("<H", last, 8)[0] + 20] * 2, end - directory + len(entries))
    bomb = data[:end] + entries + last
    assert len(zipfile.ZipFile(io.BytesIO(bomb)).infolist()) == 24
    refuses(bomb, "state more bytes")


def test_other_zip_files_are_refused():
    def archive(**members):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as target:
            for name, data in members.items():
                target.writestr(name, data)
        return file.getvalue()

    good = torch_zip(ARRAYS)
    refuses(archive(readme=b"hello"), "data.pkl")
    refuses(archive(**{"a/data.pkl": b"", "b/data.pkl": b""}), "2 members data.pkl")
    refuses(archive(**{"a/data.pkl": b""}))
    refuses(archive(**{"a/data.pkl": b"\x80\x02" + b"N" * PICKLE_LIMIT}), "too long")
    refuses(zip_file(tensors(ARRAYS), contents(ARRAYS), byteorder=b"big"), "big-endian")
    refuses(good.replace(ARRAYS["bn.bias"].tobytes(), b"\x01" * 8), "CRC")
    encrypted = bytearray(good)
    encrypted[good.index(b"PK\x01\x02") + 8] |= 1
    encrypted[6] |= 1
    refuses(bytes(encrypted))


def test_other_legacy_files_are_refused():
    value = tensors(ARRAYS, legacy=True)
    refuses(legacy_file(value, contents(ARRAYS), version=1000), "version")
    refuses(legacy_file(value, contents(ARRAYS), little_endian=False), "little-endian")
    refuses(dump(MAGIC) + dump(1001) + dump(5) + dump(value) + dump([]))
    refuses(dump(MAGIC) + dump(1001) + dump({"little_endian": True}) + dump(value) + dump({}))
    for keys in ([["0"], "1"], [["0"]], [("0",)], [0]):
        refuses(dump(MAGIC) + dump(1001) + dump({"little_endian": True}) + dump(value) + dump(keys), "storages")
    refuses(legacy_file(Raw(b"N" * PICKLE_LIMIT), {}))
    assert dump(MAGIC) == LEGACY_START


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x80\x04N.", b"<html>404</html>" * 10, dump({"a": 1}), b"version https://"]
)
def test_other_files_are_refused(data):
    refuses(data, "expected weights in PyTorch's .pth format or a valid .safetensors file")


def test_safetensors_of_an_unknown_dtype_are_refused():
    header = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    refuses(struct.pack("<Q", len(header)) + header + b"\x00", "F8_E4M3")


def test_files_that_cannot_be_read_say_so(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(OSError, match=str(path)):
            read_weights(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_files_cut_short_are_refused_wherever_they_end(kind, tmp_path):
    data, path = WRITERS[kind]({"a.weight": np.ones(3, np.float32), "a.bias": np.ones(2, np.float16)}), tmp_path / "cut"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"cut: "):
            read_weights(path)


def survives(data):
    """Weights no larger than the file, or a `ValueError`."""
    try:
        weights = read(bytes(data))
    except ValueError:
        return
    assert all(array.nbytes <= len(data) for array in weights.values())


STARTS = [b"", ZIP_START, LEGACY_START, LEGACY_START + dump(1001) + dump({"little_endian": True})]
CODES = [bytes([code]) for code in b"NKMJX()]}tuseaRQbqhrj\x81\x85\x86\x87\x88\x8a."]


@settings(max_examples=200)
@given(st.sampled_from(STARTS), st.binary())
def test_random_bytes_raise_nothing_else(start, data):
    survives(start + data)


def test_a_backslash_in_a_name_is_no_matter_for_a_warning():
    with pytest.raises(ValueError, match="pickle refers to"):
        read(LEGACY_START + dump(1001) + b"\x80\x02ctorch\nFloat\\_\n.")


@settings(max_examples=200)
@given(
    st.sampled_from([write(ARRAYS) for write in WRITERS.values()]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
)
def test_damaged_files_raise_nothing_else(data, changes):
    """Bytes overwritten, cut out or put in."""
    data = bytearray(data)
    for where, cut, new in changes:
        position = int(where * len(data))
        data[position : position + cut] = new
    survives(data)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([bytes([x]) for x in b"NKMJX()]}tuseaRQbqhrj\x81\x85\x86\x87\x88\x8a."]) | st.binary(max_size=5)
    )
)
def test_random_pickles_raise_nothing_else(codes):
    reference = dump({"w": tensor("0", ARRAYS["bn.bias"])})[:-1]
    survives(zip_file(reference + b"".join(codes), {"0": ARRAYS["bn.bias"]}))


def test_storage_keys_that_would_take_forever_to_hash_are_refused():
    """A tuple of a tuple of itself, 60 deep, has 2**60 leaves."""
    nested = Raw(b"]" + b")" + b"".join(b"q\x00h\x00\x86" for _ in range(60)) + b"a")
    start = dump(MAGIC) + dump(1001) + dump({"little_endian": True}) + dump(tensors(ARRAYS, legacy=True))
    refuses(start + dump(nested), "storages")


def test_a_list_is_copied_once_however_often_it_is_asked_for():
    """An `OrderedDict` of one remembered list of pairs, over and over: a few bytes each."""
    pairs, repeats = 2000, 20_000
    code = b"]q\x00(" + b"".join(b"]q\x01(K" + bytes([n % 256]) + b"K\x02e" for n in range(pairs)) + b"e]("
    code += b"ccollections\nOrderedDict\nh\x00\x85R" * repeats + b"e."
    first, *others = unpickle(io.BytesIO(b"\x80\x02" + code)).value
    assert len(first) == 256
    assert not any(others)


@pytest.mark.parametrize("function", ["_rebuild_tensor_v2", "_rebuild_parameter"])
def test_arguments_are_few(function):
    """A million arguments in one remembered tuple take a millisecond to hand over, and five bytes to ask for it."""
    first = tensor("0", ARRAYS["bn.bias"])
    arguments = (*first.arguments, *[None] * 10) if function == "_rebuild_tensor_v2" else (first, *[None] * 10)
    refuses(zip_file({"w": Call(Global("torch._utils", function), arguments)}, {"0": ARRAYS["bn.bias"]}), "malformed")


def test_numbers_that_share_a_hash_are_no_keys():
    refuses(zip_file(Raw(b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x1fNs"), {}), "not names")


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16, np.int64, np.float16, np.float64]
)
def test_counters_of_any_type(tmp_path, dtype):
    arrays = {"a.num_batches_tracked": np.array(3, dtype), "a.weight": np.ones(2, np.float32)}
    (tmp_path / "a").write_bytes(safetensors_file(arrays))
    assert read_weights(tmp_path / "a")["a.num_batches_tracked"].dtype == dtype
