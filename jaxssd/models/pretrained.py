"""Pretrained weights: from torchvision's names and layouts to the variables of a `ResNet` or `VGG`."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssd.models.weight_files import read_weights

MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1", "_": "."}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
VGG16_LAYERS = {
    f"layer{stage}.conv{layer}": number
    for stage, numbers in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)), start=1)
    for layer, number in enumerate(numbers, start=1)
}
"""Number of each convolution in torchvision's `features`, which counts ReLUs and poolings too."""

CLASSIFIERS = ("fc.", "classifier.", "pre_logits.", "head.fc.")
"""Starts of a classifier's names, in torchvision and in timm's VGG."""

LISTED = 8  # tensors of each kind in an error; a wrong network has hundreds

Shapes = dict[str, tuple[int, ...]]


def load_pretrained(path: Path, like: dict[str, Any]) -> dict[str, Any]:
    """Read a backbone's variables from PyTorch weights under torchvision's names.

    Where torchvision is installed, this saves its ImageNet weights of `resnet18`, `resnet34`, `resnet50` or `vgg16`:

        torch.save(torchvision.models.resnet34(weights="IMAGENET1K_V1").state_dict(), "resnet34.pth")

    The files that it downloads can be read too, and so can others with its names, such as timm's `.safetensors`.
    All expect images normalised with ImageNet's mean and deviation, as `normalize_images` does.

    A classifier (`fc`, `classifier`) is ignored, and so are stages after the backbone's last one. A network in a bigger
    one, under a prefix such as `module.` or `backbone.`, is found by its names. Features equal PyTorch's in training
    and in evaluation, but later running statistics have Flax's biased variance, where PyTorch multiplies the variance
    of a batch's n values by n / (n - 1).

    Args:
        path: file for `read_weights`, in float16, bfloat16, float32 or float64.
        like: variables of the backbone, `{"params": ..., "batch_stats": ...}`, or only their shapes, from
            `jax.eval_shape(lambda images: backbone.init(key, images, train=False), images)`.

    Returns:
        Values of the file in the tree of `like`, as NumPy float32 arrays.

    Raises:
        ValueError: if a tensor is missing, unexpected, of another shape, not floating point, or not finite; the message
            names the file and all such tensors. Also raised by `read_weights`.
        OSError: if the file cannot be read.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> like = {"params": {"conv1": {"kernel": jax.ShapeDtypeStruct((7, 7, 3, 64), jnp.float32)}}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "stem.safetensors")
        ...     save_file({"module.conv1.weight": np.ones((64, 3, 7, 7), np.float16)}, path)
        ...     jax.tree.map(jnp.shape, load_pretrained(path, like))
        {'params': {'conv1': {'kernel': (7, 7, 3, 64)}}}
    """
    weights = read_weights(path)
    expected = {_torch_name(keys): torch_shape(leaf.shape) for keys, leaf in jax.tree.leaves_with_path(like)}
    try:
        values = checked(without_prefix(weights, expected, "backbone"), expected, "backbone")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return jax.tree.map_with_path(lambda keys, _: flax_layout(values[_torch_name(keys)]), like)


def _torch_name(keys: tuple[Any, ...]) -> str:
    """Name in torchvision: `layer2_0/downsample_bn/scale` is `layer2.0.downsample.1.weight`."""
    *modules, leaf = (entry.key for entry in keys[1:])  # the first is the collection
    return f"{torch_module('.'.join(modules))}.{LEAVES[leaf]}"


def torch_module(name: str) -> str:
    """Name in torchvision of a module of a `ResNet` or `VGG`: `layer2.0.conv1` for `layer2_0.conv1`."""
    if name in VGG16_LAYERS:
        return f"features.{VGG16_LAYERS[name]}"
    for ours, theirs in MODULES.items():
        name = name.replace(ours, theirs)
    return name


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in PyTorch of a leaf of Flax: the kernel of a convolution is `[out, in, height, width]` there."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape


def flax_layout(array: np.ndarray) -> np.ndarray:
    """Leaf of Flax from a tensor of PyTorch, the inverse of `torch_shape`."""
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array


