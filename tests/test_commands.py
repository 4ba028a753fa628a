"""`train.py` and `evaluate.py` as a user runs them, on a VOC folder of real files.

What a process of its own shows runs in one: scoring, help, a mistake, signals, several processes, of which one trains
from start to end. Everything else calls `main` here, which saves the start of the interpreter and compiles each program
once.
"""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxssd
from jaxssd import presets
from jaxssd.data.shapes import make_shapes
from jaxssd.models import download, published, torchvision_names
from jaxssd.models.published import Published
from jaxssd.training import RunFolder, restore
from jaxssd.training.checkpoint import Checkpoints
from tests.data.trees import picture, voc_xml, write_tree
from tests.test_formats import EVALUATE, TRAIN

ROOT = Path(__file__).parents[1]
TINY = ["--backbone", "resnet_tiny", "--image-size", "24", "32", "--head-width", "8", "--batch-size", "8"]
SMALL = [
    "quick",
    *TINY,
    "--head",
    "pyramid",
    "--grids",
    "2",
    "1",
    "--schedule",
    "constant",
    "--epochs",
    "2",
]  # one program, however many epochs

VOC = {"Annotations/a.xml": voc_xml("cup"), "JPEGImages/a.png": picture(ending=".png")}

pytestmark = pytest.mark.usefixtures("shared_programs")


def started(script, *arguments, cache, **variables):
    environment = {**os.environ, "JAXSSD_CACHE": str(cache), "JAX_PLATFORMS": "cpu", "COLUMNS": "100", **variables}
    command = [sys.executable, ROOT / script, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=cache)


def ended(process):
    output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run(script, *arguments, cache):
    return ended(started(script, *arguments, cache=cache))


