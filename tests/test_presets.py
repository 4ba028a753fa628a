"""The presets have the lesson's numbers, written out here once more, and each makes a network."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxssd.config import LESSON_PRIOR, Phase
from jaxssd.models import BACKBONES
from jaxssd.models.published import PUBLISHED
from jaxssd.presets import PRESETS, with_phases
from jaxssd.tasks.task import make_task
from jaxssd.training.optimizer import group_labels

RETINANETS = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
STAGES = ("largest_box", "largest_object", "multilabel", "anchors16", "anchors189", "focal")
OF_TORCHVISION = tuple(row.preset for row in PUBLISHED.values() if row.preset in PRESETS)
CLASSES = tuple(f"class {number}" for number in range(20))


def lesson_phases(*rows):
    """Rows of `(epochs, rate of the head, what is trained, (div, cut_div))`."""
    return tuple(Phase(epochs, rate, trainable, "clr", clr) for epochs, rate, trainable, clr in rows)


LESSON = {
    # lr = 2e-3: fit(lr, 2, cycle_len=1, cycle_mult=2), freeze_to(-2) and the same again, freeze_to(-3) and 2 epochs
    "largest_box": tuple(
        Phase(epochs, 2e-3, trainable, "cosine", (32.0, 10.0))
        for epochs, trainable in ((1, "head"), (2, "head"), (1, "upper"), (2, "upper"), (2, "all"))
    ),
    # lr = 1e-2; freeze_to(-2), lrs / 5; unfreeze, lrs / 10
    "largest_object": lesson_phases(
        (3, 1e-2, "head", (32, 5)), (5, 1e-2 / 5, "upper", (32, 10)), (10, 1e-2 / 10, "all", (32, 10))
    ),
    # lr = 2e-2; freeze_to(-2), lrs / 10
    "multilabel": lesson_phases((3, 2e-2, "head", (32, 5)), (5, 2e-2 / 10, "upper", (32, 5))),
    # lr = 3e-3
    "anchors16": lesson_phases((5, 3e-3, "head", (20, 10))),
    # lr = 1e-2; freeze_to(-2), lrs / 2
    "anchors189": lesson_phases((4, 1e-2, "head", (20, 8)), (4, 1e-2 / 2, "upper", (20, 8))),
    # lr = 1e-2; freeze_to(-2), lrs / 4
    "focal": lesson_phases((10, 1e-2, "head", (20, 10)), (10, 1e-2 / 4, "upper", (20, 10))),
}


@pytest.mark.parametrize("name", STAGES)
def test_phases_of_the_lesson(name):
    phases = with_phases(name).optimizer.phases
    assert [phase[2:] for phase in phases] == [phase[2:] for phase in LESSON[name]]
    assert [phase.epochs for phase in phases] == [phase.epochs for phase in LESSON[name]]
    rates = [phase.learning_rate for phase in LESSON[name]]
    assert [phase.learning_rate for phase in phases] == pytest.approx(rates)


@pytest.mark.parametrize("name", STAGES)
def test_what_the_stages_of_the_lesson_have_in_common(name):
    config = with_phases(name)
    assert (config.dataset.input_shape, config.optimizer.batch_size, config.model.backbone) == (
        (224, 224),
        64,
        "resnet34",
    )
    assert config.optimizer.lr_multipliers == (1 / 100, 1 / 10, 1)
    assert config.optimizer.weight_decay == 0
    assert config.runtime.eval_every == 1
    assert (config.model.mean, config.model.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert config.augmentation.augment == ("none" if name in ("largest_box", "multilabel") else "lesson")


def test_heads_of_the_lesson():
    def head(name):
        config = PRESETS[name]()
        return config.task, config.model.head_width, config.model.input_dropout, config.model.dropout

    assert PRESETS["largest_box"]().task == "largest_box"
    assert head("largest_object") == ("largest_object", 256, 0.5, 0.5)
    assert head("multilabel") == ("multilabel", 512, 0.25, 0.5)
    assert head("anchors16") == ("detection", 256, 0.25, 0.1)
    assert head("anchors189") == head("focal") == ("detection", 256, 0.4, 0.4)


def test_anchors_and_losses_of_the_lesson():
    def settings(name):
        config = PRESETS[name]()
        assert (config.anchors.match_rule, config.anchors.match_threshold) == ("lesson", 0.4)
        return (
            config.anchors.grids,
            config.anchors.zooms,
            config.anchors.ratios,
            config.model.prior_probability,
            config.loss.class_loss,
        )

    squares, shapes = ((1.0, 1.0),), ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0))
    assert settings("anchors16") == ((4,), (1.0,), squares, pytest.approx(1 / (1 + math.exp(3)), abs=1e-15), "bce")
    assert settings("anchors189") == ((4, 2, 1), (0.75, 1.0, 1.3), shapes, LESSON_PRIOR, "bce")
    assert settings("focal") == ((4, 2, 1), (0.75, 1.0, 1.3), shapes, LESSON_PRIOR, "focal")
    assert (PRESETS["focal"]().loss.alpha, PRESETS["focal"]().loss.gamma) == (0.25, 2.0)


def test_ssd300_is_the_papers():
    """Liu et al. 2016, section 2.2: smooth L1 of offsets, IoU 0.5, negatives 3:1, the mean over matched boxes."""
    config = PRESETS["ssd300"]()
    assert (config.dataset.input_shape, config.anchors.match_threshold, config.loss.box_coder) == (
        (300, 300),
        0.5,
        "offsets",
    )
    assert (config.loss.negative_ratio, config.loss.normalizer, config.anchors.match_rule) == (
        3,
        "positives",
        "best_iou",
    )
    assert config.anchors.anchor_sizes == (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)


@pytest.mark.parametrize("name", STAGES)
def test_without_a_pretrained_backbone_a_stage_is_one_phase_of_everything(name):
    (phase,) = PRESETS[name]().optimizer.phases
    assert (phase.trainable, phase.schedule) == ("all", "one_cycle")
    assert phase.epochs > sum(phase.epochs for phase in with_phases(name).optimizer.phases)
    assert PRESETS[name]().augmentation.augment == "crop"


@pytest.mark.parametrize("name", STAGES)
def test_phases_change_nothing_else(name):
    own = (*Phase._fields, "lr_multipliers", "weight_decay", "augment", "eval_every")
    plain, phased = PRESETS[name](), with_phases(name)
    assert plain.replace(**{setting: phased.settings()[setting] for setting in own}) == phased


def test_other_presets_stay_as_they_are():
    others = [name for name in PRESETS if name not in STAGES]
    assert others == ["quick", "small", "large", "ssd300", "ssd300_vgg16", *RETINANETS]
    assert all(with_phases(name) == PRESETS[name]() for name in others if name not in OF_TORCHVISION)


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_detectors_of_torchvision_train_their_head_first(name):
    plain, phased = PRESETS[name]().optimizer, with_phases(name).optimizer
    first, second = phased.phases
    assert (first.trainable, second.trainable) == ("head", "upper")
    assert first.epochs == sum(plain.epochs) // 10 > 0
    assert first.epochs + second.epochs == sum(plain.epochs)
    assert {phase.learning_rate for phase in phased.phases} == set(plain.learning_rate)
    assert phased.lr_multipliers == (0.1, 0.3, 1.0)


def test_the_stages_of_a_vgg_are_halved_like_a_resnets():
    vgg = BACKBONES["vgg16"]()
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(partial(vgg.init, train=False), jax.random.key(0), images)
    labels = group_labels({"backbone": variables["params"]}, vgg.num_stages)["backbone"]
    groups = {stage: set(jax.tree.leaves(tree)) for stage, tree in labels.items()}
    assert groups == {f"layer{stage}": {"lower" if stage <= 2 else "upper"} for stage in range(1, 6)}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_task_at_its_size(name):
    config = PRESETS[name]().replace(classes=CLASSES)
    task = make_task(config)
    size = config.dataset.input_shape
    variables = jax.eval_shape(partial(task.init, image_size=size), jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.uint8)

    def predict_and_postprocess(variables, images):
        predictions = task.predict(variables, images)
        return predictions, task.postprocess(predictions)

    predictions, results = jax.eval_shape(predict_and_postprocess, variables, images)
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves((predictions, results)))
    expected = {
        "quick": 16 * 16 + 8 * 8,
        "small": 32 * 32 + 16 * 16 + 8 * 8,
        "large": 48 * 48 + 24 * 24 + 12 * 12 + 6 * 6,
        "anchors16": 16,
        "anchors189": 189,
        "focal": 189,
        "ssd300": 8732,
        "ssd300_vgg16": 8732,
        **dict.fromkeys(RETINANETS, 9 * (80**2 + 40**2 + 20**2 + 10**2 + 5**2)),
    }
    if name in expected:
        assert predictions.class_logits.shape == (2, expected[name], 20 + config.loss.background)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described(name):
    """The command line shows the first line."""
    first = PRESETS[name].__doc__.splitlines()[0]
    assert 30 < len(first) < 120
    assert first.endswith((".", "?"))
