"""Data sets, loaded as padded arrays.

    load           data of a run, train and val: `load_split(config.dataset, "train")`
    dataset        `Dataset` and its `Examples`; `report` has the problems found
    shapes         generated data set
    formats        data sets on disk: `registry.open_source(path)` gives a `Source`, which reads annotations
    splits         images to train and to validate on
    build          `build_dataset(source, ids, ...)`: decode images, check and fit `boxes`, pad, keep in the `cache`
    images         decoding, within `image_limits`, of `image_formats`; `orientation` by EXIF, `placement` on the input
    quality        lines for the log on suspicious data; `class_filter` for objects of other classes
    anchor_fit     anchors that fit the boxes of a data set; `best_anchors` of each box
    augmentation   random changes of training images; `ssd_augmentation` and `mosaic` are those of long runs

Readers of files are imported when they are needed: a run on Shapes imports no format and no decoder.
"""

from typing import Any

from jaxssd.registry import Registry

AUGMENTATIONS: Registry[Any] = Registry(
    "augmentation",
    {
        "crop": "jaxssd.data.augmentation:crop",
        "ssd": "jaxssd.data.ssd_augmentation:ssd",
        "lesson": "jaxssd.data.augmentation:lesson",
        "none": "jaxssd.data.augmentation:none",
    },
)
"""Values of `--augment`: functions `(settings, size) -> steps`, or plain tuples of steps, which are applied in order.

The settings are an `AugmentationConfig`, the size is the height and width of the network's input. A step changes one
image and its boxes, or a batch; see `jaxssd.data.augmentation`.
"""
