"""What an inspection finds in sets of a few images, and the command as a user gives it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxssd.config import Config
from jaxssd.data.anchor_fit import AnchorSettings, advise
from jaxssd.data.dataset import Dataset, Examples, pad_objects
from jaxssd.data.placement import place_images
from jaxssd.data.report import LoadReport, Problem
from jaxssd.ops.arrays import as_pair
from jaxssd.tasks.task import make_task
from jaxssd.tools.inspection import command
from jaxssd.tools.inspection.coverage import count_matches, cover
from jaxssd.tools.inspection.inspection import count_classes, distributions, inspect, quantiles
from jaxssd.tools.inspection.record import inspection_record
from jaxssd.tools.inspection.text import report_text

NAMES = ("cat", "dog", "emu")
GIVEN = AnchorSettings((4, 2, 1), (1.0,), ((1.0, 1.0),))
QUARTER, TINY, LONG, WHOLE = (0, 0, 0.5, 0.5), (0.5, 0.5, 0.51, 0.6), (0.1, 0.1, 0.2, 0.95), (0, 0, 1, 0.98)


def make_set(*images, ids=None, pixels=None, sizes=None, aspect="squash", size=200):
    """Each image is a list of (box, label) or (box, label, difficult)."""
    rows = [[(*item, False)[:3] for item in image] for image in images]
    padded = pad_objects(
        [np.array([box for box, _, _ in row], np.float32).reshape(-1, 4) for row in rows],
        [np.array([label for _, label, _ in row], np.int32) for row in rows],
        [np.array([flag for _, _, flag in row], bool) for row in rows],
        max_objects=100,
    )
    values = range(len(rows)) if pixels is None else pixels
    pictures = np.stack([np.full((*as_pair(size), 3), value, np.uint8) for value in values])
    sizes = np.array(sizes or [(200, 400)] * len(rows), np.int32)
    return Dataset(
        examples=Examples(pictures, *padded),
        class_names=NAMES,
        ids=tuple(ids or [f"image {index}" for index in range(len(rows))]),
        sizes=sizes,
        placements=place_images(sizes, size, aspect),
        report=LoadReport(len(rows), sum(map(len, rows))),
    )


TRAIN = make_set(
    [(QUARTER, 0), (QUARTER, 0), (QUARTER, 1), (TINY, 1, True)],
    [],
    [(LONG, 0), (WHOLE, 1)],
    ids=["a", "b", "c"],
    pixels=[1, 2, 1],
)
VAL = make_set([(QUARTER, 1)], ids=["c"], pixels=[1], sizes=[(50, 60)])


@pytest.fixture(scope="module")
def found():
    return inspect({"train": TRAIN, "val": VAL})


def told(datasets, given=GIVEN, finer=None):
    inspection = inspect(datasets)
    coverage, boxes = cover(inspection, given.corners), inspection.objects.boxes[inspection.trained_on]
    advice = advise(boxes, boxes, given, boxes_per_cell=3, threshold=0.4, finer=finer or given)
    record = inspection_record(inspection, coverage, advice, 0.4)
    return report_text(inspection, coverage, advice, 0.4), json.loads(json.dumps(record, allow_nan=False))


def test_warnings_of_all_splits_are_shown():
    text, record = told({"train": TRAIN, "val": VAL})
    assert [line.partition(" (")[0] for line in record["warnings"]] == [
        "train: objects that are difficult, crowds or cut by the crop: 1 of 6",
        "train: images without objects: 1 of 3",
    ]
    assert all(f"\n  {line}\n" in text for line in record["warnings"])
    assert told({"val": VAL})[1]["warnings"] == []


def test_a_larger_input_is_pointed_to_where_it_matches_more():
    """Anchors of the whole image match none of these small objects, those of a fine grid do."""
    small = make_set([((0.25, 0.25, 0.375, 0.375), 1), ((0.5, 0.75, 0.625, 0.875), 0)])
    coarse, fine = (AnchorSettings(grids, (1.0,), ((1.0, 1.0),)) for grids in ((1,), (8, 1)))
    assert "--image-size 400 --grids 8 1," in told({"train": small}, coarse, fine)[0]
    assert "small objects?" not in told({"train": small}, coarse, coarse)[0]
    assert "small objects?" not in told({"train": small}, fine, fine)[0]


def test_skipped_files_are_named():
    problems = tuple(Problem(f"{n}.jpg", "skipped", "broken", "cut short") for n in range(5))
    noted = Problem("7.xml", "noted", "without objects", "")
    report = LoadReport(TRAIN.report.images, TRAIN.report.objects, (noted, *problems))
    text, record = told({"train": replace(TRAIN, report=report)})
    assert "in train: 0.jpg (broken), 1.jpg (broken), 2.jpg (broken), and 2 more" in text
    assert [problem["file"] for problem in record["splits"]["train"]["loading"]["problems"]][:2] == ["7.xml", "0.jpg"]


def test_counts(found):
    counts = count_classes(found)
    assert counts.objects.tolist() == [[3, 3, 0], [0, 1, 0]]
    assert counts.difficult.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert counts.images.tolist() == [[2, 2, 0], [0, 1, 0]]
    assert found.images.objects.tolist() == [4, 0, 2, 1]
    assert found.objects.image.tolist() == [0, 0, 0, 0, 2, 2, 3]
    assert found.in_split("val").tolist() == [False] * 6 + [True]


def test_distributions(found):
    rows = distributions(found)
    assert rows["objects an image, train"]["median"] == 2
    assert rows["image height, px"]["min"] == 50
    assert rows["image width, px"]["max"] == 400
    assert rows["box height, px of 200"]["min"] == pytest.approx(2, abs=1e-4)
    assert rows["box height / width"]["min"] == pytest.approx(0.1, abs=1e-5)
    assert quantiles(np.empty(0)) == {}


def test_suspicious_boxes(found):
    assert {kind: rows.tolist() for kind, rows in found.suspicious.items()} == {
        "tiny": [3],
        "elongated": [3, 4],  # the most extreme first
        "whole image": [5],
        "repeated": [1],  # not the same box of another class
    }


def test_tiny_is_also_what_has_few_pixels():
    boxes = [((0, 0, 0.05, 0.05), 0), ((0, 0, 0.25, 0.25), 0)]
    assert inspect({"train": make_set(boxes, size=64)}).suspicious["tiny"].tolist() == [0]
    assert inspect({"train": make_set(boxes, size=100)}).suspicious["tiny"].tolist() == []


def test_a_rectangular_input_is_measured_in_its_pixels():
    """30 x 30 pixels of 60 x 240, where 2 % are 1.2 and 4.8 pixels; 9 pixels high and 72 wide."""
    pixels = np.array([60, 240, 60, 240])
    boxes = [np.array(box) / pixels for box in ((0, 0, 30, 30), (0, 0, 9, 73), (0, 0, 3.9, 20), (0, 0, 30, 4.7))]
    dataset = make_set([(box, 0) for box in boxes], size=(60, 240))
    given = AnchorSettings(((2, 8), (1, 4)), (1.0,), ((1.0, 1.0),), (60, 240))
    text, record = told({"train": dataset}, given, given._replace(grids=((4, 16),), input_shape=(120, 480)))
    found = inspect({"train": dataset})
    assert found.suspicious["elongated"].tolist() == [1]
    assert found.suspicious["tiny"].tolist() == [2, 3]
    rows = distributions(found)
    assert rows["box height, px of 60"]["max"] == pytest.approx(30)
    assert rows["box width, px of 240"]["max"] == pytest.approx(73)
    assert rows["box height / width"]["max"] == pytest.approx(30 / 4.7)
    assert "cat, 3.9 x 20.0 px" in text
    assert "--grids 8 4 --zooms 1 --ratios 1 1" in text
    assert "compared at 60 x 240" in text
    assert "at 120 x 480 px" in text
    assert record["image_size"] == [60, 240]
    assert cover(found, given.corners).iou[0] == pytest.approx(1)


@pytest.mark.parametrize(("aspect", "box"), [("letterbox", (0.25, 0, 0.75, 1)), ("crop", (0, 0, 1, 1))])
def test_the_whole_image_is_what_is_on_the_square(aspect, box):
    dataset = make_set([(box, 0), (QUARTER, 1)], aspect=aspect)
    assert inspect({"train": dataset}).suspicious["whole image"].tolist() == [0]


def test_the_same_twice(found):
    assert found.same_ids == ("c",)
    assert found.same_pixels == ((0, 2, 3),)
    assert inspect({"train": TRAIN}).same_ids == ()


def test_matches(found):
    coverage = cover(found, GIVEN.corners)
    np.testing.assert_allclose(coverage.iou[[0, 1, 2, 5, 6]], [1, 1, 1, 0.98, 1], rtol=1e-5)
    assert np.isnan(coverage.iou).tolist() == [False, False, False, True, False, False, False]
    assert coverage.iou[4] <= 0.4
    assert coverage.loses.tolist() == [False, True, True, False, False, False, False]
    cat, dog, emu, total = count_matches(found, coverage, 0.4)
    assert cat[:3] == (3, 1, 1)
    assert dog[:3] == (3, 0, 1)
    assert emu[:3] == (0, 0, 0)
    assert np.isnan(emu.mean_iou)
    assert total[:3] == (6, 1, 2)


def test_the_text_names_what_was_found():
    text, _ = told({"train": TRAIN, "val": VAL})
    for words in (
        "3 images, 6 objects",
        "no emu in train, no cat in val, no emu in val",
        "train a: dog, 2.0 x 20.0 px",
        "train a = train c = val c",
        "names that are in more than one split",
        "best possible recall",
    ):
        assert words in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_names_are_no_markup():
    """Brackets and colons in names are printed as they are, however long a name is."""
    name = "[bold]a :smile: " + "long " * 60 + "end"
    text, _ = told({"train": replace(TRAIN, class_names=(name, "b", "c"))})
    lines = [line.split() for line in text.splitlines() if line.startswith(f"  {name} ")]
    assert [" ".join(line[63:]) for line in lines] == ["3 0 2", "3 66.7 % 1 33.3 % 1 33.3 % 0.735"]


def test_of_many_cases_the_text_has_the_first_and_the_record_has_all():
    text, record = told({"train": make_set([(QUARTER, 0)] * 9)})
    assert "and 5 more" in text
    boxes = record["suspicious"]["repeated"]["boxes"]
    assert len(boxes) == 8
    assert boxes[0] == {"split": "train", "id": "image 0", "class": "cat", "box": list(QUARTER)}


def test_the_record_has_every_number():
    _, record = told({"train": TRAIN, "val": VAL})
    assert record["splits"]["train"] == {
        "loading": {"summary": "3 images, 6 objects", "images": 3, "objects": 6, "problems": []},
        "images": 3,
        "images_without_objects": 1,
        "objects": 6,
        "difficult": 1,
    }
    assert record["classes"][1]["train"] == {"objects": 3, "difficult": 1, "images": 2}
    assert record["classes"][2]["matches"]["mean_iou"] is None
    assert record["classes"][2]["matches"]["best_recall"] is None
    assert record["matches"]["unmatched"] == 1
    assert record["matches"]["best_recall"] == pytest.approx(5 / 6)
    assert record["same_ids"] == ["c"]
    assert record["same_pixels"] == [[{"split": s, "id": i} for s, i in (("train", "a"), ("train", "c"), ("val", "c"))]]
    assert record["anchors"]["given"]["grids"] == [4, 2, 1]


@pytest.mark.parametrize(
    "datasets",
    [
        {"train": make_set([], []), "val": make_set([])},  # no object at all
        {"train": make_set([(QUARTER, 0)])},  # one
        {"train": make_set([(TINY, 0, True)])},  # only difficult ones
        {"train": make_set([(QUARTER, 0)]), "val": make_set([])},
    ],
)
def test_sets_with_next_to_nothing_in_them(datasets):
    text, record = told(datasets)
    assert "boxes to look at" in text
    assert "nan" not in text
    assert record["anchors"]["suggestion"] is None


def test_splits_must_fit_together():
    with pytest.raises(ValueError, match="empty"):
        inspect({})
    with pytest.raises(ValueError, match="train, val differ"):
        inspect({"train": TRAIN, "val": replace(VAL, class_names=("cat", "dog"))})


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten photographs of 64 x 48 pixels in VOC layout, without splits."""
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "my data"
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir(parents=True)
    for number in range(10):
        x = 3 * number
        box = f"<xmin>{x + 1}</xmin><ymin>11</ymin><xmax>{x + 30}</xmax><ymax>16</ymax>"
        text = f"<annotation><object><name>pen</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "Annotations" / f"{number}.xml").write_text(text)
        pixels = np.full((48, 64, 3), 20 * max(number, 1), np.uint8)  # the first two are the same
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{number}.png")
    return root


