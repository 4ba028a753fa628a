"""Weights that a run starts from: where they are found, and what is taken of them."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxssd.config import Config
from jaxssd.models import torchvision_names
from jaxssd.models.published import PUBLISHED
from jaxssd.presets import PRESETS, small
from jaxssd.training import fine_tune
from jaxssd.training.fine_tune import Pretrained, locate, read_pretrained, shared_classes, with_pretrained
from jaxssd.training.step import Variables

OURS, THEIRS = ("zebra", "aeroplane", "dog"), ("dog", "airplane", "cat", "Dog")
CONFIG = small().replace(classes=OURS, pretrained="weights")
OTHER = CONFIG.replace(classes=THEIRS)


def network(config, first, anchors=1, width=2):
    """Tree like a detector's, without a detector: numbers in order from `first` on in every array."""

    def array(*shape):
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + first

    def conv(*shape):
        return {"kernel": array(*shape), "bias": array(shape[-1])}

    outputs = len(config.dataset.classes) + config.loss.background
    head = {"tower": conv(width, 2), "out_conv": {"classes": conv(2, anchors * outputs), "boxes": conv(2, anchors * 4)}}
    params = {"backbone": {"conv1": conv(3, 2)}, "head": head}
    return Variables(params, {"batch_stats": {"backbone": {"bn1": {"mean": array(2)}}}})


def merged(config=CONFIG, other=OTHER, **theirs):
    """Ours, theirs, what comes of them, and the lines."""
    ours, known = network(config, 0.0), network(other, 100.0, **theirs)
    pretrained = Pretrained({"params": known.params, **known.model_state}, other)
    variables, lines = with_pretrained(ours, pretrained, config)
    assert jax.tree.structure(variables) == jax.tree.structure(ours)
    return ours, known, variables, lines


def bias(variables, layer, outputs):
    return variables.params["head"]["out_conv"][layer]["bias"].reshape(-1, outputs).tolist()


def test_all_but_the_rows_of_new_classes_is_taken():
    ours, known, variables, lines = merged()
    for part in ("backbone", "head"):
        for leaf, theirs in zip(*map(jax.tree.leaves, (variables.params[part], known.params[part])), strict=True):
            assert leaf.shape != theirs.shape or (leaf == theirs).all()
    np.testing.assert_array_equal(variables.model_state["batch_stats"]["backbone"]["bn1"]["mean"], [100.0, 101.0])
    assert bias(variables, "classes", 3) == [[0.0, 101.0, 100.0]]
    kernels = [tree.params["head"]["out_conv"]["classes"]["kernel"] for tree in (variables, ours, known)]
    np.testing.assert_array_equal(kernels[0][:, 0], kernels[1][:, 0])
    np.testing.assert_array_equal(kernels[0][:, 1:], kernels[2][:, [1, 0]])
    assert lines == ["weights: 7 of 9 tensors", "weights: class rows kept: aeroplane, dog; new: zebra"]
    assert bias(ours, "classes", 3) == [[0.0, 1.0, 2.0]]  # nothing was written into what was given


def test_equal_names_come_before_like_ones():
    assert shared_classes(["Dog", "dog", "DOG"], ["dog", "Dog"]) == {"Dog": (0, 1), "dog": (1, 0), "DOG": (2, 0)}


@pytest.mark.parametrize(("losses", "rows"), [
    (("softmax", "softmax"), [0.0, 101.0, 100.0, 104.0]),  # background, too
    (("softmax", "focal"), [0.0, 1.0, 2.0, 3.0]),
    (("bce", "softmax"), [0.0, 1.0, 2.0]),
    (("bce", "focal"), [0.0, 101.0, 100.0]),
])  # fmt: skip
def test_logits_of_a_softmax_are_of_another_kind(losses, rows):
    ours, theirs = (each.replace(class_loss=loss) for each, loss in zip((CONFIG, OTHER), losses, strict=True))
    _, _, variables, _ = merged(ours, theirs)
    assert bias(variables, "classes", len(rows)) == [rows]


def test_without_a_shared_class_background_is_new_as_well():
    ours, theirs = CONFIG.replace(class_loss="softmax"), OTHER.replace(class_loss="softmax", classes=("cat",))
    _, _, variables, lines = merged(ours, theirs)
    assert bias(variables, "classes", 4) == [[0.0, 1.0, 2.0, 3.0]]
    assert lines == ["weights: 7 of 9 tensors", "weights: class rows kept: none; new: zebra, aeroplane, dog"]


def test_outputs_of_other_anchors_are_new():
    _, _, variables, lines = merged(anchors=2)
    assert bias(variables, "classes", 3) == [[0.0, 1.0, 2.0]]
    assert bias(variables, "boxes", 4) == [[0.0, 1.0, 2.0, 3.0]]
    assert variables.params["head"]["tower"]["bias"].tolist() == [100.0, 101.0]
    assert lines[0] == "weights: 5 of 9 tensors; anchors per cell are 1 and were 2: the outputs are new"
    assert lines[1].endswith("kept: none; new: zebra, aeroplane, dog")


