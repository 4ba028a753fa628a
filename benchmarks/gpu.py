"""Run the most important benchmarks on a GPU, within eight minutes.

    make gpu                              generated pictures
    make gpu DATA=FOLDER                  training on your own boxes
    python benchmarks/gpu.py --small      a dry run of every part, at a size for a CPU

The parts run one after the other, the most important first. Each runs in its own process, with its own time limit. A
part that takes too long is stopped, and the rows it has measured are kept. PyTorch is measured too where it is
installed and finds the GPU; a part that fails with PyTorch runs again without.

`benchmarks/out/gpu-DATE-TIME/results.md` has all tables in the form of RESULTS.md: device, versions, commands and
numbers of repeats. It is rewritten after each part. Logs and JSON files of the parts are beside it.
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
BASELINE_OPTION = ("--baseline", "torch")
SECONDS_TO_END = 5  # between SIGTERM and SIGKILL
DEVICE_CODE = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind)"
TORCH_CODE = "import torch, torchvision; print(torch.cuda.is_available())"


@dataclass(frozen=True)
class Command:
    """Command-line options."""

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
        name: name of its folder.
        script: file of the benchmark.
        options: options of the benchmark.
        seconds: time limit.
        with_baseline: if True, PyTorch is measured too.
    """

    name: str
    script: str
    options: tuple[str, ...]
    seconds: float
    with_baseline: bool = True

    @property
    def command(self) -> list[str]:
        """Command line of the part."""
        baseline = BASELINE_OPTION if self.with_baseline else ()
        return [sys.executable, "-u", str(FOLDER / self.script), *self.options, *baseline]


def gpu_parts(data: str) -> list[Part]:
    """Parts for a GPU, the most important first."""
    focal, bfloat16 = ("--preset", "focal"), ("--precision", "bfloat16")
    ssd300 = ("--preset", "ssd300", *bfloat16)
    return [
        Part("training", "training_run.py", ("--data", data, "--epochs", "100"), 170, with_baseline=False),
        Part("step-256", "training_step.py", (*focal, *bfloat16, "--batch", "256"), 100),
        Part("loss", "loss.py", ("--batch", "256"), 60),
        Part("inference", "inference.py", (*focal, *bfloat16, "--batch", "256", "1"), 80),
        Part("nms", "nms.py", ("--batch", "1", "256"), 50),
        Part("ssd300-inference", "inference.py", (*ssd300, "--batch", "32"), 60),
        Part("step-64", "training_step.py", (*focal, *bfloat16, "--batch", "64"), 80),
        Part("layers", "layers.py", (*focal, *bfloat16, "--seconds", "1"), 90, with_baseline=False),
        Part("ssd300-step", "training_step.py", (*ssd300, "--batch", "64"), 90),
    ]


def small_parts(data: str) -> list[Part]:
    """Parts of a dry run, at a size for two CPU cores."""
    tiny, short = ("--preset", "tiny", "--batch", "4"), ("--seconds", "0.1")
    training = ("--preset", "quick", "--data", data, "--epochs", "1")
    return [
        Part("training", "training_run.py", training, 150, with_baseline=False),
        Part("step-256", "training_step.py", (*tiny, *short), 90),
        Part("loss", "loss.py", ("--batch", "2", *short), 60),
        Part("inference", "inference.py", (*tiny, *short), 60),
        Part("nms", "nms.py", ("--batch", "2", *short), 60),
        Part("layers", "layers.py", (*tiny, *short), 90, with_baseline=False),
    ]


def main(arguments: list[str]) -> None:
    """Run the parts and collect their tables."""
    command = tyro.cli(Command, prog="benchmarks/gpu.py", description=__doc__, args=arguments)
    platform, device = ask(DEVICE_CODE).split(maxsplit=1)
    if platform != "gpu" and not command.small:
        sys.exit(f"gpu.py: JAX sees no GPU, only {device}; --small makes a dry run here")
    baseline = has_torch(needs_gpu=platform == "gpu")
    data = str(Path(command.data).resolve()) if Path(command.data).exists() else command.data
    parts = small_parts(data) if command.small else gpu_parts(data)
    parts = [replace(part, with_baseline=part.with_baseline and baseline) for part in parts]
    out = (command.out or FOLDER / "out" / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}").resolve()
    print(
        f"{len(parts)} parts on {device}, {'beside' if baseline else 'without'} PyTorch; results {out / 'results.md'}"
    )
    run_parts(parts, out, 60 * command.minutes, title=f"Measured on {device}, {time.strftime('%Y-%m-%d')}")
    print(f"\nresults  {out / 'results.md'}")


def has_torch(*, needs_gpu: bool) -> bool:
    """True if PyTorch and torchvision are installed and find the GPU, if there is one. A child process imports them."""
    try:
        sees_gpu = ask(TORCH_CODE) == "True"
    except subprocess.CalledProcessError:
        return False
    return sees_gpu or not needs_gpu


def ask(code: str) -> str:
    """Run Python code in a child process and return the last line it prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip().splitlines()[-1]


def run_parts(parts: Sequence[Part], out: Path, seconds: float, title: str) -> None:
    """Run parts until the time is up, and write the results after each of them.

    Args:
        parts: parts to run, the most important first.
        out: folder for the results; each part has its own folder inside.
        seconds: time limit of all parts together.
        title: title of the results.
    """
    end = time.monotonic() + seconds
    texts = [f"## {title}\n"]
    for part in parts:
        start = time.monotonic()
        missing = run_part(part, out / part.name, min(part.seconds, end - start))
        if part.with_baseline and missing and missing.startswith("failed"):
            alone = run_part(
                replace(part, with_baseline=False), out / part.name, min(part.seconds, end - time.monotonic())
            )
            missing = f"with PyTorch it {missing}" + (f"; without, it {alone}" if alone else "")
        print(f"{part.name:18} {time.monotonic() - start:4.0f} s  {missing or ''}")
        records = [json.loads(file.read_text()) for file in sorted((out / part.name).glob("*.json"))]
        texts += [section(record) for record in records]
        if missing:
            texts.append(f"`{shlex.join([part.script, *part.options])}`: {missing}.\n")
        write_text(out / "results.md", "\n".join(texts))


def run_part(part: Part, folder: Path, seconds: float) -> str | None:
    """Run one part in its own process group, which is ended when the time is up.

    Returns:
        The reason why rows are missing; None if the part is complete.
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
    """End a process and all its children: SIGTERM first, then SIGKILL."""
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
