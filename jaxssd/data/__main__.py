"""What is in a data set, before anything is trained on it.

    python -m jaxssd.data PATH                   a PASCAL VOC folder, or whatever else train.py's --data takes
    python -m jaxssd.data shapes --preset quick  the generated pictures, as another preset sees them
    python -m jaxssd.data PATH --ratios 1 1 2 .5 the same with anchors of yours

Prints counts, sizes, what the preset's anchors cannot reach, boxes that look wrong, pictures that are there twice, and
anchors that would suit the objects better. Leaves `inspection.png`, and `inspection.json` with every case.
"""

import json
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from jaxssd import viz
from jaxssd.atomic import write_text
from jaxssd.config import Config
from jaxssd.data.load import load_split, notes_on_splits, with_classes
from jaxssd.models import BACKBONES, HEADS
from jaxssd.presets import PRESETS
from jaxssd.tasks import TASKS
from jaxssd.tasks.task import make_task
from jaxssd.tools.inspection.anchor_fit import AnchorSettings, advise
from jaxssd.tools.inspection.inspection import cover, inspect
from jaxssd.tools.inspection.record import inspection_record
from jaxssd.tools.inspection.text import report_text
from jaxssd.viz.dataset import dataset_figure

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    path: tyro.conf.Positional[str]
    """What train.py would be given as --data: a folder or file, or `shapes`."""
    preset: str = "small"
    """Whose image size, anchors and matching threshold are asked."""
    out: Path | None = None
    """Folder for inspection.json and inspection.png, which are overwritten. Default: runs/inspect-NAME."""
    anchors: int | None = None
    """Shapes to look for by clustering, and anchors a cell that are fitted. Default: as many as a cell has."""
    images: str | None = None
    """As in train.py; so are the following ones. Where nothing is given, the preset's value holds."""
    train_split: str | None = None
    """Split to train on."""
    val_split: str | None = None
    """Split to validate on."""
    classes: tuple[str, ...] | None = None
    """Names of the classes to look at; objects of others are left out."""
    image_size: int | None = None
    """Side of the network's input in pixels."""
    aspect: Literal["squash", "letterbox", "crop"] | None = None
    """How an image becomes a square."""
    exif: Literal["auto", "apply", "ignore"] | None = None
    """EXIF orientation of photographs: apply it, ignore it, or find out which picture the boxes were drawn on."""
    grids: tuple[int, ...] | None = None
    """Side lengths of the anchor grids."""
    zooms: tuple[float, ...] | None = None
    """Sizes of the anchors relative to their cell."""
    ratios: tuple[tuple[float, float], ...] | None = None
    """Shapes of the anchors, (height, width) relative to their zoom."""


OF_A_RUN = ("images", "train_split", "val_split", "classes", "image_size", "aspect", "exif", "grids", "zooms", "ratios")
"""The options that are settings of a run."""


def main(arguments: list[str]) -> None:
    """Parse, load, look, tell."""
    command = tyro.cli(Command, prog="python -m jaxssd.data", description=__doc__, args=arguments)
    try:
        tell(command)
    except (OSError, ValueError) as error:
        sys.exit(f"jaxssd.data: {error}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def tell(command: Command) -> None:
    """Print the text; write the record and the figure."""
    if command.anchors is not None and command.anchors < 1:
        raise ValueError(f"--anchors is {command.anchors}, expected 1 or more")
    config = configure(command)
    config = replace(config, dataset=with_classes(config.dataset))
    make_task(config)  # raises where the network has no such grids
    datasets = {split: load_split(config.dataset, split) for split in SPLITS}

    size, anchors = config.dataset.image_size, config.anchors
    given = AnchorSettings(anchors.grids, anchors.zooms, anchors.ratios)
    inspection = inspect(datasets)
    coverage = cover(inspection, given.corners)
    of_train = inspection.trained_on & inspection.in_split("train")
    advice = advise(
        inspection.objects.boxes[of_train],
        inspection.objects.boxes[inspection.trained_on],
        given,
        count=command.anchors or given.boxes_per_cell,
        threshold=config.anchors.match_threshold,
        other_grids=[network_grids(config)],
        finer=given._replace(grids=network_grids(config.replace(image_size=2 * size))) if size <= 2048 else None,
    )
    print(f"{config.dataset.data}, for the preset {command.preset}: {size} x {size} pixels ({config.dataset.aspect})\n")
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
    figure = dataset_figure(inspection, coverage, advice, config.anchors.match_threshold, title=config.dataset.data)
    viz.save(figure, folder / "inspection.png")
    print(f"\nfigure   {folder / 'inspection.png'}\nnumbers  {folder / 'inspection.json'}")


def configure(command: Command) -> Config:
    """The run that the command is about.

    Raises:
        ValueError: if there is no such preset, or it has no anchors; or for a value out of range.
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
    return PRESETS[command.preset]().replace(data=command.path, **given)


def network_grids(config: Config) -> tuple[int, ...]:
    """All grids that the network of a run can have, largest first."""
    stride = BACKBONES[config.model.backbone]().output_stride
    return HEADS[config.model.head].available_grids(-(-config.dataset.image_size // stride))


def train_command(command: Command, anchors: AnchorSettings) -> str:
    """How to train with other anchors."""
    words = ["python", "train.py", command.preset, "--data", command.path]
    for name in OF_A_RUN:
        value = getattr(command, name)
        if value is not None and name not in AnchorSettings._fields:
            words += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return f"{shlex.join(words)} {anchors.options()}"


def name_of(path: str) -> str:
    """A name for a folder: the last part of the path, without what only some file systems allow."""
    found = Path(path).resolve()
    last = f"{found.parent.name}-{found.stem}" if found.is_file() else found.name if found.exists() else path
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "data"


if __name__ == "__main__":
    main(sys.argv[1:])