def called(script, *arguments, cache):
    """The command in this process; an exception that would end in a traceback is raised."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    main = {"train.py": TRAIN, "evaluate.py": EVALUATE}[script].main
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cache):
        patch.setenv("JAXSSD_CACHE", str(cache))
        patch.setenv("COLUMNS", "100")
        patch.setattr(sys, "argv", [str(ROOT / script), *map(str, arguments)])
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                main(sys.argv[1:])
            except SystemExit as ending:  # as Python itself ends: a message is printed, with status 1
                status = ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
                print(ending.code if isinstance(ending.code, str) else "", file=sys.stderr)
    return subprocess.CompletedProcess([script, *arguments], status, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def voc_folder(tmp_path_factory):
    """Shapes written to disk in VOC layout, as JPEGs of 64 x 48 pixels, 24 to train and 8 to validate on."""
    root = tmp_path_factory.mktemp("My pictures")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    dataset = make_shapes(32, image_size=64)
    for number in range(32):
        name = f"{number:03d}"
        Image.fromarray(dataset.examples.images[number]).resize((64, 48)).save(root / "JPEGImages" / f"{name}.jpg")
        objects = "".join(
            f"<object><name>{dataset.class_names[label]}</name><difficult>0</difficult><bndbox>"
            f"<xmin>{box[1] * 64 + 1}</xmin><ymin>{box[0] * 48 + 1}</ymin>"
            f"<xmax>{box[3] * 64}</xmax><ymax>{box[2] * 48}</ymax></bndbox></object>"
            for box, label, valid in zip(*(array[number] for array in dataset.examples[1:4]), strict=True)
            if valid
        )
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    names = [f"{number:03d}" for number in range(32)]
    (root / "ImageSets/Main/train.txt").write_text("\n".join(names[:24]))
    (root / "ImageSets/Main/val.txt").write_text("\n".join(names[24:]))
    return root


@pytest.fixture(scope="module")
def trained(shared_programs, voc_folder, cache):
    result = called("train.py", "--data", voc_folder, *SMALL, "--out", cache / "a run", cache=cache)
    assert result.returncode == 0, result.stderr
    return cache / "a run", result


def of_two(number, coordinator, script, *arguments, cache):
    """The command in one of two processes."""
    variables = {"JAX_COORDINATOR_ADDRESS": coordinator, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(number)}
    return started(script, *arguments, cache=cache, **variables)


@pytest.fixture
def coordinator():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def test_two_processes_share_a_run(trained, voc_folder, cache, coordinator):
    """One folder, as one process makes it, with its losses; one of them talks."""
    folder = cache / "shared"
    arguments = ["train.py", "--data", voc_folder, *SMALL, "--out", folder]
    results = list(map(ended, [of_two(number, coordinator, *arguments, cache=cache) for number in range(2)]))
    assert [result.returncode for result in results] == [0, 0], results
    assert "on 2 x cpu (cpu) of 2 processes" in results[0].stdout
    assert "best checkpoint" in results[0].stdout
    assert results[1].stdout.replace("[Gloo]", "").count("\n") <= 1  # what C++ says there is not ours
    alone = trained[0]
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}
    ours, theirs = (
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (folder, alone)
    )
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"), [(["--data", "nowhere"], "nowhere"), (["--seed", "1"], "other settings")]
)
def test_one_of_two_processes_that_fails_goes_at_once(voc_folder, cache, coordinator, tmp_path, change, message):
    """With its message, and without waiting for the other, which waits for it."""
    arguments = ["train.py", "--data", voc_folder, *SMALL, "--out", tmp_path / "halted"]
    first = of_two(0, coordinator, *arguments, cache=cache)
    second = of_two(1, coordinator, *arguments, *change, cache=cache)
    try:
        result = ended(second)
        assert result.returncode == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    finally:
        first.kill()
        first.communicate()


def test_a_run_that_is_asked_to_stop_is_saved(voc_folder, cache, tmp_path):
    """By SIGTERM, as Slurm and Kubernetes send it."""
    folder = tmp_path / "a run"
    arguments = ["train.py", "--data", voc_folder, *SMALL, "--epochs", "1000", "--eval-every", "1000", "--out", folder]
    process = started(*arguments, cache=cache, PYTHONUNBUFFERED="1")
    try:
        assert any(line.startswith("first losses") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        result = ended(process)
    finally:
        process.kill()
    assert result.returncode == 143
    command = shlex.join([sys.executable, str(ROOT / "train.py"), "--resume", str(folder)])
    assert f"stopped by SIGTERM; continue with: {command}\n" in result.stderr
    assert "Traceback" not in result.stderr
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.last_step == rows[-1]["step"]


def test_training_on_a_voc_folder(trained):
    folder, result = trained
    assert "train: 24 images" in result.stdout
    assert "val: 8 images" in result.stdout
    assert "AP area" in result.stdout
    assert str(folder / "figures") in result.stdout
    expected = {"config.json", "metrics.jsonl", "loading-train.json", "loading-val.json", "scores-val.json"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "training.png",
        "val-detections.png",
        "val-precision-recall.png",
    }
    assert json.loads((folder / "config.json").read_text())["dataset"]["classes"] == [
        "circle", "cross", "ring", "square", "star", "triangle",
    ]  # fmt: skip


def test_resume_of_a_finished_run_scores_it_again(trained, cache):
    folder, first = trained
    result = called("train.py", "--resume", folder, cache=cache)
    assert result.returncode == 0, result.stderr
    table = first.stdout[first.stdout.index("best checkpoint") :]
    assert result.stdout.endswith(table)


def test_a_run_is_not_resumed_on_other_data(trained, voc_folder, cache):
    folder, _ = trained
    annotation = next(path for path in sorted(voc_folder.glob("Annotations/*.xml")) if "<object>" in path.read_text())
    before = annotation.read_text()
    annotation.write_text(before.replace("<difficult>0", "<difficult>1", 1))
    results = [
        called("train.py", "--resume", folder, cache=cache),
        called("evaluate.py", folder, "--split", "train", cache=cache),
    ]
    annotation.write_text(before)
    for result in results:
        assert result.returncode == 1
        assert "`train` have changed" in result.stderr


def test_evaluation_prints_what_training_printed(trained, cache):
    folder, first = trained
    result = run("evaluate.py", folder, cache=cache)
    assert result.returncode == 0, result.stderr
    table = first.stdout[first.stdout.index("class") : first.stdout.index("figures")].strip()
    assert table in result.stdout


def test_evaluation_on_other_data_and_split(trained, voc_folder, cache):
    folder, _ = trained
    result = called(
        "evaluate.py", folder, "--data", voc_folder, "--split", "train", "--checkpoint", "last", cache=cache
    )
    assert result.returncode == 0, result.stderr
    assert (folder / f"scores-{voc_folder.name}-train-last.json").exists()


def test_images(trained, voc_folder, cache, tmp_path):
    folder, _ = trained
    files = [voc_folder / "JPEGImages" / f"{name}.jpg" for name in ("000", "001")]
    more = tmp_path / "more"
    more.mkdir()
    same_name = more / "000.jpg"
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(same_name)
    broken = more / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff nothing")
    out = tmp_path / "out"
    arguments = ("--threshold", "0.0", "--out", out, "--export")
    result = called("evaluate.py", folder, "--images", *files, more, *arguments, cache=cache)
    assert result.returncode == 1
    assert str(broken) in result.stderr
    rows = json.loads((out / "detections.json").read_text())
    assert [row["file"] for row in rows] == [str(file) for file in [*files, same_name]]
    for row, size in zip(rows, [(64, 48), (64, 48), (30, 40)], strict=True):
        with Image.open(out / row["picture"]) as picture:
            assert picture.size == size
        assert (row["width"], row["height"]) == size
        assert row["detections"]
        for detection in row["detections"]:
            y1, x1, y2, x2 = detection["box"]
            assert 0 <= y1 <= y2 <= row["height"]
            assert 0 <= x1 <= x2 <= row["width"]
    found = list(jaxssd.load(folder)([*files, same_name], threshold=0.0))
    assert [one.to_json() for one in found] == [
        {name: value for name, value in row.items() if name != "picture"} for row in rows
    ]
    results = json.loads((out / "coco_results.json").read_text())
    assert [row["image_id"] for row in results] == [1] * len(found[0]) + [2] * len(found[1]) + [3] * len(found[2])


def test_data_without_a_class_of_the_run_is_a_mistake(trained, cache):
    result = called("evaluate.py", trained[0], "--data", write_tree(cache / "others", VOC), cache=cache)
    assert result.returncode == 1
    assert "has none of the detector's classes: it has cup, and the detector has circle, cross, " in result.stderr


def test_a_published_detector_is_scored_on_data_with_some_of_its_classes(trained, voc_folder, cache, monkeypatch):
    """The run as a published detector, which calls a class otherwise and has one that the data lacks."""
    config, _, variables = restore(RunFolder(trained[0]), "best")
    names = ("circle", "N/A 2", "ring", "square", "Star", "triangle")
    known = Published("tiny_coco", "https://nowhere/tiny.pth", "", "", "", "resnet_tiny", "tiny", names)
    monkeypatch.setitem(published.PUBLISHED, "tiny_coco", known)
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: config)
    monkeypatch.setattr(download, "find_weights", lambda name: Path(name))
    weights = {"params": variables.params, **variables.model_state}
    monkeypatch.setattr(torchvision_names, "load_detector", lambda *_, **__: jax.device_get(weights))
    result = called("evaluate.py", "tiny_coco", "--data", voc_folder, "--export", cache=cache)
    assert result.returncode == 0, result.stderr
    assert "class 'Star' is 'star' in the data" in result.stdout
    assert "left out and count as background: cross" in result.stdout
    folder = cache / "runs" / "tiny_coco"
    scores = json.loads((folder / f"scores-{voc_folder.name}-val.json").read_text())
    assert list(scores["classes"]) == ["circle", "ring", "square", "star", "triangle"]
    results = json.loads((folder / f"detections-{voc_folder.name}-val" / "coco_results.json").read_text())
    assert {row["category_id"] for row in results} <= {1, 2, 3, 4, 5}
    assert (folder / "figures").exists()


@pytest.fixture(scope="module")
def stage(shared_programs, trained, voc_folder, cache):
    """The lesson's second stage, on the backbone of the first run, in two phases."""
    folder, _ = trained
    phases = ["--epochs", "1", "--trainable", "head", "all", "--learning-rate", "1e-2", "--clr", "32", "5"]
    settings = ["--precision", "float32", *TINY, *phases, "--out", cache / "stage"]
    arguments = ["largest_object", "--data", voc_folder, "--pretrained", folder, *settings]
    return cache / "stage", called("train.py", *arguments, cache=cache)


