"""Scores and times of the lesson's stages on photographs, after each of their phases.

    python benchmarks/lesson.py --data FOLDER                           small networks, for a CPU
    python benchmarks/lesson.py --data FOLDER --pretrained FILE         the presets unchanged, for a GPU

Without pretrained weights the backbone is small. Stage c comes first and trains it from random weights; the other
stages start from its backbone. Stages differ in task, head, anchors and loss only. `SMALL` has their options.

Each stage is a run of `train.py` in `--out`. Complete runs are not repeated; a stopped run is resumed.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from timing import report

from jaxssd.atomic import write_json
from jaxssd.training import RunFolder

ROOT = Path(__file__).parents[1]
STAGES = ("multilabel", "largest_box", "largest_object", "anchors16", "anchors189", "focal")
METRICS = ("box_error", "iou", "accuracy", "map_area", "map_voc07")
NETWORK = (
    "--backbone resnet_small --image-size 128 --head-width 128 --input-dropout 0.1 --dropout 0.1 --precision float32 "
    "--batch-size 16 --augment crop --weight-decay 1e-4"
)
SMALL = {
    "multilabel": f"{NETWORK} --epochs 24 --learning-rate 2e-3 --eval-every 4",
    **dict.fromkeys(
        STAGES[1:],
        f"{NETWORK} --epochs 2 16 --trainable head all --learning-rate 3e-3 2e-3 --lr-multipliers 0.3 1 1 "
        "--schedule one_cycle --clr 32 10 --eval-every 2",
    ),
}
"""Options of a small run, by stage."""


@dataclass(frozen=True)
class Command:
    """Command-line options."""

    data: Path
    """Folder in PASCAL VOC layout."""
    pretrained: Path | None = None
    """Weights of a ResNet34; with them the stages run with their presets unchanged."""
    stages: tuple[str, ...] = STAGES
    """Stages to run; without pretrained weights they need the run of `multilabel`."""
    out: Path = Path("runs") / "lesson"
    """Folder for the runs; each stage has its own inside."""


def main(arguments: list[str]) -> None:
    """Run the stages that are not complete; print the scores of all."""
    command = tyro.cli(Command, prog="benchmarks/lesson.py", description=__doc__, args=arguments)
    for stage in command.stages:
        run_stage(command, stage)
    rows = [row for stage in command.stages for row in phase_rows(stage, RunFolder(command.out / stage))]
    report("lesson", f"The stages of the lesson on {command.data.name}, validation set, after each phase", rows)


def run_stage(command: Command, stage: str) -> None:
    """Run `train.py` unless the run is complete; write its seconds into its folder."""
    folder = command.out / stage
    clock = folder / "seconds.json"
    if (folder / "scores-val.json").exists():
        return
    if (folder / "config.json").exists():
        arguments = ["--resume", str(folder)]
    else:
        arguments = [stage, "--data", str(command.data), "--out", str(folder), *options(command, stage)]
    start = time.perf_counter()
    subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, check=True)
    before = json.loads(clock.read_text()) if clock.exists() else 0
    write_json(clock, before + time.perf_counter() - start)


def options(command: Command, stage: str) -> list[str]:
    """Options of a stage's run besides its preset."""
    if command.pretrained is not None:
        return ["--pretrained", str(command.pretrained)]
    start_from = [] if stage == "multilabel" else ["--pretrained", str(command.out / "multilabel")]
    return [*SMALL[stage].split(), *start_from]


def phase_rows(stage: str, run: RunFolder) -> list[dict[str, str]]:
    """Rows of the last validation of each phase."""
    seconds = json.loads((run.path / "seconds.json").read_text())
    phases = run.open().optimizer.phases
    rows = []
    for number, phase in enumerate(phases):
        last = [row for row in run.rows("val") if row["phase"] == number][-1]
        metrics = {name: f"{last[name]:.3f}" if last.get(name) is not None else "" for name in METRICS}
        time_of_all = f"{seconds:.0f} s" if number == len(phases) - 1 else ""
        about = {"stage": stage, "trained": phase.trainable, "epochs": str(phase.epochs)}
        rows.append(about | {"loss": f"{last['loss']:.3f}"} | metrics | {"whole run": time_of_all})
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