def test_a_folder(folder, capsys):
    command.main([str(folder), "--preset", "quick"])
    out = capsys.readouterr().out
    assert "8 images, 8 objects" in out
    assert out.splitlines()[2].startswith(
        "  no validation split found, there are no splits: 20 % of all images, 2 of 10"
    )
    assert "2 images, 2 objects" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  python train.py quick --data")]
    assert f"'{folder}'" in line
    made = folder.parent / "runs" / "inspect-my-data"
    assert {path.name for path in made.iterdir()} == {"inspection.json", "inspection.png"}
    record = json.loads((made / "inspection.json").read_text())
    assert record["preset"] == "quick"
    assert record["anchors"]["suggestion"] in line
    assert sum(map(len, record["same_pixels"])) == 2


def test_options_replace_the_presets_settings(folder, capsys, tmp_path):
    options = ["--image-size", "32", "--grids", "2", "1", "--ratios", "1", "1", "0.5", "2", "--aspect", "letterbox"]
    command.main([str(folder), "--preset", "focal", *options, "--anchors", "2", "--out", str(tmp_path / "here")])
    record = json.loads((tmp_path / "here" / "inspection.json").read_text())
    assert record["anchors"]["given"]["grids"] == [2, 1]
    assert record["anchors"]["given"]["ratios"] == [[1, 1], [0.5, 2]]
    assert (record["image_size"], record["aspect"]) == ([32, 32], "letterbox")
    assert all(len(fit["zooms"]) * len(fit["ratios"]) <= 2 for fit in record["anchors"]["fitted"])
    out = capsys.readouterr().out
    if record["anchors"]["suggestion"]:
        assert "--image-size 32 --aspect letterbox" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["nowhere", "--preset", "largest_box"], "has no anchors to choose; choose one of quick, small"),
        (["nowhere", "--preset", "nonsense"], "'nonsense' does not exist; choose one of"),
        (["my data", "--anchors", "0"], "--anchors is 0"),
        (["my data", "--preset", "focal", "--grids", "5"], "5"),
        (["nowhere", "--preset", "small", "--grids", "8"], "--grids has no effect with the preset small"),
        (["nowhere", "--preset", "focal", "--levels", "3"], "--levels has no effect with the preset focal"),
        (["nowhere", "--preset", "large", "--levels", "5", "3"], "rising numbers"),
        (["my data", "--classes", "dog"], "has no class 'dog'; it has 1: pen"),
        (["my data", "--val-split", "test"], "no split 'test'"),
        (["shapes", "--classes", "dog"], "--classes"),
    ],
)
def test_mistakes_are_explained(folder, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert str(stopped.value).startswith("jaxssd.data: ")
    assert words in str(stopped.value)


def test_one_image_cannot_be_split(folder):
    for path in sorted(folder.glob("*/*"))[::-1]:
        if path.stem != "3":
            path.unlink()
    with pytest.raises(SystemExit, match="1 image"):
        command.main([str(folder)])


def test_one_image_in_each_split(folder, capsys):
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text("3")
    (folder / "ImageSets/Main/val.txt").write_text("4")
    command.main([str(folder), "--preset", "quick"])
    assert "1 image, 1 object" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["anchors16", "anchors189", "focal"])
