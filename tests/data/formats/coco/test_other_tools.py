"""Annotations of other tools: what they look like, that they are not read, and what to export instead."""

import gzip
import json

import pytest

from jaxssd.data.formats.registry import open_source
from tests.data.trees import write_tree

LABELME = {
    "version": "5.3.1",
    "flags": {},
    "shapes": [{"label": "cup", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}],
    "imagePath": "a.jpg",
    "imageData": None,
    "imageHeight": 40,
    "imageWidth": 50,
}
CREATE_ML = [
    {"image": "a.jpg", "annotations": [{"label": "cup", "coordinates": {"x": 9, "y": 9, "width": 4, "height": 4}}]}
]
VIA_REGION = {
    "filename": "a.jpg",
    "size": 5,
    "regions": [{"shape_attributes": {"name": "rect"}}],
    "file_attributes": {},
}
LABEL_STUDIO = [{"id": 1, "data": {"image": "/data/upload/a.jpg"}, "annotations": [{"result": []}]}]
LABEL_STUDIO_MIN = [
    {"id": 1, "image": "/data/upload/a.jpg", "label": [{"x": 1, "y": 2, "rectanglelabels": ["cup"]}], "annotator": 1}
]
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 40, "width": 50}, "objects": [{"classTitle": "cup"}]}
BDD = [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}]}]
IMAGES = [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 50}]
LINES = '{"file_name": "a.jpg", "objects": {"bbox": []}}\n{"file_name": "b.jpg", "objects": {"bbox": []}}\n'
CAPTION = {"id": 1, "image_id": 1, "caption": "A cup."}
SEGMENTS = {"image_id": 1, "file_name": "a.png", "segments_info": []}

FOREIGN = {
    "labelme": (LABELME, "labelme's, one file an image, which is not read: .*labelme2coco"),
    "createml": (CREATE_ML, "CreateML's, which is not read: export COCO or Pascal VOC"),
    "createml of one": (CREATE_ML[0], "CreateML's"),
    "via": ({"a.jpg5": VIA_REGION}, "VGG Image Annotator, .*COCO format"),
    "via project": ({"_via_settings": {}, "_via_img_metadata": {"a.jpg5": VIA_REGION}}, "VGG Image Annotator"),
    "via 3": ({"project": {}, "config": {}, "attribute": {}, "file": {}, "view": {}}, "VGG Image Annotator 3"),
    "label studio": (LABEL_STUDIO, "Label Studio's own, which is not read: its Export has COCO"),
    "label studio min": (LABEL_STUDIO_MIN, "Label Studio's own"),
    "supervisely": (SUPERVISELY, "Supervisely's"),
    "supervisely meta": ({"classes": [], "tags": [], "projectType": "images"}, "Supervisely's"),
    "bdd": (BDD, "BDD100K's"),
    "datumaro": ({"info": {}, "categories": {"label": {"labels": []}}, "items": []}, "Datumaro's"),
    "labelbox": ([{"data_row": {"id": "x"}, "projects": {}}], "Labelbox's"),
    "labelbox old": ([{"ID": "x", "Labeled Data": "http://x", "Label": {}}], "Labelbox's"),
    "test-dev": (
        {"info": {}, "images": IMAGES, "categories": [{"id": 1, "name": "a"}]},
        "list of images only",
    ),
    "captions": (
        {"info": {}, "images": IMAGES, "annotations": [CAPTION]},
        "captions, without boxes",
    ),
    "panoptic": ({"images": IMAGES, "annotations": [SEGMENTS]}, "panoptic segments"),
    "json lines": (LINES, "Hugging Face's metadata"),
    "lines of anything": ('{"a": 1}\n{"a": 2}', "is JSON lines, a value on each line, .*expected COCO's"),
    "lines of labelbox": ('{"data_row": {}}\n{"data_row": {}}\n', "Labelbox's"),
    "results": ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "is a list of results"),
    "fiftyone": (
        {"name": "x", "version": "1.0", "media_type": "image", "info": {}, "tags": []},
        "FiftyOne's own, .*COCODetectionDataset",
    ),
    "fiftyone samples": ({"samples": [{"filepath": "data/a.jpg"}]}, "FiftyOne's own"),
    "vott": ({"name": "x", "securityToken": "x", "tags": [], "assets": {"1": {}}}, "VoTT's, .*Pascal VOC"),
    "vott asset": ({"asset": {"id": "1"}, "regions": [], "version": "2.2.0"}, "VoTT's"),
    "nothing known": ({"a": 1}, "has no list images and no list annotations and no list categories; expected"),
    "one caption of three lists": (
        {"images": IMAGES, "annotations": [CAPTION], "categories": []},
        "empty list categor",
    ),
}


