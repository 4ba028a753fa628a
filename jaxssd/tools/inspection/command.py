"""Inspect a data set before training.

    python -m jaxssd.data PATH                   a PASCAL VOC folder, or anything else that train.py takes as --data
    python -m jaxssd.data shapes --preset quick  the generated pictures, with the settings of another preset
    python -m jaxssd.data PATH --ratios 1 1 2 .5 with other anchors

Prints counts, sizes, the best possible recall with the preset's anchors, suspicious boxes, duplicate pictures, and
anchors that fit the objects better. Writes `inspection.png`, and `inspection.json` with every case.
"""

import json
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from jaxssd.atomic import write_text
from jaxssd.config import Aspect, Config, Exif, unset_is
from jaxssd.data.anchor_fit import AnchorSettings, advise
from jaxssd.data.load import load_split, notes_on_splits, with_classes
from jaxssd.models import BACKBONES, HEADS
from jaxssd.ops.arrays import as_pair
from jaxssd.presets import PRESETS
from jaxssd.tasks import TASKS
from jaxssd.tasks.task import make_task
from jaxssd.tools.inspection.coverage import cover
from jaxssd.tools.inspection.inspection import inspect
from jaxssd.tools.inspection.record import inspection_record
from jaxssd.tools.inspection.text import report_text

SPLITS = ("train", "val")


PRESETS_VALUE = unset_is("the preset's")


