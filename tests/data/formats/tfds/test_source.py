"""VOC by TensorFlow Datasets. What it prepared once lies beside this file; `make tfds` prepares anew."""

import ast
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jaxssd.data.build import build_dataset
from jaxssd.data.formats.base import ImageFile
from jaxssd.data.formats.tfds import prepare as tfds_prepare
from jaxssd.data.formats.tfds import reader as tfds_reader
from jaxssd.data.formats.tfds.reader import undo_rounding
from jaxssd.data.formats.tfds.source import TFDSVoc
from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.data.splits import choose_splits
from tests.data.formats.tfds.voc_archives import IMAGES, SPLITS, unpack, unpack_stored, write_archives

ROOT = Path(__file__).parents[4]
READABLE = all(map(importlib.util.find_spec, ("tensorflow_datasets", "array_record", "importlib_resources")))
needs_tfds = pytest.mark.skipif(not READABLE, reason="tensorflow-datasets is not installed: `make tfds` does that")
# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return unpack_stored(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def voc(data_dir, tmp_path_factory):
    """The same images as a folder in VOC's layout."""
    archives = tfds_prepare.manual_dir(data_dir).iterdir()
    return VOCFolder(unpack(archives, tmp_path_factory.mktemp("unpacked")))


def assert_same(source, folder, ids):
    """Boxes, labels and difficult to the last bit; pixels; and what is told of both."""
    settings = {"image_size": 32, "class_names": CLASSES, "progress": False}
    got, expected = build_dataset(source, ids, **settings), build_dataset(folder, ids, **settings)
    assert got.ids == expected.ids == tuple(ids)
    for field, array in expected.examples._asdict().items():
        np.testing.assert_array_equal(getattr(got.examples, field), array, err_msg=field)
    np.testing.assert_array_equal(got.sizes, expected.sizes)
    assert got.report.summary() == expected.report.summary()
    assert got.fingerprint == expected.fingerprint
    return got


def fake_command(monkeypatch, code):
    monkeypatch.setattr(tfds_prepare, "COMMAND", (sys.executable, "-c", code))


# ---- the other process ----


def test_the_other_process_ends_with_this_one(monkeypatch, tmp_path):
    """It knows who waits for it, and looks whether that is still its parent."""
    code = "import os, sys; print(os.environ['JAXSSD_PARENT'] == str(os.getppid())); sys.exit(1)"
    fake_command(monkeypatch, code)
    with pytest.raises(OSError, match=": True\n"):
        tfds_prepare.prepare("voc/2007", tmp_path)
    parents, ended = iter([7, 7, 1]), []
    monkeypatch.setattr(tfds_prepare.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(tfds_prepare.os, "_exit", ended.append)
    monkeypatch.setattr(tfds_prepare.time, "sleep", lambda seconds: None)
    tfds_prepare._go_with(7)
    assert ended == [1]
    assert list(parents) == []


# ---- boxes ----


@given(st.integers(1, 60_000), st.data())
def test_whole_pixels_survive_float32(side, data):
    pixels = np.array(data.draw(st.lists(st.integers(0, side), min_size=4, max_size=4)), np.float64)
    shares = (pixels / side).astype(np.float32)
    np.testing.assert_array_equal(undo_rounding(shares[None], (side, side))[0], pixels)


@given(st.integers(1, 2000), st.floats(0, 1, width=32))
def test_decimals_stay_as_near_as_float32_has_them(side, share):
    shares = np.full((1, 4), share, np.float32)
    np.testing.assert_allclose(undo_rounding(shares, (side, side)), shares * float(side), rtol=0, atol=side * 2.0**-24)


def test_no_boxes():
    assert undo_rounding(np.empty((0, 4), np.float32), (3, 4)).shape == (0, 4)


# ---- names, splits and packages, for which nothing needs to be there ----


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"`name` is 'voc/2010', expected voc/2007 or voc/2012"):
        TFDSVoc("voc/2010")