def text(value):
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("name", FOREIGN)
def test_json_of_other_tools(tmp_path, name):
    value, expected = FOREIGN[name]
    root = write_tree(tmp_path / "data", {"x.json": text(value), "y.json.gz": gzip.compress(text(value).encode())})
    for file in ("x.json", "y.json.gz"):
        with pytest.raises(ValueError, match=rf"{file} .*{expected}") as raised:
            open_source(str(root / file)).all_ids()
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize("name", ["labelme", "createml", "via", "label studio", "supervisely", "bdd", "json lines"])
@pytest.mark.parametrize("place", ["", "ann/", "labels/deep/"])
def test_a_folder_of_them(tmp_path, name, place):
    value, expected = FOREIGN[name]
    ending = "jsonl" if name == "json lines" else "json"
    root = write_tree(tmp_path / "data", {f"{place}a.{ending}": text(value), f"{place}a.jpg": 1, "images/b.jpg": 1})
    with pytest.raises(ValueError, match=rf"a\.{ending} looks like .*{expected}"):
        open_source(str(root))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded", "Open Images' table .*FiftyOne"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a table of boxes"),
        ('"filename";"xmin";"ymin"', "a table of boxes"),
        ("filename,file_size,region_shape_attributes", "VGG Image Annotator"),
    ],
)
@pytest.mark.parametrize("name", ["train-annotations-bbox.csv", "_annotations.CSV"])
def test_tables(tmp_path, header, expected, name):
    root = write_tree(tmp_path / "data", {name: f"{header}\n0,1,2,3\n", "a.jpg": 1})
    for path in (root, root / name):
        with pytest.raises(ValueError, match=f"{name} looks like .*{expected}"):
            open_source(str(path))


def test_what_looks_like_nothing_known(tmp_path):
    root = write_tree(tmp_path / "data", {"a.csv": "a,b\n", "b.json": "{", "c.json": b"\xff\xfe", "d.json": "[" * 9999})
    with pytest.raises(ValueError, match=r"not in PASCAL VOC layout nor in any other that is read: it has a\.csv, b"):
        open_source(str(root))
    write_tree(root, {"misc/metadata.json": '{"a": 1}', "misc/set.json": '{"version": 1, "images": []}'})
    with pytest.raises(
        ValueError, match=r"is not a known layout\. For a COCO data set, name the file: --data .*set\.json"
    ):
        open_source(str(root))


@pytest.mark.parametrize("name", ["fiftyone", "fiftyone samples", "vott", "vott asset", "results"])
def test_a_folder_of_other_json_is_named_for_what_it_is(tmp_path, name):
    value, expected = FOREIGN[name]
    root = write_tree(tmp_path / "data", {"data/a.jpg": 1, "metadata.json": text(value)})
    with pytest.raises(ValueError, match=rf"metadata\.json looks like {expected.removeprefix('is ')}"):
        open_source(str(root))


def test_packed_files_that_are_damaged_or_archives(tmp_path):
    whole = gzip.compress(b'{"images": []}')
    files = {
        "a.json.gz": whole[:-9],
        "b.json": whole[:10] + b"\xff" * 9,
        "c.json": b"PK\x03\x04",
        "d.json": "é".encode("utf-16"),
    }
    root = write_tree(tmp_path / "data", files)
    for name, expected in (
        ("a.json.gz", "is a gzip file that is cut short"),
        ("b.json", "is a damaged gzip file"),
        ("c.json", "is a zip archive: unpack it"),
        ("d.json", "is not UTF-8, but UTF-16: save it as UTF-8"),
    ):
        with pytest.raises(ValueError, match=rf"{name} .*({expected})"):
            open_source(str(root / name)).all_ids()


def test_a_file_of_a_folder_in_utf16_is_named(tmp_path):
    text = '{"images": [], "annotations": [], "categories": []}'
    root = write_tree(tmp_path / "data", {"train.json": text.encode("utf-16"), "val.json": text, "a.jpg": 1})
    with pytest.raises(ValueError, match=r"train\.json is not UTF-8, but UTF-16: save it as UTF-8"):
        open_source(str(root)).all_ids()
