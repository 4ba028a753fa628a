"""Train a detector.

    python train.py                          the preset `quick`, on generated pictures
    python train.py --data DATA              the preset `small`, on your own boxes: a folder in PASCAL VOC's, COCO's
                                             or YOLO's layout, or a COCO file; `python -m jaxssd.data DATA` looks first
    python train.py focal --data DATA        the lesson's ResNet34 detector, for a GPU
    python train.py PRESET --pretrained FILE a stage of the lesson, from a pretrained backbone
    python train.py PRESET --find-lr         no training: sweep the learning rate, suggest one, draw the curve
    python train.py --resume RUN             go on with a run that was stopped

A run leaves a folder: settings, metrics, the best and the last checkpoint, scores and figures. Ctrl-C, SIGTERM and
SIGHUP save it first, and it ends with 130, 143 or 129; a second Ctrl-C ends it at once.

All devices of the machine share each batch. On several machines start the same command on each, by srun or mpirun or
with JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES=N and JAX_PROCESS_ID=0 to N-1; they need a common folder.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import jax
import tyro

from jaxssd.atomic import free_space, is_full
from jaxssd.config import Config
from jaxssd.data.gather import WorkersKeepDying
from jaxssd.presets import PRESETS, with_phases
from jaxssd.training import (
    DivergedError,
    Interrupted,
    NonFiniteLossError,
    RunFolder,
    RunInUseError,
    keep_compiled,
    resume,
    signals_watched,
    start,
)
from jaxssd.training.distribution import broadcast, distributed, is_main_process
from jaxssd.training.interruption import say
from jaxssd.training.memory import out_of_memory_hint
from jaxssd.training.run_folder import new_folder


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder for the run. Default: runs/PRESET-DATE-TIME."""
    resume: Path | None = None
    """Folder of a run to go on with, under the settings it has."""
    find_lr: bool = False
    """Sweep the learning rate of the first phase instead of training."""
    keep_compiled: bool = True
    """Whether compiled programs are kept for the next run, in `.compiled` beside the run's folder."""


def main(arguments: list[str]) -> None:
    """Parse, load, train, score."""
    preset, command = parse(arguments)
    run: list[RunFolder] = []
    with signals_watched(lambda: _go_on(*run)), distributed("train.py"), _folder(preset, command) as path:
        run.append(RunFolder(path))
        work(command, *run)


@contextmanager
def _folder(preset: str, command: Command) -> Iterator[Path]:
    """Where the run goes. A folder that nobody has named is one that no other process has; left empty, it goes."""
    if named := command.resume or command.out:
        yield named
        return
    name = f"{preset}-lr" if command.find_lr else preset
    path = Path(
        broadcast(str(new_folder(Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}")) if is_main_process() else "")
    )
    try:
        yield path
    finally:
        if is_main_process():
            with suppress(OSError):
                path.rmdir()


def work(command: Command, run: RunFolder) -> None:
    """What the command line asks for."""
    if command.keep_compiled:
        keep_compiled(run.path.resolve().parent)
    try:
        if command.resume:
            resume(run)
        elif command.find_lr:
            from jaxssd.tools.lr_finder import find_rate

            find_rate(command.config, run.path)
        else:
            start(command.config, run)
    except Interrupted as interrupted:
        if is_main_process():
            say(f"{interrupted}{_go_on(run)}")
        sys.exit(interrupted.status)
    except (NonFiniteLossError, DivergedError, RunInUseError, WorkersKeepDying, OSError, ValueError) as error:
        sys.exit(f"train.py: {error}{_room(error, run)}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit(f"train.py: out of memory: {out_of_memory_hint()}\n{error}")


def _room(error: Exception, run: RunFolder) -> str:
    """For a full disk, the room that there is, and the command for when there is more."""
    if not (isinstance(error, OSError) and is_full(error)):
        return ""
    return f" ({free_space(Path(error.filename or run.path))} free){_go_on(run)}"


def _go_on(run: RunFolder | None = None) -> str:
    """The command that goes on with a run that is stopped, if there is one."""
    if run is None or not run.config.exists():
        return ""
    return f"; go on with: {shlex.join([sys.executable, sys.argv[0], '--resume', str(run.path)])}"


def parse(arguments: list[str]) -> tuple[str, Command]:
    """The preset's name, and its settings as the other arguments change them."""
    resuming = [word for word in arguments if word.startswith("--resume")]
    others = [word for word in arguments if word not in ("--keep-compiled", "--no-keep-compiled")]
    if resuming and len(others) > (1 if "=" in resuming[0] else 2):
        sys.exit("train.py: a resumed run keeps its settings and folder: give --resume RUN and nothing else")
    named = bool(arguments) and not arguments[0].startswith("-")
    preset = arguments[0] if named else "small" if any(word.startswith("--data") for word in arguments) else "quick"
    if preset not in PRESETS:
        sys.exit(f"train.py: there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    pretrained = any(word.startswith("--pretrained") for word in arguments)
    default = Command(with_phases(preset) if pretrained else PRESETS[preset]())
    prog = f"train.py [{'|'.join(PRESETS)}]"
    try:
        return preset, tyro.cli(
            Command, prog=prog, description=_description(preset), args=arguments[named:], default=default
        )
    except ValueError as error:
        sys.exit(f"train.py: {error}")


def _description(preset: str) -> str:
    first_lines = {name: str(make.__doc__).splitlines()[0] for name, make in PRESETS.items()}
    presets = "\n".join(f"  {name:14} {line}" for name, line in first_lines.items())
    return f"{__doc__}\npresets:\n{presets}\n\nThe defaults below are those of the preset {preset}.\n"


if __name__ == "__main__":
    main(sys.argv[1:])
