"""What is written is read back by others: by pycocotools, and by a parser of VOC's lines written here."""

import contextlib
import io
import json
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxssd.data.formats.voc.folder import VOCFolder
from jaxssd.metrics import coco_scores, voc_scores
from jaxssd.metrics.coco_records import coco_instances, coco_results
from jaxssd.tools.export import write_json, write_voc_results
from tests.metrics.scenes import Found, Truth

NAMES = ("cat", "traffic light")
IMAGE_IDS, CATEGORY_IDS = (397133, 7, 42), (1, 90)
IDS = ("000012", "2008_000001", "café")


@st.composite
def scenes(draw) -> tuple[Found, Truth, np.ndarray]:
    """Whole pixels of images of any size, normalised to float32, where hardly any is exact; padding is NaN."""
    n, d, g = len(IDS), 6, 3
    sizes = draw(hnp.arrays(np.int32, (n, 2), elements=st.integers(40, 2000)))

    def rows(size, elements, dtype=np.int32):
        return draw(hnp.arrays(dtype, (n, size), elements=elements))

    def corners(size):
        near = draw(hnp.arrays(np.int32, (n, size, 2), elements=st.integers(0, 19)))
        extent = draw(hnp.arrays(np.int32, (n, size, 2), elements=st.integers(1, 20)))
        return np.concatenate([near, near + extent], axis=-1)

    truths, found = corners(g), corners(d)
    same = rows(d, st.booleans(), bool)
    found = np.where(same[..., None], truths[:, np.arange(d) % g], found)
    label, flag = st.integers(0, len(NAMES) - 1), st.booleans()
    scores = np.array(draw(st.permutations(range(1, n * d + 1)))).reshape(n, d) / (n * d)
    valid, gt_valid = rows(d, flag, bool), rows(g, flag, bool)

    def normalised(pixels, valid):
        return np.where(valid[..., None], pixels / np.tile(sizes, 2)[:, None], np.nan).astype(np.float32)

    return (
        Found(normalised(found, valid), scores.astype(np.float32), rows(d, label), valid),
        Truth(normalised(truths, gt_valid), rows(g, label), gt_valid, rows(g, flag, bool)),
        sizes,
    )


def one_detection(box=(96 / 333, 155 / 500, 270 / 333, 351 / 500), score=0.9) -> tuple[Found, np.ndarray]:
    boxes, scores = np.array([[box]], np.float32), np.array([[score]], np.float32)
    return Found(boxes, scores, np.array([[0]]), np.array([[True]])), np.array([[333, 500]])


# COCO


@settings(max_examples=25)
@given(scene=scenes())
def test_pycocotools_reads_the_pair_and_scores_it_alike(scene, tmp_path_factory):
    found, truth, sizes = scene
    folder = tmp_path_factory.mktemp("coco")
    ids = {"image_ids": IMAGE_IDS, "category_ids": CATEGORY_IDS}
    write_json(folder / "instances.json", coco_instances(*truth, sizes, **ids, class_names=NAMES))
    write_json(folder / "results.json", coco_results(found, sizes, **ids))
    ours = coco_scores(found, *truth, sizes, num_classes=len(NAMES))
    official = by_pycocotools(folder / "instances.json", folder / "results.json")
    np.testing.assert_allclose([*ours.summary().values()], official, rtol=0, atol=1e-12)


def by_pycocotools(instances: Path, results: Path) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(instances))
        if json.loads(results.read_text()):
            found = truth.loadRes(str(results))
        else:  # its loadRes looks at the first one
            found = COCO()
            found.dataset = truth.dataset | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


@given(scenes())
def test_whole_pixels_come_back_whole(scene):
    _, truth, sizes = scene
    record = coco_instances(*truth, sizes, image_ids=IMAGE_IDS, category_ids=CATEGORY_IDS, class_names=NAMES)
    for annotation in record["annotations"]:
        assert all(value == round(value) for value in (*annotation["bbox"], annotation["area"]))


