"""A run of several phases, and one that starts from another's backbone."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxssd.models import BACKBONES
from jaxssd.tasks.task import make_task
from jaxssd.training import RunFolder, fine_tune, loop, restore, train
from jaxssd.training.checkpoint import Checkpoints
from jaxssd.training.optimizer import places
from jaxssd.training.variables import first_variables
from tests.models.torch_writers import torch_zip
from tests.models.torchvision_names import random_weights, resnet_shapes
from tests.training.blocks import collections

PHASES = {
    "backbone": "resnet_tiny",
    "epochs": (1, 2),
    "learning_rate": (1e-2, 5e-3),
    "trainable": ("head", "all"),
    "schedule": ("constant", "clr"),
    "lr_multipliers": (0.01, 0.1, 1.0),
}


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config.replace(**PHASES)


@pytest.fixture(scope="module")
def phased_run(config, tiny_sets, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("phases"))
    run.create(config)
    train(config, *tiny_sets, run)
    return run


def leaves(run, part):
    _, _, variables = restore(run, "last")
    return {
        (name, jax.tree_util.keystr(path)): np.asarray(leaf)
        for name, tree in collections(variables).items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree[part])
    }


def test_phases_follow_one_another(config):
    assert [(place.number, list(place.epochs)) for place in places(config.optimizer)] == [(0, [0]), (1, [1, 2])]


def test_what_a_run_of_phases_leaves(phased_run):
    """Two steps an epoch; a validation at the end of each phase at least; each phase's own course of the rate."""
    steps, validations = phased_run.rows("train"), phased_run.rows("val")
    assert [row["step"] for row in steps] == list(range(1, 7))
    assert [row["phase"] for row in steps] == [0, 0, 1, 1, 1, 1]
    assert [row["epoch"] for row in steps] == [0, 0, 1, 1, 2, 2]
    assert [(row["step"], row["phase"]) for row in validations] == [(2, 0), (4, 1), (6, 1)]
    rates = [row["learning_rate"] for row in steps]
    assert rates[:2] == pytest.approx([1e-2, 1e-2])
    assert rates[2] == pytest.approx(5e-3 / 32)  # the cycle starts anew
    assert max(rates[2:]) == pytest.approx(5e-3)


def test_a_phase_is_validated_at_its_end_whatever_the_interval(config, tiny_sets, tmp_path):
    run = RunFolder(tmp_path)
    sparse = config.replace(eval_every=10)
    run.create(sparse)
    train(sparse, *tiny_sets, run)
    assert [row["step"] for row in run.rows("val")] == [2, 6]


@pytest.mark.parametrize("validations", [0, 1, 2])
def test_resumed_in_any_phase_it_ends_alike(phased_run, config, tiny_sets, tmp_path, monkeypatch, validations):
    """Stopped before the first checkpoint, at the start of a phase, and in the middle of one."""
    run = RunFolder(tmp_path)
    run.create(config)
    evaluate_once = loop.evaluate

    def stop(*args, **kwargs):
        if len(run.rows("val")) == validations:
            raise KeyboardInterrupt
        return evaluate_once(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, *tiny_sets, run)
    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    train(config, *tiny_sets, run)
    assert run.metrics.read_text() == phased_run.metrics.read_text()
    for part in ("backbone", "head"):
        ours, theirs = leaves(run, part), leaves(phased_run, part)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_run_that_only_trains_its_head_keeps_its_backbone(phased_run, config, tiny_sets, tmp_path):
    """From the backbone of another run, statistics included, to the last bit."""
    run = RunFolder(tmp_path)
    head_only = config.replace(
        pretrained=str(phased_run.path),
        epochs=(1,),
        learning_rate=(1e-2,),
        trainable=("head",),
        schedule=("constant",),
        seed=1,
    )
    run.create(head_only)
    train(head_only, *tiny_sets, run)
    ours, theirs = leaves(run, "backbone"), best_leaves(phased_run)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])


def best_leaves(run):
    _, _, variables = restore(run, "best")
    return {
        (name, jax.tree_util.keystr(path)): np.asarray(leaf)
        for name, tree in collections(variables).items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree["backbone"])
    }


