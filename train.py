"""Train a detector.

    python train.py                          preset `quick`, on generated pictures
    python train.py --data DATA              your own boxes: a folder in PASCAL VOC, COCO or YOLO layout, or a COCO
                                             file; preset `small` on a CPU, `large` on a GPU or TPU; inspect the data
                                             first with `python -m jaxssd.data DATA`
    python train.py focal --data DATA        the lesson's ResNet34 detector, for a GPU
    python train.py PRESET --pretrained X    fine-tune the weights X: a name such as resnet34 or ssd300_vgg16_coco
                                             (docs/pretrained.md), hf:REPO, a file of weights, or a run
    python train.py PRESET --find-lr         learning-rate finder: suggest a learning rate, draw the curve
    python train.py --resume RUN             continue a run that was stopped

A run writes one folder: settings, metrics, the best and the last checkpoint, scores and figures. After Ctrl-C, SIGTERM
or SIGHUP it saves a checkpoint and exits with status 130, 143 or 129. A second Ctrl-C ends the run at once.

All devices of the machine share each batch. For several machines, start the same command on each, by srun or mpirun or
with JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES=N and JAX_PROCESS_ID=0 to N-1. All need one shared folder.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import jax
import tyro

from jaxssd.atomic import free_space, is_full
from jaxssd.config import TOPICS, Config, unset_is
from jaxssd.presets import PRESETS, with_input_of, with_phases
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
from jaxssd.training.compilation import out_of_memory_hint
from jaxssd.training.distribution import broadcast, distributed, has_accelerator, is_main_process
from jaxssd.training.interruption import say
from jaxssd.training.run_folder import new_folder


@dataclass(frozen=True)
class Command:
    """Options of the command line."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    out: Annotated[Path | None, unset_is("runs/PRESET-DATE-TIME")] = None
    """Folder for the run."""
    resume: Annotated[Path | None, unset_is("a new run")] = None
    """Run folder to continue, with the settings saved in it."""
    find_lr: bool = False
    """Find a learning rate for the first phase instead of training."""
    keep_compiled: bool = True
    """Keep compiled programs for the next run, in `.compiled` beside the run's folder."""


def main(arguments: list[str]) -> None:
    """Parse, load, train, score."""
    preset, command = parse(arguments)
    run: list[RunFolder] = []
    with signals_watched(lambda: _resume_hint(*run)), distributed("train.py"), _folder(preset, command) as path:
        run.append(RunFolder(path))
        work(command, *run)


@contextmanager
def _folder(preset: str, command: Command) -> Iterator[Path]:
    """Yield the run's folder. An unnamed one is new, the same for all processes, and removed if it stays empty."""
    if named := command.resume or command.out:
        yield named
        return
    name = f"{preset}-lr" if command.find_lr else preset
    wanted = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(broadcast(str(new_folder(wanted)) if is_main_process() else ""))
    try:
        yield path
    finally:
        if is_main_process():
            with suppress(OSError):
                path.rmdir()


