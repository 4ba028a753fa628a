"""What is on a figure: outlined boxes, words, and whether words collide."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


def photo(height: int = 60, width: int = 90) -> np.ndarray:
    """Not square, so that swapped axes would show."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def outlines(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if not patch.get_fill()]


def corners(rectangles: list[Rectangle]) -> np.ndarray:
    rows = [[r.get_y(), r.get_x(), r.get_y() + r.get_height(), r.get_x() + r.get_width()] for r in rectangles]
    return np.array(rows, np.float32).reshape(-1, 4)


def assert_same_boxes(one: np.ndarray, other: np.ndarray) -> None:
    """In any order."""
    one, other = (array[np.lexsort(array.round(5).T)] for array in (one, other))
    np.testing.assert_allclose(one, other, atol=1e-5)


def assert_readable(figure: Figure, *, captions_too: bool = False) -> None:
    """Draws the figure; titles and legends, and captions if asked, neither collide nor leave it."""
    FigureCanvasAgg(figure).draw()
    legends = [legend for ax in figure.axes if (legend := ax.get_legend())] + figure.legends
    texts = [text for legend in legends for text in legend.texts] + [ax.title for ax in figure.axes] + figure.texts
    if captions_too:
        texts += [text for ax in figure.axes for text in ax.texts]
    areas = [text.get_window_extent() for text in texts if text.get_text()]
    images = [] if captions_too else [ax.get_window_extent() for ax in figure.axes]
    for index, area in enumerate(areas):
        assert not any(area.padded(-1).overlaps(other) for other in areas[index + 1 :] + images)
        assert figure.bbox.x0 <= area.x0 < area.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= area.y0 < area.y1 <= figure.bbox.y1


def words(texts) -> list[str]:
    return [text.get_text() for text in texts]