def test_the_backbone_serves_another_task(phased_run, config):
    """The head is new; the backbone is what detection left."""
    other = config.replace(task="multilabel", pretrained=str(phased_run.path))
    variables = collections(first_variables(other, make_task(other)))
    theirs = best_leaves(phased_run)
    for (name, path), leaf in theirs.items():
        ours = {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(variables[name]["backbone"])}
        np.testing.assert_array_equal(ours[path], leaf)


def test_a_run_of_the_same_head_gives_its_head_as_well(phased_run, config, capsys):
    """All of it where the classes are the same; what is read are the best variables of the run."""
    again = config.replace(pretrained=str(phased_run.path), seed=1)
    first = first_variables(again, make_task(again))
    jax.tree.map(np.testing.assert_array_equal, first, restore(phased_run, "best")[2])
    count = len(jax.tree.leaves(first))
    classes = ", ".join(config.dataset.classes)
    assert capsys.readouterr().out == (
        f"{phased_run.path}: {count} of {count} tensors\n{phased_run.path}: class rows kept: {classes}; new: none\n"
    )


@pytest.mark.parametrize(
    ("change", "word"), [({"backbone": "resnet_micro"}, "--backbone"), ({"std": (1.0,) * 3}, "--std")]
)
def test_a_backbone_that_does_not_fit_is_told(phased_run, config, change, word):
    other = config.replace(pretrained=str(phased_run.path), **change)
    with pytest.raises(ValueError, match=word):
        first_variables(other, make_task(other))


def test_a_backbone_from_a_file(config, tmp_path):
    weights = random_weights(resnet_shapes((1, 1), width=32))
    (tmp_path / "net.pth").write_bytes(torch_zip(weights))
    from_file = config.replace(pretrained=str(tmp_path / "net.pth"))
    variables = collections(first_variables(from_file, make_task(from_file)))
    kernel = variables["params"]["backbone"]["layer2_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, weights["layer2.0.conv1.weight"].transpose(2, 3, 1, 0))
    variance = variables["batch_stats"]["backbone"]["bn1"]["var"]
    np.testing.assert_array_equal(variance, weights["bn1.running_var"])


def test_a_folder_that_is_no_run_is_told(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        first_variables(config.replace(pretrained=str(tmp_path)), make_task(config))


class WithoutNorm(nn.Module):
    """One layer as a backbone."""

    num_stages = 1
    output_stride = 8

    @nn.compact
    def __call__(self, images, *, train, frozen_stages=0):
        return nn.Conv(8, (3, 3), strides=8)(images)


@pytest.mark.parametrize("task", ["detection", "largest_box"])  # whose heads have BatchNorm and no model state at all
def test_a_pretrained_backbone_may_have_no_model_state(config, monkeypatch, task):
    monkeypatch.setitem(BACKBONES._parts, "without_norm", lambda **_: WithoutNorm())
    config = config.replace(task=task, backbone="without_norm")
    trained = first_variables(config.replace(seed=9), make_task(config))
    monkeypatch.setattr(fine_tune, "restore", lambda run: (config, make_task(config), trained))
    first = first_variables(config.replace(pretrained="."), make_task(config))
    jax.tree.map(np.testing.assert_array_equal, first.params["backbone"], trained.params["backbone"])
    assert jax.tree.structure(first) == jax.tree.structure(trained)


def test_the_checkpoint_before_a_phase_has_nothing_of_its_optimizer(phased_run, config):
    """Variables can be read whatever phase a checkpoint is from: the optimizer's state lies apart."""
    with Checkpoints(phased_run.checkpoints, read_only=True) as checkpoints:
        like = jax.eval_shape(lambda: first_variables(config, make_task(config)))
        assert checkpoints.restore_variables(checkpoints.last_step, like)._fields == ("params", "model_state")


def test_data_that_changed_is_refused_when_trained_on_directly(phased_run, config, tiny_sets):
    train_set, val_set = tiny_sets
    with pytest.raises(ValueError, match="have changed"):
        train(config, val_set, train_set, phased_run)
