"""Every public function, once: what it takes, what may be traced, and what has a gradient."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxssd

RNG = np.random.default_rng(0)
ANCHORS = jaxssd.make_anchors((2,), (1.0,), ((1.0, 1.0),))
NEAR = RNG.random((4, 2)) / 2
BOXES = np.concatenate([NEAR, NEAR + 0.3], axis=-1).astype(np.float32)
LOGITS, ACTIVATIONS = (RNG.normal(size=(4, n)).astype(np.float32) for n in (3, 4))
LABELS, VALID = np.array([0, 2, 1, 0], np.int32), np.array([True, True, False, True])
TARGETS = jaxssd.Targets(BOXES, np.eye(3, dtype=np.float32)[LABELS] * VALID[:, None], VALID, VALID[::-1])
IMAGE = RNG.random((6, 8, 3), np.float32)
FEW = {"max_outputs": 3}
SCALES = (9.0, 9.0, 5.0, 4.0)
TURN = jaxssd.Augmentation(
    flip=np.array(True),
    scale=np.float32([1.1, 0.9]),
    translation=np.float32([0.0, 0.1]),
    brightness=np.float32(0.1),
    contrast=np.float32(0.2),
    angle=np.float32(0.3),
)
COLORS = jaxssd.ColorDistortion(
    *map(np.float32, (0.1, 1.2, 0.8, 30.0)), contrast_last=np.array(True), order=np.array([2, 0, 1], np.int32)
)
RECOLORED = TURN._replace(
    brightness=None, contrast=None, angle=None, vertical_flip=np.array(True), color=COLORS._replace(order=None)
)


class Row(NamedTuple):
    """A function and how to call it.

    Attributes:
        function: takes `arguments`, which can be mapped by `vmap`, and names that can be traced or not.
        arguments: arrays, or tuples of them.
        settings: names and values that can be traced.
        keywords: names and values that cannot.
        gradients: places of the arguments that have a gradient.
        sizes: symbols for the shape of each argument, where a size may be one.
        shared: strings such as `"110"`, of which arguments a batch has one an image; the others it shares.
        keeps_float64: whether float64 stays float64.
    """

    function: Any
    arguments: tuple
    settings: Mapping[str, Any] = MappingProxyType({})
    keywords: Mapping[str, Any] = MappingProxyType({})
    gradients: tuple[int, ...] = ()
    sizes: tuple = ()
    shared: tuple[str, ...] = ()
    keeps_float64: bool = True

    def with_settings(self) -> Any:
        return partial(self.function, **self.keywords, **self.settings)

    def value_and_gradients(self) -> Any:
        """Of the arguments: what the function returns, and the gradients of its sum."""
        function = self.with_settings()

        def total(arguments):
            value = function(*arguments)
            floats = [x for x in jax.tree.leaves(value) if jnp.issubdtype(x.dtype, jnp.floating)]
            return sum(map(jnp.sum, floats), jnp.float32(0)), value

        def both(*arguments):
            def of_some(some):
                return total([some.get(place, x) for place, x in enumerate(arguments)])

            gradients, value = jax.grad(of_some, has_aux=True)({i: arguments[i] for i in self.gradients})
            return value, gradients

        return both if self.gradients else function

    def batch(self, own: Sequence[bool] | None = None) -> list:
        """Arguments of two images, or of those of `own` that each image has for itself."""
        own = own or [True] * len(self.arguments)
        return [jax.tree.map(with_another, x) if yes else x for x, yes in zip(self.arguments, own, strict=True)]


def with_another(x: Any) -> Any:
    """A second image with the first one's rows in another order; for a key another key."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jnp.stack([x, jax.random.fold_in(x, 1)])
    return np.stack([x, np.roll(x, 1, axis=0)]) if np.ndim(x) else np.stack([x, x])


def lesson_anchors(zooms, ratios):
    return inspect.unwrap(jaxssd.make_anchors)((2, 1), zooms, ratios)


