"""Pure functions of boxes, anchors, losses and images: arrays in, arrays out, unbatched; the caller vmaps.

Functions that most runs do not need are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxssd.ops.anchors import Anchors, anchors_of, make_anchors, ssd300_anchors
from jaxssd.ops.augment import augment_boxes, augment_image
from jaxssd.ops.box_coder import (
    BOX_CODERS,
    OFFSET_CODER,
    PLAIN_OFFSET_CODER,
    TANH_CODER,
    BoxCoder,
    decode_offsets,
    decode_tanh,
    encode_offsets,
)
from jaxssd.ops.boxes import (
    box_area,
    box_iou,
    clip_boxes,
    generalized_box_iou,
    remove_small_boxes,
    to_center_size,
    to_corners,
)
from jaxssd.ops.losses import bce_loss, focal_loss, hard_negative_mask, softmax_loss
from jaxssd.ops.matching import Match, match_anchors
from jaxssd.ops.nms import Detections, NMSResult, multiclass_nms, nms
from jaxssd.ops.sampling import Augmentation, identity_augmentation, sample_augmentation
from jaxssd.ops.soft_nms import SoftNMSResult, soft_nms
from jaxssd.ops.ssd_loss import SSDLoss, detection_loss, ssd_loss
from jaxssd.ops.targets import Targets, assign_targets

if TYPE_CHECKING:
    from jaxssd.ops.box_losses import BOX_LOSSES, ciou_loss, diou_loss, giou_loss
    from jaxssd.ops.color import ColorDistortion, distort_colors, sample_color_distortion
    from jaxssd.ops.corner_anchors import retinanet_anchors
    from jaxssd.ops.iou_crop import sample_ssd_augmentation

__all__ = [
    "BOX_CODERS",
    "BOX_LOSSES",
    "OFFSET_CODER",
    "PLAIN_OFFSET_CODER",
    "TANH_CODER",
    "Anchors",
    "Augmentation",
    "BoxCoder",
    "ColorDistortion",
    "Detections",
    "Match",
    "NMSResult",
    "SSDLoss",
    "SoftNMSResult",
    "Targets",
    "anchors_of",
    "assign_targets",
    "augment_boxes",
    "augment_image",
    "bce_loss",
    "box_area",
    "box_iou",
    "ciou_loss",
    "clip_boxes",
    "decode_offsets",
    "decode_tanh",
    "detection_loss",
    "diou_loss",
    "distort_colors",
    "encode_offsets",
    "focal_loss",
    "generalized_box_iou",
    "giou_loss",
    "hard_negative_mask",
    "identity_augmentation",
    "make_anchors",
    "match_anchors",
    "multiclass_nms",
    "nms",
    "remove_small_boxes",
    "retinanet_anchors",
    "sample_augmentation",
    "sample_color_distortion",
    "sample_ssd_augmentation",
    "soft_nms",
    "softmax_loss",
    "ssd300_anchors",
    "ssd_loss",
    "to_center_size",
    "to_corners",
]

_LATER = {
    **dict.fromkeys(("BOX_LOSSES", "ciou_loss", "diou_loss", "giou_loss"), "box_losses"),
    **dict.fromkeys(("ColorDistortion", "distort_colors", "sample_color_distortion"), "color"),
    "retinanet_anchors": "corner_anchors",
    "sample_ssd_augmentation": "iou_crop",
}


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
