"""Detections and ground truth as files that other tools score: COCO's two JSON files, and VOC's lists of detections.

    COCO results                 a list of {image_id, category_id, bbox, score}
    COCO instances               the ground truth they belong to, whatever the data was
    comp4_det_SPLIT_CLASS.txt    VOC: `id score xmin ymin xmax ymax`, one detection a line, one class a file

Detections come in normalised to the original image, as a task's `in_image` gives them. Pixels are rounded to a
thousandth, scores are not rounded at all: read back, they rank detections as before. A file is written under another
name and renamed when whole; its folder is made if need be.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxssd import atomic
from jaxssd.metrics.arrays import PER_PIXEL, DetectionArrays, checked_detections, checked_sizes, thousandths


def write_json(path: Path, record: object) -> None:
    """Write what `metrics.coco_records` makes.

    Args:
        path: the file.
        record: of lists, dictionaries, strings and numbers.

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
    """Write detections as VOC's development kit reads them (competition 4: trained on any data but the test's).

    The box `[y1, x1, y2, x2]` in pixels is written as xmin `x1 + 1`, ymin `y1 + 1`, xmax `x2`, ymax `y2`: pixels count
    from 1 and both corners are part of the box, the inverse of how `data.voc` reads. The kit takes `xmax - xmin + 1`
    for a width, which is `x2 - x1` again, so that its IoUs are those of `voc_scores`.

    Args:
        folder: where the files go.
        detections: of N images: `boxes` `[N, D, 4]` corners, normalised to the original image, `scores` `[N, D]`,
            `labels` `[N, D]` in `[0, C)`, `valid` `[N, D]`.
        sizes: `[N, 2]` height and width of the original images in pixels.
        ids: N names without a space, which is what separates the columns.
        class_names: C names; each is part of a file's name.
        split: as in `val`; part of every file's name.

    Returns:
        The C files, by label; of a class without detections the file is empty.

    Raises:
        ValueError: naming the name or the argument, if `split` or a class is not a plain file name or occurs twice, an
            id is empty or has a space in it, shapes or lengths disagree, sizes are not positive, or a valid row has a
            label outside `[0, C)`, a score or a coordinate that is not finite.
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
    """There must be `count` different ones."""
    if len(names) != count:
        raise ValueError(f"write_voc_results: `{argument}` has {len(names)} entries, expected {count}")
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(f"write_voc_results: `{argument}` has {name!r} {times} times")
