"""Hypothesis strategies: boxes on an integer grid, where jit and eager must agree to the last bit."""

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st


def grid_boxes(count: int, *, cells: int = 64, empty: bool = False) -> st.SearchStrategy[np.ndarray]:
    """Float32 corners `[count, 4]`, multiples of `1 / cells` inside the image; a small `cells` gives many ties.

    With `empty` a box may have no height or no width. Up to 64 cells (a power of two) areas, intersections and unions
    are exact in float32, so that an IoU is one correctly rounded division wherever it is computed.
    """
    last = cells if empty else cells - 1
    two_points = hnp.arrays(np.int32, (count, 2, 2), elements=st.integers(0, last))

    def corners(points: np.ndarray) -> np.ndarray:
        near, far = np.sort(points, axis=1).transpose(1, 0, 2)
        return (np.concatenate([near, far if empty else far + 1], axis=1) / cells).astype(np.float32)

    return two_points.map(corners)


def grid_scores(*shape: int, steps: int = 16) -> st.SearchStrategy[np.ndarray]:
    """Float32 multiples of `1 / steps` in `[0, 1]`: exact, and often equal."""
    return hnp.arrays(np.int32, shape, elements=st.integers(0, steps)).map(lambda k: (k / steps).astype(np.float32))


def masks(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Boolean arrays, all True and all False among them."""
    return st.one_of(hnp.arrays(bool, shape), st.sampled_from([np.ones(shape, bool), np.zeros(shape, bool)]))


def permutations(count: int) -> st.SearchStrategy[np.ndarray]:
    """Orders of `count` rows."""
    return st.permutations(range(count)).map(np.array)