def corner_anchors(zooms, ratios):
    return inspect.unwrap(jaxssd.retinanet_anchors)((40, 60), levels=(3, 4), zooms=zooms, ratios=ratios)


ROWS = {
    "box_area": Row(jaxssd.box_area, (BOXES,), gradients=(0,), sizes=("N,4",)),
    "box_iou": Row(jaxssd.box_iou, (BOXES, BOXES[::-1]), gradients=(0, 1), sizes=("N,4", "M,4"), shared=("10",)),
    "generalized_box_iou": Row(
        jaxssd.generalized_box_iou, (BOXES, BOXES[::-1]), gradients=(0, 1), sizes=("N,4", "M,4"), shared=("01",)
    ),
    "giou_loss": Row(jaxssd.giou_loss, (BOXES, BOXES[::-1]), gradients=(0, 1), sizes=("N,4", "N,4"), shared=("10",)),
    "diou_loss": Row(jaxssd.diou_loss, (BOXES, BOXES[::-1]), gradients=(0, 1), sizes=("N,4", "N,4"), shared=("10",)),
    "ciou_loss": Row(jaxssd.ciou_loss, (BOXES, BOXES[::-1]), gradients=(0, 1), sizes=("N,4", "N,4"), shared=("10",)),
    "clip_boxes": Row(jaxssd.clip_boxes, (BOXES,), gradients=(0,), sizes=("N,4",)),
    "to_corners": Row(jaxssd.to_corners, (BOXES,), gradients=(0,), sizes=("N,4",)),
    "to_center_size": Row(jaxssd.to_center_size, (BOXES,), gradients=(0,), sizes=("N,4",)),
    "decode_tanh": Row(
        jaxssd.decode_tanh, (ACTIVATIONS, ANCHORS), gradients=(0,), sizes=("A,4", ("A,4", "A,4", "A,1")), shared=("10",)
    ),
    "encode_offsets": Row(
        jaxssd.encode_offsets,
        (BOXES, ANCHORS),
        {"scales": SCALES},
        gradients=(0,),
        sizes=("A,4", ("A,4", "A,4", "A,1")),
        shared=("10",),
    ),
    "decode_offsets": Row(
        jaxssd.decode_offsets,
        (ACTIVATIONS, ANCHORS),
        {"scales": SCALES},
        gradients=(0,),
        sizes=("A,4", ("A,4", "A,4", "A,1")),
        shared=("10",),
    ),
    "bce_loss": Row(jaxssd.bce_loss, (LOGITS, LOGITS > 0), gradients=(0,), sizes=("A,C", "A,C"), shared=("10",)),
    "focal_loss": Row(
        jaxssd.focal_loss,
        (LOGITS, LOGITS > 0),
        {"alpha": 0.3, "gamma": 1.5},
        gradients=(0,),
        sizes=("A,C", "A,C"),
        shared=("10",),
    ),
    "softmax_loss": Row(
        jaxssd.softmax_loss, (LOGITS, LOGITS[:, :2] > 1), gradients=(0,), sizes=("A,C+1", "A,C"), shared=("10",)
    ),
    "hard_negative_mask": Row(
        jaxssd.hard_negative_mask,
        (LOGITS[:, 0], VALID),
        {"ratio": 1, "min_negatives": 1},
        sizes=("A", "A"),
        shared=("10",),
    ),
    "match_anchors": Row(
        jaxssd.match_anchors,
        (ANCHORS.corners, BOXES, VALID),
        {"threshold": 0.3},
        sizes=("A,4", "G,4", "G"),
        shared=("011", "001"),
    ),
    "match_anchors, several for each object": Row(
        jaxssd.match_anchors,
        (ANCHORS.corners, BOXES, VALID),
        {"threshold": 0.5, "min_iou": 0.1},
        {"anchors_per_object": 2},
        sizes=("A,4", "G,4", "G"),
        shared=("011", "001"),
    ),
    "match_anchors, the lesson's rule": Row(
        jaxssd.match_anchors,
        (ANCHORS.corners, BOXES, VALID),
        {"threshold": 0.3},
        {"rule": "lesson"},
        sizes=("A,4", "G,4", "G"),
        shared=("011", "001"),
    ),
    "ssd_loss": Row(
        jaxssd.ssd_loss,
        (LOGITS, ACTIVATIONS, BOXES, LABELS, VALID, ANCHORS),
        {"negative_ratio": 2, "threshold": 0.3},
        gradients=(0, 1),
        sizes=("A,C", "A,4", "G,4", "G", "G", ("A,4", "A,4", "A,1")),
        shared=("111110", "110000", "110010"),
    ),
    "ssd_loss, the lesson's rule": Row(
        jaxssd.ssd_loss,
        (LOGITS, ACTIVATIONS, BOXES, LABELS, VALID, ANCHORS),
        {"threshold": 0.3},
        {"rule": "lesson"},
        gradients=(0, 1),
        sizes=("A,C", "A,4", "G,4", "G", "G", ("A,4", "A,4", "A,1")),
        shared=("111110", "110000", "110010"),
    ),
    "ssd_loss, softmax and overlap": Row(
        jaxssd.ssd_loss,
        (LOGITS, ACTIVATIONS, BOXES, LABELS // 2, VALID, ANCHORS),
        {"negative_ratio": 2, "min_negatives": 1, "ignore_threshold": 0.1, "box_loss_weight": 2.0},
        {"class_loss": jaxssd.softmax_loss, "background": True, "box_loss": jaxssd.ciou_loss},
        gradients=(0, 1),
        sizes=("A,C", "A,4", "G,4", "G", "G", ("A,4", "A,4", "A,1")),
        shared=("111110", "110000"),
    ),
    "assign_targets": Row(
        jaxssd.assign_targets,
        (ANCHORS, BOXES, LABELS, VALID),
        {"threshold": 0.3, "ignore_threshold": 0.1},
        {"num_classes": 3},
        sizes=(("A,4", "A,4", "A,1"), "G,4", "G", "G"),
        shared=("0111", "0001"),
    ),
    "detection_loss": Row(
        jaxssd.detection_loss,
        (LOGITS, ACTIVATIONS, TARGETS, ANCHORS),
        {"negative_ratio": 2, "normalizer": 1.5},
        gradients=(0, 1),
        sizes=("A,C", "A,4", ("A,4", "A,C", "A", "A"), ("A,4", "A,4", "A,1")),
        shared=("1110", "1100"),
    ),
    "nms": Row(
        jaxssd.nms,
        (BOXES, LOGITS[:, 0], VALID),
        {"iou_threshold": 0.3},
        FEW,
        sizes=("K,4", "K", "K"),
        shared=("011", "100"),
    ),
    "multiclass_nms": Row(
        jaxssd.multiclass_nms,
        (BOXES, LOGITS),
        {"iou_threshold": 0.3, "score_threshold": 0.1},
        FEW,
        sizes=("A,4", "A,C"),
        shared=("01", "10"),
    ),
    "multiclass_nms, of fewer candidates than anchors": Row(
        jaxssd.multiclass_nms,
        (BOXES, LOGITS),
        {"iou_threshold": 0.3, "score_threshold": 0.1},
        FEW | {"max_candidates": 2},
        sizes=("A,4", "A,C"),
        shared=("01", "10"),
    ),
    "multiclass_nms, candidates of each class": Row(
        jaxssd.multiclass_nms,
        (BOXES, LOGITS),
        {"iou_threshold": 0.3, "score_threshold": 0.1},
        FEW | {"max_candidates_per_class": 2},
        sizes=("A,4", "A,C"),
        shared=("01", "10"),
    ),
    "multiclass_nms, candidates of each level": Row(
        jaxssd.multiclass_nms,
        (BOXES, LOGITS),
        {"iou_threshold": 0.3, "score_threshold": 0.1},
        FEW | {"max_candidates_per_level": 2, "level_sizes": (3, 1)},
        sizes=("4,4", "4,3"),
        shared=("01", "10"),
    ),
    "multiclass_nms, soft": Row(
        jaxssd.multiclass_nms,
        (BOXES, LOGITS),
        {"soft_sigma": 0.4, "score_threshold": 0.1},
        FEW,
        sizes=("A,4", "A,C"),
        shared=("01", "10"),
    ),
    "soft_nms": Row(
        jaxssd.soft_nms,
        (BOXES, LOGITS[:, 0], VALID),
        {"sigma": 0.4, "score_threshold": 0.01},
        FEW,
        sizes=("K,4", "K", "K"),
        shared=("011", "100"),
    ),
    "remove_small_boxes": Row(
        jaxssd.remove_small_boxes, (BOXES, VALID), {"min_size": 0.1}, sizes=("N,4", "N"), shared=("10", "01")
    ),
    "anchors_of": Row(jaxssd.anchors_of, (BOXES,), gradients=(0,), sizes=("A,4",)),
    "make_anchors": Row(
        lesson_anchors,
        (np.float32([0.5, 1.0]), np.float32([[1.0, 0.5], [0.5, 1.0]])),
        gradients=(0, 1),
        keeps_float64=False,
    ),
    "retinanet_anchors": Row(
        corner_anchors, (np.float32([4.1, 5.3]), np.float32([[0.7, 1.37], [1, 1]])), keeps_float64=False
    ),
    "ssd300_anchors": Row(
        jaxssd.ssd300_anchors,
        (np.float32([9, 30, 60, 90, 120, 150, 180]),),
        {"largest": 170.0},
        keeps_float64=False,
    ),
    "sample_augmentation": Row(
        jaxssd.sample_augmentation,
        (jax.random.key(0),),
        {"flip": 1.0, "rotation": 20.0, "rotation_probability": 1.0, "scale": (0.5, 1.5), "aspect": (0.75, 1.25),
         "brightness": 0.1, "contrast": 0.2},
        keeps_float64=False,
    ),
    "augment_image": Row(
        jaxssd.augment_image,
        (IMAGE, TURN),
        {"fill": (0.1, 0.2, 0.3)},
        gradients=(0,),
        sizes=("H,W,3", None),
        shared=("10", "01"),
    ),
    "augment_image, colours at another size": Row(
        jaxssd.augment_image, (IMAGE, RECOLORED), {}, {"size": (4, 5)}, gradients=(0,), shared=("10", "01")
    ),
    "sample_color_distortion": Row(
        jaxssd.sample_color_distortion,
        (jax.random.key(0),),
        {"probability": 1.0, "brightness": 0.2, "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": 18.0,
         "channel_order": 0.9},
        keeps_float64=False,
    ),
    "distort_colors": Row(
        jaxssd.distort_colors,
        (IMAGE, COLORS),
        {"mean": 0.4},
        gradients=(0,),
        sizes=("H,W,3", None),
        shared=("10", "01"),
    ),
    "sample_ssd_augmentation": Row(
        jaxssd.sample_ssd_augmentation,
        (jax.random.key(0), BOXES, VALID),
        {"flip": 1.0, "vertical_flip": 0.9, "zoom_out": (2.0, 4.0), "zoom_out_probability": 0.9, "crop": (0.5, 1.0),
         "aspect": (0.5, 2.0), "min_ious": (0.2, 0.4)},
        {"candidates": 3},
        sizes=(None, "G,4", "G"),
        shared=("100", "011"),
        keeps_float64=False,
    ),
    "augment_boxes": Row(
        jaxssd.augment_boxes,
        (BOXES, VALID, TURN),
        {"min_visible": 0.2},
        {"image_size": (6, 8)},
        gradients=(0,),
        sizes=("G,4", "G", None),
        shared=("110", "001"),
    ),
}  # fmt: skip
