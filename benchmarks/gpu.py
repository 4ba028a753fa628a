"""Measure everything that is to be known of a GPU, within eight minutes.

    make gpu                              generated pictures
    make gpu DATA=FOLDER                  the detector trained on your own boxes
    python benchmarks/gpu.py --small      a dry run of every part, at a size that a processor manages

The parts run one after the other, the most wanted first, each in a process of its own with a time limit of its own. One
that takes too long is stopped and leaves the rows it has, so a short time on a card still brings most. PyTorch is
measured beside ours where it is installed and sees the GPU; a part that fails with it runs again without.

`benchmarks/out/gpu-DATE-TIME/results.md` has all tables, with card, versions, commands and numbers of repeats, in the
form of RESULTS.md. It is written anew after each part. The parts' logs and JSON files lie beside it.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from markdown import section

from jaxssd.atomic import write_text

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PEER_OPTION = ("--peer", "torch")
SECONDS_TO_END = 5  # between asking a part to stop and stopping it
DEVICE_CODE = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind)"
TORCH_CODE = "import torch, torchvision; print(torch.cuda.is_available())"


@dataclass(frozen=True)
class Command:
    """What the command line says."""

    data: str = "shapes"
    """Data set to train on, as `train.py --data`."""
    minutes: float = 7.5
    """Time limit of all parts together."""
    small: bool = False
    """Dry run: small networks and batches, on any device."""
    out: Path | None = None
    """Folder for the results. Default: benchmarks/out/gpu-DATE-TIME."""


@dataclass(frozen=True)
class Part:
    """A benchmark with its options.

    Attributes:
        name: of its folder.
        script: the benchmark's file.
        options: its options.
        seconds: its time limit.
        with_peer: whether it can measure PyTorch as well.
    """

    name: str
    script: str
    options: tuple[str, ...]
    seconds: float
    with_peer: bool = True

    @property
    def command(self) -> list[str]:
        """The words to start it with."""
        peer = PEER_OPTION if self.with_peer else ()
        return [sys.executable, "-u", str(FOLDER / self.script), *self.options, *peer]


def gpu_parts(data: str) -> list[Part]:
    """What is measured on a GPU, the most wanted first."""
    focal, bfloat16 = ("--preset", "focal"), ("--precision", "bfloat16")
    ssd300 = ("--preset", "ssd300", *bfloat16)
    return [
        Part("training", "training_run.py", ("--data", data, "--epochs", "100"), 170, with_peer=False),
        Part("step-256", "training_step.py", (*focal, *bfloat16, "--batch", "256"), 100),
        Part("loss", "loss.py", ("--batch", "256"), 60),
        Part("inference", "inference.py", (*focal, *bfloat16, "--batch", "256", "1"), 80),
        Part("nms", "nms.py", ("--batch", "1", "256"), 50),
        Part("ssd300-inference", "inference.py", (*ssd300, "--batch", "32"), 60),
        Part("step-64", "training_step.py", (*focal, *bfloat16, "--batch", "64"), 80),
        Part("layers", "layers.py", (*focal, *bfloat16, "--seconds", "1"), 90, with_peer=False),
        Part("ssd300-step", "training_step.py", (*ssd300, "--batch", "64"), 90),
    ]


def small_parts(data: str) -> list[Part]:
    """The same questions, at a size for two processor cores."""
    quick, short = ("--preset", "quick", "--batch", "4"), ("--seconds", "0.1")
    training = ("--preset", "quick", "--data", data, "--epochs", "1")
    return [
        Part("training", "training_run.py", training, 150, with_peer=False),
        Part("step-256", "training_step.py", (*quick, *short), 90),
        Part("loss", "loss.py", ("--batch", "2", *short), 60),
        Part("inference", "inference.py", (*quick, *short), 60),
        Part("nms", "nms.py", ("--batch", "2", *short), 60),
        Part("layers", "layers.py", (*quick, *short), 90, with_peer=False),
    ]


def main(arguments: list[str]) -> None:
    """Run the parts, gather their tables."""
    command = tyro.cli(Command, prog="benchmarks/gpu.py", description=__doc__, args=arguments)
    platform, device = ask(DEVICE_CODE).split(maxsplit=1)
    if platform != "gpu" and not command.small:
        sys.exit(f"gpu.py: JAX sees no GPU, only {device}; --small makes a dry run here")
    peer = has_torch(needs_gpu=platform == "gpu")
    data = str(Path(command.data).resolve()) if Path(command.data).exists() else command.data
    parts = small_parts(data) if command.small else gpu_parts(data)
    parts = [replace(part, with_peer=part.with_peer and peer) for part in parts]
    out = (command.out or FOLDER / "out" / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}").resolve()
    print(f"{len(parts)} parts on {device}, {'beside' if peer else 'without'} PyTorch; results {out / 'results.md'}")
    run_parts(parts, out, 60 * command.minutes, title=f"Measured on {device}, {time.strftime('%Y-%m-%d')}")
    print(f"\nresults  {out / 'results.md'}")


def has_torch(*, needs_gpu: bool) -> bool:
    """Whether PyTorch and torchvision are there, and see the GPU if there is one. Asked in a process that ends."""
    try:
        sees_gpu = ask(TORCH_CODE) == "True"
    except subprocess.CalledProcessError:
        return False
    return sees_gpu or not needs_gpu


def ask(code: str) -> str:
    """The last line that a process of Python prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip().splitlines()[-1]


def run_parts(parts: Sequence[Part], out: Path, seconds: float, title: str) -> None:
    """Run parts until the time is up, and write what there is after each.

    Args:
        parts: the most wanted first.
        out: folder; each part has its own in it.
        seconds: for all of them.
        title: of the results.
    """
    end = time.monotonic() + seconds
    texts = [f"## {title}\n"]
    for part in parts:
        start = time.monotonic()
        missing = run_part(part, out / part.name, min(part.seconds, end - start))
        if part.with_peer and missing and missing.startswith("failed"):
            alone = run_part(replace(part, with_peer=False), out / part.name, min(part.seconds, end - time.monotonic()))
            missing = f"with PyTorch it {missing}" + (f"; without, it {alone}" if alone else "")
        print(f"{part.name:18} {time.monotonic() - start:4.0f} s  {missing or ''}")
        records = [json.loads(file.read_text()) for file in sorted((out / part.name).glob("*.json"))]
        texts += [section(record) for record in records]
        if missing:
            texts.append(f"`{shlex.join([part.script, *part.options])}`: {missing}.\n")
        write_text(out / "results.md", "\n".join(texts))


def run_part(part: Part, folder: Path, seconds: float) -> str | None:
    """Run one part in a process group of its own, which is ended when the time is up.

    Returns:
        Why some of it is missing; None if it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if seconds <= 0:
        return "was **not measured**: no time was left"
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"BENCHMARKS_OUT": str(folder), "PYTHONPATH": python_path}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(FOLDER / "out" / ".compiled"))
    log = folder / "log.txt"
    with (
        log.open("w") as file,
        subprocess.Popen(
            part.command, cwd=FOLDER, env=environment, stdout=file, stderr=file, start_new_session=True
        ) as process,
    ):
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
    if status is None:
        return f"was stopped after {seconds:.0f} s, later rows are **not measured**; see {part.name}/{log.name}"
    return f"failed with exit status {status}; see {part.name}/{log.name}" if status else None


def end_group(process: subprocess.Popen) -> None:
    """End a process and all that it started: asked first, then forced."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
