"""Data sets, loaded as padded arrays.

    load           data of a run, train and val: `load_split(config.dataset, "train")`
    dataset        `Dataset` and its `Examples`; `report` has the problems found
    shapes         generated data set
    formats        data sets on disk: `registry.open_source(path)` gives a `Source`, which reads annotations
    splits         images to train and to validate on
    build          `build_dataset(source, ids, ...)`: decode images, check and fit `boxes`, pad, keep in the `cache`
    images         decoding, within `image_limits`, of `image_formats`; `orientation` by EXIF, `placement` on a square
    quality        lines for the log on suspicious data; `class_filter` for objects of other classes
    augmentation   random changes of training images

Readers of files are imported when they are needed: a run on Shapes imports no format and no decoder.
"""

from typing import Any

from jaxssd.registry import Registry

AUGMENTATIONS: Registry[tuple[Any, ...]] = Registry(
    "augmentation",
    {
        "crop": "jaxssd.data.augmentation:CROP",
        "lesson": "jaxssd.data.augmentation:LESSON",
        "none": "jaxssd.data.augmentation:NONE",
    },
)
"""Values of `--augment`: tuples of functions that are applied in order, see `jaxssd.data.augmentation`."""
