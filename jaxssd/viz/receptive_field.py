"""Receptive fields of anchors, in theory and in effect."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxssd.ops import Anchors
from jaxssd.viz.boxes import outline
from jaxssd.viz.panels import LEGEND_ROW, image_panels, key, legend_rows
from jaxssd.viz.style import BOX_COLORS

CELL, ANCHOR, FIELD = BOX_COLORS[1], BOX_COLORS[3], "white"
HEAT = "inferno"


def receptive_field_figure(
    image: UInt8[np.ndarray, "H W 3"],
    effective: Float[np.ndarray, "P h w"],
    theoretical: Float[np.ndarray, "P 4"],
    anchors: Anchors,
    anchor_indices: Sequence[int],
) -> Figure:
    """Draw the influence of each pixel on an anchor's class logits, as heat over the image; one panel per anchor.

    Args:
        image: pixels `[H, W, 3]` of one of the images that the effect was computed on.
        effective: fields from `effective_receptive_field`, at the network's resolution.
        theoretical: fields of these anchors from `anchor_receptive_fields`.
        anchors: `A` anchors.
        anchor_indices: P indices of anchors, such as one in the middle of each grid.

    Returns:
        A figure with P panels. Their titles give the side of the field in pixels: in theory, and of the smallest square
        around the anchor's centre that has half of the effect.
    """
    rows = list(anchor_indices)
    boxes, centers, cell_sizes = (
        np.asarray(array)[rows] for array in (anchors.corners, anchors.center_size[:, :2], anchors.cell_size)
    )
    cells = np.concatenate([centers - cell_sizes / 2, centers + cell_sizes / 2], axis=1)
    halves = [_half_of_effect(field, center) for field, center in zip(effective, centers, strict=True)]
    titles = [
        _title(cell_size, theory, half, effective.shape[1])
        for cell_size, theory, half in zip(cell_sizes, theoretical, halves, strict=True)
    ]
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    figure, axes = image_panels(grey, titles, side=3.6, footer=1.5 * LEGEND_ROW)
    for ax, field, theory, half, cell, box in zip(axes, effective, theoretical, halves, cells, boxes, strict=True):
        _show_heat(ax, field)
        outline(ax, theory, FIELD, line_width=1.6, linestyle="--")
        outline(ax, half, FIELD, line_width=1.6)
        outline(ax, cell, CELL, line_width=1.6)
        outline(ax, box, ANCHOR, line_width=1.6)
    keys = [key(CELL, "cell"), key(ANCHOR, "anchor"), key(FIELD, "half of the effect")]
    if not _covers_image(theoretical).all():
        keys.append(key(FIELD, "field in theory", linestyle="--"))
    legend_rows(figure, [keys])
    return figure


def _half_of_effect(field: Float[np.ndarray, "h w"], center: Float[np.ndarray, "2"]) -> Float[np.ndarray, "4"]:
    """Smallest square around the centre that holds half of the sum over all pixels."""
    y, x = (np.arange(side) + 0.5 - side * middle for side, middle in zip(field.shape, center, strict=True))
    distance = np.maximum(abs(y)[:, None], abs(x)[None, :]).ravel()  # in pixels
    order = np.argsort(distance)
    within = np.cumsum(field.ravel()[order])
    radius = (distance[order][np.searchsorted(within, within[-1] / 2)] + 0.5) / np.array(field.shape)
    return np.concatenate([center - radius, center + radius])


def _title(
    cell_size: Float[np.ndarray, " _"], theory: Float[np.ndarray, "4"], half: Float[np.ndarray, "4"], height: int
) -> str:
    rows, columns = np.broadcast_to(np.round(1 / cell_size).astype(int), 2).tolist()
    everything = ", the whole image" if _covers_image(theory) else ""
    in_theory, in_effect = (f"{(box[2] - box[0]) * height:.0f} px" for box in (theory, half))
    return f"{rows} x {columns} cells: in theory {in_theory}{everything}\nhalf of the effect within {in_effect}"


def _show_heat(ax: Axes, field: Float[np.ndarray, "h w"]) -> None:
    """Heat map, warm and opaque where the effect is strong; a few extreme pixels do not set the scale."""
    strength = np.clip(field / max(np.quantile(field, 0.998), np.finfo(np.float32).tiny), 0, 1)
    ax.imshow(
        strength,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        alpha=0.9 * np.sqrt(strength),
        interpolation="bilinear",
        extent=(0, 1, 1, 0),
        aspect=ax.get_aspect(),
    )


def _covers_image(boxes: Float[np.ndarray, "*batch 4"]) -> Bool[np.ndarray, "*batch"]:
    return np.asarray(np.all(boxes[..., :2] <= 0, axis=-1) & np.all(boxes[..., 2:] >= 1, axis=-1))