def test_results_worked_by_hand(tmp_path):
    found, sizes = one_detection()
    write_json(tmp_path / "results.json", coco_results(found, sizes, image_ids=[12], category_ids=[3]))
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert row.pop("score") == pytest.approx(0.9)
    assert row == {"image_id": 12, "category_id": 3, "bbox": [155.0, 96.0, 196.0, 174.0]}


def test_swapped_corners_have_no_area(tmp_path):
    found, sizes = one_detection(box=(0.5, 0.5, 0.25, 0.75))
    write_json(tmp_path / "results.json", coco_results(found, sizes, image_ids=[12], category_ids=[3]))
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert row["bbox"] == [250.0, 166.5, 125.0, 0.0]


def test_instances_worked_by_hand(tmp_path):
    boxes = np.array([[[0, 0, 0.5, 0.25], [np.nan] * 4, [0.5, 0.5, 1, 1]]], np.float32)
    flags = np.array([[True, False, True]]), np.array([[False, True, True]])
    write_json(
        tmp_path / "instances.json",
        coco_instances(
            boxes,
            np.array([[1, 99, 0]]),
            *flags,
            np.array([[100, 200]]),
            image_ids=[12],
            category_ids=range(1, 3),
            class_names=NAMES,
            file_names=["a.jpg"],
        ),
    )
    instances = json.loads((tmp_path / "instances.json").read_text())
    assert instances["images"] == [{"id": 12, "file_name": "a.jpg", "height": 100, "width": 200}]
    assert instances["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "traffic light"}]
    assert instances["annotations"] == [
        {"id": 1, "image_id": 12, "category_id": 2, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
        {"id": 2, "image_id": 12, "category_id": 1, "bbox": [100, 50, 100, 50], "area": 5000, "iscrowd": 1},
    ]


def test_no_detection_is_an_empty_list(tmp_path):
    found, sizes = one_detection()
    nothing = found._replace(valid=np.array([[False]]))
    write_json(tmp_path / "results.json", coco_results(nothing, sizes, image_ids=[12], category_ids=[3]))
    assert json.loads((tmp_path / "results.json").read_text()) == []


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("image_ids", {"image_ids": [1, 2]}),
        ("image_ids", {"image_ids": ["000012"]}),
        ("image_ids", {"image_ids": [1.5]}),
        ("category_ids", {"category_ids": [3, 3]}),
        ("detections.labels", {"category_ids": []}),
    ],
)
def test_ids_that_cannot_be_are_refused(tmp_path, name, ids):
    found, sizes = one_detection()
    with pytest.raises(Exception, match=name):
        write_json(
            tmp_path / "results.json", coco_results(found, sizes, **{"image_ids": [1], "category_ids": [1, 2]} | ids)
        )
    assert [*tmp_path.iterdir()] == []


def test_as_many_names_as_classes_and_images(tmp_path):
    truth = np.zeros((1, 1, 4)), np.array([[0]]), np.array([[True]]), None, np.array([[9, 9]])
    options = {"image_ids": [1], "category_ids": [1], "class_names": ["cat"]}
    with pytest.raises(ValueError, match="class_names"):
        write_json(tmp_path / "a.json", coco_instances(*truth, **options | {"class_names": NAMES}))
    with pytest.raises(ValueError, match="file_names"):
        write_json(tmp_path / "a.json", coco_instances(*truth, **options, file_names=["a", "b"]))


# VOC


