"""Names of the data sets of TensorFlow Datasets."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxssd.data.formats.base import Source

ARCHIVES = {
    "voc/2007": ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"),
    "voc/2012": ("VOCtrainval_11-May-2012.tar", "VOC2012test.tar"),
}
"""Archives of each data set."""

NAMES = tuple(ARCHIVES)
"""Names of the data sets for `--data`."""


def open_data(data: str, images: str | None = None) -> "Source | None":
    """Open one of `NAMES`; None for anything else."""
    if data not in NAMES:
        return None
    from jaxssd.data.formats.tfds.source import TFDSVoc

    return TFDSVoc(data)