def test_a_stage_starts_from_another_runs_backbone(stage, trained):
    folder, result = stage
    assert result.returncode == 0, result.stderr
    assert f"resnet_tiny from {trained[0]}" in result.stdout
    assert "box error" in result.stdout
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows if row["kind"] == "val"] == [0, 1]
    assert {"box_error", "iou", "accuracy"} <= set(json.loads((folder / "scores-val.json").read_text()))
    assert {path.name for path in (folder / "figures").iterdir()} == {"training.png", "val-detections.png"}


def test_a_stage_answers_on_photographs(stage, voc_folder, cache, tmp_path):
    folder, _ = stage
    file = voc_folder / "JPEGImages" / "000.jpg"
    result = called("evaluate.py", folder, "--images", file, "--threshold", "0", "--out", tmp_path, cache=cache)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((tmp_path / "detections.json").read_text())
    (found,) = row["detections"]
    assert 0 <= found["score"] <= 1
    assert (np.array(found["box"]) <= [48, 64, 48, 64]).all()


def test_ideas_need_anchors(stage, cache):
    result = called("evaluate.py", stage[0], "--explain", cache=cache)
    assert result.returncode == 1
    assert "largest_object" in result.stderr


def test_ideas_are_drawn(trained, cache, tmp_path):
    result = called("evaluate.py", trained[0], "--explain", "--out", tmp_path, cache=cache)
    assert result.returncode == 0, result.stderr
    names = {path.stem for path in (tmp_path / "ideas").iterdir()}
    assert names == {
        "anchors",
        "matches",
        "receptive-fields",
        "focal-loss",
        "augmentation",
        "training-images",
        "suppression",
    }


