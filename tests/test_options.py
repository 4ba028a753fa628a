"""Every option of every command changes what it says: a row each, and a test that fails where an option has none."""

import dataclasses
import importlib
import importlib.util
import json
import sys
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxssd.config import TOPIC_OF, Config
from jaxssd.data import augmentation, load, mosaic
from jaxssd.data.shapes import make_shapes
from jaxssd.inference import scoring
from jaxssd.ops import (
    OFFSET_CODER,
    bce_loss,
    decode_offsets,
    giou_loss,
    make_anchors,
    retinanet_anchors,
    ssd300_anchors,
)
from jaxssd.presets import PRESETS
from jaxssd.tools import detect_images, explain, export
from jaxssd.tools.inspection import command as inspect_command
from jaxssd.training import RunFolder, fine_tune, job, loop, variables
from jaxssd.training.loader import is_streamed
from jaxssd.training.optimizer import make_schedule, places
from tests.sharing import make_task
from tests.training.toy import SIDE, ToyTask, flat, toy_set

ROOT = Path(__file__).parents[1]
BASE = Config.of(
    classes=("a", "b"), image_size=32, backbone="resnet_tiny", grids=(4, 2), zooms=(1.0,), ratios=((1.0, 1.0),)
)
TOY = {"classes": ("a",), "image_size": SIDE, "batch_size": 4, "epochs": (2,), "augment": "none"}
SSD300 = {"head": "ssd300", "image_size": 300, "backbone": "resnet34_ssd300"}
COCO_SIZES = (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0)
RETINANET = {"head": "retinanet", "levels": (3, 4)}
PHOTOGRAPHS = {"data": "voc", "classes": ()}


class Row(NamedTuple):
    """A setting, what is looked at, and what is seen there with it and is not without it; other settings beside it."""

    value: Any
    look: Any
    seen: Any
    beside: dict[str, Any] = {}  # noqa: RUF012  # never written to


def augmented_by(config):
    return chunk_gets("augment")(config)


def batch_steps(config):
    steps = [step.function for step in augmented_by(config)[1:]]
    return [(step.func, step.keywords["probability"]) for step in steps]


def ssd_with(name):
    return lambda config: augmented_by(config)[0].keywords[name]


def head(name):
    return lambda config: getattr(make_task(config).model.head, name)


def network(name):
    return lambda config: getattr(make_task(config).model.backbone, name)


def loss(name):
    return lambda config: make_task(config).loss_of_image.keywords[name]


def class_loss(name):
    return lambda config: make_task(config).loss_of_image.keywords["class_loss"].keywords[name]


def nms(name):
    return lambda config: make_task(config).nms.keywords[name]


def corners(anchors):
    return np.asarray(anchors.corners)[:6].round(5).tolist()


def anchors(config):
    return corners(make_task(config).anchors)


def coder(config):
    task = make_task(config)
    return task.decode, task.loss_of_image.keywords["box_coder"]


def per_image(data):
    return data.examples.valid.sum(axis=1).tolist()


def place_of_first(data):
    return data.placements[0].tolist()


def white(config):
    return make_task(config).normalize(jnp.full((1, 1, 1, 3), 255, jnp.uint8)).ravel().round(4).tolist()


def rates(config):
    schedule = make_schedule(config.optimizer.phases[-1], 10)
    return [round(float(schedule(step)), 8) for step in (0, 1, 5, 9)]


def chunk_gets(name):
    """What the step is made with."""

    def look(config):
        with pytest.MonkeyPatch.context() as patch:
            made = {}
            patch.setattr(
                loop, "make_train_step", lambda apply, *_, **settings: made.update(settings | apply.keywords) or print
            )
            loop.make_phase(config, ToyTask(), config.optimizer.phases[0], lambda step: 0.1)
        return made[name]

    return look


def fitted_zooms(config):
    """Zooms after the anchors were fitted to generated pictures, if they are."""
    return job.with_anchors(config, make_shapes(8, image_size=32)).anchors.zooms


def epochs_of_phases(config):
    return [list(place.epochs) for place in places(config.optimizer)]


def moves(config, steps=1):
    """By how much steps of the optimizer move a kernel of ones of each group, in units of the rate."""
    optimizer, _ = loop.make_phase(config, ToyTask(), config.optimizer.phases[0], lambda step: 1e-2)
    ones = {"kernel": jnp.ones((2, 3))}
    params = {"backbone": {"layer1_0": ones, "layer2_0": ones}, "head": ones}
    state, moved = optimizer.init(params), 0.0
    for _ in range(steps):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        moved = moved - np.array([float(update.mean()) for update in flat(updates).values()]) / 1e-2
    return moved.round(3).tolist()