def test_no_grid_is_asked_for_that_the_network_does_not_have(preset):
    config = command.configure(command.Command(path="x", preset=preset, classes=("pen",)))
    make_task(config.replace(grids=command.network_grids(config)))
    larger = config.replace(image_size=2 * config.dataset.input_shape[0])
    make_task(larger.replace(grids=command.network_grids(larger)))
    assert set(config.anchors.grids) <= set(command.network_grids(config))


@pytest.mark.parametrize(("accelerator", "preset"), [(False, "small"), (True, "large")])
def test_the_preset_is_the_one_that_trains_by_default(monkeypatch, accelerator, preset):
    monkeypatch.setattr("jaxssd.training.distribution.has_accelerator", lambda: accelerator)
    with pytest.raises(SystemExit, match=f"--grids has no effect with the preset {preset}"):
        command.main(["nowhere", "--grids", "8"])


def test_levels_are_passed_on():
    asked = command.Command(path="x", preset="small", levels=(3, 4, 5, 6))
    anchors = command.anchors_of(command.configure(asked))
    assert anchors.grids == (32, 16, 8, 4)
    assert "--levels 3 4 5 6 --zooms 3" in command.train_command(asked, anchors)


def test_settings_that_are_not_given_are_the_presets():
    config = command.configure(command.Command(path="x", preset="focal", images="there"))
    assert (config.dataset.data, config.dataset.images) == ("x", "there")
    assert config.anchors.grids == (4, 2, 1)
    assert isinstance(config, Config)