def parse_comp4(folder: Path, split: str, sizes: np.ndarray) -> Found:
    """One row for each line, in the image it names; boxes as `data.voc` reads them."""
    rows: list[list[tuple]] = [[] for _ in IDS]
    for label, name in enumerate(NAMES):
        for line in (folder / f"comp4_det_{split}_{name}.txt").read_text(encoding="utf-8").splitlines():
            image, score, xmin, ymin, xmax, ymax = line.split(" ")
            index = IDS.index(image)
            pixels = np.array([float(ymin) - 1, float(xmin) - 1, float(ymax), float(xmax)])
            rows[index].append((pixels / np.tile(sizes[index], 2), float(score), label))
    n, d = len(rows), max(map(len, rows))
    found = Found(np.zeros((n, d, 4)), np.zeros((n, d)), np.zeros((n, d), int), np.zeros((n, d), bool))
    for index, of_image in enumerate(rows):
        for row, values in enumerate(of_image):
            for array, value in zip(found, (*values, True), strict=True):
                array[index, row] = value
    return found


@given(scene=scenes())
def test_vocs_lines_read_back_score_alike(scene, tmp_path_factory):
    found, truth, sizes = scene
    folder = tmp_path_factory.mktemp("voc")
    write_voc_results(folder, found, sizes, ids=IDS, class_names=NAMES, split="val")
    again = parse_comp4(folder, "val", sizes)
    assert again.valid.sum() == found.valid.sum()
    np.testing.assert_array_equal(np.sort(again.scores[again.valid]), np.sort(found.scores[found.valid]))
    whole = Truth(np.round(truth.boxes * np.tile(sizes, 2)[:, None]) / np.tile(sizes, 2)[:, None], *truth[1:])
    exact = found._replace(boxes=np.round(found.boxes * np.tile(sizes, 2)[:, None]) / np.tile(sizes, 2)[:, None])
    ours, theirs = (voc_scores(arrays, *whole, num_classes=len(NAMES)) for arrays in (exact, again))
    np.testing.assert_array_equal(theirs.ap_area, ours.ap_area)
    np.testing.assert_array_equal(theirs.ap_voc07, ours.ap_voc07)


def test_corners_are_1_based_and_inclusive(tmp_path):
    """VOC 2007's image 000012, whose box its annotation gives as 156 97 351 270."""
    found, sizes = one_detection()
    (file,) = write_voc_results(tmp_path, found, sizes, ids=["000012"], class_names=["car"], split="val")
    assert file == tmp_path / "comp4_det_val_car.txt"
    name, score, *box = file.read_text().split()
    assert (name, np.float32(score)) == ("000012", np.float32(0.9))
    assert box == ["156", "97", "351", "270"]


def test_an_annotation_read_and_written_as_a_detection_keeps_its_numbers(tmp_path):
    """The writer undoes what the reader of VOC folders does, at the image's edge too."""
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    corners = [(1, 1, 500, 333), (156, 97, 351, 270), (499, 2, 500, 3), (10.5, 20.25, 30.75, 41)]
    objects = "".join(
        f"<object><name>car</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for a, b, c, d in corners
    )
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(b"is not decoded")
    ((record,), _) = VOCFolder(tmp_path).records(["a"], ("car",))
    boxes = np.float32(record.boxes / np.tile([333, 500], 2))[None]
    rows = boxes.shape[:2]
    found = Found(boxes, np.full(rows, 0.5), np.zeros(rows, int), np.ones(rows, bool))
    (file,) = write_voc_results(
        tmp_path / "out", found, np.array([[333, 500]]), ids=["a"], class_names=["car"], split="val"
    )
    assert [tuple(map(float, line.split()[2:])) for line in file.read_text().splitlines()] == corners


def test_large_images_keep_a_thousandth_of_a_pixel(tmp_path):
    pixels = np.array([[[1234.125, 20000.002, 39999.999, 23456.789]]])
    rows = pixels.shape[:2]
    found = Found(pixels / 40000, np.full(rows, 0.5), np.zeros(rows, int), np.ones(rows, bool))
    sizes = np.array([[40000, 40000]])
    (file,) = write_voc_results(tmp_path, found, sizes, ids=["a"], class_names=["car"], split="val")
    assert file.read_text() == "a 0.5 20001.002 1235.125 23456.789 39999.999\n"