def toy_rows(kind, name, config, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_task", lambda config: ToyTask())
        run = RunFolder(
            place / f"{kind}-{config.runtime.eval_every}-{config.runtime.seed}-{config.optimizer.batch_size}"
        )
        run.create(config)
        loop.train(config, toy_set(12), toy_set(4, seed=1), run)
    return [row[name] for row in run.rows(kind)]


def saved_steps(config, place):
    saved, save = [], loop.Checkpoints.save

    def note(self, step, state, *, score):
        saved.append(step)
        return save(self, step, state, score=score)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Checkpoints, "save", note)
        toy_rows("train", "step", config.replace(seed=int(config.runtime.checkpoint_every)), place)
    return saved


def backbone_starts_at_zero(config, place):
    with pytest.MonkeyPatch.context() as patch:
        zeros = jax.tree.map(jnp.zeros_like, variables.first_variables(config.replace(pretrained=None), ToyTask()))
        weights = fine_tune.Pretrained({"params": {"backbone": jax.device_get(zeros.params["backbone"])}})
        patch.setattr(fine_tune, "read_pretrained", lambda *_: weights)
        params = variables.first_variables(config, ToyTask()).params
    return [bool(np.any(part["kernel"])) for part in (params["backbone"]["conv1"], params["head"])]


def ids(split, config, place):
    return list(load.load_split(config.dataset, split).ids)


def of_train(look, config, place):
    return look(load.load_split(load.with_classes(config.dataset), "train"))


def stored_shapes(config, place):
    sets = job._load(load.with_classes(config.dataset))
    return [dataset.examples.images.shape[1:] for dataset in sets]


def streamed(config):
    return is_streamed(toy_set(4), config.runtime.memory)


