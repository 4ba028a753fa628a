"""Bugs planted in what a run survives: signals, locks, digests, files written whole, streams."""

from tests.mutants.planted import Mutant

ATOMIC, SEALED, ORBAX = "jaxssd/atomic.py", "jaxssd/sealed.py", "jaxssd/training/orbax_io.py"
LOCK, SIGNALS, CHECKPOINT = (
    "jaxssd/training/run_folder.py",
    "jaxssd/training/interruption.py",
    "jaxssd/training/checkpoint.py",
)
RESTORE, LOOP, LOADER = (
    "jaxssd/training/variables.py",
    "jaxssd/training/loop.py",
    "jaxssd/training/loader.py",
)
DEVICES, COMPILATION = (
    "jaxssd/training/distribution.py",
    "jaxssd/training/compilation.py",
)
STOPS, CHECKPOINTS = "tests/training/test_interruption.py", "tests/training/test_checkpoint.py"

PLANTED = (
    Mutant(ATOMIC, "            unfinished.replace(path)\n", "            pass\n", "nothing is put in place"),
    Mutant(ATOMIC, "errno.EDQUOT, ", "", "a quota is no lack of room"),
    Mutant(ATOMIC, "                os.fsync(file.fileno())\n", "                pass\n", "nothing is synced"),
    Mutant(
        SEALED,
        "seal is not None and seal != _seal(record)",
        "seal is None",
        "digests are not compared",
        "tests/test_sealed.py",
    ),
    Mutant(
        CHECKPOINT, "hashlib.sha256(content.data)", "hashlib.sha256(content[:64].data)", "of the start", CHECKPOINTS
    ),
    Mutant(CHECKPOINT, 'f"{leaf.dtype}{list(leaf.shape)}"', 'f"{leaf.dtype}"', "shapes are not told", CHECKPOINTS),
    Mutant(LOCK, "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", "two may train in a folder"),
    Mutant(LOCK, "        file.truncate(0)\n", "", "an earlier holder is named"),
    Mutant(SIGNALS, "if handler is not signal.SIG_IGN}", "}", "nohup has no effect"),
    Mutant(SIGNALS, "self.status = 128 + number", "self.status = 1", "one status for all signals"),
    Mutant(SIGNALS, "now - self.at > TWICE", "now - self.at > 0", "a signal passed on twice ends at once"),
    Mutant(SIGNALS, "        remove_unfinished()\n", "", "half-written files stay"),
    Mutant(
        SIGNALS,
        "except (OSError, ValueError):\n            _send_nowhere(self._stream)\n        return",
        "finally:\n            pass\n        return",
        "a closed terminal ends the run",
    ),
    Mutant(
        LOOP,
        "            self.checkpoints.wait()  # if it",
        "            pass  # if it",
        "a stop does not wait for its checkpoint",
        STOPS,
    ),
    Mutant(
        LOOP,
        "all_max([requested(), self.clock.is_due()])",
        "all_max([requested(), False])",
        "no checkpoint by time",
        STOPS,
    ),
    Mutant(
        LOOP,
        "        self.clock.restart()\n        if not stop",
        "        if not stop",
        "by time from the start on",
        STOPS,
    ),
    Mutant(LOOP, "if validated and not stop:", "if validated:", "a stop waits for a validation", STOPS),
    Mutant(CHECKPOINT, "if saved.get(place) != digest]", "if False]", "flipped bits are loaded", CHECKPOINTS),
    Mutant(ORBAX, "error.errno not in _DAMAGE", "False", "what is out of reach is damaged", CHECKPOINTS),
    Mutant(
        CHECKPOINT,
        "-math.inf if math.isnan",
        "math.inf if math.isnan",
        "no number is the best",
        "tests/training/test_toy_runs.py",
    ),
    Mutant(
        CHECKPOINT,
        "set(self.steps) - {self.last_step, self.best_step}",
        "set(self.steps) - {self.last_step}",
        "the best is tidied away",
        "tests/training/test_variables.py",
    ),
    Mutant(RESTORE, "if checkpoints.steps == [step]:", "if False:", "it starts again and drops the rows"),
    Mutant(RESTORE, "    checkpoints.tidy()\n", "", "half-deleted steps stay"),
    Mutant(
        RESTORE,
        'run.require_same_settings(config, free=FREE | {"batch_size"})',
        "pass",
        "changed settings are not noticed",
        "tests/training/test_run.py::test_a_network_is_restored_with_the_settings_it_was_trained_with",
    ),
    Mutant(LOADER, "while place.size:", "for _ in range(1):", "part of a row is enough"),
    Mutant(LOADER, "(count := file.readinto(place)) == 0:", "not (count := file.readinto(place) or 1):", "short file"),
    Mutant(LOADER, "file.seek(offset + row", "file.seek(row", "the header of a file is read as pixels"),
    Mutant(LOADER, "prefetch.submit(load, following)", "prefetch.submit(load, rows[0])", "one block all the time"),
    Mutant(LOADER, "return size <= MEMORY_SHARE * memory_bytes()", "return size <= memory_bytes()", "streams too late"),
    Mutant(
        COMPILATION,
        "leaf.size * leaf.dtype.itemsize",
        "leaf.size",
        "elements for bytes",
        "tests/training/test_compilation.py",
    ),
    Mutant(
        COMPILATION,
        "self.total <= available",
        "self.total >= available",
        "the way out where there is room",
        "tests/training/test_compilation.py",
    ),
    Mutant(DEVICES, ".min())", ".max())", "the most for the least", "tests/training/test_distribution.py"),
    Mutant(COMPILATION, "                file.unlink()\n", "                pass\n", "a damaged program stays"),
)
