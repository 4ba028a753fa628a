"""Orbax with errors of one line, literal paths, and no tracebacks from its threads."""

import asyncio
import contextlib
import errno
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax

from jaxssd.atomic import is_full

_DAMAGE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
"""Error numbers of files that are not what was written; other numbers are about the system itself."""

_OF_THE_SYSTEM = re.compile(r"PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED")
_SYSTEMS_NUMBER = re.compile(r"os_error_code='(\d+)'|OS error code: (\d+)")
"""Errors of the system in the messages of the library that reads arrays."""


class DamagedCheckpointError(ValueError):
    """A checkpoint on the disk differs from the saved one; the message names its folder."""


@contextlib.contextmanager
def named(folder: Path, what: str) -> Iterator[None]:
    """Convert orbax's long errors to one line with the folder."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # the device's memory
    except Exception as error:  # orbax raises nearly anything
        text = _cause(error)
        if is_full(error) or is_full(text):
            raise OSError(errno.ENOSPC, f"checkpoint {what}: no space is left", str(folder)) from error
        if what == "not saved" or _is_of_the_system(error):
            raise OSError(f"{folder}: checkpoint {what}: {text}") from error
        raise DamagedCheckpointError(f"{folder} is damaged: {text}") from error


def _is_of_the_system(error: BaseException | None) -> bool:
    """True if any error in the chain of causes is the system's, such as a full memory, and not the file's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _DAMAGE:
            return True
        numbers = [int(one or other) for one, other in _SYSTEMS_NUMBER.findall(str(error))]
        if _OF_THE_SYSTEM.search(str(error)) or any(number not in _DAMAGE for number in numbers):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cause(error: BaseException) -> str:
    """Kind of the error and innermost file, or its first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if files := re.findall(r'local file "([^"]+)"', text):
        return f"{text.partition(':')[0]} in {'/'.join(Path(files[-1]).parts[-3:])}"
    return (text.splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Path]:
    """Path that orbax reads literally: orbax expands brackets like a shell, and refuses some bytes."""
    whole = folder.resolve()
    if not set(str(whole)) & set("[]*?\\:") and str(whole).isprintable():
        yield whole
        return
    whole.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        link = Path(temporary, "run")
        link.symlink_to(whole.parent, target_is_directory=True)
        yield link / whole.name


@contextlib.contextmanager
def patient_event_loops() -> Iterator[None]:
    """Wait for the other arrays if one cannot be read or written.

    Orbax closes its event loop at once; each of the others would then print a traceback about a closed loop.
    """
    make = asyncio.new_event_loop

    def make_patient() -> asyncio.AbstractEventLoop:
        loop = make()
        close = loop.close

        def wait_and_close() -> None:
            if not loop.is_closed() and (tasks := asyncio.all_tasks(loop)):
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            close()

        loop.close = wait_and_close  # type: ignore[method-assign]
        loop.set_exception_handler(lambda *_: None)  # the first error is raised, the others need no tracebacks
        return loop

    asyncio.new_event_loop = make_patient
    try:
        yield
    finally:
        asyncio.new_event_loop = make
