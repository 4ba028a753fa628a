"""COCO's records of detections and ground truth, for the library that scores them and for the files of results.

Boxes become `[x, y, width, height]` in pixels of the original image, rounded to a thousandth of a pixel.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real, Shaped

from jaxssd.metrics.arrays import (
    PER_PIXEL,
    DetectionArrays,
    Nested,
    as_numbers,
    checked_detections,
    checked_sizes,
    checked_truths,
    thousandths,
)


def coco_results(
    detections: DetectionArrays,
    sizes: Real[Any, "N 2"] | Nested,
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """COCO's list of results, from detections.

    Args:
        detections: N images, `boxes` `[N, D, 4]` corners, normalised to the original image, `scores` `[N, D]`,
            `labels` `[N, D]` in `[0, C)`, `valid` `[N, D]`.
        sizes: `[N, 2]` height and width of the original images in pixels.
        image_ids: N distinct numbers.
        category_ids: C distinct numbers, by label.

    Returns:
        `{"image_id", "category_id", "bbox", "score"}` for each valid row, image by image. A box whose corners are
        swapped has width or height 0.

    Raises:
        ValueError: if shapes disagree, ids are not distinct whole numbers, sizes are not positive, or a valid row has a
            label outside `[0, C)`, a score or a coordinate that is not finite; the message names the argument.

    Example:
        >>> from jaxssd.metrics.arrays import Found
        >>> boxes, scores = np.array([[[0.25, 0.5, 0.75, 1.0]]]), np.array([[0.9]])
        >>> found = Found(boxes, scores, np.array([[0]]), np.array([[True]]))
        >>> coco_results(found, np.array([[100, 200]]), image_ids=[42], category_ids=[17])
        [{'image_id': 42, 'category_id': 17, 'bbox': [100.0, 25.0, 100.0, 50.0], 'score': 0.9}]
    """
    categories = _distinct_numbers("coco_results", "category_ids", category_ids, len(category_ids))
    found = checked_detections("coco_results", detections, num_classes=len(categories))
    images = _distinct_numbers("coco_results", "image_ids", image_ids, len(found.valid))
    sizes = checked_sizes("coco_results", sizes, len(images))
    boxes = _pixel_boxes(found.boxes, sizes)[found.valid].tolist()
    columns = (_of_rows(images, found.valid), categories[found.labels[found.valid]].tolist(), boxes)
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*columns, found.scores[found.valid].tolist(), strict=True)
    ]


def coco_instances(
    gt_boxes: Real[Any, "N G 4"] | Nested,
    gt_labels: Real[Any, "N G"] | Nested,
    gt_valid: Shaped[Any, "N G"] | Nested,
    gt_difficult: Shaped[Any, "N G"] | Nested | None,
    sizes: Real[Any, "N 2"] | Nested,
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    class_names: Sequence[str],
    file_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """COCO's dictionary of instances, from ground truth of any format.

    A difficult object becomes a crowd (`iscrowd` 1). There are no masks: `area` is the box's, and no annotation has a
    `segmentation`. Annotations are numbered from 1, because 0 means "unmatched" to the official scorer.

    Args:
        gt_boxes: `[N, G, 4]` corners, normalised to the original image.
        gt_labels: `[N, G]` in `[0, C)`.
        gt_valid: `[N, G]`; the other rows are padding, and what they hold is never used.
        gt_difficult: `[N, G]`; None means no difficult objects.
        sizes: `[N, 2]` height and width of the original images in pixels.
        image_ids: N distinct numbers.
        category_ids: C distinct numbers, by label.
        class_names: C names.
        file_names: N names; None names each image by its id.

    Returns:
        `{"info", "images", "categories", "annotations"}`, ready for `json.dump`.

    Raises:
        ValueError: if shapes or lengths disagree, ids are not distinct whole numbers, sizes are not positive, or a
            valid row has a label outside `[0, C)` or a coordinate that is not finite; the message names the argument.

    Example:
        >>> boxes, labels, valid = np.array([[[0.25, 0.5, 0.75, 1.0]]]), np.array([[0]]), np.array([[True]])
        >>> options = {"image_ids": [42], "category_ids": [17], "class_names": ["cat"]}
        >>> coco_instances(boxes, labels, valid, None, np.array([[100, 200]]), **options)["annotations"]
        [{'id': 1, 'image_id': 42, 'category_id': 17, 'bbox': [100.0, 25.0, 100.0, 50.0], 'area': 5000.0, 'iscrowd': 0}]
    """
    categories = _distinct_numbers("coco_instances", "category_ids", category_ids, len(category_ids))
    num_images, num_classes = len(as_numbers("coco_instances", "gt_boxes", gt_boxes)), len(categories)
    truths = checked_truths(
        "coco_instances", gt_boxes, gt_labels, gt_valid, gt_difficult, num_images=num_images, num_classes=num_classes
    )
    images = _distinct_numbers("coco_instances", "image_ids", image_ids, num_images)
    sizes = checked_sizes("coco_instances", sizes, num_images)
    if file_names is None:
        file_names = [str(image) for image in images.tolist()]
    for name, values, count in (("class_names", class_names, num_classes), ("file_names", file_names, num_images)):
        if len(values) != count:
            raise ValueError(f"coco_instances: `{name}` has {len(values)} entries, expected {count}")
    boxes = _pixel_boxes(truths.boxes, sizes)[truths.valid]
    columns: tuple[Iterable[Any], ...] = (
        _of_rows(images, truths.valid),
        categories[truths.labels[truths.valid]].tolist(),
        boxes.tolist(),
        (boxes[:, 2] * boxes[:, 3]).tolist(),
        truths.difficult[truths.valid].astype(int).tolist(),
    )
    return {
        "info": {"description": "written by jaxssd: areas are the boxes', difficult objects are crowds"},
        "images": [
            {"id": image, "file_name": name, "height": height, "width": width}
            for image, name, (height, width) in zip(images.tolist(), file_names, sizes.tolist(), strict=True)
        ],
        "categories": [
            {"id": category, "name": name} for category, name in zip(categories.tolist(), class_names, strict=True)
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            for number, (image, category, box, area, crowd) in enumerate(zip(*columns, strict=True), start=1)
        ],
    }


def _pixel_boxes(boxes: np.ndarray, sizes: np.ndarray) -> Float[np.ndarray, "N rows 4"]:
    """Normalised corners to `[x, y, width, height]` in pixels."""
    y1, x1, y2, x2 = np.moveaxis(thousandths(boxes, sizes), -1, 0)
    return np.stack([x1, y1, np.maximum(x2 - x1, 0), np.maximum(y2 - y1, 0)], axis=-1) / PER_PIXEL


def _of_rows(images: np.ndarray, valid: np.ndarray) -> list[int]:
    """Image id of each valid row."""
    return np.repeat(images, valid.sum(axis=1)).tolist()


def _distinct_numbers(function: str, name: str, values: Sequence[int], count: int) -> np.ndarray:
    """Array of `count` different whole numbers."""
    if len(values) != count:
        raise ValueError(f"{function}: `{name}` has {len(values)} entries, expected {count}")
    try:
        numbers = [operator.index(value) for value in values]
    except TypeError as error:
        raise ValueError(f"{function}: `{name}` must be whole numbers: {error}; number them with range()") from error
    if len(set(numbers)) != count:
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"{function}: `{name}` has {twice} more than once")
    return np.array(numbers, dtype=np.int64)
