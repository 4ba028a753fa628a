"""From files, or from nothing, to a `Dataset` of padded arrays."""

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
