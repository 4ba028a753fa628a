"""Augmentation of images and of their boxes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxssd.viz.boxes import class_color, draw_boxes, show_image
from jaxssd.viz.style import DPI


def augmented_grid(
    images: Float[np.ndarray, "n H W 3"],
    boxes: Float[np.ndarray, "n G 4"],
    labels: Int[np.ndarray, "n G"],
    valid: Bool[np.ndarray, "n G"],
    class_names: Sequence[str],
) -> Figure:
    """Draw augmented images with their boxes, as a network is trained on them.

    Args:
        images: augmented images `[n, H, W, 3]` in `[0, 1]`.
        boxes: corners `[n, G, 4]`.
        labels: labels `[n, G]`.
        valid: rows that hold a box, `[n, G]`.
        class_names: name of each label.

    Returns:
        A figure with four images in a row at most.
    """
    count, pixel_height, pixel_width, _ = images.shape
    columns = min(4, count)
    rows = -(-count // columns)
    side, gap = 2.4, 0.06
    image_height = side * pixel_height / pixel_width
    width, height = columns * (side + gap) + gap, rows * (image_height + gap) + gap
    figure = Figure(figsize=(width, height), dpi=DPI)
    for index in range(count):
        row, column = divmod(index, columns)
        left, bottom = gap + column * (side + gap), height - (row + 1) * (image_height + gap)
        ax = figure.add_axes((left / width, bottom / height, side / width, image_height / height))
        _draw_image(ax, images[index], boxes[index][valid[index]], labels[index][valid[index]], class_names)
    return figure


def _draw_image(
    ax: Axes,
    image: Float[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "n 4"],
    labels: Int[np.ndarray, "n"],
    class_names: Sequence[str],
) -> None:
    """Draw one image with its boxes."""
    show_image(ax, np.round(255 * image.clip(0, 1)).astype(np.uint8))
    names, colors = [class_names[label] for label in labels], [class_color(label) for label in labels.tolist()]
    draw_boxes(ax, boxes, names, colors, font_size=6.5)


def augmentation_pair(
    images: Float[np.ndarray, "n H W 3"],
    original: tuple[Float[np.ndarray, "G 4"], Bool[np.ndarray, "G"]],
    moved: tuple[Float[np.ndarray, "n G 4"], Bool[np.ndarray, "n G"]],
    labels: Int[np.ndarray, "G"],
    class_names: Sequence[str],
) -> Figure:
    """Draw augmentations of one image twice: with the original boxes, and with augmented boxes.

    A detector learns from the first half if boxes are not augmented (the lesson shows nine such images, then nine right
    ones).

    Args:
        images: augmented images `[n, H, W, 3]` in `[0, 1]`, from `augment_image`.
        original: boxes of the image itself, `(boxes[G, 4], valid[G])`.
        moved: boxes of the augmented images, `(boxes[n, G, 4], valid[n, G])`, from `augment_boxes`.
        labels: labels of the boxes, `[G]`.
        class_names: name of each label.

    Returns:
        A figure with two halves side by side, each with three images in a row at most.
    """
    count, pixel_height, pixel_width, _ = images.shape
    columns = min(3, count)
    rows = -(-count // columns)
    side, title, gap, middle = 1.9, 0.35, 0.06, 0.3
    image_height = side * pixel_height / pixel_width
    half = columns * (side + gap) - gap
    width, height = 2 * (gap + half) + middle, title + rows * (image_height + gap)
    figure = Figure(figsize=(width, height), dpi=DPI)
    left_behind = tuple(np.broadcast_to(array, (count, *array.shape)) for array in original)
    for start, name, (boxes, valid) in [
        (gap, "boxes left behind", left_behind),
        (gap + half + middle, "boxes moved along", moved),
    ]:
        figure.text((start + half / 2) / width, 1 - title / 2 / height, name, ha="center", va="center", fontsize=11)
        for index, image in enumerate(images):
            row, column = divmod(index, columns)
            left, bottom = start + column * (side + gap), height - title - row * (image_height + gap) - image_height
            ax = figure.add_axes((left / width, bottom / height, side / width, image_height / height))
            _draw_image(ax, image, boxes[index][valid[index]], labels[valid[index]], class_names)
    return figure
