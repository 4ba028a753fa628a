"""Plant small bugs one at a time, run the tests that should notice, and print the survivors.

    make mutants                       all of them
    python -m tests.mutants --list     what there is
    python -m tests.mutants --only ops/nms --jobs 2

Each bug is planted in a temporary copy of the working tree; the tree itself is never touched. First the tests that are
going to be asked must pass without a bug. What was found stands in `.pytest_cache/mutants.jsonl`, so that a sweep that
was stopped goes on where it was, as long as no file has changed. A bug by which tests go on for ever is noticed too, at
the time limit. Exit status 1 if a bug survives that is not marked as equivalent; 2 if the list is stale or the tests do
not pass without a bug.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tests.mutants.planted import ROOT, Mutant, all_planted

LEFT_OUT = (".git", ".venv", "runs", "out", "build", "dist", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
FOUND = ROOT / ".pytest_cache" / "mutants.jsonl"
PRELOADED = ("jax", "flax.linen", "optax", "orbax.checkpoint", "matplotlib.figure", "PIL.Image", "tyro", "pytest")
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "Agg",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}
VERDICTS = {0: "survived", 1: "caught", 2: "caught"}  # pytest's status: all passed, one failed, the import failed


@dataclass
class Job:
    """Tests that run in a process of their own, in a copy of the tree."""

    mutant: Mutant | None
    copy: Path
    pid: int
    log: Path
    deadline: float

    def ended(self) -> tuple[str, float] | None:
        """Verdict and CPU seconds once it is over; it is killed at its time limit."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            if time.monotonic() > self.deadline:
                kill(self)
                return "endless", float("nan")
            return None
        code = os.waitstatus_to_exitcode(status)
        return VERDICTS.get(code, f"broken ({code})"), usage.ru_utime + usage.ru_stime

    def first_failure(self) -> str:
        """The test that noticed, or the last line that was printed."""
        lines = self.log.read_text(errors="replace").splitlines() or [""]
        found = [line.split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
        return (found or [lines[-1]])[0].removeprefix("FAILED ")


def start(mutant: Mutant | None, tests: Sequence[str], copy: Path, limit: float) -> Job:
    """Fork: what takes long to import has been imported, the package itself has not."""
    log = copy.with_suffix(".log")
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that threads and forks do not mix; JAX has not started any yet
        pid = os.fork()
    if pid == 0:
        code = 3
        try:
            os.setsid()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(copy)
            sys.path[:] = [str(copy), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
            os.environ["PYTHONPATH"] = str(copy)
            for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "jaxssd")]:
                del sys.modules[name]
            stop = ["-x"] if mutant else []
            options = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
            code = int(importlib.import_module("pytest").main([*options, *stop, *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    return Job(mutant, copy, pid, log, time.monotonic() + limit)


def kill(job: Job) -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(job.pid, 0)


def sweep(mutants: Sequence[Mutant], copies: Sequence[Path], limit: float) -> Iterator[tuple[Mutant, str, float, str]]:
    """Plant and ask, as many at a time as there are copies; results as they come."""
    waiting, free, running = list(mutants), list(copies), list[Job]()
    sound: dict[Path, str] = {}
    try:
        while waiting or running:
            while waiting and free:
                mutant, copy = waiting.pop(0), free.pop()
                file = copy / mutant.file
                sound[copy] = file.read_text()
                file.write_text(mutant.plant(sound[copy]))
                running.append(start(mutant, mutant.asked, copy, limit))
            time.sleep(0.05)
            for job in list(running):
                if (result := job.ended()) and job.mutant:
                    running.remove(job)
                    free.append(job.copy)
                    (job.copy / job.mutant.file).write_text(sound[job.copy])
                    yield job.mutant, *result, job.first_failure()
    finally:
        for job in running:
            kill(job)


def passes(tests: Sequence[str], copy: Path, limit: float) -> bool:
    """Whether the tests pass as they are; what fails is printed."""
    job = start(None, tests, copy, limit * len(tests))
    try:
        while not (result := job.ended()):
            time.sleep(0.1)
    except BaseException:
        kill(job)
        raise
    if result[0] == "survived":
        return True
    print(job.log.read_text(errors="replace")[-4000:])
    return False


def digest(copy: Path) -> str:
    """Of all that a verdict depends on."""
    whole = hashlib.sha256()
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(copy)} {path.stat().st_size} ".encode() + path.read_bytes())
    return whole.hexdigest()


def found_before(tree: str) -> dict[str, dict]:
    """What an earlier sweep of the same files has found, by bug."""
    rows = [json.loads(line) for line in FOUND.read_text().splitlines()] if FOUND.is_file() else []
    return {row["mutant"]: row for row in rows if row["tree"] == tree}


def main(arguments: Sequence[str]) -> int:
    """Parse, check the list, sweep, and print the survivors."""
    parser = argparse.ArgumentParser(
        prog="make mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only bugs with this in their file or description")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies of the tree in use at a time")
    parser.add_argument("--limit", type=float, default=120, metavar="SECONDS", help="time limit of a bug's tests")
    parser.add_argument("--list", action="store_true", help="print the bugs and the tests that are asked")
    options = parser.parse_args(arguments)
    mutants = [mutant for mutant in all_planted() if options.only in str(mutant)]
    if options.list:
        for mutant in mutants:
            print(
                f"{mutant}\n    {' '.join(mutant.asked)}"
                + (f"\n    equivalent: {mutant.equivalent}" * bool(mutant.equivalent))
            )
        return 0
    for mutant in mutants:
        try:
            mutant.plant((ROOT / mutant.file).read_text())
        except (ValueError, OSError) as error:
            print(error)
            return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="jaxssd-mutants-") as folder:
        copies = [Path(folder, str(number)) for number in range(options.jobs)]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        return report(mutants, copies, options.limit)


def report(mutants: Sequence[Mutant], copies: Sequence[Path], limit: float) -> int:
    """Sweep what is not known yet; a line for each bug as it comes, then the survivors."""
    tree = digest(copies[0])
    known = found_before(tree)
    new = [mutant for mutant in mutants if str(mutant) not in known and not mutant.equivalent]
    tests = sorted({test for mutant in new for test in mutant.asked})
    print(
        f"{len(mutants)} bugs, {len(mutants) - len(new)} of them known or equivalent; {len(tests)} tests or test files"
    )
    if new and not passes(tests, copies[0], limit):
        print("these tests do not pass without a bug")
        return 2
    FOUND.parent.mkdir(exist_ok=True)
    verdicts = {name: row["verdict"] for name, row in known.items()}
    with tqdm(total=len(new), unit=" bugs", disable=None) as bar, FOUND.open("a") as file:
        for mutant, verdict, seconds, by in sweep(new, copies, limit):
            verdicts[str(mutant)] = verdict
            bar.write(f"{verdict:10} {seconds:5.1f} s  {mutant}\n{'':20}{by}")
            bar.update()
            if verdict in (*VERDICTS.values(), "endless"):
                file.write(json.dumps({"tree": tree, "mutant": str(mutant), "verdict": verdict}) + "\n")
                file.flush()
    lived = [
        mutant for mutant in mutants if not mutant.equivalent and verdicts[str(mutant)] not in ("caught", "endless")
    ]
    same = [mutant for mutant in mutants if mutant.equivalent]
    print(
        f"\n{len(mutants) - len(lived) - len(same)} of {len(mutants)} caught, {len(same)} equivalent, {len(lived)} left"
    )
    for mutant in lived:
        print(f"{verdicts[str(mutant)]}: {mutant}\n    - {mutant.old}\n    + {mutant.new}")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
