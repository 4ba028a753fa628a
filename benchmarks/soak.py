"""Kill short runs at random moments, resume each, and compare it with an uninterrupted run.

    python benchmarks/soak.py                        30 runs, SIGKILL; then 10 with SIGTERM, SIGHUP or Ctrl-C
    python benchmarks/soak.py --kills 5 --asks 5     fewer

Generated pictures at 32 pixels; every other run is streamed. The signal is sent up to half a second after a random line
of `metrics.jsonl`. A third of the runs get a second signal after the resume. In the end the metrics and the weights of
the last and the best checkpoint must be those of the uninterrupted run to the last bit, and no process of a killed run
may be left. After any difference the script exits with 1, and the run's folder is kept.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from jaxssd.data.shapes import make_shapes
from jaxssd.training import RunFolder, restore

ROOT = Path(__file__).parents[1]
SETTINGS = [
    *("--backbone", "resnet_tiny", "--image-size", "32", "--head-width", "8", "--grids", "2", "1"),
    *("--batch-size", "8", "--epochs", "4", "2", "--trainable", "head", "all", "--eval-every", "2"),
    *("--checkpoint-every", "0.005"),  # 0.3 s
]
ASKING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def write_shapes(root: Path) -> None:
    """Write 48 pictures for training and 8 for validation, in YOLO layout."""
    for split, count, seed in (("train", 48, 0), ("val", 8, 1)):
        shapes = make_shapes(count, image_size=32, seed=seed)
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number, (image, boxes, labels, valid) in enumerate(zip(*shapes.examples[:4], strict=True)):
            Image.fromarray(image).save(root / "images" / split / f"{number}.png")
            rows = [
                f"{label} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n"
                for (y1, x1, y2, x2), label in zip(boxes[valid], labels[valid], strict=True)
            ]
            (root / "labels" / split / f"{number}.txt").write_text("".join(rows))
        (root / "classes.txt").write_text("\n".join(shapes.class_names))


def start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def lines(run: RunFolder) -> int:
    return run.metrics.read_bytes().count(b"\n") if run.metrics.exists() else 0


def hit(process: subprocess.Popen, run: RunFolder, number: signal.Signals, chance: random.Random, total: int) -> str:
    """Send the signal at a random later moment; return a text on how the process ended."""
    moment = chance.randint(lines(run), total)
    while process.poll() is None and not (run.config.exists() and lines(run) >= moment):
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 5.0 if moment == 0 else chance.choice((0.01, 0.1, 0.5))))
    children = workers(process.pid)
    process.send_signal(number)
    _, errors = process.communicate()
    give_up = time.monotonic() + 20
    while any(map(is_there, children)) and time.monotonic() < give_up:
        time.sleep(0.05)
    if left := [child for child in children if is_there(child)]:
        raise SystemExit(f"{run}: processes {left} are left")
    if process.returncode == 0:
        return "had ended already"
    if process.returncode not in (-number, 128 + number):
        raise SystemExit(f"{run}: ended with {process.returncode} after {number.name}\n{errors}")
    if process.returncode == 128 + number and not re.search(r"go on with: .*--resume", errors):
        raise SystemExit(f"{run}: no command that resumes it\n{errors}")
    return f"{number.name} at line {lines(run)} of {total}"


def workers(parent: int) -> list[int]:
    """Ids of the child processes of a process; empty except on Linux."""
    file = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(number) for number in file.read_text().split()] if file.exists() else []


def is_there(number: int) -> bool:
    """True if a process runs."""
    try:
        return "(zombie)" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


def differences(run: RunFolder, reference: RunFolder) -> list[str]:
    found = []
    if run.metrics.read_bytes() != reference.metrics.read_bytes():
        found.append("metrics.jsonl")
    for which in ("last", "best"):
        ours, theirs = (jax.tree.leaves(restore(folder, which)[2]) for folder in (run, reference))
        if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
            found.append(f"weights of the {which} checkpoint")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="number of runs stopped by SIGKILL")
    parser.add_argument("--asks", type=int, default=10, help="number of runs stopped by SIGTERM, SIGHUP or SIGINT")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and signals")
    chosen = parser.parse_args()
    chance, folder, counts = random.Random(chosen.seed), Path(tempfile.mkdtemp(prefix="soak-")), Counter[str]()
    for number in ASKING:  # children inherit ignored signals, and a shell ignores Ctrl-C in the background
        signal.signal(number, signal.SIG_DFL)
    os.environ["JAXSSD_CACHE"] = str(folder / "cache")
    write_shapes(folder / "data")
    arguments = ["--data", folder / "data", *SETTINGS]
    reference = RunFolder(folder / "reference")
    if start(*arguments, "--out", reference.path).wait():
        raise SystemExit("the uninterrupted run failed")
    total = lines(reference)
    for number in range(chosen.kills + chosen.asks):
        run = RunFolder(folder / f"run-{number:02d}")
        memory = "stream" if number % 2 else "device"
        kind = signal.SIGKILL if number < chosen.kills else chance.choice(ASKING)
        process = start(*arguments, "--memory", memory, "--out", run.path)
        moments = [hit(process, run, kind, chance, total)]
        if chance.random() < 1 / 3 and process.returncode:
            process = start("--resume", run.path)
            moments.append(hit(process, run, kind, chance, total))
        if process.returncode:
            process = start("--resume", run.path)
            _, errors = process.communicate()
            if process.returncode:
                raise SystemExit(f"{run}: resumed, it ended with {process.returncode}\n{errors}")
        wrong = differences(run, reference)
        print(f"{run.path.name} {memory}: {', then '.join(moments)}: {', '.join(wrong) or 'identical'}", flush=True)
        counts["runs"] += 1
        counts[f"hits by {kind.name}"] += sum("line" in moment for moment in moments)
        counts["different"] += bool(wrong)
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))
    sys.exit(bool(counts["different"]))


if __name__ == "__main__":
    main()
