"""Every detection on a data set, for the tools of COCO and of VOC."""

from pathlib import Path

from jaxssd.config import DatasetConfig
from jaxssd.data.dataset import Dataset
from jaxssd.data.formats.registry import open_source
from jaxssd.data.placement import in_image
from jaxssd.data.results import write_json, write_voc_results
from jaxssd.metrics import DetectionArrays
from jaxssd.metrics.coco_records import coco_instances, coco_results


def export(folder: Path, config: DatasetConfig, dataset: Dataset, detections: DetectionArrays, split: str) -> None:
    """Write `coco_results.json` and `coco_instances.json` for COCO's tools, and `comp4_det_SPLIT_CLASS.txt` for VOC's.

    Images and classes have the numbers of the COCO file that they come from, if they do; otherwise their places in the
    data set, from 1. `coco_instances.json` has the truth in the same numbers, so that the pair can be scored anywhere.

    Args:
        folder: made if need be.
        config: of the run, with the data that was scored.
        dataset: that data.
        detections: NumPy, `[N, D]`, in units of the images.
        split: what the data is called.

    Raises:
        ValueError: if the name of a class or of an image cannot stand in VOC's files; COCO's are written before.
    """
    image_ids, file_names = tuple(range(1, len(dataset.ids) + 1)), dataset.ids
    category_ids = tuple(range(1, len(dataset.class_names) + 1))
    if config.data != "shapes":
        source = open_source(config.data, config.images)
        image_ids = source.image_ids(dataset.ids)
        category_ids = source.category_ids(dataset.ids, dataset.class_names)
        file_names = source.file_names(dataset.ids)
    truth = in_image(dataset.examples, dataset.placements)
    numbers = {"image_ids": image_ids, "category_ids": category_ids}
    results = coco_results(detections, dataset.sizes, **numbers)
    instances = coco_instances(
        truth.boxes,
        truth.labels,
        truth.valid,
        truth.difficult,
        dataset.sizes,
        class_names=dataset.class_names,
        file_names=file_names,
        **numbers,
    )
    write_json(folder / "coco_results.json", results)
    write_json(folder / "coco_instances.json", instances)
    print(f"detections for COCO's tools  {folder}/coco_results.json, with the truth in coco_instances.json")
    write_voc_results(folder, detections, dataset.sizes, ids=dataset.ids, class_names=dataset.class_names, split=split)
    print(f"detections for VOC's tools   {folder}/comp4_det_{split}_*.txt")
