"""One set of pictures in each format, trained on and scored by the commands: the same run, whatever it is read from."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image

from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder

ROOT = Path(__file__).parents[1]
SIDES = (64, 48)  # width and height of the pictures
SPLITS = {"train": range(16), "val": range(16, 24)}
TINY = [
    *("--backbone", "resnet_micro", "--image-size", "16", "--head-width", "8", "--batch-size", "8"),
    *("--grids", "2", "1", "--epochs", "1", "--augment", "none", "--aspect", "letterbox"),
]


def load(name):
    """A script as a module; it stays known under its name, where its type hints are looked up."""
    spec = importlib.util.spec_from_file_location(f"{name}_command", ROOT / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TRAIN, EVALUATE = load("train"), load("evaluate")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures, with boxes on whole pixels: `[y1, x1, y2, x2]` and class of each object."""
    folder = tmp_path_factory.mktemp("pictures")
    data = make_shapes(24, image_size=64)
    objects = {}
    for number, (pixels, boxes, labels, valid, _) in enumerate(zip(*data.examples, strict=True)):
        Image.fromarray(pixels).resize(SIDES).save(folder / f"{number:02d}.png")
        corners = np.round(boxes[valid] * np.tile(SIDES[::-1], 2)).astype(int).tolist()
        objects[number] = list(zip(corners, labels[valid].tolist(), strict=True))
    return folder, objects, data.class_names


def as_voc(pictures, root):
    folder, objects, names = pictures
    for part in ("Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    shutil.copytree(folder, root / "JPEGImages")
    for number, found in objects.items():
        xml = "".join(
            f"<object><name>{names[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for (y1, x1, y2, x2), label in found
        )
        (root / f"Annotations/{number:02d}.xml").write_text(f"<annotation>{xml}</annotation>")
    for split, numbers in SPLITS.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{number:02d}\n" for number in numbers))
    return ["--data", str(root)]


def as_coco(pictures, root):
    """Numbers of images from 100 on, of categories every third."""
    folder, objects, names = pictures
    shutil.copytree(folder, root / "pictures")
    categories = [{"id": 3 * label + 2, "name": name} for label, name in enumerate(names)]
    for split, numbers in SPLITS.items():
        images = [{"id": n + 100, "file_name": f"{n:02d}.png", "width": SIDES[0], "height": SIDES[1]} for n in numbers]
        annotations = [
            {"id": place, "image_id": n + 100, "category_id": 3 * label + 2, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for place, (n, ((y1, x1, y2, x2), label)) in enumerate((n, item) for n in numbers for item in objects[n])
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    return ["--data", str(root / "train.json"), "--images", str(root / "pictures"), "--val-split", "val"]


def as_yolo(pictures, root):
    folder, objects, names = pictures
    width, height = SIDES
    for split, numbers in SPLITS.items():
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True)
        for n in numbers:
            shutil.copy(folder / f"{n:02d}.png", root / "images" / split)
            lines = [
                f"{label} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}\n"
                for (y1, x1, y2, x2), label in objects[n]
            ]
            (root / f"labels/{split}/{n:02d}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("\n".join(names))
    return ["--data", str(root)]


@pytest.fixture(scope="module")
def runs(shared_programs, pictures, tmp_path_factory):
    """Of each format the folder of a run on it, scored with `--export`."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        for convert in (as_voc, as_coco, as_yolo):
            root = tmp_path_factory.mktemp(convert.__name__)
            made[convert.__name__] = root / "run"
            TRAIN.main(["quick", *convert(pictures, root / "data"), *TINY, "--out", str(root / "run")])
            EVALUATE.main([str(root / "run"), "--export"])
    return made


def test_the_run_is_the_same(runs):
    rows = {name: RunFolder(path).rows("train") + RunFolder(path).rows("val") for name, path in runs.items()}
    assert len(rows["as_voc"]) == 3
    for name in ("as_coco", "as_yolo"):
        for ours, theirs in zip(rows[name], rows["as_voc"], strict=True):
            assert ours.pop("kind") == theirs["kind"]
            assert ours == pytest.approx({key: theirs[key] for key in ours}, rel=1e-4, abs=1e-6)


def test_what_is_exported_scores_alike(runs):
    """The library reads detections and truth from the files, and finds what `scores-val.json` says."""
    for path in runs.values():
        truth = COCO(str(path / "detections-val/coco_instances.json"), print_function=str)
        evaluation = COCOeval_faster(
            truth, truth.loadRes(str(path / "detections-val/coco_results.json")), "bbox", print_function=str
        )
        evaluation.run()
        scores = json.loads((path / "scores-val.json").read_text())["coco"]
        assert scores["num_images"] == len(SPLITS["val"])
        assert evaluation.stats[0] == pytest.approx(scores["ap"], abs=1e-9)
        assert evaluation.stats[8] == pytest.approx(scores["ar100"], abs=1e-9)


def test_exported_numbers_are_those_of_the_coco_file(runs):
    found = json.loads((runs["as_coco"] / "detections-val/coco_results.json").read_text())
    assert {row["image_id"] for row in found} <= {number + 100 for number in SPLITS["val"]}
    assert {row["category_id"] % 3 for row in found} == {2}
    others = json.loads((runs["as_yolo"] / "detections-val/coco_results.json").read_text())
    assert {row["image_id"] for row in others} <= set(range(1, 9))


def test_exported_files_are_those_of_the_pictures(runs):
    beside = {"as_voc": "", "as_coco": "pictures", "as_yolo": ""}
    for name, path in runs.items():
        images = json.loads((path / "detections-val/coco_instances.json").read_text())["images"]
        assert len(images) == len(SPLITS["val"])
        assert all((path.parent / "data" / beside[name] / image["file_name"]).is_file() for image in images)


def test_boxes_are_exported_in_pixels_of_the_pictures(runs):
    """They were squares with margins to the network; a box may fill the picture and never leaves it."""
    for path in runs.values():
        boxes = np.array([row["bbox"] for row in json.loads((path / "detections-val/coco_results.json").read_text())])
        assert boxes.min() >= 0
        assert (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist() <= [SIDES[0] + 1e-6, SIDES[1] + 1e-6]
        assert boxes[:, 2].max() > SIDES[1]  # more than could be if the sides were swapped


def test_lines_for_vocs_kit(runs):
    for name, path in runs.items():
        files = sorted((path / "detections-val").glob("comp4_det_val_*.txt"))
        assert len(files) == 6
        ids = {line.split()[0] for file in files for line in file.read_text().splitlines()}
        prefix = "val.json/" if name == "as_coco" else "val/" if name == "as_yolo" else ""
        assert ids <= {f"{prefix}{number:02d}" for number in SPLITS["val"]}
