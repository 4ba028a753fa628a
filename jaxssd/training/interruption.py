"""SIGTERM, SIGHUP and Ctrl-C: the current steps are finished and saved; the exit status is 128 + the signal's number.

A thread waits for the signals, because Python runs a handler only after the main thread returns from a call into C: a
compilation may take minutes. No exception is raised at an arbitrary place. Inside `deferred` a signal is only noted,
and the training loop checks for it between two calls. Outside, there is nothing to save: the process ends at once.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxssd.atomic import remove_unfinished

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))

TWICE = 0.2
"""Seconds within which a second Ctrl-C counts as the first: `timeout` and some launchers pass a signal on twice."""

Farewell = Callable[[], str]


class Interrupted(Exception):  # nothing went wrong
    """The run was interrupted and has been saved; raised by the training loop, never inside a signal handler."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number


class _Watch:
    """State that the thread and the loop share."""

    def __init__(self) -> None:
        self.requested = 0  # number of the first signal
        self.at = 0.0
        self.deferred = 0  # depth
        self.farewell: Farewell = str
        self.lock = threading.Lock()

    def notice(self, number: int) -> None:
        """Note a signal, in the thread."""
        with self.lock:
            first, now = not self.requested, time.monotonic()
            if first:
                self.requested, self.at = number, now
            again = not first and number == signal.SIGINT and now - self.at > TWICE
            if again or not self.deferred:
                self.end(number)
        if first:
            name = signal.Signals(number).name
            _say_soon(f"\n{name}: finishing the steps in flight, then saving; another Ctrl-C ends it at once")

    def end(self, number: int) -> None:
        """Delete half-written files and end the process; by `os._exit`, because the main thread may be anywhere."""
        remove_unfinished()
        _say_soon(f"\nstopped by {signal.Signals(number).name}{self.farewell()}")
        os._exit(128 + number)


_watch = _Watch()


@contextlib.contextmanager
def signals_watched(farewell: Farewell = str) -> Iterator[None]:
    """Handle SIGTERM, SIGHUP and Ctrl-C during a command; see the module's docstring.

    If the terminal is closed or the reader of a pipe is gone, only the printed text is lost. A signal that was ignored
    when the process started stays ignored: `nohup` does that to SIGHUP.

    Args:
        farewell: function that returns the end of the message at an immediate exit.
    """
    global _watch
    _watch = watch = _Watch()
    watch.farewell = farewell
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    caught = {number: signal.getsignal(number) for number in SIGNALS}
    caught = {number: handler for number, handler in caught.items() if handler is not signal.SIG_IGN}
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Undisturbed, streams)  # type: ignore[assignment]
    for number in caught:
        signal.signal(number, _leave_it_to_the_thread)

    def listen() -> None:
        while numbers := ours.recv(16):
            for number in numbers:
                if number in caught:
                    watch.notice(number)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for number, handler in caught.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        theirs.close()
        thread.join()
        ours.close()
        _watch = _Watch()


def _leave_it_to_the_thread(number: int, frame: object) -> None:
    """Do nothing: the handler in C has written to the thread's socket."""


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer the exit inside the block: a signal is only noted, because there is a state to save.

    Raises:
        Interrupted: at the end of the block, if a signal has come that was not handled. The state is saved by then.
    """
    with _watch.lock:
        _watch.deferred += 1
    try:
        yield
        with _watch.lock:
            if _watch.requested:
                raise Interrupted(_watch.requested)
    finally:
        with _watch.lock:
            # After a first signal, a repeated one must not interrupt the end of the block.
            _watch.deferred -= not _watch.requested


def requested() -> int:
    """Number of the signal that was noted inside `deferred`; 0 if there is none."""
    return _watch.requested if _watch.deferred else 0


class _Undisturbed:
    """Output stream without errors: after a failed write, all text is dropped."""

    def __init__(self, stream: Any) -> None:  # a replaced sys.stdout has any type
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            _send_nowhere(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _send_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _send_nowhere(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """Print a line to stderr, if any, and flush both streams; a closed terminal or pipe is no error."""
    for stream, words in ((sys.stdout, ""), (sys.stderr, text and text + "\n")):
        undisturbed = _Undisturbed(stream)
        undisturbed.write(words)
        undisturbed.flush()


def _say_soon(text: str) -> None:
    """Print a line to stderr without waiting for a paused terminal (Ctrl-S)."""
    thread = threading.Thread(target=say, args=(text,), daemon=True)
    thread.start()
    thread.join(1.0)