def without_prefix(weights: dict[str, np.ndarray], expected: Shapes, part: str) -> dict[str, np.ndarray]:
    """Tensors of a network that may lie under a prefix such as `module.`, by their names without it.

    Args:
        weights: tensors of a file.
        expected: names and shapes of the network's tensors.
        part: noun for the network, for the error message.

    Raises:
        ValueError: if several prefixes fit equally.
    """
    prefix = _find_prefix(weights, expected, part)
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _find_prefix(weights: dict[str, np.ndarray], expected: Shapes, part: str) -> str:
    """Most frequent prefix of the names that end like an expected one."""
    depth = max(name.count(".") for name in expected)
    votes: Counter[str] = Counter()
    for name in weights:
        parts = name.rsplit(".", depth + 1)
        for start in range(len(parts)):
            suffix = ".".join(parts[start:])
            if suffix in expected:
                votes[name.removesuffix(suffix)] += 1
    best = [prefix for prefix, count in votes.items() if count == max(votes.values())]
    if len(best) > 1:
        raise ValueError(f"holds several networks that could be the {part}, {_listing([f'{x!r:.80}' for x in best])}")
    return best[0] if best else ""


def checked(found: dict[str, np.ndarray], expected: Shapes, part: str) -> dict[str, np.ndarray]:
    """Expected tensors in float32, or one error that lists all problems.

    Args:
        found: tensors by name. A classifier, counters of batches and later stages of a ResNet are passed over.
        expected: names and shapes.
        part: noun for the network, for the error message.

    Raises:
        ValueError: as `load_pretrained` does.
    """
    last_stage = _last_stage(expected)
    needless = {
        name
        for name in found
        if name.startswith(CLASSIFIERS) or name.endswith(".num_batches_tracked") or _stage(name) > last_stage
    }
    fitting = {name: array for name, array in found.items() if array.shape == expected.get(name)}
    with np.errstate(over="ignore"):  # float64 may overflow; infinity is reported
        values = {name: np.array(array, np.float32, order="C") for name, array in fitting.items()}
    problems = {
        "missing": [f"{name} {list(expected[name])}" for name in expected.keys() - found.keys()],
        "unexpected": [
            f"{ascii(name)[1:-1]:.80} {list(found[name].shape)}" for name in found.keys() - expected.keys() - needless
        ],
        "of another shape": [
            f"{name} {list(found[name].shape)}, expected {list(expected[name])}"
            for name in (found.keys() & expected.keys()) - fitting.keys()
        ],
        "not floating point": [
            f"{name} {array.dtype}" for name, array in fitting.items() if not jnp.issubdtype(array.dtype, jnp.floating)
        ],
        "not finite": [name for name, value in values.items() if not np.isfinite(value).all()],
    }
    lines = [f"{len(names)} {problem}: {_listing(names)}" for problem, names in problems.items() if names]
    if not lines:
        return values
    file_depth, model_depth = _depth(found), _depth(expected)
    looks = f" (it looks like a ResNet-{file_depth}, the {part} is a ResNet-{model_depth})"
    hint = looks if file_depth not in (0, model_depth) and _last_stage(found) == last_stage else ""
    raise ValueError("\n  ".join([f"does not fit the {part}{hint}", *lines]))


def _last_stage(names: Iterable[str]) -> int:
    return max(map(_stage, names), default=0)


def _stage(name: str) -> int:
    """Stage of a tensor: 3 for `layer3.0.bn1.bias`, 0 outside of the stages."""
    match = re.match(r"layer(\d{1,3})\.", name)
    return int(match[1]) if match else 0


def _depth(names: dict[str, Any]) -> int:
    """Depth in the name of a ResNet: convolutions of the blocks, stem and classifier; 0 without blocks."""
    convolutions = [name for name in names if re.fullmatch(r"layer\d+\.\d+\.conv\d\.weight", name)]
    return len(convolutions) + 2 if convolutions else 0


def _listing(names: list[str]) -> str:
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*sorted(names)[:LISTED], *more])