def test_the_folder_is_tfdss_own(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert TFDSVoc("voc/2007").path == tmp_path / "voc" / "2007"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert TFDSVoc("voc/2007").data_dir == Path.home() / "tensorflow_datasets"


def test_splits_go_by_vocs_names():
    assert TFDSVoc("voc/2007").split_names() == ("test", "train", "trainval", "val")
    assert TFDSVoc("voc/2012").split_names() == ("train", "trainval", "val")


@pytest.mark.parametrize("split", ["nonsense", "train+nonsense[:3]", "+", "", "all"])
def test_an_unknown_split_is_an_error_with_those_there_are(tmp_path, split):
    known = r"test, train, trainval, val, and TFDS's sums and slices"
    with pytest.raises(ValueError, match=rf"voc/2007 has no split '{re.escape(split)}' .*; it has {known}"):
        TFDSVoc("voc/2007", tmp_path).split_ids(split)


@pytest.mark.parametrize("split", ["test", "train+test", "test[:3]"])
def test_the_test_set_of_2012_has_no_annotations(tmp_path, split):
    with pytest.raises(ValueError, match=r"voc/2012 has no annotations for '.*test.*': they are not public"):
        TFDSVoc("voc/2012", tmp_path).split_ids(split)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        ValueError, match=r'--data voc/2007 is read by TensorFlow Datasets .*pip install -e "\.\[tfds\]'
    ):
        TFDSVoc("voc/2007", tmp_path).all_ids()


# ---- preparing, by a process that only pretends ----


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('some word'); print('ConnectionError: no route'); raise SystemExit(1)", "ConnectionError: no route\n"),
        ("raise SystemExit(3)", "its process ended with exit status 3 and no message\n"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with signal 9 and no message\n"),
    ],
)
def test_a_failure_says_why_and_what_to_do_without_a_network(monkeypatch, tmp_path, code, reason):
    fake_command(monkeypatch, code)
    with pytest.raises(OSError, match=r"could not be prepared") as raised:
        tfds_prepare.prepare("voc/2007", tmp_path)
    message = str(raised.value)
    assert message.startswith(f"voc/2007 could not be prepared in {tmp_path}: {reason}")
    for part in (
        f"VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar into {tmp_path / 'downloads' / 'manual'}",
        "--data VOCdevkit/VOC2007",
    ):
        assert part in message
    with pytest.raises(OSError, match=r"VOCtrainval_11-May-2012\.tar and VOC2012test\.tar.*VOCdevkit/VOC2012"):
        tfds_prepare.prepare("voc/2012", tmp_path)


def test_the_other_process_is_kept_off_the_gpu(monkeypatch, tmp_path):
    told = tmp_path / "told.json"
    code = f"import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open({str(told)!r}, 'w'))"
    fake_command(monkeypatch, code)
    tfds_prepare.prepare("voc/2007", tmp_path)
    arguments, environment = json.loads(told.read_text())
    assert arguments == ["voc/2007", "--data-dir", str(tmp_path)]
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"


