"""Fine-tuning: start a run from the weights of a backbone, or of a whole detector with other classes."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxssd.config import Config
from jaxssd.data.class_filter import listing
from jaxssd.models import HEADS
from jaxssd.models.coco_classes import common_name
from jaxssd.models.download import find_weights, is_name
from jaxssd.models.pretrained import load_pretrained
from jaxssd.models.published import find_published
from jaxssd.tasks import TASKS
from jaxssd.tasks.task import Task, make_task
from jaxssd.training.distribution import barrier, is_main_process
from jaxssd.training.run_folder import RunFolder
from jaxssd.training.step import Variables
from jaxssd.training.variables import as_collections, backbone_of, restore, variable_shapes


class Pretrained(NamedTuple):
    """Weights that a run starts from.

    Attributes:
        collections: Flax collections, such as `params` and `batch_stats`, of NumPy arrays: the `backbone`, and the
            `head` of a whole network.
        config: settings of the whole network; None for a backbone alone.
    """

    collections: dict[str, Any]
    config: Config | None = None


def locate(config: Config) -> str:
    """Find the weights of a run, and download those that have a name, before the data is read.

    Args:
        config: settings of the run, with a name, a file or the folder of a run.

    Returns:
        The name, or the absolute path, so that the run can be resumed from anywhere.

    Raises:
        ValueError: if the name is that of another backbone. Also raised by `find_weights`.
        OSError: as `find_weights` does.
    """
    given, backbone = str(config.model.pretrained), config.model.backbone
    published = find_published(given)
    if published and published.backbone not in backbone:
        whole = f", or train the preset {published.preset}" if published.preset else ""
        raise ValueError(
            f"--pretrained {given} has the weights of a {published.backbone}, and the backbone is {backbone}: choose "
            f"--backbone {published.backbone}{whole}"
        )
    path = find_weights(given) if is_main_process() else None  # the others find it where they share a cache
    barrier("at the pretrained weights")
    path = path or find_weights(given)
    if published:
        fits = (published.mean, published.std) == (config.model.mean, config.model.std)
        input_of = f"--mean {_numbers(published.mean)} --std {_numbers(published.std)}"
        words = "images are normalised as it expects" if fits else "images are NOT normalised as it expects"
        named = f"{published.name} ({published.score})" if is_name(given) else f"{given}, read as {published.name}"
        print(f"{named}: {words}, {input_of}")
    if is_name(given):
        return given
    # A link to a file keeps its own name where that says what the weights are.
    return str(path.parent.resolve() / path.name if published else path.resolve())


def read_pretrained(config: Config, task: Task) -> Pretrained:
    """Read the weights that a run starts from.

    Args:
        config: settings of the run, with a name, a file or the folder of a run.
        task: task of the run.

    Returns:
        The whole network of a run, or of a published detector with the backbone of this run; otherwise the backbone.

    Raises:
        ValueError: if the weights are of another network, or of images normalised in another way, with the setting.
        FileNotFoundError: if there is no such file or run.
        OSError: as `find_weights` does.
    """
    given = str(config.model.pretrained)
    path = find_weights(given)
    if path.is_dir():
        theirs, _, variables = restore(RunFolder(path))
        old, new = theirs.settings(), config.settings()
        for name in ("backbone", "mean", "std"):
            if old[name] != new[name]:
                raise ValueError(f"--pretrained {path} was trained with --{name} {old[name]}, not {new[name]}")
        return Pretrained(jax.device_get(as_collections(variables)), theirs)
    published = _published_detector(given)
    if published and published.model.backbone == config.model.backbone:
        from jaxssd.models.torchvision_names import load_detector

        like = as_collections(variable_shapes(make_task(published), published.dataset.input_shape))
        return Pretrained(load_detector(path, like, background=published.loss.background), published)
    backbone = load_pretrained(path, backbone_of(variable_shapes(task, config.dataset.input_shape)))
    return Pretrained({name: {"backbone": tree} for name, tree in backbone.items()})


def with_pretrained(variables: Variables, pretrained: Pretrained, config: Config) -> tuple[Variables, list[str]]:
    """Take what fits from pretrained weights.

    The backbone is taken. From a detector with the head of this run, so is every other tensor of the same name and
    shape: neck, extra layers, towers and box outputs. The outputs of a class are taken if the detector knows it, by the
    same name or by VOC's word for a class of COCO. Outputs are new where a cell has another number of anchors.

    Args:
        variables: random variables of the run.
        pretrained: weights that `read_pretrained` has read.
        config: settings of the run.

    Returns:
        The variables, with NumPy arrays for what was taken; and lines for the log.
    """
    ours, known = as_collections(variables), dict(jax.tree.leaves_with_path(pretrained.collections))
    leaves, theirs = jax.tree.leaves_with_path(ours), pretrained.config
    new_head = "" if theirs is None else _why_new_head(config, theirs)
    if theirs is None or new_head:
        taken = {path: known[path] for path, _ in leaves if path in known and path[1].key != "head"}
        lines = [f"the backbone, {len(taken)} of {len(leaves)} tensors; the head is new{new_head}"]
    else:
        shared = shared_classes(config.dataset.classes, theirs.dataset.classes)
        found = {
            path: _what_fits(path, leaf, known[path], shared, (config, theirs))
            for path, leaf in leaves
            if path in known
        }
        taken = {path: value for path, value in found.items() if value is not None}
        kept = [name for name in shared if any(_is_of_classes(path) for path in taken)]
        new = [name for name in config.dataset.classes if name not in kept]
        whole = [path for path in taken if not (new and _is_of_classes(path))]
        lines = [
            f"{len(whole)} of {len(leaves)} tensors{_other_anchors(leaves, known)}",
            f"class rows kept: {listing(kept) or 'none'}; new: {listing(new) or 'none'}",
        ]
    merged = jax.tree.map_with_path(lambda path, leaf: taken.get(path, leaf), ours)
    return Variables(merged.pop("params"), merged), [f"{config.model.pretrained}: {line}" for line in lines]


def shared_classes(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Find the classes that two detectors share, by their names, or else by `common_name`.

    Args:
        ours: class names of one detector.
        theirs: class names of the other.

    Returns:
        Place in `ours` and place in `theirs` of each shared class, by its name in `ours`.

    Example:
        >>> shared_classes(["zebra", "sofa"], ["person", "couch", "dog"])
        {'sofa': (1, 1)}
    """
    same = {name: place for place, name in enumerate(theirs)}
    alike = {common_name(name): place for place, name in reversed(list(enumerate(theirs)))}
    found = {name: (place, same.get(name, alike.get(common_name(name)))) for place, name in enumerate(ours)}
    return {name: (here, there) for name, (here, there) in found.items() if there is not None}