CLR = {"schedule": ("clr",), "epochs": (2,)}
ROWS = {
    "task": Row("multilabel", lambda config: type(make_task(config)).__name__, "MultilabelTask"),
    "data": Row("flat", partial(of_train, lambda data: len(data.ids)), 8, PHOTOGRAPHS),
    "images": Row("other", partial(of_train, lambda data: int(data.examples.images[0, 0, 0, 0]) // 50), 4,
                  {"data": "coco/some.json", "classes": (), "val_fraction": 0.5}),
    "train_split": Row("test", partial(ids, "train"), ["5"], PHOTOGRAPHS),
    "val_split": Row("test", partial(ids, "val"), ["5"], PHOTOGRAPHS),
    "val_fraction": Row(0.5, lambda config, place: len(ids("val", config, place)), 5, PHOTOGRAPHS | {"data": "flat"}),
    "classes": Row(("dog",), partial(of_train, per_image), [1, 1, 1], PHOTOGRAPHS),
    "image_size": Row((16, 24), partial(of_train, lambda data: data.examples.images.shape[1:3]), (16, 24), PHOTOGRAPHS),
    "stored_scale": Row(1.5, stored_shapes, [(48, 48, 3), (32, 32, 3)], PHOTOGRAPHS),
    "aspect": Row("letterbox", partial(of_train, place_of_first), [0.25, 0, 0.75, 1], PHOTOGRAPHS),
    "exif": Row("apply", partial(of_train, lambda data: data.sizes[0].tolist()), [40, 20], PHOTOGRAPHS),
    "max_objects": Row(1, partial(of_train, lambda data: data.examples.valid.shape), (3, 1), PHOTOGRAPHS),
    "mean": Row((0.5, 0.25, 0.0), white, [1.0, 3.0, 4.0], {"std": (0.5, 0.25, 0.25)}),
    "std": Row((0.5, 0.25, 0.125), white, [1.0, 2.0, 4.0], {"mean": (0.5, 0.5, 0.5)}),
    "backbone": Row("resnet_small", network("stage_sizes"), (1, 1, 1), {"grids": (2,)}),
    "pretrained": Row("a file", backbone_starts_at_zero, [False, True], TOY),
    "head": Row("ssd300", lambda config: type(make_task(config).model.head).__name__, "SSD300Head",
                {**SSD300, "head": "pyramid", "grids": (38,)}),
    "levels": Row((2, 3), anchors, corners(make_anchors((8, 4), (1.0,), ((1.0, 1.0),))), RETINANET),
    "tower_depth": Row(1, head("depth"), 1, RETINANET),
    "tower_norm": Row("none", head("norm"), "none", RETINANET),
    "extra_levels_from": Row("backbone", head("extra_from_backbone"), True, RETINANET),
    "anchor_layout": Row("torchvision", anchors, corners(retinanet_anchors(32, levels=(3,), zooms=(1.0,),
                         ratios=((1.0, 1.0),))), {**RETINANET, "levels": (3,)}),
    "grids": Row((4,), head("grids"), (4,)),
    "anchors": Row("fit", lambda config: fitted_zooms(config) == (3.0,), False, {"zooms": (3.0,)}),
    "zooms": Row((0.5, 1.0), anchors, corners(make_anchors((4, 2), (0.5, 1.0), ((1.0, 1.0),)))),
    "ratios": Row(((1.0, 0.5),), anchors, corners(make_anchors((4, 2), (1.0,), ((1.0, 0.5),)))),
    "anchor_sizes": Row(COCO_SIZES, anchors, corners(ssd300_anchors(COCO_SIZES)), SSD300),
    "box_coder": Row("offsets", coder, (decode_offsets, OFFSET_CODER)),
    "head_width": Row(12, head("width"), 12),
    "input_dropout": Row(0.3, head("input_dropout"), 0.3),
    "dropout": Row(0.3, head("dropout"), 0.3),
    "prior_probability": Row(0.5, head("prior_probability"), 0.5),
    "precision": Row("bfloat16", network("dtype"), jnp.bfloat16),
    "class_loss": Row("bce", loss("class_loss"), bce_loss),
    "alpha": Row(0.5, class_loss("alpha"), 0.5),
    "gamma": Row(1.0, class_loss("gamma"), 1.0),
    "negative_ratio": Row(3, loss("negative_ratio"), 3),
    "min_negatives": Row(2, loss("min_negatives"), 2),
    "normalizer": Row("positives", loss("normalizer"), "positives"),
    "box_loss": Row("giou", loss("box_loss"), giou_loss),
    "box_loss_weight": Row(2.0, loss("box_loss_weight"), 2.0),
    "match_rule": Row("lesson", loss("rule"), "lesson"),
    "match_threshold": Row(0.7, loss("threshold"), 0.7),
    "ignore_threshold": Row(0.3, loss("ignore_threshold"), 0.3),
    "anchors_per_object": Row(3, loss("anchors_per_object"), 3),
    "epochs": Row((2, 3), epochs_of_phases, [[0, 1], [2, 3, 4]]),
    "learning_rate": Row((0.5,), rates, [0.5] * 4, {"schedule": ("constant",)}),
    "trainable": Row(("head",), moves, [0.0, 0.0, 1.0], {"weight_decay": 0.0}),
    "schedule": Row(("constant",), rates, [1e-3] * 4),
    "clr": Row(((10.0, 2.0),), rates, [1e-4, 2.8e-4, 1e-3, 2.8e-4], CLR),
    "lr_multipliers": Row((0.25, 0.5, 2.0), moves, [0.25, 0.5, 2.0], {"weight_decay": 0.0}),
    "batch_size": Row(6, partial(toy_rows, "train", "epoch"), [0, 0, 1, 1], TOY),
    "grad_accum_steps": Row(4, chunk_gets("grad_accum_steps"), 4),
    "ema_decay": Row(0.9, chunk_gets("ema_decay"), 0.9),
    "remat": Row(True, network("remat"), True),
    "fast_layers": Row(("pool", "stem"), network("fast_layers"), ("pool", "stem")),
    "weight_decay": Row(0.5, moves, [1.5, 1.5, 1.5]),
    "optimizer": Row("sgd", partial(moves, steps=2), [2.9, 2.9, 2.9], {"weight_decay": 0.0}),
    "momentum": Row(0.5, partial(moves, steps=2), [2.5, 2.5, 2.5], {"weight_decay": 0.0, "optimizer": "sgd"}),
    "clip_norm": Row(1.0, moves, [0.236, 0.236, 0.236], {"weight_decay": 0.0, "optimizer": "sgd"}),
    "warmup_steps": Row(3, rates, [2.5e-4, 5e-4, 1e-3, 1e-3], {"schedule": ("constant",)}),
    "score_threshold": Row(0.5, nms("score_threshold"), 0.5),
    "iou_threshold": Row(0.7, nms("iou_threshold"), 0.7),
    "nms": Row("soft", nms("soft_sigma"), 0.5),
    "soft_nms_sigma": Row(0.3, nms("soft_sigma"), 0.3, {"nms": "soft"}),
    "max_candidates": Row(50, nms("max_candidates"), 50),
    "max_candidates_per_class": Row(50, nms("max_candidates_per_class"), 50),
    "max_candidates_per_level": Row(50, nms("max_candidates_per_level"), 50),
    "max_outputs": Row(7, nms("max_outputs"), 7),
    "augment": Row("none", lambda config: [step.func for step in augmented_by(config)], [augmentation.resize]),
    "scale_jitter": Row((0.1, 2.0), lambda config: augmented_by(config)[0].keywords["sample"].keywords["scale"],
                        (0.1, 2.0)),
    "vertical_flip": Row(0.25, ssd_with("vertical_flip"), 0.25, {"augment": "ssd"}),
    "zoom_out": Row(2.0, ssd_with("zoom_out"), (1.0, 2.0), {"augment": "ssd"}),
    "mosaic": Row(0.5, batch_steps, [(mosaic.mosaic, 0.5)]),
    "mixup": Row(0.25, batch_steps, [(mosaic.mixup, 0.25)]),
    "memory": Row("stream", streamed, True),
    "eval_every": Row(2, partial(toy_rows, "val", "epoch"), [1], TOY),
    "checkpoint_every": Row(1e-9, saved_steps, [1, 2, 3, 4, 5, 6], TOY),
    "seed": Row(1, lambda config, place: [round(x, 4) for x in toy_rows("train", "noise", config, place)],
                None, TOY),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two folders in VOC's layout, one with splits, and a COCO file with two folders of images."""
    root = tmp_path_factory.mktemp("data")
    dog, cat = (
        f"<object><name>{name}</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>{x}</xmax><ymax>15</ymax></bndbox></object>"
        for name, x in (("dog", 20), ("cat", 30))
    )
    for name, count in (("voc", 6), ("flat", 10)):
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name / folder).mkdir(parents=True)
        for number in range(count):
            exif = Image.Exif()
            exif[0x0112] = (
                6 if (name, number) == ("voc", 0) else 1
            )  # "turn a quarter"; nothing shows that boxes were drawn so
            picture = Image.new("RGB", (40, 20), (number * 20,) * 3)
            picture.save(root / name / "JPEGImages" / f"{number}.jpg", exif=exif)
            (root / name / "Annotations" / f"{number}.xml").write_text(f"<annotation>{dog}{cat}</annotation>")
    for split, names in (("train", "012"), ("val", "34"), ("test", "5")):
        (root / "voc/ImageSets/Main" / f"{split}.txt").write_text("\n".join(names))
    (root / "flat/ImageSets/Main").rmdir()
    (root / "flat/ImageSets").rmdir()
    for folder, grey in ((".", 60), ("other", 210)):
        (root / "coco" / folder).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            Image.new("RGB", (20, 20), (grey,) * 3).save(root / "coco" / folder / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 20} for n in range(2)]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0} for n in range(2)
    ]
    text = json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]})
    (root / "coco/some.json").write_text(text)
    return root


