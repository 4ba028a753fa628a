"""`--classes`, and data with other classes than a run's: what both commands say, and what is scored."""

import pytest

from jaxssd.config import Config, DatasetConfig
from jaxssd.data.load import load_split, with_classes
from jaxssd.training import RunFolder, job
from tests.data.trees import picture, voc_xml, write_tree
from tests.test_formats import EVALUATE

BOX = "0.5 0.5 0.5 0.25\n"


def voc(root):
    """Every second image has a cat as well as a dog; the last one, held out below, a bird."""
    files = {f"JPEGImages/{n}.png": picture(ending=".png") for n in range(6)}
    files |= {f"Annotations/{n}.xml": voc_xml("dog", *["cat"] * (n % 2), *["bird"] * (n == 5)) for n in range(6)}
    return write_tree(root, files | {"ImageSets/Main/train.txt": "0\n1\n2\n3\n", "ImageSets/Main/val.txt": "4\n5\n"})


def yolo(root):
    files = {f"images/{split}/a.png": picture(ending=".png") for split in ("train", "val")}
    labels = f"0 {BOX}2 {BOX}"
    files |= {f"labels/{split}/a.txt": labels for split in ("train", "val")}
    return write_tree(root, files | {"classes.txt": "cat\nzebra\ndog\n"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("make", [voc, yolo])
def test_labels_are_in_the_order_of_the_names(tmp_path, make):
    config = with_classes(DatasetConfig(data=str(make(tmp_path / "data")), image_size=8, classes=("dog", "cat")))
    dataset = load_split(config, "train")
    assert dataset.class_names == ("dog", "cat")
    assert set(dataset.examples.labels[dataset.examples.valid].tolist()) == {0, 1}
    only = load_split(with_classes(DatasetConfig(data=config.data, image_size=8, classes=("cat",))), "train")
    assert set(only.examples.labels[only.examples.valid].tolist()) == {0}
    assert dataset.fingerprint != only.fingerprint


def test_a_run_says_what_is_left_out_and_what_it_has_none_of(tmp_path, capsys):
    job._load(with_classes(DatasetConfig(data=str(voc(tmp_path / "data")), image_size=8, classes=("bird", "cat"))))
    lines = capsys.readouterr().out.splitlines()
    assert "train: objects of other classes are left out and count as background: dog (4)" in lines
    assert "val: objects of other classes are left out and count as background: dog (2)" in lines
    assert "train: classes without an object that counts, cannot be learned: bird" in lines


def test_nothing_is_said_where_all_classes_are_there(tmp_path, capsys):
    job._load(
        with_classes(DatasetConfig(data=str(voc(tmp_path / "data")), image_size=8, classes=("dog", "cat", "bird")))
    )
    assert "other classes" not in capsys.readouterr().out


def test_classes_without_an_object_to_train_on_are_an_error(tmp_path):
    config = with_classes(DatasetConfig(data=str(voc(tmp_path / "data")), image_size=8, classes=("bird",)))
    with pytest.raises(ValueError, match="no training image has an object"):
        job._load(config)


def test_other_data_is_scored_on_the_classes_of_the_run(tmp_path, capsys):
    config = with_classes(DatasetConfig(data=str(voc(tmp_path / "data")), image_size=8, classes=("bird", "cat")))
    command = EVALUATE.Command(run=tmp_path, data=str(yolo(tmp_path / "other")))
    _, split, dataset = EVALUATE.load(command, Config(dataset=config), RunFolder(tmp_path))
    assert (split, dataset.class_names) == ("val", ("bird", "cat"))
    assert dataset.examples.labels[dataset.examples.valid].tolist() == [1]
    lines = capsys.readouterr().out.splitlines()
    assert "val: objects of other classes are left out and count as background: dog (1)" in lines
    assert "val: classes without an object that counts, not scored and not in the mean: bird" in lines
