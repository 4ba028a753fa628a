"""Style of all figures: colours, resolution, and saving.

The colours stay distinct under the common colour vision deficiencies.
"""

import os
from pathlib import Path

from matplotlib.figure import Figure

from jaxssd.atomic import replacing

# For boxes, Paul Tol's "light" scheme less its grey: light enough to be read on a black rim.
BOX_COLORS = ("#EE8866", "#77AADD", "#EEDD88", "#44BB99", "#FFAABB", "#BBCC33", "#99DDFF", "#AAAA00")
TRUTH_COLOR = "white"
# For curves on white paper, Okabe and Ito's.
BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
DPI = 100


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure at its own dpi, in the format of the path's suffix, atomically.

    Args:
        figure: figure to save; it is cleared afterwards, so that its images are freed at once.
        path: file in an existing folder; replaced if it exists.
    """
    try:
        with replacing(Path(path)) as unfinished:
            figure.savefig(unfinished)
    finally:
        figure.clear()