# train.py


@pytest.mark.parametrize("name", list(TOPIC_OF))
def test_every_setting_of_a_run_changes_what_it_says(name, place, monkeypatch, tmp_path):
    assert name in ROWS, f"the option {name} has no row here: say what it changes"
    row = ROWS[name]
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))

    def look(config):
        if config.dataset.data != "shapes":
            images = config.dataset.images and str(place / "coco" / config.dataset.images)
            config = config.replace(data=str(place / config.dataset.data), images=images)
        takes_place = getattr(row.look, "func", row.look).__code__.co_varnames[:5]
        return row.look(config, place=tmp_path) if "place" in takes_place else row.look(config)

    without, given = (look(BASE.replace(**row.beside | more)) for more in ({}, {name: row.value}))
    assert given != without
    if row.seen is not None:
        assert given == row.seen


def test_there_is_no_row_of_an_option_that_is_gone():
    assert set(ROWS) == set(TOPIC_OF)


def script(name):
    spec = importlib.util.spec_from_file_location(f"command_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the help of the options is looked for
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train_asks(monkeypatch, tmp_path):
    """Run train.py with these arguments; what it asks of the package."""
    monkeypatch.chdir(tmp_path)
    command = script("train")

    def ask(*arguments):
        seen = {}
        monkeypatch.setattr(command, "signals_watched", lambda *_: nullcontext())
        monkeypatch.setattr(command, "distributed", lambda *_: nullcontext())
        monkeypatch.setattr(command, "keep_compiled", lambda folder: seen.update(compiled=folder))
        monkeypatch.setattr(command, "start", lambda config, run: seen.update(start=run.path, config=config))
        monkeypatch.setattr(command, "resume", lambda run: seen.update(resume=run.path))
        monkeypatch.setattr(
            importlib.import_module("jaxssd.tools.lr_finder"),
            "find_rate",
            lambda config, folder: seen.update(find=folder, config=config),
        )
        command.main(list(map(str, arguments)))
        return SimpleNamespace(**seen)

    ask.command = command
    return ask


TRAIN = {
    "config": (
        ["quick", "--seed", "7"],
        lambda seen: seen.config.runtime.seed == 7 and seen.config.dataset.image_size == (64,),
    ),
    "out": (["--out", "there"], lambda seen: seen.start == Path("there")),
    "resume": (["--resume", "there"], lambda seen: seen.resume == Path("there") and not hasattr(seen, "start")),
    "find_lr": (["--find-lr", "--out", "x"], lambda seen: seen.find == Path("x") and not hasattr(seen, "start")),
    "keep_compiled": (["--no-keep-compiled"], lambda seen: not hasattr(seen, "compiled")),
}


def test_every_option_of_train_changes_what_it_says(train_asks, monkeypatch):
    plain = train_asks()
    assert plain.start.parent == Path("runs")
    assert plain.compiled.name == "runs"
    for arguments, preset in (([], "quick"), (["--data", "x"], "small"), (["focal", "--data", "x"], "focal")):
        assert train_asks(*arguments).start.name.startswith(f"{preset}-")
        assert train_asks(*arguments).config == PRESETS[preset]().replace(data="x" if arguments else "shapes")
    monkeypatch.setattr(train_asks.command, "has_accelerator", lambda: True)
    assert train_asks("--data", "x").config == PRESETS["large"]().replace(data="x")
    assert set(TRAIN) == {field.name for field in fields(train_asks.command.Command)}
    for name, (arguments, holds) in TRAIN.items():
        assert holds(train_asks(*arguments)), name


@pytest.mark.parametrize(
    "options",
    [
        *(["--trainable", "head"], ["--schedule", "clr"], ["--fast-layers", "norm", "pool"], ["--remat"]),
        *(["--class-loss", "focal"], ["--data", "focal"], ["--zooms", "0.7", "1"], ["--data=focal"], ["--no-remat"]),
        *(["--optimizer", "sgd"], ["--optimizer=sgd"], ["--find-lr", "--optimizer", "adamw"]),
    ],
)
def test_the_preset_stands_before_or_after_any_option(train_asks, options):
    """Values of an option may be presets' names themselves."""
    before, after = train_asks("multilabel", *options), train_asks(*options, "multilabel")
    assert before.config == after.config
    assert after.config.task == "multilabel"


# evaluate.py


@pytest.fixture
def evaluate_asks(monkeypatch, tmp_path):
    """Run evaluate.py with these arguments; what it asks of the package, which does nothing."""
    command, dataset = script("evaluate"), make_shapes(2, image_size=32)
    monkeypatch.chdir(tmp_path)  # folders of the results are made
    config = BASE.replace(classes=dataset.class_names, train_split="ours", val_split="our-val", stored_scale=1.5)
    task = make_task(config)
    training = importlib.import_module("jaxssd.training")

    def ask(*arguments, run=None):
        seen = {"drawn": []}

        def restore(run, which="best", mesh=None):
            seen.update(run=run.path, which=which)
            return config, task, {}

        def load_one(config, split):
            seen.update(data=config.data, images=config.images, split=split)
            seen.update(splits=(config.train_split, config.val_split))
            return dataset

        def write(folder, result, name, about):
            seen.update(folder=folder, name=name, about=about)

        def draw(folder, task, dataset, result, name):
            assert (folder, name) == (seen["folder"], seen["name"])

        def load_detector(name, *, checkpoint="best", **limits):
            seen.update(run=Path(name), which=checkpoint, limits=limits)
            return SimpleNamespace(config=config, task=task, batch_size=5)

        def detect(detector, files, make_folder, threshold, *, with_coco, batch_size, every):
            seen.update(files=files, out=make_folder(), threshold=threshold, coco=with_coco, batch_size=batch_size)
            seen.update(every=every)
            return []

        def evaluate(*_, batch_size, **__):
            seen.update(batch_size=batch_size)
            return found

        def detect_all(detector, config, dataset, *, batch_size):
            seen.update(batch_size=batch_size, truth_size=config.input_shape)
            return task, SimpleNamespace()

        scores = SimpleNamespace(table=lambda: "")
        found = SimpleNamespace(scores=scores, results=SimpleNamespace())
        monkeypatch.setattr(training, "restore", restore)
        monkeypatch.setattr(training, "signals_watched", lambda *_: nullcontext())
        monkeypatch.setattr(
            importlib.import_module("jaxssd.training.distribution"), "distributed", lambda *_: nullcontext()
        )
        monkeypatch.setattr(training, "evaluate", evaluate)
        monkeypatch.setattr(importlib.import_module("jaxssd.inference"), "load", load_detector)
        monkeypatch.setattr(detect_images, "detect_images", detect)
        monkeypatch.setattr(scoring, "detect_on_dataset", detect_all)
        monkeypatch.setattr(type(task), "score", lambda *_, **__: scores)
        monkeypatch.setattr(load, "known_classes", lambda *_: dataset.class_names)
        monkeypatch.setattr(
            importlib.import_module("jaxssd.tasks.task"), "make_task", lambda config: seen.update(made=config) or task
        )
        monkeypatch.setattr(training, "write_scores", write)
        monkeypatch.setattr(training, "draw_scores", draw)
        monkeypatch.setattr(training, "keep_compiled", lambda folder: seen.update(compiled=folder))
        monkeypatch.setattr(load, "load_split", load_one)
        monkeypatch.setattr(load, "default_split", lambda config: "all")
        monkeypatch.setattr(load, "notes_on_splits", lambda *_, **__: [])
        monkeypatch.setattr(RunFolder, "require_same_data", lambda _, prints: seen.update(compared=prints))
        monkeypatch.setattr(export, "export", lambda folder, *_: seen.update(export=folder))
        monkeypatch.setattr(importlib.import_module("jaxssd.data.placement"), "in_image", lambda results, _: results)
        monkeypatch.setattr(explain, "idea_figures", lambda *_: seen["drawn"].append("ideas") or [])
        (tmp_path / "run").mkdir(exist_ok=True)
        command.main([str(run or tmp_path / "run"), *map(str, arguments)])
        monkeypatch.undo()
        return SimpleNamespace(**seen)

    ask.command = command
    return ask


EVALUATE = {
    "run": ([], lambda seen: seen.run.name == "run"),
    "split": (["--split", "test"], lambda seen: (seen.split, seen.about["split"], seen.name) == ("test",) * 3),
    "data": (["--data", "other"], lambda seen: (seen.data, seen.split, seen.name) == ("other", "all", "other-all")),
    "data_images": (["--data", "x.json", "--data-images", "y"], lambda seen: seen.images == "y"),
    "export": (["--export"], lambda seen: seen.export.name == "detections-val"),
    "images": (["--images", "grey.png"], lambda seen: seen.files == [Path("grey.png")]),
    "explain": (["--explain"], lambda seen: seen.drawn == ["ideas"] and not hasattr(seen, "folder")),
    "out": (["--out", "there"], lambda seen: seen.folder == Path("there")),
    "threshold": (["--images", "grey.png", "--threshold", "0.7"], lambda seen: seen.threshold == 0.7),
    "batch_size": (["--batch-size", "3"], lambda seen: seen.batch_size == 3),
    "every": (["--images", "grey.png", "--every", "5"], lambda seen: seen.every == 5),
    "limits": (["--iou-threshold", "0.6"], lambda seen: seen.made.postprocess.iou_threshold == 0.6),
    "checkpoint": (["--checkpoint", "last"],
                   lambda seen: (seen.which, seen.name, seen.about["checkpoint"]) == ("last", "val-last", "last")),
    "keep_compiled": (["--no-keep-compiled"], lambda seen: not hasattr(seen, "compiled")),
}  # fmt: skip


def test_every_option_of_evaluate_changes_what_it_says(evaluate_asks, tmp_path, monkeypatch):
    Image.new("RGB", (20, 10), (99,) * 3).save(tmp_path / "grey.png")
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        plain = evaluate_asks()
    assert (plain.which, plain.split, plain.name, plain.folder.name) == ("best", "val", "val", "run")
    assert (plain.data, plain.images, plain.drawn) == ("shapes", None, [])
    assert plain.compiled == tmp_path
    assert not hasattr(plain, "export")
    assert set(EVALUATE) == {field.name for field in fields(evaluate_asks.command.Command)}
    for name, (arguments, holds) in EVALUATE.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            assert holds(evaluate_asks(*arguments)), name


LIMITS = {
    "score_threshold": ("0.2", 0.2),
    "nms": ("soft", "soft"),
    "iou_threshold": ("0.6", 0.6),
    "soft_nms_sigma": ("0.3", 0.3),
    "max_outputs": ("7", 7),
}


def test_every_limit_of_nms_is_that_of_the_scores_and_of_the_photographs(evaluate_asks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 10), (99,) * 3).save("grey.png")
    assert set(LIMITS) == {field.name for field in fields(evaluate_asks.command.Limits)}
    for name, (text, value) in LIMITS.items():
        option = f"--{name.replace('_', '-')}"
        scored = evaluate_asks(option, text)
        assert (getattr(scored.made.postprocess, name), scored.about["nms"]) == (value, {name: value})
        assert evaluate_asks(option, text, "--images", "grey.png").limits == {name: value}
        assert evaluate_asks(option, text, "--data", "x", run="ssd300_vgg16_coco").limits == {name: value}
    assert not hasattr(evaluate_asks(), "made")


