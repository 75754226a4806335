"""The processes that tools/launch.py has started: their output line by line, and one end for all of them.

Each is the head of a process group of its own, so that Ctrl-C in a terminal reaches the launcher alone; the kernel ends
those on this machine if the launcher itself is killed. A remote one is an ssh with a terminal: closing that ends the
command there, and a Ctrl-C goes through it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

_LOOK_EVERY = 0.1  # seconds
_GRACE = 5.0  # seconds that the others get to end by themselves: a worker that fails tells them
_PR_SET_PDEATHSIG = 1
_STOPPED = 130


def _dying_with_parent():
    """Return what a child runs first, so that it does not outlive the launcher; None where the system is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A started process.

    Args:
        process: what to start (train/launch.py).
    """

    def __init__(self, process):
        self.name, self.is_worker, self._is_remote = process.name, process.is_worker, process.is_remote
        self._popen = subprocess.Popen(
            process.argv,
            env={**os.environ, **process.environment},
            stdin=subprocess.PIPE if process.is_remote else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_dying_with_parent(),  # noqa: PLW1509 (one call into the C library, loaded before)
        )
        streams = (self._popen.stdout, sys.stdout), (self._popen.stderr, sys.stderr)
        self._threads = [threading.Thread(target=self._relay, args=pair, daemon=True) for pair in streams]
        for thread in self._threads:
            thread.start()

    @property
    def code(self) -> int | None:
        """The exit code, 128 + the signal's number where one ended it; None while it runs."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> None:
        """Ask it to save and end."""
        with contextlib.suppress(OSError):
            if self._is_remote:
                self._popen.stdin.write(b"\x03")  # its terminal makes an interrupt of it
                self._popen.stdin.flush()
            else:
                self._popen.terminate()

    def kill(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(OSError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def drain(self) -> None:
        """Wait for the rest of its output; not for long, should somebody else hold it open."""
        for thread in self._threads:
            thread.join(timeout=5)

    def _relay(self, source, target) -> None:
        """Hand on lines with the name before them; of a progress bar its last state."""
        for line in iter(source.readline, b""):
            text = line.decode(errors="replace").rstrip("\r\n").rsplit("\r", 1)[-1]
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                target.write(f"[{self.name}] {text}\n")
                target.flush()


class _Signals:
    """Counts how often the user asked to stop."""

    def __init__(self):
        self.count = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count SIGINT, SIGTERM and SIGHUP while the block runs."""

        def handle(number, frame):
            self.count += 1

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        old = {}
        with contextlib.suppress(ValueError):  # signals belong to the main thread
            for number in numbers:
                old[number] = signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def supervise(processes: Sequence) -> int:
    """Start processes, hand on their output, and see that all of them end.

    Args:
        processes: scheduler and servers first, then workers (train/launch.py).

    Returns:
        0 where all workers ended well, 130 where the user stopped them, else the code of what failed first.
    """
    signals, children = _Signals(), []
    with signals.listening():
        try:
            for process in processes:
                children.append(Child(process))
            return _watch(children, signals)
        except OSError as error:
            _say(f"{error.filename or 'a process'} cannot be started: {error.strerror or error}")
            return 2
        finally:
            for child in children:
                child.kill()
            for child in children:
                child.drain()


def _say(text: str) -> None:
    print(f"launch.py: {text}", file=sys.stderr, flush=True)


def _watch(children: list[Child], signals: _Signals) -> int:
    """Wait for the end; whoever still runs when this returns is killed."""
    asked, failed, deadline = 0, None, None
    while True:
        if signals.count > asked:
            asked = signals.count
            if asked > 1:
                _say("stopped at once")
                return _STOPPED
            _say("asking the workers to save and stop; once more stops at once, without saving")
            for child in children:
                if child.is_worker:
                    child.stop()
        if failed is None:
            failed = _find_failed(children, stopping=asked > 0)
            if failed is not None:
                deadline = time.monotonic() + _GRACE
                _say(f"{failed.name} ended with {failed.code}: the others are ended too")
        running = [child for child in children if child.code is None]
        if not running or (deadline is not None and time.monotonic() > deadline):
            return _result(children, failed, asked)
        if deadline is None and not any(child.is_worker for child in running):
            deadline = time.monotonic() + _GRACE  # the servers end by themselves
        time.sleep(_LOOK_EVERY)


def _find_failed(children: list[Child], *, stopping: bool) -> Child | None:
    """Return a process that ended badly; scheduler and servers end well only once the workers have left them."""
    well = (None, 0, _STOPPED) if stopping else (None, 0)
    return next((child for child in children if child.code not in well), None)


def _result(children: list[Child], failed: Child | None, asked: int) -> int:
    if asked and (failed is None or failed.code in (_STOPPED, 128 + signal.SIGTERM)):
        return _STOPPED
    if failed is not None:
        return failed.code or 1
    return max((child.code or 0) for child in children if child.is_worker)
