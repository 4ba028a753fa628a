"""Detectors of torchvision: names and layouts of their state dicts, to the variables of a `Detector`.

Convolutions that predict differ in more than the order of their axes:

- Offsets are x, y, width, height in torchvision and y, x, height, width here. The rows of the box convolutions change
  places.
- Class 0 is background in torchvision. In a softmax it is our last output. A network with sigmoids never learned to
  find it, so its rows are left out if our network has one class fewer.

torchvision runs the published RetinaNet v1 with an epsilon of 0 in its BatchNorms, which are frozen; ours is 1e-5 in
every network. So the scales of frozen BatchNorms are multiplied by `sqrt((variance + 1e-5) / variance)`, and the
features are the same. A file with frozen BatchNorms has no `num_batches_tracked`.

Source: the modules of `torchvision.models.detection` (version 0.29).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxssd.models.layers import EPSILON
from jaxssd.models.pretrained import (
    LEAVES,
    VGG16_LAYERS,
    checked,
    flax_layout,
    torch_module,
    torch_shape,
    without_prefix,
)
from jaxssd.models.weight_files import read_weights

OFFSET_ROWS = [1, 0, 3, 2]
"""Places in torchvision of our offsets y, x, height and width."""


class Names(NamedTuple):
    """Names of one detector of torchvision.

    Attributes:
        name: name there of a module of ours: `backbone.layer1.conv1` is `backbone.features.0`.
        renamed: regular expressions of names in older files, and what replaces them.
    """

    name: Callable[[str], str]
    renamed: tuple[tuple[str, str], ...] = ()


def load_detector(path: Path, like: dict[str, Any], *, background: bool) -> dict[str, Any]:
    """Read the variables of a whole detector from weights under torchvision's names.

    Args:
        path: file for `read_weights`, such as torchvision's `ssd300_vgg16_coco-b556d3b4.pth`; names may have a prefix.
        like: variables of the `Detector`, `{"params": ..., "batch_stats": ...}`, or only their shapes.
        background: if True, the last class output is background, and the first one in the file.

    Returns:
        Values of the file in the tree of `like`, as NumPy float32 arrays.

    Raises:
        ValueError: if torchvision has no such detector, or a tensor does not fit, as in `load_pretrained`.
        OSError: if the file cannot be read.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from safetensors.numpy import save_file
        >>> shapes = {"kernel": jax.ShapeDtypeStruct((1, 1, 2, 4), jnp.float32)}
        >>> like = {"params": {"head": {"fc6": {}, "out_conv1": {"boxes": shapes}}}}
        >>> kernel = np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1)  # rows dx, dy, dw, dh
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "detector.safetensors")
        ...     save_file({"head.regression_head.module_list.0.weight": kernel}, path)
        ...     variables = load_detector(path, like, background=True)
        >>> variables["params"]["head"]["out_conv1"]["boxes"]["kernel"][0, 0, 0]  # dy, dx, dh, dw
        array([2., 0., 6., 4.], dtype=float32)
    """
    try:
        names = _names_of(like)
        weights = {_present_name(name, names): array for name, array in read_weights(path).items()}
        places = {keys: _tensor_name(keys, names) for keys, _ in jax.tree.leaves_with_path(like)}
        boxes = _boxes_per_cell(like)
        expected = {places[keys]: torch_shape(leaf.shape) for keys, leaf in jax.tree.leaves_with_path(like)}
        found = without_prefix(weights, expected, "detector")
        found |= {
            places[keys]: _our_rows(found[places[keys]], keys, leaf, boxes, background)
            for keys, leaf in jax.tree.leaves_with_path(like)
            if places[keys] in found
        }
        values = checked(found, expected, "detector")
        if not any(name.endswith(".num_batches_tracked") for name in weights):
            values = _with_epsilon(values)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    return jax.tree.map_with_path(lambda keys, _: flax_layout(values[places[keys]]), like)


def _names_of(like: dict[str, Any]) -> Names:
    """Names of the detector, which a module of its head tells."""
    found = [names for module, names in DETECTORS.items() if module in like["params"]["head"]]
    if not found:
        raise ValueError(
            "holds a whole detector, but the head has no counterpart in torchvision; expected a preset such as "
            "ssd300_vgg16, or weights of the backbone"
        )
    return found[0]


def _present_name(name: str, names: Names) -> str:
    for pattern, replacement in names.renamed:
        name = re.sub(pattern, replacement, name)
    return name


def _tensor_name(keys: tuple[Any, ...], names: Names) -> str:
    *modules, leaf = (entry.key for entry in keys[1:])  # the first is the collection
    module = names.name(".".join(modules))
    return module if module.endswith("_weight") else f"{module}.{LEAVES[leaf]}"


def _boxes_per_cell(like: dict[str, Any]) -> dict[tuple[Any, ...], int]:
    """Boxes in a cell of each pair of convolutions that predict, by the path of the pair."""
    leaves = jax.tree.leaves_with_path(like)
    return {keys[:-2]: leaf.shape[-1] // 4 for keys, leaf in leaves if keys[-2].key == "boxes"}


def _our_rows(
    tensor: np.ndarray, keys: tuple[Any, ...], leaf: Any, boxes: dict[tuple[Any, ...], int], background: bool
) -> np.ndarray:
    """Tensor with the rows of our outputs in our order, if it belongs to a convolution that predicts."""
    count, kind = boxes.get(keys[:-2]), keys[-2].key
    if count is None or kind not in ("boxes", "classes") or tensor.ndim == 0 or tensor.shape[0] % count:
        return tensor
    rows = tensor.reshape(count, -1, *tensor.shape[1:])  # a head's channels are (box, output)
    if kind == "boxes" and rows.shape[1] == len(OFFSET_ROWS):
        rows = rows[:, OFFSET_ROWS]
    elif kind == "classes" and background:
        rows = np.roll(rows, -1, axis=1)
    elif kind == "classes" and rows.shape[1] == leaf.shape[-1] // count + 1:
        rows = rows[:, 1:]
    return rows.reshape(-1, *tensor.shape[1:])


def _with_epsilon(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors with the scales that give our BatchNorm the features of one without an epsilon."""
    scaled = {}
    for name in (name for name in values if name.endswith(".running_var")):
        scale, variance = name.replace("running_var", "weight"), values[name].astype(np.float64)  # also if subnormal
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            scaled[scale] = (values[scale] * np.sqrt((variance + EPSILON) / variance)).astype(np.float32)
        if not np.isfinite(scaled[scale]).all():
            raise ValueError(f"{name} has a variance of 0 or less in a frozen BatchNorm, expected numbers above 0")
    return values | scaled


