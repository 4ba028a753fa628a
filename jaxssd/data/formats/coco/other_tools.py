"""Annotations of other tools, which are not read: their names, and what to export instead."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_EXPORTS = {
    "labelme's, one file an image": "labelme's examples have labelme2coco.py and labelme2voc.py",
    "CreateML's": "export COCO or Pascal VOC from the tool that made it",
    "that of the VGG Image Annotator": "its menu has Annotation, Export Annotations (COCO format)",
    "a project of the VGG Image Annotator 3": "its menu has Export, COCO format",
    "Label Studio's own": "its Export has COCO, YOLO and Pascal VOC XML",
    "Supervisely's": 'its ecosystem has the app "Export to COCO"',
    "Labelbox's": "its Python package converts an export to COCO",
    "BDD100K's": "its toolkit has bdd100k.label.to_coco",
    "Datumaro's": "export COCO, or `datum convert -f coco`",
    "FiftyOne's own": "its export has dataset_type COCODetectionDataset",
    "VoTT's": "its export has Pascal VOC",
    "a list of results, as a detector writes them": "name the file of instances, such as instances_val2017.json",
    "of COCO's captions, without boxes": "name the file of instances, such as instances_train2017.json",
    "of COCO's panoptic segments": "name the file of instances, such as instances_train2017.json",
    "a list of images only, as COCO's image_info_test-dev2017.json": "it has no boxes to train on or to score with",
    "Hugging Face's metadata.jsonl": "export COCO or YOLO from the tool that made it",
    "Open Images' table of boxes": "FiftyOne loads Open Images and exports COCO",
    "a table of boxes, as Roboflow's TensorFlow export": "export COCO, YOLO or Pascal VOC from the tool that made it",
}
"""Advice for each foreign format: the export to a format that is read."""

EXPECTED = "expected COCO's file of instances, an object with the lists images, annotations and categories"


def explain_foreign(value: object) -> str | None:
    """Name the tool whose annotations a JSON value looks like.

    Args:
        value: value from `json.loads`.

    Returns:
        A message with the tool's name and what to do; None if the value looks like nothing known.

    Example:
        >>> explain_foreign({"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"})
        "looks like labelme's, one file an image, which is not read: labelme's examples have labelme2coco.py and \
labelme2voc.py"
    """
    name = _name_of_list(value) if isinstance(value, list) else _name_of(value) if isinstance(value, dict) else None
    return f"looks like {name}, which is not read: {_EXPORTS[name]}" if name else None


def explain_table(header: str) -> str | None:
    """Name the tool whose table has this first line; None if it is not a table of boxes.

    Example:
        >>> explain_table("ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax")
        "looks like Open Images' table of boxes, which is not read: FiftyOne loads Open Images and exports COCO"
    """
    columns = {column.strip().strip('"').lower() for column in header.replace(";", ",").replace("\t", ",").split(",")}
    if {"imageid", "labelname"} <= columns:
        name = "Open Images' table of boxes"
    elif {"region_shape_attributes", "filename"} <= columns:
        name = "that of the VGG Image Annotator"
    elif {"xmin", "ymin"} <= columns:
        name = "a table of boxes, as Roboflow's TensorFlow export"
    else:
        return None
    return f"looks like {name}, which is not read: {_EXPORTS[name]}"


def explain_file(path: Path) -> str | None:
    """Name the tool that wrote a file. At most 64 MB are read, and nothing is raised."""
    try:
        with path.open("rb") as file:
            content = file.read(64_000_000)
    except OSError:
        return None
    text = content.decode("utf-8-sig", errors="replace")
    if path.suffix.lower() in (".csv", ".tsv"):
        return explain_table(text.partition("\n")[0])
    try:
        return explain_lines(text) or explain_foreign(json.loads(text))
    except (ValueError, RecursionError):
        return None


def explain_lines(text: str) -> str | None:
    """Name the tool that wrote JSON lines, one value per line; None for any other text.

    Example:
        >>> explain_lines('{"a": 1}\\n{"a": 2}\\n')
        "is JSON lines, a value on each line, which is not read; expected COCO's file of instances, an object with \
the lists images, annotations and categories"
    """
    lines = text.strip().splitlines()[:2]
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return None
    if len(values) < 2 or not all(isinstance(value, dict) for value in values):
        return None
    if "file_name" in values[0]:
        name = "Hugging Face's metadata.jsonl"
        return f"looks like {name}, which is not read: {_EXPORTS[name]}"
    found = explain_foreign(values) or explain_foreign(values[0])
    return found or f"is JSON lines, a value on each line, which is not read; {EXPECTED}"


def _name_of(value: Mapping[str, Any]) -> str | None:
    keys = value.keys()
    first = next((item for item in value.values() if isinstance(item, dict)), {})
    annotation = _first(value.get("annotations"))
    if "shapes" in keys and keys & {"imagePath", "imageData", "flags", "version"}:
        return "labelme's, one file an image"
    if keys & {"_via_img_metadata", "_via_settings"} or {"filename", "regions"} <= first.keys():
        return "that of the VGG Image Annotator"
    if {"project", "view", "file"} <= keys:
        return "a project of the VGG Image Annotator 3"
    if ("objects" in keys and "size" in keys) or ("classes" in keys and keys & {"projectType", "tags"}):
        return "Supervisely's"
    if "items" in keys and "categories" in keys:
        return "Datumaro's"
    if "data_row" in keys:
        return "Labelbox's"
    if "samples" in keys or {"media_type", "sample_fields"} <= keys or {"name", "media_type", "version"} <= keys:
        return "FiftyOne's own"
    if {"asset", "regions"} <= keys or ("assets" in keys and keys & {"visitedAssets", "tags", "securityToken"}):
        return "VoTT's"
    if "segments_info" in annotation:
        return "of COCO's panoptic segments"
    if "caption" in annotation:
        return "of COCO's captions, without boxes"
    if {"image", "annotations"} <= keys and "coordinates" in annotation:
        return "CreateML's"
    if isinstance(value.get("images"), list) and "annotations" not in keys:
        return "a list of images only, as COCO's image_info_test-dev2017.json"
    return None


def _name_of_list(values: list[Any]) -> str | None:
    first = _first(values)
    keys = first.keys()
    if keys & {"image", "imagefilename", "imageName"} and "coordinates" in _first(first.get("annotations")):
        return "CreateML's"
    if "data" in keys and keys & {"annotations", "completions", "predictions"}:
        return "Label Studio's own"
    if keys & {"annotation_id", "annotator", "lead_time"} or "rectanglelabels" in _first(first.get("label")):
        return "Label Studio's own"
    if "data_row" in keys or "Labeled Data" in keys:
        return "Labelbox's"
    if "name" in keys and ("labels" in keys or "frames" in keys):
        return "BDD100K's"
    if {"image_id", "score"} <= keys:
        return "a list of results, as a detector writes them"
    return _name_of(first)


def _first(values: object) -> Mapping[str, Any]:
    """First item of a list if it is an object, otherwise an empty object."""
    return values[0] if isinstance(values, list) and values and isinstance(values[0], dict) else {}