def work(command: Command, run: RunFolder) -> None:
    """Train, resume, or find a learning rate; end with one line for every expected error."""
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
            say(f"{interrupted}{_resume_hint(run)}")
        sys.exit(interrupted.status)
    except (NonFiniteLossError, DivergedError, RunInUseError, OSError, ValueError) as error:
        sys.exit(f"train.py: {error}{_free_space(error, run)}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit(f"train.py: out of memory: {out_of_memory_hint()}\n{error}")


def _free_space(error: Exception, run: RunFolder) -> str:
    """Free space of a full disk, and the command to continue with once there is more."""
    if not (isinstance(error, OSError) and is_full(error)):
        return ""
    return f" ({free_space(Path(error.filename or run.path))} free){_resume_hint(run)}"


def _resume_hint(run: RunFolder | None = None) -> str:
    """Command that continues a stopped run, if there is one."""
    if run is None or not run.config.exists():
        return ""
    return f"; continue with: {shlex.join([sys.executable, sys.argv[0], '--resume', str(run.path)])}"


def parse(arguments: list[str]) -> tuple[str, Command]:
    """Return the preset's name, and its settings with the changes on the command line."""
    named = find_preset(arguments)
    options = [word for number, word in enumerate(arguments) if number != named]
    given = [word.partition("=")[0] for word in options]
    weights = _pretrained(options)
    preset = arguments[named] if named is not None else _default_preset(given, weights)
    config = PRESETS[preset]() if weights is None else with_input_of(with_phases(preset), weights)
    default = Command(config)
    try:
        command = tyro.cli(
            Command,
            prog="train.py [PRESET]",
            description=_description(preset),
            args=options,
            default=default,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValueError as error:
        _refuse(str(error))
    besides = {word.replace("_", "-") for word in given if word.startswith("--")} - _BESIDE_RESUME
    if command.resume and (named is not None or besides):  # also an option that repeats a default: the run has its own
        _refuse("a resumed run keeps its settings and folder: give --resume RUN and nothing else")
    return preset, command


def _pretrained(options: list[str]) -> str | None:
    """Value of `--pretrained`, which decides defaults; None if it is not given."""
    found = None
    for word, following in zip(options, [*options[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == "--pretrained":
            found = value if equals else following
    return found


def _default_preset(given: list[str], weights: str | None) -> str:
    """Preset of a command line that names none."""
    if weights is not None:
        from jaxssd.models.published import find_published  # only needed with weights

        if (published := find_published(weights)) and published.preset:
            return published.preset
    if "--data" not in given:
        return "quick"
    return "large" if has_accelerator() else "small"


_BESIDE_RESUME = {"--resume", "--keep-compiled", "--no-keep-compiled"}


def _refuse(message: str) -> NoReturn:
    """Exit with the status of an invalid command line."""
    print(f"train.py: {message}", file=sys.stderr)
    sys.exit(2)


def find_preset(arguments: list[str]) -> int | None:
    """Position of the preset: the first word that is neither an option nor an option's value.

    Raises:
        SystemExit: if the word names no preset.
    """
    takes = {"--" + name.replace("_", "-"): kind for name, kind in _option_types().items()}
    flags = {name for name, kind in takes.items() if kind is None}
    flags |= {"--no-" + name.removeprefix("--") for name in flags}
    option, count = None, 0
    for number, word in enumerate(arguments):
        if word.startswith("--"):
            name, count = word.replace("_", "-"), 0
            # Nothing follows a flag or --option=value; of an unknown option, which tyro reports, anything may.
            option = None if name in flags or "=" in word else takes.get(name, "unknown")
            continue
        count += 1
        if word in PRESETS and not (option == "texts" or (option == "text" and count == 1)):
            return number
        if option is None and not word.startswith("-"):
            _refuse(f"there is no preset {word!r}; choose one of {', '.join(PRESETS)}")
    return None


def _option_types() -> dict[str, str | None]:
    """Values that follow each option: one `text`, several `texts`, or `others`, never a preset; None for a flag."""

    def kind(annotation: Any) -> str | None:
        if annotation is bool:
            return None
        name = str(annotation)
        if "tuple" in name:
            return "texts" if "str" in name else "others"  # no choice of several has a preset's name
        return "text" if "str" in name or "Path" in name or "Literal" in name else "others"

    topics: list[Any] = [Config, *(type(getattr(Config, topic)) for topic in TOPICS), Command]
    return {
        field.name: kind(get_type_hints(topic)[field.name])
        for topic in topics
        for field in fields(topic)
        if not (topic is Config and field.name in TOPICS) and field.name != "config"  # `optimizer` is a setting too
    }


def _description(preset: str) -> str:
    """Text above the options: usage, and a line per preset."""
    first_lines = {name: str(make.__doc__).splitlines()[0] for name, make in PRESETS.items()}
    presets = "\n".join(f"  {name:14} {line}" for name, line in first_lines.items())
    return f"{__doc__}\npresets (anywhere on the command line):\n{presets}\n\nDefaults below are those of {preset}.\n"


if __name__ == "__main__":
    main(sys.argv[1:])