def test_the_kits_overlap_of_what_is_written_is_the_continuous_one(tmp_path):
    """The kit adds a pixel to each extent (`VOCevaldet.m`), which the 1-based, inclusive corners had taken away."""
    pixels = np.array([[10, 20, 50, 80], [5, 30, 45, 90]])
    found = Found(pixels[None] / 100, np.array([[0.9, 0.8]]), np.array([[0, 0]]), np.ones((1, 2), bool))
    (file,) = write_voc_results(tmp_path, found, np.array([[100, 100]]), ids=["a"], class_names=["car"], split="val")
    a, b = ([float(value) for value in line.split()[2:]] for line in file.read_text().splitlines())
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
    union = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)) - width * height
    assert width * height / union == (35 * 50) / (40 * 60 + 40 * 60 - 35 * 50)


@given(scores=hnp.arrays(np.float32, 40, elements=st.floats(0, 1, width=32)))
def test_scores_rank_as_before_in_either_format(scores, tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("scores"), (1, len(scores))
    found = Found(np.ones((*rows, 4), np.float32), scores[None], np.zeros(rows, int), np.ones(rows, bool))
    sizes = np.array([[9, 9]])
    write_json(folder / "results.json", coco_results(found, sizes, image_ids=[1], category_ids=[1]))
    (file,) = write_voc_results(folder, found, sizes, ids=["a"], class_names=["car"], split="val")
    for read in (
        [row["score"] for row in json.loads((folder / "results.json").read_text())],
        [float(line.split()[1]) for line in file.read_text().splitlines()],
    ):
        np.testing.assert_array_equal(read, scores.astype(np.float64))


def test_a_class_without_detections_has_an_empty_file(tmp_path):
    found, sizes = one_detection()
    _, file = write_voc_results(tmp_path, found, sizes, ids=["a"], class_names=NAMES, split="val")
    assert file.name == "comp4_det_val_traffic light.txt"
    assert file.read_text() == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "a\\b", "..", "", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    found, sizes = one_detection()
    folder = tmp_path / "results"
    with pytest.raises(ValueError, match="plain file name") as caught:
        write_voc_results(folder, found, sizes, ids=["a"], class_names=[name], split="val")
    assert repr(name) in str(caught.value)
    with pytest.raises(ValueError, match="split"):
        write_voc_results(folder, found, sizes, ids=["a"], class_names=["car"], split=name)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ("ids", {"ids": ["a b"]}),
        ("ids", {"ids": ["a\n"]}),
        ("ids", {"ids": [""]}),
        ("ids", {"ids": ["a", "b"]}),
        ("class_names", {"class_names": ["car", "car"]}),
        ("detections.labels", {"class_names": []}),
    ],
)
def test_names_that_vocs_format_cannot_hold_are_refused(tmp_path, argument, change):
    found, sizes = one_detection()
    with pytest.raises(ValueError, match=argument):
        write_voc_results(tmp_path, found, sizes, **{"ids": ["a"], "class_names": ["car"], "split": "val"} | change)
    assert [*tmp_path.iterdir()] == []


def test_ids_keep_bytes_of_no_encoding(tmp_path):
    found, sizes = one_detection()
    name = b"caf\xe9".decode("utf-8", "surrogateescape")  # as the file system's names come
    (file,) = write_voc_results(tmp_path, found, sizes, ids=[name], class_names=["car"], split="val")
    assert file.read_bytes().startswith(b"caf\xe9 0.8")


# Files


def test_a_failed_writing_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    found, sizes = one_detection()
    path = tmp_path / "deeper" / "results.json"
    write_json(path, coco_results(found, sizes, image_ids=[1], category_ids=[1]))
    before = path.read_text()

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_json(path, coco_results(found, sizes, image_ids=[2], category_ids=[1]))
    assert path.read_text() == before
    assert [*path.parent.iterdir()] == [path]
