"""Settings: phases from columns, what is refused and how, and the way to JSON and back."""

import json
import math
from dataclasses import fields

import pytest

from jaxssd.config import TOPIC_OF, TOPICS, Config, Phase
from jaxssd.presets import PRESETS, with_phases

ALL = {name: preset() for name, preset in PRESETS.items()}
ALL |= {f"{name}, pretrained": with_phases(name) for name in PRESETS}


# Phases


def test_one_phase_is_the_default():
    assert Config().optimizer.phases == (Phase(100, 1e-3, "all", "one_cycle", (32.0, 10.0)),)


def test_one_value_stands_for_all_phases():
    config = Config.of(
        epochs=(3, 5, 10),
        learning_rate=(1e-2,),
        trainable=("head", "upper", "all"),
        schedule=("clr",),
        clr=((32.0, 5.0), (32.0, 10.0), (20.0, 8.0)),
    )
    assert config.optimizer.phases == (
        Phase(3, 1e-2, "head", "clr", (32.0, 5.0)),
        Phase(5, 1e-2, "upper", "clr", (32.0, 10.0)),
        Phase(10, 1e-2, "all", "clr", (20.0, 8.0)),
    )


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "trainable", "schedule", "clr"])
def test_any_setting_can_be_the_one_that_varies(name):
    values = {
        "epochs": (1, 2),
        "learning_rate": (1e-2, 1e-3),
        "trainable": ("head", "all"),
        "schedule": ("clr", "cosine"),
        "clr": ((32.0, 5.0), (20.0, 8.0)),
    }[name]
    first, second = Config.of(**{name: values}).optimizer.phases
    assert (getattr(first, name), getattr(second, name)) == values
    assert first._replace(**{name: values[1]}) == second


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"epochs": (1, 2), "learning_rate": (0.1, 0.2, 0.3)}, "--epochs"),
        ({"epochs": (1, 2, 3), "learning_rate": (0.1, 0.2)}, "--learning-rate"),
        ({"epochs": (1, 2, 3), "trainable": ("head", "all")}, "--trainable"),
        ({"epochs": (1, 2, 3), "schedule": ("clr", "cosine")}, "--schedule"),
        ({"epochs": (1, 2, 3), "clr": ((32.0, 5.0), (32.0, 10.0))}, "--clr"),
        ({"epochs": (1, 2, 3, 4), "clr": ((32.0, 5.0), (32.0, 10.0))}, "--clr"),  # two do not go round
        ({"epochs": ()}, "--epochs"),
        ({"clr": ()}, "--clr"),
        ({"epochs": (), "learning_rate": (), "trainable": (), "schedule": (), "clr": ()}, "--epochs"),
    ],
)
def test_a_number_of_values_that_fits_no_number_of_phases_is_named(settings, option):
    with pytest.raises(ValueError, match=rf"^{option} is \(.*expected one value, or one for each of the \d phases"):
        Config.of(**settings)


# Values out of range

