"""Export: detections and ground truth as files that other tools score.

    coco_results.json            COCO results, a list of {image_id, category_id, bbox, score}
    coco_instances.json          COCO instances, their ground truth, for data of any format
    comp4_det_SPLIT_CLASS.txt    VOC detections, `id score xmin ymin xmax ymax` on each line, a file for each class

Boxes are rounded to a thousandth of a pixel. Scores are not rounded, so that they rank detections as before. A file is
written under another name and renamed when it is complete.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxssd import atomic
from jaxssd.config import DatasetConfig
from jaxssd.data.dataset import Dataset
from jaxssd.data.placement import in_image
from jaxssd.metrics.arrays import PER_PIXEL, DetectionArrays, checked_detections, checked_sizes, thousandths
from jaxssd.metrics.coco_records import coco_instances, coco_results


def export(folder: Path, config: DatasetConfig, dataset: Dataset, detections: DetectionArrays, split: str) -> None:
    """Write all detections on a data set for the tools of COCO and of VOC.

    The files are `coco_results.json` and `coco_instances.json` for COCO's tools, and `comp4_det_SPLIT_CLASS.txt` for
    VOC's. Images and classes have the numbers of the COCO file that they come from, otherwise their places in the data
    set, from 1. `coco_instances.json` holds the ground truth, so that the pair can be scored anywhere.

    Args:
        folder: folder of the files; made if it is missing.
        config: settings of the data that was scored.
        dataset: the data.
        detections: NumPy arrays `[N, D]`, boxes normalised to the original images.
        split: name of the split.

    Raises:
        ValueError: if the name of a class or of an image is not allowed in VOC's files. COCO's files are written first.
    """
    image_ids, file_names = tuple(range(1, len(dataset.ids) + 1)), dataset.ids
    category_ids = tuple(range(1, len(dataset.class_names) + 1))
    if config.data != "shapes":
        from jaxssd.data.formats.registry import open_source

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
    print(f"detections for COCO's tools  {folder}/coco_results.json, with the ground truth in coco_instances.json")
    write_voc_results(folder, detections, dataset.sizes, ids=dataset.ids, class_names=dataset.class_names, split=split)
    print(f"detections for VOC's tools   {folder}/comp4_det_{split}_*.txt")


def write_json(path: Path, record: object) -> None:
    """Write a result of `metrics.coco_records` as JSON; its folder is made if it is missing.

    Args:
        path: the file.
        record: lists, dictionaries, strings and numbers.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, record, indent=None)


def write_voc_results(
    folder: Path,
    detections: DetectionArrays,
    sizes: Int[np.ndarray, "N 2"],
    *,
    ids: Sequence[str],
    class_names: Sequence[str],
    split: str,
) -> tuple[Path, ...]:
    """Write detections for VOC's development kit (competition 4: trained on any data but the test's).

    The box `[y1, x1, y2, x2]` in pixels is written as xmin `x1 + 1`, ymin `y1 + 1`, xmax `x2`, ymax `y2`: pixels count
    from 1 and both corners are part of the box, as VOC's annotations are read. The kit's width is `xmax - xmin + 1`,
    which is `x2 - x1` again, so its IoUs are those of `voc_scores`.

    Args:
        folder: folder of the files.
        detections: detections of N images: `boxes` `[N, D, 4]` corners, normalised to the original image, `scores`
            `[N, D]`, `labels` `[N, D]` in `[0, C)`, `valid` `[N, D]`.
        sizes: height and width `[N, 2]` of the original images in pixels.
        ids: N names without a space, which separates the columns.
        class_names: C names; each is part of a file's name.
        split: name of the split, part of every file's name.

    Returns:
        The C files, by label. A class without detections has an empty file.

    Raises:
        ValueError: if `split` or a class is not a plain file name or occurs twice, an id is empty or has a space,
            shapes or lengths disagree, sizes are not positive, or a valid row has a label outside `[0, C)`, or a score
            or coordinate that is not finite.
        OSError: if a file cannot be written.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> boxes, labels, valid = np.array([[[96 / 333, 0.31, 270 / 333, 0.702]]]), np.array([[0]]), np.array([[True]])
        >>> found = SimpleNamespace(boxes=boxes, scores=np.array([[0.9]]), labels=labels, valid=valid)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     options = {"ids": ["000012"], "class_names": ["car"], "split": "val"}
        ...     (file,) = write_voc_results(Path(folder), found, np.array([[333, 500]]), **options)
        ...     print(file.name, file.read_text())
        comp4_det_val_car.txt 000012 0.9 156 97 351 270
    """
    for what, name in (("`split`", split), *(("`class_names`", name) for name in class_names)):
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"write_voc_results: {what}: {name!r} is not a plain file name, and would be part of one: rename it"
            )
    found = checked_detections("write_voc_results", detections, num_classes=len(class_names))
    _check_names("class_names", class_names, len(class_names))
    _check_names("ids", ids, len(found.valid))
    sizes = checked_sizes("write_voc_results", sizes, len(ids))
    for name in ids:
        if name.split() != [name]:
            raise ValueError(
                f"write_voc_results: `ids`: {name!r} is empty or has a space in it, which VOC's format cannot hold: "
                "rename the image, or write COCO's format"
            )

    lines: list[list[str]] = [[] for _ in class_names]
    image, row = np.nonzero(found.valid)
    boxes = thousandths(found.boxes, sizes)[image, row] / PER_PIXEL + np.array([1, 1, 0, 0])
    columns = (image, found.labels[image, row], found.scores[image, row], boxes)
    for index, label, score, (ymin, xmin, ymax, xmax) in zip(*(column.tolist() for column in columns), strict=True):
        lines[label].append(f"{ids[index]} {score!r} {xmin:.10g} {ymin:.10g} {xmax:.10g} {ymax:.10g}\n")
    files = tuple(folder / f"comp4_det_{split}_{name}.txt" for name in class_names)
    folder.mkdir(parents=True, exist_ok=True)
    for file, of_class in zip(files, lines, strict=True):
        atomic.write_text(file, "".join(of_class))
    return files


def _check_names(argument: str, names: Sequence[str], count: int) -> None:
    """Require `count` different names."""
    if len(names) != count:
        raise ValueError(f"write_voc_results: `{argument}` has {len(names)} entries, expected {count}")
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(f"write_voc_results: `{argument}` has {name!r} {times} times")