def take_rows(
    ours: np.ndarray, theirs: np.ndarray, places: Iterable[tuple[int, int]], outputs: Sequence[int]
) -> np.ndarray | None:
    """Take the outputs of some classes from another network's last convolution.

    Args:
        ours: kernel or bias of our class outputs, `[..., k * outputs[0]]` for k boxes of a cell.
        theirs: that of the other network, `[..., k * outputs[1]]`.
        places: places of a class in our outputs and in theirs.
        outputs: number of outputs for each box, ours and theirs.

    Returns:
        Copy of `ours` with rows of `theirs`; None if the shapes differ in anything but the outputs.

    Example:
        >>> take_rows(np.zeros(4), np.arange(1.0, 7.0), [(1, 0)], (2, 3))  # two boxes
        array([0., 1., 0., 4.])
    """
    boxes = ours.shape[-1] // outputs[0]
    if theirs.shape != (*ours.shape[:-1], boxes * outputs[1]):
        return None
    rows = ours.copy().reshape(*ours.shape[:-1], boxes, outputs[0])
    other = theirs.reshape(*theirs.shape[:-1], boxes, outputs[1])
    for here, there in places:
        rows[..., here] = other[..., there]
    return rows.reshape(ours.shape)


def _published_detector(weights: str) -> Config | None:
    """Settings of a published detector with its own classes; None for other weights."""
    from jaxssd.presets import of_published

    published = find_published(weights)
    return of_published(published) if published and published.preset else None


def _why_new_head(config: Config, theirs: Config) -> str:
    """Reason for which nothing of a head is taken, as the end of a sentence; empty if there is none."""
    if config.task != theirs.task or not TASKS[config.task].has_anchors:
        return f" (the weights are those of {theirs.task})"
    if config.model.head != theirs.model.head:
        return f" (the weights have --head {theirs.model.head})"
    finest, other = (HEADS[each.model.head].settings(each).get("levels") for each in (config, theirs))
    if finest != other:  # numbers in the names stand for other levels then
        return " (the weights start from another level of the backbone)"
    return ""


def _what_fits(
    path: tuple[Any, ...], ours: Any, theirs: np.ndarray, shared: dict[str, tuple[int, int]], of: tuple[Config, Config]
) -> np.ndarray | None:
    """Tensor to start from, given our random one and that of another detector; None to stay random."""
    background = [config.loss.background for config in of]
    if _is_of_classes(path):  # without a shared class, background starts anew as well
        counts = [len(config.dataset.classes) + config.loss.background for config in of]
        places = [*shared.values(), *[(-1, -1)] * background[0]]
        return (
            take_rows(np.asarray(ours), theirs, places, counts) if shared and background[0] == background[1] else None
        )
    if _is_of_boxes(path) and of[0].loss.box_coder != of[1].loss.box_coder:
        return None
    return theirs if theirs.shape == ours.shape else None


def _other_anchors(leaves: list[tuple[Any, Any]], known: dict[Any, Any]) -> str:
    """End of a line on the numbers of anchors, if they differ."""
    counts = {
        (leaf.shape[-1] // 4, known[path].shape[-1] // 4)
        for path, leaf in leaves
        if path in known and _is_of_boxes(path)
    }
    differ = [f"{new} and were {old}" for new, old in sorted(counts) if new != old]
    return f"; anchors per cell are {differ[0]}: the outputs are new" if differ else ""


def _is_of_classes(path: tuple[Any, ...]) -> bool:
    return path[-2].key == "classes"


def _is_of_boxes(path: tuple[Any, ...]) -> bool:
    return path[-2].key == "boxes"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