@dataclass(frozen=True)
class Command:
    """Options of the command line."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """Data set: a folder, a file or `shapes`, like `--data` of train.py."""
    preset: Annotated[str | None, unset_is("`small` on a CPU, `large` on a GPU or TPU, as in train.py")] = None
    """Preset whose image size, anchors and matching threshold are used."""
    out: Annotated[Path | None, unset_is("runs/inspect-NAME")] = None
    """Folder for inspection.json and inspection.png."""
    anchors: Annotated[int | None, unset_is("as many as the preset has")] = None
    """Number of anchors per cell to fit to the objects."""
    images: Annotated[str | None, unset_is("found beside the annotations")] = None
    """Image folder of a COCO data set."""
    train_split: Annotated[str | None, unset_is("`train`, or all images that are not held out")] = None
    """Name of the training split."""
    val_split: Annotated[str | None, unset_is("`val`, or a random share of the images")] = None
    """Name of the validation split."""
    classes: Annotated[tuple[str, ...] | None, unset_is("all classes")] = None
    """Names of the classes to inspect; objects of other classes are left out."""
    image_size: Annotated[tuple[int, ...] | None, PRESETS_VALUE] = None
    """Input size of the network in pixels: one side, or height and width."""
    aspect: Annotated[Aspect | None, PRESETS_VALUE] = None
    """Resizing to the input size: `squash` changes the shape, `letterbox` pads, `crop` takes the middle."""
    exif: Annotated[Exif | None, PRESETS_VALUE] = None
    """EXIF orientation: apply it, ignore it, or `auto` to decide by the boxes."""
    grids: Annotated[tuple[int, ...] | None, PRESETS_VALUE] = None
    """Anchor grids: cells along the longer side of each (presets of the lesson, and `quick`)."""
    levels: Annotated[tuple[int, ...] | None, PRESETS_VALUE] = None
    """Pyramid levels with anchors; level 3 has cells of 8 pixels, 4 of 16 (`small` and `large`)."""
    zooms: Annotated[tuple[float, ...] | None, PRESETS_VALUE] = None
    """Anchor scales relative to the grid cell."""
    ratios: Annotated[tuple[tuple[float, float], ...] | None, PRESETS_VALUE] = None
    """Anchor aspect ratios: pairs of height and width, multiplied by the scale."""


OF_A_RUN = (
    "images",
    "train_split",
    "val_split",
    "classes",
    "image_size",
    "aspect",
    "exif",
    "grids",
    "levels",
    "zooms",
    "ratios",
)
"""Options that are settings of a run."""


def main(arguments: list[str]) -> None:
    """Run the command, and exit with a message if it fails."""
    command = tyro.cli(Command, prog="python -m jaxssd.data", description=__doc__, args=arguments)
    try:
        run(command)
    except (OSError, ValueError) as error:
        sys.exit(f"jaxssd.data: {error}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def run(command: Command) -> None:
    """Print the inspection as text, and write it as JSON and as a figure."""
    if command.anchors is not None and command.anchors < 1:
        raise ValueError(f"--anchors is {command.anchors}, expected 1 or more")
    if command.preset is None:
        from jaxssd.training.distribution import has_accelerator  # a named preset needs none of the training

        command = replace(command, preset="large" if has_accelerator() else "small")
    config = configure(command)
    config = replace(config, dataset=with_classes(config.dataset))
    make_task(config)  # an error if the network has no such grids
    datasets = {split: load_split(config.dataset, split) for split in SPLITS}

    height, width = config.dataset.input_shape
    given, finer = anchors_of(config), None
    if max(height, width) <= 2048:
        finer = anchors_of(with_all_grids(config.replace(image_size=(2 * height, 2 * width))))
    inspection = inspect(datasets)
    coverage = cover(inspection, given.corners)
    of_train = inspection.trained_on & inspection.in_split("train")
    advice = advise(
        inspection.objects.boxes[of_train],
        inspection.objects.boxes[inspection.trained_on],
        given,
        boxes_per_cell=command.anchors or given.boxes_per_cell,
        threshold=config.anchors.match_threshold,
        other_grids=[anchors_of(with_all_grids(config)).grids],
        finer=finer,
    )
    print(
        f"{config.dataset.data}, for the preset {command.preset}: {height} x {width} pixels ({config.dataset.aspect})\n"
    )
    for line in notes_on_splits(config.dataset, "--val-split"):
        print(f"  {line}\n")
    print(report_text(inspection, coverage, advice, config.anchors.match_threshold))
    if advice.suggestion:
        print(f"  {train_command(command, advice.suggestion.settings)}")

    folder = command.out or Path("runs") / f"inspect-{name_of(command.path)}"
    folder.mkdir(parents=True, exist_ok=True)
    about = {"data": config.dataset.data, "preset": command.preset, "aspect": config.dataset.aspect}
    record = about | inspection_record(inspection, coverage, advice, config.anchors.match_threshold)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / "inspection.json", text, errors="backslashreplace")
    from jaxssd import viz  # not before there is something to draw: matplotlib is slow to import
    from jaxssd.tools.inspection.figure import dataset_figure

    figure = dataset_figure(inspection, coverage, advice, config.anchors.match_threshold, title=config.dataset.data)
    viz.save(figure, folder / "inspection.png")
    print(f"\nfigure   {folder / 'inspection.png'}\nnumbers  {folder / 'inspection.json'}")


def configure(command: Command) -> Config:
    """Settings of the run that the command inspects for.

    Raises:
        ValueError: if the preset does not exist, has no anchors, or has no such option, or a value is out of range.
    """
    with_anchors = [
        name
        for name, preset in PRESETS.items()
        if TASKS[preset().task].has_anchors and not HEADS[preset().model.head].fixed_anchors
    ]
    if command.preset not in with_anchors:
        why = "has no anchors to choose" if command.preset in PRESETS else "does not exist"
        raise ValueError(f"the preset {command.preset!r} {why}; choose one of {', '.join(with_anchors)}")
    given = {name: getattr(command, name) for name in OF_A_RUN if getattr(command, name) is not None}
    preset = PRESETS[command.preset]()
    used, unused = ("grids", "levels") if HEADS[preset.model.head].available_grids(1) else ("levels", "grids")
    if unused in given:
        raise ValueError(
            f"--{unused} has no effect with the preset {command.preset}, whose head is {preset.model.head}: "
            f"give --{used}, or another --preset"
        )
    return preset.replace(data=command.path, **given)


def network_grids(config: Config) -> tuple[int, ...]:
    """Grids that the network of a run can have, as `--grids` names them: the longer side of each, largest first."""
    stride = BACKBONES[config.model.backbone]().output_stride
    height, width = (-(-side // stride) for side in config.dataset.input_shape)
    return tuple(max(as_pair(grid)) for grid in HEADS[config.model.head].available_grids((height, width)))


def with_all_grids(config: Config) -> Config:
    """Settings of a run with all grids that its network can have."""
    return config.replace(grids=network_grids(config))


def anchors_of(config: Config) -> AnchorSettings:
    """Anchors of a run."""
    head, anchors = HEADS[config.model.head], config.anchors
    no_option = not head.available_grids(1)
    return AnchorSettings(
        head.anchor_grids(config), anchors.zooms, anchors.ratios, config.dataset.input_shape, levels_decide=no_option
    )


def train_command(command: Command, anchors: AnchorSettings) -> str:
    """Command that trains with other anchors."""
    words = ["python", "train.py", str(command.preset), "--data", command.path]
    for name in OF_A_RUN:
        value = getattr(command, name)
        if value is not None and name not in AnchorSettings._fields:
            words += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return f"{shlex.join(words)} {anchors.options()}"


def name_of(path: str) -> str:
    """Folder name for a path: its last part, with only characters that every file system allows."""
    found = Path(path).resolve()
    last = f"{found.parent.name}-{found.stem}" if found.is_file() else found.name if found.exists() else path
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "data"