def test_the_other_process_says_in_one_line_what_failed(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "requests", None)
    assert tfds_prepare.main(["voc/2007", "--data-dir", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"ModuleNotFoundError: .*requests", line)


# ---- reading what TFDS has prepared ----


@needs_tfds
@pytest.mark.parametrize("split", ["train", "val", "trainval", "test"])
def test_the_same_as_from_a_folder(data_dir, voc, split):
    source = TFDSVoc("voc/2007", data_dir)
    ids = source.split_ids(split)
    assert sorted(ids) == sorted(voc.split_ids(split))
    dataset = assert_same(source, voc, ids)
    assert dataset.examples.difficult.any()


@needs_tfds
def test_everything_lands_in_its_place(data_dir):
    source = TFDSVoc("voc/2007", data_dir)
    (record, empty), problems = source.records(["000017", "000023"], source.class_names())
    np.testing.assert_array_equal(record.boxes, [[0, 0, 97, 61], [95, 59, 97, 61]])
    assert [CLASSES[label] for label in record.labels] == ["person", "horse"]
    assert record.difficult.tolist() == [False, True]
    assert empty.boxes.shape == (0, 4)
    assert [(problem.file, problem.action, problem.kind) for problem in problems] == [
        ("train/000017", "dropped", "without area")
    ]


@needs_tfds
def test_the_classes_are_vocs_whatever_the_split_holds(data_dir):
    source = TFDSVoc("voc/2007", data_dir)
    assert source.class_names(source.split_ids("val")) == tuple(CLASSES) == tuple(sorted(CLASSES))


@needs_tfds
def test_splits_in_tfdss_notation(data_dir):
    source = TFDSVoc("voc/2007", data_dir)
    train, val = source.split_ids("train"), source.split_ids("val")
    assert set(train) == set(SPLITS["train"])
    assert source.split_ids("validation") == val
    assert source.split_ids("train+validation") == source.split_ids(" train + val ") == train + val
    assert source.split_ids("train[:50%]") == train[:2]
    assert source.split_ids("train[-1:]+val[1:]") == train[3:] + val[1:]
    assert source.split_ids("train+train[:1]") == train
    assert source.all_ids() == tuple(sorted(IMAGES))
    for wrong in ("train[:x]", "train[2:99]", "train[", "trainval[:1]"):
        with pytest.raises(ValueError, match=rf"has no split '{re.escape(wrong)}'"):
            source.split_ids(wrong)
    with pytest.raises(ValueError, match=r"voc/2007: the split 'train\[2:2\]' is empty"):
        source.split_ids("train[2:2]")


@needs_tfds
def test_a_run_finds_its_splits(data_dir, voc):
    source = TFDSVoc("voc/2007", data_dir)
    for chosen in ({}, {"train_split": "trainval", "val_split": "test"}, {"train_split": "train"}):
        got, expected = choose_splits(source, **chosen)[:2], choose_splits(voc, **chosen)[:2]
        assert [sorted(ids) for ids in got] == [sorted(ids) for ids in expected]


@needs_tfds
def test_images_open_like_files_in_any_process(data_dir, voc):
    (record,), _ = TFDSVoc("voc/2007", data_dir).records(["000012"], tuple(CLASSES))
    assert isinstance(record.image, ImageFile)
    copy = pickle.loads(pickle.dumps(record.image))
    with copy.open("rb") as file:
        assert file.read() == (voc.root / "JPEGImages" / "000012.jpg").read_bytes()


@needs_tfds
def test_what_is_read_is_known_by_its_files(data_dir, tmp_path):
    source = TFDSVoc("voc/2007", data_dir)
    names = [path.name for path in source.inputs(["000012", "000007"])]
    assert names == ["voc-train.array_record-00000-of-00001", "voc-validation.array_record-00000-of-00001"]
    assert source.inputs(["unheard-of"]) == []
    for _ in range(2):
        settings = {"image_size": 8, "class_names": CLASSES, "cache_dir": tmp_path, "progress": False}
        assert build_dataset(source, ["000012"], **settings).ids == ("000012",)
    assert len(list(tmp_path.iterdir())) == 1


@needs_tfds
def test_an_id_that_there_is_not_is_a_problem(data_dir):
    dataset = build_dataset(
        TFDSVoc("voc/2007", data_dir), ["9", "000012"], image_size=8, class_names=CLASSES, progress=False
    )
    assert dataset.report.summary() == "1 image, 1 object; skipped 1 image (missing)"


@needs_tfds
def test_objects_of_other_classes_are_left_out_and_counted(data_dir):
    ((record,), (problem,)) = TFDSVoc("voc/2007", data_dir).records(["000012"], ("dog",))
    assert len(record.labels) == len(record.boxes) == len(record.difficult) == 0
    assert (problem.kind, problem.detail) == ("other class", "car")


@needs_tfds
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("voc-train.array_record-00000-of-00001", lambda data: data[:70_000]),
        ("voc-train.array_record-00000-of-00001", lambda data: b""),
        ("voc-train.array_record-00000-of-00001", lambda data: data[:600] + b"??" + data[602:]),
        ("voc-train.array_record-00000-of-00001", None),
        ("dataset_info.json", lambda data: data[:100]),
    ],
)
def test_damaged_files_are_named(tmp_path, file, damage):
    path = unpack_stored(tmp_path) / "voc" / "2007" / "5.0.0" / file
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=rf"{tmp_path}/voc/2007 is damaged.*Delete that folder.*{tmp_path}/downloads"):
        TFDSVoc("voc/2007", tmp_path).split_ids("train")