@pytest.mark.parametrize(
    ("path", "name"),
    [("my data", "my-data"), ("my data/Annotations/3.xml", "Annotations-3"), ("voc/2007", "voc-2007"), ("/", "data")],
)
def test_the_folder_is_called_after_the_data(folder, path, name):
    assert command.name_of(path) == name


def test_levels_of_a_feature_pyramid_are_no_option():
    """What is suggested for RetinaNet's head names zooms and ratios only, at the grids of its levels."""
    config = Config.of(
        head="retinanet", backbone="resnet_tiny", image_size=64, levels=(3, 4), zooms=(4.0,), ratios=((1.0, 1.0),)
    )
    given, finer = (command.anchors_of(command.with_all_grids(config.replace(image_size=size))) for size in (64, 128))
    assert (given.grids, finer.grids) == ((8, 4), (16, 8))
    assert given.options() == "--zooms 4 --ratios 1 1"
    boxes = np.array([TINY, (0.2, 0.2, 0.3, 0.3)], np.float32)
    advice = advise(boxes, boxes, given, boxes_per_cell=1, threshold=0.4, finer=finer)
    assert advice.suggestion.settings.options() == "--zooms 1.77 --ratios 1 1"
    inspection = inspect({"train": TRAIN, "val": VAL})
    text = report_text(inspection, cover(inspection, given.corners), advice, 0.4)
    assert "--grids" not in text