def _ssd300_name(module: str) -> str:
    """Module of torchvision's SSD300-VGG16; `extra` holds all layers after conv4_3, in five blocks."""
    if module in _SSD300:
        return _SSD300[module]
    raise ValueError(f"{module} has no counterpart in torchvision's SSD300; expected --backbone vgg16")


_BLOCK = VGG16_LAYERS["layer4.conv3"] + 2  # the pooling after conv4_3, with which `extra.0` begins
_SSD300 = {
    **{
        f"backbone.{layer}": f"backbone.extra.0.{number - _BLOCK}" if number > _BLOCK else f"backbone.features.{number}"
        for layer, number in VGG16_LAYERS.items()
    },
    "head.l2_norm": "backbone.scale_weight",
    "head.fc6": "backbone.extra.0.7.1",
    "head.fc7": "backbone.extra.0.7.3",
    **{
        f"head.extra{block}.conv{layer}": f"backbone.extra.{block}.{2 * (layer - 1)}"
        for block in range(1, 5)
        for layer in (1, 2)
    },
    **{
        f"head.out_conv{index + 1}.{kind}": f"head.{part}.module_list.{index}"
        for index in range(6)
        for kind, part in (("classes", "classification_head"), ("boxes", "regression_head"))
    },
}
"""Modules of SSD300-VGG16 in torchvision, by ours."""


def _retinanet_name(module: str) -> str:
    """Module of torchvision's RetinaNet; `backbone.body` is the ResNet, and its pyramid belongs to the backbone."""
    for pattern, name in _RETINANET.items():
        if found := re.fullmatch(pattern, module):
            return found.expand(name)
    if module.startswith("backbone."):
        return "backbone.body." + torch_module(module.removeprefix("backbone."))
    raise ValueError(
        f"{module} has no counterpart in torchvision's RetinaNet; expected --tower-norm none or group, and --levels "
        "3 4 5 6 7"
    )


_RETINANET = {
    r"head\.fpn\.(inner|layer)([0-2])": r"backbone.fpn.\1_blocks.\2.0",
    r"head\.fpn\.extra3": r"backbone.fpn.extra_blocks.p6",
    r"head\.fpn\.extra4": r"backbone.fpn.extra_blocks.p7",
    r"head\.class_tower\.conv(\d)": r"head.classification_head.conv.\1.0",
    r"head\.class_tower\.norm(\d)": r"head.classification_head.conv.\1.1",
    r"head\.box_tower\.conv(\d)": r"head.regression_head.conv.\1.0",
    r"head\.box_tower\.norm(\d)": r"head.regression_head.conv.\1.1",
    r"head\.out_conv\.classes": r"head.classification_head.cls_logits",
    r"head\.out_conv\.boxes": r"head.regression_head.bbox_reg",
}
"""Modules of RetinaNet in torchvision, by regular expressions of ours."""

_OLD_RETINANET = (
    (r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    *((rf"(_head\.conv)\.{2 * layer}\.(weight|bias)$", rf"\1.{layer}.0.\2") for layer in range(4)),
)
"""Names in files from before 2022, such as the published v1: a tower counted its convolutions and ReLUs together."""

DETECTORS = {"fc6": Names(_ssd300_name), "class_tower": Names(_retinanet_name, _OLD_RETINANET)}
"""Names of torchvision's detectors, by a module that only their head has."""