@needs_tfds
def test_another_file_format_is_refused_with_a_way_out(tmp_path):
    info = unpack_stored(tmp_path) / "voc" / "2007" / "5.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(ValueError, match=r"a format that only TensorFlow reads: set \$TFDS_DATA_DIR to another"):
        TFDSVoc("voc/2007", tmp_path).all_ids()


@needs_tfds
def test_without_tensorflow_nothing_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_reader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"is prepared by .*No module named 'tensorflow'.*pip install"):
        TFDSVoc("voc/2007", tmp_path).all_ids()


READ_ALL = """
import sys
from pathlib import Path
import jaxssd.data.load, jaxssd.tasks, jaxssd.training, jaxssd.viz
from jaxssd.data.build import build_dataset
print(sorted(name[20:] for name in sys.modules if name.startswith("jaxssd.data.formats.")))
from jaxssd.data.formats.tfds.source import TFDSVoc
source = TFDSVoc("voc/2007", Path(sys.argv[1]))
ids = source.split_ids("trainval")
print(len(build_dataset(source, ids, image_size=8, class_names=source.class_names(ids)).ids))
print(sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "tensorboard", "keras", "torch"}))
"""


@needs_tfds
def test_training_imports_no_reader_and_reading_no_tensorflow(data_dir):
    command = [sys.executable, "-W", "error", "-c", READ_ALL, str(data_dir)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    readers, *lines = result.stdout.splitlines()
    assert set(ast.literal_eval(readers)) <= {"base", "registry", "split_names", "tfds", "tfds.detect"}
    assert lines == ["6", "[]"]


# ---- with TensorFlow ----


@pytest.fixture
def own_archives(monkeypatch):
    """Preparing takes the archives of these tests for VOC's. All else is what a user's command does."""
    monkeypatch.setattr(tfds_prepare, "COMMAND", (sys.executable, "-m", "tests.data.formats.tfds.voc_archives"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.tfds
@pytest.mark.parametrize("name", ["voc/2007", "voc/2012"])
def test_tfds_prepares_from_archives_on_this_machine(own_archives, tmp_path, capfd, name):
    manual = tfds_prepare.manual_dir(tmp_path / "data")
    write_archives(manual, name)
    source = TFDSVoc(name, tmp_path / "data")
    for split in source.split_names():
        folder = VOCFolder(unpack([manual / file for file in tfds_prepare.ARCHIVES[name]], tmp_path / "unpacked"))
        ids = source.split_ids(split)
        assert sorted(ids) == sorted(folder.split_ids(split))
        assert_same(source, folder, ids)
    assert len(source.all_ids()) == len(IMAGES) - len(source._unannotated) * len(SPLITS["test"])
    assert f"found {tfds_prepare.ARCHIVES[name][0]}" in capfd.readouterr().err


@pytest.mark.tfds
def test_the_stored_examples_are_still_what_tfds_prepares(own_archives, data_dir, tmp_path):
    manual = tfds_prepare.manual_dir(tmp_path)
    manual.mkdir(parents=True)
    for archive in tfds_prepare.manual_dir(data_dir).iterdir():
        (manual / archive.name).write_bytes(archive.read_bytes())
    new, stored = TFDSVoc("voc/2007", tmp_path), TFDSVoc("voc/2007", data_dir)
    for split in stored.split_names():
        ids = stored.split_ids(split)
        assert new.split_ids(split) == ids
        assert_same(new, stored, ids)


@pytest.mark.tfds
def test_an_archive_that_is_not_vocs_is_refused(tmp_path):
    write_archives(tfds_prepare.manual_dir(tmp_path), "voc/2007")
    expected = r"NonMatchingChecksumError: .*/manual/VOC\w+_06-Nov-2007\.tar, has wrong checksum"
    with pytest.raises(OSError, match=expected):
        TFDSVoc("voc/2007", tmp_path).all_ids()


@pytest.mark.tfds
def test_without_a_network(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nothing answers
    expected = r"(?s)could not be prepared in .*: ProxyError: .*put VOC's own VOCtrainval_06-.*downloads/manual"
    with pytest.raises(OSError, match=expected) as raised:
        TFDSVoc("voc/2007", tmp_path).all_ids()
    assert len(str(raised.value).splitlines()) == 2
    assert "downloads VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar (911 MB)" in capfd.readouterr().err