def test_photographs_are_shown_exported_and_kept_as_asked(evaluate_asks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 10), (99,) * 3).save("grey.png")
    plain = evaluate_asks("--images", "grey.png")
    assert (plain.threshold, plain.coco, plain.batch_size, plain.out.parent) == (0.3, False, None, tmp_path / "run")
    asked = evaluate_asks("--images", "grey.png", "--out", "there", "--export", "--batch-size", "2")
    assert (asked.out, asked.coco, asked.batch_size) == (Path("there"), True, 2)
    assert evaluate_asks("--images", "grey.png", run="ssd300_vgg16_coco").out.parent == Path("runs/ssd300_vgg16_coco")
    Path("ssd300_vgg16_coco").mkdir()  # a folder of a published name needs ./
    assert evaluate_asks("--images", "grey.png", run="ssd300_vgg16_coco").out.parent == Path("runs/ssd300_vgg16_coco")
    assert evaluate_asks("--images", "grey.png", run="./ssd300_vgg16_coco").out.parent == Path("ssd300_vgg16_coco")


def test_a_published_detector_is_scored_on_the_data_that_is_named(evaluate_asks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = evaluate_asks("--data", "other", run="ssd300_vgg16_coco")
    assert (asked.run, asked.data, asked.name) == (Path("ssd300_vgg16_coco"), "other", "other-all")
    assert (asked.folder, asked.batch_size, asked.truth_size) == (Path("runs/ssd300_vgg16_coco"), 5, (300, 300))
    assert evaluate_asks("--data", "other", "--batch-size", "2", run="ssd300_vgg16_coco").batch_size == 2
    for arguments, words in (([], "--data DATA, or --images FILE"), (["--explain"], "--explain needs the folder")):
        with pytest.raises(SystemExit, match=words):
            evaluate_asks(*arguments, run="ssd300_vgg16_coco")


@pytest.mark.parametrize("option", ["--batch-size", "--every"])
def test_zero_is_refused(evaluate_asks, option):
    with pytest.raises(SystemExit, match=f"{option} is 0, expected 1 or more"):
        evaluate_asks(option, "0")


def test_the_runs_own_data_is_that_of_then_and_other_data_has_splits_of_its_own(evaluate_asks, capsys):
    ours, other = evaluate_asks("--split", "test"), evaluate_asks("--data", "other")
    assert ours.compared == {"test": make_shapes(2, image_size=32).fingerprint}
    assert ours.splits == ("ours", "our-val")
    assert ours.about["checkpoint"] == "best"
    assert other.splits == (None, None)
    assert not hasattr(other, "compared")
    assert "not compared" not in capsys.readouterr().out
    assert not hasattr(evaluate_asks("--split", "train"), "compared")  # that the run has stored at another size
    assert "train: the run stored larger images, so these are not compared" in capsys.readouterr().out


def test_the_checkpoint_that_is_asked_for_is_used_whatever_is_done(evaluate_asks, tmp_path, monkeypatch):
    Image.new("RGB", (20, 10), (99,) * 3).save(tmp_path / "grey.png")
    for arguments in (["--explain"], ["--images", tmp_path / "grey.png", "--out", tmp_path]):
        for which in ("best", "last"):
            assert evaluate_asks(*arguments, "--checkpoint", which).which == which


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan"])
def test_a_score_threshold_out_of_range_is_refused(evaluate_asks, tmp_path, value):
    Image.new("RGB", (20, 10), (99,) * 3).save(tmp_path / "grey.png")
    with pytest.raises(SystemExit, match=r"--threshold is .*, expected a number between 0 and 1"):
        evaluate_asks("--images", tmp_path / "grey.png", f"--threshold={value}")


# python -m jaxssd.data

GIVEN = {
    "images": "pictures",
    "train_split": "some",
    "val_split": "others",
    "classes": ("a",),
    "image_size": (192, 256),
    "aspect": "crop",
    "exif": "ignore",
    "grids": (4,),
    "levels": (3, 4),
    "zooms": (1.1,),
    "ratios": ((1.0, 2.0),),
}


@pytest.mark.parametrize("name", inspect_command.OF_A_RUN)
def test_settings_of_a_run_reach_the_inspection_and_the_command_it_prints(name):
    plain = inspect_command.Command(path="data", preset="focal" if name == "grids" else "small")
    command = dataclasses.replace(plain, **{name: GIVEN[name]})
    assert inspect_command.configure(command).settings()[name] == GIVEN[name]
    assert inspect_command.configure(plain).settings()[name] != GIVEN[name]
    given = inspect_command.AnchorSettings((4,), (1.0,), ((1.0, 1.0),))
    printed = inspect_command.train_command(command, given)
    if name not in ("grids", "zooms", "ratios"):
        assert f"--{name.replace('_', '-')} " in printed


def test_what_else_the_inspection_is_asked(monkeypatch, tmp_path):
    """Path, preset, number of shapes, and folder."""
    seen, look = {}, inspect_command.advise

    def advise(*arguments, boxes_per_cell, **settings):
        seen["boxes_per_cell"] = boxes_per_cell
        return look(*arguments, boxes_per_cell=boxes_per_cell, **settings)

    dataset = make_shapes(6, image_size=64)
    monkeypatch.setattr(inspect_command, "advise", advise)
    monkeypatch.setattr(inspect_command, "load_split", lambda config, split: seen.update(config=config) or dataset)
    monkeypatch.setattr("jaxssd.tools.inspection.figure.dataset_figure", lambda *_, **__: None)
    monkeypatch.setattr("jaxssd.viz.save", lambda figure, path: seen.update(figure=path))
    inspect_command.main(["shapes", "--preset", "quick", "--anchors", "2", "--out", str(tmp_path / "there")])
    assert (seen["config"].image_size, seen["config"].data, seen["boxes_per_cell"]) == ((64,), "shapes", 2)
    assert seen["figure"].parent == tmp_path / "there"
    named = {"path", "preset", "anchors", "out", *inspect_command.OF_A_RUN}
    assert named == {field.name for field in dataclasses.fields(inspect_command.Command)}


def test_published_weights_decide_the_input_and_phases(train_asks, monkeypatch):
    table = importlib.import_module("jaxssd.models.published").PUBLISHED
    mean, std = table["vgg16_features"].mean, table["vgg16_features"].std
    model = train_asks("quick", "--pretrained", "vgg16_features").config.model
    assert (model.pretrained, model.mean, model.std) == ("vgg16_features", mean, std)
    model = train_asks("--pretrained=vgg16_features", "--mean", "0", "0", "0", "quick").config.model
    assert (model.mean, model.std) == ((0, 0, 0), std)
    model = train_asks("focal", "--pretrained", "net.pth").config.model
    assert (model.mean, model.std) == (Config().model.mean, Config().model.std)
    assert len(train_asks("focal", "--pretrained", "resnet34").config.optimizer.phases) == 2
    monkeypatch.setitem(table, "ssd300_vgg16_coco", table["ssd300_vgg16_coco"]._replace(preset="ssd300"))
    assert train_asks("--pretrained", "ssd300_vgg16_coco", "--data", "x").config.model.head == "ssd300"
    assert train_asks("quick", "--pretrained", "ssd300_vgg16_coco").config.model.head == "retinanet"