BAD = {
    "image_size": (0, (4097,), (), (64, 0), (64, 64, 3)),
    "max_objects": (0,),
    "head_width": (0,),
    "batch_size": (0,),
    "eval_every": (0,),
    "seed": (-1, 2**32),
    "classes": (("cat", "dog", "cat"),),
    "val_fraction": (0.0, 1.0, math.nan),
    "input_dropout": (-0.1, 1.0, math.nan),
    "dropout": (-0.1, 1.0, math.nan),
    "match_threshold": (-0.1, 1.1, math.nan),
    "anchors_per_object": (0, -1),
    "alpha": (-0.1, 1.1, math.nan),
    "gamma": (-1.0, math.inf, math.nan),
    "mean": ((0.5, 0.5, math.nan), (0.5, math.inf, 0.5)),
    "std": ((0.2, 0.2, 0.0), (0.2, math.inf, 0.2), (math.nan, 0.2, 0.2)),
    "weight_decay": (-1e-4, math.inf, math.nan),
    "prior_probability": (0.0, 1.0, math.nan),
    "ignore_threshold": (0.0, 0.5, math.nan),
    "negative_ratio": (0, -1),
    "min_negatives": (-1,),
    "box_loss_weight": (-1.0, math.inf, math.nan),
    "soft_nms_sigma": (0.0, math.inf, math.nan),
    "max_candidates_per_class": (0,),
    "max_candidates_per_level": (0,),
    "score_threshold": (-0.1, 1.1, math.nan),
    "iou_threshold": (-0.1, 1.1, math.nan),
    "max_candidates": (0,),
    "max_outputs": (0,),
    "momentum": (-0.1, 1.0, math.nan),
    "clip_norm": (0.0, -1.0, math.inf, math.nan),
    "warmup_steps": (-1,),
    "epochs": ((0,), (3, -1)),
    "learning_rate": ((0.0,), (1e-3, -1e-3), (math.inf,), (math.nan,)),
    "clr": (((0.5, 10.0),), ((32.0, 1.0),), ((math.inf, 10.0),), ((32.0, math.inf),), ((math.nan, 10.0),)),
    "lr_multipliers": ((-0.1, 1.0, 1.0), (1.0, 1.0, math.inf), (math.nan, 1.0, 1.0)),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_out_of_range_is_named_as_the_option_it_is(name, value):
    option = "--" + name.replace("_", "-")
    with pytest.raises(ValueError, match=rf"^{option} is .*expected "):
        Config.of(**{name: value})


@pytest.mark.parametrize("size", [64, (64,), [64], (64, 64), [64, 64]])
def test_a_square_input_has_one_form(size, tmp_path):
    """Also where an older version wrote one number into config.json."""
    config = Config.of(image_size=size)
    assert config == Config.of(image_size=64)
    assert (config.dataset.image_size, config.dataset.input_shape) == ((64,), (64, 64))
    (tmp_path / "config.json").write_text(json.dumps({"version": 1, "dataset": {"image_size": size}}))
    assert Config.load(tmp_path / "config.json") == config


def test_a_rectangular_input_has_height_and_width(tmp_path):
    config = Config.of(image_size=(240, 320))
    assert config.dataset.input_shape == (240, 320)
    config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == config


def test_several_anchors_for_each_object_need_the_default_rule():
    with pytest.raises(ValueError, match="--anchors-per-object is 2, expected 1 with --match-rule lesson"):
        Config.of(match_rule="lesson", anchors_per_object=2)


def test_limits_that_are_allowed():
    Config.of(
        image_size=4096,
        input_dropout=0.0,
        dropout=0.0,
        match_threshold=1.0,
        alpha=0.0,
        gamma=0.0,
        weight_decay=0.0,
        lr_multipliers=(0.0, 0.0, 1.0),
        clr=((1.0, 2.0),),
    )


def test_settings_have_one_name_over_all_topics():
    names = ["task", *(field.name for topic in TOPICS for field in fields(getattr(Config, topic)))]
    assert len(set(names)) == len(names)
    assert set(TOPIC_OF) == set(names)


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="unknown settings: grid"):
        Config.of(grid=(4,))


# JSON


@pytest.mark.parametrize("name", ALL)
def test_every_preset_comes_back_from_json(name, tmp_path):
    config = ALL[name].replace(classes=("cat", "dog"), pretrained="weights.pth")
    config.save(tmp_path / "config.json")
    loaded = Config.load(tmp_path / "config.json")
    assert loaded == config
    assert loaded.optimizer.phases == config.optimizer.phases
    for name, value in config.settings().items():
        assert type(loaded.settings()[name]) is type(value)
    hash(loaded)  # no list is left in it


def test_lists_become_tuples(tmp_path):
    """Otherwise a run would not be started with the settings that its file has."""
    config = Config.of(epochs=[3, 2], clr=[[20.0, 8.0]]).replace(grids=[4, 2])
    config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == config == Config.of(epochs=(3, 2), clr=((20.0, 8.0),), grids=(4, 2))


def test_a_setting_that_is_missing_has_its_default(tmp_path):
    """A run of an older version has fewer settings."""
    (tmp_path / "config.json").write_text('{"version": 1, "optimizer": {"epochs": [2], "clr": [[20.0, 8.0]]}}')
    assert Config.load(tmp_path / "config.json") == Config.of(epochs=(2,), clr=((20.0, 8.0),))


@pytest.mark.parametrize("text", ['{"epochs": 3}', '{"clr": [32, 10]}', '{"epochs": [1, 2], "clr": []}'])
def test_phases_that_are_none_are_told_with_the_file(text, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"version": 1, "optimizer": {text}}}')
    with pytest.raises(ValueError, match=r"config\.json is not"):
        Config.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"image_size": 64}', "its settings have no version, expected version 1"),
        ('{"version": 2}', "its settings have version 2, expected version 1"),
        ('{"version": 1, "optimizer": {"epoch": [2]}}', "does not know: epoch"),
        ('{"version": 1, "model": {"epochs": [2]}}', "does not know: epochs"),
        ('{"version": 1, "epochs": [2]}', "does not know: epochs"),
        ('{"version": 1, "optimizer": 3}', "not iterable"),
    ],
)
def test_json_of_another_form_is_refused(record, words, tmp_path):
    (tmp_path / "config.json").write_text(record)
    with pytest.raises(ValueError, match=rf"config\.json is not the config.json of a run: .*{words}"):
        Config.load(tmp_path / "config.json")