def test_the_learning_rate_is_swept(voc_folder, cache, tmp_path):
    arguments = ["--data", voc_folder, *SMALL, "--backbone", "resnet_micro", "--find-lr", "--out", tmp_path / "sweep"]
    result = called("train.py", *arguments, cache=cache)
    assert result.returncode == 0, result.stderr
    sweep = json.loads((tmp_path / "sweep" / "learning-rate.json").read_text())
    assert f"--learning-rate {sweep['suggestion']:.1e}" in result.stdout
    assert len(sweep["loss"]) == len(sweep["learning_rate"]) > 10
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {"learning-rate.json", "learning-rate.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pretrained", "nowhere.pth"], ["nowhere.pth"]),
        (["focal", "--epochs", "3", "4", "--trainable", "head", "upper", "all"], ["--epochs", "3"]),
        (["--gamma", "-1"], ["--gamma"]),
        (["nonsense"], ["nonsense", "quick", "focal"]),
        (["--data", "nowhere"], ["nowhere"]),
        (["--resume", "nowhere"], ["nowhere", "config.json"]),
        (["--resume", "nowhere", "--epochs", "3"], ["--resume"]),
        (["--head", "pyramid", "--grids", "5"], ["grids", "5"]),
        (["--epochs", "many"], ["epochs", "many"]),
        (["focal", "--resume", "nowhere"], ["--resume"]),
        (["--resume=nowhere", "--epochs=3"], ["nothing else"]),
        (["--resume", "nowhere", "--batch-size", "16"], ["nothing else"]),  # also if it is a default
        (["--resume", "nowhere", "--data", "shapes"], ["nothing else"]),
        (["--lr", "0.01"], ["Unrecognized options: --lr"]),
        (["--classes", "dog", "cat"], ["--classes"]),
        (["--data", "x", "--classes", "dog", "dog"], ["--classes", "once"]),
        (["--epochs", "0"], ["--epochs", "0"]),
        (["--val-fraction", "2"], ["--val-fraction", "2"]),
    ],
)
def test_mistakes_are_explained_without_a_trace(arguments, words, cache):
    result = called("train.py", *arguments, cache=cache)
    assert result.returncode != 0
    for word in words:
        assert word in result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--optimizer=sgd", "nonsense"],
        ["--resume", "nowhere", "--epochs", "3"],
        ["--seed", "-1"],
        ["--x"],
    ],
)
def test_an_invalid_command_line_has_the_status_2(arguments, cache):
    assert called("train.py", *arguments, cache=cache).returncode == 2


@pytest.mark.parametrize("mistake", [["--data", "nowhere"], ["--epochs", "many"]])
def test_a_mistake_in_a_process_of_its_own_is_that_of_the_call(mistake, cache):
    alone, here = (start("train.py", *mistake, cache=cache) for start in (run, called))
    assert alone.returncode == here.returncode != 0
    words_alone, words_here = (re.findall(r"\w+", result.stdout + result.stderr) for result in (alone, here))
    assert words_alone == words_here  # frames are drawn with other signs where the output has another encoding


def test_evaluating_what_is_no_run(cache):
    result = called("evaluate.py", cache / "nothing", cache=cache)
    assert result.returncode == 1
    assert "nothing" in result.stderr


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_is_quick_and_complete(script, cache):
    result = run(script, "--help", cache=cache)
    assert result.returncode == 0
    assert "usage" in result.stdout
    assert result.stdout.count("--") > 8