def test_rows_are_those_of_each_anchor():
    ours, known = network(CONFIG, 0.0, anchors=2), network(OTHER, 100.0, anchors=2)
    variables, _ = with_pretrained(ours, Pretrained({"params": known.params}, OTHER), CONFIG)
    assert bias(variables, "classes", 3) == [[0.0, 101.0, 100.0], [3.0, 105.0, 104.0]]


def test_tensors_of_another_shape_or_meaning_stay_random():
    _, _, variables, lines = merged(width=3)
    assert variables.params["head"]["tower"]["kernel"][0, 0] == 0
    assert lines[0] == "weights: 6 of 9 tensors"
    _, _, variables, _ = merged(other=OTHER.replace(box_coder="tanh", box_loss="coder"))
    assert bias(variables, "boxes", 4) == [[0.0, 1.0, 2.0, 3.0]]


@pytest.mark.parametrize(("change", "words"), [
    ({"head": "pyramid"}, "--head pyramid"),
    ({"levels": (4, 5, 6)}, "another level"),
    ({"task": "multilabel"}, "those of multilabel"),
])  # fmt: skip
def test_another_head_gives_its_backbone(change, words):
    ours, known, variables, (line,) = merged(other=OTHER.replace(**change))
    jax.tree.map(np.testing.assert_array_equal, variables.params["head"], ours.params["head"])
    jax.tree.map(np.testing.assert_array_equal, variables.params["backbone"], known.params["backbone"])
    assert line.startswith("weights: the backbone, 3 of 9 tensors; the head is new (")
    assert words in line


def test_weights_are_located_before_the_data_is_read(tmp_path, monkeypatch, capsys):
    config = Config.of(backbone="resnet34", pretrained="resnet34")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").touch()
    assert locate(config.replace(pretrained="net.pth")) == str(tmp_path / "net.pth")
    assert capsys.readouterr().out == ""
    (tmp_path / "resnet34-b627a593.pth").symlink_to("net.pth")
    assert locate(config.replace(pretrained="resnet34-b627a593.pth")) == str(tmp_path / "resnet34-b627a593.pth")
    assert "images are normalised as it expects" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"resnet35 is no file.*expected resnet18, resnet34"):
        locate(config.replace(pretrained="resnet35"))
    with pytest.raises(ValueError, match=r"resnet34 has the weights of a resnet34, .*: choose --backbone resnet34$"):
        locate(config.replace(backbone="resnet_tiny"))
    with pytest.raises(ValueError, match=r"vgg16, .*, or train the preset ssd300_vgg16$"):
        locate(config.replace(pretrained="ssd300_vgg16_coco"))
    monkeypatch.setattr(fine_tune, "find_weights", lambda name: tmp_path / "net.pth")
    assert locate(config.replace(backbone="resnet34_ssd300")) == "resnet34"
    assert (
        "resnet34 (ImageNet top-1 73.3 %): images are normalised as it expects, --mean 0.485 0.456 0.406 --std 0.229"
        in capsys.readouterr().out
    )
    locate(config.replace(mean=(0.0,) * 3))
    assert "images are NOT normalised as it expects, --mean 0.485" in capsys.readouterr().out


@pytest.fixture
def published(monkeypatch):
    """A published detector with the network of the preset `quick`, read without a file."""
    row = PUBLISHED["ssd300_vgg16_coco"]._replace(preset="quick", backbone="resnet_tiny", classes=THEIRS)
    monkeypatch.setitem(PUBLISHED, "ssd300_vgg16_coco", row)
    monkeypatch.setattr(fine_tune, "find_weights", lambda name: Path("nowhere.pth"))

    def load(path, like, *, background):
        assert like["params"]["head"]["out_conv"]["classes"]["bias"].shape == (len(THEIRS),)
        return {"loaded": background}

    monkeypatch.setattr(torchvision_names, "load_detector", load)
    monkeypatch.setattr(fine_tune, "load_pretrained", lambda path, like: {name: "backbone" for name in like})


@pytest.mark.parametrize(("change", "collections"), [
    ({}, {"loaded": False}),
    ({"head": "ssd300"}, {"loaded": False}),  # of which `with_pretrained` takes the backbone
    ({"backbone": "resnet_small"}, {"params": {"backbone": "backbone"}, "batch_stats": {"backbone": "backbone"}}),
])  # fmt: skip
def test_a_published_detector_is_read_whole_where_the_backbone_is_the_same(published, change, collections):
    config = PRESETS["quick"]().replace(classes=OURS, pretrained="ssd300_vgg16_coco", **change)
    task = fine_tune.make_task(config.replace(head="pyramid"))
    found = read_pretrained(config, task)
    assert found.collections == collections
    assert (found.config is None) == ("backbone" in change)
    if found.config is not None:
        assert found.config.dataset.classes == THEIRS
        assert found.config.model.mean == PUBLISHED["ssd300_vgg16_coco"].mean
